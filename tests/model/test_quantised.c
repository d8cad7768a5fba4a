/* Whole numbers against floats: all variants to the bit among themselves, near the floats on random
 * networks, and on a trained one what it does to recall and to the share withheld. */
#include "tests/model/fixture.h"
#include "tests/model/synthetic.h"

#include "model/conjunction_rows.h"
#include "model/kernel.h"
#include "model/metrics.h"
#include "model/scorer.h"

enum { REQUESTS = 64 };

struct requests {
    uint32_t slots[REQUESTS * 9];
    float numeric[REQUESTS * 3];
};

static void draw(const struct network *n, struct requests *r)
{
    struct prng g = {5};
    assert_int_equal(network_shape_slots(&n->shape), 9);
    for (int i = 0; i < REQUESTS; i++)
        fixture_request(&n->shape, &g, r->slots + i * 9, r->numeric + i * 3);
}

static void measure(struct network *n, const struct requests *r)
{
    struct scorer *s = scorer_create(n, NULL);
    n->activation_top = scorer_activation_top(s, r->slots, r->numeric, REQUESTS);
    assert_true(n->activation_top > 0);
    scorer_destroy(s);
}

static void score(const struct scorer *s, const struct network *n, const struct requests *r,
                  float *p)
{
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    uint32_t dsps[256];
    for (uint32_t d = 0; d < n->shape.n_dsps; d++)
        dsps[d] = n->shape.n_dsps - 1 - d;
    for (uint32_t i = 0; i < REQUESTS; i++)
        scorer_score(s, scratch, r->slots + i * 9, r->numeric + i * 3, dsps, n->shape.n_dsps,
                     p + i * n->shape.n_dsps);
    scorer_scratch_destroy(scratch);
}

/* The wide tables are summed in floats by the float kernel, the same one for all. */
static void check_network(uint32_t n_dsps, uint32_t hidden1, uint32_t hidden2, bool gated,
                          bool conjunctions)
{
    const struct kernel_int8 *kernels[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_int8_available(kernels), n_p = REQUESTS * n_dsps;
    struct network *n = fixture_network(n_dsps, hidden1, hidden2, 7);
    float *gate = n->gate;
    n->gate = gated ? gate : NULL;
    if (conjunctions)
        fixture_conjunctions(n, 8);
    struct requests r;
    float *exact = malloc(n_p * 4), *plain = malloc(n_p * 4), *p = malloc(n_p * 4);
    draw(n, &r);
    measure(n, &r);
    struct scorer *floats = scorer_create(n, NULL);
    score(floats, n, &r, exact);
    for (size_t k = 0; k < n_kernels; k++) {
        struct error err = {""};
        struct scorer *s = scorer_create_int8(n, kernels[k], &err);
        if (s == NULL)
            fail_msg("%s", err.text);
        assert_string_equal(scorer_kernel_name(s), kernels[k]->name);
        score(s, n, &r, k == 0 ? plain : p);
        if (k > 0)
            assert_memory_equal(p, plain, n_p * sizeof(*p));
        scorer_destroy(s);
    }
    double sum = 0, largest = 0;
    for (size_t i = 0; i < n_p; i++) {
        sum += fabs(plain[i] - exact[i]);
        largest = fmax(largest, fabs(plain[i] - exact[i]));
    }
    if (sum > 2e-3 * (double)n_p || largest > 0.15)
        fail_msg("%u DSPs, %u/%u: differs from floats by %.6f on average, at most %.6f", n_dsps,
                 hidden1, hidden2, sum / (double)n_p, largest);
    scorer_destroy(floats);
    n->gate = gate;
    network_destroy(n);
    free(exact);
    free(plain);
    free(p);
}

static void test_variants_agree_and_are_near_floats(void **state)
{
    static const uint32_t sizes[][3] = {{1, 1, 1},    {2, 5, 3},     {8, 16, 16},  {13, 33, 17},
                                        {67, 40, 50}, {200, 64, 32}, {9, 128, 64}, {5, 129, 100}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        check_network(sizes[i][0], sizes[i][1], sizes[i][2], true, sizes[i][0] > 1);
        check_network(sizes[i][0], sizes[i][1], sizes[i][2], false, false);
    }
    for (uint32_t units = 1; units <= 67; units++)
        check_network(3, units, 68 - units, true, units % 2 == 0);
}

/* ---- conjunctions ---- */

/* The rates of the last feature's values, which has one slot, by themselves: shares of 1. */
static void rates_of(const struct network *n, const struct kernel_int8 *whole, uint32_t value,
                     double *rate)
{
    const struct conjunctions *c = n->conjunctions;
    struct conjunction_rows *r = conjunction_rows_create(c, &n->shape, kernel_choose(), whole);
    float *scratch = aligned_alloc(64, conjunction_rows_scratch(r) * sizeof(float));
    uint32_t slots[9] = {0, 0, SLOT_EMPTY, SLOT_EMPTY, 0, SLOT_EMPTY, SLOT_EMPTY, SLOT_EMPTY};
    slots[8] = value;
    conjunction_rows_begin(r, scratch, slots);
    for (uint32_t d = 0; d < c->n_dsps; d++)
        rate[d] = log1p(exp((double)conjunction_rows_join(r, scratch, d, 0)));
    free(scratch);
    conjunction_rows_destroy(r);
}

/* A byte takes factors 2^16 apart, wherever they are; of those further apart the least are
 * raised. */
static void test_factors_in_bytes(void **state)
{
    static const struct {
        float rate, least, largest, raised;
    } cases[] = {{0.01f, 0.3f, 3, 0},       {0.01f, 1, 1, 0},         {1e-7f, 1e-3f, 60, 0},
                 {1e-10f, 1, 60000, 0},     {1e9f, 1e-10f, 1e-9f, 0}, {1e-8f, 1e-3f, 1000, 0.0155f},
                 {1e-12f, 1e12f, 1e12f, 0}, {1, 1e-12f, 1, 1.56e-5f}};
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    struct network *n = fixture_network(CASES, 16, 16, 1);
    struct conjunctions *c = n->conjunctions = conjunctions_create(&n->shape, CASES);
    uint32_t hour = n->shape.n_features - 1;
    for (uint32_t d = 0; d < CASES; d++) {
        c->dsp[d] = (float)d;
        c->rate[d] = cases[d].rate;
        c->share[d] = 1;
        for (uint32_t v = 0; v < c->values[hour]; v++)
            c->factor[hour][v * CASES + d] = v == 3   ? cases[d].least
                                             : v == 4 ? cases[d].largest
                                                      : sqrtf(cases[d].least * cases[d].largest);
    }
    assert_int_equal(conjunctions_index(c), 0);
    for (uint32_t value = 3; value <= 5; value++) {
        double exact[CASES], bytes[CASES];
        rates_of(n, NULL, value, exact);
        rates_of(n, &kernel_int8_c, value, bytes);
        for (uint32_t d = 0; d < CASES; d++) {
            double low = (double)(cases[d].rate * cases[d].raised);
            double expected = fmin(fmax(fmax(exact[d], low), 1e-9), 20);
            if (fabs(bytes[d] / expected - 1) > 0.0222)
                fail_msg("case %u, value %u: %g, not %g", d, value, bytes[d], expected);
        }
    }
    network_destroy(n);
}

static void refused(const struct network *n, const char *why)
{
    struct error err = {""};
    assert_null(scorer_create_int8(n, &kernel_int8_c, &err));
    if (strstr(err.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void test_what_does_not_fit_is_refused(void **state)
{
    struct network *n = fixture_network(4, 20, 10, 1);
    refused(n, "not known");
    n->activation_top = NAN;
    refused(n, "not known");
    n->activation_top = 1e-30f;
    refused(n, "fits");
    n->activation_top = 20;
    n->gate[5] = 8.5f;
    refused(n, "gate");
    n->gate[5] = NAN;
    refused(n, "gate");
    n->gate[5] = -7.5f;
    struct scorer *s = scorer_create_int8(n, &kernel_int8_c, NULL);
    assert_non_null(s);
    struct scorer *floats = scorer_create(n, NULL);
    struct scorer_memory small = scorer_memory(s), large = scorer_memory(floats);
    assert_true(small.rows > 0 && small.layers > 0 && small.scratch > 0 && large.rows > 0);
    assert_true(small.wide == large.wide);
    scorer_destroy(s);
    scorer_destroy(floats);
    n->hidden2_weight[3] = INFINITY;
    refused(n, "output");
    n->hidden2_weight[3] = 0;
    n->embedding[0][7] = 1e6f;
    refused(n, "fits");
    network_destroy(n);
}

/* Numbers out of any range saturate; nothing is undefined. */
static void test_numbers_beyond_range(void **state)
{
    struct network *n = fixture_network(2, 20, 10, 1);
    n->activation_top = 20;
    struct scorer *s = scorer_create_int8(n, kernel_int8_choose(), NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    uint32_t slots[9] = {0}, dsps[] = {0, 1};
    float numeric[3] = {3e38f, -3e38f, 3e38f}, p[2];
    scorer_score(s, scratch, slots, numeric, dsps, 2, p);
    assert_true(p[0] >= 0 && p[0] <= 1 && p[1] >= 0 && p[1] <= 1);
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    network_destroy(n);
}

/* ---- on a trained network ---- */

static void score_examples(const struct scorer *s, const struct synthetic *w,
                           const struct examples *e, float *p)
{
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    uint32_t dsps[64], slots = network_shape_slots(&w->shape);
    for (uint32_t d = 0; d < w->n_dsps; d++)
        dsps[d] = d;
    for (uint32_t i = 0; i < e->n_requests; i++)
        scorer_score(s, scratch, e->slots + (size_t)i * slots, e->numeric + 2 * (size_t)i, dsps,
                     w->n_dsps, p + (size_t)i * w->n_dsps);
    scorer_scratch_destroy(scratch);
}

/* The largest threshold that keeps the target on these pairs. */
static float threshold_of(const struct examples *e, const float *p, double target)
{
    struct recall_curve *c = malloc(sizeof(*c));
    assert_int_equal(recall_curve_build(c, p, e->label, e->weight, e->n_pairs, NULL), 0);
    float threshold = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->points[i].recall >= (float)target)
            threshold = c->points[i].threshold;
    free(c);
    return threshold;
}

static void shares(const struct examples *e, const float *p, float threshold, double *recall,
                   double *withheld)
{
    double kept = 0, bids = 0, below = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++) {
        bids += e->label[i];
        kept += e->label[i] && p[i] >= threshold;
        below += p[i] < threshold;
    }
    *recall = kept / bids;
    *withheld = below / (double)e->n_pairs;
}

static void test_recall_and_withheld_share_stay(void **state)
{
    struct synthetic w;
    struct synthetic_examples train, test;
    struct network *n = NULL;
    struct train_report report;
    struct train_options o;
    struct error err = {""};
    synthetic_init(&w, 8, 4, 0, 128, 64, 1);
    synthetic_draw(&w, 12000, 2, &train);
    synthetic_draw(&w, 60000, 3, &test);
    train_options_default(&o);
    o.epochs_max = 3;
    o.threads = 1;
    assert_int_equal(train_network(&w.shape, &train.e, &test.e, &o, &n, &report, &err), 0);
    struct scorer *floats = scorer_create(n, NULL);
    n->activation_top =
        scorer_activation_top(floats, train.e.slots, train.e.numeric, train.e.n_requests);
    struct scorer *whole = scorer_create_int8(n, kernel_int8_choose(), &err);
    if (whole == NULL)
        fail_msg("%s", err.text);
    uint64_t n_p = test.e.n_pairs;
    float *p = malloc(n_p * 4), *q = malloc(n_p * 4);
    score_examples(floats, &w, &test.e, p);
    score_examples(whole, &w, &test.e, q);
    double sum = 0, largest = 0, recall[2], withheld[2], at[2], unused;
    for (uint64_t i = 0; i < n_p; i++) {
        sum += fabs(p[i] - q[i]);
        largest = fmax(largest, fabs(p[i] - q[i]));
    }
    float threshold = threshold_of(&test.e, p, 0.97);
    shares(&test.e, p, threshold, &recall[0], &withheld[0]);
    shares(&test.e, q, threshold, &recall[1], &unused);
    shares(&test.e, q, threshold_of(&test.e, q, 0.97), &at[0], &withheld[1]);
    print_message("whole numbers: mean error %.6f, max %.6f; recall %.5f -> %.5f; withheld %.4f -> "
                  "%.4f\n",
                  sum / (double)n_p, largest, recall[0], recall[1], withheld[0], withheld[1]);
    assert_true(sum / (double)n_p < 5e-4 && largest < 2e-2);
    assert_true(fabs(recall[0] - recall[1]) < 0.0005);
    assert_true(fabs(withheld[0] - withheld[1]) < 0.002);
    free(p);
    free(q);
    scorer_destroy(whole);
    scorer_destroy(floats);
    network_destroy(n);
    synthetic_examples_dispose(&train);
    synthetic_examples_dispose(&test);
    synthetic_dispose(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants_agree_and_are_near_floats),
        cmocka_unit_test(test_factors_in_bytes),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
        cmocka_unit_test(test_numbers_beyond_range),
        cmocka_unit_test(test_recall_and_withheld_share_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
