/* A loaded model: network, schema, vocabularies, recall curves. Immutable and validated; any
 * thread. */
#ifndef FILTER_PREDICTOR_H
#define FILTER_PREDICTOR_H

#include "error.h"
#include "filter/bid_request.h"
#include "filter/encoder.h"
#include "filter/features.h"
#include "filter/geo.h"
#include "model/metrics.h"
#include "model/network.h"

struct predictor;

/* Refuses, with one line of why, whatever is not a sound model file: bounds, shapes, checksum, or
 * golden inputs whose scores do not come out again. */
struct predictor *predictor_load(const char *path, struct error *err);
/* Likewise, and hands over the network that was read, for training from it; the caller destroys
 * it. */
struct predictor *predictor_load_with_network(const char *path, struct network **network,
                                              struct error *err);
void predictor_destroy(struct predictor *p);

struct predictor_info {
    const char *version; /* "20261122T091500Z-3f9c0a1b2c3d4e5f": when trained, checksum */
    int64_t trained_at_ms, window_from_ms, window_to_ms; /* training; -1 unknown */
    int64_t validation_from_ms, validation_to_ms;        /* what the curves are drawn from */
    int64_t learnt_to_ms;                                /* the network has seen nothing later */
    double recall_confidence, recall_margin;             /* of the curves; NAN unknown, 0 */
    uint64_t train_pairs, train_bids, validation_pairs, validation_bids;
    float negative_rate;
    uint32_t n_dsps;
    uint64_t checksum;  /* of the tensors' data */
    const char *kernel; /* that serves it here */
    struct scorer_memory memory;
    const struct network_shape *shape;
    uint32_t conjunction_units; /* of all DSPs together; 0 without */
};
const struct predictor_info *predictor_info(const struct predictor *p);
const char *predictor_dsp_name(const struct predictor *p, uint32_t dsp);
int32_t predictor_find_dsp(const struct predictor *p, const char *name); /* -1 unknown */
const struct recall_curve *predictor_curve(const struct predictor *p,
                                           uint32_t dsp); /* NULL = none */
/* Of value only where the model has it (no fall back). */
const struct recall_curve *predictor_curve_of(const struct predictor *p, uint32_t dsp,
                                              enum recall_of of);
/* The threshold that keeps recall_target, and the model's margin, by its curve; NAN where there is
 * no curve, or too few bids to prove it: such a DSP is sent everything. */
float predictor_threshold(const struct predictor *p, uint32_t dsp, double recall_target);
/* Likewise; of bids where the model has no curve of value. */
float predictor_threshold_of(const struct predictor *p, uint32_t dsp, double recall_target,
                             enum recall_of of);
/* Likewise, without the margin: what the margin costs is the difference. */
float predictor_threshold_bare(const struct predictor *p, uint32_t dsp, double recall_target,
                               enum recall_of of);
/* Why there is no such threshold, for people; NULL where there is one. */
const char *predictor_not_filtered(const struct predictor *p, uint32_t dsp, double recall_target,
                                   enum recall_of of);
/* The share of calls that its curve says a threshold of it withholds; 0 when it is NAN. */
double predictor_withheld(const struct predictor *p, uint32_t dsp, float threshold,
                          enum recall_of of);

/* The source of a feature of its schema; NULL: no feature has the name. */
const char *predictor_feature_source(const struct predictor *p, const char *feature);

/* Its vocabularies and normalisation; lives as long as the model. */
const struct encoder *predictor_encoder(const struct predictor *p);

/* The whole __metadata__ as one JSON object, for `inspect`, with what serves it here: "served":
 * {"kernel", "bytes": {rows, layers, wide, scratch}}; caller frees. */
char *predictor_describe(const struct predictor *p);

/* What the model is given for a request, a feature each, the DSP left out: for people, not for
 * speed. In the arena, or borrowed as raw_features are. */
struct predictor_input {
    const char *feature;
    bool is_number;
    double number; /* NAN = missing */
    const struct bytes *texts;
    const bool *known; /* whether the vocabulary has the text */
    uint32_t n_texts;  /* at least one; an empty one = missing */
};
uint32_t predictor_inputs(const struct predictor *p, const struct bid_request *r,
                          const struct geo_place *place, int64_t ts_ms, struct arena *arena,
                          const struct predictor_input **out);

struct predictor_scratch;
struct predictor_scratch *predictor_scratch_create(const struct predictor *p);
void predictor_scratch_destroy(struct predictor_scratch *s);

/* p_out[i] = P(bid) of dsps[i] (indices of the model). Allocates nothing beyond the arena's chunks.
 */
void predictor_score(const struct predictor *p, struct predictor_scratch *scratch,
                     const struct bid_request *r, const struct geo_place *place, int64_t ts_ms,
                     struct arena *arena, const uint32_t *dsps, uint32_t n, float *p_out);

/* What the request that was scored last is to the network, until the next one. */
void predictor_scored(const struct predictor_scratch *scratch, const uint32_t **slots,
                      const float **numeric);

#endif
