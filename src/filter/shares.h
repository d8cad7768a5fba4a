/* How much of each DSP's logit is its conjunctions', by a slice of time: model/share.h with scores
 * of the network. */
#ifndef FILTER_SHARES_H
#define FILTER_SHARES_H

#include "error.h"
#include "model/network.h"
#include "model/train.h"

/* Sets the shares of n's conjunctions to what makes the bids of e likeliest; without conjunctions
 * nothing changes. */
int shares_settle(struct network *n, const struct examples *e, struct error *err);

#endif
