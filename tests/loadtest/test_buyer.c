#include "world_fixture.h"

#include <math.h>

#include "loadtest/truth.h"

static struct world *world; /* small */

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

/* The same by the plain functions, one campaign and one dimension at a time. */
static double plain_probability(const struct buyer *b, const struct view *v)
{
    bool matched = buyer_knows(b, v->user);
    double none = 1;
    for (uint32_t c = 0; c < b->n_campaigns; c++) {
        const struct campaign *campaign = &b->campaigns[c];
        double pace = campaign_pace(campaign, v->day, v->ms_of_day);
        if (pace <= 0 || !campaign_takes_request(campaign, traffic_atlas(b->traffic), v, matched))
            continue;
        for (uint32_t i = 0; i < v->n_imps; i++) {
            if (campaign_takes_imp(campaign, &v->imps[i]))
                none *= 1 - campaign_chance(campaign, pace,
                                            campaign_floor(campaign, &v->imps[i], NULL));
        }
    }
    return 1 - none;
}

static void test_index_agrees_with_plain(void **state)
{
    static const char *const NAMES[] = {"small", "demo"};
    for (size_t n = 0; n < 2; n++) {
        struct world *w = load_world(NAMES[n]);
        struct scanned s = {.text = {NULL, 0}};
        uint32_t possible = 0;
        for (uint32_t i = 0; i < 1500; i++) {
            scan_request(&s, w->traffic, (int32_t)(i % 20), i * 2);
            /* Strangers too: what this world knows nothing of. */
            if (i % 7 == 0)
                s.view.property = -1;
            if (i % 11 == 0)
                s.view.place = 0;
            if (i % 13 == 0)
                s.view.imps[0].media = MEDIA_BANNER | MEDIA_VIDEO | MEDIA_AUDIO;
            if (i % 17 == 0)
                s.view.blocked_cats = (uint32_t)hash_mix(i) & 0x3ffffff;
            for (uint32_t d = 0; d < w->n_buyers; d++) {
                double p = buyer_probability(&w->buyers[d], &s.view);
                double plain = plain_probability(&w->buyers[d], &s.view);
                assert_true(fabs(p - plain) < 1e-12);
                possible += p > 0;
            }
        }
        assert_true(possible > 100);
        scanned_dispose(&s);
        world_destroy(w);
    }
}

/* Of one day before, for one user after the other: the mean over all users is what can be known. */
static void test_probability_known_is_the_mean_over_users(void **state)
{
    enum { USERS = 4000 };
    struct scanned s = {.text = {NULL, 0}};
    uint32_t possible = 0;
    for (uint32_t i = 0; i < 40; i++) {
        scan_request(&s, world->traffic, 6, i * 90);
        for (uint32_t d = 0; d < world->n_buyers; d++) {
            double known = buyer_probability_known(&world->buyers[d], &s.view, 1), mean = 0;
            struct view v = s.view;
            v.day--;
            for (uint32_t u = 0; u < USERS; u++) {
                v.user = s.view.user != 0 ? hash_mix(u + 1) : 0;
                mean += buyer_probability(&world->buyers[d], &v) / USERS;
            }
            assert_true(fabs(known - mean) < 0.05);
            possible += known > 0;
        }
    }
    assert_true(possible > 5);
    scanned_dispose(&s);
}

/* Each day's bids lie where a sum of independent draws must lie. */
static void test_bids_follow_truth(void **state)
{
    struct scanned s = {.text = {NULL, 0}};
    for (uint32_t d = 0; d < world->n_buyers; d++) {
        const struct buyer *b = &world->buyers[d];
        double mean = 0, variance = 0, bids = 0;
        for (uint32_t i = 0; i < 4000; i++) {
            scan_request(&s, world->traffic, 3, i);
            double p = buyer_probability(b, &s.view);
            struct buyer_bid out[VIEW_IMPS_MAX];
            uint32_t n = buyer_bids(b, &s.view, out);
            assert_true(p > 0 || n == 0);
            mean += p;
            variance += p * (1 - p);
            bids += n > 0;
        }
        if (fabs(bids - mean) > 4.5 * sqrt(variance) + 1)
            fail_msg("%s: %g bids, expected %g", b->name, bids, mean);
    }
    scanned_dispose(&s);
}

/* One request, many auctions: the frequency is the probability. */
static void test_one_request_many_draws(void **state)
{
    enum { N = 20000 };
    struct scanned s = {.text = {NULL, 0}};
    uint32_t tried = 0;
    for (uint32_t i = 0; i < 4000 && tried < 5; i++) {
        scan_request(&s, world->traffic, 2, i);
        double p = buyer_probability(&world->buyers[0], &s.view);
        if (p < 0.05)
            continue;
        tried++;
        double bids = 0;
        for (uint64_t k = 0; k < N; k++) {
            s.view.auction = hash_mix(k + i);
            struct buyer_bid out[VIEW_IMPS_MAX];
            bids += buyer_bids(&world->buyers[0], &s.view, out) > 0;
        }
        if (fabs(bids - N * p) > 4.5 * sqrt(N * p * (1 - p)) + 1)
            fail_msg("request %u: %g bids of %d, p = %g", i, bids, N, p);
    }
    assert_int_equal(tried, 5);
    scanned_dispose(&s);
}

static void test_bids_are_sound_and_repeatable(void **state)
{
    struct world *again = load_world("small");
    struct scanned s = {.text = {NULL, 0}};
    uint32_t bids = 0, by_deal = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        scan_request(&s, world->traffic, 4, i);
        for (uint32_t d = 0; d < world->n_buyers; d++) {
            struct buyer_bid one[VIEW_IMPS_MAX], two[VIEW_IMPS_MAX];
            uint32_t n = buyer_bids(&world->buyers[d], &s.view, one);
            assert_int_equal(n, buyer_bids(&again->buyers[d], &s.view, two));
            for (uint32_t k = 0; k < n; k++) {
                assert_int_equal(one[k].price_micros, two[k].price_micros);
                assert_int_equal(one[k].campaign, two[k].campaign);
                assert_true(one[k].price_micros > 0);
                assert_true(one[k].price_micros >= one[k].floor_micros);
                assert_true(k == 0 || one[k].imp > one[k - 1].imp);
                by_deal += one[k].deal >= 0;
            }
            bids += n;
        }
    }
    assert_true(bids > 200);
    assert_true(by_deal > 0);
    scanned_dispose(&s);
    world_destroy(again);
}

static void test_requests_it_may_not_bid_on(void **state)
{
    struct scanned s = {.text = {NULL, 0}};
    const struct buyer *b = &world->buyers[0];
    uint32_t i = 0;
    do
        scan_request(&s, world->traffic, 2, i++);
    while (buyer_probability(b, &s.view) == 0);
    const struct bytes seat = bytes_of(b->seat), other = bytes_of("seat-of-another");
    struct bid_request r = s.request;
    s.view.request = &r;
    r.wseat = (struct bytes_list){&other, 1};
    assert_true(buyer_probability(b, &s.view) == 0);
    r.wseat = (struct bytes_list){&seat, 1};
    assert_true(buyer_probability(b, &s.view) > 0);
    r.bseat = (struct bytes_list){&seat, 1};
    assert_true(buyer_probability(b, &s.view) == 0);
    r.bseat = (struct bytes_list){&other, 1};
    assert_true(buyer_probability(b, &s.view) > 0);
    s.view.dollars = false;
    assert_true(buyer_probability(b, &s.view) == 0);
    scanned_dispose(&s);
}

static void test_match_rate(void **state)
{
    for (uint32_t d = 0; d < world->n_buyers; d++) {
        const struct buyer *b = &world->buyers[d];
        double rate = b->scenario->match_rate.drawn, known = 0;
        for (uint64_t u = 1; u <= 10000; u++)
            known += buyer_knows(b, hash_mix(u));
        assert_true(fabs(known / 10000 - rate) < 0.03);
        assert_false(buyer_knows(b, 0));
    }
}

static void test_conduct_rates(void **state)
{
    struct world *w = load_world("bad");
    enum { N = 20000 };
    for (uint32_t d = 0; d < w->n_buyers; d++) {
        const struct scenario_dsp *s = w->buyers[d].scenario;
        uint32_t seen[4] = {0}, quicker = 0, beyond_p99 = 0;
        for (uint64_t i = 0; i < N; i++) {
            uint64_t delay_us;
            enum buyer_conduct c = buyer_conduct(&w->buyers[d], hash_mix(i), &delay_us);
            seen[c]++;
            if (c == CONDUCT_LATE)
                assert_int_equal(delay_us, (uint64_t)(s->timeout_after_ms.drawn * 1000));
            else {
                quicker += delay_us < s->latency_ms.drawn * 1000;
                beyond_p99 += delay_us > s->latency_p99_ms.drawn * 1000;
            }
        }
        uint32_t others = N - seen[CONDUCT_LATE];
        assert_true(fabs((double)seen[CONDUCT_LATE] / N - s->timeout_rate.drawn) < 0.02);
        assert_true(fabs((double)seen[CONDUCT_ERROR] / N - s->error_rate.drawn) < 0.02);
        assert_true(fabs((double)seen[CONDUCT_MALFORMED] / N - s->malformed_rate.drawn) < 0.02);
        if (others > 0) {
            assert_true(fabs((double)quicker / others - 0.5) < 0.03);
            assert_true(fabs((double)beyond_p99 / others - 0.01) < 0.006);
        }
    }
    world_destroy(w);
}

/* What the demo's scenario promises, on several of its days. */
static void test_demo_rates(void **state)
{
    struct world *w = load_world("demo");
    struct scanned s = {.text = {NULL, 0}};
    uint32_t n = 0;
    double rates[SCENARIO_DSPS_MAX] = {0}, shown = 0, mean = 0, low = 1, high = 0;
    for (uint32_t i = 0; i < 8000; i++, n++) {
        scan_request(&s, w->traffic, (int32_t)(i % 8), i * 4);
        double none = 1;
        for (uint32_t d = 0; d < w->n_buyers; d++) {
            double p = buyer_probability(&w->buyers[d], &s.view);
            rates[d] += p;
            none *= 1 - p;
        }
        shown += 1 - none;
    }
    for (uint32_t d = 0; d < w->n_buyers; d++) {
        rates[d] /= n;
        mean += rates[d] / w->n_buyers;
        low = fmin(low, rates[d]);
        high = fmax(high, rates[d]);
        assert_in_range(w->buyers[d].n_campaigns, 10, 100);
        double asked = w->buyers[d].scenario->bid_rate.drawn;
        if (rates[d] < asked / 2 || rates[d] > asked * 2)
            fail_msg("%s: rate %g, %g asked", w->buyers[d].name, rates[d], asked);
    }
    assert_true(low < 0.005 && high > 0.12 && high < 0.17);
    assert_true(mean > 0.04 && mean < 0.06);
    assert_true(shown / n > 0.35 && shown / n < 0.48);
    scanned_dispose(&s);
    world_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_agrees_with_plain),
        cmocka_unit_test(test_probability_known_is_the_mean_over_users),
        cmocka_unit_test(test_bids_follow_truth),
        cmocka_unit_test(test_one_request_many_draws),
        cmocka_unit_test(test_bids_are_sound_and_repeatable),
        cmocka_unit_test(test_requests_it_may_not_bid_on),
        cmocka_unit_test(test_match_rate),
        cmocka_unit_test(test_conduct_rates),
        cmocka_unit_test(test_demo_rates),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
