/* Every tensor's gradient against numeric differences of the loss, computed in double by the
 * forward pass as network.h writes it down. */
#include "tests/model/fixture.h"

#include "model/pass.h"
#include "model/table.h"
#include "tests/model/examples.h"

enum { REQUESTS = 12, DSPS = 5, PAIRS = 40, SLOTS = 9 };

struct sample {
    float bid_odds;
    struct network *n;
    uint32_t slots[REQUESTS * SLOTS];
    float numeric[REQUESTS * 3];
    uint32_t request[PAIRS], pairs[PAIRS];
    uint16_t dsp[PAIRS];
    uint8_t label[PAIRS];
    float weight[PAIRS];
    struct examples e;
};

/* Pairs of one request stand together at first, alone later; one pair occurs twice. */
static void init_sample_of(struct sample *x, bool gated, uint64_t seed)
{
    struct prng g = {seed};
    struct network_feature features[FIXTURE_FEATURES];
    struct network_shape shape = fixture_shape(features, DSPS, 7, 6);
    shape.gated = gated;
    x->n = fixture_network_of(&shape, seed);
    x->bid_odds = seed % 3 == 0 ? 1 : 5;
    for (uint32_t i = 0; i < REQUESTS; i++)
        fixture_request(&x->n->shape, &g, x->slots + i * SLOTS, x->numeric + i * 3);
    for (uint32_t i = 0; i < PAIRS; i++) {
        x->request[i] = i < 20 ? i / 4 : (uint32_t)prng_below(&g, REQUESTS);
        x->dsp[i] = (uint16_t)prng_below(&g, DSPS - 1); /* one DSP never occurs */
        x->label[i] = prng_unit(&g) < 0.4;
        x->weight[i] = 0.5f + (float)prng_below(&g, 4);
        x->pairs[i] = i != 30 ? i : 29;
    }
    x->e =
        examples_of(REQUESTS, x->slots, x->numeric, PAIRS, x->request, x->dsp, x->label, x->weight);
}

static const struct pass_terms undropped = {1, 0, 1}, dropping = {1, 0.3f, 1};

static void init_sample(struct sample *x, uint64_t seed)
{
    init_sample_of(x, true, seed);
}

static double reference_loss(const struct sample *x)
{
    double sum = 0;
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint32_t k = x->pairs[i];
        double logit = fixture_logit(x->n, x->slots + x->request[k] * SLOTS,
                                     x->numeric + x->request[k] * 3, x->dsp[k]);
        logit += log((double)x->bid_odds);
        sum += x->weight[k] * (x->label[k] ? x->bid_odds : 1) *
               log1p(exp(x->label[k] ? -logit : logit));
    }
    return sum;
}

static void check_tensor(struct sample *x, const char *name, float *tensor, size_t n,
                         const float *gradient, double scale)
{
    size_t moved = 0;
    for (size_t i = 0; i < n; i++) {
        float was = tensor[i], up = was + 1e-5f, down = was - 1e-5f;
        double loss = reference_loss(x);
        tensor[i] = up;
        double rise = scale * (reference_loss(x) - loss) / ((double)up - was);
        tensor[i] = down;
        double fall = scale * (loss - reference_loss(x)) / (was - (double)down);
        tensor[i] = was;
        /* Two slopes where the step crosses the kink of a relu: either will do. */
        double numeric = fabs(rise - gradient[i]) < fabs(fall - gradient[i]) ? rise : fall;
        if (fabs(numeric - gradient[i]) > 1e-4 * (1 + fabs(numeric)))
            fail_msg("%s[%zu]: gradient %.7g, numeric %.7g", name, i, gradient[i], numeric);
        moved += fabs(numeric) > 1e-4;
    }
    if (moved == 0)
        fail_msg("%s: no element has a gradient", name);
}

static void check_table(struct sample *x, const char *name, const struct gradient_table *t,
                        double scale)
{
    float *whole = calloc(t->rows * t->dim, sizeof(float));
    for (size_t i = 0; i < t->n_touched; i++)
        memcpy(whole + (size_t)t->touched[i] * t->dim, t->sum + i * t->dim, t->dim * sizeof(float));
    check_tensor(x, name, t->param, t->rows * t->dim, whole, scale);
    free(whole);
}

/* What a tensor takes of the network's block. */
static size_t on_lines(size_t floats)
{
    const size_t line = TABLE_LINE_BYTES / sizeof(float);
    return (floats + line - 1) / line * line;
}

/* Every parameter of the block has its turn: the sizes add up. */
static void check_every_tensor(struct sample *x, const struct gradient *g, double scale)
{
    struct network *n = x->n;
    const struct network_shape *s = &n->shape;
    const struct {
        const char *name;
        float *tensor;
        size_t size;
    } dense[] = {
        {"hidden1.weight", n->hidden1_weight, s->hidden1 * network_shape_inputs(s)},
        {"hidden1.bias", n->hidden1_bias, s->hidden1},
        {"hidden2.weight", n->hidden2_weight, s->hidden2 * s->hidden1},
        {"hidden2.bias", n->hidden2_bias, s->hidden2},
        {"output.weight", n->output_weight, 2 * s->hidden2},
        {"output.bias", n->output_bias, 2},
    };
    size_t checked = 0;
    for (size_t i = 0; i < sizeof(dense) / sizeof(dense[0]); i++) {
        check_tensor(x, dense[i].name, dense[i].tensor, dense[i].size,
                     g->dense + (dense[i].tensor - n->block), scale);
        checked += on_lines(dense[i].size);
    }
    assert_int_equal(checked, n->dense_floats);
    assert_int_equal(g->n_tables, 2 * s->n_features + 1);
    for (size_t i = 0; i < g->n_tables; i++) {
        const struct gradient_table *t = &g->tables[i];
        const char *name = i < s->n_features     ? n->tensor_names[2 * i]
                           : i < g->n_tables - 1 ? n->tensor_names[2 * (i - s->n_features) + 1]
                                                 : "gate.dsp";
        if (t->rows > 0)
            check_table(x, name, t, scale);
        checked += on_lines(t->rows * t->dim);
    }
    assert_int_equal(checked, n->block_floats);
}

static void test_gradients_equal_numeric_differences(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct sample x;
        init_sample_of(&x, seed % 2 == 1, seed);
        struct gradient *g = gradient_create(x.n, PAIRS);
        struct pass *p = pass_create(x.n, PAIRS);
        struct prng random = {1};
        struct pass_terms terms = {0.125f, 0, x.bid_odds};
        struct pass_loss loss = pass_run(p, x.n, &x.e, x.pairs, PAIRS, &terms, &random, g);
        double weight = 0;
        for (uint32_t i = 0; i < PAIRS; i++)
            weight += x.weight[x.pairs[i]] * (x.label[x.pairs[i]] ? x.bid_odds : 1);
        assert_true(fabs(loss.nll - reference_loss(&x)) < 1e-4 * loss.nll);
        assert_true(fabs(loss.weight - weight) < 1e-9);
        check_every_tensor(&x, g, terms.scale);
        pass_destroy(p);
        gradient_destroy(g);
        network_destroy(x.n);
    }
}

/* A cleared gradient forgets: the second pass gives the same as the first. */
static void test_pass_runs_again(void **state)
{
    struct sample x;
    init_sample(&x, 9);
    struct gradient *g = gradient_create(x.n, PAIRS);
    struct pass *p = pass_create(x.n, PAIRS);
    struct prng random = {1};
    float *first = malloc(x.n->dense_floats * sizeof(float)), geo[2][5];
    for (int round = 0; round < 2; round++) {
        pass_run(p, x.n, &x.e, x.pairs + 20, 3, &undropped, &random,
                 g); /* another, smaller batch */
        gradient_clear(g);
        pass_run(p, x.n, &x.e, x.pairs, PAIRS, &undropped, &random, g);
        if (round == 0)
            memcpy(first, g->dense, x.n->dense_floats * sizeof(float));
        memcpy(geo[round], gradient_row(&g->tables[0], x.slots[0]), sizeof(geo[0]));
        gradient_clear(g);
    }
    assert_memory_equal(first, g->dense, x.n->dense_floats * sizeof(float));
    assert_memory_equal(geo[0], geo[1], sizeof(geo[0]));
    free(first);
    pass_destroy(p);
    gradient_destroy(g);
    network_destroy(x.n);
}

/* Inverted dropout keeps the expectation: over many draws the mean gradient of the output layer,
 * which is linear in the last activations but for the sigmoid, stays near the undropped one; and it
 * does drop. */
static void test_dropout_keeps_the_expected_activation(void **state)
{
    struct sample x;
    init_sample(&x, 4);
    struct network *n = x.n;
    memset(n->output_weight, 0, 2 * n->shape.hidden2 * sizeof(float)); /* p does not depend on h2 */
    memset(n->hidden2_bias, 0, n->shape.hidden2 * sizeof(float));
    for (uint32_t i = 0; i < n->shape.hidden2 * n->shape.hidden1; i++)
        n->hidden2_weight[i] = fabsf(n->hidden2_weight[i]); /* relu2 is linear: all inputs >= 0 */
    struct gradient *g = gradient_create(n, PAIRS);
    struct pass *p = pass_create(n, PAIRS);
    struct prng random = {1};
    enum { DRAWS = 20000 };
    double mean[6] = {0}, plain[6];
    size_t at = (size_t)(n->output_weight - n->block) + 6, differs = 0;
    assert_int_equal(n->shape.hidden2, 6);
    pass_run(p, n, &x.e, x.pairs, PAIRS, &undropped, &random, g);
    gradient_clear(g);
    for (int j = 0; j < 6; j++)
        plain[j] = g->dense[at + (size_t)j];
    for (int i = 0; i < DRAWS; i++) {
        pass_run(p, n, &x.e, x.pairs, PAIRS, &dropping, &random, g);
        gradient_clear(g);
        for (int j = 0; j < 6; j++)
            mean[j] += g->dense[at + (size_t)j] / DRAWS;
        differs += fabs(g->dense[at] - plain[0]) > 1e-6;
    }
    assert_true(differs > DRAWS * 9 / 10);
    double size = 0;
    for (int j = 0; j < 6; j++)
        size = fmax(size, fabs(plain[j]));
    for (int j = 0; j < 6; j++)
        if (fabs(mean[j] - plain[j]) > 0.03 * size)
            fail_msg("unit %d: mean %g, plain %g", j, mean[j], plain[j]);
    pass_destroy(p);
    gradient_destroy(g);
    network_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_equal_numeric_differences),
        cmocka_unit_test(test_pass_runs_again),
        cmocka_unit_test(test_dropout_keeps_the_expected_activation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
