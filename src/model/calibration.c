/* Two parameters, a convex loss: Newton's method, a step halved while it does not lower the loss; a
 * few walks over the pairs. */
#include "model/calibration.h"

#include <math.h>
#include <stdlib.h>

enum { BIDS_MIN = 50, ROUNDS = 20, HALVINGS = 10 };

/* Beyond these the validation slice is not like the training data, and bending p does not cure it.
 */
static const double SLOPE_MIN = 0.5, SLOPE_MAX = 2, INTERCEPT_MAX = 2;

static double logit_of(double p)
{
    double bounded = fmin(fmax(p, 1e-7), 1 - 1e-7);
    return log(bounded / (1 - bounded));
}

/* The weighted NLL at c, its gradient and Hessian. */
struct slopes {
    double nll, da, db, daa, dab, dbb;
};

static struct slopes slopes_at(const struct examples *e, const float *p, struct calibration c)
{
    struct slopes s = {0};
    for (uint64_t i = 0; i < e->n_pairs; i++) {
        double x = logit_of(p[i]), logit = c.slope * x + c.intercept;
        double now = 1 / (1 + exp(-logit)), toward = e->label[i] ? logit : -logit;
        s.nll += e->weight[i] * (log1p(exp(-fabs(toward))) + fmax(0, -toward));
        double d = e->weight[i] * (now - (e->label[i] ? 1 : 0));
        double dd = e->weight[i] * now * (1 - now);
        s.da += d * x;
        s.db += d;
        s.daa += dd * x * x;
        s.dab += dd * x;
        s.dbb += dd;
    }
    return s;
}

struct calibration calibration_fit(const struct examples *e, const float *p)
{
    const struct calibration none = {1, 0};
    struct calibration c = none;
    uint64_t bids = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++)
        bids += e->label[i] != 0;
    if (bids < BIDS_MIN || e->n_pairs - bids < BIDS_MIN)
        return none;
    struct slopes s = slopes_at(e, p, c);
    for (int round = 0; round < ROUNDS; round++) {
        double determinant = s.daa * s.dbb - s.dab * s.dab;
        if (!(determinant > 1e-9 * s.daa * s.dbb))
            return none; /* all scores alike: a slope is not to be had */
        double step_slope = (s.dbb * s.da - s.dab * s.db) / determinant;
        double step_intercept = (s.daa * s.db - s.dab * s.da) / determinant;
        struct calibration next = c;
        struct slopes there = s;
        for (int halving = 0; halving < HALVINGS; halving++) {
            next = (struct calibration){c.slope - step_slope, c.intercept - step_intercept};
            there = slopes_at(e, p, next);
            if (there.nll <= s.nll)
                break;
            step_slope /= 2;
            step_intercept /= 2;
        }
        if (!(there.nll <= s.nll))
            break;
        c = next;
        s = there;
        if (fabs(step_slope) + fabs(step_intercept) < 1e-6)
            break;
    }
    if (c.slope >= SLOPE_MIN && c.slope <= SLOPE_MAX && fabs(c.intercept) <= INTERCEPT_MAX)
        return c;
    return none;
}

/* p's logit is z + log(negative_rate), z the network's own: slope z + the bias below gives
 * slope (z + log rate) + intercept after log(negative_rate) is added again. */
void calibration_apply(struct network *n, struct calibration c)
{
    const struct network_shape *s = &n->shape;
    float slope = (float)c.slope;
    float bias = (float)((c.slope - 1) * log(n->negative_rate) + c.intercept);
    for (uint32_t i = 0; i < 2 * s->hidden2; i++)
        n->output_weight[i] *= slope;
    for (uint32_t f = 0; f < s->n_features; f++)
        for (size_t i = 0; s->features[f].wide && i < (size_t)s->features[f].values * s->n_dsps;
             i++)
            n->wide[f][i] *= slope;
    n->output_bias[0] = slope * n->output_bias[0] - bias / 2;
    n->output_bias[1] = slope * n->output_bias[1] + bias / 2;
}
