/* Makes probabilities mean what they say: a slope and an intercept on the logit, for each DSP
 * (Platt 1999), fitted on a slice that training has not seen.
 *
 * A slope is above 0, so that the order of a DSP's scores does not change: its recall curve, whose
 * thresholds move along, says the same before and after, and may be drawn from the very pairs that
 * the calibration was fitted on. Its NLL and its sum of p may not: there they flatter, by two
 * parameters a DSP. */
#ifndef MODEL_CALIBRATION_H
#define MODEL_CALIBRATION_H

#include "model/metrics.h"

/* sigmoid^-1(p) becomes slope * sigmoid^-1(p) + intercept. */
struct calibration {
    double slope, intercept;
};

/* out[n]: a fit for each group of pairs (a DSP each), shrunk towards the fit of all of them by how
 * little evidence it has; that one is shrunk towards {1, 0}. -1 only without memory. */
int calibration_fit(const struct scored_pairs *groups, uint32_t n, struct calibration *out);

/* Minus log-likelihood of the pairs after c, as if each were of weight 1. -1 only without memory.
 */
int calibration_loss(const struct scored_pairs *pairs, struct calibration c, double *loss);

float calibration_apply(struct calibration c, float p);

/* What c does after `first` has been done. */
struct calibration calibration_after(struct calibration c, struct calibration first);

#endif
