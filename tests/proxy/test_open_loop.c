/* The sender against a real server on another thread. No assertion here says that something is
 * fast: only what must hold on a machine of any speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/net/server.h"
#include "proxy/open_loop.h"

/* Answers /now at once with 204, /slow after 20 ms with 200, /never after two seconds, /503 so; a
 * request is counted, and so is the largest number that were open at once. */
struct site {
    pthread_t thread;
    struct loop *loop;
    struct server *server;
    uint64_t requests, bytes, timed;
    uint32_t open, open_max;
    char url[64];
};

struct pending {
    struct timer timer;
    struct exchange *exchange;
    struct site *site;
};

static void respond(struct site *s, struct exchange *e, int status)
{
    s->open--;
    exchange_respond(e, status, NULL, 0, (struct bytes){NULL, 0});
}

static void on_due(void *ctx)
{
    struct pending *p = ctx;
    respond(p->site, p->exchange, 200);
}

static void on_request(void *ctx, struct exchange *e)
{
    struct site *s = ctx;
    s->requests++;
    s->bytes += exchange_body(e).len;
    s->timed += bytes_is(exchange_header(e, "x-bidsieve-time"), "12345");
    s->open_max = ++s->open > s->open_max ? s->open : s->open_max;
    struct bytes path = exchange_path(e);
    if (bytes_is(path, "/now") || bytes_is(path, "/503")) {
        respond(s, e, bytes_is(path, "/now") ? 204 : 503);
        return;
    }
    struct pending *p = exchange_alloc(e, sizeof(*p));
    *p = (struct pending){.exchange = e, .site = s};
    uint64_t delay_us = bytes_is(path, "/slow") ? 20000 : 2000000;
    timer_set(s->loop, &p->timer, loop_now_us() + delay_us, on_due, p);
}

static void *run_site(void *arg)
{
    loop_run(((struct site *)arg)->loop);
    return NULL;
}

static struct site *site_start(void)
{
    struct error err = {""};
    struct site *s = calloc(1, sizeof(*s));
    s->loop = loop_create(&err);
    assert_non_null(s->loop);
    const struct server_options o = {.host = "127.0.0.1",
                                     .connections_max = 1000,
                                     .body_bytes_max = 1 << 20,
                                     .idle_timeout_ms = 30000,
                                     .write_timeout_ms = 5000};
    s->server = server_create(s->loop, &o, on_request, s, &err);
    if (s->server == NULL)
        fail_msg("%s", err.text);
    pthread_create(&s->thread, NULL, run_site, s);
    return s;
}

static void on_stopped(void *ctx)
{
    loop_stop(((struct site *)ctx)->loop);
}

static void stop_server(void *ctx)
{
    struct site *s = ctx;
    server_stop(s->server, on_stopped, s);
}

static void site_stop(struct site *s)
{
    loop_post(s->loop, stop_server, s);
    pthread_join(s->thread, NULL);
    server_destroy(s->server);
    loop_destroy(s->loop);
}

static const char *url(struct site *s, const char *path)
{
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u%s", server_port(s->server), path);
    return s->url;
}

struct jobs {
    uint32_t n, n_max;
    uint64_t gap_us;
    char body[32];
    uint32_t progress_calls;
    uint32_t stop_at; /* progress says stop once so many were sent; 0 = never */
};

static bool next_job(void *ctx, struct open_loop_job *out)
{
    struct jobs *j = ctx;
    if (j->n == j->n_max)
        return false;
    /* The same memory each time: it is borrowed only until the next call. */
    snprintf(j->body, sizeof(j->body), "{\"id\":\"%08u\"}", j->n);
    out->body = bytes_of(j->body);
    out->headers = bytes_of(j->n % 2 == 0 ? "X-Bidsieve-Time: 12345\r\n" : "");
    out->due_us = j->n++ * j->gap_us;
    return true;
}

static bool on_progress(void *ctx, const struct open_loop_result *r)
{
    struct jobs *j = ctx;
    j->progress_calls++;
    return j->stop_at == 0 || r->sent < j->stop_at;
}

static struct open_loop_options options(const char *to, uint32_t connections)
{
    struct open_loop_options o;
    open_loop_options_default(&o);
    o.url = to;
    o.connections_max = connections;
    return o;
}

static void test_all_are_sent_and_counted(void **state)
{
    static const struct {
        const char *path;
        int status;
    } CASES[] = {{"/now", 204}, {"/slow", 200}, {"/503", 503}};
    for (size_t i = 0; i < 3; i++) {
        struct site *s = site_start();
        struct open_loop_options o = options(url(s, CASES[i].path), 50);
        struct jobs jobs = {.n_max = 200, .gap_us = 500};
        struct open_loop_result *r = malloc(sizeof(*r));
        struct error err = {""};
        assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), 0);
        assert_int_equal(r->sent, 200);
        assert_int_equal(r->answered, 200);
        assert_int_equal(r->statuses[CASES[i].status], 200);
        assert_int_equal(r->latency.n, 200);
        assert_int_equal(r->service.n, 200);
        assert_int_equal(open_loop_failures(r), 0);
        assert_true(r->due_seconds > 0.099 && r->due_seconds < 0.1);
        assert_true(r->seconds >= r->due_seconds && r->send_seconds >= r->due_seconds);
        site_stop(s);
        assert_int_equal(s->requests, 200);
        assert_int_equal(s->bytes, 200 * strlen("{\"id\":\"00000000\"}"));
        assert_int_equal(s->timed, 100);
        assert_true(s->open_max <= 50);
        free(s);
        free(r);
    }
}

/* The point of an open loop: ten requests due at once over one connection to a server that takes
 * 20 ms each. Each took 20 ms from its sending; but the last was due 200 ms before its answer. */
static void test_waiting_counts_as_latency(void **state)
{
    struct site *s = site_start();
    struct open_loop_options o = options(url(s, "/slow"), 1);
    struct jobs jobs = {.n_max = 10};
    struct open_loop_result *r = malloc(sizeof(*r));
    struct error err = {""};
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), 0);
    assert_int_equal(r->answered, 10);
    assert_true(r->latency.max >= 190000);
    assert_true(r->latency.sum >= r->service.sum + 45 * 19000);
    assert_true(r->late >= 9);
    site_stop(s);
    assert_int_equal(s->open_max, 1);
    free(s);
    free(r);
}

static void test_closed_loop_keeps_connections_busy(void **state)
{
    struct site *s = site_start();
    struct open_loop_options o = options(url(s, "/slow"), 8);
    o.closed = true;
    struct jobs jobs = {.n_max = 64, .gap_us = 1000000}; /* due times mean nothing */
    struct open_loop_result *r = malloc(sizeof(*r));
    struct error err = {""};
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), 0);
    assert_int_equal(r->answered, 64);
    assert_int_equal(r->late, 0);
    assert_int_equal(r->latency.sum, r->service.sum);
    site_stop(s);
    assert_int_equal(s->open_max, 8);
    free(s);
    free(r);
}

static void test_timeouts(void **state)
{
    struct site *s = site_start();
    struct open_loop_options o = options(url(s, "/never"), 4);
    o.timeout_ms = 50;
    struct jobs jobs = {.n_max = 8};
    struct open_loop_result *r = malloc(sizeof(*r));
    struct error err = {""};
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), 0);
    assert_int_equal(r->sent, 8);
    assert_int_equal(r->answered, 0);
    assert_int_equal(r->timeouts, 8);
    site_stop(s);
    free(s);
    free(r);
}

static void test_nobody_there(void **state)
{
    struct site *s = site_start();
    char to[64];
    snprintf(to, sizeof(to), "%s", url(s, "/now"));
    site_stop(s); /* its port is free now */
    free(s);
    struct open_loop_options o = options(to, 16);
    struct jobs jobs = {.n_max = 100000};
    struct open_loop_result *r = malloc(sizeof(*r));
    struct error err = {""};
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), -1);
    assert_non_null(strstr(err.text, to));
    assert_non_null(strstr(err.text, dsp_result_name(DSP_CALL_CONNECT_FAILED)));
    assert_true(jobs.n < 1000); /* it gave up */
    assert_int_equal(open_loop_failures(r), r->sent);
    o.url = "gopher://x";
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), -1);
    free(r);
}

static void test_nothing_to_send(void **state)
{
    struct site *s = site_start();
    struct open_loop_options o = options(url(s, "/now"), 4);
    struct jobs jobs = {.n_max = 0};
    struct open_loop_result *r = malloc(sizeof(*r));
    struct error err = {""};
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), 0);
    assert_int_equal(r->sent, 0);
    site_stop(s);
    free(s);
    free(r);
}

static void test_progress_may_end_it(void **state)
{
    struct site *s = site_start();
    struct open_loop_options o = options(url(s, "/slow"), 4);
    o.progress = on_progress;
    struct jobs jobs = {.n_max = 1000000, .gap_us = 1000, .stop_at = 1};
    struct open_loop_result *r = malloc(sizeof(*r));
    struct error err = {""};
    assert_int_equal(open_loop_run(&o, next_job, &jobs, r, &err), 0);
    assert_true(jobs.progress_calls >= 1);
    assert_true(r->sent > 0 && r->sent < 1000000);
    assert_int_equal(r->answered, r->sent); /* what was open was waited for */
    site_stop(s);
    free(s);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_are_sent_and_counted),
        cmocka_unit_test(test_waiting_counts_as_latency),
        cmocka_unit_test(test_closed_loop_keeps_connections_busy),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_nothing_to_send),
        cmocka_unit_test(test_progress_may_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
