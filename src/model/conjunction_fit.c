/* A sweep walks over the features; for each it adds up, by value and unit, the bids that the unit
 * answers for (E step) and the rate that it expects, sets the factors of that feature to what fits
 * best (M step), and carries the change over to the rate of every call.
 *
 * All units are walked at once, a row of floats for each call and each value. Most of them soon
 * answer for no bids: then the rows are made narrower. */
#include "model/conjunction_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/activity.h"
#include "model/conjunction.h"
#include "model/network.h"
#include "model/targeting.h"

enum {
    UNITS = FIT_UNITS,
    LANES = 8,         /* of a vector; rows are whole ones */
    BIDS_PER_UNIT = 2, /* no more units than so many bids bear */
};

/* Bounds of the prior's shape: beyond the upper one a unit does not care for the feature. */
static const float SHAPE_MIN = 0.05f, SHAPE_MAX = 1000;
/* Of fewer values nothing can be learnt of two kinds; units must have become different before it is
 * asked. */
enum { TARGETED_VALUES_MIN = 5, SWEEPS_BEFORE_TARGETING = 4 };
/* EM creeps where units compete for bids. With many bids it takes so many times the sweeps, and
 * factors go further than it says, this power of the way (over-relaxation: Salakhutdinov, Roweis,
 * ICML 2003), until they settle in the last sweeps. When units ran is asked in the last sweeps
 * alone, or they become what happened on one day. Of fewer bids units learn by heart what they were
 * by chance before they are through: those stop early, and days help to tell them apart. */
enum { LONGER = 2, SWEEPS_TO_SETTLE = 8, SWEEPS_WITH_DAYS = 6 };
static const float PACE = 1.8f;
/* No factor goes further at that pace. */
static const float PACED_MIN = 1e-12f, PACED_MAX = 1e12f;
/* How unlike each other the units begin: factors are between exp(-x) and exp(x). */
static const double START_SPREAD = 0.85;
/* Below it 1 - exp(-rate) has no digits left in a float, and is the rate. */
static const float RATE_TINY = 1e-6f;
/* A bid counts for no more than so many of tomorrow's. */
static const double OUTLOOK_MAX = 5;
/* A unit that answers for fewer bids is dead: EM does not bring it back. */
static const float UNIT_DEAD = 0.1f;

#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
/* Wider vectors, the same results to the bit. */
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define INLINED static inline __attribute__((always_inline))

struct fit {
    const struct fit_sample *s;
    uint32_t width;              /* units that are left, on whole vectors */
    float *rate;                 /* [n][width] of each call */
    float *factor;               /* [n_rows][width] */
    float *answered, *expected;  /* [n_rows][width] sums of the E step; expected: at the present
                                    factors */
    float *found;                /* [n_bids] weight / p(bid) */
    float base[UNITS];           /* the rates of the units */
    float unequal[UNITS];        /* sum w^2 / sum w of the bids that each answers for */
    float care[UNITS];           /* shape of the prior of the column at hand */
    float scale[UNITS];          /* what makes its rates sum to the bids */
    struct targeting *targeting; /* [n_columns][UNITS] */
    bool targets;                /* it is time for it */
    bool many_bids;
    float pace;
};

/* ---- rows ---- */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define LANES_OF(x, u) (*(lanes *)((x) + (u)))

INLINED void clear(float *y, uint32_t width)
{
    for (uint32_t u = 0; u < width; u += LANES)
        LANES_OF(y, u) = (lanes){0};
}

INLINED void add(float *y, const float *x, uint32_t width)
{
    for (uint32_t u = 0; u < width; u += LANES)
        LANES_OF(y, u) += LANES_OF(x, u);
}

INLINED void add_times(float *y, const float *x, float times, uint32_t width)
{
    for (uint32_t u = 0; u < width; u += LANES)
        LANES_OF(y, u) += LANES_OF(x, u) * times;
}

INLINED void multiply(float *y, const float *x, uint32_t width)
{
    for (uint32_t u = 0; u < width; u += LANES)
        LANES_OF(y, u) *= LANES_OF(x, u);
}

/* ---- a walk over the calls ---- */

/* The change of a call's rates that the new factors of a column bring: in room, or where it is. */
INLINED const float *change_of(const struct fit *f, const struct fit_column *c, bool single,
                               uint32_t i, float *room)
{
    const uint32_t *row = f->s->rows + (size_t)c->at * f->s->n + i, width = f->width;
    float before[UNITS];
    if (single)
        return f->expected + (size_t)*row * width;
    clear(room, width);
    clear(before, width);
    for (uint32_t k = 0; k < c->slots; k++, row += f->s->n)
        if (*row != SLOT_EMPTY) {
            add(room, f->factor + (size_t)*row * width, width);
            add(before, f->expected + (size_t)*row * width, width);
        }
    for (uint32_t u = 0; u < width; u += LANES)
        LANES_OF(room, u) = LANES_OF(room, u) / LANES_OF(before, u) * LANES_OF(f->scale, u);
    return room;
}

/* Adds a call's rates to its values' rows: each value answers for its share of the mean. */
INLINED void add_call(const struct fit *f, const struct fit_column *c, bool single, uint32_t i)
{
    const uint32_t *row = f->s->rows + (size_t)c->at * f->s->n + i, width = f->width;
    const float *rate = f->rate + (size_t)i * width;
    float share[UNITS], weight = f->s->weight[i];
    bool bid = i < f->s->n_bids;
    if (single) {
        add_times(f->expected + (size_t)*row * width, rate, weight, width);
        if (bid)
            add_times(f->answered + (size_t)*row * width, rate, f->found[i], width);
        return;
    }
    clear(share, width);
    for (uint32_t k = 0; k < c->slots; k++)
        if (row[(size_t)k * f->s->n] != SLOT_EMPTY)
            add(share, f->factor + (size_t)row[(size_t)k * f->s->n] * width, width);
    for (uint32_t u = 0; u < width; u += LANES)
        LANES_OF(share, u) = LANES_OF(rate, u) / LANES_OF(share, u);
    for (uint32_t k = 0; k < c->slots; k++, row += f->s->n) {
        if (*row == SLOT_EMPTY)
            continue;
        for (size_t u = 0, at = (size_t)*row * width; u < width; u += LANES, at += LANES) {
            lanes own = LANES_OF(share, u) * LANES_OF(f->factor, at);
            LANES_OF(f->expected, at) += own * weight;
            if (bid)
                LANES_OF(f->answered, at) += own * f->found[i];
        }
    }
}

/* How many bids a call with one stands for: of all campaigns together, given that there was at
 * least one. */
INLINED void find_bid(const struct fit *f, uint32_t i)
{
    const float *rate = f->rate + (size_t)i * f->width;
    lanes sums = {0};
    float sum = 0;
    for (uint32_t u = 0; u < f->width; u += LANES)
        sums += LANES_OF(rate, u);
    for (int k = 0; k < LANES; k++)
        sum += sums[k];
    float p = sum < RATE_TINY ? sum : 1 - expf(-fminf(sum, 30));
    f->found[i] = f->s->weight[i] / (p + 1e-20f);
}

/* On a copy of all pointers: rows are written between any two looks at them. */
INLINED void walk_calls(const struct fit *of, const struct fit_column *done, bool done_single,
                        const struct fit_column *next, bool next_single)
{
    const struct fit_sample sample = *of->s;
    struct fit here = *of;
    const struct fit *f = &here;
    here.s = &sample;
    float room[UNITS];
    for (uint32_t i = 0; i < f->s->n; i++) {
        if (done != NULL)
            multiply(f->rate + (size_t)i * f->width, change_of(f, done, done_single, i, room),
                     f->width);
        if (i < f->s->n_bids)
            find_bid(f, i);
        if (next != NULL)
            add_call(f, next, next_single, i);
    }
}

/* One walk over the calls, of which the rates are most of the memory: carries over what the column
 * that is done has changed, and adds up the next one. Either may be NULL. */
WIDE static void walk(struct fit *f, const struct fit_column *done, const struct fit_column *next)
{
    bool done_single = done != NULL && done->slots == 1;
    bool next_single = next != NULL && next->slots == 1;
    if (next != NULL) {
        size_t at = (size_t)next->row * f->width, size = (size_t)next->values * f->width;
        memset(f->answered + at, 0, size * sizeof(float));
        memset(f->expected + at, 0, size * sizeof(float));
    }
    if (done_single && next_single)
        walk_calls(f, done, true, next, true);
    else if (next_single)
        walk_calls(f, done, false, next, true);
    else if (done_single)
        walk_calls(f, done, true, next, false);
    else
        walk_calls(f, done, false, next, false);
}

/* ---- the factors of a column ---- */

/* Counts of a gamma-Poisson law with mean E have the variance E + E^2 / shape: by moments, shape =
 * sum E^2 / sum((count - E)^2 - count). Where a bid stands for several (explored calls), counts
 * come in lumps of so many, and the prior weighs as many more. `expected` becomes what a factor of
 * 1 would give; the scale is part of it. */
static void estimate_care(struct fit *f, const struct fit_column *c)
{
    float answered[UNITS] = {0}, expected[UNITS] = {0}, squares[UNITS] = {0}, spread[UNITS] = {0};
    size_t from = (size_t)c->row * f->width, to = from + (size_t)c->values * f->width;
    for (size_t at = from; at < to; at += f->width)
        for (uint32_t u = 0; u < f->width; u++) {
            f->expected[at + u] /= f->factor[at + u];
            answered[u] += f->answered[at + u];
            expected[u] += f->expected[at + u];
        }
    for (uint32_t u = 0; u < f->width; u++)
        f->scale[u] = answered[u] / (expected[u] + 1e-9f);
    for (size_t at = from; at < to; at += f->width)
        for (uint32_t u = 0; u < f->width; u++) {
            float usual = f->expected[at + u] *= f->scale[u];
            float off = f->answered[at + u] - usual;
            squares[u] += usual * usual;
            spread[u] += off * off;
        }
    for (uint32_t u = 0; u < f->width; u++) {
        float excess = spread[u] - answered[u] * f->unequal[u];
        f->care[u] = excess > 0 ? squares[u] / excess : SHAPE_MAX;
        f->care[u] = fminf(fmaxf(f->care[u], SHAPE_MIN), SHAPE_MAX);
    }
}

/* Units that care for the feature get factors by which values they target; `answered` becomes
 * those factors. */
static void fit_targeting(struct fit *f, const struct fit_column *c, bool targeted[static UNITS])
{
    struct targeting *t = f->targeting + (size_t)(c - f->s->columns) * UNITS;
    for (uint32_t u = 0; u < f->width; u++) {
        targeted[u] = f->targets && c->values >= TARGETED_VALUES_MIN && f->care[u] < SHAPE_MAX;
        if (!targeted[u])
            continue;
        float *found = f->answered + (size_t)c->row * f->width + u;
        const struct targeting_counts counts = {.found = found,
                                                .expected =
                                                    f->expected + (size_t)c->row * f->width + u,
                                                .n = c->values,
                                                .stride = f->width,
                                                .lump = (double)f->unequal[u]};
        targeting_fit(&t[u], &counts);
        targeting_factors(&t[u], &counts, found);
    }
}

/* The posterior mean of each factor; `expected` becomes the old ones. */
static void set_factors(struct fit *f, const struct fit_column *c)
{
    bool targeted[UNITS];
    fit_targeting(f, c, targeted);
    size_t from = (size_t)c->row * f->width, to = from + (size_t)c->values * f->width;
    for (size_t at = from; at < to; at += f->width)
        for (uint32_t u = 0; u < f->width; u++) {
            float care = f->care[u] * f->unequal[u], before = f->factor[at + u];
            float now = f->care[u] < SHAPE_MAX
                            ? (f->answered[at + u] + care) / (f->expected[at + u] + care)
                            : 1;
            if (targeted[u])
                now = f->answered[at + u];
            if (f->pace > 1)
                now = fminf(fmaxf(before * powf(now / before, f->pace), PACED_MIN), PACED_MAX);
            f->expected[at + u] = before;
            f->factor[at + u] = now;
        }
    multiply(f->base, f->scale, f->width);
}

/* Of a column of one slot, `expected` becomes the change of the rates. */
static void set_changes(struct fit *f, const struct fit_column *c)
{
    size_t from = (size_t)c->row * f->width, to = from + (size_t)c->values * f->width;
    for (size_t at = from; c->slots == 1 && at < to; at += f->width)
        for (uint32_t u = 0; u < f->width; u++)
            f->expected[at + u] = f->factor[at + u] / f->expected[at + u] * f->scale[u];
}

/* ---- the rates of the units ---- */

/* Each as frequent as the bids that it answers for, which are added up. */
WIDE static void fit_rates(struct fit *f, float answered[static UNITS])
{
    float expected[UNITS] = {0}, squares[UNITS] = {0}, change[UNITS] = {0};
    memset(answered, 0, UNITS * sizeof(*answered));
    for (uint32_t i = 0; i < f->s->n; i++) {
        const float *rate = f->rate + (size_t)i * f->width;
        add_times(expected, rate, f->s->weight[i], f->width);
        if (i < f->s->n_bids) {
            add_times(answered, rate, f->found[i], f->width);
            add_times(squares, rate, f->found[i] * f->s->weight[i], f->width);
        }
    }
    for (uint32_t u = 0; u < f->width; u++) {
        f->unequal[u] = answered[u] > 0 ? squares[u] / answered[u] : 1;
        change[u] = (answered[u] + 0.01f) / (expected[u] + 0.01f);
    }
    multiply(f->base, change, f->width);
    for (uint32_t i = 0; i < f->s->n; i++)
        multiply(f->rate + (size_t)i * f->width, change, f->width);
}

/* Rows of a table, to the first `to` of the units; units beyond n become `fill`. */
static void narrow_rows(float *table, size_t n_rows, const uint32_t *units, uint32_t n,
                        uint32_t from, uint32_t to, float fill)
{
    for (size_t r = 0; r < n_rows; r++)
        for (uint32_t u = 0; u < to; u++)
            table[r * to + u] = u < n ? table[r * from + units[u]] : fill;
}

/* Leaves the dead out, when that spares a vector. */
static void narrow(struct fit *f, const float answered[static UNITS])
{
    uint32_t units[UNITS], n = 0, from = f->width;
    for (uint32_t u = 0; u < from; u++)
        if (answered[u] >= UNIT_DEAD)
            units[n++] = u;
    uint32_t width = n <= LANES ? LANES : (n + LANES - 1) / LANES * LANES;
    if (width == from)
        return;
    narrow_rows(f->rate, f->s->n, units, n, from, width, 0);
    narrow_rows(f->factor, f->s->n_rows, units, n, from, width, 1);
    narrow_rows(f->base, 1, units, n, from, width, 0);
    narrow_rows(f->unequal, 1, units, n, from, width, 1);
    for (uint32_t c = 0; c < f->s->n_columns; c++)
        for (uint32_t u = 0; u < n; u++)
            f->targeting[(size_t)c * UNITS + u] = f->targeting[(size_t)c * UNITS + units[u]];
    f->width = width;
}

/* ---- tomorrow ---- */

/* Days are a column like others while units are fitted, so that each is fitted to the days on which
 * it was there. forecast: of each unit, against its mean of all days. */
static void forecast_units(struct fit *f, const struct fit_column *day,
                           double forecast[static UNITS])
{
    struct activity cared[UNITS];
    size_t n = 0, at = (size_t)day->row * f->width;
    walk(f, NULL, day);
    estimate_care(f, day);
    for (uint32_t u = 0; u < f->width; u++)
        if (f->care[u] < SHAPE_MAX)
            cared[n++] = (struct activity){.found = f->answered + at + u,
                                           .expected = f->expected + at + u,
                                           .n = day->values,
                                           .stride = f->width,
                                           .lump = (double)f->unequal[u]};
    double persistence = activity_persistence(cared, n);
    n = 0;
    for (uint32_t u = 0; u < f->width; u++)
        forecast[u] = f->care[u] < SHAPE_MAX ? activity_forecast(&cared[n++], persistence) : 1;
}

/* What the bid of call i counts for of tomorrow's: the rate that is forecast, as a multiple of the
 * one on its day. */
static double outlook_of(const struct fit *f, uint32_t i, const struct fit_column *day,
                         const double forecast[static UNITS])
{
    const float *rate = f->rate + (size_t)i * f->width;
    const float *factor = f->factor + (size_t)f->s->rows[(size_t)day->at * f->s->n + i] * f->width;
    double then = 0, tomorrow = 0;
    for (uint32_t u = 0; u < f->width; u++) {
        then += (double)rate[u];
        tomorrow += (double)rate[u] / (double)factor[u] * forecast[u];
    }
    return then > 0 ? fmin(tomorrow / then, OUTLOOK_MAX) : 1;
}

static void look_ahead(struct fit *f, float *outlook)
{
    double forecast[UNITS];
    if (f->s->n_columns == 0 || f->s->columns[f->s->n_columns - 1].feature != FIT_DAY)
        return;
    const struct fit_column *day = &f->s->columns[f->s->n_columns - 1];
    forecast_units(f, day, forecast);
    for (uint32_t i = 0; i < f->s->n_bids; i++)
        outlook[i] = (float)outlook_of(f, i, day, forecast);
    for (uint32_t u = 0; u < f->width; u++)
        f->base[u] *= (float)forecast[u];
}

/* ---- from the start to the end ---- */

static void draw_factors(struct fit *f, struct prng *g)
{
    for (uint32_t c = 0; c < f->s->n_columns; c++) {
        const struct fit_column *column = &f->s->columns[c];
        bool alike = f->many_bids && column->feature == FIT_DAY;
        float *factor = f->factor + (size_t)column->row * UNITS;
        for (size_t i = 0; i < (size_t)column->values * UNITS; i++)
            factor[i] = alike ? 1 : (float)exp(START_SPREAD * (2 * prng_unit(g) - 1));
    }
}

/* The product of a call's factors. */
static void start_call(const struct fit *f, uint32_t i, float product[static UNITS])
{
    for (int u = 0; u < UNITS; u++)
        product[u] = 1;
    for (uint32_t c = 0; c < f->s->n_columns; c++) {
        const struct fit_column *column = &f->s->columns[c];
        float sum[UNITS] = {0}, n = 0;
        for (uint32_t k = 0; k < column->slots; k++) {
            uint32_t row = f->s->rows[(size_t)(column->at + k) * f->s->n + i];
            if (row != SLOT_EMPTY) {
                add(sum, f->factor + (size_t)row * UNITS, UNITS);
                n++;
            }
        }
        for (int u = 0; u < UNITS; u++)
            product[u] *= sum[u] / n;
    }
}

static void start(struct fit *f, struct prng *g)
{
    float expected[UNITS] = {0};
    double bids = 0;
    draw_factors(f, g);
    for (uint32_t i = 0; i < f->s->n; i++) {
        float *rate = f->rate + (size_t)i * UNITS;
        start_call(f, i, rate);
        add_times(expected, rate, f->s->weight[i], UNITS);
        bids += i < f->s->n_bids ? (double)f->s->weight[i] : 0;
    }
    uint32_t begun = f->s->n_bids / BIDS_PER_UNIT;
    begun = begun < UNITS ? begun : UNITS;
    for (uint32_t u = 0; u < UNITS; u++)
        f->base[u] = u < begun ? (float)(bids / begun) / (expected[u] + 1e-9f) : 0;
    for (uint32_t i = 0; i < f->s->n; i++)
        multiply(f->rate + (size_t)i * UNITS, f->base, UNITS);
    walk(f, NULL, NULL);
}

static void sweep_all(struct fit *f, const struct conjunction_options *o)
{
    uint32_t sweeps = f->many_bids ? o->sweeps * LONGER : o->sweeps;
    for (uint32_t sweep = 0; sweep < sweeps; sweep++) {
        const struct fit_column *done = NULL;
        float answered[UNITS];
        uint32_t left = sweeps - sweep;
        f->targets = sweep >= SWEEPS_BEFORE_TARGETING;
        f->pace = f->many_bids && sweep > 0 && left > SWEEPS_TO_SETTLE ? PACE : 1;
        fit_rates(f, answered);
        narrow(f, answered);
        for (uint32_t i = 0; i < f->s->n_columns; i++) {
            const struct fit_column *c = &f->s->columns[i];
            if (c->feature == FIT_DAY && f->many_bids && left > SWEEPS_WITH_DAYS)
                continue;
            walk(f, done, c);
            estimate_care(f, c);
            set_factors(f, c);
            set_changes(f, c);
            done = c;
        }
        walk(f, done, NULL);
    }
}

static void settle(struct fitted *to, struct fit *f)
{
    size_t factors = (size_t)f->s->n_rows * f->width;
    float *smaller = realloc(f->factor, (factors + 1) * sizeof(*smaller));
    to->width = f->width;
    to->factor = smaller != NULL ? smaller : f->factor;
    f->factor = NULL;
    memcpy(to->base, f->base, f->width * sizeof(*to->base));
    memset(to->bids, 0, sizeof(to->bids));
    for (uint32_t i = 0; i < f->s->n; i++)
        add_times(to->bids, f->rate + (size_t)i * f->width, f->s->weight[i], f->width);
}

static float *alloc_rows(size_t n)
{
    return malloc((n + 1) * UNITS * sizeof(float));
}

int fit_units(struct fitted *out, const struct fit_sample *s, const struct conjunction_options *o,
              struct prng *g, float *outlook)
{
    struct fit f = {.s = s,
                    .width = UNITS,
                    .rate = alloc_rows(s->n),
                    .factor = alloc_rows(s->n_rows),
                    .answered = alloc_rows(s->n_rows),
                    .expected = alloc_rows(s->n_rows),
                    .found = malloc(((size_t)s->n_bids + 1) * sizeof(float)),
                    .targeting = calloc((size_t)s->n_columns * UNITS + 1, sizeof(*f.targeting)),
                    .many_bids = s->n_bids >= o->bids_many};
    int status = -1;
    *out = (struct fitted){0};
    if (f.rate != NULL && f.factor != NULL && f.answered != NULL && f.expected != NULL &&
        f.found != NULL && f.targeting != NULL) {
        start(&f, g);
        sweep_all(&f, o);
        look_ahead(&f, outlook);
        settle(out, &f);
        status = 0;
    }
    free(f.rate);
    free(f.factor);
    free(f.answered);
    free(f.expected);
    free(f.found);
    free(f.targeting);
    return status;
}
