/* In floats, factors are multiplied as they are, not added up as logarithms: the mean over several
 * values needs no exponential then, and one logarithm a DSP is all that is left.
 *
 * In whole numbers, a feature of one value has logarithms in a byte, which are added up: a quarter
 * of the memory, which is what a large vocabulary waits for. A step is a 16th of a doubling, so
 * that a factor is off by at most 2.2%. Features of several values stay in floats. */
#include "model/conjunction_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/table.h"

enum rows_kind { ROWS_ONES, ROWS_FLOATS, ROWS_STEPS };

struct rows_feature {
    enum rows_kind kind;
    uint32_t values, slots;
    const char *rows; /* [values][stride] floats or steps; NULL: no unit has an opinion of it */
    bool far;
};

struct conjunction_rows {
    const struct kernel *kernel;
    const struct kernel_int8 *whole; /* NULL: all in floats */
    uint32_t n_features;             /* the DSP left out */
    size_t stride;                   /* n_units on whole lines */
    size_t bytes;
    char *block;     /* the rates, then all rows */
    float *rate;     /* [stride] of units; in whole numbers the logarithm of base 2 */
    uint32_t *first; /* [n_dsps + 1] */
    float *share;    /* [n_dsps] */
    struct rows_feature features[];
};

static size_t row_bytes(const struct conjunction_rows *r, enum rows_kind kind)
{
    return r->stride * (kind == ROWS_FLOATS ? sizeof(float) : sizeof(int8_t));
}

/* ---- folding ---- */

static bool all_ones(const struct conjunctions *c, uint32_t f)
{
    size_t n = (size_t)c->values[f] * c->n_units;
    for (size_t i = 0; i < n; i++)
        if (c->factor[f][i] != 1)
            return false;
    return true;
}

/* Also how many bytes all rows take. */
static void choose_kinds(struct conjunction_rows *r, const struct conjunctions *c,
                         const struct network_shape *shape)
{
    uint32_t in_steps = 0;
    r->bytes = r->stride * sizeof(float);
    for (uint32_t f = 0; f < c->n_features; f++) {
        if (f == shape->dsp_feature)
            continue;
        struct rows_feature *to = &r->features[r->n_features++];
        *to = (struct rows_feature){.values = c->values[f], .slots = shape->features[f].slots};
        if (all_ones(c, f))
            continue;
        bool steps = r->whole != NULL && to->slots == 1 && in_steps < KERNEL_POWER_ROWS;
        in_steps += steps;
        to->kind = steps ? ROWS_STEPS : ROWS_FLOATS;
        to->far = table_is_far(to->values, row_bytes(r, to->kind));
        r->bytes += to->values * row_bytes(r, to->kind);
    }
}

static void fill_floats(const struct conjunction_rows *r, const struct conjunctions *c, uint32_t f,
                        float *to)
{
    for (size_t v = 0; v < c->values[f]; v++)
        memcpy(to + v * r->stride, c->factor[f] + v * c->n_units, c->n_units * sizeof(float));
}

/* A byte reaches 8 octaves up and down. Few factors of a unit are further apart; where some are,
 * the middle is elsewhere, and if that does not help the smallest are raised. In whole steps: a
 * factor of 1, as most are, stays exact. */
static float middle_of(float least, float largest)
{
    float low = floorf(log2f(least) * KERNEL_OCTAVE);
    float high = ceilf(log2f(largest) * KERNEL_OCTAVE);
    return fmaxf(fminf(low - INT8_MIN, 0), high - INT8_MAX);
}

static int8_t steps_of(float factor, float middle)
{
    float steps = factor == 1 ? 0 : rintf(log2f(factor) * KERNEL_OCTAVE);
    return (int8_t)fmaxf(steps - middle, INT8_MIN);
}

/* middle: of each unit, first the least of its factors, largest: the largest. */
static void find_middles(const struct conjunctions *c, uint32_t f, float *middle, float *largest)
{
    const float *factor = c->factor[f];
    memcpy(middle, factor, c->n_units * sizeof(*middle));
    memcpy(largest, factor, c->n_units * sizeof(*largest));
    for (size_t v = 1; v < c->values[f]; v++)
        for (uint32_t u = 0; u < c->n_units; u++) {
            float x = factor[v * c->n_units + u];
            middle[u] = x < middle[u] ? x : middle[u];
            largest[u] = x > largest[u] ? x : largest[u];
        }
    for (uint32_t u = 0; u < c->n_units; u++)
        middle[u] = middle_of(middle[u], largest[u]);
}

/* What is taken from all factors of a unit is given to its rate. room: [2][n_units] */
static void fill_steps(const struct conjunction_rows *r, const struct conjunctions *c, uint32_t f,
                       int8_t *to, float *room)
{
    find_middles(c, f, room, room + c->n_units);
    for (uint32_t u = 0; u < c->n_units; u++)
        r->rate[u] += room[u] / KERNEL_OCTAVE;
    for (size_t v = 0; v < c->values[f]; v++, to += r->stride)
        for (uint32_t u = 0; u < c->n_units; u++)
            to[u] = steps_of(c->factor[f][v * c->n_units + u], room[u]);
}

static int fill(struct conjunction_rows *r, const struct conjunctions *c, uint32_t dsp_feature)
{
    char *at = r->block + r->stride * sizeof(float);
    float *room = malloc(2 * ((size_t)c->n_units + 1) * sizeof(*room));
    uint32_t n = 0;
    if (room == NULL)
        return -1;
    r->rate = (float *)r->block;
    for (uint32_t u = 0; u < c->n_units; u++)
        r->rate[u] = r->whole != NULL ? log2f(c->rate[u]) : c->rate[u];
    for (uint32_t f = 0; f < c->n_features; f++) {
        if (f == dsp_feature)
            continue;
        struct rows_feature *to = &r->features[n++];
        if (to->kind == ROWS_ONES)
            continue;
        to->rows = at;
        if (to->kind == ROWS_STEPS)
            fill_steps(r, c, f, (int8_t *)at, room);
        else
            fill_floats(r, c, f, (float *)at);
        at += to->values * row_bytes(r, to->kind);
    }
    free(room);
    return 0;
}

struct conjunction_rows *conjunction_rows_create(const struct conjunctions *c,
                                                 const struct network_shape *shape,
                                                 const struct kernel *k,
                                                 const struct kernel_int8 *whole)
{
    struct conjunction_rows *r = calloc(1, sizeof(*r) + c->n_features * sizeof(r->features[0]));
    if (r == NULL)
        return NULL;
    r->kernel = k;
    r->whole = whole;
    r->stride = ((size_t)c->n_units + KERNEL_LINE - 1) / KERNEL_LINE * KERNEL_LINE;
    choose_kinds(r, c, shape);
    r->block = table_alloc(r->bytes);
    r->first = malloc(((size_t)c->n_dsps + 1) * sizeof(*r->first));
    r->share = malloc(((size_t)c->n_dsps + 1) * sizeof(*r->share));
    if (r->block == NULL || r->first == NULL || r->share == NULL ||
        fill(r, c, shape->dsp_feature) != 0) {
        conjunction_rows_destroy(r);
        return NULL;
    }
    memcpy(r->first, c->first, ((size_t)c->n_dsps + 1) * sizeof(*r->first));
    memcpy(r->share, c->share, (size_t)c->n_dsps * sizeof(*r->share));
    return r;
}

void conjunction_rows_destroy(struct conjunction_rows *r)
{
    if (r == NULL)
        return;
    free(r->block);
    free(r->first);
    free(r->share);
    free(r);
}

size_t conjunction_rows_bytes(const struct conjunction_rows *r)
{
    return r->bytes;
}

/* ---- a request ---- */

static const void *row_of(const struct conjunction_rows *r, const struct rows_feature *f,
                          uint32_t slot)
{
    return f->rows + (slot < f->values ? slot : VALUE_UNKNOWN) * row_bytes(r, f->kind);
}

/* The mean of a feature's rows of floats: one of the table, or put together at `mean`. */
static const float *mean_row(const struct conjunction_rows *r, const struct rows_feature *f,
                             const uint32_t *slots, float *mean)
{
    uint32_t last = 0, n = slots_filled(slots, f->slots, &last);
    if (n <= 1)
        return row_of(r, f, last);
    memset(mean, 0, r->stride * sizeof(float));
    for (uint32_t k = 0; k < f->slots; k++)
        if (slots[k] != SLOT_EMPTY)
            r->kernel->add_scaled(mean, row_of(r, f, slots[k]), 1.0f / (float)n, r->stride);
    return mean;
}

static void add_steps(const struct conjunction_rows *r, float *rates, const uint32_t *slots)
{
    const int8_t *rows[KERNEL_POWER_ROWS];
    size_t n = 0;
    for (uint32_t f = 0; f < r->n_features; slots += r->features[f++].slots)
        if (r->features[f].kind == ROWS_STEPS)
            rows[n++] = row_of(r, &r->features[f], *slots);
    r->whole->power_rows(rates, rows, n, r->stride / KERNEL_LINE);
}

/* Rows wait until there are some of them; means need a place each until then. */
enum { ROWS_AT_ONCE = 16 };

size_t conjunction_rows_scratch(const struct conjunction_rows *r)
{
    return (1 + ROWS_AT_ONCE) * r->stride;
}

static void multiply_floats(const struct conjunction_rows *r, float *rates, const uint32_t *slots)
{
    const float *rows[ROWS_AT_ONCE];
    size_t n = 0;
    for (uint32_t f = 0; f < r->n_features; slots += r->features[f++].slots) {
        if (r->features[f].kind != ROWS_FLOATS)
            continue;
        rows[n] = mean_row(r, &r->features[f], slots, rates + (1 + n) * r->stride);
        if (++n == ROWS_AT_ONCE) {
            r->kernel->multiply_rows(rates, rows, n, r->stride);
            n = 0;
        }
    }
    r->kernel->multiply_rows(rates, rows, n, r->stride);
}

void conjunction_rows_begin(const struct conjunction_rows *r, float *scratch, const uint32_t *slots)
{
    const uint32_t *ahead = slots;
    for (uint32_t f = 0; f < r->n_features; ahead += r->features[f++].slots)
        if (r->features[f].far)
            table_prefetch(row_of(r, &r->features[f], *ahead), row_bytes(r, r->features[f].kind));
    memcpy(scratch, r->rate, r->stride * sizeof(float));
    if (r->whole != NULL)
        add_steps(r, scratch, slots);
    multiply_floats(r, scratch, slots);
}

/* Eight sums beside each other do not wait for one another. */
static float sum_of(const float *x, size_t n)
{
    enum { SUMS = 8 };
    float sums[SUMS] = {0};
    size_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int k = 0; k < SUMS; k++)
            sums[k] += x[i + (size_t)k];
    for (int k = 0; i < n; i++, k++)
        sums[k] += x[i];
    for (int half = SUMS / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            sums[k] += sums[k + half];
    return sums[0];
}

/* log(exp(rate) - 1); of small rates by log(rate) + rate / 2 + rate^2 / 24 - rate^4 / 2880, which
 * is off by less than 1e-7 there and takes half the time. */
static float log_odds_of(float rate)
{
    float square = rate * rate;
    if (rate > 0.5f)
        return logf(expm1f(rate));
    return logf(rate) + 0.5f * rate + square * (1.0f / 24 - square * (1.0f / 2880));
}

float conjunction_rows_join(const struct conjunction_rows *r, const float *scratch, uint32_t dsp,
                            float logit)
{
    uint32_t from = r->first[dsp], to = r->first[dsp + 1];
    if (from == to)
        return logit;
    float rate = fminf(fmaxf(sum_of(scratch + from, to - from), 1e-9f), 20);
    return (1 - r->share[dsp]) * logit + r->share[dsp] * log_odds_of(rate);
}
