/* A tally against what a curve says at the same threshold. */
#include "tests/model/fixture.h"

#include "model/binomial.h"
#include "model/metrics.h"
#include "model/tally.h"

static void test_tally_by_hand(void **state)
{
    struct tally t = {0};
    struct tally_result r = tally_result(&t, 0.95);
    assert_true(isnan(r.recall) && r.recall_low == 0 && r.recall_high == 1 && r.withheld == 0);
    tally_add(&t, 0.9f, true, true, 1, 1);
    tally_add(&t, 0.5f, true, true, 2, 1);
    tally_add(&t, 0.1f, false, true, 1, 1);
    tally_add(&t, 0.1f, false, false, 4, 1);
    r = tally_result(&t, 0.95);
    assert_true(t.calls == 4 && t.bids == 3);
    assert_true(fabs(r.recall - 0.75) < 1e-9 && fabs(r.withheld - 5.0 / 8) < 1e-9);
    assert_true(r.recall_low < 0.75 && r.recall_high > 0.75);
    tally_add(&t, 0.1f, false, true, 1, 0); /* no price, no bid */
    tally_add(&t, 0.1f, false, true, 1, NAN);
    assert_true(t.calls == 6 && t.bids == 3);
}

static void test_tally_agrees_with_the_curve(void **state)
{
    enum { N = 5000 };
    static float p[N], weight[N], price[N];
    static uint8_t label[N];
    struct prng g = {9};
    for (int i = 0; i < N; i++) {
        p[i] = (float)prng_unit(&g);
        label[i] = prng_unit(&g) < 0.3 * (double)p[i];
        weight[i] = prng_unit(&g) < 0.1 ? 20 : 1;
        price[i] = (float)exp(prng_normal(&g));
    }
    for (int value = 0; value < 2; value++) {
        struct recall_curve c;
        const struct scored_pairs pairs = {N, p, label, weight, value ? price : NULL};
        assert_int_equal(recall_curve_build_with(&c, &pairs, 0.8, NULL), 0);
        for (uint32_t k = 0; k < c.n; k++) {
            const struct recall_point *point = &c.points[k];
            struct tally t = {0};
            for (int i = 0; i < N; i++)
                tally_add(&t, p[i], p[i] >= point->threshold, label[i] != 0, weight[i],
                          value ? price[i] : 1);
            struct tally_result r = tally_result(&t, 0.6); /* two-sided: 80% on each side */
            assert_true(fabs(r.recall - (double)point->recall) < 1e-5);
            assert_true(fabs(r.withheld - (double)point->withheld) < 1e-5);
            assert_true(fabs(r.recall_low - (double)point->recall_low) < 1e-4);
            assert_true(fabs(r.recall_high - (double)point->recall_high) < 1e-4);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tally_by_hand),
        cmocka_unit_test(test_tally_agrees_with_the_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
