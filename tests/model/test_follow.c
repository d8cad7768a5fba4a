/* The rates of units follow what fresh traffic shows; everything else of them stays. */
#include "tests/model/fixture.h"

#include "model/follow.h"
#include "model/train.h"
#include "tests/model/examples.h"

enum { VALUES = 4, REQUESTS = 6000, DSPS = 2 };

static struct network_feature features[] = {{"dsp", DSPS + VALUE_FIRST, 1, 1, false},
                                            {"a", VALUES + VALUE_FIRST, 1, 1, false}};
static const struct network_shape shape = {features, 2, 0, DSPS, 0, 1, 1, false};

/* Of DSP 0: unit v bids on value v alone, on what it bids on at rate[v]. DSP 1 has one unit, of
 * everything. */
static struct conjunctions *plant(const double rate[VALUES])
{
    struct conjunctions *c = conjunctions_create(&shape, VALUES + 1);
    for (uint32_t u = 0; u < VALUES; u++) {
        c->rate[u] = (float)rate[u];
        for (uint32_t v = 0; v < VALUES + VALUE_FIRST; v++)
            c->factor[1][v * c->n_units + u] =
                v == u + VALUE_FIRST ? 1 : CONJUNCTION_FACTOR_MIN * 0.1f;
    }
    c->rate[VALUES] = 0.1f;
    c->dsp[VALUES] = 1;
    assert_int_equal(conjunctions_index(c), 0);
    return c;
}

struct fresh_world {
    uint32_t slots[REQUESTS], request[REQUESTS * DSPS];
    uint16_t dsp[REQUESTS * DSPS];
    uint8_t label[REQUESTS * DSPS];
    float weight[REQUESTS * DSPS];
    struct examples e;
};

/* Bids on value v with the chance p[v]; DSP 1 bids on nothing. */
static struct fresh_world *draw(const double p[VALUES], uint32_t n_requests, float weight)
{
    struct fresh_world *w = calloc(1, sizeof(*w));
    struct prng g = {3};
    for (uint32_t i = 0; i < n_requests * DSPS; i++) {
        uint32_t r = i / DSPS, value = r % VALUES;
        w->slots[r] = VALUE_FIRST + value;
        w->request[i] = r;
        w->dsp[i] = (uint16_t)(i % DSPS);
        w->label[i] = i % DSPS == 0 && prng_unit(&g) < p[value];
        w->weight[i] = weight;
    }
    w->e = examples_of(n_requests, w->slots, NULL, (uint64_t)n_requests * DSPS, w->request, w->dsp,
                       w->label, w->weight);
    return w;
}

static double chance(float rate)
{
    return 1 - exp(-(double)rate);
}

/* One as it was, one that has ended, one that is busier, one that has come back. */
static void test_rates_follow(void **state)
{
    static const double before[VALUES] = {0.3, 0.3, 0.1, 0.002}, now[VALUES] = {0.26, 0, 0.3, 0.3};
    struct conjunctions *c = plant(before);
    struct fresh_world *w = draw(now, REQUESTS, 1);
    float rate[VALUES + 1];
    assert_int_equal(follow_rates(c, &shape, &w->e, rate), 0);
    for (int v = 0; v < VALUES; v++)
        if (fabs(chance(rate[v]) - now[v]) > 0.03)
            fail_msg("value %d: %.3f, not %.3f", v, chance(rate[v]), now[v]);
    assert_true(rate[VALUES] > 0 && rate[VALUES] < 0.001f); /* DSP 1 has fallen silent */
    assert_true(fabsf(c->rate[1] - 0.3f) < 1e-6f);          /* c stays as it was */
    conjunctions_destroy(c);
    free(w);
}

/* A handful of calls says little, and as little when each stands for fifty. */
static void test_rates_need_evidence(void **state)
{
    static const double before[VALUES] = {0.3, 0.3, 0.3, 0.3}, now[VALUES] = {0};
    const struct examples none = {.n_requests = 0};
    struct conjunctions *c = plant(before);
    struct fresh_world *few = draw(now, 8, 1);
    float rate[VALUES + 1];
    assert_int_equal(follow_rates(c, &shape, &few->e, rate), 0);
    for (int v = 0; v < VALUES; v++)
        assert_true(rate[v] > 0.08f && rate[v] < 0.3f);
    assert_int_equal(follow_rates(c, &shape, &none, rate), 0);
    assert_memory_equal(rate, c->rate, sizeof(rate));

    static const double same[VALUES] = {0.26, 0.26, 0.26, 0.26};
    struct fresh_world *lumps = draw(same, REQUESTS, 50);
    assert_int_equal(follow_rates(c, &shape, &lumps->e, rate), 0);
    for (int v = 0; v < VALUES; v++)
        assert_true(fabs(chance(rate[v]) - 0.26) < 0.03);
    conjunctions_destroy(c);
    free(few);
    free(lumps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_follow),
        cmocka_unit_test(test_rates_need_evidence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
