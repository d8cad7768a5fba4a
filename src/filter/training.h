/* From a training set to a model file: splits by time, builds vocabularies from the earlier slice
 * alone, trains, draws recall curves from the later slice, trains once more on everything, writes
 * the model. */
#ifndef FILTER_TRAINING_H
#define FILTER_TRAINING_H

#include "error.h"
#include "filter/importance.h"
#include "filter/trainset.h"
#include "model/train.h"

/* What is trained. All are read, scored and judged by the same code. */
enum training_arch {
    ARCH_FULL,   /* a gated network, and conjunctions */
    ARCH_MLP,    /* the published network: one trunk, the DSP an embedding like others */
    ARCH_LINEAR, /* a logistic regression for each DSP, a weight for each value */
};

struct training_options {
    struct train_options train; /* epochs_max 0, the default: by how many pairs there are, 6 to 10;
                                   bid_odds: what the arch has */
    enum training_arch arch;
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
void training_options_default(struct training_options *o);

/* Shares withheld of the later slice where exactly the recall target is kept on it, by thresholds
 * that know the slice: for comparing models, not a promise. NAN: not asked for. */
struct training_report {
    struct train_report train;
    double withheld, withheld_linear;
    uint64_t pairs_dropped; /* of DSPs without a label in the training slice, and those that the
                               training set dropped */
    struct importance importance; /* of the network that was judged, on the later slice; empty
                                     without `ablate`; importance_dispose frees it */
};

/* Trains and writes out_path. -1 when there is nothing to learn from: too few records, no bids, one
 * moment of time. */
int training_run(const struct trainset *t, const struct training_options *o, const char *out_path,
                 struct training_report *report, struct error *err);

#endif
