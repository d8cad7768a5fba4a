/* One step of an activation is activation_top / 255, and layer 1 is held in sixteenths of a step.
 * The half step that makes the kernel's shift round stands in the DSPs' rows, as the bias does.
 *
 * Weights of layer 2 have a scale per output (its largest weight is 127), so that an output is
 *   sum h1 w + b = weight_scale step (sum of whole products + b / (weight_scale step)),
 * and since the scale is positive it passes through the ReLU into the output's weight. Numeric
 * inputs have no range that is known, so their part of layer 1 is summed in floats. */
#include "model/quantised.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/network.h"
#include "model/table.h"

enum {
    SLOTS_MAX = 64, /* beyond it, a share of a row is too coarse in 16 bits */
    DOUBLINGS_MAX = 3,
    BIAS_BITS_MAX = 28, /* sum and bias stay in 32 bits: 16384 x 255 x 127 is below 2^29 */
};

struct feature {
    uint32_t values, slots;
    bool far;
    const int16_t *rows; /* [values][units] */
};

struct quantised {
    const struct kernel_int8 *kernel;
    uint32_t n_features, n_dsps, n_numeric;
    size_t lines, units; /* hidden1 on whole lines */
    struct feature *features;
    int16_t *rows;       /* all features' rows, then the DSPs', then the gates */
    float *numeric_rows; /* [n_numeric][units], in sixteenths of a step */
    const int16_t *dsp_rows, *gates;
    uint32_t doublings;
    void *layers_block; /* what `layers` points into */
    struct kernel_int8_layers layers;
    size_t rows_bytes, layers_bytes;
};

/* ---- layer 1 ---- */

/* A row of floats in sixteenths of a step. -1 when a value does not fit. */
static int quantise_row(int16_t *to, const float *from, uint32_t n, float scale, float offset)
{
    for (uint32_t i = 0; i < n; i++) {
        float x = roundf(from[i] * scale + offset);
        if (!(x >= (float)INT16_MIN && x <= (float)INT16_MAX))
            return -1;
        to[i] = (int16_t)x;
    }
    return 0;
}

/* How often a gate must be halved to lie within +-1; -1 when it is out of reach. */
static int gate_doublings(const struct quantised_source *from)
{
    float largest = 0;
    for (uint32_t d = 0; d < from->n_dsps; d++)
        for (uint32_t i = 0; i < from->hidden1; i++) {
            float size = fabsf(from->gates[d * from->stride + i]);
            if (!(size <= largest))
                largest = size;
        }
    for (int doublings = 0; doublings <= DOUBLINGS_MAX; doublings++)
        if (largest * 32768 <= (float)(INT16_MAX << doublings))
            return doublings;
    return -1;
}

static int quantise_gates(struct quantised *q, const struct quantised_source *from, int16_t *to,
                          struct error *err)
{
    if (from->gates == NULL)
        return 0;
    int doublings = gate_doublings(from);
    if (doublings < 0)
        return error_set(err, "a gate is beyond +-%d", 1 << DOUBLINGS_MAX);
    q->gates = to;
    q->doublings = (uint32_t)doublings;
    for (uint32_t d = 0; d < q->n_dsps; d++)
        if (quantise_row(to + d * q->units, from->gates + d * from->stride, from->hidden1,
                         32768.0f / (float)(1 << doublings), 0) != 0)
            return error_set(err, "a gate is beyond +-%d", 1 << DOUBLINGS_MAX);
    return 0;
}

static int quantise_rows(struct quantised *q, const struct quantised_source *from, float scale,
                         struct error *err)
{
    int16_t *to = q->rows;
    const float half_step = (float)(1 << (KERNEL_UNIT_BITS - 1));
    for (uint32_t f = 0; f < q->n_features; f++) {
        const struct quantised_feature *x = &from->features[f];
        if (x->slots > SLOTS_MAX)
            return error_set(err, "a feature has more than %d slots", SLOTS_MAX);
        q->features[f] = (struct feature){x->values, x->slots,
                                          table_is_far(x->values, q->units * sizeof(*to)), to};
        for (uint32_t v = 0; v < x->values; v++, to += q->units)
            if (quantise_row(to, x->rows + v * from->stride, from->hidden1, scale, 0) != 0)
                return error_set(err, "a value adds more to layer 1 than fits");
    }
    q->dsp_rows = to;
    for (uint32_t d = 0; d < q->n_dsps; d++, to += q->units)
        if (quantise_row(to, from->dsp_rows + d * from->stride, from->hidden1, scale, half_step))
            return error_set(err, "a DSP adds more to layer 1 than fits");
    for (uint32_t i = 0; i < q->n_numeric; i++)
        for (uint32_t k = 0; k < from->hidden1; k++)
            q->numeric_rows[i * q->units + k] = scale * from->numeric_rows[i * from->stride + k];
    return quantise_gates(q, from, to, err);
}

static int create_rows(struct quantised *q, const struct quantised_source *from, struct error *err)
{
    float scale = (float)(UINT8_MAX << KERNEL_UNIT_BITS) / from->activation_top;
    if (!(from->activation_top > 0) || !isfinite(scale))
        return error_set(err, "it is not known how large its activations are");
    size_t n_rows = (size_t)q->n_dsps * (from->gates != NULL ? 2 : 1);
    for (uint32_t f = 0; f < q->n_features; f++)
        n_rows += from->features[f].values;
    size_t bytes = n_rows * q->units * sizeof(int16_t);
    size_t numeric_bytes = q->n_numeric * q->units * sizeof(float);
    q->rows_bytes = bytes + numeric_bytes;
    q->features = calloc(q->n_features + 1, sizeof(*q->features));
    q->rows = table_alloc(bytes);
    q->numeric_rows = table_alloc(numeric_bytes);
    if (q->features == NULL || q->rows == NULL || q->numeric_rows == NULL)
        return error_set(err, "no memory");
    return quantise_rows(q, from, scale, err);
}

/* ---- layer 2 ---- */

/* Output j: its weights, and its scale, large enough for the bias too. */
static int quantise_output(struct quantised *q, const struct quantised_source *from, uint32_t j,
                           int8_t *weight, int32_t *bias, float *output)
{
    const float *w = from->hidden2_weight + (size_t)j * from->hidden1;
    double step = from->activation_top / (double)UINT8_MAX;
    double scale = fabs(from->hidden2_bias[j]) / (step * (1 << BIAS_BITS_MAX));
    for (uint32_t k = 0; k < from->hidden1; k++)
        scale = fmax(scale, fabs(w[k]) / INT8_MAX);
    if (scale == 0)
        scale = 1; /* no weights, no bias */
    for (uint32_t k = 0; k < from->hidden1; k++)
        weight[kernel_int8_at(q->kernel, q->lines, j, k)] = (int8_t)lrint(w[k] / scale);
    bias[j] = (int32_t)lrint(from->hidden2_bias[j] / (scale * step));
    output[j] = (float)(from->output[j] * scale * step);
    return isfinite(output[j]) ? 0 : -1;
}

static int create_layers(struct quantised *q, const struct quantised_source *from,
                         struct error *err)
{
    uint32_t panels = kernel_int8_panels(q->kernel, from->hidden2);
    size_t outputs = (size_t)panels * KERNEL_INT8_PANEL, weights = outputs * q->units;
    q->layers_bytes = weights + outputs * (sizeof(int32_t) + sizeof(float));
    q->layers_block = table_alloc(q->layers_bytes);
    if (q->layers_block == NULL)
        return error_set(err, "no memory");
    int8_t *weight = q->layers_block;
    int32_t *bias = (int32_t *)(weight + weights);
    float *output = (float *)(bias + outputs);
    for (uint32_t j = 0; j < from->hidden2; j++)
        if (quantise_output(q, from, j, weight, bias, output) != 0)
            return error_set(err, "a weight of the output is too large");
    q->layers = (struct kernel_int8_layers){(uint32_t)q->lines, panels, weight, bias, output};
    return 0;
}

struct quantised *quantised_create(const struct quantised_source *from, const struct kernel_int8 *k,
                                   struct error *err)
{
    struct error why = {""};
    struct quantised *q = calloc(1, sizeof(*q));
    if (q == NULL) {
        error_set(err, "whole numbers: no memory");
        return NULL;
    }
    q->kernel = k;
    q->n_features = from->n_features;
    q->n_dsps = from->n_dsps;
    q->n_numeric = from->n_numeric;
    q->lines = (from->hidden1 + KERNEL_LINE - 1) / KERNEL_LINE;
    q->units = q->lines * KERNEL_LINE;
    if (create_rows(q, from, &why) == 0 && create_layers(q, from, &why) == 0)
        return q;
    error_set(err, "whole numbers do not serve this network: %.200s", why.text);
    quantised_destroy(q);
    return NULL;
}

void quantised_destroy(struct quantised *q)
{
    if (q == NULL)
        return;
    free(q->features);
    free(q->rows);
    free(q->numeric_rows);
    free(q->layers_block);
    free(q);
}

const char *quantised_kernel_name(const struct quantised *q)
{
    return q->kernel->name;
}

size_t quantised_rows_bytes(const struct quantised *q)
{
    return q->rows_bytes;
}

size_t quantised_layers_bytes(const struct quantised *q)
{
    return q->layers_bytes;
}

/* ---- scoring ---- */

/* Scratch: [units] int16 base, [units] float, [QUANTISED_BATCH][units] activations. */
size_t quantised_scratch_bytes(const struct quantised *q)
{
    return q->units * (sizeof(int16_t) + sizeof(float) + QUANTISED_BATCH * q->kernel->unit_bytes);
}

static const int16_t *row_of(const struct quantised *q, const struct feature *f, uint32_t slot)
{
    return f->rows + (slot < f->values ? slot : VALUE_UNKNOWN) * q->units;
}

/* The mean of several values. */
static void add_mean(const struct quantised *q, const struct feature *f, const uint32_t *slots,
                     uint32_t count, int16_t *base)
{
    int16_t share = (int16_t)((32768 + count / 2) / count);
    for (uint32_t i = 0; i < f->slots; i++)
        if (slots[i] != SLOT_EMPTY)
            q->kernel->add_share(base, row_of(q, f, slots[i]), share, q->lines);
}

/* Single values wait for each other, so that the sums are loaded and stored once for many. */
static void add_features(const struct quantised *q, const uint32_t *slots, int16_t *base)
{
    enum { AT_ONCE = 64 };
    const int16_t *rows[AT_ONCE];
    size_t n = 0;
    for (uint32_t f = 0; f < q->n_features; slots += q->features[f++].slots) {
        const struct feature *x = &q->features[f];
        uint32_t last = SLOT_EMPTY, count = slots_filled(slots, x->slots, &last);
        if (count > 1)
            add_mean(q, x, slots, count, base);
        else if (count == 1)
            rows[n++] = row_of(q, x, last);
        if (n == AT_ONCE) {
            q->kernel->add_rows(base, rows, n, q->lines);
            n = 0;
        }
    }
    q->kernel->add_rows(base, rows, n, q->lines);
}

/* All rows are asked for before the first is added: they lie far apart. */
static void prefetch(const struct quantised *q, const uint32_t *slots)
{
    for (uint32_t f = 0; f < q->n_features; slots += q->features[f++].slots)
        for (uint32_t i = 0; q->features[f].far && i < q->features[f].slots; i++)
            if (slots[i] < q->features[f].values)
                table_prefetch(row_of(q, &q->features[f], slots[i]), 2 * q->units);
}

void quantised_begin(const struct quantised *q, void *scratch, const uint32_t *slots,
                     const float *numeric)
{
    int16_t *base = scratch;
    float *numbers = (float *)(base + q->units);
    prefetch(q, slots);
    memset(scratch, 0, q->units * (sizeof(*base) + sizeof(*numbers)));
    for (uint32_t i = 0; i < q->n_numeric; i++)
        if (numeric[i] != 0)
            q->kernel->add_scaled(numbers, q->numeric_rows + i * q->units, numeric[i], q->lines);
    if (q->n_numeric > 0)
        q->kernel->add_floats(base, numbers, q->lines);
    add_features(q, slots, base);
}

void quantised_score(const struct quantised *q, void *scratch, const uint32_t *dsps, uint32_t n,
                     float *logit)
{
    assert(n <= QUANTISED_BATCH);
    const int16_t *base = scratch;
    char *h1 = (char *)scratch + q->units * (sizeof(int16_t) + sizeof(float));
    for (uint32_t i = 0; i < n; i++) {
        size_t at = dsps[i] * q->units;
        struct kernel_int8_own own = {q->dsp_rows + at, q->gates != NULL ? q->gates + at : NULL,
                                      q->doublings};
        q->kernel->activate(h1 + i * q->units * q->kernel->unit_bytes, base, &own, q->lines);
    }
    q->kernel->layers(&q->layers, h1, n, logit);
}
