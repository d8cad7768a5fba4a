/* Which values are targeted: planted lists are found, and counts without any list do no harm. */
#include "tests/model/fixture.h"

#include "model/targeting.h"

enum { VALUES = 200 };

struct planted {
    float found[VALUES], expected[VALUES], factor[VALUES];
    double truth[VALUES];
};

static double poisson(struct prng *g, double mean)
{
    double n = -1, left = mean;
    while (left >= 0) {
        left += log(1 - prng_unit(g));
        n++;
    }
    return n;
}

/* Every fifth value is targeted; expected counts between `least` and 40 times that. */
static struct planted *plant(double other, double targeted, double least, uint64_t seed)
{
    struct planted *p = calloc(1, sizeof(*p));
    struct prng g = {seed};
    for (int i = 0; i < VALUES; i++) {
        p->truth[i] = i % 5 == 0 ? targeted : other;
        p->expected[i] = (float)(least * exp(prng_unit(&g) * log(40)));
        p->found[i] = (float)poisson(&g, (double)p->expected[i] * p->truth[i]);
    }
    return p;
}

static struct targeting fitted(struct planted *p, double lump)
{
    struct targeting t = {0};
    const struct targeting_counts c = {p->found, p->expected, VALUES, 1, lump};
    for (int i = 0; i < 8; i++)
        targeting_fit(&t, &c);
    targeting_factors(&t, &c, p->factor);
    return t;
}

static double error_of(const struct planted *p)
{
    double sum = 0;
    for (int i = 0; i < VALUES; i++) {
        double off = (double)p->factor[i] - p->truth[i];
        sum += off * off / VALUES;
    }
    return sqrt(sum);
}

/* The best that one gamma law of mean 1 does, whatever its shape. */
static double error_of_one_law(const struct planted *p)
{
    double best = INFINITY;
    for (double shape = 0.02; shape < 100; shape *= 1.3) {
        double sum = 0;
        for (int i = 0; i < VALUES; i++) {
            double off =
                ((double)p->found[i] + shape) / ((double)p->expected[i] + shape) - p->truth[i];
            sum += off * off / VALUES;
        }
        best = fmin(best, sqrt(sum));
    }
    return best;
}

static void test_fit_finds_the_list(void **state)
{
    struct planted *p = plant(0.02, 4.9, 0.3, 11);
    struct targeting t = fitted(p, 1);
    assert_true(fabs(t.share - 0.2) < 0.06);
    assert_true(fabs(t.targeted.mean / 4.9 - 1) < 0.15);
    assert_true(t.other.mean < 0.1);
    double mine = error_of(p), one = error_of_one_law(p);
    if (!(mine < 0.75 * one))
        fail_msg("off by %.3f; one law for all values: by %.3f", mine, one);
    free(p);
}

/* All alike, or spread out without two kinds: no worse than one law by much. */
static void test_fit_does_no_harm_without_a_list(void **state)
{
    struct planted *alike = plant(1, 1, 2, 12), *spread = plant(1, 1, 2, 13);
    struct prng g = {5};
    for (int i = 0; i < VALUES; i++) {
        spread->truth[i] = exp(0.5 * prng_normal(&g));
        spread->found[i] = (float)poisson(&g, (double)spread->expected[i] * spread->truth[i]);
    }
    fitted(alike, 1);
    fitted(spread, 1);
    assert_true(error_of(alike) < 0.25);
    assert_true(error_of(spread) < 1.15 * error_of_one_law(spread));
    free(alike);
    free(spread);
}

/* Counts that come in tens say as much as a tenth of them. */
static void test_lumps_are_one_bid_each(void **state)
{
    struct planted *p = plant(0.1, 3, 1, 14), *tens = plant(0.1, 3, 1, 14);
    for (int i = 0; i < VALUES; i++) {
        tens->found[i] *= 10;
        tens->expected[i] *= 10;
    }
    fitted(p, 1);
    fitted(tens, 10);
    for (int i = 0; i < VALUES; i++)
        assert_true(fabs((double)(tens->factor[i] / p->factor[i]) - 1) < 1e-4);
    free(p);
    free(tens);
}

/* In place, a column of a wider table, with nothing seen and with very much. */
static void test_factors_are_numbers(void **state)
{
    enum { STRIDE = 3, N = 6 };
    float found[N * STRIDE] = {0}, expected[N * STRIDE];
    static const float counts[N][2] = {{0, 1e-9f}, {0, 50},   {3e7f, 1e7f},
                                       {1, 1e-6f}, {0, 3e7f}, {7, 7}};
    struct targeting t = {0};
    for (int i = 0; i < N; i++) {
        found[i * STRIDE + 1] = counts[i][0];
        expected[i * STRIDE + 1] = counts[i][1];
    }
    const struct targeting_counts c = {found + 1, expected + 1, N, STRIDE, 1};
    for (int i = 0; i < 20; i++)
        targeting_fit(&t, &c);
    targeting_factors(&t, &c, found + 1);
    for (int i = 0; i < N; i++) {
        assert_true(isfinite(found[i * STRIDE + 1]) && found[i * STRIDE + 1] > 0);
        assert_true(found[i * STRIDE] == 0 && found[i * STRIDE + 2] == 0);
    }
    assert_true(found[4 * STRIDE + 1] < found[2 * STRIDE + 1]);
    assert_true(t.other.mean <= t.targeted.mean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_finds_the_list),
        cmocka_unit_test(test_fit_does_no_harm_without_a_list),
        cmocka_unit_test(test_lumps_are_one_bid_each),
        cmocka_unit_test(test_factors_are_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
