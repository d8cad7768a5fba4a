/* A bent probability is straightened, and folding the fit into a network does what it says. */
#include "tests/model/fixture.h"

#include "model/calibration.h"

enum { N = 60000 };

struct bent {
    float p[N], weight[N];
    uint8_t label[N];
    struct examples e;
};

/* Outcomes by the true logit; p says (logit - shift) / stretch. */
static struct bent *make_bent(double stretch, double shift)
{
    struct bent *b = malloc(sizeof(*b));
    struct prng g = {3};
    for (int i = 0; i < N; i++) {
        double logit = -2 + 1.5 * prng_normal(&g), said = (logit - shift) / stretch;
        b->p[i] = (float)(1 / (1 + exp(-said)));
        b->label[i] = prng_unit(&g) < 1 / (1 + exp(-logit));
        b->weight[i] = i % 3 == 0 ? 2 : 1;
    }
    b->e = (struct examples){.n_pairs = N, .label = b->label, .weight = b->weight};
    return b;
}

static void test_fit_finds_the_bend(void **state)
{
    static const double cases[][2] = {{1, 0}, {0.7, 0.4}, {1.5, -0.8}, {1, 1.2}};
    for (size_t i = 0; i < 4; i++) {
        struct bent *b = make_bent(cases[i][0], cases[i][1]);
        struct calibration c = calibration_fit(&b->e, b->p);
        if (fabs(c.slope - cases[i][0]) > 0.06 || fabs(c.intercept - cases[i][1]) > 0.12)
            fail_msg("slope %g, intercept %g for %g, %g", c.slope, c.intercept, cases[i][0],
                     cases[i][1]);
        free(b);
    }
}

static void test_fit_leaves_alone_what_it_cannot_fit(void **state)
{
    struct bent *b = make_bent(0.7, 0.4);
    struct calibration c;
    b->e.n_pairs = 60; /* a handful of bids */
    c = calibration_fit(&b->e, b->p);
    assert_true(c.slope == 1 && c.intercept == 0);
    b->e.n_pairs = N;
    for (int i = 0; i < N; i++)
        b->p[i] = 0.25f; /* no slope in equal scores */
    c = calibration_fit(&b->e, b->p);
    assert_true(c.slope == 1 && c.intercept == 0);
    for (int i = 0; i < N; i++)
        b->p[i] = b->label[i] ? 1 : 0; /* parted: the slope would be infinite */
    c = calibration_fit(&b->e, b->p);
    assert_true(isfinite(c.slope) && c.slope >= 0.5 && c.slope <= 2);
    for (int i = 0; i < N; i++)
        b->p[i] = b->label[i] ? 0.1f : 0.9f; /* upside down: not ours to turn over */
    c = calibration_fit(&b->e, b->p);
    assert_true(c.slope == 1 && c.intercept == 0);
    free(b);
}

static void test_apply_bends_the_logit(void **state)
{
    struct network *n = fixture_network(4, 12, 8, 3);
    struct prng g = {5};
    uint32_t slots[10][9];
    float numeric[10][3];
    double before[10];
    for (int i = 0; i < 10; i++) {
        fixture_request(&n->shape, &g, slots[i], numeric[i]);
        before[i] = fixture_logit(n, slots[i], numeric[i], (uint32_t)i % 4) + log(n->negative_rate);
    }
    calibration_apply(n, (struct calibration){0.8, 0.3});
    for (int i = 0; i < 10; i++) {
        double after =
            fixture_logit(n, slots[i], numeric[i], (uint32_t)i % 4) + log(n->negative_rate);
        assert_true(fabs(after - (0.8 * before[i] + 0.3)) < 1e-5 * (1 + fabs(before[i])));
    }
    network_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_finds_the_bend),
        cmocka_unit_test(test_fit_leaves_alone_what_it_cannot_fit),
        cmocka_unit_test(test_apply_bends_the_logit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
