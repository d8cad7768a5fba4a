/* What a model file says about itself besides its numbers: strings of JSON in __metadata__. Only
 * "schema" and "dsps" are required; a network trained elsewhere needs no more.
 *
 *   format             "bidsieve-1"
 *   schema             the schema file's JSON; a number has "mean" and "std" too
 *   dsps               ["alpha", ...] in the order of the DSP embedding's rows
 *   negative_rate      share of the negatives that training kept
 *   activation_top     what a unit of the first hidden layer rarely exceeds: the scale of the
 *                      whole numbers that serve the model where they are faster; absent: floats
 *   curves             {"alpha": {pairs, bids, bid_rate, auc, nll, calibration,
 *                                 points: [[threshold, recall, low, high, withheld], ...],
 *                                 value: {likewise, with bids weighed by price}}}
 *   training           windows, counts, options
 *   metrics            {"auc":.., "nll":..} over the validation slice, all DSPs
 *   tool               the version that wrote it
 *   metadata_checksum  over the values above; checked when it is there */
#ifndef FILTER_MODEL_METADATA_H
#define FILTER_MODEL_METADATA_H

#include "filter/encoder.h"
#include "model/metrics.h"
#include "model/safetensors.h"

enum { MODEL_DSPS_MAX = 65535, MODEL_DSP_NAME_MAX = 255 };

struct model_training {
    /* -1 unknown. validation_*: what the curves are drawn from. After learnt_to_ms the network has
     * seen nothing. */
    int64_t from_ms, to_ms, validation_from_ms, validation_to_ms, learnt_to_ms;
    uint64_t train_pairs, train_bids, validation_pairs, validation_bids;
    uint64_t requests, requests_unreadable, pairs_dropped;
    uint64_t seed;
    uint32_t epochs, best_epoch;
    bool refit; /* the network was trained once more, on both slices, after the curves were drawn */
    double recall_target;
    double confidence; /* of the curves' bounds; NAN unknown */
    double margin;     /* what recall_with_margin adds to a target */
    double auc, nll;   /* NAN unknown */
};

struct model_metadata {
    struct schema *schema; /* owned */
    double *mean, *std;    /* [schema's numbers] owned */
    struct interner *dsps; /* owned */
    float negative_rate;
    float activation_top;               /* 0 unknown */
    struct recall_curve **curves;       /* [dsps] owned; NULL = none */
    struct recall_curve **value_curves; /* likewise */
    struct model_training training;
};

struct model_metadata *model_metadata_create(void);
void model_metadata_destroy(struct model_metadata *m);

struct model_metadata *model_metadata_read(const struct safetensors *f, const char *path,
                                           struct error *err);

enum { MODEL_METADATA_ENTRIES = 10 };
/* Fills entries; each value is to be freed (model_metadata_free_entries). -1: no memory. */
int model_metadata_write(const struct model_metadata *m,
                         struct safetensors_entry entries[MODEL_METADATA_ENTRIES]);
/* Likewise, for a model that was read from f and got other curves: what else f's metadata says
 * stays to the letter. How many entries it filled; 0: no memory. */
size_t model_metadata_rewrite(const struct safetensors *f, const struct model_metadata *m,
                              struct safetensors_entry entries[MODEL_METADATA_ENTRIES]);
void model_metadata_free_entries(struct safetensors_entry entries[MODEL_METADATA_ENTRIES]);

/* All of it as one JSON object, the way `inspect` shows it; caller frees. NULL: no memory. */
char *model_metadata_describe(const struct safetensors *f);

#endif
