/* What the tests of loadtest/ share: the committed scenarios, and requests turned into views. */
#ifndef TESTS_LOADTEST_WORLD_FIXTURE_H
#define TESTS_LOADTEST_WORLD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loadtest/lookup.h"
#include "loadtest/world.h"

static inline const char *scenario_path(const char *name)
{
    static char path[1024];
    const char *here = __FILE__; /* .../tests/loadtest/world_fixture.h */
    int folder = (int)(strlen(here) - strlen("tests/loadtest/world_fixture.h"));
    snprintf(path, sizeof(path), "%.*sloadtest/scenarios/%s.json", folder, here, name);
    return path;
}

static inline struct world *load_world(const char *name)
{
    struct error err = {""};
    struct world *w = world_load(scenario_path(name), &err);
    if (w == NULL)
        fail_msg("%s", err.text);
    return w;
}

/* A request that was scanned, with the memory it lives in. */
struct scanned {
    char body[TRAFFIC_BODY_MAX];
    struct bytes text;
    int64_t ts_ms;
    struct arena arena;
    struct bid_request request;
    struct view view;
};

static inline void scan_text_as(struct scanned *s, const struct traffic *t, int64_t ts_ms)
{
    struct bid_request_error e = {"", ""};
    arena_reset(&s->arena, 1 << 20);
    if (!bid_request_scan(&s->request, s->text, 0, &s->arena, &e))
        fail_msg("%s %s in %.*s", e.path, e.reason, (int)s->text.len, s->text.base);
    s->ts_ms = ts_ms;
    view_make(&s->view, t, &s->request, ts_ms);
}

static inline void scan_request(struct scanned *s, const struct traffic *t, int32_t day,
                                uint32_t index)
{
    int64_t ts_ms;
    s->text = traffic_request(t, day, index, s->body, &ts_ms);
    scan_text_as(s, t, ts_ms);
}

static inline void scanned_dispose(struct scanned *s)
{
    arena_dispose(&s->arena);
}

#endif
