/* One lookup a text, one multiplication a number. */
#include "filter/encoder.h"

#include <math.h>
#include <stdlib.h>

#define NUMBER_MAX 5.0

struct encoder *encoder_create(const struct schema *s)
{
    struct encoder *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->schema = s;
    e->vocabularies = calloc(s->n_features, sizeof(*e->vocabularies));
    e->mean = calloc(s->n_numbers + 1, sizeof(*e->mean));
    e->std = calloc(s->n_numbers + 1, sizeof(*e->std));
    if (e->vocabularies == NULL || e->mean == NULL || e->std == NULL)
        goto fail;
    for (uint32_t i = 0; i < s->n_numbers; i++)
        e->std[i] = 1;
    for (uint32_t i = 0; i < s->n_features; i++)
        if (s->features[i].slots > 0 && (e->vocabularies[i] = interner_create()) == NULL)
            goto fail;
    return e;
fail:
    encoder_destroy(e);
    return NULL;
}

void encoder_destroy(struct encoder *e)
{
    if (e == NULL)
        return;
    for (uint32_t i = 0; e->vocabularies != NULL && i < e->schema->n_features; i++)
        interner_destroy(e->vocabularies[i]);
    free(e->vocabularies);
    free(e->mean);
    free(e->std);
    free(e);
}

/* Rows of its tables. */
static uint32_t encoder_values(const struct encoder *e, uint32_t feature)
{
    return VALUE_FIRST + interner_count(e->vocabularies[feature]);
}

uint32_t encoder_row(const struct encoder *e, uint32_t feature, struct bytes text)
{
    if (text.len == 0)
        return VALUE_MISSING;
    uint32_t number = interner_find(e->vocabularies[feature], text);
    return number == INTERNER_NONE ? VALUE_UNKNOWN : VALUE_FIRST + number;
}

void encoder_number(const struct encoder *e, uint32_t number, double in, float *value,
                    float *missing)
{
    float kept = (float)in; /* as a training set stores it */
    bool absent = !isfinite(kept);
    double x = absent ? 0 : ((double)kept - e->mean[number]) / e->std[number];
    *value = (float)(x > NUMBER_MAX ? NUMBER_MAX : x < -NUMBER_MAX ? -NUMBER_MAX : x);
    *missing = absent ? 1 : 0;
}

void encoder_encode(const struct encoder *e, const struct raw_features *raw, uint32_t *slots,
                    float *numeric)
{
    const struct schema *s = e->schema;
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        for (uint32_t k = 0; k < f->slots; k++) {
            struct bytes text = raw->texts[f->at + k];
            slots[f->at + k] = text.len == 0 && k > 0 ? SLOT_EMPTY : encoder_row(e, i, text);
        }
    }
    for (uint32_t i = 0; i < s->n_numbers; i++)
        encoder_number(e, i, raw->numbers[i], &numeric[i], &numeric[s->n_numbers + i]);
}

int encoder_shape(const struct encoder *e, uint32_t n_dsps, struct network_shape *out)
{
    const struct schema *s = e->schema;
    *out = (struct network_shape){
        .features = calloc(s->n_features, sizeof(*out->features)),
        .n_features = s->n_features,
        .dsp_feature = s->dsp_feature,
        .n_dsps = n_dsps,
        .n_numeric = 0,
    };
    if (out->features == NULL)
        return -1;
    uint32_t n = 0; /* the network knows only tables; numbers are plain inputs to it */
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        if (f->source->kind == SOURCE_NUMBER)
            continue;
        struct network_feature *to = &out->features[n];
        bool dsp = i == s->dsp_feature;
        memcpy(to->name, f->name, sizeof(to->name));
        to->values = dsp ? VALUE_FIRST + n_dsps : encoder_values(e, i);
        to->dim = f->dim;
        to->slots = dsp ? 1 : f->slots;
        to->wide = f->wide;
        if (dsp)
            out->dsp_feature = n;
        n++;
    }
    out->n_features = n;
    out->n_numeric = 2 * s->n_numbers;
    return 0;
}

bool vocabulary_may_hold(struct bytes text)
{
    return text.len > 0 && memchr(text.base, '\0', text.len) == NULL;
}

int vocabulary_write(const struct interner *vocabulary, char **text, size_t *size)
{
    uint32_t n = interner_count(vocabulary);
    *text = NULL;
    *size = 0;
    for (uint32_t i = 0; i < n; i++)
        *size += interner_text(vocabulary, i).len + 1;
    if (*size == 0)
        return 0;
    char *at = *text = malloc(*size);
    if (at == NULL)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        struct bytes b = interner_text(vocabulary, i);
        memcpy(at, b.base, b.len);
        at[b.len] = '\0';
        at += b.len + 1;
    }
    return 0;
}

int vocabulary_read(struct interner *vocabulary, struct bytes text)
{
    while (text.len > 0) {
        const char *end = memchr(text.base, '\0', text.len);
        if (end == NULL || end == text.base)
            return -1;
        struct bytes value = {text.base, (size_t)(end - text.base)};
        uint32_t n = interner_count(vocabulary);
        if (interner_add(vocabulary, value) != n)
            return -1;
        text.base += value.len + 1;
        text.len -= value.len + 1;
    }
    return 0;
}
