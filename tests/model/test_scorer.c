/* The folded scorer against the forward pass as network.h writes it down, on every kernel. */
#include "tests/model/fixture.h"

#include "model/scorer.h"

static void check_scores(uint32_t n_dsps, uint32_t hidden1, uint32_t hidden2, bool conjunctions,
                         const struct kernel *k)
{
    struct network *n = fixture_network(n_dsps, hidden1, hidden2, 7);
    if (conjunctions)
        fixture_conjunctions(n, 8);
    struct scorer *s = scorer_create_with(n, k, NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    assert_non_null(scratch);
    assert_string_equal(scorer_kernel_name(s), k->name);
    uint32_t *slots = calloc(network_shape_slots(&n->shape), sizeof(*slots));
    float numeric[3], *p = calloc(n_dsps, sizeof(*p));
    uint32_t *dsps = calloc(n_dsps, sizeof(*dsps));
    struct prng g = {3};
    for (int round = 0; round < 5; round++) {
        fixture_request(&n->shape, &g, slots, numeric);
        uint32_t count = round == 0 ? n_dsps : (uint32_t)prng_below(&g, n_dsps + 1);
        for (uint32_t i = 0; i < count; i++)
            dsps[i] = (uint32_t)prng_below(&g, n_dsps);
        scorer_score(s, scratch, slots, numeric, dsps, count, p);
        for (uint32_t i = 0; i < count; i++) {
            double expected = fixture_p(n, slots, numeric, dsps[i]);
            if (fabs(p[i] - expected) > 1e-5 * expected + 1e-9)
                fail_msg("%s %u/%u dsp %u of %u: %.9g, expected %.9g", k->name, hidden1, hidden2,
                         dsps[i], n_dsps, p[i], expected);
        }
    }
    free(slots);
    free(p);
    free(dsps);
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    network_destroy(n);
}

static void test_score_equals_forward_pass(void **state)
{
    static const uint32_t sizes[][3] = {{1, 1, 1},    {2, 5, 3},     {8, 16, 16},  {13, 33, 17},
                                        {67, 40, 50}, {200, 64, 32}, {9, 128, 64}, {5, 129, 100}};
    const struct kernel *kernels[4];
    size_t n = kernel_available(kernels);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            check_scores(sizes[i][0], sizes[i][1], sizes[i][2], false, kernels[k]);
            check_scores(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][0] > 1, kernels[k]);
        }
}

static void test_score_unknown_index_is_value_unknown(void **state)
{
    struct network *n = fixture_network(4, 20, 10, 1);
    struct scorer *s = scorer_create(n, NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    uint32_t known[] = {VALUE_UNKNOWN, 2, SLOT_EMPTY, VALUE_UNKNOWN, 3, VALUE_UNKNOWN, 2,
                        SLOT_EMPTY,    4};
    uint32_t beyond[] = {11, 2, SLOT_EMPTY, 9, 3, 4000000000u, 2, SLOT_EMPTY, 4};
    assert_int_equal(network_shape_slots(&n->shape), 9);
    float numeric[3] = {1, 0.5f, -2}, a[4], b[4];
    uint32_t dsps[] = {3, 0, 2, 0};
    scorer_score(s, scratch, known, numeric, dsps, 4, a);
    scorer_score(s, scratch, beyond, numeric, dsps, 4, b);
    assert_memory_equal(a, b, sizeof(a));
    assert_true(a[1] == a[3]); /* a DSP's score does not depend on who else is asked for */
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    network_destroy(n);
}

/* A request scored alone and among others gives the same bits: decisions can be replayed. */
static void test_score_does_not_depend_on_the_batch(void **state)
{
    enum { DSPS = 100 };
    struct network *n = fixture_network(DSPS, 48, 40, 5);
    const struct kernel *kernels[4];
    size_t n_kernels = kernel_available(kernels);
    for (size_t k = 0; k < n_kernels; k++) {
        struct scorer *s = scorer_create_with(n, kernels[k], NULL);
        struct scorer_scratch *scratch = scorer_scratch_create(s);
        uint32_t slots[9], dsps[DSPS];
        float numeric[3], p[DSPS];
        struct prng g = {11};
        fixture_request(&n->shape, &g, slots, numeric);
        for (uint32_t i = 0; i < DSPS; i++)
            dsps[i] = i;
        scorer_score(s, scratch, slots, numeric, dsps, DSPS, p);
        for (uint32_t i = 0; i < DSPS; i++) {
            float alone;
            scorer_score(s, scratch, slots, numeric, &i, 1, &alone);
            assert_memory_equal(&alone, &p[i], sizeof(alone));
        }
        scorer_scratch_destroy(scratch);
        scorer_destroy(s);
    }
    network_destroy(n);
}

static void test_score_overflow_is_sent(void **state)
{
    struct network *n = fixture_network(2, 8, 8, 2);
    for (int i = 0; i < 8; i++) {
        n->output_weight[i] = 3e38f;
        n->hidden2_bias[i] = 3e38f;
        n->output_weight[8 + i] = i % 2 != 0 ? 3e38f : -3e38f;
    }
    n->output_bias[1] = INFINITY;
    struct scorer *s = scorer_create(n, NULL);
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    uint32_t slots[9] = {0}, dsps[] = {0, 1};
    float numeric[3] = {0}, p[2];
    scorer_score(s, scratch, slots, numeric, dsps, 2, p);
    assert_true(p[0] == 1 && p[1] == 1);
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    network_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_equals_forward_pass),
        cmocka_unit_test(test_score_unknown_index_is_value_unknown),
        cmocka_unit_test(test_score_does_not_depend_on_the_batch),
        cmocka_unit_test(test_score_overflow_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
