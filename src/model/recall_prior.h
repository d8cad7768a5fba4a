/* What the DSPs together say of the recall of one of them.
 *
 * Thirty bids alone cannot prove a recall of 97%, however they score. But the network also says
 * itself which share of the bids a threshold loses (the sum of p below it), and how far such words
 * can be trusted is seen on all DSPs: how many bids were lost for one that was expected to be, and
 * by how much more the DSPs differ in that than chance makes them. The first corrects the word, the
 * second says how many bids it is worth (the variance of a beta-binomial, by moments). */
#ifndef MODEL_RECALL_PRIOR_H
#define MODEL_RECALL_PRIOR_H

#include <stdint.h>

#include "error.h"

struct recall_prior {
    double strength; /* in bids; 0 = no trust */
    double lost;     /* bids lost for each that was expected to be lost */
};

/* One DSP at the threshold that is expected to lose 3% of its bids. */
struct recall_evidence {
    double bids;           /* effective number; 0 = none */
    double lost, expected; /* shares of the bids */
};

/* p, label, weight: [n], as for recall_curve_build; p calibrated. -1 only without memory. */
int recall_evidence_gather(struct recall_evidence *e, const float *p, const uint8_t *label,
                           const float *weight, uint64_t n, struct error *err);

/* Fewer than 4 DSPs with 50 bids each give no prior. */
struct recall_prior recall_prior_fit(const struct recall_evidence *e, uint32_t n);

#endif
