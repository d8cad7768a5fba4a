/* Rows go to the files as they come, so memory does not grow with the capture. meta.json is written
 * last and removed first: a folder that has one is complete. */
#include "filter/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filter/model_metadata.h"
#include "filter/npy.h"
#include "filter/vocabulary.h"

enum { ARENA_KEPT_BYTES = 1 << 20, PATH_BYTES_MAX = 4096 };

enum array { SLOTS, NUMERIC, TS_MS, REQUEST, DSP, LABEL, WEIGHT, ARRAYS };

struct rows {
    char *folder;
    const struct encoder *encoder;
    const struct interner *dsps;
    const struct geo *geo;
    struct arena arena;
    struct npy *arrays[ARRAYS];
    uint32_t *slots; /* one request's */
    float *numeric;
    int64_t first_ms, last_ms;
    struct rows_counts counts;
};

static const char *path_of(const struct rows *r, const char *name, const char *tail,
                           char out[PATH_BYTES_MAX])
{
    snprintf(out, PATH_BYTES_MAX, "%s/%s%s", r->folder, name, tail);
    return out;
}

static int open_arrays(struct rows *r, struct error *err)
{
    const struct schema *s = r->encoder->schema;
    const struct {
        const char *name;
        enum npy_type type;
        uint32_t columns;
        bool empty; /* an array without columns is left out */
    } files[ARRAYS] = {
        [SLOTS] = {"slots", NPY_U32, s->n_slots, s->n_slots == 0},
        [NUMERIC] = {"numeric", NPY_F32, 2 * s->n_numbers, s->n_numbers == 0},
        [TS_MS] = {"ts_ms", NPY_I64, 0, false},
        [REQUEST] = {"request", NPY_U32, 0, false},
        [DSP] = {"dsp", NPY_U16, 0, false},
        [LABEL] = {"label", NPY_U8, 0, false},
        [WEIGHT] = {"weight", NPY_F32, 0, false},
    };
    char path[PATH_BYTES_MAX];
    for (size_t i = 0; i < ARRAYS; i++) {
        path_of(r, files[i].name, ".npy", path);
        if (files[i].empty)
            unlink(path);
        else if ((r->arrays[i] = npy_create(path, files[i].type, files[i].columns, err)) == NULL)
            return -1;
    }
    return 0;
}

struct rows *rows_create(const char *folder, const struct encoder *e, const struct interner *dsps,
                         const struct geo *geo, struct error *err)
{
    char path[PATH_BYTES_MAX];
    struct rows *r = calloc(1, sizeof(*r));
    if (r == NULL || (r->folder = strdup(folder)) == NULL) {
        free(r);
        error_set(err, "%s: out of memory", folder);
        return NULL;
    }
    r->encoder = e;
    r->dsps = dsps;
    r->geo = geo;
    r->slots = calloc((size_t)e->schema->n_slots + 1, sizeof(*r->slots));
    r->numeric = calloc(2 * (size_t)e->schema->n_numbers + 1, sizeof(*r->numeric));
    if (r->slots == NULL || r->numeric == NULL) {
        error_set(err, "%s: out of memory", folder);
        goto fail;
    }
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        error_set(err, "%s: cannot be created: %s", folder, strerror(errno));
        goto fail;
    }
    unlink(path_of(r, "meta", ".json", path));
    if (open_arrays(r, err) != 0)
        goto fail;
    return r;
fail:
    rows_destroy(r);
    return NULL;
}

void rows_destroy(struct rows *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < ARRAYS; i++)
        npy_close(r->arrays[i], NULL);
    arena_dispose(&r->arena);
    free(r->slots);
    free(r->numeric);
    free(r->folder);
    free(r);
}

const struct rows_counts *rows_counts(const struct rows *r)
{
    return &r->counts;
}

/* ---- rows ---- */

static int append(struct rows *r, enum array to, const void *row, struct error *err)
{
    return r->arrays[to] != NULL ? npy_append(r->arrays[to], row, 1, err) : 0;
}

static int add_pair(struct rows *r, const struct trainset_pair *pair, struct error *err)
{
    uint32_t known = interner_find(r->dsps, pair->dsp);
    if (known == INTERNER_NONE || !(pair->propensity > 0 && pair->propensity <= 1)) {
        r->counts.pairs_dropped++;
        return 0;
    }
    double inverse = 1 / pair->propensity;
    uint32_t request = (uint32_t)r->counts.requests;
    uint16_t dsp = (uint16_t)known;
    uint8_t label = pair->bid;
    float weight = (float)(inverse < TRAINSET_WEIGHT_MAX ? inverse : TRAINSET_WEIGHT_MAX);
    r->counts.pairs++;
    r->counts.bids += pair->bid;
    return append(r, REQUEST, &request, err) != 0 || append(r, DSP, &dsp, err) != 0 ||
                   append(r, LABEL, &label, err) != 0 || append(r, WEIGHT, &weight, err) != 0
               ? -1
               : 0;
}

int rows_add(struct rows *r, int64_t ts_ms, struct bytes request, const struct trainset_pair *pairs,
             uint32_t n_pairs, struct bid_request_error *fault, struct error *err)
{
    struct bid_request b;
    struct geo_place place;
    struct raw_features raw;
    if (r->counts.requests == UINT32_MAX)
        return error_set(err, "%s: more than %u requests", r->folder, UINT32_MAX);
    arena_reset(&r->arena, ARENA_KEPT_BYTES);
    if (!bid_request_scan(&b, request, 0, &r->arena, fault))
        return 0;
    geo_locate(r->geo, &b, &place);
    features_extract(r->encoder->schema, &b, &place, ts_ms, &r->arena, &raw);
    encoder_encode(r->encoder, &raw, r->slots, r->numeric);
    for (uint32_t i = 0; i < n_pairs; i++)
        if (add_pair(r, &pairs[i], err) != 0)
            return -1;
    if (append(r, SLOTS, r->slots, err) != 0 || append(r, NUMERIC, r->numeric, err) != 0 ||
        append(r, TS_MS, &ts_ms, err) != 0)
        return -1;
    if (r->counts.requests == 0 || ts_ms < r->first_ms)
        r->first_ms = ts_ms;
    if (r->counts.requests == 0 || ts_ms > r->last_ms)
        r->last_ms = ts_ms;
    r->counts.requests++;
    return 1;
}

/* ---- the end ---- */

/* *name gets the file's name, for the caller to free, or NULL: there are no texts. */
static int write_vocabulary(const struct rows *r, uint32_t feature, char **name, struct error *err)
{
    const struct interner *vocabulary = r->encoder->vocabularies[feature];
    char path[PATH_BYTES_MAX], *text;
    size_t size;
    *name = NULL;
    if (vocabulary == NULL)
        return 0;
    if (vocabulary_write(vocabulary, &text, &size) != 0)
        return error_set(err, "%s: out of memory", r->folder);
    if (size == 0)
        return 0;
    int status = -1;
    if (asprintf(name, "vocabulary.%s.npy", r->encoder->schema->features[feature].name) < 0)
        error_set(err, "%s: out of memory", r->folder);
    else
        status = npy_write(path_of(r, *name, "", path), NPY_U8, text, size, err);
    free(text);
    return status;
}

static json_t *feature_to_json(const struct rows *r, uint32_t feature, uint32_t *table,
                               const struct network_shape *shape, const char *vocabulary)
{
    const struct schema *s = r->encoder->schema;
    const struct schema_feature *f = &s->features[feature];
    if (f->source->kind == SOURCE_NUMBER)
        return json_pack("{s:s,s:s,s:i,s:i,s:f,s:f}", "name", f->name, "kind", "number", "column",
                         (int)f->at, "missing_column", (int)(s->n_numbers + f->at), "mean",
                         r->encoder->mean[f->at], "std", r->encoder->std[f->at]);
    const struct network_feature *t = &shape->features[(*table)++];
    json_t *out =
        json_pack("{s:s,s:s,s:i,s:i}", "name", f->name, "kind", f->slots == 0 ? "dsp" : "texts",
                  "values", (int)t->values, "dim", (int)t->dim);
    if (f->slots > 0) {
        json_object_set_new(out, "column", json_integer(f->at));
        json_object_set_new(out, "columns", json_integer(f->slots));
        json_object_set_new(out, "vocabulary",
                            vocabulary != NULL ? json_string(vocabulary) : json_null());
    }
    return out;
}

static int features_to_json(const struct rows *r, json_t *list, struct error *err)
{
    struct network_shape shape;
    uint32_t table = 0;
    int status = 0;
    if (encoder_shape(r->encoder, interner_count(r->dsps), &shape) != 0)
        return error_set(err, "%s: out of memory", r->folder);
    for (uint32_t i = 0; status == 0 && i < r->encoder->schema->n_features; i++) {
        char *name = NULL;
        status = write_vocabulary(r, i, &name, err);
        if (status == 0)
            json_array_append_new(list, feature_to_json(r, i, &table, &shape, name));
        free(name);
    }
    network_shape_dispose(&shape);
    return status;
}

/* What a model file must say of itself, ready to be its __metadata__. */
static int metadata_to_json(const struct rows *r, json_t *out, struct error *err)
{
    static const char *const kept[] = {"format", "schema", "dsps", "negative_rate"};
    const struct encoder *e = r->encoder;
    size_t numbers = e->schema->n_numbers;
    struct model_metadata *m = model_metadata_create();
    struct safetensors_entry entries[MODEL_METADATA_ENTRIES];
    int status = -1;
    if (m == NULL || (m->schema = schema_copy(e->schema)) == NULL ||
        (m->mean = malloc((numbers + 1) * sizeof(double))) == NULL ||
        (m->std = malloc((numbers + 1) * sizeof(double))) == NULL ||
        (m->dsps = interner_create()) == NULL)
        goto done;
    encoder_settle_dims(e, interner_count(r->dsps), m->schema);
    memcpy(m->mean, e->mean, numbers * sizeof(double));
    memcpy(m->std, e->std, numbers * sizeof(double));
    encoder_settle_dims(e, interner_count(r->dsps), m->schema);
    for (uint32_t d = 0; d < interner_count(r->dsps); d++)
        if (interner_add(m->dsps, interner_text(r->dsps, d)) == INTERNER_NONE)
            goto done;
    if (model_metadata_write(m, entries) != 0)
        goto done;
    for (size_t i = 0; i < MODEL_METADATA_ENTRIES; i++)
        for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
            if (strcmp(entries[i].key, kept[k]) == 0)
                json_object_set_new(out, kept[k],
                                    json_stringn(entries[i].value.base, entries[i].value.len));
    model_metadata_free_entries(entries);
    status = 0;
done:
    model_metadata_destroy(m);
    return status == 0 ? 0 : error_set(err, "%s: out of memory", r->folder);
}

static int write_meta(const struct rows *r, struct error *err)
{
    char path[PATH_BYTES_MAX];
    const struct schema *s = r->encoder->schema;
    json_t *features = json_array(), *metadata = json_object(), *dsps = json_array();
    for (uint32_t d = 0; d < interner_count(r->dsps); d++) {
        struct bytes name = interner_text(r->dsps, d);
        json_array_append_new(dsps, json_stringn(name.base, name.len));
    }
    int status = features_to_json(r, features, err) == 0 ? metadata_to_json(r, metadata, err) : -1;
    json_t *root = json_pack(
        "{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:I,s:o,s:o,s:o}", "format", "bidsieve-rows-1",
        "requests", (json_int_t)r->counts.requests, "pairs", (json_int_t)r->counts.pairs, "bids",
        (json_int_t)r->counts.bids, "pairs_dropped", (json_int_t)r->counts.pairs_dropped, "from_ms",
        (json_int_t)r->first_ms, "to_ms", (json_int_t)r->last_ms, "slots", (int)s->n_slots,
        "numeric", (int)(2 * s->n_numbers), "empty_slot", (json_int_t)SLOT_EMPTY, "dsps", dsps,
        "features", features, "metadata", metadata);
    path_of(r, "meta", ".json", path);
    if (status == 0 && (root == NULL || json_dump_file(root, path, JSON_INDENT(1)) != 0))
        status = error_set(err, "%s: cannot be written", path);
    json_decref(root);
    return status;
}

int rows_finish(struct rows *r, struct error *err)
{
    int status = 0;
    for (size_t i = 0; i < ARRAYS; i++) {
        if (npy_close(r->arrays[i], status == 0 ? err : NULL) != 0)
            status = -1;
        r->arrays[i] = NULL;
    }
    return status == 0 ? write_meta(r, err) : -1;
}
