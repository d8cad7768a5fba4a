/* The price of one imp, by table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "prng.h"
#include "proxy/auction.h"

#define USD(x) ((int64_t)((x)*1e6 + 0.5))

struct row {
    const char *what;
    struct contender c[4];
    uint32_t n;
    int64_t increment;
    int winner;
    int64_t paid;
};

static void test_clearing_table(void **state)
{
    static const struct row rows[] = {
        {"nobody", {{0}}, 0, USD(.01), -1, 0},
        {"5.00 beats 3.00 over a floor of 1.00",
         {{.dsp = 0, .price_micros = USD(5), .floor_micros = USD(1)},
          {.dsp = 1, .price_micros = USD(3), .floor_micros = USD(1)}},
         2,
         USD(.01),
         0,
         USD(3.01)},
        {"alone over the floor",
         {{.price_micros = USD(5), .floor_micros = USD(1)}},
         1,
         USD(.01),
         0,
         USD(1)},
        {"alone at the floor",
         {{.price_micros = USD(1), .floor_micros = USD(1)}},
         1,
         USD(.01),
         0,
         USD(1)},
        {"alone without a floor", {{.price_micros = USD(5)}}, 1, USD(.01), 0, USD(.01)},
        {"alone, no floor, a bid below the increment",
         {{.price_micros = USD(.004)}},
         1,
         USD(.01),
         0,
         USD(.004)},
        {"alone, no floor, no increment: never free", {{.price_micros = USD(5)}}, 1, 0, 0, 1},
        {"the increment does not lift above the own bid",
         {{.dsp = 0, .price_micros = USD(3.005)}, {.dsp = 1, .price_micros = USD(3)}},
         2,
         USD(.01),
         0,
         USD(3.005)},
        {"a floor above the second bid",
         {{.dsp = 0, .price_micros = USD(5), .floor_micros = USD(4)},
          {.dsp = 1, .price_micros = USD(3), .floor_micros = USD(1)}},
         2,
         USD(.01),
         0,
         USD(4)},
        {"two bids of one DSP do not set each other's price",
         {{.dsp = 0, .price_micros = USD(5), .floor_micros = USD(1)},
          {.dsp = 0, .price_micros = USD(4), .floor_micros = USD(1)},
          {.dsp = 1, .price_micros = USD(2), .floor_micros = USD(1)}},
         3,
         USD(.01),
         0,
         USD(2.01)},
        {"one DSP alone with two bids",
         {{.dsp = 3, .price_micros = USD(4), .floor_micros = USD(1)},
          {.dsp = 3, .price_micros = USD(5), .floor_micros = USD(1)}},
         2,
         USD(.01),
         1,
         USD(1)},
        {"first price",
         {{.dsp = 0, .price_micros = USD(5), .floor_micros = USD(1), .first_price = true},
          {.dsp = 1, .price_micros = USD(3), .first_price = true}},
         2,
         USD(.01),
         0,
         USD(5)},
        {"the winner's own kind of price counts",
         {{.dsp = 0, .price_micros = USD(3), .first_price = true},
          {.dsp = 1, .price_micros = USD(5)}},
         2,
         USD(.01),
         1,
         USD(3.01)},
        {"agreed price",
         {{.dsp = 0, .price_micros = USD(9), .floor_micros = USD(4), .fixed_price = true},
          {.dsp = 1, .price_micros = USD(8)}},
         2,
         USD(.01),
         0,
         USD(4)},
        {"agreed price without one: its bid",
         {{.dsp = 0, .price_micros = USD(9), .fixed_price = true},
          {.dsp = 1, .price_micros = USD(8)}},
         2,
         USD(.01),
         0,
         USD(9)},
        {"priority beats price, and the beaten do not set the price",
         {{.dsp = 0, .price_micros = USD(9)},
          {.dsp = 1, .price_micros = USD(2), .floor_micros = USD(1), .priority = 1}},
         2,
         USD(.01),
         1,
         USD(1)},
        {"among the prior, second price",
         {{.dsp = 0, .price_micros = USD(9)},
          {.dsp = 1, .price_micros = USD(2), .floor_micros = USD(1), .priority = 1},
          {.dsp = 2, .price_micros = USD(3), .floor_micros = USD(1), .priority = 1}},
         3,
         USD(.01),
         2,
         USD(2.01)},
        {"a tie goes by the hash and pays its bid",
         {{.dsp = 0, .price_micros = USD(2), .tie = 7},
          {.dsp = 1, .price_micros = USD(2), .tie = 9}},
         2,
         USD(.01),
         1,
         USD(2)},
        {"a tie the other way",
         {{.dsp = 0, .price_micros = USD(2), .tie = 9},
          {.dsp = 1, .price_micros = USD(2), .tie = 7}},
         2,
         USD(.01),
         0,
         USD(2)},
        {"the largest amounts",
         {{.dsp = 0, .price_micros = INT64_C(9000000000000)},
          {.dsp = 1, .price_micros = INT64_C(9000000000000) - 1}},
         2,
         USD(1000),
         0,
         INT64_C(9000000000000)},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t paid = -1;
        int winner = clearing(rows[i].c, rows[i].n, rows[i].increment, &paid);
        if (winner != rows[i].winner || paid != rows[i].paid)
            fail_msg("%s: winner %d paid %lld, not %d %lld", rows[i].what, winner, (long long)paid,
                     rows[i].winner, (long long)rows[i].paid);
    }
}

/* Whatever the bids: the winner pays no more than it bid, no less than its floor, and in a plain
 * second-price auction it would still have won with what it pays; the order of bids is of no
 * importance. */
static void test_clearing_properties(void **state)
{
    struct prng g = {42};
    for (int round = 0; round < 20000; round++) {
        struct contender c[6], shuffled[6];
        uint32_t n = 1 + (uint32_t)prng_below(&g, 6), rotate = (uint32_t)prng_below(&g, n);
        for (uint32_t i = 0; i < n; i++) {
            c[i] = (struct contender){.dsp = (uint32_t)prng_below(&g, 4),
                                      .price_micros = 1 + (int64_t)prng_below(&g, 20),
                                      .tie = prng_next(&g)};
            c[i].floor_micros = (int64_t)prng_below(&g, (uint64_t)c[i].price_micros + 1);
        }
        for (uint32_t i = 0; i < n; i++)
            shuffled[(i + rotate) % n] = c[i];
        int64_t paid, paid_shuffled, increment = (int64_t)prng_below(&g, 3);
        int winner = clearing(c, n, increment, &paid);
        int other = clearing(shuffled, n, increment, &paid_shuffled);
        assert_in_range(winner, 0, n - 1);
        assert_int_equal(((uint32_t)winner + rotate) % n, other);
        assert_int_equal(paid, paid_shuffled);
        const struct contender *w = &c[winner];
        assert_true(paid >= 1 && paid <= w->price_micros && paid >= w->floor_micros);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(c[i].price_micros <= w->price_micros);
            if (c[i].dsp != w->dsp)
                assert_true(c[i].price_micros <= paid);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clearing_table),
        cmocka_unit_test(test_clearing_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
