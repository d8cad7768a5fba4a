/* A DSP that fails is cut back, probed, restored; one that is too slow for what is left is known to
 * be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "prng.h"
#include "proxy/health.h"

/* So many calls over one second, of which a share fails. */
static void second(struct health *h, uint64_t *now_us, int calls, double failing)
{
    for (int i = 0; i < calls; i++) {
        *now_us += 1000000u / (uint64_t)calls;
        health_observe(h, *now_us, (i + 0.5) / calls < failing, 20000);
    }
}

static void test_failing_is_cut_back_gradually(void **state)
{
    struct health h;
    uint64_t now = 5000000;
    health_init(&h, now);
    second(&h, &now, 100, 0.9);
    assert_true(h.share > 0.4 && h.share <= 0.5);
    for (int i = 0; i < 20; i++)
        second(&h, &now, 20, 1.0);
    assert_true(h.share >= HEALTH_SHARE_MIN && h.share < 0.03);
}

static void test_recovers_by_doubling(void **state)
{
    struct health h;
    uint64_t now = 0;
    health_init(&h, now);
    for (int i = 0; i < 20; i++)
        second(&h, &now, 20, 1.0);
    double before = h.share;
    second(&h, &now, 20, 0.0);
    assert_true(h.share > before && h.share < 0.1);
    for (int i = 0; i < 8; i++)
        second(&h, &now, 20, 0.0);
    assert_true(h.share >= 1.0);
}

static void test_some_failures_change_nothing(void **state)
{
    struct health h;
    uint64_t now = 0;
    health_init(&h, now);
    for (int i = 0; i < 30; i++)
        second(&h, &now, 50, 0.3);
    assert_true(h.share >= 1.0);
}

static void test_few_calls_count_in_the_end(void **state)
{
    struct health h;
    uint64_t now = 0;
    health_init(&h, now);
    for (int i = 0; i < 12; i++) {
        now += 1000000;
        health_observe(&h, now, true, 0);
    }
    assert_true(h.share < 1.0);
}

static void test_quick_latency_is_the_low_quantile(void **state)
{
    struct health h;
    struct prng g = {7};
    health_init(&h, 0);
    assert_true(health_in_time(&h, 1)); /* nothing known: called */
    for (int i = 0; i < 5000; i++)
        health_observe(&h, (uint64_t)i * 1000, false, 20000 + prng_below(&g, 80000));
    assert_true(h.quick_us > 18000 && h.quick_us < 32000); /* the 5th percentile is 24000 */
    assert_false(health_in_time(&h, 10000));
    assert_true(health_in_time(&h, 50000));
    for (int i = 0; i < 5000; i++)
        health_observe(&h, 10000000 + (uint64_t)i * 1000, false, 5000);
    assert_true(health_in_time(&h, 10000)); /* it got quicker, and is called again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_is_cut_back_gradually),
        cmocka_unit_test(test_recovers_by_doubling),
        cmocka_unit_test(test_some_failures_change_nothing),
        cmocka_unit_test(test_few_calls_count_in_the_end),
        cmocka_unit_test(test_quick_latency_is_the_low_quantile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
