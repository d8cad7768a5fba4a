/* Every reason is reached, the draw of exploration is fair and repeatable, and deciding takes no
 * memory. */
#include "tests/filter/small_world.h"

#include "filter/decision.h"

/* ---- memory taken while `counting`: this program's malloc stands before the library's; sanitizers
 * bring their own, and then nothing is counted ----
 */
static volatile bool counting;
static volatile size_t counted;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size)
{
    counted += counting;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    counted += counting;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
    counted += counting;
    return __libc_realloc(p, size);
}
#endif

static struct predictor *model;

static int set_up(void **state)
{
    struct error err;
    char *path = small_world_model();
    model = predictor_load(path, &err);
    if (model == NULL)
        fail_msg("%s", err.text);
    unlink(path);
    free(path);
    return 0;
}

static int tear_down(void **state)
{
    predictor_destroy(model);
    return 0;
}

static const struct filter_settings ON = {
    .mode = FILTER_ON, .recall_target = 0.9, .threshold = NAN, .explore = 0};

/* One DSP, one request, one decision. */
static struct decision decide(const struct predictor *with, const char *dsp,
                              const struct filter_settings *settings, const char *json, bool stale)
{
    struct error err;
    struct bid_request r;
    struct geo_place place;
    struct decision out;
    struct arena arena = {0};
    struct filter *f = filter_create(with, NULL, &dsp, settings, 1, &err);
    assert_non_null(f);
    struct filter_scratch *scratch = filter_scratch_create(f);
    fixture_scan(&r, json, &arena);
    filter_decide(f, scratch, &r, FIXTURE_TS, stale, &arena, &place, &out);
    filter_scratch_destroy(scratch);
    filter_destroy(f);
    arena_dispose(&arena);
    return out;
}

#define REQUEST(country)                                                                       \
    "{\"id\":\"a1\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250},\"bidfloor\":1}]," \
    "\"site\":{\"domain\":\"site1.example\"},\"device\":{\"os\":\"iOS\",\"geo\":{\"country\":" \
    "\"" country "\"}}}"

static void test_every_reason(void **state)
{
    static const struct {
        const char *dsp;
        enum filter_mode mode;
        double threshold, recall_target, explore;
        bool model, stale, for_alpha, media_rule;
        enum why why;
        bool send;
        float propensity;
    } cases[] = {
        {"alpha", FILTER_ON, NAN, 0.9, 0, true, false, true, false, WHY_SCORE, true, 1},
        {"alpha", FILTER_ON, NAN, 0.9, 0, true, false, false, false, WHY_BELOW_THRESHOLD, false, 0},
        {"alpha", FILTER_ON, NAN, 0.9, 1, true, false, false, false, WHY_EXPLORE, true, 1},
        {"alpha", FILTER_SHADOW, NAN, 0.9, 0.5, true, false, false, false, WHY_SHADOW, true, 1},
        {"alpha", FILTER_SHADOW, NAN, 0.9, 0.5, true, false, true, false, WHY_SCORE, true, 1},
        {"alpha", FILTER_OFF, NAN, 0.9, 0.5, true, false, false, false, WHY_OFF, true, 1},
        {"alpha", FILTER_OFF, NAN, 0.9, 0.5, false, true, false, false, WHY_OFF, true, 1},
        {"alpha", FILTER_ON, NAN, 0.9, 0.5, false, false, false, false, WHY_FAIL_OPEN_NO_MODEL,
         true, 1},
        {"alpha", FILTER_ON, 0.9, 0.9, 0.5, false, true, false, false, WHY_FAIL_OPEN_NO_MODEL, true,
         1},
        {"alpha", FILTER_ON, NAN, 0.9, 0.5, true, true, false, false, WHY_FAIL_OPEN_STALE_MODEL,
         true, 1},
        {"delta", FILTER_ON, NAN, 0.9, 0.5, true, false, false, false, WHY_FAIL_OPEN_UNKNOWN_DSP,
         true, 1},
        {"delta", FILTER_ON, 0.9, 0.9, 0.5, true, false, false, false, WHY_FAIL_OPEN_UNKNOWN_DSP,
         true, 1},
        {"gamma", FILTER_ON, NAN, 0.9, 0.5, true, false, false, false, WHY_FAIL_OPEN_NO_CURVE, true,
         1},
        {"alpha", FILTER_ON, NAN, 1.0, 0.5, true, false, false, false, WHY_FAIL_OPEN_NO_CURVE, true,
         1},
        {"gamma", FILTER_ON, 0.99, 0.9, 0, true, false, false, false, WHY_BELOW_THRESHOLD, false,
         0},
        {"gamma", FILTER_ON, 0, 0.9, 0, true, false, false, false, WHY_SCORE, true, 1},
        {"alpha", FILTER_ON, 1, 0.9, 0, true, false, true, false, WHY_BELOW_THRESHOLD, false, 0},
        {"alpha", FILTER_OFF, NAN, 0.9, 1, true, false, true, true, WHY_RULE_FIRST + RULE_MEDIA,
         false, 1},
        {"alpha", FILTER_SHADOW, NAN, 0.9, 1, false, true, true, true, WHY_RULE_FIRST + RULE_MEDIA,
         false, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct filter_settings settings = {.mode = cases[i].mode,
                                           .recall_target = cases[i].recall_target,
                                           .threshold = cases[i].threshold,
                                           .explore = cases[i].explore};
        if (cases[i].media_rule)
            settings.rules.media = MEDIA_VIDEO;
        struct decision d =
            decide(cases[i].model ? model : NULL, cases[i].dsp, &settings,
                   cases[i].for_alpha ? REQUEST("USA") : REQUEST("DEU"), cases[i].stale);
        if (d.why != cases[i].why || d.send != cases[i].send || d.propensity != cases[i].propensity)
            fail_msg("case %zu: %s send %d propensity %g, expected %s send %d propensity %g", i,
                     why_name(d.why), d.send, (double)d.propensity, why_name(cases[i].why),
                     cases[i].send, (double)cases[i].propensity);
        /* what was scored says so, with the threshold that it met */
        bool scored = d.why == WHY_SCORE || d.why == WHY_EXPLORE || d.why == WHY_SHADOW ||
                      d.why == WHY_BELOW_THRESHOLD;
        assert_int_equal(!isnan(d.threshold), scored);
        assert_int_equal(!isnan(d.p), scored || d.why == WHY_FAIL_OPEN_NO_CURVE);
        if (scored)
            assert_int_equal(d.p >= d.threshold, d.why == WHY_SCORE);
    }
}

static void test_why_names(void **state)
{
    static const struct {
        int why;
        const char *name;
    } names[] = {{WHY_SCORE, "score"},
                 {WHY_FAIL_OPEN_NO_MODEL, "fail_open:no_model"},
                 {WHY_BELOW_THRESHOLD, "below_threshold"},
                 {WHY_RULE_FIRST + RULE_COUNTRY, "rule:country"},
                 {WHY_RULE_FIRST + RULE_CURRENCY, "rule:currency"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_string_equal(why_name((enum why)names[i].why), names[i].name);
    for (int i = 0; i < WHY_COUNT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(why_name((enum why)i), why_name((enum why)k));
    for (int i = 1; i < RULE_COUNT; i++) { /* the two lists of names agree */
        const char *name = why_name((enum why)(WHY_RULE_FIRST + i));
        assert_memory_equal(name, "rule:", 5);
        assert_string_equal(name + 5, rule_name((enum rule_result)i));
    }
}

static void test_threshold_in_force(void **state)
{
    static const char *const names[] = {"alpha", "gamma", "delta", "alpha", "alpha"};
    struct filter_settings settings[5] = {ON, ON, ON, ON, ON};
    settings[3].threshold = 0.25;
    settings[4].mode = FILTER_OFF;
    struct error err;
    struct filter *f = filter_create(model, NULL, names, settings, 5, &err);
    float alpha = predictor_threshold(model, 0, 0.9);
    assert_true(alpha > 0);
    assert_true(filter_threshold(f, 0) == alpha);
    assert_true(isnan(filter_threshold(f, 1)));
    assert_true(isnan(filter_threshold(f, 2)));
    assert_true(filter_threshold(f, 3) == 0.25f);
    assert_true(isnan(filter_threshold(f, 4)));
    filter_destroy(f);
    filter_destroy(NULL);
}

/* With explore at 0.1, a tenth of what is below the threshold goes out; each DSP draws for itself;
 * the same auction always draws alike. */
static void test_explore_draw(void **state)
{
    enum { N = 4000 };
    static const char *const names[] = {"alpha", "beta"};
    struct filter_settings settings[2] = {ON, ON};
    settings[0].threshold = settings[1].threshold = 1;
    settings[0].explore = settings[1].explore = 0.1;
    struct error err;
    struct filter *f = filter_create(model, NULL, names, settings, 2, &err);
    struct filter_scratch *scratch = filter_scratch_create(f);
    struct arena arena = {0};
    unsigned sent[2] = {0, 0}, both = 0;
    for (uint32_t i = 0; i < N; i++) {
        struct small_request q;
        struct bid_request r;
        struct geo_place place;
        struct decision out[2], again[2];
        arena_reset(&arena, 1 << 20);
        small_world_request(i, &q);
        fixture_scan(&r, q.json, &arena);
        filter_decide(f, scratch, &r, q.ts_ms, false, &arena, &place, out);
        filter_decide(f, scratch, &r, q.ts_ms + 99, false, &arena, &place, again);
        for (int d = 0; d < 2; d++) {
            assert_int_equal(out[d].why, out[d].send ? WHY_EXPLORE : WHY_BELOW_THRESHOLD);
            assert_int_equal(again[d].send, out[d].send);
            assert_true(out[d].propensity == 0.1f);
            sent[d] += out[d].send;
        }
        both += out[0].send && out[1].send;
    }
    /* 5 standard deviations: sqrt(N 0.1 0.9) = 19, sqrt(N 0.01 0.99) = 6.3 */
    assert_in_range(sent[0], 400 - 95, 400 + 95);
    assert_in_range(sent[1], 400 - 95, 400 + 95);
    assert_in_range(both, 40 - 32, 40 + 32);
    arena_dispose(&arena);
    filter_scratch_destroy(scratch);
    filter_destroy(f);
}

/* Many DSPs in one request get what each gets alone. */
static void test_batch_is_as_alone(void **state)
{
    static const char *const names[] = {"gamma", "unknown", "beta", "off", "alpha", "video"};
    struct filter_settings settings[6] = {ON, ON, ON, ON, ON, ON};
    settings[3].mode = FILTER_OFF;
    settings[5].rules.media = MEDIA_VIDEO;
    settings[2].recall_target = 0.8;
    struct error err;
    struct filter *f = filter_create(model, NULL, names, settings, 6, &err);
    struct filter_scratch *scratch = filter_scratch_create(f);
    struct arena arena = {0};
    struct bid_request r;
    struct geo_place place;
    struct decision out[6];
    fixture_scan(&r, REQUEST("USA"), &arena);
    filter_decide(f, scratch, &r, FIXTURE_TS, false, &arena, &place, out);
    assert_bytes(place.country, "USA", "place");
    for (int d = 0; d < 6; d++) {
        struct decision alone = decide(model, names[d], &settings[d], REQUEST("USA"), false);
        assert_int_equal(out[d].why, alone.why);
        assert_int_equal(out[d].send, alone.send);
        assert_true(out[d].p == alone.p || (isnan(out[d].p) && isnan(alone.p)));
    }
    arena_dispose(&arena);
    filter_scratch_destroy(scratch);
    filter_scratch_destroy(NULL);
    filter_destroy(f);

    f = filter_create(NULL, NULL, NULL, NULL, 0, &err); /* no DSP at all */
    scratch = filter_scratch_create(f);
    fixture_scan(&r, REQUEST("USA"), &arena);
    filter_decide(f, scratch, &r, FIXTURE_TS, false, &arena, &place, out);
    arena_dispose(&arena);
    filter_scratch_destroy(scratch);
    filter_destroy(f);
}

static void test_decide_allocates_nothing(void **state)
{
    counting = true; /* the counter counts */
    void *volatile probe = malloc(1);
    counting = false;
    free(probe);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_int_equal(counted, 1);
#endif
    static const char *const names[] = {"alpha", "beta", "gamma"};
    struct filter_settings settings[3] = {ON, ON, ON};
    const char *domains[] = {"site1.example"};
    settings[1].rules.domains_blocked = string_set_create(domains, 1);
    struct error err;
    struct filter *f = filter_create(model, NULL, names, settings, 3, &err);
    struct filter_scratch *scratch = filter_scratch_create(f);
    struct arena arena = {0};
    counted = 0;
    for (uint32_t i = 0; i < 200; i++) {
        struct small_request q;
        struct bid_request r;
        struct bid_request_error e;
        struct geo_place place;
        struct decision out[3];
        small_world_request(i, &q);
        counting = i >= 20;
        arena_reset(&arena, 1 << 20);
        bool read = bid_request_scan(&r, bytes_of(q.json), 0, &arena, &e);
        filter_decide(f, scratch, &r, q.ts_ms, false, &arena, &place, out);
        counting = false;
        assert_true(read);
    }
    assert_int_equal(counted, 0);
    arena_dispose(&arena);
    filter_scratch_destroy(scratch);
    filter_destroy(f);
    dsp_rules_dispose(&settings[1].rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reason),       cmocka_unit_test(test_why_names),
        cmocka_unit_test(test_threshold_in_force), cmocka_unit_test(test_explore_draw),
        cmocka_unit_test(test_batch_is_as_alone),  cmocka_unit_test(test_decide_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
