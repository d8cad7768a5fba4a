/* The conjunctions of each DSP: its bids as a sum of campaigns, each a product over features.
 *
 *   rate of bids(request, dsp) = sum over units u of the DSP: rate[u] . product over features f of
 *                                factor[f][value of f][u]
 *   p(bid) = 1 - exp(-rate of bids)                 any campaign that bids makes a bid (noisy-or)
 *
 * A factor says how much likelier a campaign takes a request for this value: 1 where it does not
 * care, near 0 for what it does not target. A feature with several values gives their mean. That is
 * a non-negative CP factorisation of the counts of bids (Chi, Kolda, SIAM J. Matrix Anal. Appl.
 * 2012), fitted by EM. Factors have a gamma prior of mean 1, one for each unit and feature; its
 * width is estimated from how much more unequal the counts of the values are than chance makes
 * them (empirical Bayes), so that a unit has opinions of those features alone that it is shown to
 * depend on.
 *
 * Campaigns begin, pause and end. Where the examples tell days apart, the day is one more feature
 * of the fit, and what is kept of it is the rate that is to be expected on the day after the last
 * (model/activity.h). */
#ifndef MODEL_CONJUNCTION_H
#define MODEL_CONJUNCTION_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct examples;
struct network_shape;

enum {
    CONJUNCTION_UNITS_MAX = 65536,    /* of all DSPs */
    CONJUNCTION_FACTORS_MAX = 1 << 28 /* of all units and values that are fitted: 1 GiB. With more
                                         of them the units of the fewest bids are left out */
};

/* Fitted factors are never smaller, so that products of many stay numbers. */
#define CONJUNCTION_FACTOR_MIN 1e-3f
/* No factor and no rate is larger: a file that says so is damaged. */
#define CONJUNCTION_MAX 1e12f

struct conjunctions {
    uint32_t n_features, n_dsps, n_units;
    uint32_t *first;  /* [n_dsps + 1]: DSP d has the units first[d] .. first[d + 1] - 1; none if it
                         had too few bids, or nothing else, or others needed all the room: then it
                         is up to the rest of the network alone */
    float *dsp;       /* [n_units] whose each unit is, rising: `first`, as a tensor has it */
    float *share;     /* [n_dsps] of its logit that is theirs, in [0, 1]; 0.5 at first. See
                         model/share.h */
    float *rate;      /* [n_units], above 0, at most CONJUNCTION_MAX; so are factors */
    float **factor;   /* [n_features] -> [values, n_units]; NULL for the DSP */
    uint32_t *values; /* [n_features] */
};

/* Every factor 1, every share half, the rates and `dsp` for the caller to set. NULL: no memory. */
struct conjunctions *conjunctions_create(const struct network_shape *shape, uint32_t n_units);
void conjunctions_destroy(struct conjunctions *c);
/* Sets `first` by `dsp`; -1 when it does not rise, or names a DSP that is not there. */
int conjunctions_index(struct conjunctions *c);

struct conjunction_options {
    uint32_t members;   /* fits from other starts, which together are the DSP's units; fewer where
                           DSPs x values are so many that they would take some GB */
    uint32_t sweeps;    /* over all features */
    uint32_t bids_many; /* with so many bids a DSP gets twice the sweeps, at a greater pace, and
                           the day in the last few alone */
    uint64_t seed;
    uint32_t threads; /* DSPs are fitted beside each other; what comes out does not depend on it */
    void (*progress)(void *ctx, uint32_t dsps_done, uint32_t dsps); /* may be NULL; from any thread,
                                                                       one at a time */
    void *progress_ctx;
};
void conjunction_options_default(struct conjunction_options *o);

/* Pairs of one request must stand together. outlook, [n_pairs], may be NULL: how many of tomorrow's
 * bids a bid stands for, given how its campaigns went on after its day; 1 of other calls. Whoever
 * learns from the same examples learns of tomorrow with it as a weight. NULL: no memory, and err
 * says so. */
struct conjunctions *conjunctions_fit(const struct network_shape *shape, const struct examples *e,
                                      const struct conjunction_options *o, float *outlook,
                                      struct error *err);

#endif
