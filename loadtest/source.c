#include "loadtest/source.h"

#include <stdlib.h>
#include <zlib.h>

#include "filter/json.h"

enum { LINE_BYTES_MAX = 64 << 20 };

struct source {
    gzFile file;
    const char *path;
    char *line;
    size_t line_size;
    uint64_t line_number;
    bool repeat, any;

    struct world *world;
    int32_t first_day;
    uint64_t item, items, requests; /* the next of so many, drawn from so many */
    char body[TRAFFIC_BODY_MAX];
};

static struct source *create(void)
{
    struct source *s = calloc(1, sizeof(*s));
    if (s == NULL)
        abort();
    return s;
}

struct source *source_open_file(const char *path, bool repeat, struct error *err)
{
    gzFile file = gzopen(path, "rb");
    if (file == NULL) {
        error_set(err, "%s: %m", path);
        return NULL;
    }
    gzbuffer(file, 1 << 18);
    struct source *s = create();
    s->file = file;
    s->path = path;
    s->repeat = repeat;
    s->line_size = 1 << 16;
    s->line = malloc(s->line_size);
    if (s->line == NULL)
        abort();
    return s;
}

struct source *source_open_scenario(const char *path, int32_t first_day, int32_t end_day,
                                    uint64_t items_max, struct error *err)
{
    struct world *w = world_load_traffic(path, err);
    if (w == NULL)
        return NULL;
    struct source *s = create();
    s->world = w;
    s->first_day = first_day;
    s->requests = (uint64_t)(end_day - first_day) * w->scenario->traffic.requests_per_day;
    s->items = items_max > 0 && items_max < s->requests ? items_max : s->requests;
    return s;
}

void source_close(struct source *s)
{
    if (s == NULL)
        return;
    if (s->file != NULL)
        gzclose(s->file);
    world_destroy(s->world);
    free(s->line);
    free(s);
}

uint64_t source_total(const struct source *s)
{
    return s->items;
}

struct bytes source_line_body(struct bytes line, int64_t *ts_ms)
{
    struct json j;
    struct bytes key, body = {NULL, 0}, request = {NULL, 0};
    int64_t ts = -1;
    *ts_ms = -1;
    json_begin(&j, line);
    if (!json_enter_object(&j))
        return line;
    while (json_next_key(&j, &key)) {
        struct bytes raw;
        enum json_type type = json_peek(&j);
        if (!json_skip(&j, &raw))
            break;
        if (bytes_is(key, "request") && type == JSON_IS_OBJECT)
            request = raw;
        else if (bytes_is(key, "body") && type == JSON_IS_OBJECT)
            body = raw;
        else if (bytes_is(key, "ts") && type == JSON_IS_NUMBER && !json_to_int(raw, &ts))
            ts = -1;
        else if (bytes_is(key, "imp"))
            return line; /* a request may have a member of any name */
    }
    if (request.base != NULL && ts >= 0) {
        *ts_ms = ts;
        return request;
    }
    return body.base != NULL ? body : line;
}

/* One line without its end; -1 on a fault, 0 at the end of the file. */
static int read_line(struct source *s, struct bytes *out, struct error *err)
{
    size_t len = 0;
    for (;;) {
        if (gzgets(s->file, s->line + len, (int)(s->line_size - len)) == NULL) {
            int code;
            const char *why = gzerror(s->file, &code);
            if (code != Z_OK && code != Z_STREAM_END)
                return error_set(err, "%s: after line %llu: %s", s->path,
                                 (unsigned long long)s->line_number, why);
            if (len == 0)
                return 0;
            break;
        }
        len += strlen(s->line + len);
        if (len > 0 && s->line[len - 1] == '\n')
            break;
        if (len + 1 < s->line_size)
            continue; /* the last line has no end, or holds a NUL */
        if (s->line_size >= LINE_BYTES_MAX)
            return error_set(err, "%s:%llu: a line beyond %d bytes", s->path,
                             (unsigned long long)s->line_number + 1, LINE_BYTES_MAX);
        s->line = realloc(s->line, s->line_size *= 2);
        if (s->line == NULL)
            abort();
    }
    while (len > 0 && (s->line[len - 1] == '\n' || s->line[len - 1] == '\r'))
        len--;
    s->line_number++;
    *out = (struct bytes){s->line, len};
    return 1;
}

static int next_of_file(struct source *s, struct source_item *out, struct error *err)
{
    for (;;) {
        struct bytes line;
        int status = read_line(s, &line, err);
        if (status < 0 || (status == 0 && (!s->repeat || !s->any)))
            return status;
        if (status == 0) {
            gzrewind(s->file);
            s->line_number = 0;
        } else if (line.len > 0) {
            s->any = true;
            out->body = source_line_body(line, &out->ts_ms);
            return 1;
        }
    }
}

int source_next(struct source *s, struct source_item *out, struct error *err)
{
    if (s->world == NULL)
        return next_of_file(s, out, err);
    if (s->item == s->items)
        return 0;
    uint32_t a_day = s->world->scenario->traffic.requests_per_day;
    uint64_t at = (uint64_t)((unsigned __int128)s->item++ * s->requests / s->items);
    out->body = traffic_request(s->world->traffic, s->first_day + (int32_t)(at / a_day),
                                (uint32_t)(at % a_day), s->body, &out->ts_ms);
    return 1;
}
