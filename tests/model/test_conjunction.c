/* Conjunctions: do they find campaigns that were planted, and nothing where there is nothing? */
#include "tests/model/fixture.h"
#include "tests/model/synthetic.h"

#include "model/conjunction.h"
#include "model/metrics.h"

static double auc_of(const struct examples *e, const double *score, uint32_t dsp)
{
    struct recall_curve *c = malloc(sizeof(*c));
    float *p = malloc((e->n_pairs + 1) * sizeof(*p));
    float *weight = malloc((e->n_pairs + 1) * sizeof(*weight));
    uint8_t *label = malloc(e->n_pairs + 1);
    uint64_t n = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++)
        if (e->dsp[i] == dsp) {
            p[n] = (float)score[i];
            weight[n] = 1;
            label[n++] = e->label[i];
        }
    assert_int_equal(recall_curve_build(c, p, label, weight, n, NULL), 0);
    double auc = c->auc;
    free(c);
    free(p);
    free(weight);
    free(label);
    return auc;
}

/* The rate that c gives pair i. */
static double rate_of(const struct network_shape *shape, struct conjunctions *c,
                      const struct examples *e, uint64_t i)
{
    struct network n = {.shape = *shape, .conjunctions = c};
    return fixture_rate(&n, e->slots + (size_t)e->request[i] * network_shape_slots(shape),
                        e->dsp[i]);
}

static void test_fit_finds_planted_campaigns(void **state)
{
    struct synthetic w;
    struct synthetic_examples train, later;
    struct conjunction_options o;
    synthetic_init(&w, 3, 6, 4, 8, 8, 5);
    synthetic_draw(&w, 40000, 6, &train);
    synthetic_draw(&w, 10000, 7, &later);
    conjunction_options_default(&o);
    struct conjunctions *c = conjunctions_fit(&w.shape, &train.e, &o, NULL);
    assert_non_null(c);
    double *mine = malloc(later.e.n_pairs * sizeof(*mine));
    double *truth = malloc(later.e.n_pairs * sizeof(*truth)), expected = 0, found = 0;
    for (uint64_t i = 0; i < later.e.n_pairs; i++) {
        mine[i] = rate_of(&w.shape, c, &later.e, i);
        truth[i] = (double)later.truth[i];
        expected += 1 - exp(-mine[i]);
        found += later.e.label[i];
    }
    for (uint32_t d = 0; d < 3; d++) {
        double a = auc_of(&later.e, mine, d), best = auc_of(&later.e, truth, d);
        if (!(a > best - 0.05))
            fail_msg("DSP %u: AUC %.4f, the truth has %.4f", d, a, best);
    }
    assert_true(fabs(expected / found - 1) < 0.1);
    free(mine);
    free(truth);
    conjunctions_destroy(c);
    synthetic_examples_dispose(&train);
    synthetic_examples_dispose(&later);
    synthetic_dispose(&w);
}

/* A value that a DSP never bids on, a feature that says nothing, and a DSP that hardly bids. */
static void test_fit_knows_what_matters(void **state)
{
    enum { REQUESTS = 30000 };
    struct network_feature features[] = {
        {"dsp", 2 + VALUE_FIRST, 2, 1, false}, {"a", 6, 2, 1, false}, {"noise", 12, 2, 1, false}};
    struct network_shape shape = {features, 3, 0, 2, 0, 4, 4, false};
    uint32_t *slots = malloc(REQUESTS * 2 * sizeof(*slots)), *request;
    request = malloc(REQUESTS * 2 * sizeof(*request));
    uint16_t *dsp = malloc(REQUESTS * 2 * sizeof(*dsp));
    uint8_t *label = malloc(REQUESTS * 2);
    float *weight = malloc(REQUESTS * 2 * sizeof(*weight));
    struct prng g = {3};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        slots[2 * i] = VALUE_FIRST + (uint32_t)prng_below(&g, 4);
        slots[2 * i + 1] = VALUE_FIRST + (uint32_t)prng_below(&g, 10);
        for (uint32_t d = 0; d < 2; d++) {
            request[2 * i + d] = i;
            dsp[2 * i + d] = (uint16_t)d;
            weight[2 * i + d] = 1;
            bool targeted = d == 0 && slots[2 * i] == VALUE_FIRST + 1;
            label[2 * i + d] = targeted ? prng_unit(&g) < 0.4 : d == 1 && i < 5;
        }
    }
    struct examples e = {REQUESTS, slots, NULL, REQUESTS * 2, request, dsp, label, weight};
    struct conjunction_options o;
    conjunction_options_default(&o);
    struct conjunctions *c = conjunctions_fit(&shape, &e, &o, NULL);
    assert_non_null(c);
    assert_int_equal(c->first[0], 0);
    assert_true(c->first[1] > 0);
    assert_int_equal(c->first[2], c->first[1]); /* five bids are no evidence */
    uint32_t row[2] = {VALUE_FIRST + 1, VALUE_FIRST};
    struct network n = {.shape = shape, .conjunctions = c};
    assert_true(fabs(1 - exp(-fixture_rate(&n, row, 0)) - 0.4) < 0.03);
    row[0] = VALUE_FIRST + 2;
    assert_true(fixture_rate(&n, row, 0) < 0.002);
    for (uint32_t v = 0; v < 10; v++) {
        row[0] = VALUE_FIRST + 1;
        row[1] = VALUE_FIRST + v;
        double p = 1 - exp(-fixture_rate(&n, row, 0));
        if (fabs(p - 0.4) > 0.06)
            fail_msg("noise %u moves p to %.3f", v, p);
    }
    conjunctions_destroy(c);
    free(slots);
    free(request);
    free(dsp);
    free(label);
    free(weight);
}

/* A log of which one call in fifty was kept, and weighs fifty, says as much as its calls, not as
 * what they stand for: noise must not become opinion. */
static void test_fit_weights_are_no_evidence(void **state)
{
    enum { REQUESTS = 20000, VALUES = 30 };
    struct network_feature features[] = {{"dsp", 1 + VALUE_FIRST, 2, 1, false},
                                         {"noise", VALUES + VALUE_FIRST, 2, 1, false}};
    struct network_shape shape = {features, 2, 0, 1, 0, 4, 4, false};
    uint32_t *slots = malloc(REQUESTS * sizeof(*slots)), *request;
    request = malloc(REQUESTS * sizeof(*request));
    uint16_t *dsp = calloc(REQUESTS, sizeof(*dsp));
    uint8_t *label = malloc(REQUESTS);
    float *weight = malloc(REQUESTS * sizeof(*weight));
    struct prng g = {9};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        request[i] = i;
        slots[i] = VALUE_FIRST + (uint32_t)prng_below(&g, VALUES);
        label[i] = prng_unit(&g) < 0.02;
        weight[i] = 50;
    }
    struct examples e = {REQUESTS, slots, NULL, REQUESTS, request, dsp, label, weight};
    struct conjunction_options o;
    conjunction_options_default(&o);
    struct conjunctions *c = conjunctions_fit(&shape, &e, &o, NULL);
    assert_non_null(c);
    struct network n = {.shape = shape, .conjunctions = c};
    double low = 1, high = 0;
    for (uint32_t v = 0; v < VALUES; v++) {
        uint32_t row = VALUE_FIRST + v;
        double p = 1 - exp(-fixture_rate(&n, &row, 0));
        low = fmin(low, p);
        high = fmax(high, p);
    }
    if (low < 0.01 || high > 0.03)
        fail_msg("p goes from %.4f to %.4f, the truth is 0.02", low, high);
    conjunctions_destroy(c);
    free(slots);
    free(request);
    free(dsp);
    free(label);
    free(weight);
}

static void assert_same(const struct conjunctions *a, const struct conjunctions *b)
{
    assert_int_equal(a->n_units, b->n_units);
    assert_memory_equal(a->rate, b->rate, a->n_units * sizeof(float));
    for (uint32_t f = 0; f < a->n_features; f++) {
        assert_int_equal(a->factor[f] != NULL, b->factor[f] != NULL);
        if (a->factor[f] != NULL)
            assert_memory_equal(a->factor[f], b->factor[f],
                                (size_t)a->values[f] * a->n_units * sizeof(float));
    }
}

static void test_fit_is_the_same_for_any_number_of_threads(void **state)
{
    struct synthetic w;
    struct synthetic_examples train;
    struct conjunction_options o;
    synthetic_init(&w, 3, 4, 0, 8, 8, 5);
    synthetic_draw(&w, 3000, 6, &train);
    conjunction_options_default(&o);
    o.sweeps = 3;
    struct conjunctions *one = conjunctions_fit(&w.shape, &train.e, &o, NULL);
    o.threads = 3;
    struct conjunctions *three = conjunctions_fit(&w.shape, &train.e, &o, NULL);
    o.seed = 2;
    struct conjunctions *other = conjunctions_fit(&w.shape, &train.e, &o, NULL);
    assert_same(one, three);
    assert_true(other->n_units != one->n_units ||
                memcmp(other->rate, one->rate, one->n_units * sizeof(float)) != 0);
    conjunctions_destroy(one);
    conjunctions_destroy(three);
    conjunctions_destroy(other);
    synthetic_examples_dispose(&train);
    synthetic_dispose(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_finds_planted_campaigns),
        cmocka_unit_test(test_fit_knows_what_matters),
        cmocka_unit_test(test_fit_weights_are_no_evidence),
        cmocka_unit_test(test_fit_is_the_same_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
