/* What each feature contributes to a network: how much worse it judges a slice of time when the
 * feature's values change hands at random among the requests (permutation importance: Breiman,
 * Machine Learning 2001). A feature that says what another one says too loses little: the network
 * falls back on the other. */
#ifndef FILTER_IMPORTANCE_H
#define FILTER_IMPORTANCE_H

#include "error.h"
#include "filter/schema.h"
#include "model/network.h"
#include "model/train.h"

enum { IMPORTANCE_REQUESTS_MAX = 50000 }; /* of more, so many are taken, evenly spread */

struct importance_feature {
    char name[64];
    double nll_loss;      /* what the NLL rises by */
    double withheld_loss; /* what the share of withheld calls falls by */
};

struct importance {
    struct importance_feature *features; /* owned; the largest withheld_loss first; all features of
                                            the schema but the DSP */
    uint32_t n_features, n_requests;
    double nll, withheld; /* with all features in place, on the same requests */
};

struct importance_options {
    double recall; /* that the withheld shares keep exactly, as judgement_withheld_at does */
    uint64_t seed;
    void (*progress)(void *ctx, uint32_t features_done, uint32_t features); /* may be NULL */
    void *progress_ctx;
};

/* e: encoded by schema, with pairs; n: its network, calibrated or not. One thread. To be disposed
 * of after success; -1: no memory. */
int importance_measure(struct importance *out, const struct network *n, const struct schema *schema,
                       const struct examples *e, const struct importance_options *o,
                       struct error *err);
void importance_dispose(struct importance *i);

#endif
