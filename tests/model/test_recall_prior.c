/* The prior that DSPs lend each other: what it learns from made evidence, and that a small DSP's
 * bound gains by it without a larger one's moving. */
#include "tests/model/fixture.h"

#include "model/metrics.h"
#include "model/recall_prior.h"

static void test_fit_by_hand(void **state)
{
    static const struct {
        const char *what;
        struct recall_evidence e[5];
        uint32_t n;
        double strength, lost;
    } cases[] = {
        {"too few DSPs", {{900, 0.03, 0.03}, {900, 0.03, 0.03}, {900, 0.03, 0.03}}, 3, 0, 1},
        {"too few bids",
         {{49, 0.03, 0.03}, {49, 0, 0.03}, {900, 0, 0.03}, {900, 0.06, 0.03}},
         4,
         0,
         1},
        {"alike: as much as is ever believed",
         {{900, 0.03, 0.03}, {900, 0.03, 0.03}, {900, 0.03, 0.03}, {900, 0.03, 0.03}},
         4,
         300,
         1},
        {"never less lost than said",
         {{900, 0.01, 0.03}, {900, 0.01, 0.03}, {900, 0.01, 0.03}, {900, 0.01, 0.03}},
         4,
         78.148,
         1},
        {"all lose twice what is said",
         {{500, 0.06, 0.03}, {900, 0.06, 0.03}, {100, 0.06, 0.03}, {900, 0.06, 0.03}},
         4,
         300,
         2},
        /* each of 4: 1000 * 0.02^2 / (0.03 * 0.97) = 13.7457; 4000 / (54.983 - 4) - 1 */
        {"apart",
         {{1000, 0.05, 0.03}, {1000, 0.01, 0.03}, {1000, 0.05, 0.03}, {1000, 0.01, 0.03}},
         4,
         77.457,
         1},
        {"nothing expected", {{900, 0, 0}, {900, 0, 0}, {900, 0, 0}, {900, 0, 0}}, 4, 0, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct recall_prior prior = recall_prior_fit(cases[i].e, cases[i].n);
        if (fabs(prior.strength - cases[i].strength) > 0.01 ||
            fabs(prior.lost - cases[i].lost) > 1e-9)
            fail_msg("%s: %g bids, %g lost", cases[i].what, prior.strength, prior.lost);
    }
}

enum { PAIRS = 20000 };

/* Scores between 0 and 1/4, most of them low, and labels drawn from them. */
static void draw(struct prng *g, uint32_t n, float *p, uint8_t *label, float *weight)
{
    for (uint32_t i = 0; i < n; i++) {
        double u = prng_unit(g);
        p[i] = (float)(0.25 * u * u * u * u);
        label[i] = prng_unit(g) < (double)p[i];
        weight[i] = 1;
    }
}

static void test_gather_calibrated_scores(void **state)
{
    static float p[PAIRS], weight[PAIRS];
    static uint8_t label[PAIRS];
    struct prng g = {5};
    struct recall_evidence e;
    draw(&g, PAIRS, p, label, weight);
    assert_int_equal(recall_evidence_gather(&e, p, label, weight, PAIRS, NULL), 0);
    assert_true(e.bids > 700 && e.bids < 1300);
    assert_true(e.expected >= 0.03 && e.expected < 0.032);
    assert_true(fabs(e.lost - 0.03) < 0.02);
    assert_int_equal(recall_evidence_gather(&e, p, label, weight, 0, NULL), 0);
    assert_true(e.bids == 0 && e.lost == 0 && e.expected == 0);
    memset(label, 0, sizeof(label));
    assert_int_equal(recall_evidence_gather(&e, p, label, weight, PAIRS, NULL), 0);
    assert_true(e.bids == 0);
}

static void test_prior_raises_the_bound_of_few_bids(void **state)
{
    static float p[PAIRS], weight[PAIRS];
    static uint8_t label[PAIRS];
    const struct recall_prior prior = {300, 1}, none = {0, 1}, gloomy = {300, 4};
    struct prng g = {6};
    draw(&g, PAIRS, p, label, weight);
    struct recall_curve alone, with, dark, plain;
    for (uint32_t n = 1000; n <= PAIRS; n *= 20) {
        recall_curve_build(&plain, p, label, weight, n, NULL);
        recall_curve_build_with(&alone, p, label, weight, n, &none, NULL);
        assert_memory_equal(&plain, &alone, sizeof(plain));
        recall_curve_build_with(&with, p, label, weight, n, &prior, NULL);
        recall_curve_build_with(&dark, p, label, weight, n, &gloomy, NULL);
        float before = recall_curve_threshold(&alone, 0.97);
        float after = recall_curve_threshold(&with, 0.97);
        float doubted = recall_curve_threshold(&dark, 0.97);
        if (n == 1000)
            assert_true(before == 0 && after > 0 && doubted == 0);
        else
            assert_true(before > 0 && after > 0 && doubted < after);
        for (uint32_t i = 0; i < with.n; i++) {
            assert_true(with.points[i].recall == alone.points[i].recall);
            assert_true(with.points[i].recall_low <= with.points[i].recall_high);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_by_hand),
        cmocka_unit_test(test_gather_calibrated_scores),
        cmocka_unit_test(test_prior_raises_the_bound_of_few_bids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
