/* Training: NLL, Adam, dropout, early stopping on a later slice. BLAS does the products. */
#ifndef MODEL_TRAIN_H
#define MODEL_TRAIN_H

#include <stdint.h>

#include "error.h"
#include "model/network.h"

/* Requests and the (request, DSP) pairs that have a label, in order of time. Borrowed arrays. */
struct examples {
    uint32_t n_requests;
    const uint32_t *slots; /* [n_requests, network_shape_slots] */
    const float *numeric;  /* [n_requests, n_numeric] */
    uint64_t n_pairs;
    const uint32_t *request; /* [n_pairs] */
    const uint16_t *dsp;     /* [n_pairs] */
    const uint8_t *label;    /* [n_pairs] 1 = bid, 0 = no bid */
    const float *weight;     /* [n_pairs] 1 / propensity */
    uint32_t n_days;         /* 0: days are not told apart */
    const uint16_t *day;     /* [n_requests] below n_days, rising, the last of them complete */
};

struct train_progress {
    uint32_t epoch, epochs_max;
    double epoch_share;    /* 0..1 */
    double train_nll;      /* so far in this epoch, on the downsampled pairs, by bid_odds */
    double validation_nll; /* of the last complete epoch, all pairs, corrected; NAN before */
    double examples_per_second;
};

struct train_options {
    float learning_rate, weight_decay, dropout;
    float bid_odds; /* how many times a bid weighs in the loss, see pass.h; p is that of the NLL */
    uint32_t batch; /* at most; few pairs take smaller ones, so that an epoch has enough steps */
    uint32_t epochs_max, patience; /* stop after so many epochs without a better validation NLL */
    uint32_t epochs_stop;          /* stop after so many in any case, on the learning rates of
                                      epochs_max; 0 = no such end */
    float negative_rate; /* share of negatives drawn anew each epoch; 0 = choose: all while they are
                            fewer than 3 million, else 4 a positive, but no fewer than that; of a
                            linear model 4 a positive in any case */
    uint64_t seed;
    uint32_t threads;
    void (*progress)(void *ctx,
                     const struct train_progress *p); /* may be NULL; a few times a second */
    /* While conjunctions are fitted, likewise. */
    void (*conjunction_progress)(void *ctx, uint32_t dsps_done, uint32_t dsps);
    void *progress_ctx;
    /* Sets the parameters to begin from, over the random ones; n's negative_rate is the one that is
     * trained with. May be NULL; -1: no memory. */
    int (*init)(void *ctx, struct network *n);
    void *init_ctx;
    bool linear; /* nothing but the wide tables moves, and the hidden layers stay silent */
    /* After each epoch, with its parameters; may be NULL. */
    void (*epoch_done)(void *ctx, uint32_t epoch, const struct network *n);
    void *epoch_done_ctx;
};

struct train_report {
    uint32_t epochs, best_epoch;
    double validation_nll, validation_auc; /* of the parameters that are returned */
    double seconds, examples_per_second;
};

void train_options_default(struct train_options *o);

/* The parameters of the best epoch, not calibrated. Without validation pairs: those of the last
 * epoch. Pairs of one request should stand together: scoring is faster. The same
 * seed, data and thread count give the same bytes. */
int train_network(const struct network_shape *shape, const struct examples *train,
                  const struct examples *validation, const struct train_options *options,
                  struct network **out, struct train_report *report, struct error *err);

#endif
