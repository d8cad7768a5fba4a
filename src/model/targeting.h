/* Which values of a feature a campaign targets, from how many bids each value had and how many were
 * to be expected. Values are of two kinds, targeted and not; a factor is what a value multiplies
 * the campaign's rate by. Those of a kind follow a gamma law, so that a count is negative binomial:
 *
 *   P(count | kind) ~ Gamma(count + shape) / Gamma(shape) . rate^shape / (expected + rate)^(count +
 * shape) rate = shape / mean
 *
 * The laws and the share of targeted values are fitted to the counts by EM (empirical Bayes), and a
 * factor is its posterior mean over both kinds. One gamma law for all values, which this goes
 * beyond, leaves a value that is seen a few times halfway between. */
#ifndef MODEL_TARGETING_H
#define MODEL_TARGETING_H

#include <stdbool.h>
#include <stddef.h>

struct targeting_law {
    double mean, shape;
};

struct targeting {
    double share;                         /* of the values, targeted; 0: not begun */
    struct targeting_law other, targeted; /* other.mean <= targeted.mean */
};

/* Of values i < n at [i * stride]; expected > 0. lump: how many a count comes in at once, 1 where
 * each bid stands for itself. */
struct targeting_counts {
    const float *found, *expected;
    size_t n, stride;
    double lump;
};

/* Goes on from what t has been, or begins; some steps of EM. */
void targeting_fit(struct targeting *t, const struct targeting_counts *c);

/* factors[i * stride]: of each value. May be c->found itself. */
void targeting_factors(const struct targeting *t, const struct targeting_counts *c, float *factors);

#endif
