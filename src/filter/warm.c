/* Each table of the new network is filled through a map: for each of its rows, the row of the older
 * one. */
#include "filter/warm.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "filter/predictor.h"

enum { NEW = UINT32_MAX }; /* a row that the older network has not */

struct warm {
    char *path;
    struct predictor *model;
    struct network *network;
};

struct warm *warm_open(const char *path, struct error *err)
{
    struct warm *w = calloc(1, sizeof(*w));
    if (w == NULL || (w->path = strdup(path)) == NULL) {
        error_set(err, "%s: out of memory", path);
        warm_destroy(w);
        return NULL;
    }
    w->model = predictor_load_with_network(path, &w->network, err);
    if (w->model != NULL)
        return w;
    warm_destroy(w);
    return NULL;
}

void warm_destroy(struct warm *w)
{
    if (w == NULL)
        return;
    network_destroy(w->network);
    predictor_destroy(w->model);
    free(w->path);
    free(w);
}

int64_t warm_learnt_to_ms(const struct warm *w)
{
    return predictor_info(w->model)->learnt_to_ms;
}

const struct encoder *warm_encoder(const struct warm *w)
{
    return predictor_encoder(w->model);
}

/* ---- whether it fits ---- */

static int differs(const struct warm *w, const char *feature, const char *what, uint32_t model,
                   uint32_t schema, struct error *err)
{
    return error_set(err,
                     "warm start: %s does not fit: feature %s: %s is %u in the model, %u in the "
                     "schema",
                     w->path, feature, what, model, schema);
}

static int check_feature(const struct warm *w, const struct schema_feature *old,
                         const struct schema_feature *f, struct error *err)
{
    if (strcmp(old->name, f->name) != 0)
        return error_set(err,
                         "warm start: %s does not fit: the schema has feature %s where the model "
                         "has %s",
                         w->path, f->name, old->name);
    if (strcmp(old->source->name, f->source->name) != 0)
        return error_set(err,
                         "warm start: %s does not fit: feature %s: source is %s in the model, %s "
                         "in the schema",
                         w->path, f->name, old->source->name, f->source->name);
    if (old->slots != f->slots)
        return differs(w, f->name, "slots", old->slots, f->slots, err);
    if (old->hash_bits != f->hash_bits)
        return differs(w, f->name, "hash_bits", old->hash_bits, f->hash_bits, err);
    if (f->dim != 0 && old->dim != f->dim)
        return differs(w, f->name, "dim", old->dim, f->dim, err);
    return 0;
}

/* A model from elsewhere may leave dims to the rule as well: its vocabulary gives them. */
struct schema *warm_schema(const struct warm *w, const struct schema *s, struct error *err)
{
    const struct encoder *e = predictor_encoder(w->model);
    struct schema *old = schema_copy(e->schema), *settled = schema_copy(s);
    int status = 0;
    if (old == NULL || settled == NULL)
        status = error_set(err, "warm start: %s: out of memory", w->path);
    else if (old->n_features != s->n_features)
        status =
            error_set(err, "warm start: %s does not fit: the model has %u features, the schema %u",
                      w->path, old->n_features, s->n_features);
    if (status == 0)
        encoder_settle_dims(e, predictor_info(w->model)->n_dsps, old);
    for (uint32_t i = 0; status == 0 && i < s->n_features; i++) {
        status = check_feature(w, &old->features[i], &s->features[i], err);
        settled->features[i].dim = old->features[i].dim;
    }
    schema_destroy(old);
    if (status == 0)
        return settled;
    schema_destroy(settled);
    return NULL;
}

int warm_check_shape(const struct warm *w, const struct network_shape *s, struct error *err)
{
    const struct network_shape *old = &w->network->shape;
    assert(old->n_features == s->n_features && old->n_numeric == s->n_numeric);
    if (old->hidden1 != s->hidden1 || old->hidden2 != s->hidden2)
        return error_set(err,
                         "warm start: %s does not fit: its hidden layers are %u,%u, those to be "
                         "trained %u,%u",
                         w->path, old->hidden1, old->hidden2, s->hidden1, s->hidden2);
    if (old->gated != s->gated)
        return error_set(err,
                         "warm start: %s does not fit: it has %s for each DSP, the network to be "
                         "trained has %s",
                         w->path, old->gated ? "a gate" : "no gate", s->gated ? "one" : "none");
    for (uint32_t f = 0; f < s->n_features; f++)
        if (old->features[f].wide != s->features[f].wide)
            return error_set(err,
                             "warm start: %s does not fit: feature %s: wide is %s in the model, %s "
                             "in the network to be trained",
                             w->path, s->features[f].name, old->features[f].wide ? "true" : "false",
                             s->features[f].wide ? "true" : "false");
    return 0;
}

/* ---- taking over ---- */

static uint32_t *map_reserved(uint32_t values)
{
    uint32_t *map = malloc(values * sizeof(*map));
    for (uint32_t v = 0; map != NULL && v < values; v++)
        map[v] = v < VALUE_FIRST ? v : NEW;
    return map;
}

static uint32_t *map_dsps(const struct warm *w, const struct interner *dsps)
{
    uint32_t *map = map_reserved(VALUE_FIRST + interner_count(dsps));
    for (uint32_t d = 0; map != NULL && d < predictor_info(w->model)->n_dsps; d++) {
        uint32_t to = interner_find(dsps, bytes_of(predictor_dsp_name(w->model, d)));
        if (to != INTERNER_NONE)
            map[VALUE_FIRST + to] = VALUE_FIRST + d;
    }
    return map;
}

/* A hashed feature has no vocabulary, and the same rows. */
static uint32_t *map_values(const struct interner *old, const struct interner *vocabulary,
                            uint32_t values)
{
    uint32_t *map = map_reserved(values);
    for (uint32_t v = VALUE_FIRST; map != NULL && vocabulary == NULL && v < values; v++)
        map[v] = v;
    for (uint32_t i = 0; map != NULL && vocabulary != NULL && i < interner_count(old); i++) {
        uint32_t to = interner_find(vocabulary, interner_text(old, i));
        if (to != INTERNER_NONE)
            map[VALUE_FIRST + to] = VALUE_FIRST + i;
    }
    return map;
}

static void take_rows(float *to, const float *from, const uint32_t *map, uint32_t rows,
                      uint32_t width)
{
    for (uint32_t r = 0; r < rows; r++)
        if (map[r] != NEW)
            memcpy(to + (size_t)r * width, from + (size_t)map[r] * width, width * sizeof(*to));
}

static void take_wide(struct network *n, const struct network *from, uint32_t feature,
                      const uint32_t *map, const uint32_t *dsps)
{
    uint32_t columns = n->shape.n_dsps, old_columns = from->shape.n_dsps;
    for (uint32_t v = 0; v < n->shape.features[feature].values; v++)
        for (uint32_t d = 0; map[v] != NEW && d < columns; d++) {
            uint32_t row = dsps[VALUE_FIRST + d];
            if (row != NEW)
                n->wide[feature][(size_t)v * columns + d] =
                    from->wide[feature][(size_t)map[v] * old_columns + row - VALUE_FIRST];
        }
}

static void take_gates(struct network *n, const struct network *from, const uint32_t *dsps)
{
    uint32_t width = n->shape.hidden1;
    for (uint32_t d = 0; d < n->shape.n_dsps; d++) {
        uint32_t row = dsps[VALUE_FIRST + d];
        if (row != NEW)
            memcpy(n->gate + (size_t)d * width, from->gate + (size_t)(row - VALUE_FIRST) * width,
                   width * sizeof(*n->gate));
    }
}

/* A logit is log(1 / negative_rate) above the true one: the bias was learnt for the old rate. */
static void take_layers(struct network *n, const struct network *from)
{
    assert(n->dense_floats == from->dense_floats);
    memcpy(n->block, from->block, n->dense_floats * sizeof(*n->block));
    float shift = logf(from->negative_rate / n->negative_rate);
    n->output_bias[1] += shift / 2;
    n->output_bias[0] -= shift / 2;
}

int warm_init(const struct warm *w, const struct encoder *encoder, const struct interner *dsps,
              struct network *n)
{
    const struct network *from = w->network;
    const struct encoder *old = predictor_encoder(w->model);
    const struct schema *s = encoder->schema;
    uint32_t *of_dsps = map_dsps(w, dsps);
    int status = of_dsps != NULL ? 0 : -1;
    for (uint32_t i = 0, f = 0; status == 0 && i < s->n_features; i++) {
        if (s->features[i].source->kind == SOURCE_NUMBER)
            continue;
        const struct network_feature *shape = &n->shape.features[f];
        bool dsp = i == s->dsp_feature;
        uint32_t *map =
            dsp ? of_dsps
                : map_values(old->vocabularies[i], encoder->vocabularies[i], shape->values);
        if (map == NULL) {
            status = -1;
            break;
        }
        take_rows(n->embedding[f], from->embedding[f], map, shape->values, shape->dim);
        if (n->wide[f] != NULL)
            take_wide(n, from, f, map, of_dsps);
        if (!dsp)
            free(map);
        f++;
    }
    if (status == 0 && n->gate != NULL)
        take_gates(n, from, of_dsps);
    if (status == 0)
        take_layers(n, from);
    free(of_dsps);
    return status;
}
