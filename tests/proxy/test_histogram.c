/* Quantiles against a sorted array, counts exact at bucket edges, merge, the ends of the range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "proxy/histogram.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static struct histogram *fresh(void)
{
    struct histogram *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    return h;
}

static void test_histogram_quantile_against_sorted_array(void **state)
{
    (void)state;
    enum { N = 20000 };
    static const double quantiles[] = {0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    uint64_t *values = malloc(N * sizeof(*values));
    assert_non_null(values);
    struct prng g = {7};
    for (int shape = 0; shape < 4; shape++) {
        struct histogram *h = fresh();
        uint64_t sum = 0;
        for (int i = 0; i < N; i++) {
            double u = prng_unit(&g);
            values[i] = shape == 0   ? prng_below(&g, 100)
                        : shape == 1 ? (uint64_t)exp(u * 22)
                        : shape == 2 ? (uint64_t)(-8000 * log(1 - u))
                                     : 120000;
            histogram_add(h, values[i]);
            sum += values[i];
        }
        qsort(values, N, sizeof(*values), compare);
        for (size_t k = 0; k < sizeof(quantiles) / sizeof(*quantiles); k++) {
            double rank = ceil(quantiles[k] * N);
            uint64_t exact = values[rank < 1 ? 0 : (size_t)rank - 1];
            uint64_t got = histogram_quantile(h, quantiles[k]);
            assert_true(got >= exact);
            assert_true((double)(got - exact) <= (double)exact / 32);
        }
        assert_int_equal(h->n, N);
        assert_int_equal(h->sum, sum);
        assert_int_equal(h->max, values[N - 1]);
        assert_int_equal(histogram_quantile(h, 1), values[N - 1]);
        free(h);
    }
    free(values);
}

static void test_histogram_quantile_empty(void **state)
{
    (void)state;
    struct histogram *h = fresh();
    assert_int_equal(histogram_quantile(h, 0), 0);
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    assert_int_equal(histogram_quantile(h, 1), 0);
    assert_int_equal(histogram_count_below(h, UINT64_MAX), 0);
    free(h);
}

/* A value is counted at or below itself exactly where a bucket ends, and never below a lower one.
 */
static void test_histogram_count_below_edges(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 64; us++) {
        struct histogram *h = fresh();
        histogram_add(h, us);
        assert_int_equal(histogram_count_below(h, us), 1);
        if (us > 0)
            assert_int_equal(histogram_count_below(h, us - 1), 0);
        free(h);
    }
    for (unsigned octave = 6; octave < 33; octave++) {
        uint64_t width = (uint64_t)1 << (octave - 5);
        for (uint64_t k = 0; k < 32; k++) {
            uint64_t from = ((uint64_t)1 << octave) + k * width, last = from + width - 1;
            struct histogram *h = fresh();
            histogram_add(h, from);
            histogram_add(h, last);
            assert_int_equal(histogram_count_below(h, from - 1), 0);
            assert_int_equal(histogram_count_below(h, last), 2);
            assert_int_equal(histogram_count_below(h, last + 1), 2);
            /* Both values share the bucket: the quantile of either is its last value. */
            assert_int_equal(histogram_quantile(h, 0), last);
            free(h);
        }
    }
}

static void test_histogram_add_beyond_range(void **state)
{
    (void)state;
    struct histogram *h = fresh();
    histogram_add(h, 10);
    histogram_add(h, UINT64_MAX / 2);
    histogram_add(h, (uint64_t)1 << 33);
    assert_int_equal(h->n, 3);
    assert_int_equal(histogram_quantile(h, 1), UINT64_MAX / 2);
    assert_int_equal(histogram_quantile(h, 0), 10);
    assert_int_equal(histogram_count_below(h, 1000), 1);
    assert_int_equal(histogram_count_below(h, UINT64_MAX), 3);
    free(h);
}

static void test_histogram_merge_equals_one(void **state)
{
    (void)state;
    struct histogram *parts[3] = {fresh(), fresh(), fresh()}, *all = fresh(), *merged = fresh();
    struct prng g = {3};
    for (int i = 0; i < 5000; i++) {
        uint64_t us = (uint64_t)exp(prng_unit(&g) * 18);
        histogram_add(parts[prng_below(&g, 2)], us); /* the third stays empty */
        histogram_add(all, us);
    }
    for (int i = 0; i < 3; i++)
        histogram_merge(merged, parts[i]);
    assert_memory_equal(merged, all, sizeof(*all));
    for (int i = 0; i < 3; i++)
        free(parts[i]);
    free(all);
    free(merged);
}

static void *write_many(void *arg)
{
    struct histogram *h = arg;
    for (uint64_t i = 0; i < 200000; i++)
        histogram_add(h, i % 5000);
    return NULL;
}

/* A reader beside the writer: what it sees is always some prefix's counts, never a torn sum. */
static void test_histogram_merge_beside_writer(void **state)
{
    (void)state;
    struct histogram *h = fresh();
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_many, h), 0);
    uint64_t before = 0;
    while (before < 200000) {
        struct histogram *seen = fresh();
        histogram_merge(seen, h);
        assert_true(seen->n >= before && seen->n <= 200000);
        assert_true(histogram_quantile(seen, 0.5) < 5000);
        before = seen->n;
        free(seen);
    }
    pthread_join(writer, NULL);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram_quantile_against_sorted_array),
        cmocka_unit_test(test_histogram_quantile_empty),
        cmocka_unit_test(test_histogram_count_below_edges),
        cmocka_unit_test(test_histogram_add_beyond_range),
        cmocka_unit_test(test_histogram_merge_equals_one),
        cmocka_unit_test(test_histogram_merge_beside_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
