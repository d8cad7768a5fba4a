/* One lookup a text, one multiplication a number. */
#include "filter/encoder.h"

#include <math.h>
#include <stdlib.h>

#include "filter/vocabulary.h"
#include "hash.h"

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
    e->of_slot = calloc(s->n_slots + 1, sizeof(*e->of_slot));
    e->empty_row = calloc(s->n_slots + 1, sizeof(*e->empty_row));
    if (e->vocabularies == NULL || e->of_slot == NULL || e->empty_row == NULL || e->mean == NULL ||
        e->std == NULL)
        goto fail;
    for (uint32_t i = 0; i < s->n_numbers; i++)
        e->std[i] = 1;
    for (uint32_t i = 0; i < s->n_features; i++)
        if (s->features[i].slots > 0 && s->features[i].hash_bits == 0 &&
            (e->vocabularies[i] = interner_create()) == NULL)
            goto fail;
    for (uint32_t i = 0; i < s->n_features; i++)
        for (uint32_t k = 0; k < s->features[i].slots; k++) {
            e->of_slot[s->features[i].at + k] = e->vocabularies[i];
            e->empty_row[s->features[i].at + k] = k == 0 ? VALUE_MISSING : SLOT_EMPTY;
        }
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
    free(e->of_slot);
    free(e->empty_row);
    free(e->mean);
    free(e->std);
    free(e);
}

/* Rows of its tables. */
static uint32_t encoder_values(const struct encoder *e, uint32_t feature, uint32_t n_dsps)
{
    const struct schema_feature *f = &e->schema->features[feature];
    return VALUE_FIRST + (f->source->kind == SOURCE_DSP ? n_dsps
                          : f->hash_bits > 0            ? UINT32_C(1) << f->hash_bits
                                                        : interner_count(e->vocabularies[feature]));
}

uint32_t encoder_dim(const struct encoder *e, uint32_t feature, uint32_t n_dsps)
{
    const struct schema_feature *f = &e->schema->features[feature];
    if (f->dim > 0 || f->source->kind == SOURCE_NUMBER)
        return f->dim;
    uint32_t dim = (encoder_values(e, feature, n_dsps) + 1) / 2;
    return dim < SCHEMA_DIM_RULE_MAX ? dim : SCHEMA_DIM_RULE_MAX;
}

void encoder_settle_dims(const struct encoder *e, uint32_t n_dsps, struct schema *s)
{
    for (uint32_t i = 0; i < s->n_features; i++)
        s->features[i].dim = encoder_dim(e, i, n_dsps);
}

static uint32_t hashed_row(const struct schema_feature *f, struct bytes text)
{
    uint64_t mask = (UINT64_C(1) << f->hash_bits) - 1;
    return VALUE_FIRST + (uint32_t)(hash_bytes(text, 0) & mask);
}

/* A text that is not empty and not in the vocabulary. */
static uint32_t unknown_row(const struct encoder *e, uint32_t feature, struct bytes text)
{
    const struct schema_feature *f = &e->schema->features[feature];
    uint32_t number = INTERNER_NONE;
    if (f->hash_bits > 0)
        return hashed_row(f, text);
    while (f->backoff && number == INTERNER_NONE &&
           (text = vocabulary_coarser(f->source, text)).len > 0)
        number = interner_find(e->vocabularies[feature], text);
    return number == INTERNER_NONE ? VALUE_UNKNOWN : VALUE_FIRST + number;
}

uint32_t encoder_row(const struct encoder *e, uint32_t feature, struct bytes text)
{
    const struct interner *vocabulary = e->vocabularies[feature];
    if (text.len == 0)
        return VALUE_MISSING;
    uint32_t number = vocabulary != NULL ? interner_find(vocabulary, text) : INTERNER_NONE;
    return number != INTERNER_NONE ? VALUE_FIRST + number : unknown_row(e, feature, text);
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
    interner_find_each(e->of_slot, raw->texts, s->n_slots, slots);
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        for (uint32_t at = f->at; at < f->at + f->slots; at++)
            slots[at] = slots[at] != INTERNER_NONE ? VALUE_FIRST + slots[at]
                        : raw->texts[at].len == 0  ? e->empty_row[at]
                                                   : unknown_row(e, i, raw->texts[at]);
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
        to->values = encoder_values(e, i, n_dsps);
        to->dim = encoder_dim(e, i, n_dsps);
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
