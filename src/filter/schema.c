/* Reading a schema: one JSON document against the table of sources. Every fault names its JSON path
 * and what would be right. */
#include "filter/schema.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS_DEFAULT = 4,
    MIN_COUNT_DEFAULT = 10,
    VALUES_DEFAULT = 20000,
};

static bool is_among(const char *text, const char *const *list)
{
    for (; list != NULL && *list != NULL; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static int unknown_member(const json_t *object, const char *const *known, const char *const *extra,
                          const char *where, const char *path, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (!is_among(key, known) && !is_among(key, extra))
            return error_set(err, "%s: %s%s%.64s: unknown key", where, path,
                             *path != '\0' ? "." : "", key);
    }
    return 0;
}

/* An optional integer member within [low, high]; absent = fallback. */
static int read_integer(const json_t *object, const char *key, uint32_t fallback, uint32_t low,
                        uint32_t high, uint32_t *out, const char *where, const char *path,
                        struct error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = fallback;
    if (value == NULL)
        return 0;
    if (!json_is_integer(value))
        return error_set(err, "%s: %s.%s: must be a whole number", where, path, key);
    json_int_t n = json_integer_value(value);
    if (n < (json_int_t)low || n > (json_int_t)high)
        return error_set(err, "%s: %s.%s: must be %u..%u, not %lld", where, path, key, low, high,
                         (long long)n);
    *out = (uint32_t)n;
    return 0;
}

/* An optional true or false; absent = false. */
static int read_flag(const json_t *object, const char *key, bool *out, const char *where,
                     const char *path, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    if (value != NULL && !json_is_boolean(value))
        return error_set(err, "%s: %s.%s: must be true or false", where, path, key);
    *out = json_is_true(value);
    return 0;
}

static int read_name(const json_t *object, struct schema_feature *f, const char *where,
                     const char *path, struct error *err)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    size_t len = name != NULL ? strlen(name) : 0;
    if (len == 0 || len >= sizeof(f->name) ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != len)
        return error_set(err, "%s: %s.name: must be 1..63 of a-z, 0-9 and _", where, path);
    memcpy(f->name, name, len + 1);
    return 0;
}

/* ---- a source's name, and what a wrong one may have meant ---- */

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance; what is longer than the row counts as far away. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t n = strlen(b);
    if (n + 1 > sizeof(row) / sizeof(row[0]))
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t above = row[j];
            row[j] = min_of(diagonal + (a[i - 1] != b[j - 1]), 1 + min_of(above, row[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

/* Near: few letters differ, or the same last part ("country" for "geo.country"), or the same group.
 */
static bool is_near(const char *wrong, const char *name)
{
    const char *tail = strrchr(name, '.');
    const char *wrong_tail = strrchr(wrong, '.');
    const char *last = wrong_tail != NULL ? wrong_tail + 1 : wrong;
    return edit_distance(wrong, name) <= 2 ||
           (tail != NULL && *last != '\0' && edit_distance(last, tail + 1) <= 1) ||
           (tail != NULL && strncmp(wrong, name, (size_t)(tail - name)) == 0 &&
            wrong[tail - name] == '\0');
}

static int unknown_source(const char *wrong, const char *where, const char *path, struct error *err)
{
    char near[512] = "";
    size_t used = 0, n;
    const struct feature_source *sources = feature_source_table(&n);
    for (size_t i = 0; i < n; i++)
        if (strlen(wrong) < 64 && is_near(wrong, sources[i].name) &&
            used + strlen(sources[i].name) + 3 < sizeof(near))
            used += (size_t)snprintf(near + used, sizeof(near) - used, "%s%s", used > 0 ? ", " : "",
                                     sources[i].name);
    return error_set(err, "%s: %s.source: no source is called \"%.64s\"%s%s", where, path, wrong,
                     used > 0 ? "; near it: " : "; docs/features.md lists them", near);
}

static int read_source(const json_t *object, struct schema_feature *f, const char *where,
                       const char *path, struct error *err)
{
    const char *name = json_string_value(json_object_get(object, "source"));
    if (name == NULL)
        return error_set(err, "%s: %s.source: must name a source", where, path);
    f->source = feature_source_find(name);
    return f->source != NULL ? 0 : unknown_source(name, where, path, err);
}

/* ---- one feature ---- */

static int forbid(const json_t *object, const char *const *keys, const char *why, const char *where,
                  const char *path, struct error *err)
{
    for (; *keys != NULL; keys++)
        if (json_object_get(object, *keys) != NULL)
            return error_set(err, "%s: %s.%s: %s", where, path, *keys, why);
    return 0;
}

static int read_kind(const json_t *object, const struct schema_feature *f, const char *where,
                     const char *path, struct error *err)
{
    static const char *const of_text[] = {"dim",     "slots",     "min_count", "values_max",
                                          "backoff", "hash_bits", "wide",      NULL};
    static const char *const not_of_single[] = {"slots", NULL};
    static const char *const not_of_flat[] = {"backoff", NULL};
    static const char *const not_of_hashed[] = {"min_count", "values_max", "backoff", NULL};
    bool number = f->source->kind == SOURCE_NUMBER;
    const json_t *type = json_object_get(object, "type");
    if (type != NULL) {
        const char *is = number ? "number" : "text";
        if (!json_is_string(type) || strcmp(json_string_value(type), is) != 0)
            return error_set(err, "%s: %s.type: %s is a %s", where, path, f->source->name, is);
    }
    if (number)
        return forbid(object, of_text, "a number has none", where, path, err);
    if (f->source->kind == SOURCE_DSP)
        return forbid(object, of_text + 1, "the dsp feature has none", where, path, err);
    if (f->source->kind == SOURCE_TEXT &&
        forbid(object, not_of_single, "this source has a single value", where, path, err) != 0)
        return -1;
    if (f->source->level == 0 &&
        forbid(object, not_of_flat, "this source's values have no levels", where, path, err) != 0)
        return -1;
    if (json_object_get(object, "hash_bits") != NULL)
        return forbid(object, not_of_hashed, "not beside hash_bits: no vocabulary is kept", where,
                      path, err);
    return 0;
}

static int read_feature(const json_t *object, struct schema_feature *f, const char *const *extra,
                        const char *where, const char *path, struct error *err)
{
    static const char *const known[] = {"name",      "source",    "type",       "dim",
                                        "slots",     "min_count", "values_max", "backoff",
                                        "hash_bits", "wide",      NULL};
    if (!json_is_object(object))
        return error_set(err, "%s: %s: must be an object", where, path);
    if (unknown_member(object, known, extra, where, path, err) != 0 ||
        read_name(object, f, where, path, err) != 0 ||
        read_source(object, f, where, path, err) != 0 ||
        read_kind(object, f, where, path, err) != 0)
        return -1;
    if (f->source->kind == SOURCE_NUMBER)
        return 0;
    if (read_integer(object, "dim", 0, 1, SCHEMA_DIM_MAX, &f->dim, where, path, err) != 0)
        return -1;
    if (f->source->kind == SOURCE_DSP)
        return 0;

    uint32_t slots = f->source->kind == SOURCE_TEXTS ? SLOTS_DEFAULT : 1;
    if (read_flag(object, "wide", &f->wide, where, path, err) != 0 ||
        read_flag(object, "backoff", &f->backoff, where, path, err) != 0 ||
        read_integer(object, "hash_bits", 0, 1, SCHEMA_HASH_BITS_MAX, &f->hash_bits, where, path,
                     err) != 0)
        return -1;
    if (read_integer(object, "slots", slots, 1, SCHEMA_SLOTS_MAX, &f->slots, where, path, err) !=
            0 ||
        read_integer(object, "min_count", MIN_COUNT_DEFAULT, 1, 1000000000, &f->min_count, where,
                     path, err) != 0 ||
        read_integer(object, "values_max", VALUES_DEFAULT, 1, SCHEMA_VALUES_MAX, &f->values_max,
                     where, path, err) != 0)
        return -1;
    return 0;
}

/* ---- the whole ---- */

static int check_whole(struct schema *s, const char *where, struct error *err)
{
    uint32_t n_dsp = 0, inputs = 0;
    for (uint32_t i = 0; i < s->n_features; i++) {
        struct schema_feature *f = &s->features[i];
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(f->name, s->features[k].name) == 0)
                return error_set(err,
                                 "%s: features[%u].name: \"%s\" is features[%u]'s name already",
                                 where, i, f->name, k);
        inputs += f->dim > 0 || f->source->kind == SOURCE_NUMBER ? f->dim : SCHEMA_DIM_RULE_MAX;
        if (f->source->kind == SOURCE_DSP) {
            s->dsp_feature = i;
            if (++n_dsp > 1)
                return error_set(err, "%s: features[%u].source: a second \"dsp\"", where, i);
        } else if (f->source->kind == SOURCE_NUMBER) {
            f->at = s->n_numbers++;
            inputs += 2;
        } else {
            f->at = s->n_slots;
            s->n_slots += f->slots;
        }
    }
    if (n_dsp == 0)
        return error_set(err, "%s: features: one of them must have the source \"dsp\"", where);
    if (inputs > SCHEMA_INPUTS_MAX)
        return error_set(err, "%s: features: their dims add up to %u inputs, more than %u", where,
                         inputs, SCHEMA_INPUTS_MAX);
    return 0;
}

struct schema *schema_from_json(const json_t *document, const char *where,
                                const char *const *allowed_extra, struct error *err)
{
    static const char *const known[] = {"features", NULL};
    struct schema *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        error_set(err, "%s: out of memory", where);
        return NULL;
    }
    if (!json_is_object(document)) {
        error_set(err, "%s: must be an object {\"features\": [...]}", where);
        goto fail;
    }
    if (unknown_member(document, known, allowed_extra, where, "", err) != 0)
        goto fail;
    const json_t *features = json_object_get(document, "features");
    size_t n = json_array_size(features);
    if (n == 0 || n > SCHEMA_FEATURES_MAX) {
        error_set(err, "%s: features: must be an array of 1..%d", where, SCHEMA_FEATURES_MAX);
        goto fail;
    }
    s->features = calloc(n, sizeof(*s->features));
    s->user_agents = user_agent_rules_create();
    s->time_zones = time_zones_create();
    if (s->features == NULL || s->user_agents == NULL || s->time_zones == NULL) {
        error_set(err, "%s: out of memory", where);
        goto fail;
    }
    s->n_features = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        char path[32];
        snprintf(path, sizeof(path), "features[%zu]", i);
        if (read_feature(json_array_get(features, i), &s->features[i], allowed_extra, where, path,
                         err) != 0)
            goto fail;
    }
    if (check_whole(s, where, err) != 0)
        goto fail;
    return s;
fail:
    schema_destroy(s);
    return NULL;
}

struct schema *schema_parse(struct bytes json, const char *where, struct error *err)
{
    json_error_t fault;
    json_t *document = json_loadb(json.base, json.len, JSON_REJECT_DUPLICATES, &fault);
    if (document == NULL) {
        error_set(err, "%s:%d:%d: %s", where, fault.line, fault.column, fault.text);
        return NULL;
    }
    struct schema *s = schema_from_json(document, where, NULL, err);
    json_decref(document);
    return s;
}

struct schema *schema_load(const char *path, struct error *err)
{
    json_error_t fault;
    json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, &fault);
    if (document == NULL) {
        if (fault.line > 0)
            error_set(err, "%s:%d:%d: %s", path, fault.line, fault.column, fault.text);
        else
            error_set(err, "%s", fault.text);
        return NULL;
    }
    struct schema *s = schema_from_json(document, path, NULL, err);
    json_decref(document);
    return s;
}

json_t *schema_to_json(const struct schema *s)
{
    json_t *features = json_array();
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        json_t *object = json_pack("{s:s, s:s}", "name", f->name, "source", f->source->name);
        if (f->source->kind == SOURCE_NUMBER) {
            json_object_set_new(object, "type", json_string("number"));
        } else if (f->dim > 0) {
            json_object_set_new(object, "dim", json_integer(f->dim));
        }
        if (f->slots > 0) {
            if (f->source->kind == SOURCE_TEXTS)
                json_object_set_new(object, "slots", json_integer(f->slots));
            if (f->hash_bits > 0) {
                json_object_set_new(object, "hash_bits", json_integer(f->hash_bits));
            } else {
                json_object_set_new(object, "min_count", json_integer(f->min_count));
                json_object_set_new(object, "values_max", json_integer(f->values_max));
            }
            if (f->backoff)
                json_object_set_new(object, "backoff", json_true());
            json_object_set_new(object, "wide", json_boolean(f->wide));
        }
        json_array_append_new(features, object);
    }
    return json_pack("{s:o}", "features", features);
}

struct schema *schema_copy(const struct schema *s)
{
    struct schema *copy = malloc(sizeof(*copy));
    if (copy == NULL)
        return NULL;
    *copy = *s;
    copy->features = malloc(s->n_features * sizeof(*copy->features));
    copy->user_agents = user_agent_rules_create();
    copy->time_zones = time_zones_create();
    if (copy->features == NULL || copy->user_agents == NULL || copy->time_zones == NULL) {
        schema_destroy(copy);
        return NULL;
    }
    memcpy(copy->features, s->features, s->n_features * sizeof(*copy->features));
    return copy;
}

void schema_destroy(struct schema *s)
{
    if (s == NULL)
        return;
    free(s->features);
    user_agent_rules_destroy(s->user_agents);
    time_zones_destroy(s->time_zones);
    free(s);
}

uint32_t schema_slots(const struct schema *s)
{
    return s->n_slots;
}

uint32_t schema_numbers(const struct schema *s)
{
    return s->n_numbers;
}
