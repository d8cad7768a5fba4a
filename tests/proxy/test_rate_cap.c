/* The cap of calls a second, by a clock of ours and by threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/rate_cap.h"

enum { START_US = 5000000 };

/* Calls admitted when one is tried each step. */
static unsigned admitted(double per_second, uint64_t step_us, uint64_t duration_us)
{
    struct rate_cap cap = {0};
    unsigned n = 0;
    for (uint64_t at = 0; at < duration_us; at += step_us)
        n += rate_cap_admit(&cap, per_second, START_US + at);
    return n;
}

static void test_rates(void **state)
{
    static const struct {
        double per_second;
        uint64_t step_us, duration_us;
        unsigned least, most;
    } rows[] = {
        {1, 1000, 10000000, 10, 10},      {2.5, 1000, 10000000, 25, 25},
        {0.5, 1000, 10000000, 5, 5},      {100, 1000, 10000000, 1000, 1010},
        {2000, 100, 1000000, 2000, 2200}, {1e6, 1, 100000, 99000, 100000},
        {1000, 10000, 1000000, 100, 100}, /* asks for less than the cap */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned n = admitted(rows[i].per_second, rows[i].step_us, rows[i].duration_us);
        if (n < rows[i].least || n > rows[i].most)
            fail_msg("row %zu: %u", i, n);
    }
}

static void test_burst(void **state)
{
    struct rate_cap cap = {0};
    unsigned n = 0;
    for (int i = 0; i < 1000; i++)
        n += rate_cap_admit(&cap, 100, START_US);
    assert_int_equal(n, 10);
    /* A long rest earns no more than that. */
    for (int i = 0; i < 1000; i++)
        n += rate_cap_admit(&cap, 100, START_US + 3600000000u);
    assert_int_equal(n, 20);
}

static void test_clock_that_lags(void **state)
{
    struct rate_cap cap = {0};
    assert_true(rate_cap_admit(&cap, 10, START_US));
    assert_false(rate_cap_admit(&cap, 10, START_US - 4000));
    assert_false(rate_cap_admit(&cap, 10, START_US + 99000));
    assert_true(rate_cap_admit(&cap, 10, START_US + 100000));
}

struct caller {
    struct rate_cap *cap;
    unsigned n;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    for (uint64_t at = 0; at < 1000000; at += 10)
        c->n += rate_cap_admit(c->cap, 10000, START_US + at);
    return NULL;
}

static void test_threads_share_it(void **state)
{
    struct rate_cap cap = {0};
    struct caller callers[4];
    pthread_t threads[4];
    unsigned n = 0;
    for (int i = 0; i < 4; i++) {
        callers[i] = (struct caller){&cap, 0};
        pthread_create(&threads[i], NULL, call, &callers[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        n += callers[i].n;
    }
    assert_in_range(n, 9999, 11000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_clock_that_lags),
        cmocka_unit_test(test_threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
