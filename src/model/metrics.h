/* How good a set of scores is: per-DSP recall curve with confidence bounds, AUC, NLL, calibration.
 * Every estimate is weighted by 1 / propensity; counts are reported beside it. */
#ifndef MODEL_METRICS_H
#define MODEL_METRICS_H

#include <stdint.h>

#include "error.h"
#include "model/recall_prior.h"

/* Sending what scores >= threshold keeps `recall` of the bids and withholds `withheld` of the
 * calls. recall_low and recall_high: one-sided 95% Wilson bounds at recall_evidence_bids; with a
 * prior, its bids are counted in. */
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

/* How many bids of weight 1 would say as much of the share that is lost below a threshold. bids and
 * squares: sums of w and w^2 of all bids; below, below_squares: of w p and w^2 p of the calls
 * below.
 *
 * (sum w)^2 / sum w^2 alone (Kish) asks how unequal the bids are that were seen. In a log of a
 * filter with 1% exploration nearly all of them weigh 1, and the few below the old threshold 100
 * each: a thousand bids of which none is such a one do not show that none was lost, since each
 * explored call stands for 100. The variance of the lost weight is the sum of w^2 p, so that the
 * share has that of a binomial with bids / (sum w^2 p / sum w p) trials. The smaller one counts;
 * with equal weights both are the number of bids. */
double recall_evidence_bids(double bids, double squares, double below, double below_squares);

/* Wilson score bounds (Wilson, JASA 1927) of a share at effective size n; z = 1.645 is one-sided
 * 95%. */
void wilson_bounds(double share, double n, double z, double *low, double *high);

#endif
