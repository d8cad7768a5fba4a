/* JSON strings out and in. Reading trusts nothing: the file may come from anywhere, and a threshold
 * decides over money. */
#include "filter/model_metadata.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define FORMAT "bidsieve-1"

/* What the checksum covers, in this order. */
static const char *const KEYS[] = {"format",        "schema",         "dsps",
                                   "negative_rate", "activation_top", "curves",
                                   "training",      "metrics",        "tool"};
enum { KEYS_N = sizeof(KEYS) / sizeof(KEYS[0]) };
_Static_assert(KEYS_N + 1 == MODEL_METADATA_ENTRIES, "the keys and their checksum");

struct model_metadata *model_metadata_create(void)
{
    struct model_metadata *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->negative_rate = 1;
    m->training = (struct model_training){.from_ms = -1,
                                          .to_ms = -1,
                                          .validation_from_ms = -1,
                                          .validation_to_ms = -1,
                                          .learnt_to_ms = -1,
                                          .recall_target = NAN,
                                          .confidence = NAN,
                                          .auc = NAN,
                                          .nll = NAN};
    return m;
}

void model_metadata_destroy(struct model_metadata *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; m->curves != NULL && i < interner_count(m->dsps); i++)
        free(m->curves[i]);
    for (uint32_t i = 0; m->value_curves != NULL && i < interner_count(m->dsps); i++)
        free(m->value_curves[i]);
    free(m->curves);
    free(m->value_curves);
    interner_destroy(m->dsps);
    free(m->mean);
    free(m->std);
    schema_destroy(m->schema);
    free(m);
}

/* ---- writing ---- */

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *curve_to_json(const struct recall_curve *c)
{
    json_t *points = json_array();
    for (uint32_t i = 0; i < c->n; i++) {
        const struct recall_point *p = &c->points[i];
        json_array_append_new(points, json_pack("[f,f,f,f,f]", (double)p->threshold,
                                                (double)p->recall, (double)p->recall_low,
                                                (double)p->recall_high, (double)p->withheld));
    }
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "pairs", (json_int_t)c->pairs, "bids",
                     (json_int_t)c->bids, "bid_rate", real_or_null(c->bid_rate), "auc",
                     real_or_null(c->auc), "nll", real_or_null(c->nll), "calibration",
                     real_or_null(c->calibration), "points", points);
}

static json_t *curves_to_json(const struct model_metadata *m)
{
    json_t *curves = json_object();
    for (uint32_t i = 0; m->curves != NULL && i < interner_count(m->dsps); i++) {
        struct bytes name = interner_text(m->dsps, i);
        if (m->curves[i] == NULL)
            continue;
        json_t *curve = curve_to_json(m->curves[i]);
        if (m->value_curves != NULL && m->value_curves[i] != NULL)
            json_object_set_new(curve, "value", curve_to_json(m->value_curves[i]));
        json_object_setn_new(curves, name.base, name.len, curve);
    }
    return curves;
}

static json_t *dsps_to_json(const struct model_metadata *m)
{
    json_t *names = json_array();
    for (uint32_t i = 0; i < interner_count(m->dsps); i++) {
        struct bytes name = interner_text(m->dsps, i);
        json_array_append_new(names, json_stringn(name.base, name.len));
    }
    return names;
}

static json_t *encoded_schema_to_json(const struct model_metadata *m)
{
    json_t *document = schema_to_json(m->schema);
    json_t *features = json_object_get(document, "features");
    for (uint32_t i = 0; i < m->schema->n_features; i++) {
        const struct schema_feature *f = &m->schema->features[i];
        if (f->source->kind != SOURCE_NUMBER)
            continue;
        json_object_set_new(json_array_get(features, i), "mean", json_real(m->mean[f->at]));
        json_object_set_new(json_array_get(features, i), "std", json_real(m->std[f->at]));
    }
    return document;
}

static json_t *training_to_json(const struct model_training *t)
{
    return json_pack(
        "{s:I,s:I,s:I,s:I, s:I,s:I,s:I,s:I, s:I,s:I,s:I, s:I,s:i,s:i,s:b,s:I, s:o,s:o,s:f}",
        "from_ms", (json_int_t)t->from_ms, "to_ms", (json_int_t)t->to_ms, "validation_from_ms",
        (json_int_t)t->validation_from_ms, "validation_to_ms", (json_int_t)t->validation_to_ms,
        "train_pairs", (json_int_t)t->train_pairs, "train_bids", (json_int_t)t->train_bids,
        "validation_pairs", (json_int_t)t->validation_pairs, "validation_bids",
        (json_int_t)t->validation_bids, "requests", (json_int_t)t->requests, "requests_unreadable",
        (json_int_t)t->requests_unreadable, "pairs_dropped", (json_int_t)t->pairs_dropped, "seed",
        (json_int_t)t->seed, "epochs", (int)t->epochs, "best_epoch", (int)t->best_epoch, "refit",
        (int)t->refit, "learnt_to_ms", (json_int_t)t->learnt_to_ms, "recall_target",
        real_or_null(t->recall_target), "recall_confidence", real_or_null(t->confidence),
        "recall_margin", t->margin);
}

/* Takes the reference. */
static struct bytes dump(json_t *value, int digits_kept)
{
    char *text =
        value != NULL
            ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits_kept))
            : NULL;
    json_decref(value);
    return bytes_of(text);
}

/* The checksum so far, with the value of KEYS[i]. A key that older files had not counts only where
 * it is. */
static uint64_t hash_of_value(size_t i, struct bytes value, uint64_t so_far)
{
    if (value.base == NULL && strcmp(KEYS[i], "activation_top") == 0)
        return so_far;
    return hash_bytes(value, so_far);
}

enum { FLOAT_DIGITS = 9, DOUBLE_DIGITS = 17 }; /* that read back to the same bits */

/* Takes the values; those that are {NULL, 0} are left out. How many entries, with the checksum. */
static size_t fill_entries(const struct bytes values[KEYS_N],
                           struct safetensors_entry entries[MODEL_METADATA_ENTRIES])
{
    char checksum[17];
    uint64_t hash = 0;
    size_t n = 0;
    for (size_t i = 0; i < KEYS_N; i++) {
        hash = hash_of_value(i, values[i], hash);
        if (values[i].base != NULL)
            entries[n++] = (struct safetensors_entry){KEYS[i], values[i]};
    }
    snprintf(checksum, sizeof(checksum), "%016" PRIx64, hash);
    entries[n++] = (struct safetensors_entry){"metadata_checksum", bytes_of(strdup(checksum))};
    return n;
}

static struct bytes metrics_text(const struct model_metadata *m)
{
    return dump(json_pack("{s:o,s:o}", "auc", real_or_null(m->training.auc), "nll",
                          real_or_null(m->training.nll)),
                FLOAT_DIGITS);
}

int model_metadata_write(const struct model_metadata *m,
                         struct safetensors_entry entries[MODEL_METADATA_ENTRIES])
{
    char rate[32], top[32];
    snprintf(rate, sizeof(rate), "%.9g", (double)m->negative_rate);
    snprintf(top, sizeof(top), "%.9g", (double)m->activation_top);
    const struct bytes values[KEYS_N] = {
        bytes_of(strdup(FORMAT)),
        dump(encoded_schema_to_json(m), DOUBLE_DIGITS),
        dump(dsps_to_json(m), FLOAT_DIGITS),
        bytes_of(strdup(rate)),
        bytes_of(strdup(top)),
        dump(curves_to_json(m), FLOAT_DIGITS),
        dump(training_to_json(&m->training), DOUBLE_DIGITS),
        metrics_text(m),
        bytes_of(strdup("bidsieve " BIDSIEVE_VERSION)),
    };
    size_t n = fill_entries(values, entries);
    if (n == MODEL_METADATA_ENTRIES && entries[n - 1].value.base != NULL)
        return 0;
    model_metadata_free_entries(entries);
    return -1;
}

/* What the training was, but for what belongs to the curves. */
static struct bytes training_text(struct bytes old, const struct model_training *t)
{
    static const char *const of_curves[] = {
        "validation_from_ms", "validation_to_ms", "validation_pairs",  "validation_bids",
        "learnt_to_ms",       "recall_target",    "recall_confidence", "recall_margin"};
    json_t *all = training_to_json(t);
    json_t *kept = old.base != NULL ? json_loadb(old.base, old.len, 0, NULL) : json_object();
    for (size_t i = 0; i < sizeof(of_curves) / sizeof(of_curves[0]); i++)
        json_object_set(kept, of_curves[i], json_object_get(all, of_curves[i]));
    json_decref(all);
    return dump(kept, DOUBLE_DIGITS);
}

size_t model_metadata_rewrite(const struct safetensors *f, const struct model_metadata *m,
                              struct safetensors_entry entries[MODEL_METADATA_ENTRIES])
{
    struct bytes values[KEYS_N];
    bool complete = true;
    for (size_t i = 0; i < KEYS_N; i++) {
        struct bytes old = safetensors_metadata(f, KEYS[i]);
        bool fresh = true;
        if (strcmp(KEYS[i], "curves") == 0)
            values[i] = dump(curves_to_json(m), FLOAT_DIGITS);
        else if (strcmp(KEYS[i], "training") == 0)
            values[i] = training_text(old, &m->training);
        else if (strcmp(KEYS[i], "metrics") == 0)
            values[i] = metrics_text(m);
        else {
            fresh = old.base != NULL;
            values[i] = fresh ? (struct bytes){strndup(old.base, old.len), old.len} : old;
        }
        complete &= !fresh || values[i].base != NULL;
    }
    size_t n = fill_entries(values, entries);
    return complete && entries[n - 1].value.base != NULL ? n : 0;
}

void model_metadata_free_entries(struct safetensors_entry entries[MODEL_METADATA_ENTRIES])
{
    for (size_t i = 0; i < MODEL_METADATA_ENTRIES; i++)
        free((char *)entries[i].value.base);
}

/* ---- reading ---- */

static json_t *load(struct bytes text, const char *path, const char *key, struct error *err)
{
    json_error_t fault;
    json_t *value =
        json_loadb(text.base, text.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);
    if (value == NULL)
        error_set(err, "%s: metadata \"%s\": %s", path, key, fault.text);
    return value;
}

static int check_checksum(const struct safetensors *f, const char *path, struct error *err)
{
    struct bytes written = safetensors_metadata(f, "metadata_checksum");
    if (written.base == NULL)
        return 0;
    uint64_t hash = 0;
    for (size_t i = 0; i < KEYS_N; i++)
        hash = hash_of_value(i, safetensors_metadata(f, KEYS[i]), hash);
    char expected[17];
    snprintf(expected, sizeof(expected), "%016" PRIx64, hash);
    if (!bytes_is(written, expected))
        return error_set(
            err,
            "%s: metadata: metadata_checksum does not match: the file is damaged, or was "
            "changed and still has the old one",
            path);
    return 0;
}

static int read_normalisation(struct model_metadata *m, const json_t *document, const char *path,
                              struct error *err)
{
    const json_t *features = json_object_get(document, "features");
    m->mean = calloc(m->schema->n_numbers + 1, sizeof(*m->mean));
    m->std = calloc(m->schema->n_numbers + 1, sizeof(*m->std));
    if (m->mean == NULL || m->std == NULL)
        return error_set(err, "%s: out of memory", path);
    for (uint32_t i = 0; i < m->schema->n_features; i++) {
        const struct schema_feature *f = &m->schema->features[i];
        if (f->source->kind != SOURCE_NUMBER)
            continue;
        const json_t *mean = json_object_get(json_array_get(features, i), "mean");
        const json_t *std = json_object_get(json_array_get(features, i), "std");
        if ((mean != NULL && !json_is_number(mean)) || (std != NULL && !json_is_number(std)))
            return error_set(err, "%s: schema: features[%u]: mean and std must be numbers", path,
                             i);
        m->mean[f->at] = json_number_value(mean);
        m->std[f->at] = std != NULL ? json_number_value(std) : 1;
        if (!isfinite(m->mean[f->at]) || !(m->std[f->at] > 0))
            return error_set(err, "%s: schema: features[%u].std: must be above 0", path, i);
    }
    return 0;
}

static int read_schema(struct model_metadata *m, const struct safetensors *f, const char *path,
                       struct error *err)
{
    static const char *const extra[] = {"mean", "std", NULL};
    struct bytes text = safetensors_metadata(f, "schema");
    if (text.base == NULL)
        return error_set(err, "%s: no \"schema\" in its metadata: not a model of bidsieve", path);
    json_t *document = load(text, path, "schema", err);
    if (document == NULL)
        return -1;
    char where[300];
    snprintf(where, sizeof(where), "%.280s: schema", path);
    m->schema = schema_from_json(document, where, extra, err);
    int status = m->schema != NULL ? read_normalisation(m, document, path, err) : -1;
    json_decref(document);
    return status;
}

static int read_dsps(struct model_metadata *m, const struct safetensors *f, const char *path,
                     struct error *err)
{
    struct bytes text = safetensors_metadata(f, "dsps");
    if (text.base == NULL)
        return error_set(err, "%s: no \"dsps\" in its metadata", path);
    json_t *names = load(text, path, "dsps", err);
    if (names == NULL)
        return -1;
    size_t n = json_array_size(names);
    int status = 0;
    m->dsps = interner_create();
    if (m->dsps == NULL)
        status = error_set(err, "%s: out of memory", path);
    else if (n == 0 || n > MODEL_DSPS_MAX)
        status = error_set(err, "%s: dsps: must be an array of 1..%d names", path, MODEL_DSPS_MAX);
    for (size_t i = 0; status == 0 && i < n; i++) {
        const json_t *item = json_array_get(names, i);
        struct bytes name = {json_string_value(item), json_string_length(item)};
        if (name.len == 0 || name.len > MODEL_DSP_NAME_MAX || !vocabulary_may_hold(name))
            status = error_set(err, "%s: dsps[%zu]: must be a name", path, i);
        else if (interner_add(m->dsps, name) != i)
            status = error_set(err, "%s: dsps[%zu]: \"%s\" is there twice", path, i, name.base);
    }
    json_decref(names);
    return status;
}

/* "key": number of an object; fallback when it is absent or null. */
static double member(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static int64_t member_integer(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

static bool share_read(const json_t *value, float *out)
{
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    *out = (float)x;
    return x >= 0 && x <= 1;
}

static bool curve_from_json(const json_t *object, struct recall_curve *c)
{
    const json_t *points = json_object_get(object, "points");
    size_t n = json_array_size(points);
    memset(c, 0, sizeof(*c));
    if (!json_is_array(points) || n > RECALL_POINTS_MAX)
        return false;
    c->pairs = (uint64_t)member_integer(object, "pairs", 0);
    c->bids = (uint64_t)member_integer(object, "bids", 0);
    c->bid_rate = member(object, "bid_rate", NAN);
    c->auc = member(object, "auc", NAN);
    c->nll = member(object, "nll", NAN);
    c->calibration = member(object, "calibration", NAN);
    c->n = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(points, i);
        struct recall_point *p = &c->points[i];
        float *const fields[] = {&p->threshold, &p->recall, &p->recall_low, &p->recall_high,
                                 &p->withheld};
        if (json_array_size(row) != 5)
            return false;
        for (size_t k = 0; k < 5; k++)
            if (!share_read(json_array_get(row, k), fields[k]))
                return false;
        if (i > 0 && (p->threshold < p[-1].threshold || p->recall > p[-1].recall))
            return false;
    }
    return true;
}

/* *out stays NULL where there is none. */
static int read_curve(struct recall_curve **out, const json_t *object, const char *what,
                      struct bytes dsp, const char *path, struct error *err)
{
    if (object == NULL)
        return 0;
    *out = malloc(sizeof(**out));
    if (*out == NULL)
        return error_set(err, "%s: out of memory", path);
    if (!curve_from_json(object, *out))
        return error_set(err, "%s: curves: \"%.*s\"%s is no recall curve", path, (int)dsp.len,
                         dsp.base, what);
    return 0;
}

static int read_curves(struct model_metadata *m, const struct safetensors *f, const char *path,
                       struct error *err)
{
    uint32_t n = interner_count(m->dsps);
    m->curves = calloc(n, sizeof(*m->curves));
    m->value_curves = calloc(n, sizeof(*m->value_curves));
    if (m->curves == NULL || m->value_curves == NULL)
        return error_set(err, "%s: out of memory", path);
    struct bytes text = safetensors_metadata(f, "curves");
    json_t *curves = text.base != NULL ? load(text, path, "curves", err) : json_object();
    int status = curves != NULL ? 0 : -1;
    if (status == 0 && !json_is_object(curves))
        status = error_set(err, "%s: curves: must be an object", path);
    for (uint32_t i = 0; status == 0 && i < n; i++) {
        struct bytes name = interner_text(m->dsps, i);
        const json_t *object = json_object_getn(curves, name.base, name.len);
        status = read_curve(&m->curves[i], object, "", name, path, err);
        if (status == 0)
            status = read_curve(&m->value_curves[i], json_object_get(object, "value"), ".value",
                                name, path, err);
    }
    json_decref(curves);
    return status;
}

static int read_negative_rate(struct model_metadata *m, const struct safetensors *f,
                              const char *path, struct error *err)
{
    struct bytes text = safetensors_metadata(f, "negative_rate");
    if (text.base == NULL)
        return 0;
    json_t *value = load(text, path, "negative_rate", err);
    if (value == NULL)
        return -1;
    m->negative_rate = json_is_number(value) ? (float)json_number_value(value) : NAN;
    json_decref(value);
    if (!(m->negative_rate > 0 && m->negative_rate <= 1))
        return error_set(err, "%s: negative_rate: must be above 0 and at most 1", path);
    return 0;
}

static int read_activation_top(struct model_metadata *m, const struct safetensors *f,
                               const char *path, struct error *err)
{
    struct bytes text = safetensors_metadata(f, "activation_top");
    if (text.base == NULL)
        return 0;
    json_t *value = load(text, path, "activation_top", err);
    if (value == NULL)
        return -1;
    m->activation_top = json_is_number(value) ? (float)json_number_value(value) : NAN;
    json_decref(value);
    if (!(m->activation_top >= 0 && isfinite(m->activation_top)))
        return error_set(err, "%s: activation_top: must be a number from 0", path);
    return 0;
}

static int read_training(struct model_metadata *m, const struct safetensors *f, const char *path,
                         struct error *err)
{
    struct bytes training = safetensors_metadata(f, "training");
    struct bytes metrics = safetensors_metadata(f, "metrics");
    struct model_training *t = &m->training;
    if (training.base != NULL) {
        json_t *object = load(training, path, "training", err);
        if (object == NULL)
            return -1;
        t->from_ms = member_integer(object, "from_ms", -1);
        t->to_ms = member_integer(object, "to_ms", -1);
        t->validation_from_ms = member_integer(object, "validation_from_ms", -1);
        t->validation_to_ms = member_integer(object, "validation_to_ms", -1);
        t->train_pairs = (uint64_t)member_integer(object, "train_pairs", 0);
        t->train_bids = (uint64_t)member_integer(object, "train_bids", 0);
        t->validation_pairs = (uint64_t)member_integer(object, "validation_pairs", 0);
        t->validation_bids = (uint64_t)member_integer(object, "validation_bids", 0);
        t->learnt_to_ms = member_integer(object, "learnt_to_ms", t->validation_to_ms);
        t->recall_target = member(object, "recall_target", NAN);
        t->confidence = member(object, "recall_confidence", NAN);
        t->margin = member(object, "recall_margin", 0);
        json_decref(object);
        if (!(t->margin >= 0 && t->margin <= 1))
            return error_set(err, "%s: training: recall_margin: must be from 0 to 1", path);
    }
    if (metrics.base != NULL) {
        json_t *object = load(metrics, path, "metrics", err);
        if (object == NULL)
            return -1;
        t->auc = member(object, "auc", NAN);
        t->nll = member(object, "nll", NAN);
        json_decref(object);
    }
    return 0;
}

struct model_metadata *model_metadata_read(const struct safetensors *f, const char *path,
                                           struct error *err)
{
    struct model_metadata *m = model_metadata_create();
    if (m == NULL) {
        error_set(err, "%s: out of memory", path);
        return NULL;
    }
    struct bytes format = safetensors_metadata(f, "format");
    if (format.base != NULL && !bytes_is(format, FORMAT)) {
        error_set(err, "%s: format \"%.*s\"; this version reads \"" FORMAT "\"", path,
                  (int)(format.len < 40 ? format.len : 40), format.base);
        goto fail;
    }
    if (check_checksum(f, path, err) != 0 || read_schema(m, f, path, err) != 0 ||
        read_dsps(m, f, path, err) != 0 || read_negative_rate(m, f, path, err) != 0 ||
        read_activation_top(m, f, path, err) != 0 || read_curves(m, f, path, err) != 0 ||
        read_training(m, f, path, err) != 0)
        goto fail;
    return m;
fail:
    model_metadata_destroy(m);
    return NULL;
}

char *model_metadata_describe(const struct safetensors *f)
{
    json_t *all = json_object();
    static const char *const checksums[] = {"metadata_checksum", "checksum"};
    for (size_t i = 0; i < KEYS_N + 2; i++) {
        const char *key = i < KEYS_N ? KEYS[i] : checksums[i - KEYS_N];
        struct bytes text = safetensors_metadata(f, key);
        if (text.base == NULL)
            continue;
        bool is_text = i >= KEYS_N || strcmp(key, "format") == 0 || strcmp(key, "tool") == 0;
        json_t *value = is_text ? NULL : json_loadb(text.base, text.len, JSON_DECODE_ANY, NULL);
        if (value == NULL)
            value = json_stringn(text.base, text.len);
        json_object_set_new(all, key, value);
    }
    char *out = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(all);
    return out;
}
