/* One fit of one DSP's units to a sample of its calls, by EM from a random start: what
 * conjunctions_fit() does for each DSP some times over. */
#ifndef MODEL_CONJUNCTION_FIT_H
#define MODEL_CONJUNCTION_FIT_H

#include <stdbool.h>
#include <stdint.h>

#include "prng.h"

struct conjunction_options;

enum { FIT_UNITS = 64 }; /* that it begins with */

/* A feature, as the fit sees it. */
enum { FIT_DAY = UINT32_MAX };
struct fit_column {
    uint32_t feature, slots, at; /* its first slot; feature: the caller's, or FIT_DAY */
    uint32_t values, row;        /* its first row in a table of all values */
};

struct fit_sample {
    const struct fit_column *columns; /* [n_columns]; the day, if there is one, is the last */
    uint32_t n_columns, n_rows, n_slots;
    uint32_t n, n_bids;   /* calls, the bids first */
    const uint32_t *rows; /* [n_slots][n] rows of the table; SLOT_EMPTY */
    const float *weight;  /* [n] mostly 1 or more: a unit that answers for 0.1 of it is dead */
};

struct fitted {
    uint32_t width; /* of a row; some of its units may be there for that alone, and never bid */
    float *factor;  /* [n_rows][width] */
    float base[FIT_UNITS], bids[FIT_UNITS]; /* the rates; bids that each unit expects */
};

/* outlook: [n_bids], see conjunctions_fit(); left as it is without a day. -1 without memory;
 * out->factor is to be freed, whether it succeeds or not. */
int fit_units(struct fitted *out, const struct fit_sample *s, const struct conjunction_options *o,
              struct prng *g, float *outlook);

#endif
