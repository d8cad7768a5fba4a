#include "world_fixture.h"

#include <jansson.h>

#include "loadtest/traffic.h"

static struct world *world; /* small, traffic only */

static int setup(void **state)
{
    struct error err;
    world = world_load_traffic(scenario_path("small"), &err);
    return world == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    world_destroy(world);
    return 0;
}

static void test_same_seed_same_bytes(void **state)
{
    struct error err;
    struct world *again = world_load_traffic(scenario_path("small"), &err);
    for (uint32_t i = 0; i < 2000; i++) {
        char one[TRAFFIC_BODY_MAX], two[TRAFFIC_BODY_MAX];
        int64_t ts_one, ts_two;
        /* In another order: a request depends on no other. */
        uint32_t index = i * 1999 % 4000;
        struct bytes a = traffic_request(world->traffic, (int32_t)(i % 5), index, one, &ts_one);
        struct bytes b = traffic_request(again->traffic, (int32_t)(i % 5), index, two, &ts_two);
        assert_true(bytes_equal(a, b));
        assert_int_equal(ts_one, ts_two);
    }
    world_destroy(again);
}

static void test_another_seed_other_bytes(void **state)
{
    struct error err;
    struct scenario *s = scenario_load(scenario_path("small"), &err);
    s->seed++;
    struct traffic *t = traffic_create(s);
    char one[TRAFFIC_BODY_MAX], two[TRAFFIC_BODY_MAX];
    int64_t ts;
    struct bytes a = traffic_request(world->traffic, 0, 5, one, &ts);
    struct bytes b = traffic_request(t, 0, 5, two, &ts);
    assert_false(bytes_equal(a, b));
    traffic_destroy(t);
    scenario_destroy(s);
}

static void test_time_rises_within_the_day(void **state)
{
    for (int32_t day = 0; day < 3; day++) {
        int64_t last = world->scenario->start_ms + day * INT64_C(86400000);
        int64_t end = last + 86400000;
        for (uint32_t i = 0; i < 4000; i++) {
            char body[TRAFFIC_BODY_MAX];
            int64_t ts;
            traffic_request(world->traffic, day, i, body, &ts);
            assert_true(ts >= last && ts < end);
            last = ts;
        }
    }
}

/* Night is quieter than evening where most of the traffic comes from. */
static void test_volume_follows_the_day(void **state)
{
    uint32_t by_hour[24] = {0};
    for (uint32_t i = 0; i < 4000; i++) {
        char body[TRAFFIC_BODY_MAX];
        int64_t ts;
        traffic_request(world->traffic, 0, i, body, &ts);
        by_hour[(ts - world->scenario->start_ms) / 3600000]++;
    }
    uint32_t low = by_hour[0], high = by_hour[0];
    for (int h = 1; h < 24; h++) {
        low = by_hour[h] < low ? by_hour[h] : low;
        high = by_hour[h] > high ? by_hour[h] : high;
    }
    assert_true(low > 0 && high > low * 3 / 2);
}

static void test_requests_are_sound_and_sized(void **state)
{
    struct scanned s = {.text = {NULL, 0}};
    size_t bytes = 0, bare = 0, deals = 0, known = 0, users = 0;
    uint32_t channels[4] = {0}, media = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        scan_request(&s, world->traffic, (int32_t)(i % 9), i);
        json_t *oracle = json_loadb(s.text.base, s.text.len, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(oracle);
        json_decref(oracle);
        assert_in_range(s.text.len, 600, 3000);
        assert_true(s.view.place > 0);
        assert_true(s.view.property >= 0);
        assert_true(s.view.cats != 0 && s.view.device != 0 && s.view.os != OS_UNKNOWN);
        assert_int_equal(s.view.day, i % 9);
        for (uint32_t k = 0; k < s.view.n_imps; k++) {
            const struct view_imp *imp = &s.view.imps[k];
            media |= imp->media;
            deals += imp->n_deals;
            if (imp->media == MEDIA_BANNER)
                assert_true(imp->sizes != 0);
            assert_int_equal(imp->n_deals, s.request.imps[k].n_deals);
        }
        int32_t day, index;
        assert_int_equal(sscanf(s.request.id.base, "%d-%d-", &day, &index), 2);
        assert_int_equal(index, i);
        channels[s.request.channel]++;
        bytes += s.text.len;
        bare += s.view.user == 0;
        users += s.view.user != 0;
        known += s.request.regs.gdpr == 1;
    }
    assert_in_range(bytes / 4000, 1000, 1600);
    assert_true(bare > 400 && users > 400 && known > 400 && deals > 40);
    assert_true(channels[CHANNEL_SITE] > 400 && channels[CHANNEL_APP] > 400);
    assert_int_equal(media, MEDIA_BANNER | MEDIA_VIDEO | MEDIA_NATIVE);
    scanned_dispose(&s);
}

/* No id without consent where it is needed, none of children. */
static void test_no_user_id_without_consent(void **state)
{
    struct scanned s = {.text = {NULL, 0}};
    uint32_t refused = 0, children = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        scan_request(&s, world->traffic, 1, i);
        bool no_consent = s.request.regs.gdpr == 1 && s.request.user.consent.len == 0;
        refused += no_consent;
        children += s.request.regs.coppa == 1;
        if (no_consent || s.request.regs.coppa == 1) {
            assert_int_equal(s.view.user, 0);
            assert_int_equal(s.request.buyeruid.len, 0);
        }
    }
    assert_true(refused > 50 && children > 10);
    scanned_dispose(&s);
}

static void test_users_come_back(void **state)
{
    enum { N = 4000 };
    struct scanned s = {.text = {NULL, 0}};
    struct lookup seen;
    lookup_init(&seen, N);
    uint32_t again = 0;
    for (uint32_t i = 0; i < N; i++) {
        scan_request(&s, world->traffic, 0, i);
        if (s.view.user == 0)
            continue;
        again += lookup_find(&seen, s.view.user) >= 0;
        lookup_add(&seen, s.view.user, 1);
    }
    assert_true(again > N / 20);
    lookup_dispose(&seen);
    scanned_dispose(&s);
}

/* Sites and apps that no one saw on the first day turn up later. */
static void test_new_properties_appear(void **state)
{
    struct scanned s = {.text = {NULL, 0}};
    bool early[1000] = {false}, late[1000] = {false};
    assert_true(traffic_properties(world->traffic) <= 1000);
    for (uint32_t i = 0; i < 4000; i++) {
        scan_request(&s, world->traffic, 0, i);
        early[s.view.property] = true;
        scan_request(&s, world->traffic, 11, i);
        late[s.view.property] = true;
    }
    int appeared = 0;
    for (int i = 0; i < 1000; i++)
        appeared += late[i] && !early[i];
    assert_true(appeared >= 5);
    scanned_dispose(&s);
}

static void test_find(void **state)
{
    assert_int_equal(traffic_find_property(world->traffic, bytes_of("nowhere.test")), -1);
    assert_int_equal(traffic_find_property(world->traffic, (struct bytes){NULL, 0}), -1);
    assert_int_equal(traffic_find_deal(world->traffic, bytes_of("deal-x")), -1);
    assert_true(traffic_deals(world->traffic) > 3);
    char name[TRAFFIC_DEAL_NAME_MAX];
    traffic_deal_name(world->traffic, 3, name);
    assert_int_equal(traffic_find_deal(world->traffic, bytes_of(name)), 3);
}

static void test_atlas_find(void **state)
{
    const struct atlas *a = traffic_atlas(world->traffic);
    static const struct {
        const char *country, *region, *city, *finds;
    } CASES[] = {
        {"USA", "CA", "San Diego", "San Diego"},
        {"USA", "", "San Diego", "San Diego"},
        {"USA", "CA", "Nowhere", "CA"},
        {"USA", "ZZ", "", "USA"},
        {"USA", "", "", "USA"},
        {"ZZZ", "CA", "San Diego", ""},
        {"", "", "", ""},
        {"DEU", "CA", "", "DEU"},
        {"GBR", "ENG", "London", "London"},
        {"GBR", "ENG", "Glasgow", "ENG"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        uint32_t node = atlas_find(a, bytes_of(CASES[i].country), bytes_of(CASES[i].region),
                                   bytes_of(CASES[i].city));
        assert_string_equal(a->nodes[node].name, CASES[i].finds);
    }
    double sum = 0;
    for (uint32_t c = 0; c < a->n_countries; c++)
        sum += a->countries[c].weight;
    assert_true(sum > 0.99 && sum < 1.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_bytes),
        cmocka_unit_test(test_another_seed_other_bytes),
        cmocka_unit_test(test_time_rises_within_the_day),
        cmocka_unit_test(test_volume_follows_the_day),
        cmocka_unit_test(test_requests_are_sound_and_sized),
        cmocka_unit_test(test_no_user_id_without_consent),
        cmocka_unit_test(test_users_come_back),
        cmocka_unit_test(test_new_properties_appear),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_atlas_find),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
