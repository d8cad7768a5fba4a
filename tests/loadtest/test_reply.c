/* What the simulated buyers answer must be what a real auction takes: every reply is run through
 * the proxy's own, and none of its bids may be refused. */
#include "world_fixture.h"

#include <jansson.h>

#include "loadtest/reply.h"
#include "proxy/auction.h"

static struct world *world;

static int setup(void **state)
{
    world = load_world("small");
    return 0;
}

static int teardown(void **state)
{
    world_destroy(world);
    return 0;
}

static uint64_t now_us(void *ctx)
{
    return 1000;
}

static int call(void *ctx, uint32_t dsp, uint32_t tmax_ms)
{
    return 0;
}

static void cancel(void *ctx, uint32_t dsp)
{
}

static void timer(void *ctx, uint64_t at_us)
{
}

static void finished(void *ctx)
{
    ++*(int *)ctx;
}

static const struct auction_io IO = {now_us, call, cancel, timer, finished};

static void accept_reply(struct scanned *s, const struct buyer *b, struct bytes reply,
                         const struct buyer_bid *bids, uint32_t n)
{
    const struct auction_settings settings = {.second_price = true,
                                              .currency = "USD",
                                              .increment_micros = 10000,
                                              .timeout_ms = 120,
                                              .network_margin_ms = 10};
    const struct auction_dsp_settings dsp = {
        .name = b->name, .timeout_ms = 100, .default_currency = "USD"};
    const struct decision send = {.send = true, .propensity = 1};
    struct arena arena = {0};
    int ended = 0;
    struct auction *a =
        auction_create(&s->request, &settings, &dsp, 1, &send, &IO, &ended, 1000, &arena);
    auction_start(a);
    auction_on_answer(a, 0, true, 200, reply);
    assert_int_equal(ended, 1);
    const struct auction_dsp *result = auction_dsp(a, 0);
    for (int k = 0; k < BID_REFUSALS; k++) {
        if (result->refused[k] != 0)
            fail_msg("%s: %.*s\nto %.*s", bid_refusal_name((enum bid_refusal)k), (int)reply.len,
                     reply.base, (int)s->text.len, s->text.base);
    }
    assert_int_equal(result->outcome, OUTCOME_BID);
    assert_int_equal(result->n_bids, n);
    int64_t best = 0;
    for (uint32_t i = 0; i < n; i++)
        best = bids[i].price_micros > best ? bids[i].price_micros : best;
    assert_int_equal(result->price_micros, best);
    auction_destroy(a);
    arena_dispose(&arena);
}

static void test_every_reply_is_accepted(void **state)
{
    struct scanned s = {.text = {NULL, 0}};
    uint32_t replies = 0, deals = 0;
    static char out[REPLY_BYTES_MAX];
    for (uint32_t i = 0; i < 4000; i++) {
        scan_request(&s, world->traffic, 6, i);
        for (uint32_t d = 0; d < world->n_buyers; d++) {
            struct buyer_bid bids[VIEW_IMPS_MAX];
            uint32_t n = buyer_bids(&world->buyers[d], &s.view, bids);
            if (n == 0)
                continue;
            struct bytes reply = reply_compose(&world->buyers[d], &s.view, bids, n, out);
            assert_non_null(reply.base);
            accept_reply(&s, &world->buyers[d], reply, bids, n);
            for (uint32_t k = 0; k < n; k++)
                deals += bids[k].deal >= 0;
            replies++;
        }
    }
    assert_true(replies > 200 && deals > 0);
    scanned_dispose(&s);
}

/* Ids of strangers go back as they came, whatever is in them. */
static void test_ids_are_escaped(void **state)
{
    static char out[REPLY_BYTES_MAX];
    static const char BODY[] =
        "{\"id\":\"a\\\"b\\\\c\\u0001\\u00e9\",\"imp\":[{\"id\":\"\\\"}],\\\"x\",\"native\":{"
        "\"request\":\"{\\\"assets\\\":[{\\\"id\\\":1,\\\"title\\\":{\\\"len\\\":9}}]}\"}}]}";
    struct scanned s = {.text = {BODY, sizeof(BODY) - 1}};
    scan_text_as(&s, world->traffic, world->scenario->start_ms);
    const struct buyer_bid bid = {.imp = 0, .campaign = 0, .deal = -1, .price_micros = 1500000};
    struct bytes reply = reply_compose(&world->buyers[0], &s.view, &bid, 1, out);
    json_t *root = json_loadb(reply.base, reply.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "id")), "a\"b\\c\x01\xc3\xa9");
    json_t *seat = json_array_get(json_object_get(root, "seatbid"), 0);
    json_t *got = json_array_get(json_object_get(seat, "bid"), 0);
    assert_string_equal(json_string_value(json_object_get(got, "impid")), "\"}],\"x");
    assert_true(json_real_value(json_object_get(got, "price")) == 1.5);
    json_decref(root);
    scanned_dispose(&s);
}

static void test_too_large_is_none(void **state)
{
    static char out[REPLY_BYTES_MAX], body[3 * REPLY_BYTES_MAX];
    size_t at = (size_t)snprintf(body, sizeof(body), "{\"id\":\"");
    memset(body + at, 'i', REPLY_BYTES_MAX);
    at += REPLY_BYTES_MAX;
    at += (size_t)snprintf(body + at, sizeof(body) - at,
                           "\",\"imp\":[{\"id\":\"1\",\"video\":{\"mimes\":[\"video/mp4\"]}}]}");
    struct scanned s = {.text = {body, at}};
    scan_text_as(&s, world->traffic, world->scenario->start_ms);
    const struct buyer_bid bid = {.imp = 0, .campaign = 0, .deal = -1, .price_micros = 1500000};
    assert_null(reply_compose(&world->buyers[0], &s.view, &bid, 1, out).base);
    scanned_dispose(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reply_is_accepted),
        cmocka_unit_test(test_ids_are_escaped),
        cmocka_unit_test(test_too_large_is_none),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
