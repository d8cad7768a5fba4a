/* How good a set of scores is: per-DSP recall curve with confidence bounds, AUC, NLL, calibration.
 * Every estimate is weighted by 1 / propensity; counts are reported beside it. */
#ifndef MODEL_METRICS_H
#define MODEL_METRICS_H

#include <stdint.h>

#include "error.h"
/* What the bounds of a recall are drawn with when nothing else is said. More certainty costs more
 * than it brings: what a threshold loses on a later day is lost to change, not to chance. */
#define RECALL_CONFIDENCE 0.7

/* Of what a recall is the share: each bid counts alike, or by its price. */
enum recall_of { RECALL_OF_BIDS, RECALL_OF_VALUE };

/* Labelled calls with their scores, and what they are worth. */
struct scored_pairs {
    uint64_t n;
    const float *p; /* [n] */
    const uint8_t *label;
    const float *weight; /* 1 / propensity, above 0 */
    const float *price;  /* of the bids, above 0; NULL = all alike. For the recall of value */
};

/* Sending what scores >= threshold keeps `recall` of the bids, or of their value, and withholds
 * `withheld` of the calls. recall_low and recall_high: one-sided Clopper-Pearson bounds at
 * recall_evidence_bids. */
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

/* Likewise, of bids or of value, with another confidence than RECALL_CONFIDENCE, in (0, 1). */
int recall_curve_build_with(struct recall_curve *c, const struct scored_pairs *pairs,
                            double confidence, struct error *err);

/* The highest threshold whose recall_low >= recall_target and whose measured recall is at least
 * `recall`; 0 (send everything) when the counts cannot prove it. */
float recall_curve_threshold(const struct recall_curve *c, double recall_target, double recall);

/* The recall to look up where `target` is asked for: a margin for what a later day loses beyond
 * chance, but at most half of what the target leaves to lose. The bound of a curve has it once, the
 * recall that was measured twice: of few bids the bound is far below what was measured, and leaves
 * room for change besides chance; of many it leaves none. */
double recall_with_margin(double target, double margin);
#define RECALL_MARGIN 0.005

/* How many bids of weight 1 would say as much of the share that is lost below a threshold. bids and
 * squares: sums of w and w^2 of all bids; below, below_squares: of w p and w^2 p of the calls
 * below, 0 when nothing is. squares 0: not to be asked.
 *
 * (sum w)^2 / sum w^2 alone (Kish) asks how unequal the bids are that were seen. In a log of a
 * filter with 1% exploration nearly all of them weigh 1, and the few below the old threshold 100
 * each: a thousand bids of which none is such a one do not show that none was lost, since each
 * explored call stands for 100. The variance of the lost weight is the sum of w^2 p, so that the
 * share has that of a binomial with bids / (sum w^2 p / sum w p) trials. The smaller one counts;
 * with equal weights both are the number of bids. */
double recall_evidence_bids(double bids, double squares, double below, double below_squares);

#endif
