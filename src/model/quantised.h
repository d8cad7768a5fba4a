/* A folded network in whole numbers: layer 1 as int16 rows, layer 2 as int8 weights, scored by a
 * kernel_int8. A quarter to a half of the memory of floats, and several times their speed where
 * hidden1 x hidden2 is large. scorer.c makes one out of what it has folded, and asks it for the
 * logit that the hidden layers give. Immutable; any thread, each with its own scratch. */
#ifndef MODEL_QUANTISED_H
#define MODEL_QUANTISED_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "model/kernel_int8.h"

struct quantised_feature {
    uint32_t values, slots;
    const float *rows; /* [values][stride]: what each value adds to layer 1 */
};

/* Borrowed while quantised_create runs. */
struct quantised_source {
    uint32_t n_features, n_dsps, n_numeric, hidden1, hidden2;
    size_t stride; /* floats from one row to the next */
    const struct quantised_feature *features;
    const float *dsp_rows;              /* [n_dsps][stride], the bias included */
    const float *numeric_rows;          /* [n_numeric][stride] */
    const float *gates;                 /* [n_dsps][stride], or NULL */
    const float *hidden2_weight;        /* [hidden2][hidden1] */
    const float *hidden2_bias, *output; /* [hidden2]; output: output.weight[1] - output.weight[0] */
    float activation_top; /* that activations rarely exceed: 255 steps; see scorer_activation_top */
};

struct quantised;

/* NULL, with the reason, when the network does not fit whole numbers: no activation_top, a gate
 * beyond +-8, a value that alone exceeds 8 times activation_top, more than 64 slots; or when there
 * is no memory. */
struct quantised *quantised_create(const struct quantised_source *from, const struct kernel_int8 *k,
                                   struct error *err);
void quantised_destroy(struct quantised *q);

const char *quantised_kernel_name(const struct quantised *q);
size_t quantised_rows_bytes(const struct quantised *q);   /* layer 1, all tables */
size_t quantised_layers_bytes(const struct quantised *q); /* layer 2 and the output */

/* Scratch: so many bytes on a cache line. */
size_t quantised_scratch_bytes(const struct quantised *q);

/* The request's part of layer 1, kept in scratch for quantised_score. slots and numeric as
 * scorer_score takes them. */
void quantised_begin(const struct quantised *q, void *scratch, const uint32_t *slots,
                     const float *numeric);
/* logit[i] += what the hidden layers say of dsps[i]; n at most QUANTISED_BATCH. */
enum { QUANTISED_BATCH = 64 };
void quantised_score(const struct quantised *q, void *scratch, const uint32_t *dsps, uint32_t n,
                     float *logit);

#endif
