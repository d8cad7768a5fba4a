/* The DSP client against a server that misbehaves in every way we know. Real sockets, real time,
 * but no test depends on how long a thing takes: each runs the loop until the expected has
 * happened, and a guard timer fails what never does. */
#include "proxy/net/dsp_client.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mount.h>

#include <cmocka.h>
#include <zlib.h>

#include "proxy/net/raw_server.h"

enum { GUARD_US = 20000000, BODY_MAX = 100000, HEAD_MAX = 4096 };

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define NOTHING "HTTP/1.1 204 No Content\r\n\r\n"

static const struct raw_step answers[] = {READ, SEND(ANSWER), AGAIN};
static const struct raw_step hangs[] = {READ, HANG};
static const struct raw_step closes[] = {CLOSE};

/* ---- a loop, a client and what came back ---- */

struct bench {
    struct loop *loop;
    struct dsp_client *client;
    struct payload *payload;
    struct timer guard, poll;
    int n_done, n_expected;
    bool is_guarded;
    bool (*until)(struct bench *b);
    void *ctx;
    struct dsp_call *calls[1024];
    enum dsp_result results[1024];
    int statuses[1024];
    char body[BODY_MAX + 1];
    size_t body_len;
};

struct call_ctx {
    struct bench *bench;
    int number;
};
static struct call_ctx contexts[1024];

static void on_guard(void *ctx)
{
    ((struct bench *)ctx)->is_guarded = true;
    loop_stop(((struct bench *)ctx)->loop);
}

static void bench_open_url(struct bench *b, const char *url,
                           void (*adjust)(struct dsp_client_options *o))
{
    struct error err = {""};
    struct dsp_client_options o;
    memset(b, 0, sizeof(*b));
    b->loop = loop_create(&err);
    assert_non_null(b->loop);
    dsp_client_options_default(&o);
    o.url = url;
    o.head_bytes_max = HEAD_MAX;
    o.body_bytes_max = BODY_MAX;
    if (adjust != NULL)
        adjust(&o);
    b->client = dsp_client_create(b->loop, &o, &err);
    if (b->client == NULL)
        fail_msg("%s", err.text);
    b->payload = payload_create(bytes_of("{\"tmax\":"), bytes_of(",\"id\":\"1\"}"));
    timer_set(b->loop, &b->guard, loop_now_us() + GUARD_US, on_guard, b);
}

static void bench_open(struct bench *b, uint16_t port, void (*adjust)(struct dsp_client_options *o))
{
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/bid", port);
    bench_open_url(b, url, adjust);
}

static void bench_close(struct bench *b)
{
    timer_clear(b->loop, &b->guard);
    timer_clear(b->loop, &b->poll);
    dsp_client_destroy(b->client);
    payload_release(b->payload);
    loop_destroy(b->loop);
}

static void on_call(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct call_ctx *c = ctx;
    struct bench *b = c->bench;
    b->results[c->number] = result;
    b->statuses[c->number] = status;
    assert_non_null(b->calls[c->number]); /* never inside dsp_client_call, never twice */
    b->calls[c->number] = NULL;
    assert_true(body.len <= BODY_MAX);
    if (body.len > 0)
        memcpy(b->body, body.base, body.len);
    b->body_len = body.len;
    if (++b->n_done == b->n_expected)
        loop_stop(b->loop);
}

static void bench_call(struct bench *b, int number)
{
    contexts[number] = (struct call_ctx){b, number};
    b->calls[number] = NULL;
    b->calls[number] = dsp_client_call(b->client, b->payload, bytes_of("99"), bytes_of(""), on_call,
                                       &contexts[number]);
}

static void bench_run(struct bench *b, int more)
{
    b->n_expected = b->n_done + more;
    loop_run(b->loop);
    if (b->is_guarded)
        fail_msg("still waiting for an answer");
}

static enum dsp_result bench_one(struct bench *b)
{
    bench_call(b, 0);
    bench_run(b, 1);
    return b->results[0];
}

static void on_poll(void *ctx)
{
    struct bench *b = ctx;
    if (b->until(b))
        loop_stop(b->loop);
    else
        timer_set(b->loop, &b->poll, loop_now_us() + 500, on_poll, b);
}

static void bench_run_until(struct bench *b, bool (*until)(struct bench *b))
{
    b->until = until;
    b->n_expected = -1;
    timer_set(b->loop, &b->poll, 0, on_poll, b);
    loop_run(b->loop);
    timer_clear(b->loop, &b->poll);
    if (b->is_guarded)
        fail_msg("still waiting for a state");
}

static struct dsp_client_stats stats_of(struct bench *b)
{
    struct dsp_client_stats s;
    dsp_client_stats(b->client, &s);
    return s;
}

static bool none_open(struct bench *b)
{
    return stats_of(b).open == 0;
}

static bool all_sent(struct bench *b)
{
    return stats_of(b).connecting == 0;
}

static bool one_idle(struct bench *b)
{
    return stats_of(b).idle == 1;
}

/* ---- one answer, of every kind ---- */

static struct bytes gzip(const char *text, size_t len)
{
    static char out[200000];
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)out;
    z.avail_out = sizeof(out);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return (struct bytes){out, z.total_out};
}

struct kind {
    const char *name;
    const struct raw_step steps[6];
    enum dsp_result result;
    int status;
    const char *body;
    bool survives; /* the connection is used again */
};

static const struct kind kinds[] = {
    {"plain", {READ, SEND(ANSWER), HANG}, DSP_CALL_OK, 200, "ok", true},
    {"no content", {READ, SEND(NOTHING), HANG}, DSP_CALL_OK, 204, "", true},
    {"one byte at a time", {READ, SLOWLY(ANSWER), HANG}, DSP_CALL_OK, 200, "ok", true},
    {"chunks, one byte at a time",
     {READ, SLOWLY("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n"),
      SLOWLY("1;x=y\r\nk\r\n0\r\nT: t\r\n\r\n"), HANG},
     DSP_CALL_OK,
     200,
     "ok",
     true},
    {"interim answers first",
     {READ, SEND("HTTP/1.1 100 Continue\r\n\r\n"), PAUSE(2),
      SEND("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" ANSWER), HANG},
     DSP_CALL_OK,
     200,
     "ok",
     true},
    {"says close",
     {READ, SEND("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), HANG},
     DSP_CALL_OK,
     200,
     "ok",
     false},
    {"HTTP/1.0, ends with the connection",
     {READ, SEND("HTTP/1.0 200 OK\r\n\r\nok"), CLOSE},
     DSP_CALL_OK,
     200,
     "ok",
     false},
    {"HTTP/1.0, ends with a reset",
     {READ, SEND("HTTP/1.0 200 OK\r\n\r\no"), PAUSE(20), RESET},
     DSP_CALL_CLOSED,
     0,
     "",
     false},
    {"answers twice at once", {READ, SEND(ANSWER ANSWER), HANG}, DSP_CALL_OK, 200, "ok", false},
    {"a body with 204",
     {READ, SEND("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"), HANG},
     DSP_CALL_OK,
     204,
     "",
     false},
    {"closes at once", {CLOSE}, DSP_CALL_CLOSED, 0, "", false},
    {"closes after the request", {READ, CLOSE}, DSP_CALL_CLOSED, 0, "", false},
    {"resets after the request", {READ, RESET}, DSP_CALL_CLOSED, 0, "", false},
    {"closes within the head",
     {READ, SEND("HTTP/1.1 200 OK\r\nConte"), CLOSE},
     DSP_CALL_CLOSED,
     0,
     "",
     false},
    {"closes after the head",
     {READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), CLOSE},
     DSP_CALL_CLOSED,
     0,
     "",
     false},
    {"closes within the body",
     {READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), CLOSE},
     DSP_CALL_CLOSED,
     0,
     "",
     false},
    {"resets within the body",
     {READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), RESET},
     DSP_CALL_CLOSED,
     0,
     "",
     false},
    {"closes within a chunk",
     {READ, SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok"), CLOSE},
     DSP_CALL_CLOSED,
     0,
     "",
     false},
    {"a bad chunk",
     {READ, SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok"), HANG},
     DSP_CALL_MALFORMED,
     0,
     "",
     false},
    {"length and chunks",
     {READ,
      {RAW_SEND,
       .data =
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
      HANG},
     DSP_CALL_MALFORMED,
     0,
     "",
     false},
    {"not HTTP",
     {READ, SEND("220 mail.example ESMTP\r\n"), HANG},
     DSP_CALL_MALFORMED,
     0,
     "",
     false},
    {"gzip that is none",
     {READ, SEND("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"), HANG},
     DSP_CALL_MALFORMED,
     0,
     "",
     true},
    {"endless headers",
     {READ, SEND("HTTP/1.1 200 OK\r\n"), REPEAT("X-Header: value\r\n", 1000000), HANG},
     DSP_CALL_TOO_LARGE,
     0,
     "",
     false},
    {"ten megabytes, announced",
     {READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n"),
      REPEAT("0123456789abcdef", 655360), HANG},
     DSP_CALL_TOO_LARGE,
     0,
     "",
     false},
    {"ten megabytes, in chunks",
     {READ, SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
      REPEAT("10\r\n0123456789abcdef\r\n", 655360), HANG},
     DSP_CALL_TOO_LARGE,
     0,
     "",
     false},
    {"ten megabytes, until it closes",
     {READ, SEND("HTTP/1.0 200 OK\r\n\r\n"), REPEAT("0123456789abcdef", 655360), CLOSE},
     DSP_CALL_TOO_LARGE,
     0,
     "",
     false},
};

static void test_call_every_kind_of_answer(void **state)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const struct kind *k = &kinds[i];
        const struct raw_step *script = k->steps;
        struct raw_server *s = raw_server_start(&script, 1);
        struct bench b;
        bench_open(&b, s->port, NULL);
        enum dsp_result result = bench_one(&b);
        if (result != k->result || b.statuses[0] != k->status)
            fail_msg("%s: %s, status %d", k->name, dsp_result_name(result), b.statuses[0]);
        if (!bytes_is((struct bytes){b.body, b.body_len}, k->body))
            fail_msg("%s: body \"%.*s\"", k->name, (int)b.body_len, b.body);
        if (stats_of(&b).idle != k->survives || stats_of(&b).open != k->survives)
            fail_msg("%s: %u open, %u idle", k->name, stats_of(&b).open, stats_of(&b).idle);
        bench_close(&b);
        raw_server_stop(s);
    }
}

static void test_call_gzip_good_and_bomb(void **state)
{
    enum { BOMB = 20 << 20 };
    static char wire[100000];
    char *zeros = calloc(1, BOMB);
    for (int is_bomb = 0; is_bomb < 2; is_bomb++) {
        struct bytes packed = is_bomb ? gzip(zeros, BOMB) : gzip("{\"id\":\"1\"}", 10);
        size_t len = (size_t)snprintf(wire, sizeof(wire),
                                      "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                                      "Content-Length: %zu\r\n\r\n",
                                      packed.len);
        memcpy(wire + len, packed.base, packed.len);
        const struct raw_step steps[] = {READ, SEND_BYTES(wire, len + packed.len), AGAIN};
        const struct raw_step *script = steps;
        struct raw_server *s = raw_server_start(&script, 1);
        struct bench b;
        bench_open(&b, s->port, NULL);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(bench_one(&b), is_bomb ? DSP_CALL_TOO_LARGE : DSP_CALL_OK);
            if (!is_bomb)
                assert_true(bytes_is((struct bytes){b.body, b.body_len}, "{\"id\":\"1\"}"));
        }
        assert_int_equal(stats_of(&b).connects, 1);
        bench_close(&b);
        raw_server_stop(s);
    }
    free(zeros);
}

/* ---- what is sent ---- */

static void add_headers(struct dsp_client_options *o)
{
    static const char *const headers[] = {"X-Key: secret", "content-type: text/x-bid",
                                          "x-openrtb-version: 2.6", NULL};
    o->headers = headers;
}

static void test_call_sends_what_it_should(void **state)
{
    const struct raw_step *script = answers;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    char expected[1024];
    bench_open(&b, s->port, add_headers);
    for (int round = 0; round < 2; round++) { /* on a new connection, and on a used one */
        contexts[0] = (struct call_ctx){&b, 0};
        b.calls[0] = dsp_client_call(b.client, b.payload, bytes_of(round == 0 ? "120" : "7"),
                                     bytes_of(round == 0 ? "" : "X-Time: 1\r\nX-Two: 2\r\n"),
                                     on_call, &contexts[0]);
        bench_run(&b, 1);
        snprintf(expected, sizeof(expected),
                 "POST /bid HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept-Encoding: gzip\r\n"
                 "X-Key: secret\r\ncontent-type: text/x-bid\r\nx-openrtb-version: 2.6\r\n"
                 "%sContent-Length: %d\r\n\r\n{\"tmax\":%s,\"id\":\"1\"}",
                 s->port, round == 0 ? "" : "X-Time: 1\r\nX-Two: 2\r\n", round == 0 ? 21 : 19,
                 round == 0 ? "120" : "7");
        pthread_mutex_lock(&s->lock);
        assert_string_equal(s->last_request, expected);
        pthread_mutex_unlock(&s->lock);
    }
    assert_int_equal(atomic_load(&s->accepted), 1);
    bench_close(&b);
    raw_server_stop(s);
}

static void test_create_refuses(void **state)
{
    static const char *const bad[] = {"NoColon",           ": empty",
                                      "Sp ace: x",         "X: a\r\nY: b",
                                      "Content-Length: 1", "transfer-encoding: x",
                                      "Connection: close"};
    struct error err;
    struct loop *l = loop_create(&err);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const headers[] = {"X-Good: yes", bad[i], NULL};
        struct dsp_client_options o;
        dsp_client_options_default(&o);
        o.url = "http://127.0.0.1:1/";
        o.headers = headers;
        err.text[0] = '\0';
        assert_null(dsp_client_create(l, &o, &err));
        assert_string_not_equal(err.text, "");
    }
    struct dsp_client_options o;
    dsp_client_options_default(&o);
    o.url = "nonsense";
    assert_null(dsp_client_create(l, &o, &err));
    o.url = "https://localhost/";
    o.tls_ca_file = "/does/not/exist.pem";
    assert_null(dsp_client_create(l, &o, &err));
    assert_int_equal(dsp_url_check("http://h/", &err), 0);
    assert_int_equal(dsp_url_check("h", &err), -1);
    loop_destroy(l);
}

/* A request far beyond the socket's buffers, to a server that reads late. */
static void test_call_large_request(void **state)
{
    static const struct raw_step late[] = {PAUSE(20), SEND(ANSWER), HANG};
    enum { LARGE = 30 << 20 };
    char *text = malloc(LARGE);
    memset(text, 'x', LARGE);
    const struct raw_step *script = late;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, NULL);
    payload_release(b.payload);
    b.payload = payload_create((struct bytes){text, LARGE}, (struct bytes){text, LARGE});
    free(text);
    bench_call(&b, 0);
    payload_release(b.payload); /* the call keeps it */
    b.payload = NULL;
    bench_run(&b, 1);
    assert_int_equal(b.results[0], DSP_CALL_OK);
    /* Answered before it had read all: the rest of the request would stand before the next one. */
    assert_int_equal(stats_of(&b).open, 0);
    bench_close(&b);
    raw_server_stop(s);
}

/* ---- connections ---- */

static void cap_4(struct dsp_client_options *o)
{
    o->connections_max = 4;
    o->drain_timeout_ms = 30;
}

static void test_connections_capped(void **state)
{
    const struct raw_step *script = hangs;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, cap_4);
    for (int i = 0; i < 10; i++)
        bench_call(&b, i);
    bench_run(&b, 6);
    for (int i = 4; i < 10; i++)
        assert_int_equal(b.results[i], DSP_CALL_NO_CONNECTION);
    assert_int_equal(stats_of(&b).open, 4);
    bench_close(&b); /* with four calls in flight */
    raw_server_stop(s);
}

static void cancel(struct bench *b, int number)
{
    if (b->calls[number] != NULL)
        dsp_call_cancel(b->calls[number]);
    b->calls[number] = NULL;
}

/* A DSP that never answers, whatever the callers do, holds no more than its share of sockets. */
static void test_cancelled_calls_to_a_silent_server(void **state)
{
    enum { ROUNDS = 10, CALLS = 100 };
    const struct raw_step *script = hangs;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, cap_4);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CALLS; i++) {
            bench_call(&b, i);
            if (i % 3 == 1)
                cancel(&b, i - 1);
            assert_true(stats_of(&b).open <= 4);
        }
        bench_run_until(&b, all_sent);
        for (int i = 0; i < CALLS; i++)
            cancel(&b, i);
        assert_int_equal(stats_of(&b).draining, 4);
        bench_run_until(&b, none_open); /* closed for want of an answer */
    }
    assert_int_equal(atomic_load(&s->accepted), 4 * ROUNDS);
    bench_close(&b);
    raw_server_stop(s);
}

static void cap_1(struct dsp_client_options *o)
{
    o->connections_max = 1;
}

/* The late answer is read and dropped, and the next call gets its own on the same connection. */
static void test_cancel_then_late_answer_keeps_the_connection(void **state)
{
    static const struct raw_step late[] = {
        READ, PAUSE(5),     SEND("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"),
        READ, SEND(ANSWER), HANG};
    const struct raw_step *script = late;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, cap_1);
    bench_call(&b, 0);
    bench_run_until(&b, all_sent); /* connected, sent */
    dsp_call_cancel(b.calls[0]);
    bench_call(&b, 1); /* the only connection is draining */
    bench_run(&b, 1);
    assert_int_equal(b.results[1], DSP_CALL_NO_CONNECTION);
    bench_run_until(&b, one_idle);
    assert_int_equal(stats_of(&b).drained, 1);
    bench_call(&b, 2);
    bench_run(&b, 1);
    assert_int_equal(b.results[2], DSP_CALL_OK);
    assert_true(bytes_is((struct bytes){b.body, b.body_len}, "ok"));
    assert_int_equal(stats_of(&b).connects, 1);
    assert_int_equal(b.n_done, 2); /* the cancelled one never came back */
    bench_close(&b);
    raw_server_stop(s);
}

static void test_cancel_while_connecting_keeps_the_connection(void **state)
{
    const struct raw_step *script = answers;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, cap_1);
    bench_call(&b, 0);
    dsp_call_cancel(b.calls[0]);
    bench_call(&b, 1); /* takes over what was begun */
    bench_run(&b, 1);
    assert_int_equal(b.results[1], DSP_CALL_OK);
    assert_int_equal(stats_of(&b).connects, 1);
    bench_close(&b);
    raw_server_stop(s);
}

/* Several calls at once, then one: the one used last is used again. */
static void test_reuse_is_last_in_first_out(void **state)
{
    static const struct raw_step first[] = {READ, SEND(ANSWER), AGAIN};
    const struct raw_step *script = first;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, cap_4);
    for (int i = 0; i < 4; i++)
        bench_call(&b, i);
    bench_run(&b, 4);
    assert_int_equal(stats_of(&b).idle, 4);
    for (int i = 0; i < 20; i++)
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
    assert_int_equal(stats_of(&b).connects, 4);
    assert_int_equal(stats_of(&b).reuses, 20);
    bench_close(&b);
    raw_server_stop(s);
}

static void idle_soon(struct dsp_client_options *o)
{
    o->idle_timeout_ms = 10;
}

static void test_idle_connections_end(void **state)
{
    const struct raw_step *script = answers;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    bench_open(&b, s->port, idle_soon);
    for (int i = 0; i < 3; i++)
        bench_call(&b, i);
    bench_run(&b, 3);
    bench_run_until(&b, none_open);
    assert_int_equal(bench_one(&b), DSP_CALL_OK);
    bench_close(&b);
    raw_server_stop(s);
}

/* The server closes, or talks, while the connection rests. */
static void test_idle_connection_that_speaks_or_closes_is_dropped(void **state)
{
    static const struct raw_step closing[] = {READ, SEND(ANSWER), CLOSE};
    static const struct raw_step speaking[] = {READ, SEND(ANSWER), PAUSE(5), SEND(ANSWER), HANG};
    const struct raw_step *scripts[] = {closing, speaking};
    struct raw_server *s = raw_server_start(scripts, 2);
    struct bench b;
    bench_open(&b, s->port, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
        bench_run_until(&b, none_open);
    }
    assert_int_equal(stats_of(&b).connects, 2);
    bench_close(&b);
    raw_server_stop(s);
}

/* The server closed the idle connection, and we use it before we notice: the loop does not run in
 * between. One more try on a new connection, unseen by the caller; but only one, only if nothing
 * was answered, and never for a first use. */
static void test_stale_connection_is_tried_again_once(void **state)
{
    static const struct raw_step once[] = {READ, SEND(ANSWER), CLOSE};
    static const struct raw_step resets[] = {READ, SEND(ANSWER), READ, RESET};
    static const struct raw_step partly[] = {READ, SEND(ANSWER), READ, SEND("HTTP/1.1 2"), CLOSE};
    struct {
        const struct raw_step *scripts[3];
        enum dsp_result second;
        uint64_t retries;
    } cases[] = {
        {{once, answers, answers}, DSP_CALL_OK, 1},
        {{resets, answers, answers}, DSP_CALL_OK, 1},
        {{once, closes, answers}, DSP_CALL_CLOSED, 1},
        {{partly, answers, answers}, DSP_CALL_CLOSED, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct raw_server *s = raw_server_start(cases[i].scripts, 3);
        struct bench b;
        bench_open(&b, s->port, cap_1);
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
        if (cases[i].scripts[0] == once)
            while (atomic_load(&s->open) > 0)
                usleep(200);
        if (stats_of(&b).open == 1) /* else it was seen already; fine, but another test */
            assert_int_equal(bench_one(&b), cases[i].second);
        if (stats_of(&b).retries != cases[i].retries && stats_of(&b).reuses > 0)
            fail_msg("case %zu: %d retries", i, (int)stats_of(&b).retries);
        bench_close(&b);
        raw_server_stop(s);
    }
}

/* ---- no connection ---- */

static void impatient(struct dsp_client_options *o)
{
    o->connect_timeout_ms = 30;
}

static void test_connection_refused(void **state)
{
    uint16_t port;
    int fd = raw_listen(&port, 1);
    close(fd);
    struct bench b;
    bench_open(&b, port, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bench_one(&b), DSP_CALL_CONNECT_FAILED);
    assert_int_equal(stats_of(&b).connect_failures, 3);
    assert_int_equal(stats_of(&b).open, 0);
    bench_close(&b);
}

/* A listener whose queue is full answers no SYN. */
static void test_connect_times_out(void **state)
{
    enum { FILLERS = 8 };
    uint16_t port;
    int listener = raw_listen(&port, 0), fillers[FILLERS];
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&a, sizeof(a));
    }
    usleep(5000);
    struct bench b;
    bench_open(&b, port, impatient);
    bench_call(&b, 0);
    bench_call(&b, 1);
    dsp_call_cancel(b.calls[1]); /* its connection goes on, and ends likewise */
    bench_run(&b, 1);
    assert_int_equal(b.results[0], DSP_CALL_CONNECT_FAILED);
    bench_run_until(&b, none_open);
    assert_int_equal(stats_of(&b).connect_failures, 2);
    bench_close(&b);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(listener);
}

static void test_name_that_resolves_to_nothing(void **state)
{
    struct bench b;
    bench_open_url(&b, "http://no-such-host.invalid:9/", NULL);
    for (int i = 0; i < 5; i++)
        bench_call(&b, i);
    dsp_call_cancel(b.calls[2]);
    bench_run(&b, 4);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            assert_int_equal(b.results[i], DSP_CALL_RESOLVE_FAILED);
    bench_call(&b, 6); /* at once: it is known by now */
    bench_run(&b, 1);
    assert_int_equal(b.results[6], DSP_CALL_RESOLVE_FAILED);
    bench_call(&b, 7);
    bench_close(&b); /* a failure is waiting to be told */
}

static void refresh_always(struct dsp_client_options *o)
{
    o->dns_refresh_ms = 1;
}

/* localhost may be two addresses, of which the server has one. */
static void test_name_that_resolves(void **state)
{
    const struct raw_step *script = answers;
    struct raw_server *s = raw_server_start(&script, 1);
    char url[64];
    snprintf(url, sizeof(url), "http://localhost:%u/", s->port);
    struct bench b;
    bench_open_url(&b, url, refresh_always);
    for (int i = 0; i < 20; i++)
        bench_call(&b, i);
    bench_run(&b, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(b.results[i], DSP_CALL_OK);
    for (int i = 0; i < 50; i++) { /* while it is resolved again and again */
        usleep(500);
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
    }
    bench_close(&b);
    raw_server_stop(s);
}

/* What a name means, in a mount namespace of this process's own; in place, as the file is mounted.
 */
static void name_means(const char *path, const char *hosts)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(hosts, f);
    fclose(f);
}

/* A DSP moves to another address, then has two, then loses one: calls follow, and none fails. */
static void test_name_that_moves(void **state)
{
    char path[] = "/tmp/hosts-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(path, "/etc/hosts", NULL, MS_BIND, NULL) != 0) {
        unlink(path);
        print_message("no mount namespace of our own here\n");
        skip();
    }
    const struct raw_step *script = answers;
    struct raw_server *first = raw_server_start(&script, 1);
    struct raw_server *second = raw_server_start_at(&script, 1, 2, first->port);
    char url[64];
    snprintf(url, sizeof(url), "http://dsp.test:%u/", first->port);
    name_means(path, "127.0.0.1 dsp.test\n");
    struct bench b;
    bench_open_url(&b, url, refresh_always);
    assert_int_equal(bench_one(&b), DSP_CALL_OK);
    assert_int_equal(atomic_load(&second->requests), 0);

    name_means(path, "127.0.0.2 dsp.test\n");
    for (int i = 0; i < 5000 && atomic_load(&second->requests) == 0; i++) {
        usleep(1000);
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
    }
    assert_true(atomic_load(&second->requests) > 0);
    int before = atomic_load(&first->requests);
    for (int i = 0; i < 50; i++)
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
    assert_int_equal(atomic_load(&first->requests), before);

    name_means(path, "127.0.0.1 dsp.test\n127.0.0.2 dsp.test\n");
    for (int i = 0; i < 5000 && atomic_load(&first->requests) == before; i++) {
        usleep(1000);
        b.n_done = 0;
        int n = 2 + i % 30; /* side by side, ever more: they need connections of their own */
        for (int k = 0; k < n; k++)
            bench_call(&b, k);
        bench_run(&b, n);
    }
    assert_true(atomic_load(&first->requests) > before);

    raw_server_stop(first);
    for (int i = 0; i < 100; i++)
        assert_int_equal(bench_one(&b), DSP_CALL_OK);
    bench_close(&b);
    raw_server_stop(second);
    umount("/etc/hosts");
    unlink(path);
}

static void test_destroy_while_resolving(void **state)
{
    for (int i = 0; i < 5; i++) {
        struct bench b;
        bench_open_url(&b, "http://no-such-host.invalid:9/", NULL);
        bench_call(&b, 0);
        bench_close(&b);
    }
}

/* ---- callbacks that do things ---- */

struct mischief {
    struct bench *bench;
    int calls;
    struct dsp_call *others[8];
};

static void destroy_inside(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct mischief *m = ctx;
    m->calls++;
    dsp_client_destroy(m->bench->client);
    m->bench->client = NULL;
    if (result == DSP_CALL_OK)
        assert_true(bytes_is(body, "ok")); /* still there */
    loop_stop(m->bench->loop);
}

static void never(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    fail_msg("called back after it was cancelled");
}

static void test_destroy_inside_a_callback(void **state)
{
    static const struct raw_step slow[] = {
        READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), PAUSE(3), SEND("ok"), HANG};
    const struct raw_step *scripts[] = {answers, slow, closes};
    for (int i = 0; i < 3; i++) {
        struct raw_server *s = raw_server_start(&scripts[i], 1);
        struct bench b;
        struct mischief m = {&b, 0, {NULL}};
        bench_open(&b, s->port, cap_4);
        dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), destroy_inside, &m);
        if (i < 2) /* one more in flight, one more already refused */
            for (int j = 0; j < 2; j++)
                dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), destroy_inside,
                                &m);
        loop_run(b.loop);
        assert_int_equal(b.is_guarded, false);
        assert_int_equal(m.calls, 1);
        bench_close(&b);
        raw_server_stop(s);
    }
}

static void cancel_others(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct mischief *m = ctx;
    assert_int_equal(m->calls++, 0);
    for (int i = 0; i < 8; i++)
        if (m->others[i] != NULL)
            dsp_call_cancel(m->others[i]);
    loop_stop(m->bench->loop);
}

/* The others: in flight, or refused but not yet told. */
static void test_cancel_inside_anothers_callback(void **state)
{
    const struct raw_step *scripts[2][2] = {{answers, hangs}, {closes, hangs}};
    for (int i = 0; i < 2; i++) {
        struct raw_server *s = raw_server_start(scripts[i], 2);
        struct bench b;
        struct mischief m = {&b, 0, {NULL}};
        bench_open(&b, s->port, cap_4);
        dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), cancel_others, &m);
        for (int j = 0; j < 3; j++)
            m.others[j] =
                dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), never, &m);
        loop_run(b.loop);
        assert_int_equal(m.calls, 1);
        bench_run_until(&b, all_sent);
        bench_close(&b);
        raw_server_stop(s);
    }
    /* Refused ones are told in one go; the first cancels the rest. */
    struct raw_server *s = raw_server_start(&scripts[0][1], 1);
    struct bench b;
    struct mischief m = {&b, 0, {NULL}};
    bench_open(&b, s->port, cap_1);
    m.others[0] = dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), never, &m);
    dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), cancel_others, &m);
    for (int j = 1; j < 8; j++)
        m.others[j] = dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), never, &m);
    loop_run(b.loop);
    assert_int_equal(m.calls, 1);
    bench_run_until(&b, all_sent);
    bench_close(&b);
    raw_server_stop(s);
}

static void call_again(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct mischief *m = ctx;
    assert_int_equal(result, DSP_CALL_OK);
    assert_true(bytes_is(body, "ok"));
    if (++m->calls == 200)
        loop_stop(m->bench->loop);
    else
        dsp_client_call(m->bench->client, m->bench->payload, bytes_of("1"), bytes_of(""),
                        call_again, m);
    assert_true(bytes_is(body, "ok")); /* untouched by the next call */
}

static void test_call_inside_a_callback(void **state)
{
    const struct raw_step *script = answers;
    struct raw_server *s = raw_server_start(&script, 1);
    struct bench b;
    struct mischief m = {&b, 0, {NULL}};
    bench_open(&b, s->port, cap_1);
    dsp_client_call(b.client, b.payload, bytes_of("1"), bytes_of(""), call_again, &m);
    loop_run(b.loop);
    assert_int_equal(m.calls, 200);
    assert_int_equal(stats_of(&b).connects, 1);
    bench_close(&b);
    raw_server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_every_kind_of_answer),
        cmocka_unit_test(test_call_gzip_good_and_bomb),
        cmocka_unit_test(test_call_sends_what_it_should),
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_call_large_request),
        cmocka_unit_test(test_connections_capped),
        cmocka_unit_test(test_cancelled_calls_to_a_silent_server),
        cmocka_unit_test(test_cancel_then_late_answer_keeps_the_connection),
        cmocka_unit_test(test_cancel_while_connecting_keeps_the_connection),
        cmocka_unit_test(test_reuse_is_last_in_first_out),
        cmocka_unit_test(test_idle_connections_end),
        cmocka_unit_test(test_idle_connection_that_speaks_or_closes_is_dropped),
        cmocka_unit_test(test_stale_connection_is_tried_again_once),
        cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_connect_times_out),
        cmocka_unit_test(test_name_that_resolves_to_nothing),
        cmocka_unit_test(test_name_that_resolves),
        cmocka_unit_test(test_name_that_moves),
        cmocka_unit_test(test_destroy_while_resolving),
        cmocka_unit_test(test_destroy_inside_a_callback),
        cmocka_unit_test(test_cancel_inside_anothers_callback),
        cmocka_unit_test(test_call_inside_a_callback),
    };
    return cmocka_run_group_tests_name("dsp_client", tests, NULL, NULL);
}
