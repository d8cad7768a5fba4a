#include "world_fixture.h"

#include <math.h>

#include "loadtest/truth.h"

static void test_withheld_by_hand(void **state)
{
    static const struct {
        double p[6];
        int n;
        double recall, withheld;
    } CASES[] = {
        {{.5, 0, 0, 0}, 4, .97, .75},
        {{.5, .5, 0, 0}, 4, .97, .5},
        {{.25, .25, .25, .25}, 4, .97, 0},
        {{.25, .25, .25, .25}, 4, .5, .5},
        {{.1, .9, 0, 0, 0}, 5, .89, .8},
        {{.1, .9, 0, 0, 0}, 5, .91, .6},
        {{0, 0, 0}, 3, .97, 1},
        {{.3, .3, .3}, 3, 1, 0},
        {{.3, 0, .3}, 3, 1, 1.0 / 3},
        {{.3, .2, .1}, 3, 0, 1},
        {{.125}, 1, .5, 0},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct truth t = {0};
        for (int k = 0; k < CASES[i].n; k++)
            truth_add(&t, CASES[i].p[k]);
        double w = truth_withheld(&t, CASES[i].recall);
        if (fabs(w - CASES[i].withheld) > 1e-6)
            fail_msg("case %zu: %g, not %g", i, w, CASES[i].withheld);
        truth_dispose(&t);
    }
    struct truth none = {0};
    assert_true(truth_withheld(&none, .97) == 0);
}

/* No other order of sending does better: tried with noisy scores of every quality. */
static void test_no_order_beats_it(void **state)
{
    enum { N = 2000 };
    struct prng g = {5};
    for (int trial = 0; trial < 40; trial++) {
        struct truth t = {0};
        static double p[N], score[N];
        bool sent[N] = {false};
        for (int i = 0; i < N; i++) {
            double u = prng_unit(&g);
            p[i] = u < 0.8 ? 0 : pow(prng_unit(&g), 3);
            score[i] = (float)p[i] + (trial / 20.0) * prng_normal(&g);
            truth_add(&t, p[i]);
        }
        double recall = 0.5 + 0.5 * prng_unit(&g), kept = 0;
        int calls = 0;
        while (kept < recall * t.sum) {
            int best = -1;
            for (int i = 0; i < N; i++) {
                if (!sent[i] && (best < 0 || score[i] > score[best]))
                    best = i;
            }
            sent[best] = true;
            kept += (double)(float)p[best];
            calls++;
        }
        double other = 1 - (double)calls / N;
        assert_true(truth_withheld(&t, recall) >= other - 1e-9);
        truth_dispose(&t);
    }
}

static void test_withheld_by_scores(void **state)
{
    static const struct {
        float p[5], score[5];
        int n;
        double recall, withheld;
    } CASES[] = {
        {{.5f, 0, 0, 0}, {9, 3, 2, 1}, 4, .97, .75},
        {{.5f, 0, 0, 0}, {1, 3, 2, 9}, 4, .97, 0},
        {{.5f, 0, 0, 0}, {3, 1, 9, 2}, 4, .97, .5},
        {{.5f, 0, 0, 0}, {1, 1, 1, 1}, 4, .5, .5}, /* equal scores: on average */
        {{.5f, 0, 0, 0}, {1, 1, 1, 1}, 4, 1, 0},
        {{.5f, .5f, 0, 0}, {-1, -2, -3, -3}, 4, .5, .75},
        {{.5f, .5f, 0, 0}, {-1, -2, -3, INFINITY}, 4, .5, .5}, /* not scored: sent first */
        {{0, 0, 0}, {1, 2, 3}, 3, .97, 1},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct truth t = {0};
        for (int k = 0; k < CASES[i].n; k++)
            truth_add(&t, (double)CASES[i].p[k]);
        double w = truth_withheld_by(&t, CASES[i].score, CASES[i].recall);
        if (fabs(w - CASES[i].withheld) > 1e-9)
            fail_msg("case %zu: %g, not %g", i, w, CASES[i].withheld);
        truth_dispose(&t);
    }
    struct truth none = {0};
    assert_true(truth_withheld_by(&none, NULL, .97) == 0);
}

/* The truth as scores is the optimum; noise on it never does better. */
static void test_withheld_by_truth(void **state)
{
    enum { N = 3000 };
    static float score[N], noisy[N];
    struct prng g = {7};
    struct truth t = {0};
    for (int i = 0; i < N; i++) {
        double p = prng_unit(&g) < 0.7 ? 0 : floor(50 * pow(prng_unit(&g), 3)) / 50;
        truth_add(&t, p);
        score[i] = (float)p;
        noisy[i] = (float)(p + 0.05 * prng_normal(&g));
    }
    for (double recall = 0.5; recall <= 1; recall += 0.01) {
        double by = truth_withheld_by(&t, score, recall),
               by_noisy = truth_withheld_by(&t, noisy, recall);
        struct truth copy = {0};
        for (int i = 0; i < N; i++)
            truth_add(&copy, (double)t.p[i]);
        double best = truth_withheld(&copy, recall);
        truth_dispose(&copy);
        assert_true(fabs(best - by) <= 1.0 / N + 1e-9);
        assert_true(by_noisy <= best + 1e-9);
    }
    truth_dispose(&t);
}

static void test_withheld_falls_with_recall(void **state)
{
    struct truth t = {0};
    struct prng g = {6};
    for (int i = 0; i < 5000; i++)
        truth_add(&t, prng_unit(&g) < 0.1 ? prng_unit(&g) : 0);
    double last = 1;
    for (double recall = 0; recall <= 1.0001; recall += 0.01) {
        double w = truth_withheld(&t, fmin(recall, 1));
        assert_true(w <= last);
        last = w;
    }
    assert_true(last > 0.88 && last < 0.92);
    truth_dispose(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_withheld_by_hand),           cmocka_unit_test(test_no_order_beats_it),
        cmocka_unit_test(test_withheld_by_scores),         cmocka_unit_test(test_withheld_by_truth),
        cmocka_unit_test(test_withheld_falls_with_recall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
