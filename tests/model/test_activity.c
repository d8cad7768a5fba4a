/* What the past days of campaigns say of the next one. */
#include "tests/model/fixture.h"

#include "model/activity.h"

enum { DAYS = 8, CAMPAIGNS = 60 };

static struct activity of(const float *found, const float *expected, size_t n)
{
    return (struct activity){found, expected, n, 1, 1};
}

static void test_forecast_of_one_campaign(void **state)
{
    static const float expected[DAYS] = {100, 100, 100, 100, 100, 100, 100, 100};
    static const float even[DAYS] = {97, 104, 99, 108, 92, 100, 95, 105};
    static const float ended[DAYS] = {160, 160, 160, 160, 160, 0, 0, 0};
    static const float begun[DAYS] = {0, 0, 0, 0, 0, 0, 400, 400};
    struct activity a = of(even, expected, DAYS);
    assert_true(fabs(activity_forecast(&a, 1) - 1) < 0.02);
    assert_true(fabs(activity_forecast(&a, 0.2) - 1) < 0.08);
    a = of(ended, expected, DAYS);
    assert_true(fabs(activity_forecast(&a, 1) - 1) < 0.05); /* days do not matter: the mean */
    double soon = activity_forecast(&a, 0.2);
    assert_true(soon > 0.02 && soon < 0.2); /* it may come back */
    a = of(begun, expected, DAYS);
    assert_true(activity_forecast(&a, 0.2) > 3);
    assert_true(activity_forecast(&a, 0) < 4);
    a = of(begun, expected, 0);
    assert_true(activity_forecast(&a, 0.5) == 1);
}

/* A bid that stands for fifty is one. Days without calls say nothing; that a day was one of few
 * says little. */
static void test_forecast_by_evidence(void **state)
{
    static const float found[DAYS] = {0, 0, 0, 0, 0, 0, 0, 2},
                       few[DAYS] = {.2f, .2f, .2f, .2f, .2f, .2f, .2f, .2f};
    float lumps[DAYS], lump_expected[DAYS];
    struct activity one = of(found, few, DAYS), fifty = of(lumps, lump_expected, DAYS);
    for (int i = 0; i < DAYS; i++) {
        lumps[i] = 50 * found[i];
        lump_expected[i] = 50 * few[i];
    }
    fifty.lump = 50;
    double forecast = activity_forecast(&one, 0.2);
    assert_true(fabs(activity_forecast(&fifty, 0.2) - forecast) < 1e-5);
    assert_true(forecast > 1.25 && forecast < 5); /* the last day's is 10, the mean 1.25 */

    static const float gap[DAYS] = {100, 100, 100, 0, 0, 100, 100, 0};
    struct activity with_gap = of(gap, gap, DAYS);
    assert_true(fabs(activity_forecast(&with_gap, 0.3) - 1) < 1e-6);
}

static double persistence_of(bool flights, uint64_t seed)
{
    static float found[CAMPAIGNS][DAYS], expected[CAMPAIGNS][DAYS];
    struct activity all[CAMPAIGNS];
    struct prng g = {seed};
    for (int c = 0; c < CAMPAIGNS; c++) {
        uint32_t begins = (uint32_t)prng_below(&g, DAYS), days = 1 + (uint32_t)prng_below(&g, 6);
        for (uint32_t i = 0; i < DAYS; i++) {
            double level = flights ? (i >= begins && i < begins + days ? 2 : 0.02)
                                   : exp(2 * prng_unit(&g) - 1);
            expected[c][i] = 40;
            found[c][i] = (float)(40 * level);
        }
        all[c] = of(found[c], expected[c], DAYS);
    }
    return activity_persistence(all, CAMPAIGNS);
}

static void test_persistence_is_what_the_days_show(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        double flights = persistence_of(true, seed), noise = persistence_of(false, seed);
        if (flights > 0.3 || noise < 0.8)
            fail_msg("seed %d: %.1f where campaigns come and go, %.1f where days are drawn anew",
                     (int)seed, flights, noise);
    }
    assert_true(activity_persistence(NULL, 0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forecast_of_one_campaign),
        cmocka_unit_test(test_forecast_by_evidence),
        cmocka_unit_test(test_persistence_is_what_the_days_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
