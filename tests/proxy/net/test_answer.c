/* Answers as DSPs send them, well and badly. Every case is fed whole, one byte at a time, and cut
 * in two at every position: the outcome may not depend on how the network cuts. */
#include "proxy/net/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "prng.h"

enum { HEAD_MAX = 300, BODY_MAX = 64 };

/* The outcome once all bytes are in and the peer closes. */
enum outcome { OK_PERSISTENT, OK_CLOSE, OK_SURPLUS, OK_AT_END, CUT, MALFORMED, TOO_LARGE };

struct answer_case {
    const char *wire;
    enum outcome outcome;
    int status;
    const char *body;
};

#define LINE "HTTP/1.1 200 OK\r\n"
#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static const struct answer_case cases[] = {
    {LINE "Content-Length: 5\r\n\r\nhello", OK_PERSISTENT, 200, "hello"},
    {LINE "content-length:5\r\n\r\nhello", OK_PERSISTENT, 200, "hello"},
    {LINE "Content-Length: 0\r\n\r\n", OK_PERSISTENT, 200, ""},
    {LINE "Content-Length: 00005\r\n\r\nhello", OK_PERSISTENT, 200, "hello"},
    {"HTTP/1.1 204 No Content\r\n\r\n", OK_PERSISTENT, 204, ""},
    {"HTTP/1.1 204 \r\n\r\n", OK_PERSISTENT, 204, ""},
    {"HTTP/1.1 204\r\n\r\n", MALFORMED, 0, ""}, /* the space is part of the grammar */
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", OK_PERSISTENT, 204, ""},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", OK_PERSISTENT, 304, ""},
    {"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", OK_PERSISTENT, 503, "no"},
    {LINE "Content-Length: 5\r\nConnection: close\r\n\r\nhello", OK_CLOSE, 200, "hello"},
    {LINE "Content-Length: 5\r\nConnection: foo , CLOSE\r\n\r\nhello", OK_CLOSE, 200, "hello"},
    {LINE "Content-Length: 5\r\nConnection: closed\r\n\r\nhello", OK_PERSISTENT, 200, "hello"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", OK_CLOSE, 200, "hello"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", OK_PERSISTENT,
     200, "hello"},
    /* the end of the connection is the end of the body */
    {"HTTP/1.0 200 OK\r\n\r\nhello", OK_AT_END, 200, "hello"},
    {LINE "\r\n", OK_AT_END, 200, ""},
    {LINE "\r\n" FIFTY TEN "1234", OK_AT_END, 200, FIFTY TEN "1234"},
    {LINE "\r\n" FIFTY TEN "12345", TOO_LARGE, 0, ""},
    /* chunks */
    {LINE "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", OK_PERSISTENT, 200, "hello"},
    {LINE
     "Transfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x=\"y\"\r\nllo\r\n0\r\nTrailer: t\r\n\r\n",
     OK_PERSISTENT, 200, "hello"},
    {LINE "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", OK_PERSISTENT, 200, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\n00A\r\n" TEN "\r\n0\r\n\r\n", OK_PERSISTENT, 200, TEN},
    {LINE "Transfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", CUT, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\n32\r\n" FIFTY "\r\n32\r\n" FIFTY "\r\n0\r\n\r\n",
     TOO_LARGE, 0, ""},
    /* more than was asked for */
    {LINE "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", OK_SURPLUS, 200, "hello"},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", OK_SURPLUS, 204, ""},
    {LINE "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", OK_SURPLUS, 200, ""},
    /* interim answers */
    {"HTTP/1.1 100 Continue\r\n\r\n" LINE "Content-Length: 2\r\n\r\nok", OK_PERSISTENT, 200, "ok"},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 C\r\nContent-Length: 9\r\n\r\n" LINE
     "Content-Length: 2\r\n\r\nok",
     OK_PERSISTENT, 200, "ok"},
    {"HTTP/1.1 100 Continue\r\n\r\n", CUT, 0, ""},
    {"HTTP/1.1 101 Switching Protocols\r\n\r\n", MALFORMED, 0, ""},
    {"HTTP/1.1 100 1\r\n\r\nHTTP/1.1 100 2\r\n\r\nHTTP/1.1 100 3\r\n\r\nHTTP/1.1 100 4\r\n\r\n"
     "HTTP/1.1 100 5\r\n\r\nHTTP/1.1 100 6\r\n\r\nHTTP/1.1 100 7\r\n\r\nHTTP/1.1 100 8\r\n\r\n"
     "HTTP/1.1 100 9\r\n\r\n" LINE "\r\n",
     MALFORMED, 0, ""},
    /* two ways to read it */
    {LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: 5, 5\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: +5\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: -1\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: 5x\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: \r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length: 18446744073709551621\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Content-Length : 5\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "X: a\r\n folded\r\nContent-Length: 5\r\n\r\nhello", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED, 0,
     ""},
    {LINE "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", MALFORMED, 0, ""},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED, 0, ""},
    {LINE "Content-Encoding: utf-8\r\nContent-Length: 5\r\n\r\nhello", OK_PERSISTENT, 200, "hello"},
    {LINE "Content-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", OK_PERSISTENT, 200,
     "hello"},
    /* not HTTP */
    {"SSH-2.0-OpenSSH_9.2\r\n", MALFORMED, 0, ""},
    {"HTTP/2 200\r\n\r\n", MALFORMED, 0, ""},
    {"HTTP/1.1 099 Low\r\n\r\n", MALFORMED, 0, ""},
    {"HTTP/1.1 OK\r\n\r\n", MALFORMED, 0, ""},
    {"<html>", MALFORMED, 0, ""},
    {LINE "Bad\x01Name: x\r\n\r\n", MALFORMED, 0, ""},
    {"", CUT, 0, ""},
    {"HTTP/1.1 20", CUT, 0, ""},
    {LINE "Content-Len", CUT, 0, ""},
    {LINE "Content-Length: 5\r\n\r\nhell", CUT, 0, ""},
    /* limits */
    {LINE "Content-Length: 64\r\n\r\n" FIFTY TEN "1234", OK_PERSISTENT, 200, FIFTY TEN "1234"},
    {LINE "Content-Length: 65\r\n\r\n", TOO_LARGE, 0, ""},
    {LINE "Content-Length: 999999999999999999\r\n\r\n", TOO_LARGE, 0, ""},
    {LINE "X: " FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "\r\n\r\n", TOO_LARGE, 0, ""},
    {LINE "X: " FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY, TOO_LARGE, 0, ""},
};

struct outcome_seen {
    enum outcome outcome;
    int status;
    char body[512];
    size_t body_len;
};

/* Feeds wire in pieces that end at the given positions; memory is exactly as large as it must be,
 * so that a sanitizer sees every byte too far. */
static struct outcome_seen feed(const char *wire, size_t wire_len, const size_t *ends,
                                size_t n_ends)
{
    struct outcome_seen seen = {.outcome = CUT};
    struct answer a;
    char *buffer = NULL;
    size_t len = 0, at = 0;
    answer_begin(&a, HEAD_MAX, BODY_MAX);
    for (size_t i = 0; i < n_ends; i++) {
        size_t n = ends[i] - at;
        char *grown = malloc(len + n + 1);
        if (len > 0)
            memcpy(grown, buffer, len);
        memcpy(grown + len, wire + at, n);
        free(buffer);
        buffer = realloc(grown, len + n > 0 ? len + n : 1);
        len += n;
        at = ends[i];
        if (n == 0)
            continue;
        enum answer_progress progress = answer_feed(&a, buffer, &len);
        if (progress == ANSWER_MORE)
            continue;
        seen.outcome = progress == ANSWER_MALFORMED     ? MALFORMED
                       : progress == ANSWER_TOO_LARGE   ? TOO_LARGE
                       : a.has_surplus || at < wire_len ? OK_SURPLUS
                       : a.is_persistent                ? OK_PERSISTENT
                                                        : OK_CLOSE;
        if (progress == ANSWER_DONE)
            goto done;
        goto out;
    }
    if (answer_end(&a, len)) {
        seen.outcome = OK_AT_END;
        assert_false(a.is_persistent);
    done:
        seen.status = a.status;
        seen.body_len = a.body_len;
        assert_true(a.body_len <= sizeof(seen.body));
        memcpy(seen.body, buffer + a.body_at, a.body_len);
    }
out:
    free(buffer);
    return seen;
}

static void expect(const struct answer_case *c, struct outcome_seen seen, const char *how)
{
    if (seen.outcome != c->outcome)
        fail_msg("%s: outcome %d instead of %d, %s", c->wire, seen.outcome, c->outcome, how);
    if (c->outcome > OK_AT_END)
        return;
    assert_int_equal(seen.status, c->status);
    assert_int_equal(seen.body_len, strlen(c->body));
    assert_memory_equal(seen.body, c->body, seen.body_len);
}

static void test_feed_however_it_is_cut(void **state)
{
    size_t ends[1024];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct answer_case *c = &cases[i];
        size_t len = strlen(c->wire);
        ends[0] = len;
        expect(c, feed(c->wire, len, ends, 1), "whole");
        for (size_t cut = 0; cut < len; cut++) {
            ends[0] = cut;
            ends[1] = len;
            expect(c, feed(c->wire, len, ends, 2), "in two");
        }
        for (size_t j = 0; j < len; j++)
            ends[j] = j + 1;
        expect(c, feed(c->wire, len, ends, len), "byte by byte");
    }
}

/* Whatever comes: no crash, no body beyond the limit, no end that is no end. */
static void test_feed_mutated(void **state)
{
    struct prng random = {11};
    char wire[1024];
    size_t ends[8];
    for (int round = 0; round < 20000; round++) {
        const char *from = cases[prng_below(&random, sizeof(cases) / sizeof(cases[0]))].wire;
        size_t len = strlen(from);
        if (len == 0)
            continue;
        memcpy(wire, from, len);
        for (uint64_t k = prng_below(&random, 4) + 1; k > 0; k--)
            wire[prng_below(&random, len)] = (char)prng_below(&random, 256);
        size_t at = 0, n = 0;
        while (at < len && n < 7) {
            at += prng_below(&random, len - at) + 1;
            ends[n++] = at;
        }
        ends[n++] = len;
        struct outcome_seen seen = feed(wire, len, ends, n);
        assert_true(seen.body_len <= BODY_MAX);
    }
}

/* Chunk extensions and trailers carry no data, so the body's limit does not stop them. */
static void test_feed_endless_framing(void **state)
{
    static const char *const begun[] = {
        LINE "Transfer-Encoding: chunked\r\n\r\n1;",                 /* an extension */
        LINE "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: ", /* a trailer */
    };
    for (int kind = 0; kind < 2; kind++) {
        struct answer a;
        char buffer[1024];
        size_t len = strlen(begun[kind]), sent = 0;
        memcpy(buffer, begun[kind], len);
        answer_begin(&a, HEAD_MAX, BODY_MAX);
        enum answer_progress progress = answer_feed(&a, buffer, &len);
        for (; progress == ANSWER_MORE && sent < 10000000; sent += 50) {
            assert_true(len < sizeof(buffer) - 50);
            memcpy(buffer + len, FIFTY, 50);
            len += 50;
            progress = answer_feed(&a, buffer, &len);
        }
        assert_int_equal(progress, ANSWER_TOO_LARGE);
    }
}

/* Too many headers is too large, whether they come at once or one by one. */
static void test_feed_many_headers(void **state)
{
    char wire[1024] = LINE;
    size_t len = strlen(wire), kept = len;
    for (int i = 0; i < 120; i++, len += 5)
        memcpy(wire + len, "a:b\r\n", 5);
    struct answer a;
    answer_begin(&a, 600, BODY_MAX);
    assert_int_equal(answer_feed(&a, wire, &len), ANSWER_TOO_LARGE);
    answer_begin(&a, 600, BODY_MAX);
    enum answer_progress progress = ANSWER_MORE;
    for (len = kept; progress == ANSWER_MORE; len += 5)
        progress = answer_feed(&a, wire, &len);
    assert_int_equal(progress, ANSWER_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feed_however_it_is_cut),
        cmocka_unit_test(test_feed_mutated),
        cmocka_unit_test(test_feed_endless_framing),
        cmocka_unit_test(test_feed_many_headers),
    };
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
