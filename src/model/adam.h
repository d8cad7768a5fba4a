/* Adam (Kingma, Ba, ICLR 2015) with decoupled weight decay (Loshchilov, Hutter, ICLR 2019) for the
 * dense parameters, and its lazy form for the tables: a row's moments move only when a batch
 * touches it, and its bias is corrected by the row's own count of steps, so that the first steps of
 * a rare value are as long as those of a frequent one. One thread. */
#ifndef MODEL_ADAM_H
#define MODEL_ADAM_H

#include "model/gradient.h"
#include "model/network.h"

struct adam;

struct adam_rates {
    float dense, embedding, wide; /* learning rates of this step */
    float decay;                  /* a step shrinks what it touches by rate * decay */
};

/* For the network that `g` belongs to. NULL: no memory. */
struct adam *adam_create(const struct network *n, const struct gradient *g);
void adam_destroy(struct adam *a);

/* One step down the gradient. */
void adam_step(struct adam *a, struct network *n, const struct gradient *g,
               const struct adam_rates *rates);

#endif
