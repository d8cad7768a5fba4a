/* What a later slice says of a network that has not seen it: the conjunctions' share, a calibration
 * and recall curves for each DSP, and what they come to. It holds none of the slice, which may go
 * as soon as it is there.
 */
#ifndef FILTER_VERDICT_H
#define FILTER_VERDICT_H

#include "filter/judgement.h"
#include "filter/slices.h"

struct verdict {
    struct interner *dsps;                        /* by name */
    float *share;                                 /* [dsps] NAN without conjunctions */
    struct calibration *calibration;              /* [dsps] */
    struct recall_curve **curves, **value_curves; /* [dsps]; NULL = none */
    double auc, nll;                              /* calibrated, all DSPs */
    double withheld; /* share of the calls, where each DSP keeps exactly a recall on the slice */
};

/* Of a network that was trained on s.train; gets its shares at once, and the rest is of it as it is
 * then. recall: of `withheld`; confidence: of the curves'
 * bounds. To be disposed of, whether it succeeds or not. */
int verdict_reach(struct verdict *v, struct network *n, const struct slices *s, double recall,
                  double confidence, struct error *err);
void verdict_dispose(struct verdict *v);

/* Gives the shares and the calibration to a network of those DSPs and perhaps more, by their name:
 * nobody has judged the others,
 * and they are left as they are. */
void verdict_calibrate(const struct verdict *v, const struct interner *dsps, struct network *n);
/* Moves the curves to the places that dsps has them at. */
void verdict_hand_over(struct verdict *v, const struct interner *dsps, struct recall_curve **curves,
                       struct recall_curve **value_curves);

/* `withheld` alone. */
int verdict_withheld(const struct network *n, const struct slices *s, double recall, double *out,
                     struct error *err);

#endif
