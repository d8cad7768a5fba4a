/* Targeting: a request that fits in every way, then one thing changed at a time. */
#include "world_fixture.h"

#include <math.h>

static struct world *world;
static struct scanned base;

static int setup(void **state)
{
    world = load_world("small");
    return 0;
}

static int teardown(void **state)
{
    scanned_dispose(&base);
    world_destroy(world);
    return 0;
}

/* Wednesday 2026-01-07 14:30 in London. */
static const int64_t WEDNESDAY = INT64_C(1767796200000);

static struct view fitting_view(void)
{
    static const char BODY[] =
        "{\"id\":\"fit\",\"imp\":[{\"id\":\"1\",\"banner\":{\"format\":[{\"w\":300,\"h\":250},{"
        "\"w\":728,\"h\":90}]},\"bidfloor\":0.5}],\"site\":{\"domain\":\"unset.test\",\"cat\":["
        "\"IAB2-3\",\"IAB9\"]},\"device\":{\"devicetype\":4,\"os\":\"iOS\",\"geo\":{\"country\":"
        "\"GBR\",\"region\":\"ENG\",\"city\":\"London\",\"utcoffset\":0}},\"user\":{\"id\":"
        "\"somebody\"}}";
    base.text = (struct bytes){BODY, sizeof(BODY) - 1};
    scan_text_as(&base, world->traffic, WEDNESDAY);
    base.view.property = 7;
    return base.view;
}

static uint64_t *properties(uint32_t one)
{
    uint64_t *set = calloc(traffic_properties(world->traffic) / 64 + 1, sizeof(*set));
    set[one / 64] |= UINT64_C(1) << (one % 64);
    return set;
}

/* Restricted in every dimension, and fitted by fitting_view. */
static struct campaign fitting_campaign(void)
{
    const struct atlas *a = traffic_atlas(world->traffic);
    struct campaign c = {
        .key = 77, .interest = 0.5, .price_mu = log(2), .price_sigma = 0.5, .category = 3};
    struct targeting *t = &c.targeting;
    uint32_t england = atlas_find(a, bytes_of("GBR"), bytes_of("ENG"), bytes_of(""));
    t->places[england / 64] |= UINT64_C(1) << (england % 64);
    t->media = MEDIA_BANNER;
    t->sizes = 1u << 2; /* 728x90 */
    t->cats = 1u << 1 | 1u << 5;
    t->domains_allowed = properties(7);
    t->domains_blocked = properties(8);
    t->devices = 1 << 4;
    t->systems = 1 << OS_IOS;
    t->channels = 1 << CHANNEL_SITE;
    t->hours = 1u << 14;
    t->weekdays = 1 << 2;
    t->user = true;
    return c;
}

static bool takes(const struct campaign *c, const struct view *v, bool matched)
{
    return campaign_takes_request(c, traffic_atlas(world->traffic), v, matched) &&
           campaign_takes_imp(c, &v->imps[0]);
}

static void test_view_of_text(void **state)
{
    struct view v = fitting_view();
    assert_int_equal(v.cats, 1u << 1 | 1u << 8);
    assert_int_equal(v.os, OS_IOS);
    assert_int_equal(v.hour, 14);
    assert_int_equal(v.weekday, 2);
    assert_int_equal(v.day, 2);
    assert_int_equal(v.imps[0].sizes, 1u << 0 | 1u << 2);
    assert_int_equal(v.imps[0].floor_micros, 500000);
    assert_true(v.user != 0 && v.dollars);
}

static void test_local_time(void **state)
{
    static const struct {
        int offset, hour, weekday;
    } CASES[] = {{0, 14, 2}, {-480, 6, 2}, {570, 0, 3}, {-900, 23, 1}, {540, 23, 2}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        static char body[400]; /* base keeps borrowing it */
        int len = snprintf(body, sizeof(body),
                           "{\"id\":\"t\",\"imp\":[{\"id\":\"1\",\"video\":{\"mimes\":[\"video/"
                           "mp4\"]}}],\"device\":{\"geo\":"
                           "{\"utcoffset\":%d}}}",
                           CASES[i].offset);
        base.text = (struct bytes){body, (size_t)len};
        scan_text_as(&base, world->traffic, WEDNESDAY);
        assert_int_equal(base.view.hour, CASES[i].hour);
        assert_int_equal(base.view.weekday, CASES[i].weekday);
        assert_true(base.view.imps[0].any_size);
    }
    /* Before the scenario's first day, and before 1970. */
    scan_text_as(&base, world->traffic, world->scenario->start_ms - 1);
    assert_int_equal(base.view.day, -1);
    assert_int_equal(base.view.ms_of_day, 86399999);
    scan_text_as(&base, world->traffic, -1);
    assert_in_range(base.view.hour, 0, 23);
    assert_in_range(base.view.weekday, 0, 6);
}

static void test_each_dimension_blocks(void **state)
{
    const struct atlas *a = traffic_atlas(world->traffic);
    struct campaign c = fitting_campaign();
    struct view v = fitting_view(), w;
    assert_true(takes(&c, &v, true));
    assert_false(takes(&c, &v, false)); /* not a recognised user */
#define BLOCKED(change)                    \
    do {                                   \
        w = v;                             \
        change;                            \
        assert_false(takes(&c, &w, true)); \
    } while (0)
    BLOCKED(w.place = atlas_find(a, bytes_of("GBR"), bytes_of("SCT"), bytes_of("")));
    BLOCKED(w.place = atlas_find(a, bytes_of("GBR"), bytes_of(""), bytes_of("")));
    BLOCKED(w.place = 0);
    BLOCKED(w.cats = 1u << 8);
    BLOCKED(w.cats = 0);
    BLOCKED(w.blocked_cats = 1u << 2);
    BLOCKED(w.property = 9);
    BLOCKED(w.property = 8);
    BLOCKED(w.property = -1);
    BLOCKED(w.device = 2);
    BLOCKED(w.device = 0);
    BLOCKED(w.os = OS_ANDROID);
    BLOCKED(w.channel = CHANNEL_APP);
    BLOCKED(w.hour = 15);
    BLOCKED(w.weekday = 5);
    BLOCKED(w.coppa = true);
    BLOCKED(w.imps[0].media = MEDIA_VIDEO);
    BLOCKED(w.imps[0].sizes = 1u << 0);
    BLOCKED(w.imps[0].sizes = 0); /* sizes that no one knows */
    BLOCKED(w.imps[0].private_auction = true);
#undef BLOCKED
    /* And what does not block. */
    w = v;
    w.imps[0].sizes = 0;
    w.imps[0].any_size = true;
    assert_true(takes(&c, &w, true));
    w = v;
    w.imps[0].media = MEDIA_VIDEO | MEDIA_BANNER;
    assert_true(takes(&c, &w, true));
    w = v;
    w.blocked_cats = 1u << 20;
    assert_true(takes(&c, &w, true));
    campaign_dispose(&c);
}

static void test_block_list_alone(void **state)
{
    struct campaign c = {
        .interest = 1, .category = 1, .targeting = {.any_place = true, .media = MEDIA_BANNER}};
    c.targeting.domains_blocked = properties(7);
    struct view v = fitting_view();
    assert_false(takes(&c, &v, false));
    v.property = 8;
    assert_true(takes(&c, &v, false));
    v.property = -1;
    assert_true(takes(&c, &v, false));
    campaign_dispose(&c);
}

static void test_deals(void **state)
{
    struct campaign c = {
        .interest = 1,
        .category = 1,
        .targeting = {.any_place = true, .media = MEDIA_BANNER, .deal_only = true}};
    c.targeting.deals[0] = 1u << 5;
    struct view v = fitting_view();
    int32_t deal;
    assert_false(takes(&c, &v, false));
    v.imps[0].n_deals = 1;
    v.imps[0].deals[0] = (struct view_deal){4, 900000};
    assert_false(takes(&c, &v, false));
    v.imps[0].n_deals = 2;
    v.imps[0].deals[1] = (struct view_deal){5, 800000};
    assert_true(takes(&c, &v, false));
    assert_int_equal(campaign_floor(&c, &v.imps[0], &deal), 800000);
    assert_int_equal(deal, 5);
    v.imps[0].private_auction = true;
    assert_true(takes(&c, &v, false));
    c.targeting.deal_only = false;
    assert_false(takes(&c, &v, false));
    assert_int_equal(campaign_floor(&c, &v.imps[0], &deal), 500000);
    assert_int_equal(deal, -1);
}

static void test_flights(void **state)
{
    struct campaign c = {.flight_days = 3, .cycle_days = 10, .first_day = 4};
    for (int32_t day = -40; day < 40; day++) {
        int32_t in_cycle = ((day - 4) % 10 + 10) % 10;
        assert_int_equal(campaign_pace(&c, day, 0) == 1, in_cycle < 3);
    }
    struct campaign always = {.key = 1};
    for (int32_t day = -3; day < 40; day++)
        assert_true(campaign_pace(&always, day, 86399999) == 1);
}

static void test_flights_ramp_up(void **state)
{
    struct campaign c = {.flight_days = 7, .cycle_days = 10, .first_day = 2, .ramp_days = 2};
    assert_true(campaign_pace(&c, 2, 0) == 0);
    assert_true(fabs(campaign_pace(&c, 2, 43200000) - 0.25) < 1e-9);
    assert_true(fabs(campaign_pace(&c, 3, 43200000) - 0.75) < 1e-9);
    assert_true(campaign_pace(&c, 4, 0) == 1);
    assert_true(campaign_pace(&c, 8, 86399999) == 1);
    assert_true(campaign_pace(&c, 9, 0) == 0);
    assert_true(fabs(campaign_pace(&c, 12, 43200000) - 0.25) < 1e-9); /* each flight anew */
}

/* A budget that is spent stays spent that day, is there again the next morning, and runs out at
 * another time. */
static void test_budgets_run_out(void **state)
{
    struct campaign c = {.key = 99, .runout_share = 1};
    int32_t first = -1, different = 0;
    for (int32_t day = 0; day < 50; day++) {
        int32_t ends = -1;
        for (int32_t hour = 0; hour < 24; hour++) {
            bool runs = campaign_pace(&c, day, hour * 3600000) > 0;
            if (!runs && ends < 0)
                ends = hour;
            assert_true(runs == (ends < 0));
        }
        assert_true(campaign_pace(&c, day, 0) > 0);
        assert_false(campaign_pace(&c, day, 86399999) > 0 && ends >= 0);
        if (first < 0)
            first = ends;
        different += ends != first;
    }
    assert_true(different > 25);
}

static void test_chance_and_bid_agree(void **state)
{
    static const struct {
        double interest, median, sigma;
        int64_t floor_micros;
    } CASES[] = {{.5, 2, .5, 0},       {.5, 2, .5, 2000000}, {.9, 1, .3, 1500000},
                 {.05, 4, 1, 1000000}, {.98, 1, 0, 900000},  {.98, 1, 0, 1100000},
                 {.3, 1, .2, 9000000}};
    enum { N = 20000 };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct campaign c = {.key = i + 1,
                             .interest = CASES[i].interest,
                             .price_mu = log(CASES[i].median),
                             .price_sigma = CASES[i].sigma};
        double pace = i % 2 == 0 ? 1 : 0.4;
        double p = campaign_chance(&c, pace, CASES[i].floor_micros), bids = 0;
        for (uint64_t auction = 0; auction < N; auction++) {
            int64_t price =
                campaign_bid(&c, pace, hash_mix(auction + 12345), 0, CASES[i].floor_micros);
            assert_true(price == 0 || price >= CASES[i].floor_micros);
            bids += price > 0;
        }
        double bound = 4.5 * sqrt(N * p * (1 - p)) + 1;
        if (fabs(bids - N * p) > bound)
            fail_msg("case %zu: %g bids, expected %g +- %g", i, bids, N * p, bound);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_view_of_text),
        cmocka_unit_test(test_local_time),
        cmocka_unit_test(test_each_dimension_blocks),
        cmocka_unit_test(test_block_list_alone),
        cmocka_unit_test(test_deals),
        cmocka_unit_test(test_flights),
        cmocka_unit_test(test_flights_ramp_up),
        cmocka_unit_test(test_budgets_run_out),
        cmocka_unit_test(test_chance_and_bid_agree),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
