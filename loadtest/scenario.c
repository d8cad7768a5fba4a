/* Two tables of keys drive the parsing; what a file does not say stays as the tables have it. */
#include "loadtest/scenario.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "hash.h"

struct traffic_key {
    const char *name;
    size_t offset;
    bool whole; /* uint32_t, else double */
    double low, high, initial;
};
#define TRAFFIC(name, whole, low, high, initial)                                  \
    {                                                                             \
#name, offsetof(struct scenario_traffic, name), whole, low, high, initial \
    }
static const struct traffic_key TRAFFIC_KEYS[] = {
    TRAFFIC(requests_per_day, true, 1, 1e9, 35000),
    TRAFFIC(sites, true, 20, 60000, 1200),
    TRAFFIC(apps, true, 20, 60000, 600),
    TRAFFIC(publishers, true, 1, 60000, 300),
    TRAFFIC(users, true, 1, 4e9, 150000),
    TRAFFIC(property_zipf, false, 0, 3, 0.9),
    TRAFFIC(user_skew, false, 1, 20, 2.0),
    TRAFFIC(local_share, false, 0, 1, 0.75),
    TRAFFIC(new_share, false, 0, 0.9, 0.1),
    TRAFFIC(new_days, true, 1, 10000, 40),
    TRAFFIC(app_share, false, 0, 1, 0.6),
    TRAFFIC(user_id_share, false, 0, 1, 0.75),
    TRAFFIC(deal_share, false, 0, 1, 0.08),
    TRAFFIC(two_imps_share, false, 0, 1, 0.06),
    TRAFFIC(coppa_share, false, 0, 1, 0.01),
    TRAFFIC(region_share, false, 0, 1, 0.95),
    TRAFFIC(city_share, false, 0, 1, 0.85),
    TRAFFIC(floor_median, false, 0, 1000, 0.55),
    TRAFFIC(floor_sigma, false, 0, 3, 0.5),
    TRAFFIC(floor_zero_share, false, 0, 1, 0.15),
};

struct dsp_key {
    const char *name;
    size_t offset;
    double low, high;
    struct dist initial;
};
#define DSP(name, low, high, ...)                                          \
    {                                                                      \
#name, offsetof(struct scenario_dsp, name), low, high, __VA_ARGS__ \
    }
static const struct dsp_key DSP_KEYS[] = {
    DSP(campaigns, 1, SCENARIO_CAMPAIGNS_MAX, {DIST_UNIFORM, 20, 60}),
    DSP(bid_rate, 0, 0.6, {DIST_LOG_UNIFORM, 0.005, 0.15}),
    DSP(match_rate, 0, 1, {DIST_UNIFORM, 0.45, 0.85}),
    DSP(user_share, 0, 1, {DIST_UNIFORM, 0.25, 0.6}),
    DSP(deal_share, 0, 1, {DIST_UNIFORM, 0, 0.12}),
    DSP(evergreen_share, 0, 1, {DIST_UNIFORM, 0.4, 0.7}),
    DSP(runout_share, 0, 1, {DIST_UNIFORM, 0.1, 0.35}),
    DSP(flight_days, 1, 3650, {DIST_UNIFORM, 14, 56}),
    DSP(pause_days, 0, 3650, {DIST_UNIFORM, 7, 28}),
    DSP(ramp_days, 0, 365, {DIST_UNIFORM, 2, 5}),
    DSP(interest, 0, 1, {DIST_LOG_UNIFORM, 0.04, 0.6}),
    DSP(price_median, 0.01, 1000, {DIST_LOG_NORMAL, 1.6, 0.35}),
    DSP(price_sigma, 0, 3, {DIST_UNIFORM, 0.2, 0.6}),
    DSP(reach_sigma, 0, 3, {DIST_CONSTANT, 0.9, 0}),
    DSP(latency_ms, 0, 10000, {DIST_LOG_NORMAL, 12, 0.5}),
    DSP(latency_p99_ms, 0, 60000, {DIST_LOG_NORMAL, 45, 0.3}),
    DSP(error_rate, 0, 1, {DIST_CONSTANT, 0.0005, 0}),
    DSP(malformed_rate, 0, 1, {DIST_CONSTANT, 0, 0}),
    DSP(timeout_rate, 0, 1, {DIST_CONSTANT, 0.002, 0}),
    DSP(timeout_after_ms, 0, 600000, {DIST_CONSTANT, 400, 0}),
};
enum {
    TRAFFIC_KEYS_COUNT = sizeof(TRAFFIC_KEYS) / sizeof(TRAFFIC_KEYS[0]),
    DSP_KEYS_COUNT = sizeof(DSP_KEYS) / sizeof(DSP_KEYS[0])
};

double dist_draw(const struct dist *d, struct prng *g)
{
    switch (d->kind) {
    case DIST_CONSTANT:
        return d->a;
    case DIST_UNIFORM:
        return d->a + (d->b - d->a) * prng_unit(g);
    case DIST_LOG_UNIFORM:
        return d->a * exp(log(d->b / d->a) * prng_unit(g));
    case DIST_LOG_NORMAL:
        return d->a * exp(d->b * prng_normal(g));
    }
    return d->a;
}

static struct scenario_number *number_at(struct scenario_dsp *dsp, const struct dsp_key *key)
{
    return (struct scenario_number *)((char *)dsp + key->offset);
}

static int parse_pair(const json_t *pair, double *a, double *b)
{
    if (!json_is_array(pair) || json_array_size(pair) != 2 ||
        !json_is_number(json_array_get(pair, 0)) || !json_is_number(json_array_get(pair, 1)))
        return -1;
    *a = json_number_value(json_array_get(pair, 0));
    *b = json_number_value(json_array_get(pair, 1));
    return 0;
}

/* 0.3 | {"uniform":[a,b]} | {"log_uniform":[a,b]} | {"log_normal":[median,sigma]} */
static int parse_dist(const json_t *v, const struct dsp_key *key, const char *path,
                      struct dist *out, struct error *err)
{
    static const char *const NAMES[] = {[DIST_UNIFORM] = "uniform",
                                        [DIST_LOG_UNIFORM] = "log_uniform",
                                        [DIST_LOG_NORMAL] = "log_normal"};
    if (json_is_number(v)) {
        *out = (struct dist){DIST_CONSTANT, json_number_value(v), 0};
    } else {
        int kind = DIST_UNIFORM;
        while (kind <= DIST_LOG_NORMAL && json_object_get(v, NAMES[kind]) == NULL)
            kind++;
        if (kind > DIST_LOG_NORMAL || json_object_size(v) != 1 ||
            parse_pair(json_object_get(v, NAMES[kind]), &out->a, &out->b) != 0)
            return error_set(err,
                             "%s.%s must be a number or {\"uniform\":[a,b]}, {\"log_uniform\":"
                             "[a,b]} or {\"log_normal\":[median,sigma]}",
                             path, key->name);
        out->kind = (unsigned)kind;
        if (kind == DIST_LOG_NORMAL ? out->b < 0 : out->b < out->a)
            return error_set(err, "%s.%s: the second number is too small", path, key->name);
        if (kind != DIST_UNIFORM && out->a <= 0)
            return error_set(err, "%s.%s: a logarithm needs numbers above 0", path, key->name);
    }
    double top = out->kind == DIST_CONSTANT || out->kind == DIST_LOG_NORMAL ? out->a : out->b;
    if (!(out->a >= key->low && top <= key->high))
        return error_set(err, "%s.%s must lie in %g..%g", path, key->name, key->low, key->high);
    return 0;
}

static int parse_dsp_keys(struct scenario_dsp *dsp, json_t *object, const char *path,
                          struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        size_t k = 0;
        while (k < DSP_KEYS_COUNT && strcmp(DSP_KEYS[k].name, name) != 0)
            k++;
        if (k < DSP_KEYS_COUNT) {
            if (parse_dist(value, &DSP_KEYS[k], path, &number_at(dsp, &DSP_KEYS[k])->dist, err) !=
                0)
                return -1;
        } else if (strcmp(name, "name") != 0 || dsp->name[0] == '\0') {
            return error_set(err, "%s.%s: unknown key", path, name);
        }
    }
    return 0;
}

static bool name_is_sound(const char *name)
{
    size_t len = name == NULL ? 0 : strlen(name);
    static const char LETTERS[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return len >= 1 && len <= SCENARIO_NAME_MAX && strspn(name, LETTERS) == len;
}

static int parse_dsp(struct scenario *s, const struct scenario_dsp *defaults, json_t *object,
                     struct error *err)
{
    struct scenario_dsp *dsp = &s->dsps[s->n_dsps];
    char path[64];
    snprintf(path, sizeof(path), "dsps[%u]", s->n_dsps);
    const char *name = json_string_value(json_object_get(object, "name"));
    if (!name_is_sound(name))
        return error_set(err, "%s.name must be 1-64 letters, digits, '_', '.' or '-'", path);
    for (uint32_t i = 0; i < s->n_dsps; i++) {
        if (strcmp(s->dsps[i].name, name) == 0)
            return error_set(err, "%s.name: \"%s\" is there twice", path, name);
    }
    *dsp = *defaults;
    memcpy(dsp->name, name, strlen(name) + 1);
    if (parse_dsp_keys(dsp, object, path, err) != 0)
        return -1;
    /* A stream of its own for each key, so that one more key changes no other draw. */
    for (size_t k = 0; k < DSP_KEYS_COUNT; k++) {
        struct prng g = {hash_bytes(bytes_of(dsp->name), s->seed) ^
                         hash_bytes(bytes_of(DSP_KEYS[k].name), s->seed)};
        struct scenario_number *n = number_at(dsp, &DSP_KEYS[k]);
        n->drawn = fmin(fmax(dist_draw(&n->dist, &g), DSP_KEYS[k].low), DSP_KEYS[k].high);
    }
    if (dsp->latency_p99_ms.drawn < dsp->latency_ms.drawn)
        dsp->latency_p99_ms.drawn = dsp->latency_ms.drawn;
    s->n_dsps++;
    return 0;
}

static int parse_dsps(struct scenario *s, json_t *root, struct error *err)
{
    struct scenario_dsp defaults = {.name = ""};
    for (size_t k = 0; k < DSP_KEYS_COUNT; k++)
        number_at(&defaults, &DSP_KEYS[k])->dist = DSP_KEYS[k].initial;
    json_t *given = json_object_get(root, "dsp_defaults");
    if (given != NULL &&
        (!json_is_object(given) || parse_dsp_keys(&defaults, given, "dsp_defaults", err) != 0))
        return json_is_object(given) ? -1 : error_set(err, "dsp_defaults must be an object");
    json_t *list = json_object_get(root, "dsps");
    size_t n = json_array_size(list);
    if (n < 1 || n > SCENARIO_DSPS_MAX)
        return error_set(err, "dsps must be an array of 1..%d objects", SCENARIO_DSPS_MAX);
    s->dsps = calloc(n, sizeof(*s->dsps));
    if (s->dsps == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        if (parse_dsp(s, &defaults, json_array_get(list, i), err) != 0)
            return -1;
    }
    return 0;
}

static int parse_traffic(struct scenario_traffic *t, json_t *object, struct error *err)
{
    for (size_t k = 0; k < TRAFFIC_KEYS_COUNT; k++) {
        void *at = (char *)t + TRAFFIC_KEYS[k].offset;
        if (TRAFFIC_KEYS[k].whole)
            *(uint32_t *)at = (uint32_t)TRAFFIC_KEYS[k].initial;
        else
            *(double *)at = TRAFFIC_KEYS[k].initial;
    }
    if (object != NULL && !json_is_object(object))
        return error_set(err, "traffic must be an object");
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        size_t k = 0;
        while (k < TRAFFIC_KEYS_COUNT && strcmp(TRAFFIC_KEYS[k].name, name) != 0)
            k++;
        if (k == TRAFFIC_KEYS_COUNT)
            return error_set(err, "traffic.%s: unknown key", name);
        const struct traffic_key *key = &TRAFFIC_KEYS[k];
        double number = json_number_value(value);
        if (!json_is_number(value) || (key->whole && !json_is_integer(value)) ||
            !(number >= key->low && number <= key->high))
            return error_set(err, "traffic.%s must be a %s in %g..%g", name,
                             key->whole ? "whole number" : "number", key->low, key->high);
        if (key->whole)
            *(uint32_t *)((char *)t + key->offset) = (uint32_t)number;
        else
            *(double *)((char *)t + key->offset) = number;
    }
    return 0;
}

static int parse_root(struct scenario *s, json_t *root, struct error *err)
{
    static const char *const KEYS[] = {"name",    "comment",      "seed", "start",
                                       "traffic", "dsp_defaults", "dsps"};
    if (!json_is_object(root))
        return error_set(err, "must be an object");
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        size_t k = 0;
        while (k < sizeof(KEYS) / sizeof(KEYS[0]) && strcmp(KEYS[k], name) != 0)
            k++;
        if (k == sizeof(KEYS) / sizeof(KEYS[0]))
            return error_set(err, "%s: unknown key", name);
    }
    const char *given = json_string_value(json_object_get(root, "name"));
    if (!name_is_sound(given))
        return error_set(err, "name must be 1-64 letters, digits, '_', '.' or '-'");
    memcpy(s->name, given, strlen(given) + 1);
    json_t *seed = json_object_get(root, "seed");
    if (!json_is_integer(seed) || json_integer_value(seed) < 0)
        return error_set(err, "seed must be a whole number, 0 or more");
    s->seed = (uint64_t)json_integer_value(seed);
    const char *start = json_string_value(json_object_get(root, "start"));
    struct tm day = {0};
    const char *end = start == NULL ? NULL : strptime(start, "%Y-%m-%d", &day);
    if (end == NULL || *end != '\0')
        return error_set(err, "start must be a date, \"YYYY-MM-DD\"");
    s->start_ms = (int64_t)timegm(&day) * 1000;
    if (parse_traffic(&s->traffic, json_object_get(root, "traffic"), err) != 0)
        return -1;
    return parse_dsps(s, root, err);
}

struct scenario *scenario_parse(struct bytes json, const char *where, struct error *err)
{
    json_error_t fault;
    json_t *root = json_loadb(json.base, json.len, JSON_REJECT_DUPLICATES, &fault);
    if (root == NULL) {
        error_set(err, "%s:%d: %s", where, fault.line, fault.text);
        return NULL;
    }
    struct scenario *s = calloc(1, sizeof(*s));
    if (s == NULL)
        abort();
    struct error inner = {""};
    if (parse_root(s, root, &inner) != 0) {
        error_set(err, "%s: %.900s", where, inner.text);
        scenario_destroy(s);
        s = NULL;
    }
    json_decref(root);
    return s;
}

struct scenario *scenario_load(const char *path, struct error *err)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        error_set(err, "%s: %m", path);
        return NULL;
    }
    enum { FILE_BYTES_MAX = 1 << 20 };
    char *text = malloc(FILE_BYTES_MAX);
    if (text == NULL)
        abort();
    size_t len = fread(text, 1, FILE_BYTES_MAX, f);
    bool failed = ferror(f) || len == FILE_BYTES_MAX;
    fclose(f);
    struct scenario *s = NULL;
    if (failed)
        error_set(err, "%s: cannot be read, or is beyond 1 MB", path);
    else
        s = scenario_parse((struct bytes){text, len}, path, err);
    free(text);
    return s;
}

void scenario_destroy(struct scenario *s)
{
    if (s == NULL)
        return;
    free(s->dsps);
    free(s);
}
