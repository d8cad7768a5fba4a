/* A value that was hardly to be expected says hardly anything of the share of targeted ones: it
 * counts there as expected / (expected + 1). */
#include "model/targeting.h"

#include <math.h>

enum { STEPS = 2 }; /* a call; the fit is called again while the counts still move */

static const double SHARE_MIN = 0.01, SHAPE_MAX = 100, OTHER_SHAPE_MIN = 0.3,
                    TARGETED_SHAPE_MIN = 0.5, MEAN_MIN = 0.003;
/* Of neither kind is known anything from so little. */
static const double NOTHING = 1e-3;

static const struct targeting START = {.share = 0.3, .other = {0.2, 1}, .targeted = {2.5, 2}};

/* What does not depend on the value. */
struct kind {
    double shape, rate, constant;
};

static struct kind kind_of(const struct targeting_law *law, double share)
{
    struct kind k = {.shape = law->shape, .rate = law->shape / law->mean};
    int sign;
    k.constant = log(share) - lgamma_r(k.shape, &sign) + k.shape * log(k.rate);
    return k;
}

static double log_evidence(const struct kind *k, double found, double expected)
{
    int sign;
    return k->constant + lgamma_r(found + k->shape, &sign) -
           (found + k->shape) * log(expected + k->rate);
}

static double chance_targeted(const struct kind *other, const struct kind *targeted, double share,
                              double found, double expected)
{
    if (found < NOTHING && expected < NOTHING)
        return share;
    return 1 / (1 + exp(log_evidence(other, found, expected) -
                        log_evidence(targeted, found, expected)));
}

/* ---- EM ---- */

struct sums { /* of the values, each by its chance to be of the kind */
    double evidence, found, expected, found_squares, products, expected_squares;
};

static void sums_add(struct sums *s, double chance, double found, double expected)
{
    s->evidence += chance * expected / (expected + 1);
    s->found += chance * found;
    s->expected += chance * expected;
    s->found_squares += chance * found * found;
    s->products += chance * found * expected;
    s->expected_squares += chance * expected * expected;
}

/* The mean by counts, with `weight` of a bid for what it was; the shape by moments, as the variance
 * of a count is mean + mean^2 / shape. */
static void fit_law(struct targeting_law *law, const struct sums *s, double weight,
                    double shape_min)
{
    law->mean = fmax((s->found + weight) / (s->expected + weight / law->mean), MEAN_MIN);
    double squares = law->mean * law->mean * s->expected_squares;
    double excess = s->found_squares - 2 * law->mean * s->products + squares - s->found;
    law->shape = excess > 0 ? fmin(fmax(squares / excess, shape_min), SHAPE_MAX) : SHAPE_MAX;
}

static void step(struct targeting *t, const struct targeting_counts *c)
{
    struct kind other = kind_of(&t->other, 1 - t->share),
                targeted = kind_of(&t->targeted, t->share);
    struct sums out = {0}, in = {0};
    for (size_t i = 0; i < c->n; i++) {
        double found = (double)c->found[i * c->stride] / c->lump,
               expected = (double)c->expected[i * c->stride] / c->lump;
        double chance = chance_targeted(&other, &targeted, t->share, found, expected);
        sums_add(&in, chance, found, expected);
        sums_add(&out, 1 - chance, found, expected);
    }
    t->share = fmin(fmax((in.evidence + 0.5) / (in.evidence + out.evidence + 1), SHARE_MIN),
                    1 - SHARE_MIN);
    fit_law(&t->targeted, &in, 1, TARGETED_SHAPE_MIN);
    fit_law(&t->other, &out, 0.1, OTHER_SHAPE_MIN);
    if (t->other.mean > t->targeted.mean) {
        double mean = t->other.mean;
        t->other.mean = t->targeted.mean;
        t->targeted.mean = mean;
        t->share = 1 - t->share;
    }
}

void targeting_fit(struct targeting *t, const struct targeting_counts *c)
{
    if (t->share == 0)
        *t = START;
    for (int i = 0; i < STEPS; i++)
        step(t, c);
}

void targeting_factors(const struct targeting *t, const struct targeting_counts *c, float *factors)
{
    struct kind other = kind_of(&t->other, 1 - t->share),
                targeted = kind_of(&t->targeted, t->share);
    for (size_t i = 0; i < c->n; i++) {
        double found = (double)c->found[i * c->stride] / c->lump,
               expected = (double)c->expected[i * c->stride] / c->lump;
        double chance = chance_targeted(&other, &targeted, t->share, found, expected);
        factors[i * c->stride] =
            (float)(chance * (found + targeted.shape) / (expected + targeted.rate) +
                    (1 - chance) * (found + other.shape) / (expected + other.rate));
    }
}
