/* Makes probabilities mean what they say: a slope and an intercept on the logit (Platt 1999),
 * fitted on the validation pairs and folded into the output layer and the wide tables, so that a
 * calibrated network is a network like any other. The order of scores within a DSP does not change.
 */
#ifndef MODEL_CALIBRATION_H
#define MODEL_CALIBRATION_H

#include "model/network.h"
#include "model/train.h"

/* The fit on e, whose pairs the network gives the probabilities p; {1, 0} when there is too little
 * to fit it on. */
struct calibration calibration_fit(const struct examples *e, const float *p);

/* sigmoid^-1(p) becomes slope * sigmoid^-1(p) + intercept. */
void calibration_apply(struct network *n, struct calibration c);

#endif
