#include "world_fixture.h"

#include "loadtest/scenario.h"

static const char SOUND[] =
    "{\"name\":\"x\",\"seed\":1,\"start\":\"2026-01-05\",\"dsps\":[{\"name\":"
    "\"a\"},{\"name\":\"b\",\"bid_rate\":0.25}]}";

static struct scenario *parse(const char *json, struct error *err)
{
    err->text[0] = '\0';
    return scenario_parse(bytes_of(json), "s.json", err);
}

static void test_parse_sound(void **state)
{
    struct error err;
    struct scenario *s = parse(SOUND, &err);
    assert_non_null(s);
    assert_int_equal(s->n_dsps, 2);
    assert_int_equal(s->start_ms, INT64_C(1767571200000));
    assert_true(s->dsps[1].bid_rate.drawn == 0.25);
    scenario_destroy(s);
    scenario_destroy(NULL);
}

static void test_parse_faults(void **state)
{
#define HEAD "{\"name\":\"x\",\"seed\":1,\"start\":\"2026-01-05\","
    static const struct {
        const char *json, *says;
    } CASES[] = {
        {"", "s.json:"},
        {"[]", "must be an object"},
        {"{\"name\":\"x\",\"name\":\"y\"}", "s.json:1"},
        {HEAD "\"dsps\":[]}", "dsps must be an array"},
        {HEAD "\"dsps\":{}}", "dsps must be an array"},
        {HEAD "\"dsp\":[]}", "dsp: unknown key"},
        {HEAD "\"dsps\":[3]}", "dsps[0].name"},
        {HEAD "\"dsps\":[{\"name\":\"a b\"}]}", "dsps[0].name"},
        {HEAD "\"dsps\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "twice"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"bidrate\":1}]}", "dsps[0].bidrate: unknown key"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"bid_rate\":2}]}", "dsps[0].bid_rate must lie in 0..0.6"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"bid_rate\":\"x\"}]}", "must be a number or"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"bid_rate\":{\"uniform\":[0.1]}}]}", "must be a number"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"bid_rate\":{\"uniform\":[0.2,0.1]}}]}", "too small"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"bid_rate\":{\"log_uniform\":[0,0.1]}}]}", "logarithm"},
        {HEAD "\"dsps\":[{\"name\":\"a\",\"campaigns\":{\"uniform\":[1,1000]}}]}", "1..128"},
        {HEAD "\"dsp_defaults\":{\"name\":\"a\"},\"dsps\":[{\"name\":\"a\"}]}",
         "dsp_defaults.name: unknown key"},
        {HEAD "\"dsp_defaults\":[],\"dsps\":[{\"name\":\"a\"}]}", "dsp_defaults must be"},
        {HEAD "\"traffic\":{\"sites\":1.5},\"dsps\":[{\"name\":\"a\"}]}", "whole number"},
        {HEAD "\"traffic\":{\"sites\":3},\"dsps\":[{\"name\":\"a\"}]}", "traffic.sites"},
        {HEAD "\"traffic\":{\"pages\":3},\"dsps\":[{\"name\":\"a\"}]}", "traffic.pages: unknown"},
        {"{\"name\":\"x\",\"seed\":-1,\"start\":\"2026-01-05\",\"dsps\":[]}", "seed must be"},
        {"{\"name\":\"x\",\"seed\":1,\"start\":\"5 May\",\"dsps\":[]}", "start must be a date"},
        {"{\"name\":\"x\",\"seed\":1,\"start\":\"2026-01-05T00\",\"dsps\":[]}", "start must be"},
        {"{\"seed\":1,\"start\":\"2026-01-05\",\"dsps\":[]}", "name must be"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct error err;
        assert_null(parse(CASES[i].json, &err));
        if (strstr(err.text, CASES[i].says) == NULL || strstr(err.text, "s.json") == NULL)
            fail_msg("%s: says \"%s\"", CASES[i].json, err.text);
    }
}

static void test_parse_cut_anywhere(void **state)
{
    for (size_t len = 0; len < sizeof(SOUND) - 1; len++) {
        struct error err;
        char *cut = malloc(len + 1);
        memcpy(cut, SOUND, len);
        assert_null(scenario_parse((struct bytes){cut, len}, "cut", &err));
        free(cut);
    }
}

/* One key more, or one DSP more, must not change what else is drawn. */
static void test_draws_are_independent(void **state)
{
    struct error err;
    struct scenario *one = parse(SOUND, &err);
    struct scenario *two =
        parse(HEAD "\"dsps\":[{\"name\":\"new\"},{\"name\":\"a\",\"latency_ms\":3}]}", &err);
    assert_true(one->dsps[0].bid_rate.drawn == two->dsps[1].bid_rate.drawn);
    assert_true(one->dsps[0].match_rate.drawn == two->dsps[1].match_rate.drawn);
    assert_true(one->dsps[0].match_rate.drawn != two->dsps[0].match_rate.drawn);
    scenario_destroy(one);
    scenario_destroy(two);
}

static void test_dist_draw_within(void **state)
{
    const struct dist uniform = {DIST_UNIFORM, 2, 5}, log_uniform = {DIST_LOG_UNIFORM, .01, 1};
    const struct dist log_normal = {DIST_LOG_NORMAL, 10, .5};
    struct prng g = {1};
    int below = 0;
    for (int i = 0; i < 4000; i++) {
        double u = dist_draw(&uniform, &g), l = dist_draw(&log_uniform, &g);
        assert_true(u >= 2 && u < 5 && l >= .01 && l <= 1);
        below += dist_draw(&log_normal, &g) < 10; /* the median */
    }
    assert_in_range(below, 2000 - 150, 2000 + 150);
}

static void test_committed_scenarios_load(void **state)
{
    static const char *const NAMES[] = {"demo", "giants", "apps", "small", "bad"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        struct error err = {""};
        struct scenario *s = scenario_load(scenario_path(NAMES[i]), &err);
        if (s == NULL)
            fail_msg("%s", err.text);
        assert_string_equal(s->name, NAMES[i]);
        scenario_destroy(s);
    }
    struct error err = {""};
    assert_null(scenario_load("/nonexistent/s.json", &err));
    assert_non_null(strstr(err.text, "/nonexistent/s.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_sound),        cmocka_unit_test(test_parse_faults),
        cmocka_unit_test(test_parse_cut_anywhere), cmocka_unit_test(test_draws_are_independent),
        cmocka_unit_test(test_dist_draw_within),   cmocka_unit_test(test_committed_scenarios_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
