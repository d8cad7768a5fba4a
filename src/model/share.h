/* How much the conjunctions weigh in a DSP's logit, beside the rest of the network: what makes the
 * bids of a slice that neither has seen the most likely. The more data there is, and the more
 * campaigns a DSP has, the more they are worth. */
#ifndef MODEL_SHARE_H
#define MODEL_SHARE_H

#include "model/metrics.h"

/* network[n], conjunctions[n]: a group for each DSP, the same pairs in both, with the p that each
 * gives them by itself. share[n]: of the conjunctions, in [0, 1]; a DSP's is shrunk towards the one
 * of all of them by how little evidence it has. -1 only without memory. */
int share_fit(const struct scored_pairs *network, const struct scored_pairs *conjunctions,
              uint32_t n, float *share);

#endif
