/* Capture records as a proxy with a known filter would write them; the report must find that filter
 * out. */
#include "world_fixture.h"

#include <jansson.h>
#include <math.h>

#include "loadtest/report.h"

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

typedef bool (*sends)(const struct buyer *b, uint32_t dsp, const struct view *v);

static bool sends_all(const struct buyer *b, uint32_t dsp, const struct view *v)
{
    return true;
}

static bool sends_none(const struct buyer *b, uint32_t dsp, const struct view *v)
{
    return false;
}

static bool sends_possible(const struct buyer *b, uint32_t dsp, const struct view *v)
{
    return buyer_probability(b, v) > 0;
}

static bool sends_all_but_the_first(const struct buyer *b, uint32_t dsp, const struct view *v)
{
    return dsp != 0;
}

static void fill(struct report *r, sends filter, bool lies)
{
    struct scanned s = {.text = {NULL, 0}};
    struct capture_dsp dsps[SCENARIO_DSPS_MAX];
    for (uint32_t i = 0; i < 4000; i++) {
        scan_request(&s, world->traffic, 5, i);
        for (uint32_t d = 0; d < world->n_buyers; d++) {
            struct buyer_bid bids[VIEW_IMPS_MAX];
            bool bid = buyer_bids(&world->buyers[d], &s.view, bids) > 0;
            bool send = filter(&world->buyers[d], d, &s.view);
            dsps[d] =
                (struct capture_dsp){.dsp = bytes_of(world->buyers[d].name),
                                     .sent = send,
                                     .why = bytes_of(!send         ? "below_threshold"
                                                     : i % 10 == 0 ? "explore"
                                                                   : "score"),
                                     .outcome = !send ? (struct bytes){NULL, 0}
                                                      : bytes_of(bid != lies ? "bid" : "no_bid")};
            if (send && i % 100 == 7)
                dsps[d].outcome = bytes_of(i % 200 == 7 ? "timeout" : "error");
        }
        struct capture_record record = {
            .ts_ms = s.ts_ms, .request = s.text, .dsps = dsps, .n_dsps = world->n_buyers};
        report_add(r, &record);
    }
    scanned_dispose(&s);
}

static json_t *as_json(struct report *r)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    report_print_json(r, out);
    fclose(out);
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static double get(json_t *root, size_t row, const char *key)
{
    json_t *o = row == SIZE_MAX ? json_object_get(root, "total")
                                : json_array_get(json_object_get(root, "dsps"), row);
    json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void test_everything_sent(void **state)
{
    struct report r;
    report_init(&r, world, 5, 6);
    fill(&r, sends_all, false);
    assert_int_equal(r.auctions, 4000);
    json_t *j = as_json(&r);
    for (size_t d = 0; d < 3; d++) {
        assert_true(get(j, d, "requests") == 4000 && get(j, d, "sent") == 4000);
        assert_true(get(j, d, "withheld") == 0);
        assert_true(get(j, d, "recall") == 1 && get(j, d, "recall_counted") == 1);
        assert_true(get(j, d, "explored") == 400);
        assert_true(get(j, d, "timeouts") == 20 && get(j, d, "errors") == 20);
        assert_true(get(j, d, "disagreements") == 0);
        assert_true(get(j, d, "revenue_kept") == 1);
        assert_true(get(j, d, "optimal_withheld") > 0.2);
    }
    assert_true(get(j, SIZE_MAX, "requests") == 12000);
    assert_true(get(j, SIZE_MAX, "revenue") > 0);
    assert_true(r.shown == r.shown_kept && r.shown > 400);
    json_decref(j);
    report_dispose(&r);
}

/* The filter that sends what can be bid on at all is the optimum at recall 1. */
static void test_perfect_filter(void **state)
{
    struct report r;
    report_init(&r, world, 5, 6);
    fill(&r, sends_possible, false);
    json_t *j = as_json(&r);
    for (size_t d = 0; d < 3; d++) {
        assert_true(fabs(get(j, d, "recall") - 1) < 1e-12);
        assert_true(get(j, d, "withheld") > 0.2);
        /* Equal but for requests whose chance is too small to show in the sum. */
        assert_true(fabs(get(j, d, "withheld") - get(j, d, "optimal_withheld")) < 0.002);
        assert_true(get(j, d, "true_bids") == get(j, d, "true_bids_sent"));
    }
    assert_true(get(j, SIZE_MAX, "revenue_kept") == 1);
    json_decref(j);
    report_dispose(&r);
}

static void test_nothing_sent(void **state)
{
    struct report r;
    report_init(&r, world, 5, 6);
    fill(&r, sends_none, false);
    json_t *j = as_json(&r);
    assert_true(get(j, 0, "recall") == 0 && get(j, 0, "withheld") == 1);
    assert_true(get(j, 0, "optimal_withheld") == 1);
    assert_true(get(j, SIZE_MAX, "revenue_kept") == 0 && get(j, SIZE_MAX, "revenue") > 0);
    assert_int_equal(r.shown_kept, 0);
    json_decref(j);
    report_dispose(&r);
}

/* Withholding one DSP moves its wins to the others, who then pay less for their own: prices come
 * from rivals. */
static void test_one_dsp_withheld(void **state)
{
    struct report r;
    report_init(&r, world, 5, 6);
    fill(&r, sends_all_but_the_first, false);
    json_t *j = as_json(&r);
    assert_true(get(j, 0, "recall") == 0 && get(j, 1, "recall") == 1);
    assert_true(get(j, 0, "revenue") > 0 && get(j, 0, "revenue_after") == 0);
    double all = get(j, SIZE_MAX, "revenue"), after = get(j, SIZE_MAX, "revenue_after");
    assert_true(after > 0 && after < all);
    assert_true(fabs(after - get(j, 1, "revenue_after") - get(j, 2, "revenue_after")) < 1e-9);
    assert_true(r.shown_kept < r.shown);
    assert_true(get(j, SIZE_MAX, "recall") > 0 && get(j, SIZE_MAX, "recall") < 1);
    json_decref(j);
    report_dispose(&r);
}

static void test_other_reasons_are_set_aside(void **state)
{
    static const struct {
        const char *why;
        bool counts;
    } CASES[] = {{"below_threshold", true}, {"rule:country", true}, {"", true},
                 {"health", false},         {"qps", false},         {"overload", false}};
    struct scanned s = {.text = {NULL, 0}};
    scan_request(&s, world->traffic, 5, 17);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct report r;
        report_init(&r, world, 5, 6);
        const struct capture_dsp dsp = {.dsp = bytes_of("broad"), .why = bytes_of(CASES[i].why)};
        const struct capture_record record = {
            .ts_ms = s.ts_ms, .request = s.text, .dsps = &dsp, .n_dsps = 1};
        report_add(&r, &record);
        assert_int_equal(r.dsps[0].requests, CASES[i].counts);
        assert_int_equal(r.dsps[0].skipped, !CASES[i].counts);
        assert_int_equal(r.auctions, 1);
        report_dispose(&r);
    }
    scanned_dispose(&s);
}

static void test_another_world_is_noticed(void **state)
{
    struct report r;
    report_init(&r, world, 5, 6);
    fill(&r, sends_all, true);
    json_t *j = as_json(&r);
    assert_true(get(j, 0, "disagreements") == 4000 - 40);
    json_decref(j);
    report_dispose(&r);
}

static void test_only_the_days_asked_for(void **state)
{
    struct report r;
    report_init(&r, world, 6, 9);
    fill(&r, sends_all, false);
    struct capture_record torn = {.ts_ms = world->scenario->start_ms + INT64_C(7) * 86400000,
                                  .request = bytes_of("{\"id\":")};
    report_add(&r, &torn);
    assert_int_equal(r.auctions, 0);
    assert_int_equal(r.other_days, 4000);
    assert_int_equal(r.unreadable, 1);
    json_decref(as_json(&r)); /* nothing to divide by: no NaN in the document */
    report_dispose(&r);
}

static void test_table_fits_a_terminal(void **state)
{
    struct report r;
    report_init(&r, world, 5, 6);
    fill(&r, sends_possible, false);
    for (uint32_t d = 0; d < world->n_buyers; d++) { /* a long day */
        r.dsps[d].requests = 99999999;
        r.dsps[d].bids = r.dsps[d].bids_sent = 999999;
    }
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    report_print(&r, out);
    fclose(out);
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 100);
    assert_non_null(strstr(text, "broad"));
    assert_non_null(strstr(text, "all "));
    free(text);
    report_dispose(&r);
}

static void test_parse_days(void **state)
{
    static const struct {
        const char *text;
        int status, first, end;
    } CASES[] = {{"3", 0, 3, 4},        {"0:3", 0, 0, 3}, {"5:6", 0, 5, 6}, {"", -1, 0, 0},
                 {"a", -1, 0, 0},       {"3:", -1, 0, 0}, {":3", -1, 0, 0}, {"3:3", -1, 0, 0},
                 {"4:3", -1, 0, 0},     {"-1", -1, 0, 0}, {"1x", -1, 0, 0}, {"1:2x", -1, 0, 0},
                 {"1:999999", -1, 0, 0}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        int32_t first = -9, end = -9;
        struct error err;
        assert_int_equal(world_parse_days(CASES[i].text, &first, &end, &err), CASES[i].status);
        if (CASES[i].status == 0)
            assert_true(first == CASES[i].first && end == CASES[i].end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_sent),
        cmocka_unit_test(test_perfect_filter),
        cmocka_unit_test(test_nothing_sent),
        cmocka_unit_test(test_one_dsp_withheld),
        cmocka_unit_test(test_other_reasons_are_set_aside),
        cmocka_unit_test(test_another_world_is_noticed),
        cmocka_unit_test(test_only_the_days_asked_for),
        cmocka_unit_test(test_table_fits_a_terminal),
        cmocka_unit_test(test_parse_days),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
