/* How good a set of scores is: per-DSP recall curve with confidence bounds, AUC, NLL, calibration.
 * Every estimate is weighted by 1 / propensity; counts are reported beside it. */
#ifndef MODEL_METRICS_H
#define MODEL_METRICS_H

#include <stdint.h>

#include "error.h"
#include "model/recall_prior.h"

/* Sending what scores >= threshold keeps `recall` of the bids and withholds `withheld` of the
 * calls. recall_low and recall_high: one-sided 95% Wilson bounds at the effective sample size
 * (sum w)^2 / sum w^2; with a prior, its bids are counted in. */
struct recall_point {
    float threshold, recall, recall_low, recall_high, withheld;
};

enum { RECALL_POINTS_MAX = 128 };

struct recall_curve {
    uint64_t pairs, bids; /* counts, unweighted */
    double bid_rate;      /* weighted */
    double auc, nll;      /* NAN when undefined */
    double calibration;   /* sum of p over sum of bids (weighted): 1 is perfect; NAN without bids */
    uint32_t n;
    struct recall_point
        points[RECALL_POINTS_MAX]; /* thresholds rising, recall falling; denser near recall 1 */
};

/* p, label, weight: [n]. Sorts a copy. -1 only without memory. */
int recall_curve_build(struct recall_curve *c, const float *p, const uint8_t *label,
                       const float *weight, uint64_t n, struct error *err);

/* Likewise, with what is known of other DSPs; p must be calibrated. */
int recall_curve_build_with(struct recall_curve *c, const float *p, const uint8_t *label,
                            const float *weight, uint64_t n, const struct recall_prior *prior,
                            struct error *err);

/* The highest threshold whose recall_low >= recall_target; 0 (send everything) when the counts
 * cannot prove it. */
float recall_curve_threshold(const struct recall_curve *c, double recall_target);

/* Wilson score bounds (Wilson, JASA 1927) of a share at effective size n; z = 1.645 is one-sided
 * 95%. */
void wilson_bounds(double share, double n, double z, double *low, double *high);

#endif
