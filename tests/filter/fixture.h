/* Requests from JSON text, and the corpus, for the tests of this layer. */
#ifndef TESTS_FILTER_FIXTURE_H
#define TESTS_FILTER_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "filter/bid_request.h"
#include "filter/geo.h"

/* 2025-11-26T14:45:00Z, a Wednesday */
#define FIXTURE_TS INT64_C(1764168300000)

static inline void fixture_scan(struct bid_request *r, const char *json, struct arena *arena)
{
    struct bid_request_error e = {{0}, {0}};
    if (!bid_request_scan(r, bytes_of(json), 0, arena, &e))
        fail_msg("%s: %s in %s", e.path, e.reason, json);
}

/* A request with these members; `{"id":"r","imp":[{"id":"1","banner":{}}]` stands before them. */
static inline void fixture_request(struct bid_request *r, const char *members, struct arena *arena)
{
    size_t size = strlen(members) + 128;
    char *json = arena_alloc(arena, size);
    snprintf(json, size, "{\"id\":\"r\"%s%s%s}",
             strstr(members, "\"imp\"") != NULL
                 ? ""
                 : ",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":320,\"h\":50}}]",
             *members != '\0' ? "," : "", members);
    fixture_scan(r, json, arena);
}

static inline void assert_bytes(struct bytes got, const char *expected, const char *what)
{
    struct bytes e = bytes_of(expected);
    if (!bytes_equal(got, e))
        fail_msg("%s: got \"%.*s\", expected \"%s\"", what, (int)got.len, got.base,
                 expected != NULL ? expected : "");
}

/* A path inside the corpus, or NULL (and a word about it) without one. */
static inline const char *fixture_corpus(const char *name, char path[512])
{
    const char *corpus = getenv("BIDSIEVE_CORPUS");
    if (corpus == NULL || *corpus == '\0') {
        print_message("skipped: BIDSIEVE_CORPUS is not set\n");
        return NULL;
    }
    snprintf(path, 512, "%s/%s", corpus, name);
    return path;
}

/* A fresh file name in the build's temporary folder; the caller unlinks and frees. */
static inline char *fixture_temporary(const char *text, size_t len)
{
    char *path = strdup("/tmp/bidsieve-test-XXXXXX");
    assert_non_null(path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
    return path;
}

#endif
