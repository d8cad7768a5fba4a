/* The incomplete beta function against closed forms, Clopper-Pearson bounds against published ones
 * and against the binomial sum that defines them. */
#include "tests/model/fixture.h"

#include "model/binomial.h"

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.12g is not %.12g", a, b);
}

static void test_beta_incomplete_closed_forms(void **state)
{
    for (double x = 0; x <= 1; x += 0.0625) {
        near(beta_incomplete(1, 1, x), x, 1e-12);
        near(beta_incomplete(3.5, 1, x), pow(x, 3.5), 1e-12);
        near(beta_incomplete(1, 0.25, x), 1 - pow(1 - x, 0.25), 1e-12);
        near(beta_incomplete(2, 2, x), x * x * (3 - 2 * x), 1e-12);
        near(beta_incomplete(0.5, 0.5, x), 2 / acos(-1) * asin(sqrt(x)), 1e-12);
        near(beta_incomplete(40.5, 7.25, x) + beta_incomplete(7.25, 40.5, 1 - x), 1, 1e-12);
    }
}

/* P(at least k of n) at p. */
static double at_least(int k, int n, double p)
{
    double sum = 0;
    for (int i = k; i <= n; i++)
        sum += exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) +
                   (n - i) * log1p(-p));
    return sum;
}

static void test_bounds_are_what_they_say(void **state)
{
    static const int cases[][2] = {{1, 10},   {5, 10},     {29, 30},
                                   {97, 100}, {970, 1000}, {9700, 10000}};
    static const double confidence[] = {0.7, 0.95, 0.975};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t c = 0; c < 3; c++) {
            int k = cases[i][0], n = cases[i][1];
            double low = share_low((double)k / n, n, confidence[c]);
            double high = share_high((double)k / n, n, confidence[c]);
            near(at_least(k, n, low), 1 - confidence[c], 1e-7);
            near(1 - at_least(k + 1, n, high), 1 - confidence[c], 1e-7);
            assert_true(low < (double)k / n && (double)k / n < high);
        }
    /* Newcombe (Statistics in Medicine 1998), two-sided 95%: 81 of 263, 15 of 148, 0 of 20, 1 of 29
     */
    near(share_low(81.0 / 263, 263, 0.975), 0.2527, 6e-5);
    near(share_high(81.0 / 263, 263, 0.975), 0.3676, 6e-5);
    near(share_low(15.0 / 148, 148, 0.975), 0.0578, 6e-5);
    near(share_high(15.0 / 148, 148, 0.975), 0.1617, 6e-5);
    near(share_high(0, 20, 0.975), 0.1684, 6e-5);
    near(share_low(1.0 / 29, 29, 0.975), 0.0009, 6e-5);
    near(share_high(1.0 / 29, 29, 0.975), 0.1776, 6e-5);
}

static void test_bounds_at_the_ends(void **state)
{
    near(share_low(1, 40, 0.7), pow(0.3, 1.0 / 40), 1e-12);
    near(share_high(0, 40, 0.7), 1 - pow(0.3, 1.0 / 40), 1e-12);
    assert_true(share_low(0, 40, 0.7) == 0 && share_high(1, 40, 0.7) == 1);
    assert_true(share_low(0.5, 0, 0.7) == 0 && share_high(0.5, 0, 0.7) == 1);
    /* effective numbers: between their whole neighbours, and no jump */
    double last = 0;
    for (double n = 0.5; n < 5e6; n *= 1.3) {
        double low = share_low(0.97, n, 0.7);
        assert_true(low > last && low < 0.97);
        last = low;
    }
    near(last, 0.97, 1e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beta_incomplete_closed_forms),
        cmocka_unit_test(test_bounds_are_what_they_say),
        cmocka_unit_test(test_bounds_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
