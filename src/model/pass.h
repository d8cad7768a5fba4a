/* Forward and backward over one mini-batch of (request, DSP) pairs.
 *
 * Layer 1 is linear, so its part that depends on the request alone is computed once for pairs of
 * the same request that stand together in the batch, its part that depends on the DSP once a DSP; a
 * pair adds the two. */
#ifndef MODEL_PASS_H
#define MODEL_PASS_H

#include <stddef.h>
#include <stdint.h>

#include "model/gradient.h"
#include "model/network.h"
#include "model/train.h"
#include "prng.h"

struct pass;

/* For batches of up to `batch` pairs. NULL: no memory. */
struct pass *pass_create(const struct network *n, uint32_t batch);
void pass_destroy(struct pass *p);

struct pass_loss {
    double nll, weight; /* sums: weight * nll, weight; both by bid_odds */
};

struct pass_terms {
    float scale;
    float dropout;  /* [0, 1) after each hidden layer, inverted */
    float bid_odds; /* above 0; 1: plain NLL */
};

/* Fills the gradient of sum(weight * nll) * scale over the pairs examples[pairs[0..n)], where a
 * bid weighs bid_odds times as much and counts as bid_odds times as likely: the least of it is
 * where that of the NLL is, but it is told best not at p = 1/2, but at 1 / (1 + bid_odds). Dropout
 * is drawn from g. The tables of `gradient` must be clear. */
struct pass_loss pass_run(struct pass *p, const struct network *n, const struct examples *e,
                          const uint32_t *pairs, uint32_t n_pairs, const struct pass_terms *terms,
                          struct prng *g, struct gradient *gradient);

#endif
