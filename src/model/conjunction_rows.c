/* Factors are multiplied as they are, not added up as logarithms: the mean over several values
 * needs no exponential then, and one logarithm a DSP is all that is left. */
#include "model/conjunction_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/table.h"

struct rows_feature {
    const float *rows; /* [values][stride], NULL = all 1 */
    uint32_t values, slots;
};

struct conjunction_rows {
    const struct kernel *kernel;
    uint32_t n_features; /* the DSP left out */
    size_t stride;       /* n_units on whole lines */
    size_t bytes;
    float *block;      /* all rows, then the rates */
    const float *rate; /* [stride] */
    uint32_t *first;   /* [n_dsps + 1] */
    float *share;      /* [n_dsps] */
    struct rows_feature features[];
};

/* A feature that no unit has an opinion of needs no rows. */
static bool all_ones(const struct conjunctions *c, uint32_t f)
{
    size_t n = c->factor[f] != NULL ? (size_t)c->values[f] * c->n_units : 0;
    for (size_t i = 0; i < n; i++)
        if (c->factor[f][i] != 1)
            return false;
    return true;
}

static size_t rows_of(const struct conjunctions *c)
{
    size_t n = 1;
    for (uint32_t f = 0; f < c->n_features; f++)
        n += all_ones(c, f) ? 0 : c->values[f];
    return n;
}

struct conjunction_rows *conjunction_rows_create(const struct conjunctions *c,
                                                 const struct network_shape *shape,
                                                 const struct kernel *k)
{
    struct conjunction_rows *r = calloc(1, sizeof(*r) + c->n_features * sizeof(r->features[0]));
    if (r == NULL)
        return NULL;
    r->kernel = k;
    r->stride = table_on_line(c->n_units);
    r->bytes = rows_of(c) * r->stride * sizeof(float);
    r->block = table_alloc(r->bytes);
    r->first = malloc(((size_t)c->n_dsps + 1) * sizeof(*r->first));
    r->share = malloc(((size_t)c->n_dsps + 1) * sizeof(*r->share));
    if (r->block == NULL || r->first == NULL || r->share == NULL) {
        conjunction_rows_destroy(r);
        return NULL;
    }
    memcpy(r->first, c->first, ((size_t)c->n_dsps + 1) * sizeof(*r->first));
    memcpy(r->share, c->share, (size_t)c->n_dsps * sizeof(*r->share));
    float *at = r->block;
    for (uint32_t f = 0; f < c->n_features; f++) {
        if (f == shape->dsp_feature)
            continue;
        struct rows_feature *to = &r->features[r->n_features++];
        *to = (struct rows_feature){NULL, c->values[f], shape->features[f].slots};
        if (all_ones(c, f))
            continue;
        to->rows = at;
        for (uint32_t v = 0; v < c->values[f]; v++, at += r->stride)
            memcpy(at, c->factor[f] + (size_t)v * c->n_units, c->n_units * sizeof(float));
    }
    memcpy(at, c->rate, c->n_units * sizeof(float));
    r->rate = at;
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

static const float *row_of(const struct conjunction_rows *r, const struct rows_feature *f,
                           uint32_t slot)
{
    return f->rows + (size_t)(slot < f->values ? slot : VALUE_UNKNOWN) * r->stride;
}

/* The mean of a feature's rows: one of the table, or put together at `mean`. */
static const float *mean_row(const struct conjunction_rows *r, const struct rows_feature *f,
                             const uint32_t *slots, float *mean)
{
    uint32_t n = 0, last = 0;
    for (uint32_t k = 0; k < f->slots; k++)
        if (slots[k] != SLOT_EMPTY) {
            last = slots[k];
            n++;
        }
    if (n <= 1)
        return row_of(r, f, last);
    memset(mean, 0, r->stride * sizeof(float));
    for (uint32_t k = 0; k < f->slots; k++)
        if (slots[k] != SLOT_EMPTY)
            r->kernel->add_scaled(mean, row_of(r, f, slots[k]), 1.0f / (float)n, r->stride);
    return mean;
}

/* Rows wait until there are some of them; means need a place each until then. */
enum { ROWS_AT_ONCE = 16 };

size_t conjunction_rows_scratch(const struct conjunction_rows *r)
{
    return (1 + ROWS_AT_ONCE) * r->stride;
}

void conjunction_rows_begin(const struct conjunction_rows *r, float *scratch, const uint32_t *slots)
{
    const float *rows[ROWS_AT_ONCE];
    const uint32_t *ahead = slots;
    size_t n = 0;
    for (uint32_t f = 0; f < r->n_features; ahead += r->features[f++].slots)
        if (r->features[f].rows != NULL)
            table_prefetch(row_of(r, &r->features[f], *ahead), r->stride * sizeof(float));
    memcpy(scratch, r->rate, r->stride * sizeof(float));
    for (uint32_t f = 0; f < r->n_features; slots += r->features[f++].slots) {
        if (r->features[f].rows == NULL)
            continue;
        rows[n] = mean_row(r, &r->features[f], slots, scratch + (1 + n) * r->stride);
        if (++n == ROWS_AT_ONCE) {
            r->kernel->multiply_rows(scratch, rows, n, r->stride);
            n = 0;
        }
    }
    r->kernel->multiply_rows(scratch, rows, n, r->stride);
}

float conjunction_rows_join(const struct conjunction_rows *r, const float *scratch, uint32_t dsp,
                            float logit)
{
    uint32_t from = r->first[dsp], to = r->first[dsp + 1];
    float rate = 0;
    if (from == to)
        return logit;
    for (uint32_t u = from; u < to; u++)
        rate += scratch[u];
    rate = fminf(fmaxf(rate, 1e-9f), 20);
    float share = r->share[dsp];
    return (1 - share) * logit + share * logf(expm1f(rate));
}
