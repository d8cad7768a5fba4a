/* The trainer end to end on a market whose truth is known, and what it owes its caller: the same
 * bytes again, probabilities that are right in the mean, errors that say what is wrong. */
#include "tests/model/fixture.h"
#include "tests/model/synthetic.h"

#include "model/adam.h"
#include "model/metrics.h"

static void expect_error(const struct network_shape *s, const struct examples *train,
                         const struct examples *validation, const struct train_options *o,
                         const char *why)
{
    struct error err = {""};
    struct train_report report;
    struct network *n;
    assert_int_equal(train_network(s, train, validation, o, &n, &report, &err), -1);
    assert_null(n);
    if (strstr(err.text, why) == NULL)
        fail_msg("said: %s", err.text);
}

static void test_train_refuses(void **state)
{
    struct network_feature features[FIXTURE_FEATURES];
    struct network_shape s = fixture_shape(features, 3, 4, 4);
    uint32_t slots[2 * 9] = {0}, request[4] = {0, 0, 1, 1};
    float numeric[6] = {0}, weight[4] = {1, 1, 1, 1};
    uint16_t dsp[4] = {0, 1, 2, 0};
    uint8_t label[4] = {1, 0, 0, 1};
    struct examples e = examples_of(2, slots, numeric, 4, request, dsp, label, weight);
    struct examples none = {.n_requests = 0};
    struct train_options o;
    train_options_default(&o);
    expect_error(&s, &none, &e, &o, "no bids among 0 pairs");
    label[0] = label[3] = 0;
    expect_error(&s, &e, &e, &o, "no bids among 4 pairs");
    memset(label, 1, 4);
    expect_error(&s, &e, &e, &o, "nothing but bids");
    label[1] = 0;
    request[2] = 2;
    expect_error(&s, &e, &none, &o, "training pair 2 names a request or DSP that is not there");
    request[2] = 1;
    dsp[3] = 3;
    expect_error(&s, &e, &none, &o, "training pair 3 names");
    dsp[3] = 0;
    weight[1] = 0;
    expect_error(&s, &e, &none, &o, "training pair 1 has weight 0");
    weight[1] = INFINITY;
    expect_error(&s, &e, &none, &o, "training pair 1 has weight inf");
    weight[1] = 1;
    numeric[4] = NAN;
    expect_error(&s, &e, &none, &o, "number 1 of training request 1 is not finite");
    numeric[4] = 0;
    o.dropout = 1;
    expect_error(&s, &e, &none, &o, "dropout 1");
    train_options_default(&o);
    o.bid_odds = 0;
    expect_error(&s, &e, &none, &o, "bid odds 0");
    train_options_default(&o);
    o.learning_rate = NAN;
    expect_error(&s, &e, &none, &o, "learning rate nan");
    train_options_default(&o);
    o.batch = 0;
    expect_error(&s, &e, &none, &o, "batch 0");
    train_options_default(&o);
    o.threads = 0;
    expect_error(&s, &e, &none, &o, "threads");
    train_options_default(&o);
    s.hidden1 = 0;
    expect_error(&s, &e, &none, &o, "hidden layers");
}

struct seen {
    uint32_t calls, last_epoch;
    bool wrong;
};

static void watch(void *ctx, const struct train_progress *p)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->wrong |= p->epoch < seen->last_epoch || p->epoch > p->epochs_max || p->epoch_share < 0 ||
                   p->epoch_share > 1 || !(p->train_nll > 0) || !(p->examples_per_second > 0);
    seen->last_epoch = p->epoch;
}

static void test_train_same_seed_same_bytes(void **state)
{
    struct synthetic w;
    struct synthetic_examples train, validation;
    synthetic_init(&w, 4, 8, 0, 16, 8, 3);
    synthetic_draw(&w, 1500, 1, &train);
    synthetic_draw(&w, 300, 2, &validation);
    struct train_options o;
    struct seen seen = {0};
    train_options_default(&o);
    o.epochs_max = 3;
    o.progress = watch;
    o.progress_ctx = &seen;
    struct network *n[4];
    struct train_report r[4];
    for (int i = 0; i < 4; i++) { /* twice the same on one thread; another seed twice on two */
        o.seed = i < 2 ? 7 : 8;
        o.threads = i < 2 ? 1 : 2;
        assert_int_equal(train_network(&w.shape, &train.e, &validation.e, &o, &n[i], &r[i], NULL),
                         0);
        assert_true(seen.calls >= r[i].epochs && !seen.wrong && seen.last_epoch == r[i].epochs);
        seen = (struct seen){0};
    }
    size_t bytes = n[0]->block_floats * sizeof(float);
    assert_memory_equal(n[0]->block, n[1]->block, bytes);
    assert_memory_equal(n[2]->block, n[3]->block, bytes);
    assert_true(memcmp(n[0]->block, n[2]->block, bytes) != 0);
    assert_true(n[0]->negative_rate == n[1]->negative_rate);
    assert_true(r[0].validation_nll == r[1].validation_nll);
    for (int i = 0; i < 4; i++)
        network_destroy(n[i]);
    synthetic_examples_dispose(&train);
    synthetic_examples_dispose(&validation);
    synthetic_dispose(&w);
}

/* Without a validation slice it runs all epochs; the caller's negative rate is kept. */
static void test_train_without_validation(void **state)
{
    struct synthetic w;
    struct synthetic_examples train;
    struct examples none = {.n_requests = 0};
    synthetic_init(&w, 3, 8, 0, 8, 8, 3);
    synthetic_draw(&w, 500, 1, &train);
    struct train_options o;
    struct train_report r;
    struct network *n;
    train_options_default(&o);
    o.epochs_max = 5;
    o.patience = 1;
    o.negative_rate = 0.5f;
    assert_int_equal(train_network(&w.shape, &train.e, &none, &o, &n, &r, NULL), 0);
    assert_int_equal(r.epochs, 5);
    assert_int_equal(r.best_epoch, 5);
    assert_true(isnan(r.validation_nll) && isnan(r.validation_auc));
    assert_true(n->negative_rate == 0.5f);
    network_destroy(n);
    synthetic_examples_dispose(&train);
    synthetic_dispose(&w);
}

static void score_all(const struct network *n, const struct examples *e, float *p)
{
    struct scorer *s = scorer_create(n, NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    for (uint64_t i = 0; i < e->n_pairs; i++) {
        uint32_t dsp = e->dsp[i];
        scorer_score(s, scratch, e->slots + e->request[i] * network_shape_slots(&n->shape),
                     e->numeric + e->request[i] * n->shape.n_numeric, &dsp, 1, p + i);
    }
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
}

/* Conjunctive targeting is learnt: nearly as well ordered as the truth itself orders the outcomes,
 * and probabilities right in the mean although training saw a fraction of the negatives. */
static void test_train_learns_conjunctions(void **state)
{
    struct synthetic w;
    struct synthetic_examples train, validation, later;
    struct recall_curve truth, learnt;
    synthetic_init(&w, 4, 3, 0, 64, 32, 5);
    synthetic_draw(&w, 100000, 1, &train);
    synthetic_draw(&w, 10000, 2, &validation);
    synthetic_draw(&w, 40000, 3, &later);
    const struct examples *e = &later.e;
    float *p = malloc(e->n_pairs * sizeof(*p));
    recall_curve_build(&truth, later.truth, e->label, e->weight, e->n_pairs, NULL);
    struct train_options o;
    struct train_report r;
    struct network *n;
    train_options_default(&o);
    o.negative_rate = 0.25f;
    assert_int_equal(train_network(&w.shape, &train.e, &validation.e, &o, &n, &r, NULL), 0);
    score_all(n, e, p);
    recall_curve_build(&learnt, p, e->label, e->weight, e->n_pairs, NULL);
    print_message("bid rate %.4f, AUC %.4f (best possible %.4f), NLL %.4f (%.4f), "
                  "calibration %.3f, best epoch %u of %u\n",
                  truth.bid_rate, learnt.auc, truth.auc, learnt.nll, truth.nll, learnt.calibration,
                  r.best_epoch, r.epochs);
    assert_true(n->negative_rate == 0.25f);
    assert_true(learnt.auc > truth.auc - 0.02);
    assert_true(fabs(learnt.calibration - 1) < 0.1);
    score_all(n, &validation.e, p);
    recall_curve_build(&learnt, p, validation.e.label, validation.e.weight, validation.e.n_pairs,
                       NULL);
    assert_true(fabs(learnt.auc - r.validation_auc) < 1e-6);
    assert_true(fabs(learnt.nll - r.validation_nll) < 1e-6);
    assert_true(fabs(learnt.calibration - 1) < 0.1);
    network_destroy(n);
    free(p);
    synthetic_examples_dispose(&train);
    synthetic_examples_dispose(&validation);
    synthetic_examples_dispose(&later);
    synthetic_dispose(&w);
}

/* Exploration sends 1 in 20 of one kind of request and logs the propensity: weighted by its
 * inverse, the learnt rate is the one of all requests, not of those sent; whatever weight the loss
 * gives a bid. */
static void test_train_weights_undo_the_sampling(void **state)
{
    enum { N = 40000 };
    struct network_feature features[] = {{"dsp", VALUE_FIRST + 1, 2, 1, false},
                                         {"kind", VALUE_FIRST + 1, 2, 1, false}};
    struct network_shape s = {features, 2, 0, 1, 0, 8, 4, false};
    uint32_t *slots = malloc(N * sizeof(*slots)), *request = malloc(N * sizeof(*request));
    uint16_t *dsp = calloc(N, sizeof(*dsp));
    uint8_t *label = malloc(N);
    float *weight = malloc(N * sizeof(*weight));
    struct prng g = {1};
    uint32_t count = 0;
    while (count < N) { /* the same features; half bid at 40% and are all sent, half at 2% */
        bool hidden_kind = prng_unit(&g) < 0.5;
        if (hidden_kind && prng_unit(&g) >= 0.05)
            continue;
        slots[count] = VALUE_FIRST;
        request[count] = count;
        label[count] = prng_unit(&g) < (hidden_kind ? 0.02 : 0.4);
        weight[count++] = hidden_kind ? 20 : 1;
    }
    struct examples e = examples_of(N, slots, NULL, N, request, dsp, label, weight);
    struct train_options o;
    struct train_report r;
    struct network *n;
    train_options_default(&o);
    o.epochs_max = 4;
    for (o.bid_odds = 1; o.bid_odds < 10; o.bid_odds *= 6) {
        float p;
        assert_int_equal(train_network(&s, &e, &e, &o, &n, &r, NULL), 0);
        e.n_pairs = 1;
        score_all(n, &e, &p);
        e.n_pairs = N;
        if (fabsf(p - 0.21f) > 0.03f)
            fail_msg("p is %g with bid odds %g, expected 0.21", p, o.bid_odds);
        network_destroy(n);
    }
    free(slots);
    free(request);
    free(dsp);
    free(label);
    free(weight);
}

/* Adam against its definition in double; a row that no batch touched stays as it was. */
static void test_adam_steps_as_defined(void **state)
{
    struct network *n = fixture_network(3, 4, 4, 1);
    struct gradient *g = gradient_create(n, 8);
    struct adam *a = adam_create(n, g);
    struct gradient_table *geo = &g->tables[0], *wide = &g->tables[FIXTURE_FEATURES];
    struct adam_rates rates = {0.01f, 0.02f, 0.03f, 0.1f};
    double dense = n->hidden1_weight[0], row = n->embedding[0][3 * 5], cell = n->wide[0][7];
    float untouched = n->embedding[0][4 * 5];
    double m[3] = {0}, v[3] = {0};
    int steps[3] = {0};
    double *param[3] = {&dense, &row, &cell}, rate[3] = {0.01, 0.02, 0.03};
    for (int t = 1; t <= 30; t++) {
        double d[3] = {sin(t), cos(t), t % 3 - 0.5};
        g->dense[n->hidden1_weight - n->block] = (float)d[0];
        bool touched[3] = {true, t % 4 == 0, t % 5 == 0};
        if (touched[1])
            gradient_row(geo, 3)[0] = (float)d[1];
        if (touched[2])
            gradient_row(wide, 7)[0] = (float)d[2];
        adam_step(a, n, g, &rates);
        gradient_clear(g);
        for (int k = 0; k < 3; k++) {
            if (!touched[k])
                continue;
            steps[k]++;
            m[k] = 0.9 * m[k] + 0.1 * d[k];
            v[k] = 0.999 * v[k] + 0.001 * d[k] * d[k];
            double mean = m[k] / (1 - pow(0.9, steps[k])),
                   root = sqrt(v[k] / (1 - pow(0.999, steps[k])));
            *param[k] -= rate[k] * 0.1 * *param[k] + rate[k] * mean / (root + 1e-8);
        }
    }
    assert_true(fabs(n->hidden1_weight[0] - dense) < 1e-4);
    assert_true(fabs(n->embedding[0][3 * 5] - row) < 1e-4);
    assert_true(fabs(n->wide[0][7] - cell) < 1e-4);
    assert_true(n->embedding[0][4 * 5] == untouched);
    adam_destroy(a);
    gradient_destroy(g);
    network_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_refuses),
        cmocka_unit_test(test_train_same_seed_same_bytes),
        cmocka_unit_test(test_train_without_validation),
        cmocka_unit_test(test_train_learns_conjunctions),
        cmocka_unit_test(test_train_weights_undo_the_sampling),
        cmocka_unit_test(test_adam_steps_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
