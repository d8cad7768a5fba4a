/* From capture records to a model file: collects (request, DSP, outcome), splits by time, builds
 * vocabularies from the training slice alone, trains, draws recall curves from the validation
 * slice, writes the model. */
#ifndef FILTER_TRAINSET_H
#define FILTER_TRAINSET_H

#include "error.h"
#include "filter/encoder.h"
#include "filter/features.h"
#include "filter/importance.h"
#include "model/train.h"

struct trainset;
struct trainset *trainset_create(const struct schema *s, const struct geo *geo /* may be NULL */);
void trainset_destroy(struct trainset *t);

struct trainset_pair {
    struct bytes dsp;
    bool bid;
    double propensity; /* in (0, 1] */
    double price;      /* of a bid; 0 or NAN = not known */
};
enum {
    TRAINSET_WEIGHT_MAX = 1000,      /* 1/propensity beyond it counts as that much */
    TRAINSET_PRICE_MAX = 1000000000, /* a price from here on is no price */
};

/* Any order of time. False when the request cannot be read (e says why; counted, training goes on).
 */
bool trainset_add(struct trainset *t, int64_t ts_ms, struct bytes request,
                  const struct trainset_pair *pairs, uint32_t n_pairs, struct bid_request_error *e);

struct trainset_counts {
    uint64_t requests, requests_unreadable;
    uint64_t requests_repeated; /* like another to the letter, DSPs and labels too; left out */
    uint64_t pairs, bids;       /* labels taken */
    uint64_t pairs_dropped; /* a propensity outside (0, 1], no DSP name; after training, those of
                               DSPs without a label in the training slice too */
};
const struct trainset_counts *trainset_counts(const struct trainset *t);

/* A training set of its own, of what t holds of [from_ms, to_ms). It borrows t's texts: t must
 * outlive it, and nothing may be added to it. No memory ends the program. */
struct trainset *trainset_between(const struct trainset *t, int64_t from_ms, int64_t to_ms);

/* The first and the last moment of it; false when it is empty. */
bool trainset_span(const struct trainset *t, int64_t *first_ms, int64_t *last_ms);

/* What training on all of it would encode with, for who trains elsewhere: vocabularies and
 * normalisation, and the DSPs by name. The caller destroys both. */
int trainset_learn_encoder(struct trainset *t, struct encoder **encoder, struct interner **dsps,
                           struct error *err);

/* What is trained. All are read, scored and judged by the same code. */
enum trainset_arch {
    ARCH_FULL,   /* a gated network, and conjunctions */
    ARCH_MLP,    /* the published network: one trunk, the DSP an embedding like others */
    ARCH_LINEAR, /* a logistic regression for each DSP, a weight for each value */
};

struct trainset_options {
    struct train_options train;
    enum trainset_arch arch;
    bool baseline; /* a linear model is trained and judged beside it, to compare; default true */
    uint32_t hidden1, hidden2;
    double validation_share; /* of the time covered, at the end; default 0.2 */
    bool refit;              /* train once more on all of it; default true */
    double recall_target;    /* reported; and the default of `evaluate` */
    double confidence;       /* of the curves' bounds, in (0, 1); default RECALL_CONFIDENCE */
    double margin;           /* see model_metadata.h; default RECALL_MARGIN */
    const char *warm;        /* a model file to begin from (filter/warm.h); NULL */
    bool ablate;             /* report what each feature contributes; default false */
    /* While that is measured, with train.progress_ctx; may be NULL. */
    void (*ablate_progress)(void *ctx, uint32_t features_done, uint32_t features);
};
void trainset_options_default(struct trainset_options *o);

/* Shares withheld of the later slice where exactly the recall target is kept on it, by thresholds
 * that know the slice: for comparing models, not a promise. NAN: not asked for. */
struct trainset_report {
    struct train_report train;
    double withheld, withheld_linear;
    struct importance importance; /* of the network that was judged, on the later slice; empty
                                     without `ablate`; importance_dispose frees it */
};

/* Trains and writes out_path. -1 when there is nothing to learn from: too few records, no bids, one
 * moment of time. */
int trainset_train(struct trainset *t, const struct trainset_options *o, const char *out_path,
                   struct trainset_report *report, struct error *err);

#endif
