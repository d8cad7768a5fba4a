/* Curves worked out by hand, and one large set against the definitions, counted naively. */
#include "tests/model/fixture.h"

#include "model/metrics.h"

#define NEAR(a, b, tolerance)                                        \
    do {                                                             \
        double a_ = (a), b_ = (b);                                   \
        if (!(fabs(a_ - b_) <= (tolerance)))                         \
            fail_msg("line %d: %.9g is not %.9g", __LINE__, a_, b_); \
    } while (0)

static void test_curve_by_hand(void **state)
{
    /* From the top: bid .9, none .8, bid .7 (twice as heavy), {bid, none} .5, none .1 x 3. */
    static const float p[] = {0.1f, 0.5f, 0.9f, 0.1f, 0.7f, 0.5f, 0.8f, 0.1f};
    static const uint8_t label[] = {0, 1, 1, 0, 1, 0, 0, 0};
    static const float weight[] = {1, 1, 1, 1, 2, 1, 1, 1};
    struct recall_curve c;
    assert_int_equal(recall_curve_build(&c, p, label, weight, 8, NULL), 0);
    assert_int_equal(c.pairs, 8);
    assert_int_equal(c.bids, 3);
    NEAR(c.bid_rate, 4.0 / 9, 1e-9);
    /* Ordered pairs by weight: bid .9 over 5 others; .7 (2) over 4; .5 over 3 and half of 1. */
    NEAR(c.auc, (5 + 2 * 4 + 3.5) / (4 * 5), 1e-9);
    double nll = -log(0.9) - log(0.2) - 2 * log(0.7) - 2 * log(0.5) - 3 * log(0.9);
    NEAR(c.nll, nll / 9, 1e-6);
    NEAR(c.calibration, (0.9 + 0.8 + 1.4 + 1.0 + 0.3) / 4, 1e-6);
    /* Recall .75 at .7 sends weight 4 of 9; recall 1 at .5 sends 6 of 9. .9 alone is below 50%. */
    assert_int_equal(c.n, 2);
    assert_true(c.points[0].threshold == 0.5f && c.points[0].recall == 1);
    NEAR(c.points[0].withheld, 3.0 / 9, 1e-6);
    assert_true(c.points[1].threshold == 0.7f);
    NEAR(c.points[1].recall, 0.75, 1e-6);
    NEAR(c.points[1].withheld, 5.0 / 9, 1e-6);
    /* Effective bids 4^2 / (1 + 1 + 4) = 8/3, none of them lost. */
    NEAR(c.points[0].recall_low, pow(0.3, 3.0 / 8), 1e-5);
    NEAR(c.points[0].recall_high, 1, 1e-6);
}

static void test_curve_without_one_side(void **state)
{
    static const float p[] = {0.25f, 0.5f}, weight[] = {1, 3};
    static const uint8_t none[] = {0, 0}, all[] = {1, 1};
    struct recall_curve c;
    assert_int_equal(recall_curve_build(&c, p, none, weight, 2, NULL), 0);
    assert_int_equal(c.n, 0);
    assert_true(isnan(c.auc) && isnan(c.calibration));
    NEAR(c.nll, (-log(0.75) - 3 * log(0.5)) / 4, 1e-6);
    assert_true(recall_curve_threshold(&c, 0.5, 0) == 0);
    assert_int_equal(recall_curve_build(&c, p, all, weight, 2, NULL), 0);
    assert_int_equal(c.n, 2);
    assert_true(isnan(c.auc) && c.points[0].withheld == 0 && c.points[0].threshold == 0.25f);
    assert_int_equal(recall_curve_build(&c, NULL, NULL, NULL, 0, NULL), 0);
    assert_true(c.n == 0 && c.pairs == 0 && c.bid_rate == 0 && isnan(c.nll) && isnan(c.auc));
}

static void test_curve_of_equal_scores(void **state)
{
    static const float p[] = {0.5f, 0.5f, 0.5f, 0.5f}, weight[] = {1, 1, 1, 1};
    static const uint8_t label[] = {0, 1, 0, 1};
    struct recall_curve c;
    assert_int_equal(recall_curve_build(&c, p, label, weight, 4, NULL), 0);
    NEAR(c.auc, 0.5, 1e-9);
    assert_int_equal(c.n, 1);
    assert_true(c.points[0].threshold == 0.5f && c.points[0].recall == 1);
    assert_true(c.points[0].withheld == 0);
}

static void test_curve_of_certain_scores(void **state)
{
    static const float p[] = {1, -0.0f, 0, 1}, weight[] = {1, 1, 1, 1};
    static const uint8_t label[] = {1, 0, 1, 0};
    struct recall_curve c;
    assert_int_equal(recall_curve_build(&c, p, label, weight, 4, NULL), 0);
    assert_true(isfinite(c.nll) && c.nll > 5);
    NEAR(c.auc, 0.5, 1e-9);
    assert_true(c.points[0].threshold == 0 && c.points[0].recall == 1);
}

static void test_threshold(void **state)
{
    struct recall_curve c = {.n = 3,
                             .points = {{0.1f, 1, 0.99f, 1, 0.2f},
                                        {0.2f, 0.99f, 0.975f, 1, 0.5f},
                                        {0.3f, 0.97f, 0.94f, 0.99f, 0.7f}}};
    static const struct {
        double target, recall;
        float threshold;
    } cases[] = {{0.5, 0, 0.3f},     {0.93, 0, 0.3f},     {0.95, 0, 0.2f},   {0.97, 0, 0.2f},
                 {0.98, 0, 0.1f},    {0.995, 0, 0},       {1, 0, 0},         {0.93, 0.97, 0.3f},
                 {0.93, 0.98, 0.2f}, {0.93, 0.995, 0.1f}, {0.95, 0.99, 0.2f}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_true(recall_curve_threshold(&c, cases[i].target, cases[i].recall) ==
                    cases[i].threshold);
}

/* A log of a filter with 1% exploration: what scores high was always sent, the rest one in a
 * hundred times. That no explored call was a bid proves little, and a bound must not say otherwise.
 */
static void test_explored_calls_weigh_in_the_bound(void **state)
{
    enum { SENT = 1000, EXPLORED = 100 };
    static float p[SENT + EXPLORED], weight[SENT + EXPLORED];
    static uint8_t label[SENT + EXPLORED];
    struct recall_curve c;
    for (int i = 0; i < SENT + EXPLORED; i++) {
        bool sent = i < SENT;
        p[i] = sent ? 0.5f + 0.0001f * (float)i : 0.01f;
        label[i] = sent;
        weight[i] = sent ? 1 : 100;
    }
    assert_int_equal(recall_curve_build(&c, p, label, weight, SENT + EXPLORED, NULL), 0);
    assert_true(c.points[0].threshold == 0.5f && c.points[0].recall == 1);
    /* 1000 bids, each lost one seen with a chance of 1%: as good as 10 bids */
    NEAR(c.points[0].recall_low, pow(0.3, 1.0 / 10), 1e-5);
    assert_true(recall_curve_threshold(&c, 0.97, 0) == 0);

    /* the same calls without a filter prove it */
    for (int i = SENT; i < SENT + EXPLORED; i++)
        weight[i] = 1;
    assert_int_equal(recall_curve_build(&c, p, label, weight, SENT + EXPLORED, NULL), 0);
    NEAR(c.points[0].recall_low, pow(0.3, 1.0 / 1000), 1e-5);
    assert_true(recall_curve_threshold(&c, 0.97, 0) >= 0.5f);
}

/* At 95% confidence, 95 of 100 lower bounds from thinned logs must hold in the log that they are
 * thinned from. */
static void test_bounds_hold_for_thinned_logs(void **state)
{
    enum { N = 8000, LOGS = 400 };
    static float p[N], p_seen[N], weight[N];
    static uint8_t label[N], label_seen[N];
    static const double explore[] = {1, 0.2, 0.05, 0.01};
    struct prng g = {71};
    double bids = 0, kept = 0, cut = 0.02;
    for (int i = 0; i < N; i++) {
        double u = prng_unit(&g);
        p[i] = (float)(0.6 * u * u * u * u);
        label[i] = prng_unit(&g) < (double)p[i];
        bids += label[i];
    }
    for (size_t e = 0; e < 4; e++) {
        int wrong = 0;
        for (int log = 0; log < LOGS; log++) {
            struct recall_curve c;
            uint64_t n = 0;
            for (int i = 0; i < N; i++) {
                bool sent = (double)p[i] >= cut;
                if (!sent && prng_unit(&g) >= explore[e])
                    continue;
                p_seen[n] = p[i];
                label_seen[n] = label[i];
                weight[n++] = sent ? 1 : (float)(1 / explore[e]);
            }
            const struct scored_pairs seen = {n, p_seen, label_seen, weight, NULL};
            assert_int_equal(recall_curve_build_with(&c, &seen, 0.95, NULL), 0);
            float threshold = recall_curve_threshold(&c, 0.97, 0);
            kept = 0;
            for (int i = 0; i < N; i++)
                kept += label[i] && p[i] >= threshold;
            wrong += kept < 0.97 * bids;
        }
        if (wrong > LOGS * 7 / 100)
            fail_msg("explored %g: %d of %d thresholds lose more than they say", explore[e], wrong,
                     LOGS);
    }
}

/* Few bids cannot prove much: 40 found of 40 prove 97% with 70% confidence (0.3^(1/40) = 0.9703),
 * 39 of 39 do not. */
static void test_threshold_needs_counts(void **state)
{
    enum { N = 40 };
    float p[N], weight[N];
    uint8_t label[N];
    struct recall_curve c;
    for (int i = 0; i < N; i++) {
        p[i] = 0.25f + 0.001f * (float)i;
        weight[i] = 4; /* equal weights do not change the effective size */
        label[i] = 1;
    }
    assert_int_equal(recall_curve_build(&c, p, label, weight, N, NULL), 0);
    assert_true(recall_curve_threshold(&c, 0.97, 0) == 0.25f);
    assert_int_equal(recall_curve_build(&c, p, label, weight, N - 1, NULL), 0);
    assert_true(recall_curve_threshold(&c, 0.97, 0) == 0);
    weight[0] = 400; /* one heavy bid: an effective size near 1 */
    assert_int_equal(recall_curve_build(&c, p, label, weight, N, NULL), 0);
    assert_true(recall_curve_threshold(&c, 0.97, 0) == 0);
}

/* The recall of value: a dear bid far down keeps the threshold down, and as few bids as there are
 * dear ones prove little. */
static void test_curve_of_value(void **state)
{
    enum { N = 400 };
    float p[N], weight[N], price[N];
    uint8_t label[N];
    struct recall_curve bids, value;
    for (int i = 0; i < N; i++) {
        p[i] = 0.001f * (float)(i + 1);
        weight[i] = 1;
        label[i] = i % 2 == 0;
        price[i] = i == 2 ? 20 : 1; /* of 200 bids, one is a tenth of the value */
    }
    const struct scored_pairs plain = {N, p, label, weight, NULL},
                              priced = {N, p, label, weight, price};
    assert_int_equal(recall_curve_build_with(&bids, &plain, 0.7, NULL), 0);
    assert_int_equal(recall_curve_build_with(&value, &priced, 0.7, NULL), 0);
    assert_true(value.bids == bids.bids && value.bid_rate == bids.bid_rate);
    for (uint32_t i = 0; i < value.n; i++) {
        double kept = 0, sent = 0;
        for (int k = 0; k < N; k++) {
            kept += p[k] >= value.points[i].threshold && label[k] ? price[k] : 0;
            sent += p[k] >= value.points[i].threshold;
        }
        NEAR(value.points[i].recall, kept / 219, 1e-6);
        NEAR(value.points[i].withheld, 1 - sent / N, 1e-6);
    }
    /* Nothing below is lost at the first point; 219^2 / (199 + 400) bids prove it. */
    NEAR(value.points[0].recall_low, pow(0.3, 599.0 / (219 * 219)), 1e-5);
    NEAR(bids.points[0].recall_low, pow(0.3, 1.0 / 200), 1e-5);
    for (int i = 0; i < N; i++)
        price[i] = 3; /* all alike: as if there were no prices */
    assert_int_equal(recall_curve_build_with(&value, &priced, 0.7, NULL), 0);
    assert_int_equal(value.n, bids.n);
    for (uint32_t i = 0; i < value.n; i++)
        NEAR(value.points[i].recall_low, bids.points[i].recall_low, 1e-6);
}

static void test_recall_with_margin(void **state)
{
    static const double cases[][3] = {
        {0.97, 0, 0.97}, {0.97, 0.005, 0.975}, {0.99, 0.02, 0.995}, {1, 0.1, 1}};
    for (size_t i = 0; i < 4; i++)
        NEAR(recall_with_margin(cases[i][0], cases[i][1]), cases[i][2], 1e-12);
}

static void check_point(const struct recall_curve *c, uint32_t i, const float *p,
                        const uint8_t *label, const float *weight, uint64_t n)
{
    const struct recall_point *point = &c->points[i];
    double sent = 0, kept = 0, bids = 0, all = 0;
    bool is_score = false;
    for (uint64_t k = 0; k < n; k++) {
        all += weight[k];
        bids += label[k] ? weight[k] : 0;
        is_score |= p[k] == point->threshold;
        if (p[k] >= point->threshold) {
            sent += weight[k];
            kept += label[k] ? weight[k] : 0;
        }
    }
    assert_true(is_score);
    NEAR(point->recall, kept / bids, 1e-6);
    NEAR(point->withheld, 1 - sent / all, 1e-6);
    assert_true(point->recall_low <= point->recall && point->recall <= point->recall_high);
    if (i > 0) {
        assert_true(point->threshold > c->points[i - 1].threshold);
        assert_true(point->recall < c->points[i - 1].recall);
        assert_true(point->withheld >= c->points[i - 1].withheld);
    }
}

static void test_curve_equals_counting(void **state)
{
    enum { N = 6000 };
    float *p = malloc(N * sizeof(*p)), *weight = malloc(N * sizeof(*weight));
    uint8_t *label = malloc(N);
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct prng g = {seed};
        for (int i = 0; i < N; i++) {
            p[i] = (float)prng_unit(&g);
            if (seed % 2 == 0)
                p[i] = floorf(p[i] * 50) / 50; /* many ties */
            label[i] = prng_unit(&g) < 0.3 * (double)p[i];
            weight[i] = prng_unit(&g) < 0.1 ? 20 : 1;
        }
        struct recall_curve c;
        assert_int_equal(recall_curve_build(&c, p, label, weight, N, NULL), 0);
        assert_true(c.n > (seed % 2 == 0 ? 15 : 50) && c.n <= RECALL_POINTS_MAX);
        assert_true(c.points[0].recall == 1);
        for (uint32_t i = 0; i < c.n; i++)
            check_point(&c, i, p, label, weight, N);
        double ordered = 0, pairs = 0;
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N && label[i]; k++)
                if (!label[k]) {
                    double w = (double)weight[i] * weight[k];
                    pairs += w;
                    ordered += p[i] > p[k] ? w : p[i] == p[k] ? w / 2 : 0;
                }
        NEAR(c.auc, ordered / pairs, 1e-9);
    }
    free(p);
    free(weight);
    free(label);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curve_of_value),
        cmocka_unit_test(test_recall_with_margin),
        cmocka_unit_test(test_curve_by_hand),
        cmocka_unit_test(test_curve_without_one_side),
        cmocka_unit_test(test_curve_of_equal_scores),
        cmocka_unit_test(test_curve_of_certain_scores),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_threshold_needs_counts),
        cmocka_unit_test(test_explored_calls_weigh_in_the_bound),
        cmocka_unit_test(test_bounds_hold_for_thinned_logs),
        cmocka_unit_test(test_curve_equals_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
