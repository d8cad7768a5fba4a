/* The network folded for serving.
 *
 * Layer 1 is linear in the embeddings: hidden1.weight . input is a sum over the values of a
 * request, each contributing a fixed vector of hidden1 floats. So every value's vector is computed
 * once, at load, and stands as a row; a request adds up one row a feature (the mean over slots for
 * several), and each DSP then adds its own row. What is left is a product of D x hidden1 x hidden2,
 * done in one batch for all DSPs of the request by the kernel.
 *
 * Rows are padded to whole cache lines and the tables are aligned, huge pages asked for: a big
 * vocabulary is read at random. */
#include "model/scorer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/conjunction_rows.h"
#include "model/quantised.h"
#include "model/table.h"

struct scorer_feature {
    uint32_t values, slots;
    const float *rows; /* [values][stride] */
    const float *wide; /* [values][n_dsps], or NULL */
};

struct scorer {
    const struct kernel *kernel;
    uint32_t n_features; /* the DSP left out */
    uint32_t n_dsps, n_numeric, hidden1;
    size_t stride; /* hidden1 on whole lines */
    struct scorer_feature *features;
    float *rows;  /* all features' rows, then the DSPs' with the bias, the numeric inputs' */
    float *wides; /* all wide tables */
    const float *dsp_rows, *numeric_rows;
    float *gates;        /* [n_dsps][stride], or NULL */
    float *layers_block; /* what `layers` points into */
    struct kernel_layers layers;
    float logit_base;                      /* output bias and log(negative_rate) */
    float (*calibration)[2];               /* [n_dsps] slope, intercept */
    struct conjunction_rows *conjunctions; /* NULL without */
    size_t rows_bytes, wides_bytes, layers_bytes;
    struct quantised *quantised; /* NULL: floats; else instead of rows, gates and layers */
};

struct scorer_scratch {
    size_t stride;
    uint32_t n_dsps;
    float *base;     /* [stride] layer 1 of the request, without the DSP */
    float *wide;     /* [n_dsps] */
    float *h1;       /* [BATCH][stride] */
    float *logit;    /* [BATCH] */
    float *rates;    /* what conjunctions need */
    void *quantised; /* what whole numbers need, in the place of base and h1 */
};

/* DSPs scored at a time: enough for the kernel's blocks, few enough that h1 stays in the L1 cache
 * at 128 and in the L2 at 1000. */
enum { BATCH = QUANTISED_BATCH };

enum { SCRATCH_HEAD_BYTES = 64 };
_Static_assert(sizeof(struct scorer_scratch) <= SCRATCH_HEAD_BYTES, "what follows is on a line");

static float *alloc_floats(size_t floats)
{
    return table_alloc(floats * sizeof(float));
}

/* ---- folding ---- */

/* Layer 1's weights by input: to[i] is column i of hidden1.weight, on a stride. */
static float *transpose_hidden1(const struct network *n, size_t stride)
{
    uint32_t in = network_shape_inputs(&n->shape), h1 = n->shape.hidden1;
    float *columns = alloc_floats((size_t)in * stride);
    if (columns == NULL)
        return NULL;
    for (uint32_t j = 0; j < h1; j++)
        for (uint32_t i = 0; i < in; i++)
            columns[i * stride + j] = n->hidden1_weight[(size_t)j * in + i];
    return columns;
}

static void fold_rows(struct scorer *s, float *rows, const float *embedding, uint32_t values,
                      uint32_t dim, const float *columns)
{
    for (uint32_t v = 0; v < values; v++)
        for (uint32_t i = 0; i < dim; i++)
            s->kernel->add_scaled(rows + v * s->stride, columns + i * s->stride,
                                  embedding[(size_t)v * dim + i], s->stride);
}

static int fold_layer1(struct scorer *s, const struct network *n)
{
    const struct network_shape *shape = &n->shape;
    size_t n_rows = shape->n_numeric;
    for (uint32_t f = 0; f < shape->n_features; f++)
        n_rows += shape->features[f].values;
    float *columns = transpose_hidden1(n, s->stride);
    s->rows = alloc_floats(n_rows * s->stride);
    s->rows_bytes = n_rows * s->stride * sizeof(float);
    if (columns == NULL || s->rows == NULL) {
        free(columns);
        return -1;
    }
    float *rows = s->rows;
    const float *column = columns;
    struct scorer_feature *to = s->features;
    for (uint32_t f = 0; f < shape->n_features; f++) {
        const struct network_feature *feature = &shape->features[f];
        fold_rows(s, rows, n->embedding[f], feature->values, feature->dim, column);
        if (f == shape->dsp_feature) {
            for (uint32_t v = VALUE_FIRST; v < feature->values; v++)
                s->kernel->add_scaled(rows + v * s->stride, n->hidden1_bias, 1, s->hidden1);
            s->dsp_rows = rows + VALUE_FIRST * s->stride;
        } else
            *to++ = (struct scorer_feature){feature->values, feature->slots, rows, NULL};
        rows += feature->values * s->stride;
        column += feature->dim * s->stride;
    }
    s->numeric_rows = rows;
    if (s->n_numeric > 0)
        memcpy(rows, column, s->n_numeric * s->stride * sizeof(float));
    free(columns);
    return 0;
}

static int fold_gate(struct scorer *s, const struct network *n)
{
    if (n->gate == NULL)
        return 0;
    s->gates = alloc_floats(s->n_dsps * s->stride);
    if (s->gates == NULL)
        return -1;
    s->rows_bytes += s->n_dsps * s->stride * sizeof(float);
    for (uint32_t d = 0; d < s->n_dsps; d++)
        memcpy(s->gates + d * s->stride, n->gate + (size_t)d * s->hidden1,
               s->hidden1 * sizeof(float));
    return 0;
}

static int fold_wide(struct scorer *s, const struct network *n)
{
    const struct network_shape *shape = &n->shape;
    size_t floats = 0;
    for (uint32_t f = 0; f < shape->n_features; f++)
        if (shape->features[f].wide)
            floats += (size_t)shape->features[f].values * s->n_dsps;
    if (floats == 0)
        return 0;
    s->wides = alloc_floats(floats);
    s->wides_bytes = floats * sizeof(float);
    if (s->wides == NULL)
        return -1;
    float *at = s->wides;
    struct scorer_feature *to = s->features;
    for (uint32_t f = 0; f < shape->n_features; f++) {
        if (f == shape->dsp_feature)
            continue;
        if (shape->features[f].wide) {
            size_t size = (size_t)shape->features[f].values * s->n_dsps;
            memcpy(at, n->wide[f], size * sizeof(float));
            to->wide = at;
            at += size;
        }
        to++;
    }
    return 0;
}

static int fold_layers(struct scorer *s, const struct network *n)
{
    uint32_t h1 = n->shape.hidden1, h2 = n->shape.hidden2;
    uint32_t panels = (h2 + KERNEL_PANEL - 1) / KERNEL_PANEL;
    size_t padded = (size_t)panels * KERNEL_PANEL;
    s->layers_block = alloc_floats(padded * h1 + 2 * padded);
    s->layers_bytes = (padded * h1 + 2 * padded) * sizeof(float);
    if (s->layers_block == NULL)
        return -1;
    float *weight = s->layers_block, *bias = weight + padded * h1, *output = bias + padded;
    for (uint32_t j = 0; j < h2; j++) {
        float *panel = weight + (size_t)(j / KERNEL_PANEL) * h1 * KERNEL_PANEL + j % KERNEL_PANEL;
        for (uint32_t k = 0; k < h1; k++)
            panel[(size_t)k * KERNEL_PANEL] = n->hidden2_weight[(size_t)j * h1 + k];
        bias[j] = n->hidden2_bias[j];
        output[j] = n->output_weight[h2 + j] - n->output_weight[j];
    }
    s->layers = (struct kernel_layers){h1, panels, weight, bias, output};
    return 0;
}

static int fold_calibration(struct scorer *s, const struct network *n)
{
    s->calibration = malloc(s->n_dsps * sizeof(*s->calibration));
    if (s->calibration == NULL)
        return -1;
    memcpy(s->calibration, n->calibration, s->n_dsps * sizeof(*s->calibration));
    return 0;
}

static int fold_conjunctions(struct scorer *s, const struct network *n,
                             const struct kernel_int8 *whole)
{
    if (n->conjunctions == NULL || n->conjunctions->n_units == 0)
        return 0;
    s->conjunctions = conjunction_rows_create(n->conjunctions, &n->shape, s->kernel, whole);
    return s->conjunctions != NULL ? 0 : -1;
}

/* Layers in floats; whole: of the conjunctions alone. */
static struct scorer *fold(const struct network *n, const struct kernel *k,
                           const struct kernel_int8 *whole, struct error *err)
{
    assert(n->negative_rate > 0 && n->negative_rate <= 1);
    struct scorer *s = calloc(1, sizeof(*s));
    if (s == NULL)
        goto fail;
    s->kernel = k;
    s->n_features = n->shape.n_features - 1;
    s->n_dsps = n->shape.n_dsps;
    s->n_numeric = n->shape.n_numeric;
    s->hidden1 = n->shape.hidden1;
    s->stride = table_on_line(s->hidden1);
    s->logit_base = n->output_bias[1] - n->output_bias[0] + logf(n->negative_rate);
    s->features = calloc(s->n_features + 1, sizeof(*s->features));
    if (s->features == NULL || fold_layer1(s, n) != 0 || fold_wide(s, n) != 0 ||
        fold_gate(s, n) != 0 || fold_layers(s, n) != 0 || fold_calibration(s, n) != 0 ||
        fold_conjunctions(s, n, whole) != 0)
        goto fail;
    return s;
fail:
    error_set(err, "scorer: no memory to fold the network");
    scorer_destroy(s);
    return NULL;
}

struct scorer *scorer_create_with(const struct network *n, const struct kernel *k,
                                  struct error *err)
{
    return fold(n, k, NULL, err);
}

struct scorer *scorer_create(const struct network *n, struct error *err)
{
    return scorer_create_with(n, kernel_choose(), err);
}

/* Whole numbers out of what has been folded, which is then let go. */
static int quantise(struct scorer *s, const struct network *n, const struct kernel_int8 *k,
                    struct error *err)
{
    uint32_t h2 = n->shape.hidden2;
    struct quantised_feature *features = calloc(s->n_features + 1, sizeof(*features));
    float *output = alloc_floats(h2);
    int status = features != NULL && output != NULL ? 0 : error_set(err, "scorer: no memory");
    for (uint32_t f = 0; status == 0 && f < s->n_features; f++)
        features[f] = (struct quantised_feature){s->features[f].values, s->features[f].slots,
                                                 s->features[f].rows};
    for (uint32_t j = 0; status == 0 && j < h2; j++)
        output[j] = n->output_weight[h2 + j] - n->output_weight[j];
    const struct quantised_source from = {
        s->n_features,     s->n_dsps,       s->n_numeric, s->hidden1,       h2,
        s->stride,         features,        s->dsp_rows,  s->numeric_rows,  s->gates,
        n->hidden2_weight, n->hidden2_bias, output,       n->activation_top};
    if (status == 0 && (s->quantised = quantised_create(&from, k, err)) == NULL)
        status = -1;
    free(features);
    free(output);
    if (status != 0)
        return -1;
    free(s->rows);
    free(s->gates);
    free(s->layers_block);
    s->rows = s->gates = s->layers_block = NULL;
    s->dsp_rows = s->numeric_rows = NULL;
    s->rows_bytes = quantised_rows_bytes(s->quantised);
    s->layers_bytes = quantised_layers_bytes(s->quantised);
    return 0;
}

struct scorer *scorer_create_int8(const struct network *n, const struct kernel_int8 *k,
                                  struct error *err)
{
    struct scorer *s = fold(n, kernel_choose(), k, err);
    if (s == NULL || quantise(s, n, k, err) == 0)
        return s;
    scorer_destroy(s);
    return NULL;
}

/* Below, the microsecond that bench_kernel shows is not worth a rounding; see docs/kernels.md. */
static bool pays(const struct network *n, const struct kernel_int8 *k)
{
    enum { PRODUCTS_MIN = 4096 };
    return k != &kernel_int8_c && (uint64_t)n->shape.hidden1 * n->shape.hidden2 >= PRODUCTS_MIN;
}

struct scorer *scorer_create_fast(const struct network *n, struct error *err)
{
    const struct kernel_int8 *k = kernel_int8_choose();
    if (k != NULL && (kernel_int8_forced() || pays(n, k)))
        return scorer_create_int8(n, k, err);
    error_set(err, "floats are fast enough here");
    return NULL;
}

void scorer_destroy(struct scorer *s)
{
    if (s == NULL)
        return;
    quantised_destroy(s->quantised);
    free(s->features);
    free(s->rows);
    free(s->wides);
    free(s->gates);
    free(s->layers_block);
    free(s->calibration);
    conjunction_rows_destroy(s->conjunctions);
    free(s);
}

static size_t scratch_bytes(const struct scorer *s)
{
    size_t floats = table_on_line(s->n_dsps) + BATCH;
    if (s->conjunctions != NULL)
        floats += conjunction_rows_scratch(s->conjunctions);
    if (s->quantised == NULL)
        floats += s->stride + BATCH * s->stride;
    size_t bytes = SCRATCH_HEAD_BYTES + floats * sizeof(float);
    return s->quantised == NULL ? bytes : bytes + quantised_scratch_bytes(s->quantised);
}

const char *scorer_kernel_name(const struct scorer *s)
{
    return s->quantised != NULL ? quantised_kernel_name(s->quantised) : s->kernel->name;
}

struct scorer_memory scorer_memory(const struct scorer *s)
{
    return (struct scorer_memory){
        .rows = s->rows_bytes,
        .layers = s->layers_bytes,
        .wide = s->wides_bytes,
        .conjunctions = s->conjunctions != NULL ? conjunction_rows_bytes(s->conjunctions) : 0,
        .scratch = scratch_bytes(s)};
}

/* ---- scoring ---- */

struct scorer_scratch *scorer_scratch_create(const struct scorer *s)
{
    struct scorer_scratch *scratch = table_alloc(scratch_bytes(s));
    if (scratch == NULL)
        return NULL;
    char *at = (char *)scratch + SCRATCH_HEAD_BYTES;
    scratch->stride = s->stride;
    scratch->n_dsps = s->n_dsps;
    scratch->wide = (float *)at;
    scratch->logit = scratch->wide + table_on_line(s->n_dsps);
    scratch->rates = scratch->logit + BATCH;
    scratch->base = scratch->rates;
    if (s->conjunctions != NULL)
        scratch->base += conjunction_rows_scratch(s->conjunctions);
    scratch->h1 = scratch->base + s->stride;
    scratch->quantised = scratch->base; /* one or the other */
    return scratch;
}

void scorer_scratch_destroy(struct scorer_scratch *scratch)
{
    free(scratch);
}

/* One feature: the mean of its values' rows to base, of their wide rows to wide. */
static void add_feature(const struct scorer *s, const struct scorer_feature *f,
                        const uint32_t *slots, float *base, float *wide)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->slots; i++)
        count += slots[i] != SLOT_EMPTY;
    if (count == 0)
        return;
    float scale = 1.0f / (float)count;
    for (uint32_t i = 0; i < f->slots; i++) {
        if (slots[i] == SLOT_EMPTY)
            continue;
        size_t value = slots[i] < f->values ? slots[i] : VALUE_UNKNOWN;
        if (s->quantised == NULL)
            s->kernel->add_scaled(base, f->rows + value * s->stride, scale, s->stride);
        if (f->wide != NULL)
            s->kernel->add_scaled(wide, f->wide + value * s->n_dsps, scale, s->n_dsps);
    }
}

/* All rows are asked for before the first is added: they lie far apart. */
static void prefetch(const struct scorer *s, const uint32_t *slots)
{
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct scorer_feature *x = &s->features[f];
        for (uint32_t i = 0; i < x->slots; i++, slots++) {
            if (*slots >= x->values)
                continue;
            if (s->quantised == NULL)
                table_prefetch(x->rows + *slots * s->stride, s->stride * sizeof(float));
            if (x->wide != NULL)
                table_prefetch(x->wide + *slots * s->n_dsps, s->n_dsps * sizeof(float));
        }
    }
}

static void request_base(const struct scorer *s, struct scorer_scratch *scratch,
                         const uint32_t *slots, const float *numeric)
{
    for (uint32_t d = 0; d < s->n_dsps; d++)
        scratch->wide[d] = s->logit_base;
    if (s->quantised != NULL)
        quantised_begin(s->quantised, scratch->quantised, slots, numeric);
    else
        memset(scratch->base, 0, s->stride * sizeof(float));
    if (s->quantised != NULL && s->wides == NULL)
        return;
    prefetch(s, slots);
    for (uint32_t f = 0; f < s->n_features; f++) {
        if (s->quantised == NULL || s->features[f].wide != NULL)
            add_feature(s, &s->features[f], slots, scratch->base, scratch->wide);
        slots += s->features[f].slots;
    }
    for (uint32_t i = 0; s->quantised == NULL && i < s->n_numeric; i++)
        if (numeric[i] != 0)
            s->kernel->add_scaled(scratch->base, s->numeric_rows + i * s->stride, numeric[i],
                                  s->stride);
}

/* Layer 1 of one DSP. */
static void activate(const struct scorer *s, const float *base, uint32_t dsp, float *h1)
{
    const float *own = s->dsp_rows + dsp * s->stride;
    if (s->gates != NULL)
        s->kernel->relu_gated(h1, base, s->gates + dsp * s->stride, own, s->stride);
    else
        s->kernel->relu_sum(h1, base, own, s->stride);
}

static float sigmoid_or_one(float logit)
{
    float p = 1.0f / (1.0f + expf(-logit));
    return p == p ? p : 1.0f;
}

void scorer_score(const struct scorer *s, struct scorer_scratch *scratch, const uint32_t *slots,
                  const float *numeric, const uint32_t *dsps, uint32_t n, float *p)
{
    assert(scratch->stride == s->stride && scratch->n_dsps == s->n_dsps);
    request_base(s, scratch, slots, numeric);
    if (s->conjunctions != NULL)
        conjunction_rows_begin(s->conjunctions, scratch->rates, slots);
    for (uint32_t from = 0; from < n; from += BATCH) {
        uint32_t count = n - from < BATCH ? n - from : BATCH;
        for (uint32_t i = 0; i < count; i++) {
            assert(dsps[from + i] < s->n_dsps);
            scratch->logit[i] = scratch->wide[dsps[from + i]];
        }
        if (s->quantised != NULL)
            quantised_score(s->quantised, scratch->quantised, dsps + from, count, scratch->logit);
        else {
            for (uint32_t i = 0; i < count; i++)
                activate(s, scratch->base, dsps[from + i], scratch->h1 + i * s->stride);
            s->kernel->layers(&s->layers, scratch->h1, s->stride, count, scratch->logit);
        }
        for (uint32_t i = 0; s->conjunctions != NULL && i < count; i++)
            scratch->logit[i] = conjunction_rows_join(s->conjunctions, scratch->rates,
                                                      dsps[from + i], scratch->logit[i]);
        for (uint32_t i = 0; i < count; i++) {
            const float *bend = s->calibration[dsps[from + i]];
            p[from + i] = sigmoid_or_one(bend[0] * scratch->logit[i] + bend[1]);
        }
    }
}

/* ---- how large activations are ---- */

/* Counts by the upper 16 bits: 1/128 apart, which is fine enough for a scale. */
enum { COUNTS = 1 << 15, RARE = 100000, SAMPLE = 4096 };

static float exceeded_rarely(const uint64_t counts[COUNTS], uint64_t n)
{
    uint64_t above = 0;
    for (uint32_t i = COUNTS; i-- > 0;) {
        above += counts[i];
        if (above > n / RARE) {
            uint32_t bits = (i + 1) << 16; /* the upper end of the class */
            float top;
            memcpy(&top, &bits, sizeof(top));
            return isfinite(top) ? top : 0;
        }
    }
    return 0;
}

float scorer_activation_top(const struct scorer *s, const uint32_t *slots, const float *numeric,
                            uint32_t n_requests)
{
    assert(s->quantised == NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    uint64_t *counts = calloc(COUNTS, sizeof(*counts));
    uint32_t n_slots = 0, sample = n_requests < SAMPLE ? n_requests : SAMPLE;
    for (uint32_t f = 0; f < s->n_features; f++)
        n_slots += s->features[f].slots;
    for (uint32_t i = 0; scratch != NULL && counts != NULL && i < sample; i++) {
        size_t r = (size_t)((uint64_t)i * n_requests / sample);
        request_base(s, scratch, slots + r * n_slots,
                     s->n_numeric > 0 ? numeric + r * s->n_numeric : NULL);
        for (uint32_t d = 0; d < s->n_dsps; d++) {
            activate(s, scratch->base, d, scratch->h1);
            for (uint32_t k = 0; k < s->hidden1; k++) {
                uint32_t bits;
                memcpy(&bits, &scratch->h1[k], sizeof(bits));
                counts[bits >> 16 & (COUNTS - 1)]++;
            }
        }
    }
    float top = scratch != NULL && counts != NULL
                    ? exceeded_rarely(counts, (uint64_t)sample * s->n_dsps * s->hidden1)
                    : 0;
    free(counts);
    scorer_scratch_destroy(scratch);
    return top;
}
