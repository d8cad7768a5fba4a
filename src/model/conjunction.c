/* One DSP at a time, one member at a time: all of its bids and a sample of the other calls, a
 * column a slot. A sweep walks over the features; for each it adds up, by value and unit, the bids
 * that the unit answers for (E step) and the rate that it expects, sets the factors of that feature
 * to what fits best (M step), and carries the change over to the rate of every call.
 *
 * All UNITS units of a member are walked at once, as one vector. */
#include "model/conjunction.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model/activity.h"
#include "model/network.h"
#include "model/targeting.h"
#include "model/train.h"
#include "prng.h"

enum {
    UNITS = 64, /* of one member */
    BIDS_MIN = 20,
    BIDS_PER_UNIT = 2,     /* no more units than so many bids bear */
    CALLS_PER_BID = 10,    /* of those without one, in the sample */
    CALLS_MIN = 20000,     /* likewise, however few the bids */
    CALLS_ENOUGH = 300000, /* beyond them, CALLS_PER_BID_MIN a bid will do */
    CALLS_PER_BID_MIN = 3,
    BIDS_MAX = 500000,
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
/* How unlike each other the units begin: factors are between exp(-x) and exp(x). */
static const double START_SPREAD = 0.85;
/* Below it 1 - exp(-rate) has no digits left in a float, and is the rate. */
static const float RATE_TINY = 1e-6f;
/* While they are fitted, all members of all DSPs together: 2 GiB. */
static const uint64_t FITTED_FACTORS_MAX = 1 << 29;
/* A bid counts for no more than so many of tomorrow's. */
static const double OUTLOOK_MAX = 5;
/* A unit that answers for fewer bids is left out. */
static const double UNIT_BIDS_MIN = 0.5;

#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
/* Wider vectors, the same results to the bit. */
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define INLINED static inline __attribute__((always_inline))

typedef float units __attribute__((vector_size(UNITS * sizeof(float)), aligned(64)));

/* ---- the parts ---- */

void conjunctions_destroy(struct conjunctions *c)
{
    if (c == NULL)
        return;
    for (uint32_t f = 0; c->factor != NULL && f < c->n_features; f++)
        free(c->factor[f]);
    free(c->factor);
    free(c->values);
    free(c->first);
    free(c->share);
    free(c->rate);
    free(c->dsp);
    free(c);
}

struct conjunctions *conjunctions_create(const struct network_shape *shape, uint32_t n_units)
{
    struct conjunctions *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->n_features = shape->n_features;
    c->n_dsps = shape->n_dsps;
    c->n_units = n_units;
    c->first = calloc((size_t)shape->n_dsps + 1, sizeof(*c->first));
    c->share = malloc(((size_t)shape->n_dsps + 1) * sizeof(*c->share));
    c->rate = calloc((size_t)n_units + 1, sizeof(*c->rate));
    c->dsp = calloc((size_t)n_units + 1, sizeof(*c->dsp));
    c->factor = calloc(shape->n_features, sizeof(*c->factor));
    c->values = calloc(shape->n_features, sizeof(*c->values));
    bool ok = c->first != NULL && c->share != NULL && c->rate != NULL && c->dsp != NULL &&
              c->factor != NULL && c->values != NULL;
    for (uint32_t d = 0; ok && d < shape->n_dsps; d++)
        c->share[d] = 0.5f;
    for (uint32_t f = 0; ok && f < shape->n_features; f++) {
        c->values[f] = shape->features[f].values;
        if (f == shape->dsp_feature)
            continue;
        size_t n = (size_t)c->values[f] * n_units;
        c->factor[f] = malloc((n + 1) * sizeof(*c->factor[f]));
        ok = c->factor[f] != NULL;
        for (size_t i = 0; ok && i < n; i++)
            c->factor[f][i] = 1;
    }
    if (ok)
        return c;
    conjunctions_destroy(c);
    return NULL;
}

int conjunctions_index(struct conjunctions *c)
{
    uint32_t u = 0;
    for (uint32_t d = 0; d < c->n_dsps; d++) {
        c->first[d] = u;
        while (u < c->n_units && c->dsp[u] == (float)d)
            u++;
    }
    c->first[c->n_dsps] = u;
    return u == c->n_units ? 0 : -1;
}

void conjunction_options_default(struct conjunction_options *o)
{
    *o = (struct conjunction_options){
        .members = 4, .sweeps = 12, .bids_many = 10000, .seed = 1, .threads = 1};
}

/* ---- one member of one DSP ---- */

/* A feature, as the fit sees it; the last may be the day. */
enum { FEATURE_DAY = UINT32_MAX };
struct column {
    uint32_t feature, slots, at; /* its first slot */
    uint32_t values, row;        /* its first row in the tables below */
};

struct fit {
    const struct column *columns;
    uint32_t n_columns, n_rows, n_slots;
    uint32_t n, n_bids;          /* calls of the sample, the bids first */
    const uint32_t *rows;        /* [n_slots][n] rows of the tables; SLOT_EMPTY */
    const float *weight;         /* [n] */
    float *found;                /* [n_bids] weight / p(bid) */
    units *rate;                 /* [n] of each call */
    units *factor;               /* [n_rows] */
    units *answered, *expected;  /* [n_rows] sums of the E step; expected: at the present factors */
    units base;                  /* rate[u] of the units */
    float unequal[UNITS];        /* sum w^2 / sum w of the bids that each answers for */
    float care[UNITS];           /* shape of the prior of the column at hand */
    struct targeting *targeting; /* [n_columns][UNITS] */
    bool targets;                /* it is time for it */
    bool many_bids;
    float pace;
};

/* The change of a call's rates that the new factors of a column bring. */
INLINED units change_of(const struct fit *f, const struct column *c, const units *scale,
                        bool single, uint32_t i)
{
    const uint32_t *row = f->rows + (size_t)c->at * f->n + i;
    units now = {0}, before = {0};
    if (single)
        return f->expected[*row];
    for (uint32_t k = 0; k < c->slots; k++, row += f->n)
        if (*row != SLOT_EMPTY) {
            now += f->factor[*row];
            before += f->expected[*row];
        }
    return now / before * *scale;
}

/* Each of a call's values answers for its share of the mean. */
INLINED void add_call(struct fit *f, const struct column *c, bool single, uint32_t i)
{
    const uint32_t *row = f->rows + (size_t)c->at * f->n + i;
    if (single) {
        f->expected[*row] += f->rate[i] * f->weight[i];
        if (i < f->n_bids)
            f->answered[*row] += f->rate[i] * f->found[i];
        return;
    }
    units sum = {0};
    for (uint32_t k = 0; k < c->slots; k++)
        if (row[(size_t)k * f->n] != SLOT_EMPTY)
            sum += f->factor[row[(size_t)k * f->n]];
    units share = f->rate[i] / sum;
    for (uint32_t k = 0; k < c->slots; k++, row += f->n) {
        if (*row == SLOT_EMPTY)
            continue;
        units own = share * f->factor[*row];
        f->expected[*row] += own * f->weight[i];
        if (i < f->n_bids)
            f->answered[*row] += own * f->found[i];
    }
}

/* How many bids a call with one stands for: of all campaigns together, given that there was at
 * least one. */
INLINED void find_bid(struct fit *f, uint32_t i)
{
    float sum = 0;
    for (int u = 0; u < UNITS; u++)
        sum += f->rate[i][u];
    float p = sum < RATE_TINY ? sum : 1 - expf(-fminf(sum, 30));
    f->found[i] = f->weight[i] / (p + 1e-20f);
}

INLINED void walk_calls(struct fit *f, const struct column *done, bool done_single,
                        const units *scale, const struct column *next, bool next_single)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (done != NULL)
            f->rate[i] *= change_of(f, done, scale, done_single, i);
        if (i < f->n_bids)
            find_bid(f, i);
        if (next != NULL)
            add_call(f, next, next_single, i);
    }
}

/* One walk over the calls, of which the rates are most of the memory: carries over what the column
 * that is done has changed, and adds up the next one. Either may be NULL. */
WIDE static void walk(struct fit *f, const struct column *done, const units *scale,
                      const struct column *next)
{
    bool done_single = done != NULL && done->slots == 1;
    bool next_single = next != NULL && next->slots == 1;
    if (next != NULL) {
        memset(f->answered + next->row, 0, next->values * sizeof(units));
        memset(f->expected + next->row, 0, next->values * sizeof(units));
    }
    if (done_single && next_single)
        walk_calls(f, done, true, scale, next, true);
    else if (next_single)
        walk_calls(f, done, false, scale, next, true);
    else if (done_single)
        walk_calls(f, done, true, scale, next, false);
    else
        walk_calls(f, done, false, scale, next, false);
}

/* Counts of a gamma-Poisson law with mean E have the variance E + E^2 / shape: by moments, shape =
 * sum E^2 / sum((count - E)^2 - count). Where a bid stands for several (explored calls), counts
 * come in lumps of so many, and the prior weighs as many more. `expected` becomes what a factor of
 * 1 would give; scale: what makes it sum to the found bids, and is part of it. */
static void estimate_care(struct fit *f, const struct column *c, units *scale)
{
    units answered = {0}, expected = {0}, squares = {0}, spread = {0};
    for (uint32_t v = c->row; v < c->row + c->values; v++) {
        f->expected[v] /= f->factor[v];
        answered += f->answered[v];
        expected += f->expected[v];
    }
    *scale = answered / (expected + 1e-9f);
    for (uint32_t v = c->row; v < c->row + c->values; v++) {
        f->expected[v] *= *scale;
        units off = f->answered[v] - f->expected[v];
        squares += f->expected[v] * f->expected[v];
        spread += off * off;
    }
    for (int u = 0; u < UNITS; u++) {
        float excess = spread[u] - answered[u] * f->unequal[u];
        f->care[u] = excess > 0 ? squares[u] / excess : SHAPE_MAX;
        f->care[u] = fminf(fmaxf(f->care[u], SHAPE_MIN), SHAPE_MAX);
    }
}

/* Units that care for the feature get factors by which values they target; `answered` becomes
 * those factors. */
static void fit_targeting(struct fit *f, const struct column *c, bool targeted[static UNITS])
{
    struct targeting *t = f->targeting + (size_t)(c - f->columns) * UNITS;
    for (uint32_t u = 0; u < UNITS; u++) {
        targeted[u] = f->targets && c->values >= TARGETED_VALUES_MIN && f->care[u] < SHAPE_MAX;
        if (!targeted[u])
            continue;
        float *found = (float *)(f->answered + c->row) + u;
        const struct targeting_counts counts = {.found = found,
                                                .expected = (float *)(f->expected + c->row) + u,
                                                .n = c->values,
                                                .stride = UNITS,
                                                .lump = (double)f->unequal[u]};
        targeting_fit(&t[u], &counts);
        targeting_factors(&t[u], &counts, found);
    }
}

/* The posterior mean of each factor; `expected` becomes the old ones. */
static void set_factors(struct fit *f, const struct column *c, const units *scale)
{
    bool targeted[UNITS];
    units care;
    fit_targeting(f, c, targeted);
    for (int u = 0; u < UNITS; u++)
        care[u] = f->care[u] * f->unequal[u];
    for (uint32_t v = c->row; v < c->row + c->values; v++) {
        units now = (f->answered[v] + care) / (f->expected[v] + care);
        for (int u = 0; u < UNITS; u++)
            now[u] = targeted[u] ? f->answered[v][u] : f->care[u] < SHAPE_MAX ? now[u] : 1;
        for (int u = 0; u < UNITS && f->pace > 1; u++)
            now[u] = f->factor[v][u] * powf(now[u] / f->factor[v][u], f->pace);
        f->expected[v] = f->factor[v];
        f->factor[v] = now;
    }
    f->base *= *scale;
}

/* Of a column of one slot, `expected` becomes the change of the rates. */
static void set_changes(struct fit *f, const struct column *c, const units *scale)
{
    for (uint32_t v = c->row; c->slots == 1 && v < c->row + c->values; v++)
        f->expected[v] = f->factor[v] / f->expected[v] * *scale;
}

/* Each unit as frequent as the bids that it answers for. */
WIDE static void fit_rates(struct fit *f)
{
    units answered = {0}, expected = {0}, squares = {0};
    for (uint32_t i = 0; i < f->n; i++) {
        expected += f->rate[i] * f->weight[i];
        if (i < f->n_bids) {
            units own = f->rate[i] * f->found[i];
            answered += own;
            squares += own * f->weight[i];
        }
    }
    for (int u = 0; u < UNITS; u++)
        f->unequal[u] = answered[u] > 0 ? squares[u] / answered[u] : 1;
    units change = (answered + 0.01f) / (expected + 0.01f);
    f->base *= change;
    for (uint32_t i = 0; i < f->n; i++)
        f->rate[i] *= change;
}

/* ---- tomorrow ---- */

/* Days are a column like others while units are fitted, so that each is fitted to the days on which
 * it was there. forecast: of each unit, against its mean of all days. */
static void forecast_units(struct fit *f, const struct column *day, double forecast[static UNITS])
{
    struct activity cared[UNITS];
    size_t n = 0;
    units scale;
    walk(f, NULL, NULL, day);
    estimate_care(f, day, &scale);
    for (int u = 0; u < UNITS; u++)
        if (f->care[u] < SHAPE_MAX)
            cared[n++] = (struct activity){.found = (float *)(f->answered + day->row) + u,
                                           .expected = (float *)(f->expected + day->row) + u,
                                           .n = day->values,
                                           .stride = UNITS,
                                           .lump = (double)f->unequal[u]};
    double persistence = activity_persistence(cared, n);
    n = 0;
    for (int u = 0; u < UNITS; u++)
        forecast[u] = f->care[u] < SHAPE_MAX ? activity_forecast(&cared[n++], persistence) : 1;
}

/* What the bid of call i counts for of tomorrow's: the rate that is forecast, as a multiple of the
 * one on its day. */
static double outlook_of(const struct fit *f, uint32_t i, const struct column *day,
                         const double forecast[static UNITS])
{
    uint32_t row = f->rows[(size_t)day->at * f->n + i];
    double then = 0, tomorrow = 0;
    for (int u = 0; u < UNITS; u++) {
        then += (double)f->rate[i][u];
        tomorrow += (double)f->rate[i][u] / (double)f->factor[row][u] * forecast[u];
    }
    return then > 0 ? fmin(tomorrow / then, OUTLOOK_MAX) : 1;
}

/* outlook: of all pairs; may be NULL. Each of `members` has its share in it. */
static void look_ahead(struct fit *f, const struct column *day, const uint64_t *pairs,
                       uint32_t members, float *outlook)
{
    double forecast[UNITS];
    forecast_units(f, day, forecast);
    for (uint32_t i = 0; i < f->n_bids && outlook != NULL; i++)
        outlook[pairs[i]] += (float)((outlook_of(f, i, day, forecast) - 1) / members);
    for (int u = 0; u < UNITS; u++)
        f->base[u] *= (float)forecast[u];
}

/* ---- the start ---- */

static void start(struct fit *f, struct prng *g)
{
    units expected = {0};
    double bids = 0;
    for (uint32_t c = 0; c < f->n_columns; c++) {
        const struct column *column = &f->columns[c];
        bool alike = f->many_bids && column->feature == FEATURE_DAY;
        for (uint32_t v = column->row; v < column->row + column->values; v++)
            for (int u = 0; u < UNITS; u++)
                f->factor[v][u] = alike ? 1 : (float)exp(START_SPREAD * (2 * prng_unit(g) - 1));
    }
    for (uint32_t i = 0; i < f->n; i++) {
        units product;
        for (int u = 0; u < UNITS; u++)
            product[u] = 1;
        for (uint32_t c = 0; c < f->n_columns; c++) {
            const struct column *column = &f->columns[c];
            units sum = {0};
            float n = 0;
            for (uint32_t k = 0; k < column->slots; k++) {
                uint32_t row = f->rows[(size_t)(column->at + k) * f->n + i];
                if (row != SLOT_EMPTY) {
                    sum += f->factor[row];
                    n++;
                }
            }
            product *= sum / n;
        }
        f->rate[i] = product;
        expected += product * f->weight[i];
        bids += i < f->n_bids ? (double)f->weight[i] : 0;
    }
    uint32_t begun = f->n_bids / BIDS_PER_UNIT < UNITS ? f->n_bids / BIDS_PER_UNIT : UNITS;
    for (uint32_t u = 0; u < UNITS; u++)
        f->base[u] = u < begun ? (float)(bids / begun) / (expected[u] + 1e-9f) : 0;
    for (uint32_t i = 0; i < f->n; i++)
        f->rate[i] *= f->base;
    walk(f, NULL, NULL, NULL);
}

/* ---- the sample of one DSP ---- */

struct fitted {    /* of one member of one DSP */
    units *factor; /* [n_rows] */
    units base;
    float bids[UNITS]; /* that each unit expects */
    bool there;
};

struct job {
    const struct network_shape *shape;
    const struct examples *e;
    const struct conjunction_options *o;
    uint32_t members;       /* of each DSP */
    struct column *columns; /* the day behind them, if days are told apart */
    uint32_t n_columns, n_rows, n_slots;
    bool days;
    float *outlook;        /* [pairs] of all members so far; or NULL */
    struct fitted *fitted; /* [dsps][members] */
    pthread_mutex_t lock;
    uint32_t next, done;
    bool failed;
};

/* Which pairs: all bids, then the others with the same chance each; their weights say what they
 * stand for. */
static uint32_t choose_pairs(const struct job *j, uint32_t dsp, struct prng *g, uint64_t **pairs,
                             float **weights, uint32_t *n_bids)
{
    const struct examples *e = j->e;
    uint64_t bids = 0, others = 0, n = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++)
        if (e->dsp[i] == dsp) {
            bids += e->label[i] != 0;
            others += e->label[i] == 0;
        }
    double keep_bid = fmin(1, BIDS_MAX / fmax(1, (double)bids)), kept = keep_bid * (double)bids;
    double wanted =
        fmin(fmax(CALLS_MIN, CALLS_PER_BID * kept), fmax(CALLS_ENOUGH, CALLS_PER_BID_MIN * kept));
    double keep = fmin(1, wanted / fmax(1, (double)others));
    uint64_t room = (uint64_t)((double)bids * keep_bid + (double)others * keep) + 10000;
    room = room < bids + others ? room : bids + others;
    *pairs = malloc((room + 1) * sizeof(**pairs));
    *weights = malloc((room + 1) * sizeof(**weights));
    if (*pairs == NULL || *weights == NULL)
        return 0;
    for (int bid = 1; bid >= 0; bid--) {
        double chance = bid ? keep_bid : keep;
        for (uint64_t i = 0; i < e->n_pairs && n < room; i++)
            if (e->dsp[i] == dsp && (e->label[i] != 0) == bid &&
                (chance >= 1 || prng_unit(g) < chance)) {
                (*pairs)[n] = i;
                (*weights)[n++] = (float)((double)e->weight[i] / chance);
            }
        if (bid)
            *n_bids = (uint32_t)n;
    }
    return (uint32_t)n;
}

/* The sample's calls, a column a slot, as rows of the tables. */
static uint32_t *load_rows(const struct job *j, const uint64_t *pairs, uint32_t n)
{
    uint32_t *rows = malloc(((size_t)j->n_slots * n + 1) * sizeof(*rows));
    uint32_t n_all = network_shape_slots(j->shape);
    if (rows == NULL)
        return NULL;
    uint32_t at = 0, column = 0;
    for (uint32_t f = 0; f < j->shape->n_features; f++) {
        const struct network_feature *feature = &j->shape->features[f];
        if (f == j->shape->dsp_feature)
            continue;
        if (column < j->n_columns && j->columns[column].feature == f) {
            const struct column *c = &j->columns[column++];
            for (uint32_t k = 0; k < c->slots; k++)
                for (uint32_t i = 0; i < n; i++) {
                    uint32_t v = j->e->slots[(size_t)j->e->request[pairs[i]] * n_all + at + k];
                    rows[(size_t)(c->at + k) * n + i] =
                        v == SLOT_EMPTY ? SLOT_EMPTY : c->row + (v < c->values ? v : VALUE_UNKNOWN);
                }
        }
        at += feature->slots;
    }
    const struct column *day = &j->columns[j->n_columns];
    for (uint32_t i = 0; i < n && j->days; i++)
        rows[(size_t)day->at * n + i] = day->row + j->e->day[j->e->request[pairs[i]]];
    return rows;
}

static void fit_member(struct fit *f, const struct conjunction_options *o, struct prng *g)
{
    units scale;
    uint32_t sweeps = f->many_bids ? o->sweeps * LONGER : o->sweeps;
    start(f, g);
    for (uint32_t sweep = 0; sweep < sweeps; sweep++) {
        const struct column *done = NULL;
        uint32_t left = sweeps - sweep;
        f->targets = sweep >= SWEEPS_BEFORE_TARGETING;
        f->pace = f->many_bids && sweep > 0 && left > SWEEPS_TO_SETTLE ? PACE : 1;
        fit_rates(f);
        for (uint32_t i = 0; i < f->n_columns; i++) {
            const struct column *c = &f->columns[i];
            if (c->feature == FEATURE_DAY && f->many_bids && left > SWEEPS_WITH_DAYS)
                continue;
            walk(f, done, &scale, c);
            estimate_care(f, c, &scale);
            set_factors(f, c, &scale);
            set_changes(f, c, &scale);
            done = c;
        }
        walk(f, done, &scale, NULL);
    }
}

static units *alloc_units(size_t n)
{
    units *u = aligned_alloc(sizeof(units), (n + 1) * sizeof(units));
    if (u != NULL)
        memset(u, 0, (n + 1) * sizeof(units));
    return u;
}

static int keep_member(struct fitted *to, struct fit *f)
{
    to->factor = f->factor;
    f->factor = NULL;
    to->base = f->base;
    for (uint32_t i = 0; i < f->n; i++)
        for (int u = 0; u < UNITS; u++)
            to->bids[u] += f->rate[i][u] * f->weight[i];
    to->there = true;
    return 0;
}

static int fit_dsp_member(struct job *j, uint32_t dsp, uint32_t member)
{
    struct prng g = {j->o->seed + UINT64_C(0x9e3779b97f4a7c15) * (dsp * 64 + member + 1)};
    struct fit f = {.columns = j->columns,
                    .n_columns = j->n_columns + j->days,
                    .n_rows = j->n_rows,
                    .n_slots = j->n_slots};
    uint64_t *pairs = NULL;
    float *weights = NULL;
    uint32_t *rows = NULL;
    int status = -1;
    f.n = choose_pairs(j, dsp, &g, &pairs, &weights, &f.n_bids);
    if (pairs == NULL || weights == NULL)
        goto done;
    if (f.n_bids < BIDS_MIN || f.n_bids == f.n) {
        status = 0;
        goto done;
    }
    f.many_bids = f.n_bids >= j->o->bids_many;
    rows = load_rows(j, pairs, f.n);
    f.rows = rows;
    f.weight = weights;
    f.found = malloc(((size_t)f.n_bids + 1) * sizeof(*f.found));
    f.rate = alloc_units(f.n);
    f.factor = alloc_units(f.n_rows);
    f.answered = alloc_units(f.n_rows);
    f.expected = alloc_units(f.n_rows);
    f.targeting = calloc((size_t)f.n_columns * UNITS + 1, sizeof(*f.targeting));
    if (f.targeting == NULL || rows == NULL || f.found == NULL || f.rate == NULL ||
        f.factor == NULL || f.answered == NULL || f.expected == NULL)
        goto done;
    fit_member(&f, j->o, &g);
    if (j->days)
        look_ahead(&f, &j->columns[j->n_columns], pairs, j->members, j->outlook);
    status = keep_member(&j->fitted[(size_t)dsp * j->members + member], &f);
done:
    free(pairs);
    free(weights);
    free(rows);
    free(f.found);
    free(f.rate);
    free(f.factor);
    free(f.answered);
    free(f.expected);
    free(f.targeting);
    return status;
}

static void *work(void *arg)
{
    struct job *j = arg;
    pthread_mutex_lock(&j->lock);
    while (j->next < j->shape->n_dsps && !j->failed) {
        uint32_t mine = j->next++;
        int status = 0;
        pthread_mutex_unlock(&j->lock);
        for (uint32_t member = 0; member < j->members && status == 0; member++)
            status = fit_dsp_member(j, mine, member);
        pthread_mutex_lock(&j->lock);
        j->failed |= status != 0;
        j->done++;
        if (j->o->progress != NULL)
            j->o->progress(j->o->progress_ctx, j->done, j->shape->n_dsps);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- all of them ---- */

/* A feature with one value for all requests says nothing. */
static int choose_columns(struct job *j)
{
    const struct network_shape *s = j->shape;
    uint32_t n_all = network_shape_slots(s), at = 0;
    j->columns = calloc((size_t)s->n_features + 1, sizeof(*j->columns));
    if (j->columns == NULL)
        return -1;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        if (f == s->dsp_feature)
            continue;
        bool differs = false;
        for (uint32_t r = 1; r < j->e->n_requests && !differs; r++)
            differs = memcmp(j->e->slots + at, j->e->slots + (size_t)r * n_all + at,
                             feature->slots * sizeof(uint32_t)) != 0;
        if (differs) {
            j->columns[j->n_columns++] =
                (struct column){f, feature->slots, j->n_slots, feature->values, j->n_rows};
            j->n_slots += feature->slots;
            j->n_rows += feature->values;
        }
        at += feature->slots;
    }
    j->days = j->e->n_days > 1;
    if (j->days) {
        j->columns[j->n_columns] =
            (struct column){FEATURE_DAY, 1, j->n_slots++, j->e->n_days, j->n_rows};
        j->n_rows += j->e->n_days;
    }
    return 0;
}

static uint32_t members_that_fit(const struct job *j)
{
    uint64_t each = ((uint64_t)j->n_rows + 1) * j->shape->n_dsps * UNITS;
    uint64_t n = FITTED_FACTORS_MAX / each;
    return n < 1 ? 1 : n < j->o->members ? (uint32_t)n : j->o->members;
}

static bool worth_keeping(const struct fitted *m, int u, double bids_min)
{
    return m->there && (double)m->bids[u] >= bids_min && m->base[u] > 0 &&
           m->base[u] <= CONJUNCTION_MAX;
}

static uint64_t units_with(const struct job *j, double bids_min)
{
    uint64_t n = 0;
    for (uint32_t m = 0; m < j->shape->n_dsps * j->members; m++)
        for (int u = 0; u < UNITS; u++)
            n += worth_keeping(&j->fitted[m], u, bids_min);
    return n;
}

/* What the units that stay are to be multiplied by, to answer for those that do not. */
static float makes_up(const struct fitted *m, double bids_min)
{
    double all = 0, kept = 0;
    for (int u = 0; m->there && u < UNITS; u++) {
        all += (double)m->bids[u];
        kept += worth_keeping(m, u, bids_min) ? (double)m->bids[u] : 0;
    }
    return kept > 0 ? (float)(all / kept) : 1;
}

static void copy_unit(const struct job *j, struct conjunctions *c, const struct fitted *m, int u,
                      float rate, uint32_t to)
{
    c->dsp[to] = (float)((m - j->fitted) / j->members);
    c->rate[to] = fminf(rate, CONJUNCTION_MAX);
    for (uint32_t k = 0; k < j->n_columns; k++) {
        const struct column *column = &j->columns[k];
        float *table = c->factor[column->feature];
        for (uint32_t v = 0; v < column->values; v++) {
            float factor = fminf(m->factor[column->row + v][u], CONJUNCTION_MAX);
            table[(size_t)v * c->n_units + to] =
                factor >= CONJUNCTION_FACTOR_MIN ? factor : CONJUNCTION_FACTOR_MIN;
        }
    }
}

/* The fewest bids with which a unit is kept, so that all that are have room. */
static double least_bids(const struct job *j)
{
    uint64_t room = CONJUNCTION_FACTORS_MAX / ((uint64_t)j->n_rows + 1);
    double low = UNIT_BIDS_MIN, high = UNIT_BIDS_MIN;
    room = room < CONJUNCTION_UNITS_MAX ? room : CONJUNCTION_UNITS_MAX;
    while (units_with(j, high) > room)
        high *= 2;
    for (int i = 0; i < 30 && high > UNIT_BIDS_MIN; i++) {
        double middle = (low + high) / 2;
        *(units_with(j, middle) > room ? &low : &high) = middle;
    }
    return high;
}

static struct conjunctions *assemble(const struct job *j)
{
    double bids_min = least_bids(j);
    struct conjunctions *c = conjunctions_create(j->shape, (uint32_t)units_with(j, bids_min));
    uint32_t to = 0;
    for (uint32_t m = 0; c != NULL && m < j->shape->n_dsps * j->members; m++) {
        const struct fitted *f = &j->fitted[m];
        float scale = makes_up(f, bids_min) / (float)j->members;
        for (int u = 0; u < UNITS; u++)
            if (worth_keeping(f, u, bids_min))
                copy_unit(j, c, f, u, f->base[u] * scale, to++);
    }
    if (c != NULL)
        conjunctions_index(c);
    return c;
}

static void run_workers(struct job *j)
{
    uint32_t n = j->o->threads < j->shape->n_dsps ? j->o->threads : j->shape->n_dsps, started = 0;
    pthread_t threads[64];
    pthread_mutex_init(&j->lock, NULL);
    while (started + 1 < n && started < 64 && pthread_create(&threads[started], NULL, work, j) == 0)
        started++;
    work(j);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&j->lock);
}

struct conjunctions *conjunctions_fit(const struct network_shape *shape, const struct examples *e,
                                      const struct conjunction_options *o, float *outlook,
                                      struct error *err)
{
    assert(o->members >= 1 && o->threads >= 1);
    struct job j = {.shape = shape, .e = e, .o = o, .outlook = outlook};
    struct conjunctions *c = NULL;
    uint32_t n_members = 0;
    for (uint64_t i = 0; i < e->n_pairs && outlook != NULL; i++)
        outlook[i] = 1;
    if (choose_columns(&j) == 0) {
        j.members = members_that_fit(&j);
        n_members = shape->n_dsps * j.members;
        j.fitted = aligned_alloc(64, ((size_t)n_members + 1) * sizeof(*j.fitted));
    }
    if (j.fitted != NULL) {
        memset(j.fitted, 0, ((size_t)n_members + 1) * sizeof(*j.fitted));
        run_workers(&j);
        c = j.failed ? NULL : assemble(&j);
    }
    for (uint32_t m = 0; j.fitted != NULL && m < n_members; m++)
        free(j.fitted[m].factor);
    free(j.fitted);
    free(j.columns);
    if (c == NULL)
        error_set(err, "training: out of memory");
    return c;
}
