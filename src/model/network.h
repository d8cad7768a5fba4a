/* The network: an entity-embedding MLP that scores all DSPs of one request in one batch.
 *
 *   input = for each categorical feature in schema order: the mean of the embeddings of its values,
 *           then the numeric inputs
 *   h1    = relu(base . (1 + gate.dsp[dsp]) + own)      . element by element; gate 0 without it
 *           base: hidden1.weight . input without the DSP's embedding
 *           own:  hidden1.weight . the DSP's embedding + hidden1.bias
 *   h2    = relu(hidden2.weight . h1 + hidden2.bias)
 *   o     = output.weight . h2 + output.bias            (2 values: no bid, bid)
 *   logit = o[1] - o[0] + sum over features with a wide table: mean of wide.<feature>[value, dsp]
 *   logit += log(negative_rate)
 *   for a DSP with conjunctions: logit = (1 - share) logit + share log(exp(its rate of bids) - 1)
 *           the mean of what two models of different kinds say (model/conjunction.h); they err in
 *           different places
 *   p(bid) = sigmoid(slope[dsp] * logit + intercept[dsp])
 *           log_softmax of 2 is the sigmoid of the difference; log(negative_rate) undoes the
 *           downsampling of negatives (Elkan, IJCAI 2001); the calibration comes last
 *
 * A DSP's gate picks the units that speak of its own targeting: a conjunction that only this DSP
 * cares about does not have to be built out of what all DSPs share.
 *
 * One categorical feature is the DSP itself; its value is the only one that differs inside a batch.
 * This layer knows indices and floats, nothing of JSON or OpenRTB. */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "model/conjunction.h"

/* Rows that every embedding has, before the vocabulary's. */
enum { VALUE_MISSING = 0, VALUE_UNKNOWN = 1, VALUE_FIRST = 2 };

/* Fills the slots of a multi-valued feature behind its last value. Slot 0 of a feature is never
 * empty. */
#define SLOT_EMPTY UINT32_MAX

/* How many of a feature's slots have a value, and the last of these; *last stays without any. */
static inline uint32_t slots_filled(const uint32_t *slots, uint32_t n, uint32_t *last)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (slots[i] != SLOT_EMPTY) {
            *last = slots[i];
            count++;
        }
    return count;
}

struct network_feature {
    char name[64];
    uint32_t values; /* rows of the table, with the two reserved ones */
    uint32_t dim;
    uint32_t slots; /* values one request may have at once; the feature's input is their mean */
    bool wide;      /* has a wide.<feature> [values, dsps] table */
};

struct network_shape {
    struct network_feature *features; /* owned */
    uint32_t n_features;
    uint32_t dsp_feature; /* which of them is the DSP; slots = 1, not wide; row of DSP d =
                             VALUE_FIRST + d */
    uint32_t n_dsps;
    uint32_t n_numeric; /* inputs, with the 0/1 indicators of missing numbers */
    uint32_t hidden1, hidden2;
    bool gated; /* has gate.dsp [dsps, hidden1] */
};

uint32_t network_shape_slots(const struct network_shape *s); /* sum over all features but the DSP */
uint32_t network_shape_inputs(const struct network_shape *s); /* sum of dims, plus n_numeric */
/* -1 and a line that says which part is out of bounds (dims, hidden sizes, the DSP feature, the sum
 * of it all). Everything below takes only shapes that pass. */
int network_shape_check(const struct network_shape *s, struct error *err);
void network_shape_dispose(struct network_shape *s);

/* Limits of a shape. */
enum {
    NETWORK_FEATURES_MAX = 256,
    NETWORK_DIM_MAX = 1024,
    NETWORK_SLOTS_MAX = 1024,
    NETWORK_HIDDEN_MAX = 16384,
    NETWORK_DSPS_MAX = 65535, /* struct examples holds DSPs in 16 bits */
    NETWORK_NAME_BYTES = 80,  /* "conjunction." and the longest feature name */
};

/* Parameters, writable; one float block with named pointers into it, PyTorch's orientation. The
 * dense ones (hidden and output) come first, each starts on a cache line, gaps are zero. */
struct network {
    struct network_shape shape;
    float *block;
    size_t block_floats, dense_floats;
    char (*tensor_names)[NETWORK_NAME_BYTES]; /* [2 n_features]: embedding.<f>, wide.<f>;
                                                  then [n_features]: conjunction.<f> */
    float **embedding;                        /* [n_features] -> [values, dim] */
    float **wide;                             /* [n_features] -> [values, n_dsps] or NULL */
    float *hidden1_weight, *hidden1_bias;     /* [hidden1, inputs], [hidden1] */
    float *hidden2_weight, *hidden2_bias;     /* [hidden2, hidden1], [hidden2] */
    float *gate; /* [n_dsps, hidden1], what a DSP's gate differs from 1; NULL without */
    float *output_weight, *output_bias; /* [2, hidden2], [2] */
    float negative_rate;                /* share of negatives that training kept, in (0, 1] */
    struct conjunctions *conjunctions;  /* owned; NULL without */
    float (*calibration)[2]; /* [n_dsps] slope (above 0) and intercept, {1, 0} at first; not of the
                                block, since no gradient moves it */
    float activation_top;    /* what h1 rarely exceeds, see scorer_activation_top; 0 = not known */
};

struct network *network_create(const struct network_shape *shape,
                               uint64_t seed); /* random init; NULL: no memory */
struct network *network_create_zero(const struct network_shape *shape);
void network_destroy(struct network *n);

/* ---- serving ---- */

/* The network folded for serving: layer 1 is linear in the embeddings, so every value's
 * contribution is one precomputed row of hidden1 floats, and layer 1 is a sum of rows. Immutable;
 * any thread. */
struct scorer;
struct scorer *scorer_create(const struct network *n, struct error *err);
void scorer_destroy(struct scorer *s);
const char *scorer_kernel_name(const struct scorer *s); /* "c", "avx2", "int8-vnni", ... */

/* The same in whole numbers, see model/quantised.h: p differs from scorer_create's by some 1e-4.
 * NULL, with the reason, where they do not serve this network, or would gain too little. */
struct scorer *scorer_create_fast(const struct network *n, struct error *err);

/* What h1 exceeds once in 100,000 values, over all DSPs of these requests (some thousands of them,
 * evenly spread), scored by a scorer of floats: what activation_top is set to. 0 when there are no
 * requests, or no memory. */
float scorer_activation_top(const struct scorer *s, const uint32_t *slots, const float *numeric,
                            uint32_t n_requests);

/* Bytes. */
struct scorer_memory {
    size_t rows;   /* layer 1: values, DSPs, gates */
    size_t layers; /* layer 2 and the output */
    size_t wide;   /* tables of a weight per value and DSP */
    size_t conjunctions;
    size_t scratch; /* of each thread */
};
struct scorer_memory scorer_memory(const struct scorer *s);

/* Per thread; belongs to the scorer that made it. */
struct scorer_scratch;
struct scorer_scratch *scorer_scratch_create(const struct scorer *s);
void scorer_scratch_destroy(struct scorer_scratch *scratch);

/* slots[network_shape_slots]: each feature's slots in schema order, the DSP feature left out; an
 * index out of range counts as VALUE_UNKNOWN. numeric[n_numeric], finite. dsps[n]: DSP indices (row
 * minus VALUE_FIRST) below n_dsps. p[n] gets the probabilities of a bid. Allocates nothing. What
 * overflows (inf - inf) is 1: no number is no reason to withhold a call. Machines agree to about
 * 1e-5 of the value, not to the bit: their kernels round differently. */
void scorer_score(const struct scorer *s, struct scorer_scratch *scratch, const uint32_t *slots,
                  const float *numeric, const uint32_t *dsps, uint32_t n, float *p);

#endif
