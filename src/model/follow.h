/* Campaigns begin, pause and end while their targeting stays what it is. So the rates of the units
 * of conjunctions are what ages first of a network, and fresh traffic shows them without training:
 *
 *   rate becomes rate . (bids that the unit answers for + 1) / (bids that it expects + 1)
 *
 * a few times over: EM with all factors fixed, and one bid's worth of belief in the old rate. */
#ifndef MODEL_FOLLOW_H
#define MODEL_FOLLOW_H

#include "model/conjunction.h"

/* Pairs of one request stand together. rate: [n_units] gets the new ones. -1: no memory. */
int follow_rates(const struct conjunctions *c, const struct network_shape *shape,
                 const struct examples *e, float *rate);

#endif
