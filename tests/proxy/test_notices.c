/* Notices against a real server on a loop of its own: what is fired, what never is, and that every
 * bound holds. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/server.h"
#include "proxy/notices.h"

/* ---- a server that keeps what it is asked for ---- */

enum { KEPT_MAX = 64 };

struct tracker {
    struct loop *loop;
    struct server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    char kept[KEPT_MAX][300]; /* "GET /path?query", then the host */
    char host[300];
    uint32_t n;
    bool silent; /* never answers until the end */
    struct exchange *open[KEPT_MAX];
    uint32_t n_open;
    int status;
};

static void track(void *ctx, struct exchange *e)
{
    struct tracker *t = ctx;
    struct bytes method = exchange_method(e), path = exchange_path(e), query = exchange_query(e);
    struct bytes host = exchange_header(e, "host");
    pthread_mutex_lock(&t->lock);
    if (t->n < KEPT_MAX) {
        snprintf(t->kept[t->n], sizeof(t->kept[0]), "%.*s %.*s%s%.*s", (int)method.len, method.base,
                 (int)path.len, path.base, query.len > 0 ? "?" : "", (int)query.len, query.base);
        snprintf(t->host, sizeof(t->host), "%.*s", (int)host.len, host.base);
    }
    t->n++;
    bool silent = t->silent;
    if (silent && t->n_open < KEPT_MAX)
        t->open[t->n_open++] = e;
    pthread_mutex_unlock(&t->lock);
    if (!silent)
        exchange_respond(e, t->status, NULL, 0, (struct bytes){NULL, 0});
}

static void *tracker_run(void *arg)
{
    loop_run(((struct tracker *)arg)->loop);
    return NULL;
}

static void tracker_start(struct tracker *t, int status)
{
    static const struct server_options o = {.host = "127.0.0.1",
                                            .connections_max = 100,
                                            .body_bytes_max = 1000,
                                            .idle_timeout_ms = 60000};
    *t = (struct tracker){.status = status, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct error err;
    t->loop = loop_create(&err);
    assert_non_null(t->loop);
    t->server = server_create(t->loop, &o, track, t, &err);
    assert_non_null(t->server);
    assert_int_equal(pthread_create(&t->thread, NULL, tracker_run, t), 0);
}

static void tracker_stop(struct tracker *t)
{
    loop_stop(t->loop);
    pthread_join(t->thread, NULL);
    for (uint32_t i = 0; i < t->n_open; i++)
        exchange_respond(t->open[i], 204, NULL, 0, (struct bytes){NULL, 0});
    server_destroy(t->server);
    loop_destroy(t->loop);
}

static uint32_t tracker_count(struct tracker *t)
{
    pthread_mutex_lock(&t->lock);
    uint32_t n = t->n;
    pthread_mutex_unlock(&t->lock);
    return n;
}

static void tracker_silence(struct tracker *t)
{
    pthread_mutex_lock(&t->lock);
    t->silent = true;
    pthread_mutex_unlock(&t->lock);
}

static bool tracker_has(struct tracker *t, const char *line)
{
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->n && i < KEPT_MAX; i++)
        found |= strcmp(t->kept[i], line) == 0;
    pthread_mutex_unlock(&t->lock);
    return found;
}

/* ---- helpers ---- */

static struct notices *create(const struct notices_options *o)
{
    struct error err;
    struct notices *n = notices_create(o, &err);
    if (n == NULL)
        fail_msg("%s", err.text);
    return n;
}

static struct notices_counts counts(const struct notices *n, enum notice_kind kind)
{
    struct notices_stats stats;
    notices_stats(n, &stats);
    return stats.kinds[kind];
}

/* Until nothing is pending; half a minute is for machines under load. */
static void wait_settled(const struct notices *n)
{
    for (int i = 0; i < 30000; i++) {
        uint64_t pending = 0;
        for (int kind = 0; kind < NOTICE_KINDS; kind++) {
            struct notices_counts c = counts(n, (enum notice_kind)kind);
            pending += c.queued - c.settled;
        }
        if (pending == 0)
            return;
        usleep(1000);
    }
    fail_msg("notices stay pending");
}

static void push(struct notices *n, enum notice_kind kind, const struct tracker *t,
                 const char *target)
{
    char url[512];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", server_port(t->server), target);
    assert_true(notices_push(n, kind, bytes_of(url)));
}

/* ---- tests ---- */

static void test_notices_are_fired(void **state)
{
    static const struct {
        const char *target, *asked;
    } rows[] = {{"/win?price=1.5&x=%20", "GET /win?price=1.5&x=%20"},
                {"", "GET /"},
                {"?a=b", "GET /?a=b"},
                {"/a/../b#fragment", "GET /a/../b"},
                {"/#", "GET /"},
                {"/a?b?c//:@d", "GET /a?b?c//:@d"}};
    struct notices_options o;
    struct tracker t;
    notices_options_default(&o);
    struct notices *n = create(&o);
    tracker_start(&t, 200);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        push(n, (enum notice_kind)(i % NOTICE_KINDS), &t, rows[i].target);
    wait_settled(n);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!tracker_has(&t, rows[i].asked))
            fail_msg("%s was not asked for", rows[i].asked);
    char host[64];
    snprintf(host, sizeof(host), "127.0.0.1:%u", server_port(t.server));
    pthread_mutex_lock(&t.lock);
    assert_string_equal(t.host, host);
    pthread_mutex_unlock(&t.lock);
    for (int kind = 0; kind < NOTICE_KINDS; kind++) {
        struct notices_counts c = counts(n, (enum notice_kind)kind);
        assert_int_equal(c.queued, 2);
        assert_int_equal(c.sent, 2);
        assert_int_equal(c.failed + c.dropped + c.refused, 0);
    }
    notices_destroy(n);
    tracker_stop(&t);
}

static void test_strangers_urls_are_refused(void **state)
{
    static const char *const urls[] = {"ftp://127.0.0.1/x",
                                       "file:///etc/passwd",
                                       "gopher://127.0.0.1/_x",
                                       "//127.0.0.1/x",
                                       "/x",
                                       "127.0.0.1/x",
                                       "http:/127.0.0.1/x",
                                       "http://",
                                       "http:///x",
                                       "http://user@127.0.0.1/",
                                       "http://user:secret@127.0.0.1/",
                                       "http://127.0.0.1:0x50/",
                                       "http://127.0.0.1:99999/",
                                       "http://127.0.0.1/a b",
                                       "http://127.0.0.1/a\r\nHost: x\r\n\r\n",
                                       "http://127.0.0.1/\x7f",
                                       "http://127.0.0.1/\xc3\xa9",
                                       "http://127.0.0.1\t/",
                                       "javascript://127.0.0.1/x",
                                       "x",
                                       "http://#://127.0.0.1/",
                                       "${AUCTION_URL}"};
    struct notices_options o;
    notices_options_default(&o);
    o.timeout_ms = 1000;
    struct notices *n = create(&o);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        notices_push(n, NOTICE_LOSS, bytes_of(urls[i]));
        wait_settled(n);
        if (counts(n, NOTICE_LOSS).refused != i + 1)
            fail_msg("%s was not refused", urls[i]);
    }
    char *giant = malloc(10000);
    memset(giant, 'a', 10000);
    memcpy(giant, "http://a/", 9);
    assert_false(notices_push(n, NOTICE_WIN, (struct bytes){giant, 10000}));
    assert_false(notices_push(n, NOTICE_WIN, (struct bytes){NULL, 0}));
    assert_int_equal(counts(n, NOTICE_WIN).refused, 2);
    assert_int_equal(counts(n, NOTICE_LOSS).sent + counts(n, NOTICE_LOSS).failed, 0);
    notices_destroy(n);
    free(giant);
}

static void test_a_long_url_is_fired(void **state)
{
    struct notices_options o;
    struct tracker t;
    notices_options_default(&o);
    struct notices *n = create(&o);
    tracker_start(&t, 204);
    char url[8000];
    int at = snprintf(url, sizeof(url), "http://127.0.0.1:%u/x?", server_port(t.server));
    memset(url + at, 'q', sizeof(url) - (size_t)at);
    assert_true(notices_push(n, NOTICE_WIN, (struct bytes){url, 7900}));
    wait_settled(n);
    assert_int_equal(counts(n, NOTICE_WIN).sent, 1);
    assert_int_equal(tracker_count(&t), 1);
    notices_destroy(n);
    tracker_stop(&t);
}

static void test_errors_are_counted(void **state)
{
    static const struct {
        int status;
        bool sent;
    } rows[] = {{200, true}, {204, true}, {302, true}, {404, false}, {500, false}};
    struct notices_options o;
    notices_options_default(&o);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct notices *n = create(&o);
        struct tracker t;
        tracker_start(&t, rows[i].status);
        push(n, NOTICE_WIN, &t, "/");
        wait_settled(n);
        struct notices_counts c = counts(n, NOTICE_WIN);
        assert_int_equal(c.sent, rows[i].sent);
        assert_int_equal(c.failed, !rows[i].sent);
        assert_int_equal(tracker_count(&t), 1); /* no redirect followed, nothing tried again */
        notices_destroy(n);
        tracker_stop(&t);
    }
    struct notices *n = create(&o); /* nobody listens */
    assert_true(notices_push(n, NOTICE_BILLING, bytes_of("http://127.0.0.1:1/")));
    wait_settled(n);
    assert_int_equal(counts(n, NOTICE_BILLING).failed, 1);
    notices_destroy(n);
}

/* One host that never answers holds its connections and its backlog, and nobody else's. */
static void test_a_silent_host_is_bounded(void **state)
{
    struct notices_options o;
    struct tracker silent, quick;
    notices_options_default(&o);
    o.connections_per_host_max = 2;
    o.waiting_per_host_max = 5;
    o.timeout_ms = 300;
    struct notices *n = create(&o);
    tracker_start(&silent, 200);
    tracker_start(&quick, 200);
    tracker_silence(&silent);
    for (int i = 0; i < 20; i++)
        push(n, NOTICE_WIN, &silent, "/");
    for (int i = 0; i < 20; i++) {
        push(n, NOTICE_BILLING, &quick, "/");
        while (counts(n, NOTICE_BILLING).settled <= (uint64_t)i) /* its backlog is as short */
            usleep(1000);
    }
    wait_settled(n);
    struct notices_counts c = counts(n, NOTICE_WIN);
    assert_int_equal(c.queued, 20);
    assert_int_equal(c.failed, 7); /* two under way, five waiting */
    assert_int_equal(c.dropped, 13);
    assert_int_equal(counts(n, NOTICE_BILLING).sent, 20);
    assert_in_range(tracker_count(&silent), 2, 7);
    notices_destroy(n);
    tracker_stop(&silent);
    tracker_stop(&quick);
}

/* More hosts than places: one that rests makes room, one that is busy does not. */
static void test_hosts_are_bounded(void **state)
{
    struct notices_options o;
    struct tracker t[4];
    notices_options_default(&o);
    o.hosts_max = 2;
    o.timeout_ms = 2000;
    struct notices *n = create(&o);
    for (int i = 0; i < 4; i++)
        tracker_start(&t[i], 200);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            push(n, NOTICE_WIN, &t[i], "/");
            wait_settled(n);
        }
    }
    assert_int_equal(counts(n, NOTICE_WIN).sent, 8);
    tracker_silence(&t[0]);
    tracker_silence(&t[1]);
    push(n, NOTICE_LOSS, &t[0], "/");
    push(n, NOTICE_LOSS, &t[1], "/");
    push(n, NOTICE_BILLING, &t[2], "/");
    wait_settled(n);
    assert_int_equal(counts(n, NOTICE_BILLING).dropped, 1);
    assert_int_equal(counts(n, NOTICE_LOSS).failed, 2);
    push(n, NOTICE_BILLING, &t[2], "/");
    wait_settled(n);
    assert_int_equal(counts(n, NOTICE_BILLING).sent, 1);
    notices_destroy(n);
    for (int i = 0; i < 4; i++)
        tracker_stop(&t[i]);
}

static void test_queue_is_bounded(void **state)
{
    struct notices_options o;
    notices_options_default(&o);
    o.queue_bytes_max = 100;
    struct notices *n = create(&o);
    char url[200];
    memset(url, 'u', sizeof(url));
    assert_false(notices_push(n, NOTICE_WIN, (struct bytes){url, sizeof(url)}));
    assert_int_equal(counts(n, NOTICE_WIN).dropped, 1);
    assert_int_equal(counts(n, NOTICE_WIN).queued, 0);
    notices_destroy(n);
}

/* What was pushed is still sent at the end, but the end does not wait for ever. */
static void test_destroy_drains(void **state)
{
    struct notices_options o;
    struct tracker quick, silent;
    notices_options_default(&o);
    tracker_start(&quick, 200);
    tracker_start(&silent, 200);
    tracker_silence(&silent);
    struct notices *n = create(&o);
    for (int i = 0; i < 50; i++)
        push(n, NOTICE_WIN, &quick, "/");
    notices_destroy(n);
    assert_int_equal(tracker_count(&quick), 50);
    o.drain_ms = 50;
    o.timeout_ms = 60000;
    n = create(&o);
    push(n, NOTICE_WIN, &silent, "/");
    notices_destroy(n);
    notices_destroy(NULL);
    tracker_stop(&quick);
    tracker_stop(&silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notices_are_fired),
        cmocka_unit_test(test_strangers_urls_are_refused),
        cmocka_unit_test(test_a_long_url_is_fired),
        cmocka_unit_test(test_errors_are_counted),
        cmocka_unit_test(test_a_silent_host_is_bounded),
        cmocka_unit_test(test_hosts_are_bounded),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_destroy_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
