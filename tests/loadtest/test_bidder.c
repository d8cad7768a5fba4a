/* The simulated DSPs over HTTP: client and server on one loop. */
#include "world_fixture.h"

#include <jansson.h>

#include "loadtest/bidder.h"
#include "proxy/net/dsp_client.h"

struct talk {
    struct loop *loop;
    struct bidder *bidder;
    struct bidder_counts counts[2 * SCENARIO_DSPS_MAX];
    int status;
    enum dsp_result result;
    char body[65536];
    size_t len;
};

static void on_answer(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct talk *t = ctx;
    t->result = result;
    t->status = status;
    t->len = body.len < sizeof(t->body) ? body.len : sizeof(t->body);
    if (t->len > 0)
        memcpy(t->body, body.base, t->len);
    loop_stop(t->loop);
}

static void on_stopped(void *ctx)
{
    loop_stop(((struct talk *)ctx)->loop);
}

static void begin(struct talk *t, const struct world *w)
{
    struct error err = {""};
    memset(t->counts, 0, sizeof(t->counts));
    t->loop = loop_create(&err);
    t->bidder = bidder_create(t->loop, w, "127.0.0.1", 0, t->counts, 2, 1, &err);
    if (t->bidder == NULL)
        fail_msg("%s", err.text);
}

static void end(struct talk *t)
{
    bidder_stop(t->bidder, on_stopped, t);
    loop_run(t->loop);
    bidder_destroy(t->bidder);
    loop_destroy(t->loop);
}

static int post(struct talk *t, const char *path, struct bytes body, int64_t ts_ms)
{
    char url[128], header[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", bidder_port(t->bidder), path);
    snprintf(header, sizeof(header), "X-Bidsieve-Time: %lld\r\n", (long long)ts_ms);
    struct dsp_client_options o;
    struct error err = {""};
    dsp_client_options_default(&o);
    o.url = url;
    struct dsp_client *c = dsp_client_create(t->loop, &o, &err);
    assert_non_null(c);
    struct payload *p = payload_create(body, (struct bytes){NULL, 0});
    dsp_client_call(c, p, (struct bytes){NULL, 0}, bytes_of(ts_ms >= 0 ? header : ""), on_answer,
                    t);
    payload_release(p);
    loop_run(t->loop);
    dsp_client_destroy(c);
    assert_int_equal(t->result, DSP_CALL_OK);
    return t->status;
}

/* Over HTTP a DSP does exactly what the report will say it would do. */
static void test_answers_are_the_truth(void **state)
{
    struct world *w = load_world("small");
    struct talk *t = calloc(1, sizeof(*t));
    struct scanned s = {.text = {NULL, 0}};
    uint32_t bid_count = 0;
    begin(t, w);
    for (uint32_t i = 0; i < 150; i++) {
        scan_request(&s, w->traffic, 8, i * 20);
        struct buyer_bid bids[VIEW_IMPS_MAX];
        uint32_t n = buyer_bids(&w->buyers[0], &s.view, bids);
        int status = post(t, "/bid/broad", s.text, s.ts_ms);
        assert_int_equal(status, n > 0 ? 200 : 204);
        if (n == 0)
            continue;
        bid_count++;
        json_t *root = json_loadb(t->body, t->len, JSON_REJECT_DUPLICATES, NULL);
        json_t *seat = json_array_get(json_object_get(root, "seatbid"), 0);
        json_t *list = json_object_get(seat, "bid");
        assert_int_equal(json_array_size(list), n);
        double price = json_real_value(json_object_get(json_array_get(list, 0), "price"));
        assert_int_equal((int64_t)(price * 1e6 + 0.5), bids[0].price_micros);
        json_decref(root);
    }
    assert_true(bid_count > 5);
    assert_int_equal(t->counts[w->n_buyers].calls, 150);
    assert_int_equal(t->counts[w->n_buyers].bids, bid_count);
    assert_int_equal(t->counts[w->n_buyers].no_bids, 150 - bid_count);
    end(t);
    free(t);
    scanned_dispose(&s);
    world_destroy(w);
}

static void test_other_requests(void **state)
{
    struct world *w = load_world("small");
    struct talk *t = calloc(1, sizeof(*t));
    begin(t, w);
    static const struct {
        const char *path, *body;
        int status;
    } CASES[] = {
        {"/bid/nobody", "{}", 404},
        {"/bid/", "{}", 404},
        {"/", "{}", 404},
        {"/bid/broad", "{}", 400},
        {"/bid/broad", "", 400},
        {"/bid/broad", "{\"id\":\"\\\"\"}", 400},
        {"/bid/broad", "{\"id\":\"foreign\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}",
         204},
        {"/stats", "", 200},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        int status = post(t, CASES[i].path, bytes_of(CASES[i].body), -1);
        if (status != CASES[i].status)
            fail_msg("%s %s: %d", CASES[i].path, CASES[i].body, status);
        if (t->len > 0) {
            json_t *root = json_loadb(t->body, t->len, JSON_REJECT_DUPLICATES, NULL);
            assert_non_null(root);
            json_decref(root);
        }
    }
    /* Statistics add up over all threads' rows. */
    t->counts[0].calls = 1000;
    post(t, "/stats", bytes_of(""), -1);
    json_t *root = json_loadb(t->body, t->len, 0, NULL);
    json_t *row = json_array_get(json_object_get(root, "dsps"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "dsp")), "broad");
    assert_int_equal(json_integer_value(json_object_get(row, "calls")), 1004);
    assert_int_equal(json_integer_value(json_object_get(row, "bad_requests")), 3);
    json_decref(root);
    end(t);
    free(t);
    world_destroy(w);
}

static void test_bad_conduct(void **state)
{
    struct world *w = load_world("bad");
    struct talk *t = calloc(1, sizeof(*t));
    struct scanned s = {.text = {NULL, 0}};
    uint32_t errors = 0, garbled = 0;
    begin(t, w);
    for (uint32_t i = 0; i < 60; i++) {
        scan_request(&s, w->traffic, 1, i * 50);
        errors += post(t, "/bid/failing", s.text, s.ts_ms) == 500;
        if (post(t, "/bid/garbled", s.text, s.ts_ms) == 200) {
            json_t *root = json_loadb(t->body, t->len, 0, NULL);
            garbled += root == NULL;
            json_decref(root);
        }
    }
    assert_true(errors > 3 && errors < 40);
    assert_true(garbled > 2 && garbled < 35);
    end(t);
    free(t);
    scanned_dispose(&s);
    world_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_the_truth),
        cmocka_unit_test(test_other_requests),
        cmocka_unit_test(test_bad_conduct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
