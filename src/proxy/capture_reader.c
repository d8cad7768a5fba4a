/* A record is read with the pull scanner, not a DOM: training reads hundreds of gigabytes, and the
 * request, most of every line, is needed as the span it is. Strings are borrowed from the line, and
 * decoded into an arena only where they have escapes.
 *
 * A fault inside a record names its JSON path; the caller may read on. A line that does not end and
 * is not JSON is what a crash leaves, not a fault of anyone: it is counted as torn. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "filter/json.h"
#include "proxy/capture.h"
#include "proxy/lines.h"

struct capture_reader {
    char **paths; /* files only, in the order of reading */
    size_t n_paths, next;
    uint64_t bytes_total, bytes_done; /* of the files that are through */
    struct lines *lines;              /* of paths[next - 1], or NULL */
    uint64_t torn;
    struct arena arena; /* decoded strings of the record */
    struct capture_dsp *dsps;
    uint32_t n_dsps, dsps_capacity;
};

/* ---- which files ---- */

/* Hidden files and what a tool is still writing (.tmp, .part) fall through. */
static bool is_capture_name(const char *name)
{
    static const char *const kinds[] = {".ndjson", ".jsonl"};
    static const char *const packings[] = {"", ".zst", ".gz"};
    size_t len = strlen(name);
    if (name[0] == '.')
        return false;
    for (size_t i = 0; i < sizeof(packings) / sizeof(*packings); i++) {
        size_t tail = strlen(packings[i]);
        if (len < tail || strcmp(name + len - tail, packings[i]) != 0)
            continue;
        for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
            size_t kind = strlen(kinds[k]);
            if (len - tail > kind && memcmp(name + len - tail - kind, kinds[k], kind) == 0)
                return true;
        }
    }
    return false;
}

static int capture_names_only(const struct dirent *entry)
{
    return is_capture_name(entry->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_file(struct capture_reader *r, const char *path, const struct stat *st,
                    struct error *err)
{
    char **paths = realloc(r->paths, (r->n_paths + 1) * sizeof(*paths));
    if (paths == NULL)
        return error_set(err, "%s: out of memory", path);
    r->paths = paths;
    paths[r->n_paths] = strdup(path);
    if (paths[r->n_paths] == NULL)
        return error_set(err, "%s: out of memory", path);
    r->n_paths++;
    if (st != NULL && S_ISREG(st->st_mode))
        r->bytes_total += (uint64_t)st->st_size;
    return 0;
}

static int add_entry(struct capture_reader *r, const char *directory, const char *name, size_t *n,
                     struct error *err)
{
    char *path;
    struct stat st;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return error_set(err, "%s: out of memory", directory);
    int result = 0;
    /* One that a writer just deleted to make room is not missed. */
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        result = add_file(r, path, &st, err);
        (*n)++;
    }
    free(path);
    return result;
}

static int add_directory(struct capture_reader *r, const char *path, struct error *err)
{
    struct dirent **entries;
    int n = scandir(path, &entries, capture_names_only, by_name);
    if (n < 0)
        return error_set(err, "%s: cannot read the directory: %s", path, strerror(errno));
    size_t found = 0;
    int result = 0;
    for (int i = 0; i < n; i++) {
        if (result == 0)
            result = add_entry(r, path, entries[i]->d_name, &found, err);
        free(entries[i]);
    }
    free(entries);
    if (result == 0 && found == 0)
        return error_set(err,
                         "%s: holds no capture segment (*.ndjson or *.jsonl, plain, .zst or "
                         ".gz)",
                         path);
    return result;
}

struct capture_reader *capture_reader_open(const char *const *paths, size_t n, struct error *err)
{
    struct capture_reader *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        error_set(err, "capture: out of memory");
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        int result;
        if (strcmp(paths[i], "-") == 0)
            result = add_file(r, "-", NULL, err);
        else if (stat(paths[i], &st) != 0)
            result = error_set(err, "%s: %s", paths[i], strerror(errno));
        else if (S_ISDIR(st.st_mode))
            result = add_directory(r, paths[i], err);
        else
            result = add_file(r, paths[i], &st, err);
        if (result != 0) {
            capture_reader_close(r);
            return NULL;
        }
    }
    return r;
}

void capture_reader_close(struct capture_reader *r)
{
    if (r == NULL)
        return;
    lines_close(r->lines);
    for (size_t i = 0; i < r->n_paths; i++)
        free(r->paths[i]);
    free(r->paths);
    free(r->dsps);
    arena_dispose(&r->arena);
    free(r);
}

double capture_progress(const struct capture_reader *r)
{
    if (r->next == r->n_paths && r->lines == NULL)
        return 1;
    uint64_t done = r->bytes_done + (r->lines != NULL ? lines_bytes_read(r->lines) : 0);
    double share = r->bytes_total == 0 ? 0 : (double)done / (double)r->bytes_total;
    return share < 1 ? share : 1;
}

uint64_t capture_torn(const struct capture_reader *r)
{
    return r->torn;
}

/* ---- one record ---- */

struct parse {
    struct json j;
    struct arena *arena;
    int dsp;         /* index in dsps[], -1 outside */
    const char *key; /* of the member being read, NULL before the first */
    char fault[256]; /* what is wrong with the record though it may be JSON */
};

__attribute__((format(printf, 2, 3))) static bool bad(struct parse *p, const char *format, ...)
{
    char reason[160];
    if (p->j.error != NULL) /* not JSON at all: said by the caller, with the offset */
        return false;
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    char index[32] = "";
    if (p->dsp >= 0)
        snprintf(index, sizeof(index), "dsps[%d]", p->dsp);
    snprintf(p->fault, sizeof(p->fault), "%s%s%s%s%s", index,
             p->dsp >= 0 && p->key != NULL ? "." : "", p->key != NULL ? p->key : "",
             p->dsp >= 0 || p->key != NULL ? ": " : "", reason);
    return false;
}

/* Before the value: if it is no value at all, that is the fault, and the scanner's. */
static bool wrong_type(struct parse *p, const char *expected)
{
    return json_skip(&p->j, NULL) && bad(p, "%s", expected);
}

static bool skip_null(struct parse *p)
{
    return json_peek(&p->j) == JSON_IS_NULL && json_skip(&p->j, NULL);
}

static bool read_string(struct parse *p, struct bytes *out)
{
    bool escaped;
    if (json_peek(&p->j) != JSON_IS_STRING)
        return wrong_type(p, "must be a string");
    if (!json_text(&p->j, out, &escaped))
        return false;
    if (escaped)
        *out = json_unescape(*out, p->arena);
    return true;
}

static bool read_optional_string(struct parse *p, struct bytes *out)
{
    return skip_null(p) || read_string(p, out);
}

static bool read_name(struct parse *p, struct bytes *out)
{
    if (!read_string(p, out))
        return false;
    return out->len > 0 || bad(p, "must not be empty");
}

static bool read_bool(struct parse *p, bool *out)
{
    enum json_type type = json_peek(&p->j);
    if (type != JSON_IS_TRUE && type != JSON_IS_FALSE)
        return wrong_type(p, "must be true or false");
    *out = type == JSON_IS_TRUE;
    return json_skip(&p->j, NULL);
}

static bool read_number(struct parse *p, double from, double to, double *out)
{
    struct bytes raw;
    if (json_peek(&p->j) != JSON_IS_NUMBER)
        return wrong_type(p, "must be a number");
    if (!json_number(&p->j, &raw))
        return false;
    *out = json_to_double(raw);
    if (!(*out >= from && *out <= to))
        return bad(p, "%.*s is not between %g and %g", (int)(raw.len < 40 ? raw.len : 40), raw.base,
                   from, to);
    return true;
}

static bool read_optional_number(struct parse *p, double from, double to, double *out)
{
    return skip_null(p) || read_number(p, from, to, out);
}

/* Converters write 1763760000123.0 or 1.763760000123e12 as well. */
static bool read_integer(struct parse *p, double to, int64_t *out)
{
    double value;
    if (!read_number(p, 0, to, &value))
        return false;
    *out = (int64_t)floor(value);
    return true;
}

static const double year_9999_ms = 253402300799999;

static bool read_ts(struct parse *p, int64_t *out)
{
    struct bytes raw;
    if (json_peek(&p->j) != JSON_IS_NUMBER)
        return wrong_type(p, "must be a number");
    if (!json_number(&p->j, &raw))
        return false;
    double value = json_to_double(raw);
    if (!(value >= 0 && value <= year_9999_ms))
        return bad(p, "%.*s is not between 0 and the year 9999 in milliseconds",
                   (int)(raw.len < 40 ? raw.len : 40), raw.base);
    *out = (int64_t)floor(value);
    return true;
}

static bool read_outcome(struct parse *p, struct bytes *out)
{
    static const char *const known[] = {"bid", "no_bid", "timeout", "error", "invalid"};
    if (!read_optional_string(p, out))
        return false;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (out->base == NULL || bytes_is(*out, known[i]))
            return true;
    return bad(p, "must be bid, no_bid, timeout, error or invalid");
}

static const double price_max = 9e12; /* so that it fits the integer micros used elsewhere */

static bool read_dsp_member(struct parse *p, struct bytes key, struct capture_dsp *d,
                            bool *sent_given)
{
#define IS(name) (bytes_is(key, name) && (p->key = (name)) != NULL)
    p->key = NULL;
    if (IS("dsp"))
        return read_name(p, &d->dsp);
    if (IS("sent")) {
        *sent_given = true;
        return read_bool(p, &d->sent);
    }
    if (IS("why"))
        return read_optional_string(p, &d->why);
    if (IS("p"))
        return read_optional_number(p, 0, 1, &d->p);
    if (IS("threshold"))
        return read_optional_number(p, -1e9, 1e9, &d->threshold);
    if (IS("propensity"))
        return read_optional_number(p, 0, 1, &d->propensity);
    if (IS("outcome"))
        return read_outcome(p, &d->outcome);
    if (IS("price"))
        return read_optional_number(p, 0, price_max, &d->price);
    if (IS("paid"))
        return read_optional_number(p, 0, price_max, &d->paid);
    if (IS("latency_us"))
        return skip_null(p) || read_integer(p, 1e15, &d->latency_us);
    if (IS("won"))
        return skip_null(p) || read_bool(p, &d->won);
    return json_skip(&p->j, NULL);
}

static bool read_dsp(struct parse *p, struct capture_dsp *d)
{
    *d = (struct capture_dsp){
        .p = NAN, .threshold = NAN, .propensity = 1, .price = NAN, .paid = NAN, .latency_us = -1};
    bool sent_given = false;
    struct bytes key;
    p->key = NULL;
    if (json_peek(&p->j) != JSON_IS_OBJECT)
        return wrong_type(p, "must be an object");
    json_enter_object(&p->j);
    while (json_next_key(&p->j, &key))
        if (!read_dsp_member(p, key, d, &sent_given))
            return false;
    if (p->j.error != NULL)
        return false;
    p->key = "dsp";
    if (d->dsp.base == NULL)
        return bad(p, "is missing");
    p->key = "sent";
    if (!sent_given)
        return bad(p, "is missing");
    p->key = "outcome";
    if (d->sent && d->outcome.base == NULL)
        return bad(p, "is missing, though sent is true");
    if (!d->sent && d->outcome.base != NULL)
        return bad(p, "cannot be, as sent is false");
    p->key = "propensity";
    if (d->sent && !(d->propensity > 0))
        return bad(p, "must be above 0, as sent is true");
    return true;
}

static bool read_dsps(struct capture_reader *r, struct parse *p)
{
    r->n_dsps = 0;
    if (json_peek(&p->j) != JSON_IS_ARRAY)
        return wrong_type(p, "must be an array");
    json_enter_array(&p->j);
    while (json_next_element(&p->j)) {
        if (r->n_dsps == r->dsps_capacity) {
            uint32_t capacity = r->dsps_capacity == 0 ? 64 : r->dsps_capacity * 2;
            struct capture_dsp *dsps = realloc(r->dsps, capacity * sizeof(*dsps));
            if (dsps == NULL)
                return bad(p, "out of memory");
            r->dsps = dsps;
            r->dsps_capacity = capacity;
        }
        p->dsp = (int)r->n_dsps;
        if (!read_dsp(p, &r->dsps[r->n_dsps]))
            return false;
        r->n_dsps++;
    }
    p->dsp = -1;
    p->key = "dsps";
    return p->j.error == NULL;
}

static bool read_version(struct parse *p)
{
    double version;
    if (!read_number(p, -1e9, 1e9, &version))
        return false;
    return version == 1 || bad(p, "version %g of the record is not known; 1 is", version);
}

static bool read_member(struct capture_reader *r, struct parse *p, struct bytes key,
                        struct capture_record *out)
{
    p->key = NULL;
    if (IS("v"))
        return read_version(p);
    if (IS("ts"))
        return read_ts(p, &out->ts_ms);
    if (IS("auction"))
        return read_optional_string(p, &out->auction);
    if (IS("request")) {
        if (json_peek(&p->j) != JSON_IS_OBJECT)
            return wrong_type(p, "must be an object, the BidRequest itself");
        return json_skip(&p->j, &out->request);
    }
    if (IS("model"))
        return read_optional_string(p, &out->model);
    if (IS("generation"))
        return skip_null(p) || read_integer(p, 9e15, &out->generation);
    if (IS("dsps"))
        return read_dsps(r, p);
    return json_skip(&p->j, NULL);
}
#undef IS

static bool read_record(struct capture_reader *r, struct parse *p, struct capture_record *out)
{
    struct bytes key;
    *out = (struct capture_record){.ts_ms = -1, .generation = -1};
    r->n_dsps = 0;
    if (json_peek(&p->j) != JSON_IS_OBJECT)
        return wrong_type(p, "a record must be an object");
    json_enter_object(&p->j);
    while (json_next_key(&p->j, &key))
        if (!read_member(r, p, key, out))
            return false;
    if (!json_finish(&p->j))
        return false;
    p->key = "ts";
    if (out->ts_ms < 0)
        return bad(p, "is missing");
    p->key = "request";
    if (out->request.base == NULL)
        return bad(p, "is missing");
    out->dsps = r->dsps;
    out->n_dsps = r->n_dsps;
    return true;
}

static bool is_json(struct bytes line)
{
    struct json j;
    json_begin(&j, line);
    return json_skip(&j, NULL) && json_finish(&j);
}

static bool is_blank(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.base[i] != ' ' && line.base[i] != '\t' && line.base[i] != '\r')
            return false;
    return true;
}

/* ---- all of them ---- */

/* 0 when there is no further file. */
static int open_next(struct capture_reader *r, struct error *err)
{
    if (r->next == r->n_paths)
        return 0;
    r->lines = lines_open(r->paths[r->next++], err);
    return r->lines != NULL ? 1 : -1;
}

static void close_current(struct capture_reader *r)
{
    if (lines_cut(r->lines))
        r->torn++; /* at least what the compressor still held */
    r->bytes_done += lines_bytes_read(r->lines);
    lines_close(r->lines);
    r->lines = NULL;
}

static int fault_at(const struct capture_reader *r, struct error *err, const char *what)
{
    const char *path = r->paths[r->next - 1];
    return error_set(err, "%s:%llu: %s", strcmp(path, "-") == 0 ? "standard input" : path,
                     (unsigned long long)lines_number(r->lines), what);
}

static int fault(const struct capture_reader *r, const struct parse *p, struct error *err)
{
    if (p->j.error == NULL)
        return fault_at(r, err,
                        p->fault[0] != '\0' ? p->fault : "more than one JSON value in the line");
    struct error why;
    error_set(&why, "not JSON at byte %zu: %s", (size_t)(p->j.at - p->j.base), p->j.error);
    return fault_at(r, err, why.text);
}

int capture_request_fault(const struct capture_reader *r, struct error *err, const char *path,
                          const char *reason)
{
    struct error why;
    error_set(&why, "request%s%s: %s", path[0] != '\0' ? "." : "", path, reason);
    return fault_at(r, err, why.text);
}

int capture_check_time(const struct capture_reader *r, const struct capture_record *record,
                       struct error *err)
{
    static const int64_t believable_ms = INT64_C(1000) * 24 * 3600 * 1000;
    if (record->ts_ms >= believable_ms) /* seconds reach that in the year 4707 */
        return 0;
    struct parse p = {.dsp = -1, .key = "ts"};
    bad(&p, "%lld is before 1973 in milliseconds; is it in seconds?", (long long)record->ts_ms);
    return fault(r, &p, err);
}

int capture_next(struct capture_reader *r, struct capture_record *out, struct error *err)
{
    for (;;) {
        if (r->lines == NULL) {
            int opened = open_next(r, err);
            if (opened <= 0)
                return opened;
        }
        struct bytes line;
        bool ended;
        int got = lines_next(r->lines, &line, &ended, err);
        if (got < 0)
            return -1;
        if (got == 0) {
            close_current(r);
            continue;
        }
        if (is_blank(line))
            continue;
        arena_reset(&r->arena, 1 << 20);
        struct parse p = {.arena = &r->arena, .dsp = -1};
        json_begin(&p.j, line);
        if (read_record(r, &p, out))
            return 1;
        if (ended || is_json(line))
            return fault(r, &p, err);
        if (!lines_cut(r->lines)) /* else close_current counts it */
            r->torn++;
    }
}
