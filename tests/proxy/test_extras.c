/* What may be asked for: the words of a request's ext, and who may see a trace how often. What a
 * trace holds is tested end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/extras.h"

static void test_extras_wants_seatnonbid(void **state)
{
    static const struct {
        const char *ext;
        bool wanted;
    } rows[] = {
        {"{\"prebid\":{\"returnallbidstatus\":true}}", true},
        {"{ \"prebid\" : { \"a\" : [ { } ] , \"returnallbidstatus\" : 1 } , \"z\" : 0 }", true},
        {"{\"bidsieve\":{\"seatnonbid\":true}}", true},
        {"{\"bidsieve\":{\"seatnonbid\":1},\"prebid\":{\"returnallbidstatus\":false}}", true},
        {"{\"bidsieve\":{\"seatnonbid\":true,\"seatnonbid\":false}}", false},
        {"{\"prebid\":{\"returnallbidstatus\":false}}", false},
        {"{\"prebid\":{\"returnallbidstatus\":\"true\"}}", false},
        {"{\"prebid\":{\"returnallbidstatus\":null}}", false},
        {"{\"prebid\":{\"x\":{\"returnallbidstatus\":true}}}", false},
        {"{\"prebid\":[{\"returnallbidstatus\":true}]}", false},
        {"{\"prebid\":{\"seatnonbid\":true}}", false},
        {"{\"returnallbidstatus\":true,\"seatnonbid\":true}", false},
        {"\"returnallbidstatus\"", false},
        {"[\"seatnonbid\"]", false},
        {"null", false},
        {"{}", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena = {0};
        struct bid_request r;
        struct bid_request_error e;
        char body[512];
        snprintf(body, sizeof(body),
                 "{\"id\":\"1\",\"ext\":%s,\"imp\":[{\"id\":\"1\",\"ext\":{\"prebid\":{"
                 "\"returnallbidstatus\":true}},\"banner\":{\"w\":1,\"h\":1}}]}",
                 rows[i].ext);
        if (!bid_request_scan(&r, bytes_of(body), 0, &arena, &e))
            fail_msg("%s: %s", e.path, e.reason);
        assert_true(bytes_is((struct bytes){body + r.ext.at, r.ext.len}, rows[i].ext));
        if (extras_wants_seatnonbid(&r) != rows[i].wanted)
            fail_msg("%s", rows[i].ext);
        arena_dispose(&arena);
    }
}

static void test_trace_gate_wants_the_token(void **state)
{
    static const struct {
        const char *token, *header;
        bool admitted;
    } rows[] = {
        {"secret", "secret", true},   {"secret", "secreT", false}, {"secret", "secre", false},
        {"secret", "secrets", false}, {"secret", "", false},       {"secret", NULL, false},
        {NULL, "secret", false},      {NULL, NULL, false},         {"", "", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct trace_gate gate = {0};
        if (trace_gate_admit(&gate, rows[i].token, 10, bytes_of(rows[i].header), 1000000) !=
            rows[i].admitted)
            fail_msg("row %zu", i);
    }
}

static void test_trace_gate_bounds_the_rate(void **state)
{
    struct trace_gate gate = {0};
    struct bytes header = bytes_of("t");
    uint64_t now_us = 5000000;
    int admitted = 0;
    for (int i = 0; i < 100; i++)
        admitted += trace_gate_admit(&gate, "t", 4, header, now_us);
    assert_int_equal(admitted, 4);
    /* Guessing takes nothing from those who know. */
    now_us += 250000;
    for (int i = 0; i < 100; i++)
        assert_false(trace_gate_admit(&gate, "t", 4, bytes_of("x"), now_us));
    assert_true(trace_gate_admit(&gate, "t", 4, header, now_us));
    assert_false(trace_gate_admit(&gate, "t", 4, header, now_us));
    for (int i = 0; i < 1000; i++) { /* 10 s, 100 a second */
        now_us += 10000;
        admitted += trace_gate_admit(&gate, "t", 4, header, now_us);
    }
    assert_in_range(admitted, 4 + 39, 4 + 40);
    /* A loop's share may be less than one a second. */
    gate = (struct trace_gate){0};
    assert_true(trace_gate_admit(&gate, "t", 0.5, header, now_us));
    assert_false(trace_gate_admit(&gate, "t", 0.5, header, now_us + 1900000));
    assert_true(trace_gate_admit(&gate, "t", 0.5, header, now_us + 2100000));
    gate = (struct trace_gate){0}; /* none at all */
    assert_false(trace_gate_admit(&gate, "t", 0, header, now_us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extras_wants_seatnonbid),
        cmocka_unit_test(test_trace_gate_wants_the_token),
        cmocka_unit_test(test_trace_gate_bounds_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
