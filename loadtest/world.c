#include "loadtest/world.h"

#include <stdlib.h>

#include "hash.h"

/* Enough for a campaign that takes one request in a thousand to be seen. */
enum { SAMPLE_REQUESTS = 3000, SAMPLE_DAYS = 14 };

struct sample_memory {
    struct sample sample;
    struct arena arena;
    struct bid_request *requests;
};

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        abort();
    return p;
}

static void sample_init(struct sample_memory *m, const struct traffic *t)
{
    m->sample.views = zeroed(SAMPLE_REQUESTS, sizeof(*m->sample.views));
    m->requests = zeroed(SAMPLE_REQUESTS, sizeof(*m->requests));
    uint32_t day_requests = traffic_scenario(t)->traffic.requests_per_day;
    for (uint32_t i = 0; i < SAMPLE_REQUESTS; i++) {
        char body[TRAFFIC_BODY_MAX];
        int64_t ts_ms;
        uint32_t index = (uint32_t)((uint64_t)i * day_requests / SAMPLE_REQUESTS);
        struct bytes b = traffic_request(t, (int32_t)(i % SAMPLE_DAYS), index, body, &ts_ms);
        char *copy = arena_alloc(&m->arena, b.len);
        memcpy(copy, b.base, b.len);
        struct bid_request_error e;
        struct bid_request *r = &m->requests[m->sample.n];
        if (bid_request_scan(r, (struct bytes){copy, b.len}, 0, &m->arena, &e))
            view_make(&m->sample.views[m->sample.n++], t, r, ts_ms);
    }
}

static void sample_dispose(struct sample_memory *m)
{
    free(m->sample.views);
    free(m->requests);
    arena_dispose(&m->arena);
}

static struct world *create(struct scenario *s, bool buyers)
{
    struct world *w = zeroed(1, sizeof(*w));
    w->scenario = s;
    w->traffic = traffic_create(s);
    if (!buyers)
        return w;
    struct sample_memory m = {0};
    sample_init(&m, w->traffic);
    w->buyers = zeroed(s->n_dsps, sizeof(*w->buyers));
    w->n_buyers = s->n_dsps;
    for (uint32_t i = 0; i < w->n_buyers; i++)
        buyer_init(&w->buyers[i], &s->dsps[i], w->traffic, &m.sample);
    sample_dispose(&m);
    return w;
}

struct world *world_load(const char *path, struct error *err)
{
    struct scenario *s = scenario_load(path, err);
    return s == NULL ? NULL : create(s, true);
}

struct world *world_load_traffic(const char *path, struct error *err)
{
    struct scenario *s = scenario_load(path, err);
    return s == NULL ? NULL : create(s, false);
}

void world_destroy(struct world *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->n_buyers; i++)
        buyer_dispose(&w->buyers[i]);
    free(w->buyers);
    traffic_destroy(w->traffic);
    scenario_destroy(w->scenario);
    free(w);
}

int32_t world_find_buyer(const struct world *w, struct bytes name)
{
    for (uint32_t i = 0; i < w->n_buyers; i++) {
        if (bytes_is(name, w->buyers[i].name))
            return (int32_t)i;
    }
    return -1;
}

int world_parse_days(const char *text, int32_t *first, int32_t *end, struct error *err)
{
    char *rest;
    long a = strtol(text, &rest, 10), b = a + 1;
    bool sound = rest != text;
    if (sound && *rest == ':') {
        const char *second = rest + 1;
        b = strtol(second, &rest, 10);
        sound = rest != second;
    }
    if (!sound || *rest != '\0' || a < 0 || b <= a || b > 100000)
        return error_set(err,
                         "\"%s\" names no days: 3 is day 3, 0:3 are days 0, 1 and 2 (the second "
                         "number is not included)",
                         text);
    *first = (int32_t)a;
    *end = (int32_t)b;
    return 0;
}
