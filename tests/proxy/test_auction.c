/* The state machine under a fake clock. The fixture's deadline is 100 ms after the request was
 * received. */
#include "tests/proxy/auction_fixture.h"

#include "prng.h"

#define MS 1000u

/* ---- calls, answers, the end ---- */

static void test_all_answer(void **state)
{
    struct fixture f;
    fixture_init(&f, 3);
    fixture_start(&f);
    assert_int_equal(f.n_calls, 3);
    assert_int_equal(f.timer_us, f.received_us + 100 * MS);
    f.now_us += 20 * MS;
    fixture_bid(&f, 0, "1", "5.00");
    fixture_answer(&f, 1, 204, "");
    assert_int_equal(f.n_finished, 0);
    f.now_us += 10 * MS;
    fixture_bid(&f, 2, "1", "3.00");
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_cancels, 0);

    const struct auction_dsp *d = fixture_dsp(&f, 0);
    assert_int_equal(d->outcome, OUTCOME_BID);
    assert_int_equal(d->latency_us, 20 * MS);
    assert_int_equal(d->http_status, 200);
    assert_int_equal(d->price_micros, 5000000);
    assert_true(d->won);
    assert_int_equal(d->paid_micros, 3010000);
    assert_int_equal(fixture_dsp(&f, 1)->outcome, OUTCOME_NO_BID);
    assert_int_equal(fixture_dsp(&f, 1)->http_status, 204);
    d = fixture_dsp(&f, 2);
    assert_false(d->won);
    assert_int_equal(d->paid_micros, 0);
    assert_int_equal(d->latency_us, 30 * MS);
    assert_string_equal(fixture_response(&f),
                        "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"alpha\",\"bid\":[{"
                        "\"id\":\"b0\",\"impid\":\"1\",\"price\":3.01,\"adm\":\"<p>\"}]}]}");
    fixture_dispose(&f);
}

static void test_some_late(void **state)
{
    struct fixture f;
    fixture_init(&f, 3);
    fixture_start(&f);
    f.now_us += 50 * MS;
    fixture_bid(&f, 1, "1", "2");
    fixture_fire(&f);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.now_us, f.received_us + 100 * MS);
    assert_int_equal(f.n_cancels, 2);
    assert_true(f.cancelled[0] && f.cancelled[2]);
    assert_int_equal(fixture_dsp(&f, 0)->outcome, OUTCOME_TIMEOUT);
    assert_int_equal(fixture_dsp(&f, 0)->latency_us, 100 * MS);
    assert_true(fixture_dsp(&f, 1)->won);
    fixture_dispose(&f);
}

static void test_none_answers(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_start(&f);
    fixture_fire(&f);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_cancels, 2);
    assert_null(auction_response(f.auction, &f.arena).base);
    fixture_dispose(&f);
}

static void test_answer_after_the_end_changes_nothing(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_start(&f);
    fixture_bid(&f, 0, "1", "1");
    fixture_fire(&f);
    f.now_us += 5 * MS;
    fixture_bid(&f, 1, "1", "100");
    auction_on_timer(f.auction);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(fixture_dsp(&f, 1)->outcome, OUTCOME_TIMEOUT);
    assert_int_equal(fixture_dsp(&f, 1)->price_micros, 0);
    assert_true(fixture_dsp(&f, 0)->won);
    fixture_dispose(&f);
}

/* The loop may hand us an answer before the timer that is already due. */
static void test_answer_around_the_deadline(void **state)
{
    static const struct {
        int64_t at_us; /* from the deadline */
        enum auction_outcome expect;
    } rows[] = {
        {-1, OUTCOME_BID}, {0, OUTCOME_BID}, {1, OUTCOME_TIMEOUT}, {99999, OUTCOME_TIMEOUT}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        fixture_init(&f, 2);
        fixture_start(&f);
        f.now_us = f.timer_us + (uint64_t)rows[i].at_us;
        fixture_bid(&f, 0, "1", "1");
        assert_int_equal(fixture_dsp(&f, 0)->outcome, rows[i].expect);
        assert_int_equal(f.n_finished, 0); /* the other's timeout is the timer's to say */
        if (f.now_us < f.timer_us)
            f.now_us = f.timer_us;
        auction_on_timer(f.auction);
        assert_int_equal(f.n_finished, 1);
        assert_int_equal(f.n_cancels, 1);
        assert_true(f.cancelled[1]); /* never the one whose call is over */
        assert_int_equal(fixture_dsp(&f, 0)->won, rows[i].expect == OUTCOME_BID);
        fixture_dispose(&f);
    }
}

static void test_last_answer_is_late(void **state)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_start(&f);
    f.now_us = f.timer_us + 1;
    fixture_bid(&f, 0, "1", "1");
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_cancels, 0);
    assert_int_equal(fixture_dsp(&f, 0)->outcome, OUTCOME_TIMEOUT);
    fixture_dispose(&f);
}

static void test_second_answer_of_one_dsp_is_ignored(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_start(&f);
    fixture_bid(&f, 0, "1", "1");
    fixture_bid(&f, 0, "1", "9");
    assert_int_equal(f.n_finished, 0);
    assert_int_equal(fixture_dsp(&f, 0)->price_micros, 1000000);
    fixture_answer(&f, 1, 204, "");
    assert_int_equal(f.n_finished, 1);
    fixture_dispose(&f);
}

static void test_answer_of_one_never_called_is_ignored(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    f.decisions[1].send = false;
    f.decisions[1].why = WHY_BELOW_THRESHOLD;
    fixture_start(&f);
    fixture_bid(&f, 1, "1", "9");
    assert_int_equal(fixture_dsp(&f, 1)->outcome, OUTCOME_NOT_CALLED);
    assert_int_equal(fixture_dsp(&f, 1)->decision.why, WHY_BELOW_THRESHOLD);
    assert_int_equal(fixture_dsp(&f, 1)->skip, SKIP_NONE);
    fixture_answer(&f, 0, 204, "");
    assert_int_equal(f.n_finished, 1);
    fixture_dispose(&f);
}

static void test_call_refused_at_start(void **state)
{
    struct fixture f;
    fixture_init(&f, 3);
    f.refuse[1] = WHY_HEALTH;
    fixture_start(&f);
    assert_int_equal(f.n_calls, 2);
    assert_int_equal(f.tmax_ms[1], 0);
    assert_int_equal(fixture_dsp(&f, 1)->outcome, OUTCOME_NOT_CALLED);
    assert_false(fixture_dsp(&f, 1)->decision.send);
    assert_int_equal(fixture_dsp(&f, 1)->decision.why, WHY_HEALTH);
    assert_int_equal(fixture_dsp(&f, 1)->skip, SKIP_REFUSED);
    fixture_answer(&f, 0, 204, "");
    fixture_answer(&f, 2, 204, "");
    assert_int_equal(f.n_finished, 1);
    fixture_dispose(&f);
}

static void test_all_calls_refused_finishes_at_once(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    f.refuse[0] = WHY_QPS;
    f.refuse[1] = WHY_OVERLOAD;
    fixture_start(&f);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(fixture_dsp(&f, 0)->decision.why, WHY_QPS);
    assert_int_equal(fixture_dsp(&f, 1)->decision.why, WHY_OVERLOAD);
    fixture_dispose(&f);
}

static void test_nothing_to_call(void **state)
{
    for (uint32_t n = 0; n <= 2; n++) {
        struct fixture f;
        fixture_init(&f, n);
        for (uint32_t i = 0; i < n; i++)
            f.decisions[i].send = false;
        fixture_start(&f);
        assert_int_equal(f.n_finished, 1);
        assert_int_equal(f.n_calls, 0);
        assert_null(auction_response(f.auction, &f.arena).base);
        fixture_dispose(&f);
    }
}

static void test_abort(void **state)
{
    struct fixture f;
    fixture_init(&f, 3);
    fixture_start(&f);
    fixture_bid(&f, 0, "1", "1");
    auction_abort(f.auction);
    assert_int_equal(f.n_finished, 0);
    assert_int_equal(f.n_cancels, 2);
    assert_int_equal(f.timer_us, 0);
    /* All that comes later is ignored. */
    auction_abort(f.auction);
    auction_on_timer(f.auction);
    fixture_bid(&f, 1, "1", "1");
    assert_int_equal(f.n_finished, 0);
    assert_int_equal(f.n_cancels, 2);
    fixture_dispose(&f);
}

static void test_abort_after_the_end(void **state)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_start(&f);
    fixture_bid(&f, 0, "1", "1");
    auction_abort(f.auction);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_cancels, 0);
    assert_non_null(auction_response(f.auction, &f.arena).base);
    fixture_dispose(&f);
}

static void test_destroy_while_running_cancels(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_start(&f);
    auction_destroy(f.auction);
    f.auction = NULL;
    assert_int_equal(f.n_cancels, 2);
    assert_int_equal(f.n_finished, 0);
    fixture_dispose(&f);
}

static void test_spurious_timer(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_start(&f);
    uint64_t deadline = f.timer_us;
    f.now_us += 3 * MS;
    f.timer_us = 0;
    auction_on_timer(f.auction);
    assert_int_equal(f.timer_us, deadline);
    assert_int_equal(f.n_cancels, 0);
    assert_int_equal(f.n_finished, 0);
    f.now_us = deadline - 1;
    f.timer_us = 0;
    auction_on_timer(f.auction);
    assert_int_equal(f.timer_us, deadline);
    assert_int_equal(f.n_cancels, 0);
    fixture_fire(&f);
    assert_int_equal(f.n_finished, 1);
    fixture_dispose(&f);
}

static void test_destroy_inside_finished(void **state)
{
    for (int how = 0; how < 3; how++) { /* out of start, answer, timer */
        struct fixture f;
        fixture_init(&f, 1);
        f.destroy_when_finished = true;
        if (how == 0)
            f.decisions[0].send = false;
        fixture_start(&f);
        if (how == 1)
            fixture_bid(&f, 0, "1", "1");
        if (how == 2)
            fixture_fire(&f);
        assert_int_equal(f.n_finished, 1);
        fixture_dispose(&f);
    }
}

static void test_timeouts_of_their_own(void **state)
{
    struct fixture f;
    fixture_init(&f, 3);
    f.dsps[0].timeout_ms = 30;
    f.dsps[1].timeout_ms = 60;
    f.dsps[2].timeout_ms = 1000; /* more than there is */
    fixture_start(&f);
    assert_int_equal(f.tmax_ms[0], 30);
    assert_int_equal(f.tmax_ms[1], 60);
    assert_int_equal(f.tmax_ms[2], 100);
    assert_int_equal(f.timer_us, f.received_us + 30 * MS);
    fixture_fire(&f);
    assert_int_equal(fixture_dsp(&f, 0)->outcome, OUTCOME_TIMEOUT);
    assert_int_equal(fixture_dsp(&f, 0)->latency_us, 30 * MS);
    assert_int_equal(f.n_cancels, 1);
    assert_int_equal(f.timer_us, f.received_us + 60 * MS);
    fixture_bid(&f, 0, "1", "9"); /* cancelled, and yet it speaks */
    fixture_fire(&f);
    assert_int_equal(f.timer_us, f.received_us + 100 * MS);
    fixture_bid(&f, 2, "1", "2");
    assert_int_equal(f.n_finished, 1);
    assert_false(fixture_dsp(&f, 0)->won);
    assert_true(fixture_dsp(&f, 2)->won);
    fixture_dispose(&f);
}

static void test_deadline_table(void **state)
{
    static const struct {
        const char *tmax;
        uint32_t timeout_ms, margin_ms, spent_us, dsp_timeout_ms, expect_tmax_ms;
        uint64_t expect_timer_us; /* from received; 0 = nothing is called */
    } rows[] = {
        {NULL, 110, 10, 0, 1000, 100, 100000},
        {"80", 110, 10, 0, 1000, 70, 70000},
        {"500", 110, 10, 0, 1000, 100, 100000},
        {"0", 110, 10, 0, 1000, 100, 100000},
        {"10", 110, 10, 0, 1000, 1, 1000}, /* at least a millisecond */
        {"5", 110, 10, 0, 1000, 1, 1000},
        {NULL, 110, 10, 400, 1000, 99, 100000}, /* whole milliseconds that are left */
        {NULL, 110, 10, 99500, 1000, 1, 100000},
        {NULL, 110, 10, 99999, 1000, 1, 100000},
        {NULL, 110, 10, 100000, 1000, 0, 0},
        {NULL, 110, 10, 250000, 1000, 0, 0},
        {NULL, 110, 10, 60000, 30, 30, 90000},
        {NULL, 110, 10, 60000, 40, 40, 100000},
        {NULL, 110, 10, 60000, 41, 40, 100000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 1);
        snprintf(body, sizeof(body),
                 "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]%s%s}",
                 rows[i].tmax != NULL ? ",\"tmax\":" : "",
                 rows[i].tmax != NULL ? rows[i].tmax : "");
        fixture_request(&f, body);
        f.settings.timeout_ms = rows[i].timeout_ms;
        f.settings.network_margin_ms = rows[i].margin_ms;
        f.dsps[0].timeout_ms = rows[i].dsp_timeout_ms;
        f.now_us += rows[i].spent_us;
        fixture_start(&f);
        if (f.tmax_ms[0] != rows[i].expect_tmax_ms ||
            f.timer_us !=
                (rows[i].expect_timer_us == 0 ? 0 : f.received_us + rows[i].expect_timer_us))
            fail_msg("row %zu: tmax %u, timer %lld", i, f.tmax_ms[0],
                     (long long)(f.timer_us - f.received_us));
        if (rows[i].expect_tmax_ms == 0) {
            assert_int_equal(f.n_finished, 1);
            assert_int_equal(fixture_dsp(&f, 0)->skip, SKIP_NO_TIME);
            assert_int_equal(fixture_dsp(&f, 0)->decision.why, WHY_RULE_FIRST + RULE_TMAX);
            assert_int_equal(auction_nbr(f.auction), 15);
            assert_false(fixture_dsp(&f, 0)->decision.send);
        }
        fixture_dispose(&f);
    }
}

/* ---- secondaries ---- */

static void test_secondary_is_not_needed(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    f.dsps[1].secondary = true;
    f.dsps[1].timeout_ms = 30;
    fixture_start(&f);
    assert_int_equal(f.n_calls, 1);
    fixture_bid(&f, 0, "1", "1");
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_calls, 1);
    assert_int_equal(fixture_dsp(&f, 1)->outcome, OUTCOME_NOT_CALLED);
    assert_int_equal(fixture_dsp(&f, 1)->skip, SKIP_NOT_NEEDED);
    assert_int_equal(fixture_dsp(&f, 1)->decision.why, WHY_SECONDARY);
    assert_false(fixture_dsp(&f, 1)->decision.send);
    fixture_dispose(&f);
}

static void test_secondary_is_called_when_the_primaries_bring_nothing(void **state)
{
    static const char *const bodies[] = {
        "", "{\"id\":\"r\"}", "not JSON",
        /* refused, so it does not count */
        "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"id\":\"b\",\"impid\":\"other\",\"price\":1,"
        "\"adm\":\"x\"}]}]}"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct fixture f;
        fixture_init(&f, 3);
        f.dsps[2].secondary = true;
        f.dsps[2].timeout_ms = 30;
        fixture_start(&f);
        f.now_us += 20 * MS;
        fixture_answer(&f, 0, 200, bodies[i]);
        assert_int_equal(f.n_calls, 2);
        f.now_us += 20 * MS;
        fixture_answer(&f, 1, 0, ""); /* no transport */
        assert_int_equal(f.n_calls, 3);
        assert_int_equal(f.tmax_ms[2], 30);
        assert_int_equal(f.timer_us, f.received_us + 70 * MS);
        f.now_us += 10 * MS;
        fixture_bid(&f, 2, "1", "1");
        assert_int_equal(f.n_finished, 1);
        assert_true(fixture_dsp(&f, 2)->won);
        assert_int_equal(fixture_dsp(&f, 2)->latency_us, 10 * MS);
        fixture_dispose(&f);
    }
}

static void test_secondary_after_the_primaries_timed_out(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    f.dsps[0].timeout_ms = 40;
    f.dsps[1].secondary = true;
    f.dsps[1].timeout_ms = 60;
    fixture_start(&f);
    fixture_fire(&f); /* at 40 ms: 60 are left, exactly enough */
    assert_int_equal(f.n_calls, 2);
    assert_int_equal(f.tmax_ms[1], 60);
    fixture_fire(&f);
    assert_int_equal(f.now_us, f.received_us + 100 * MS);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_cancels, 2);
    fixture_dispose(&f);
}

static void test_secondary_does_not_fit_any_more(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    f.dsps[0].timeout_ms = 40;
    f.dsps[1].secondary = true;
    f.dsps[1].timeout_ms = 61;
    fixture_start(&f);
    fixture_fire(&f);
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(f.n_calls, 1);
    assert_int_equal(fixture_dsp(&f, 1)->skip, SKIP_NO_TIME);
    assert_int_equal(fixture_dsp(&f, 1)->decision.why, WHY_RULE_FIRST + RULE_TMAX);
    fixture_dispose(&f);
}

static void test_only_secondaries(void **state)
{
    struct fixture f;
    fixture_init(&f, 3);
    f.decisions[0].send = false;
    f.dsps[1].secondary = f.dsps[2].secondary = true;
    f.refuse[2] = WHY_QPS;
    fixture_start(&f);
    assert_int_equal(f.n_calls, 1);
    fixture_answer(&f, 1, 204, "");
    assert_int_equal(f.n_finished, 1);
    assert_int_equal(fixture_dsp(&f, 2)->skip, SKIP_REFUSED);
    fixture_dispose(&f);
}

/* ---- what an answer counts as ---- */

static void test_outcomes(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum auction_outcome expect;
    } rows[] = {
        {204, "", OUTCOME_NO_BID},
        {204, "{\"id\":\"r\"}", OUTCOME_NO_BID},
        {200, "", OUTCOME_NO_BID},
        {200, " \r\n", OUTCOME_NO_BID},
        {200, "{}", OUTCOME_NO_BID},
        {200, "{\"id\":\"r\",\"nbr\":2}", OUTCOME_NO_BID},
        {200, "{\"id\":\"other\",\"nbr\":2}", OUTCOME_NO_BID},
        {200, "{\"id\":\"r\",\"seatbid\":[]}", OUTCOME_NO_BID},
        {200, "{\"id\":\"r\",\"seatbid\":null}", OUTCOME_NO_BID},
        {200, "{\"id\":\"r\",\"seatbid\":[{}]}", OUTCOME_NO_BID},
        {200, "{\"id\":\"r\",\"seatbid\":[{\"bid\":[]},{\"bid\":null},null]}", OUTCOME_NO_BID},
        {200, "{\"id\":\"r\",\"seatbid\":{}}", OUTCOME_INVALID},
        {200, "{\"id\":\"r\",\"seatbid\":[{\"bid\":{}}]}", OUTCOME_INVALID},
        {200, "{\"id\":\"r\",\"seatbid\":[7]}", OUTCOME_INVALID},
        {200, "[]", OUTCOME_INVALID},
        {200, "null", OUTCOME_INVALID},
        {200, "<html>", OUTCOME_INVALID},
        {200, "{\"id\":\"r\"", OUTCOME_INVALID},
        {200, "{\"id\":\"r\"} x", OUTCOME_INVALID},
        {0, "", OUTCOME_ERROR},
        {201, "{}", OUTCOME_ERROR},
        {301, "", OUTCOME_ERROR},
        {400, "", OUTCOME_ERROR},
        {429, "", OUTCOME_ERROR},
        {500, "", OUTCOME_ERROR},
        {503, "{}", OUTCOME_ERROR},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        fixture_init(&f, 1);
        fixture_start(&f);
        f.now_us += 7 * MS;
        fixture_answer(&f, 0, rows[i].status, rows[i].body);
        const struct auction_dsp *d = fixture_dsp(&f, 0);
        if (d->outcome != rows[i].expect)
            fail_msg("%d %s: %s", rows[i].status, rows[i].body, auction_outcome_name(d->outcome));
        assert_int_equal(d->http_status, rows[i].status);
        assert_int_equal(d->latency_us, rows[i].status == 0 ? 0 : 7 * MS);
        assert_int_equal(f.n_finished, 1);
        if (d->outcome == OUTCOME_INVALID)
            assert_int_equal(d->refused[BID_NOT_JSON], 1);
        fixture_dispose(&f);
    }
}

/* A response loses only its bad bids. */
static void test_partly_bad_answer(void **state)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_request(&f, "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250},"
                        "\"bidfloor\":1.5}]}");
    fixture_start(&f);
    fixture_answer(&f, 0, 200,
                   "{\"id\":\"r\",\"seatbid\":[{\"bid\":["
                   "{\"id\":\"a\",\"impid\":\"1\",\"price\":1,\"adm\":\"x\"},"
                   "{\"id\":\"b\",\"impid\":\"2\",\"price\":9,\"adm\":\"x\"},"
                   "{\"id\":\"c\",\"impid\":\"1\",\"price\":2,\"adm\":\"x\"},"
                   "{\"id\":\"c\",\"impid\":\"1\",\"price\":9,\"adm\":\"x\"},7]}]}");
    const struct auction_dsp *d = fixture_dsp(&f, 0);
    assert_int_equal(d->outcome, OUTCOME_BID);
    assert_int_equal(d->n_bids, 1);
    assert_int_equal(d->price_micros, 2000000);
    assert_int_equal(d->paid_micros, 1500000);
    assert_int_equal(d->refused[BID_BELOW_FLOOR], 1);
    assert_int_equal(d->refused[BID_UNKNOWN_IMP], 1);
    assert_int_equal(d->refused[BID_DUPLICATE_ID], 1);
    assert_int_equal(d->refused[BID_NOT_JSON], 1);
    fixture_dispose(&f);
}

/* ---- whatever happens ---- */

/* One auction with random timeouts, secondaries, refusals, answers at random times, timers early,
 * late and on time. The fixture checks every call that is made; here is checked how it ends. */
static void run_at_random(struct prng *g)
{
    struct fixture f;
    fixture_init(&f, (uint32_t)prng_below(g, FIXTURE_DSPS_MAX + 1));
    uint32_t expected[FIXTURE_DSPS_MAX] = {0}; /* outcome of an answer that counted */
    for (uint32_t i = 0; i < f.n_dsps; i++) {
        f.dsps[i].timeout_ms = 1 + (uint32_t)prng_below(g, 130);
        f.dsps[i].secondary = prng_below(g, 3) == 0;
        f.decisions[i].send = prng_below(g, 5) != 0;
        f.refuse[i] = prng_below(g, 6) == 0 ? WHY_HEALTH : 0;
    }
    f.now_us += prng_below(g, 20) == 0 ? prng_below(g, 150 * MS) : prng_below(g, MS);
    uint64_t lag_us = prng_below(g, 3) == 0 ? prng_below(g, 20 * MS) : 0;
    fixture_start(&f);
    for (int step = 0; f.n_finished == 0; step++) {
        assert_true(step < 1000);
        assert_true(f.timer_us > f.received_us);
        assert_true(f.timer_us <= f.received_us + 100 * MS);
        f.now_us += prng_below(g, 10 * MS);
        uint32_t dsp = (uint32_t)prng_below(g, f.n_dsps);
        if (f.now_us >= f.timer_us + lag_us || prng_below(g, 10) == 0) {
            auction_on_timer(f.auction); /* due, or spurious */
        } else if (f.open[dsp]) {
            static const enum auction_outcome outcomes[] = {OUTCOME_BID, OUTCOME_NO_BID,
                                                            OUTCOME_ERROR, OUTCOME_INVALID};
            uint64_t kind = prng_below(g, 4);
            bool running = fixture_dsp(&f, dsp)->outcome == OUTCOME_PENDING;
            assert_true(running);
            expected[dsp] = outcomes[kind];
            if (kind == 0)
                fixture_bid(&f, dsp, "1", "1");
            else
                fixture_answer(&f, dsp, kind == 2 ? 503 : 200, kind == 1 ? "{}" : "x");
        } else {
            fixture_bid(&f, dsp, "1", "7"); /* never called, or has answered */
        }
    }
    assert_int_equal(f.n_finished, 1);
    assert_true(f.now_us <= f.received_us + 150 * MS + lag_us + 10 * MS);
    bool bid = false, won = false;
    for (uint32_t i = 0; i < f.n_dsps; i++) {
        const struct auction_dsp *d = fixture_dsp(&f, i);
        bool called = f.tmax_ms[i] > 0;
        assert_int_equal(called, d->outcome != OUTCOME_NOT_CALLED);
        assert_int_equal(called, d->decision.send);
        assert_true(d->outcome != OUTCOME_PENDING);
        if (called && f.cancelled[i])
            assert_int_equal(d->outcome, OUTCOME_TIMEOUT);
        else if (called && d->outcome != OUTCOME_TIMEOUT) /* else its answer came too late */
            assert_int_equal(d->outcome, expected[i]);
        bid |= d->outcome == OUTCOME_BID;
        won |= d->won;
        assert_true(!d->won || d->outcome == OUTCOME_BID);
    }
    assert_int_equal(bid, won);
    fixture_dispose(&f);
}

static void test_random_auctions(void **state)
{
    struct prng g = {2026};
    for (int i = 0; i < 5000; i++)
        run_at_random(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_answer),
        cmocka_unit_test(test_some_late),
        cmocka_unit_test(test_none_answers),
        cmocka_unit_test(test_answer_after_the_end_changes_nothing),
        cmocka_unit_test(test_answer_around_the_deadline),
        cmocka_unit_test(test_last_answer_is_late),
        cmocka_unit_test(test_second_answer_of_one_dsp_is_ignored),
        cmocka_unit_test(test_answer_of_one_never_called_is_ignored),
        cmocka_unit_test(test_call_refused_at_start),
        cmocka_unit_test(test_all_calls_refused_finishes_at_once),
        cmocka_unit_test(test_nothing_to_call),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_abort_after_the_end),
        cmocka_unit_test(test_destroy_while_running_cancels),
        cmocka_unit_test(test_spurious_timer),
        cmocka_unit_test(test_destroy_inside_finished),
        cmocka_unit_test(test_timeouts_of_their_own),
        cmocka_unit_test(test_deadline_table),
        cmocka_unit_test(test_secondary_is_not_needed),
        cmocka_unit_test(test_secondary_is_called_when_the_primaries_bring_nothing),
        cmocka_unit_test(test_secondary_after_the_primaries_timed_out),
        cmocka_unit_test(test_secondary_does_not_fit_any_more),
        cmocka_unit_test(test_only_secondaries),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_partly_bad_answer),
        cmocka_unit_test(test_random_auctions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
