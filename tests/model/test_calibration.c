/* A bent probability is straightened, for each DSP as far as it has evidence; the scorer bends as
 * it is told. */
#include "tests/model/fixture.h"

#include "model/calibration.h"

enum { N = 60000 };

struct bent {
    float p[N], weight[N];
    uint8_t label[N];
};

/* Outcomes by the true logit; p says (logit - shift) / stretch. */
static struct bent *make_bent(double stretch, double shift, uint64_t seed)
{
    struct bent *b = malloc(sizeof(*b));
    struct prng g = {seed};
    for (int i = 0; i < N; i++) {
        double logit = -2 + 1.5 * prng_normal(&g), said = (logit - shift) / stretch;
        b->p[i] = (float)(1 / (1 + exp(-said)));
        b->label[i] = prng_unit(&g) < 1 / (1 + exp(-logit));
        b->weight[i] = i % 3 == 0 ? 2 : 1;
    }
    return b;
}

static struct scored_pairs pairs_of(const struct bent *b, uint64_t n)
{
    return (struct scored_pairs){n, b->p, b->label, b->weight, NULL};
}

static void test_fit_finds_each_bend(void **state)
{
    static const double cases[][2] = {{1, 0}, {0.7, 0.4}, {1.5, -0.8}, {1, 1.2}};
    struct bent *b[4];
    struct scored_pairs groups[4];
    struct calibration c[4];
    for (uint64_t i = 0; i < 4; i++) {
        b[i] = make_bent(cases[i][0], cases[i][1], 3 + i);
        groups[i] = pairs_of(b[i], N);
    }
    assert_int_equal(calibration_fit(groups, 4, c), 0);
    for (size_t i = 0; i < 4; i++) {
        if (fabs(c[i].slope - cases[i][0]) > 0.06 || fabs(c[i].intercept - cases[i][1]) > 0.12)
            fail_msg("slope %g, intercept %g for %g, %g", c[i].slope, c[i].intercept, cases[i][0],
                     cases[i][1]);
        free(b[i]);
    }
}

/* A DSP without pairs is as all are; one with a handful stays near; what many say counts. */
static void test_fit_shrinks_by_evidence(void **state)
{
    struct bent *most = make_bent(0.8, 0.3, 3), *other = make_bent(1, 1.3, 4);
    double last = 0;
    static const uint64_t sizes[] = {0, 30, 300, 3000, N};
    for (size_t i = 0; i < 5; i++) {
        const struct scored_pairs groups[] = {pairs_of(most, N), pairs_of(other, sizes[i])};
        struct calibration c[2];
        assert_int_equal(calibration_fit(groups, 2, c), 0);
        double off = fabs(c[1].intercept - c[0].intercept);
        if (sizes[i] == 0)
            assert_true(off < 0.03 && fabs(c[1].slope - c[0].slope) < 0.03);
        assert_true(i == 0 || i == 4 || off > last);
        last = off;
        if (i == 4)
            assert_true(fabs(c[1].intercept - 1.3) < 0.12);
    }
    /* of a log in which few calls stand for many, as many bids say less */
    for (int i = 0; i < N; i++)
        other->weight[i] = i % 100 == 0 ? 1000 : 1;
    const struct scored_pairs groups[] = {pairs_of(most, N), pairs_of(other, 3000)};
    struct calibration thin[2];
    assert_int_equal(calibration_fit(groups, 2, thin), 0);
    assert_true(fabs(thin[1].intercept - thin[0].intercept) < 0.8);
    free(most);
    free(other);
}

static void test_fit_of_what_cannot_be_fitted(void **state)
{
    struct bent *b = make_bent(0.7, 0.4, 3);
    const struct scored_pairs all = pairs_of(b, N);
    struct calibration c;
    assert_int_equal(calibration_fit(NULL, 0, &c), 0);
    for (int i = 0; i < N; i++)
        b->p[i] = 0.25f; /* no slope in equal scores */
    assert_int_equal(calibration_fit(&all, 1, &c), 0);
    assert_true(c.slope > 0.5 && c.slope < 1.5 && isfinite(c.intercept));
    for (int i = 0; i < N; i++)
        b->p[i] = b->label[i] ? 1 : 0; /* parted: the slope would be infinite */
    assert_int_equal(calibration_fit(&all, 1, &c), 0);
    assert_true(c.slope > 0 && c.slope <= 4 && isfinite(c.intercept));
    for (int i = 0; i < N; i++)
        b->p[i] = b->label[i] ? 0.1f : 0.9f; /* upside down: the order is not ours to turn over */
    assert_int_equal(calibration_fit(&all, 1, &c), 0);
    assert_true(c.slope > 0 && isfinite(c.intercept));
    double said = 0, bids = 0; /* but the sum is right */
    for (int i = 0; i < N; i++) {
        said += (double)(b->weight[i] * calibration_apply(c, b->p[i]));
        bids += (double)b->weight[i] * b->label[i];
    }
    assert_true(fabs(said / bids - 1) < 0.02);
    memset(b->label, 0, sizeof(b->label));
    assert_int_equal(calibration_fit(&all, 1, &c), 0);
    assert_true(c.slope > 0 && isfinite(c.intercept));
    free(b);
}

static void test_scorer_bends_the_logit(void **state)
{
    struct network *n = fixture_network(4, 12, 8, 3);
    struct prng g = {5};
    uint32_t slots[9], dsps[4] = {3, 1, 0, 2};
    float numeric[3], p[4];
    const struct calibration first = {0.8, 0.3}, then = {1.5, -1},
                             both = calibration_after(then, first);
    n->calibration[1][0] = (float)first.slope;
    n->calibration[1][1] = (float)first.intercept;
    n->calibration[2][0] = (float)both.slope;
    n->calibration[2][1] = (float)both.intercept;
    struct scorer *s = scorer_create(n, NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    for (int i = 0; i < 10; i++) {
        fixture_request(&n->shape, &g, slots, numeric);
        scorer_score(s, scratch, slots, numeric, dsps, 4, p);
        for (int k = 0; k < 4; k++) {
            double logit = fixture_logit(n, slots, numeric, dsps[k]) + log(n->negative_rate);
            float plain = (float)(1 / (1 + exp(-logit))), expected = plain;
            if (dsps[k] == 1 || dsps[k] == 2)
                expected = calibration_apply(first, plain);
            if (dsps[k] == 2)
                expected = calibration_apply(then, expected);
            assert_true(fabsf(p[k] - expected) < 1e-5f);
        }
    }
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    network_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_finds_each_bend),
        cmocka_unit_test(test_fit_shrinks_by_evidence),
        cmocka_unit_test(test_fit_of_what_cannot_be_fitted),
        cmocka_unit_test(test_scorer_bends_the_logit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
