/* The most likely slope and intercept under a normal prior around what is believed already. That is
 * the shrinking: the loss of many bids outweighs the prior, that of a few does not. The sum is
 * convex, and Newton's method with halved steps finds its minimum in a few walks over the pairs. */
#include "model/calibration.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { ROUNDS = 30, HALVINGS = 20 };

/* How far a DSP is believed to differ from all, and all from what training made of them. About a
 * dozen bids weigh as much as this belief. */
static const double SLOPE_DEVIATION = 0.2, INTERCEPT_DEVIATION = 0.3;

/* Beyond these the slice is not like the training data, and bending p does not cure it. */
static const double SLOPE_MIN = 0.25, SLOPE_MAX = 4;

static double logit_of(double p)
{
    double bounded = fmin(fmax(p, 1e-7), 1 - 1e-7);
    return log(bounded / (1 - bounded));
}

/* Pairs with their logits. */
struct sample {
    const struct scored_pairs *pairs;
    double *logit;   /* [pairs->n] */
    double evidence; /* what the loss of a pair of weight 1 counts: unequal weights say less */
};

static int sample_init(struct sample *s, const struct scored_pairs *pairs)
{
    double expected = 0, squares = 0;
    *s = (struct sample){.pairs = pairs, .logit = malloc((pairs->n + 1) * sizeof(*s->logit))};
    if (s->logit == NULL)
        return -1;
    for (uint64_t i = 0; i < pairs->n; i++) {
        double w = (double)pairs->weight[i], p = fmax((double)pairs->p[i], 1e-7);
        s->logit[i] = logit_of((double)pairs->p[i]);
        expected += w * p;
        squares += w * w * p;
    }
    s->evidence = squares > 0 ? expected / squares : 0;
    return 0;
}

/* The loss at c, its gradient and Hessian. */
struct slopes {
    double loss, da, db, daa, dab, dbb;
};

static void add_sample(struct slopes *sum, const struct sample *sample, struct calibration c)
{
    const struct scored_pairs *e = sample->pairs;
    struct slopes s = {0};
    for (uint64_t i = 0; i < e->n; i++) {
        double x = sample->logit[i], logit = c.slope * x + c.intercept, w = (double)e->weight[i];
        double rest = exp(-fabs(logit)), now = logit >= 0 ? 1 / (1 + rest) : rest / (1 + rest);
        double toward = e->label[i] ? logit : -logit;
        s.loss += w * (log1p(rest) + fmax(0, -toward));
        double d = w * (now - (e->label[i] ? 1 : 0)), dd = w * now * (1 - now);
        s.da += d * x;
        s.db += d;
        s.daa += dd * x * x;
        s.dab += dd * x;
        s.dbb += dd;
    }
    sum->loss += sample->evidence * s.loss;
    sum->da += sample->evidence * s.da;
    sum->db += sample->evidence * s.db;
    sum->daa += sample->evidence * s.daa;
    sum->dab += sample->evidence * s.dab;
    sum->dbb += sample->evidence * s.dbb;
}

static struct slopes slopes_at(const struct sample *samples, uint32_t n, struct calibration c,
                               struct calibration belief)
{
    const double slope_weight = 1 / (SLOPE_DEVIATION * SLOPE_DEVIATION);
    const double intercept_weight = 1 / (INTERCEPT_DEVIATION * INTERCEPT_DEVIATION);
    double a = c.slope - belief.slope, b = c.intercept - belief.intercept;
    struct slopes s = {.loss = (slope_weight * a * a + intercept_weight * b * b) / 2,
                       .da = slope_weight * a,
                       .db = intercept_weight * b,
                       .daa = slope_weight,
                       .dbb = intercept_weight};
    for (uint32_t i = 0; i < n; i++)
        add_sample(&s, &samples[i], c);
    return s;
}

/* From c on; with its slope as it is, or both. */
static struct calibration descend(const struct sample *samples, uint32_t n, struct calibration c,
                                  struct calibration belief, bool slope_too)
{
    struct slopes s = slopes_at(samples, n, c, belief);
    for (int round = 0; round < ROUNDS; round++) {
        double determinant = s.daa * s.dbb - s.dab * s.dab;
        double step_slope = slope_too ? (s.dbb * s.da - s.dab * s.db) / determinant : 0;
        double step_intercept =
            slope_too ? (s.daa * s.db - s.dab * s.da) / determinant : s.db / s.dbb;
        struct calibration next = c;
        struct slopes there = s;
        for (int halving = 0; halving < HALVINGS; halving++) {
            next = (struct calibration){c.slope - step_slope, c.intercept - step_intercept};
            there = slopes_at(samples, n, next, belief);
            if (there.loss <= s.loss)
                break;
            step_slope /= 2;
            step_intercept /= 2;
        }
        if (!(there.loss <= s.loss))
            break;
        c = next;
        s = there;
        if (fabs(step_slope) + fabs(step_intercept) < 1e-6)
            break;
    }
    return c;
}

/* Where the slope is at its bound, the intercept makes the best of it. */
static struct calibration fit(const struct sample *samples, uint32_t n, struct calibration belief)
{
    struct calibration c = descend(samples, n, belief, belief, true);
    double bounded = fmin(fmax(c.slope, SLOPE_MIN), SLOPE_MAX);
    if (c.slope == bounded)
        return c;
    c.slope = bounded;
    return descend(samples, n, c, belief, false);
}

int calibration_fit(const struct scored_pairs *groups, uint32_t n, struct calibration *out)
{
    struct sample *samples = calloc((size_t)n + 1, sizeof(*samples));
    int status = samples != NULL ? 0 : -1;
    for (uint32_t i = 0; status == 0 && i < n; i++)
        status = sample_init(&samples[i], &groups[i]);
    if (status == 0) {
        const struct calibration none = {1, 0};
        struct calibration all = fit(samples, n, none);
        for (uint32_t i = 0; i < n; i++)
            out[i] = groups[i].n > 0 ? fit(&samples[i], 1, all) : all;
    }
    for (uint32_t i = 0; samples != NULL && i < n; i++)
        free(samples[i].logit);
    free(samples);
    return status;
}

int calibration_loss(const struct scored_pairs *pairs, struct calibration c, double *loss)
{
    struct sample sample;
    struct slopes s = {0};
    if (sample_init(&sample, pairs) != 0)
        return -1;
    add_sample(&s, &sample, c);
    free(sample.logit);
    *loss = s.loss;
    return 0;
}

float calibration_apply(struct calibration c, float p)
{
    return (float)(1 / (1 + exp(-(c.slope * logit_of((double)p) + c.intercept))));
}

struct calibration calibration_after(struct calibration c, struct calibration first)
{
    return (struct calibration){c.slope * first.slope, c.slope * first.intercept + c.intercept};
}
