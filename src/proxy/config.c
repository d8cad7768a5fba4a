/* From file to struct config. The table (config_keys.c) is walked, not the file: each row takes its
 * value from the object at hand, else from `defaults`, else from its own default, so that every
 * field is set by the same reader and checked by the same bounds. The file is walked once before,
 * for what the table does not know. Checks that compare two keys come last. */
#include "proxy/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/config_keys.h"
#include "proxy/config_value.h"
#include "proxy/pem.h"

enum { FILE_BYTES_MAX = 64 << 20, PATH_SIZE = 256 };

/* ---- unknown keys ---- */

/* A level of a table: all rows whose path begins with `inner` ("" or "listen." or "listen.tls.").
 */
struct level {
    const struct config_key *keys;
    size_t n;
    const char *inner;
    const char *extra[3]; /* names that are no rows: "dsps" */
};

enum found { FOUND_NOT, FOUND_KEY, FOUND_GROUP };

/* The next name of a row below the level, without its NUL; 0 = the row is elsewhere. */
static size_t level_name(const struct level *l, size_t i, const char **name)
{
    size_t n = strlen(l->inner);
    if (strncmp(l->keys[i].path, l->inner, n) != 0)
        return 0;
    *name = l->keys[i].path + n;
    return strcspn(*name, ".");
}

static enum found level_find(const struct level *l, const char *wanted)
{
    for (size_t i = 0; i < l->n; i++) {
        const char *name;
        size_t n = level_name(l, i, &name);
        if (n > 0 && n == strlen(wanted) && memcmp(name, wanted, n) == 0)
            return name[n] == '.' ? FOUND_GROUP : FOUND_KEY;
    }
    return FOUND_NOT;
}

/* Insertions, deletions, replacements from a to b (Levenshtein); lengths up to 63. */
static size_t distance(const char *a, size_t a_n, const char *b, size_t b_n)
{
    size_t row[64];
    for (size_t j = 0; j <= b_n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_n; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            size_t best = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < best ? replaced : best;
        }
    }
    return row[b_n];
}

static void offer(const char *wanted, const char *name, size_t n, size_t *best, char *out,
                  size_t size)
{
    if (n > 63 || strlen(wanted) > 63)
        return;
    size_t d = distance(wanted, strlen(wanted), name, n);
    if (d < *best) {
        *best = d;
        snprintf(out, size, "%.*s", (int)n, name);
    }
}

/* Fills out with what the writer may have meant, at this level or, by the same name, at another. */
static bool suggest(const struct level *l, const char *wanted, char *out, size_t size)
{
    size_t n_wanted = strlen(wanted); /* a typo in a short name, more in a long one */
    size_t best = n_wanted / 3 + (n_wanted < 4 ? 1 : 2);
    out[0] = '\0';
    for (size_t i = 0; i < l->n; i++) {
        const char *name;
        size_t n = level_name(l, i, &name);
        if (n > 0)
            offer(wanted, name, n, &best, out, size);
    }
    for (size_t i = 0; i < 3 && l->extra[i] != NULL; i++)
        offer(wanted, l->extra[i], strlen(l->extra[i]), &best, out, size);
    for (size_t i = 0; out[0] == '\0' && i < l->n; i++) {
        const char *dot = strrchr(l->keys[i].path, '.');
        if (dot != NULL && strcmp(dot + 1, wanted) == 0)
            snprintf(out, size, "%s", l->keys[i].path);
    }
    return out[0] != '\0';
}

static int refuse_unknown(struct config_reader *r, const struct level *l, const char *path,
                          const char *name)
{
    char meant[100];
    if (suggest(l, name, meant, sizeof(meant)))
        return config_fail(r, path, "unknown key; did you mean \"%s\"?", meant);
    bool top = l->keys == config_root_keys && l->inner[0] == '\0';
    for (size_t i = 0; top && i < config_dsp_keys_n; i++)
        if (strcmp(config_dsp_keys[i].path, name) == 0)
            return config_fail(r, path, "unknown key; it belongs in \"defaults\" or in a DSP");
    return config_fail(r, path, "unknown key");
}

static void join_path(char *out, const char *path, const char *name)
{
    size_t n = strlen(name);
    bool plain = n >= 1 && n <= 64 &&
                 strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "0123456789_-.") == n;
    struct config_shown shown = {""};
    if (!plain) { /* a stray key may hold anything */
        json_t *text = json_string(name);
        shown = config_show(text);
        json_decref(text);
    }
    snprintf(out, PATH_SIZE, "%s%s%s", path, path[0] != '\0' ? "." : "", plain ? name : shown.text);
}

static int check_members(struct config_reader *r, const struct level *l, const char *path,
                         const json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        char at[PATH_SIZE], inner[PATH_SIZE];
        join_path(at, path, name);
        bool extra = false;
        for (size_t i = 0; i < 3 && l->extra[i] != NULL; i++)
            extra |= strcmp(l->extra[i], name) == 0;
        enum found found = extra ? FOUND_KEY : level_find(l, name);
        if (found == FOUND_NOT)
            return refuse_unknown(r, l, at, name);
        if (found == FOUND_KEY)
            continue;
        if (!json_is_object(value))
            return config_fail(r, at, "must be an object, not %s", config_show(value).text);
        snprintf(inner, sizeof(inner), "%s%s.", l->inner, name);
        struct level below = {l->keys, l->n, inner, {NULL}};
        if (check_members(r, &below, at, value) != 0)
            return -1;
    }
    return 0;
}

/* ---- values ---- */

/* The value at a dotted path, or NULL. */
static const json_t *find_value(const json_t *object, const char *path)
{
    while (object != NULL) {
        char name[PATH_SIZE];
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        object = json_object_get(object, name);
        if (path[n] == '\0')
            return object;
        path += n + 1;
    }
    return NULL;
}

struct source {
    const json_t *object; /* or NULL */
    const char *path;
};

static bool is_given(const json_t *value)
{
    return value != NULL && !json_is_null(value);
}

static int read_initial(struct config_reader *r, const struct config_key *k, const char *path,
                        void *base)
{
    if (k->initial == NULL)
        return config_fail(r, path, "is required");
    json_t *value = json_loads(k->initial, JSON_DECODE_ANY, NULL);
    if (value == NULL)
        abort();
    int result = config_value_read(r, k, path, value, base);
    json_decref(value);
    return result;
}

/* From the first source that has the key. One that has its rival instead has settled it too. */
static int read_key(struct config_reader *r, const struct config_key *k,
                    const struct source *sources, size_t n, void *base)
{
    char path[PATH_SIZE];
    for (size_t i = 0; i < n; i++) {
        const json_t *value = find_value(sources[i].object, k->path);
        const json_t *rival = k->rival != NULL ? find_value(sources[i].object, k->rival) : NULL;
        if (value == NULL && rival == NULL)
            continue;
        join_path(path, sources[i].path, k->path);
        if (is_given(value) && is_given(rival))
            return config_fail(r, path, "cannot stand beside %s", k->rival);
        return value != NULL ? config_value_read(r, k, path, value, base) : 0;
    }
    join_path(path, sources[0].path, k->path);
    return read_initial(r, k, path, base);
}

static int read_dsp(struct config_reader *r, const json_t *own, const char *path,
                    const json_t *inherited, struct config_dsp *dsp)
{
    if (!json_is_object(own))
        return config_fail(r, path, "must be an object, not %s", config_show(own).text);
    struct level level = {config_dsp_keys, config_dsp_keys_n, "", {NULL}};
    if (check_members(r, &level, path, own) != 0)
        return -1;
    struct source sources[] = {{own, path}, {inherited, "defaults"}};
    for (size_t i = 0; i < config_dsp_keys_n; i++)
        if (read_key(r, &config_dsp_keys[i], sources, 2, dsp) != 0)
            return -1;
    if (dsp->map_buyeruid)
        dsp->request.buyeruid_key = dsp->buyeruid_key != NULL ? dsp->buyeruid_key : dsp->name;
    return 0;
}

static void dispose_dsp(struct config_dsp *dsp)
{
    struct dsp_rules *rules = &dsp->filter.rules;
    rules->countries = rules->domains = rules->domains_blocked = NULL; /* config.sets has them */
    rules->seats = rules->currencies = NULL;
    dsp_rules_dispose(rules);
    for (char **header = dsp->headers; header != NULL && *header != NULL; header++)
        free(*header);
    free(dsp->headers);
    free(dsp->name);
    free(dsp->url);
    free(dsp->tls_ca_file);
    free(dsp->openrtb_version);
    free(dsp->default_currency);
    request_edit_dispose(&dsp->request);
    free(dsp->buyeruid_key);
}

/* Read for its faults alone: they must show even when no DSP inherits them. */
static int check_defaults(struct config_reader *r, const json_t *defaults)
{
    static const char *const own[] = {"name", "url"};
    if (!json_is_object(defaults))
        return config_fail(r, "defaults", "must be an object, not %s", config_show(defaults).text);
    for (size_t i = 0; i < 2; i++) {
        if (json_object_get(defaults, own[i]) != NULL) {
            char path[PATH_SIZE];
            join_path(path, "defaults", own[i]);
            return config_fail(r, path, "belongs to each DSP, not here");
        }
    }
    struct level level = {config_dsp_keys, config_dsp_keys_n, "", {NULL}};
    if (check_members(r, &level, "defaults", defaults) != 0)
        return -1;
    struct config_dsp scratch = {0};
    struct source source = {defaults, "defaults"};
    int result = 0;
    for (size_t i = 0; result == 0 && i < config_dsp_keys_n; i++)
        if (config_dsp_keys[i].initial != NULL)
            result = read_key(r, &config_dsp_keys[i], &source, 1, &scratch);
    dispose_dsp(&scratch);
    return result;
}

/* ---- checks between keys ---- */

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcmp(host, "localhost") == 0;
}

static bool is_any(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static int check_process(struct config_reader *r, const struct config *c)
{
    if ((c->listen.tls_certificate == NULL) != (c->listen.tls_key == NULL))
        return config_fail(r, "listen.tls", "certificate and key must be given together");
    struct error why = {""};
    if (c->listen.tls_certificate != NULL &&
        pem_check_pair(c->listen.tls_certificate, c->listen.tls_key, &why) != 0)
        return config_fail(r, "listen.tls", "%s", why.text);
    if (c->admin.port != 0 && c->admin.port == c->listen.port &&
        (is_any(c->admin.host) || is_any(c->listen.host) ||
         strcmp(c->admin.host, c->listen.host) == 0))
        return config_fail(r, "admin.port", "must differ from listen.port, %u", c->listen.port);
    if (c->admin.token == NULL && !is_loopback(c->admin.host))
        return config_fail(r, "admin.token", "is required, because admin.host %s is not loopback",
                           c->admin.host);
    if (c->auction.network_margin_ms >= c->auction.timeout_ms)
        return config_fail(r, "auction.network_margin_ms",
                           "must be below auction.timeout_ms, %u, not %u", c->auction.timeout_ms,
                           c->auction.network_margin_ms);
    if (log_access_check(c->log.access_file, &why) != 0)
        return config_fail(r, "log.access_file", "%s", why.text);
    const struct capture_options *capture = &c->capture.options;
    if (c->capture.enabled && capture_directory_check(capture->directory, &why) != 0)
        return config_fail(r, "capture.directory", "cannot be written: %s", why.text);
    if (capture->directory_bytes_max != 0 &&
        capture->directory_bytes_max < 2 * capture->segment_bytes_max)
        return config_fail(r, "capture.directory_bytes_max",
                           "must be 0 or hold two segments, %llu, not %llu",
                           (unsigned long long)(2 * capture->segment_bytes_max),
                           (unsigned long long)capture->directory_bytes_max);
    return 0;
}

static int check_dsp(struct config_reader *r, const struct config *c, uint32_t index)
{
    char path[PATH_SIZE];
    const struct config_dsp *dsp = &c->dsps[index];
    const struct dsp_rules *rules = &dsp->filter.rules;
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(c->dsps[i].name, dsp->name) == 0) {
            snprintf(path, sizeof(path), "dsps[%u].name", index);
            return config_fail(r, path, "\"%s\" is the name of dsps[%u] already", dsp->name, i);
        }
    }
    struct error why = {""};
    if (dsp_url_check(dsp->url, &why) != 0) {
        snprintf(path, sizeof(path), "dsps[%u].url", index);
        return config_fail(r, path, "%s", why.text);
    }
    if (rules->floor_max_micros != 0 && rules->floor_max_micros < rules->floor_min_micros) {
        snprintf(path, sizeof(path), "dsps[%u].rules.floor_max", index);
        return config_fail(r, path, "must be 0 or at least rules.floor_min, %.15g, not %.15g",
                           (double)rules->floor_min_micros / 1e6,
                           (double)rules->floor_max_micros / 1e6);
    }
    return 0;
}

/* ---- the file ---- */

static int read_dsps(struct config_reader *r, const json_t *root)
{
    struct config *c = r->config;
    const json_t *defaults = json_object_get(root, "defaults");
    if (defaults != NULL && check_defaults(r, defaults) != 0)
        return -1;
    const json_t *dsps = json_object_get(root, "dsps");
    if (dsps == NULL)
        return 0;
    if (!json_is_array(dsps))
        return config_fail(r, "dsps", "must be a list, not %s", config_show(dsps).text);
    size_t n = json_array_size(dsps);
    if (n > CONFIG_DSPS_MAX)
        return config_fail(r, "dsps", "must have at most %d entries, not %zu", CONFIG_DSPS_MAX, n);
    c->dsps = calloc(n > 0 ? n : 1, sizeof(*c->dsps));
    if (c->dsps == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof(path), "dsps[%zu]", i);
        c->n_dsps++; /* before it is whole: what it holds by then is freed with it */
        if (read_dsp(r, json_array_get(dsps, i), path, defaults, &c->dsps[i]) != 0 ||
            check_dsp(r, c, (uint32_t)i) != 0)
            return -1;
    }
    return 0;
}

static int read_root(struct config_reader *r, const json_t *root)
{
    if (!json_is_object(root))
        return config_fail(r, "", "must be an object, not %s", config_show(root).text);
    struct level level = {config_root_keys, config_root_keys_n, "", {"dsps", "defaults", NULL}};
    if (check_members(r, &level, "", root) != 0)
        return -1;
    struct config *c = r->config;
    struct source source = {root, ""};
    for (size_t i = 0; i < config_root_keys_n; i++)
        if (read_key(r, &config_root_keys[i], &source, 1, c) != 0)
            return -1;
    c->capture.enabled = c->capture.options.directory != NULL;
    return check_process(r, c) != 0 ? -1 : read_dsps(r, root);
}

/* The whole file; caller frees. */
static char *read_file(const char *path, size_t *n, struct error *err)
{
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        error_set(err, "%s: cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    size_t size = 65536;
    char *text = malloc(size);
    *n = 0;
    while (text != NULL) {
        *n += fread(text + *n, 1, size - *n, in);
        if (*n < size || size >= FILE_BYTES_MAX)
            break;
        char *larger = realloc(text, size * 2);
        if (larger == NULL)
            free(text);
        text = larger;
        size *= 2;
    }
    if (text == NULL)
        abort();
    int reason = ferror(in) ? errno : *n >= FILE_BYTES_MAX ? EFBIG : 0;
    fclose(in);
    if (reason != 0) {
        error_set(err, "%s: cannot be read: %s", path, strerror(reason));
        free(text);
        return NULL;
    }
    return text;
}

/* The document; json_decref it. */
static json_t *parse_file(const char *path, struct error *err)
{
    size_t n;
    char *text = read_file(path, &n, err);
    if (text == NULL)
        return NULL;
    json_error_t where;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (root == NULL)
        error_set(err, "%s:%d:%d: %s", path, where.line, where.column, where.text);
    return root;
}

struct config *config_load(const char *path, struct error *err)
{
    json_t *root = parse_file(path, err);
    if (root == NULL)
        return NULL;
    const char *slash = strrchr(path, '/');
    size_t folder_n = slash != NULL ? (size_t)(slash + 1 - path) : 0;
    struct config *c = calloc(1, sizeof(*c));
    struct config_reader r = {
        .file = path, .folder = strndup(path, folder_n), .config = c, .err = err};
    if (c == NULL || r.folder == NULL || (c->path = strdup(path)) == NULL)
        abort();
    int result = read_root(&r, root);
    config_reader_dispose(&r);
    json_decref(root);
    if (result != 0) {
        config_destroy(c);
        return NULL;
    }
    return c;
}

void config_destroy(struct config *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->n_dsps; i++)
        dispose_dsp(&c->dsps[i]);
    free(c->dsps);
    for (uint32_t i = 0; i < c->n_sets; i++)
        string_set_destroy(c->sets[i]);
    free(c->sets);
    free(c->path);
    free(c->listen.host);
    free(c->listen.tls_certificate);
    free(c->listen.tls_key);
    free(c->admin.host);
    free(c->admin.token);
    free(c->currency_rates);
    free(c->geo.database);
    free(c->model.file);
    free((char *)c->capture.options.directory); /* const for the writer; ours */
    free(c->debug.token);
    free(c->log.access_file);
    free(c);
}
