/* What features contribute: those that decide who bids stand above those that say nothing, and
 * measuring leaves no trace. */
#include "tests/filter/small_world.h"

#include "filter/importance.h"
#include "filter/schema.h"
#include "tests/model/examples.h"

static const struct importance_feature *find(const struct importance *all, const char *name)
{
    for (uint32_t i = 0; i < all->n_features; i++)
        if (strcmp(all->features[i].name, name) == 0)
            return &all->features[i];
    fail_msg("no feature %s", name);
    return NULL;
}

static void test_what_decides_is_found(void **state)
{
    struct error err = {""};
    struct training_options o;
    struct training_report report[2];
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    assert_non_null(s);
    char *path = fixture_temporary("", 0);
    small_world_options(&o);
    o.baseline = false;
    o.ablate = true;
    for (int i = 0; i < 2; i++) {
        struct trainset *t = trainset_create(s, NULL);
        small_world_fill(t, 0, SMALL_WORLD_REQUESTS);
        o.refit = i == 1; /* the judged network is the same with it and without */
        if (training_run(t, &o, path, &report[i], &err) != 0)
            fail_msg("%s", err.text);
        trainset_destroy(t);
    }
    const struct importance *all = &report[0].importance;
    assert_int_equal(all->n_features, 7); /* all but the DSP */
    assert_int_equal(all->n_requests, SMALL_WORLD_REQUESTS / 5);
    assert_true(fabs(all->nll - report[0].train.validation_nll) < 1e-4);
    assert_true(fabs(all->withheld - report[0].withheld) < 1e-4);
    for (uint32_t i = 1; i < all->n_features; i++)
        assert_true(all->features[i - 1].withheld_loss >= all->features[i].withheld_loss);
    static const char *const deciding[] = {"country", "domain", "os"};
    static const char *const idle[] = {"floor", "size", "hour", "deal_floor"};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 4; k++)
            assert_true(find(all, deciding[i])->nll_loss > 3 * find(all, idle[k])->nll_loss);
    assert_true(find(all, "country")->nll_loss > 0.01 && find(all, "domain")->nll_loss > 0.01);
    assert_true(find(all, "deal_floor")->nll_loss == 0); /* always missing */
    assert_int_equal(report[1].importance.n_features, all->n_features);
    assert_memory_equal(all->features, report[1].importance.features,
                        all->n_features * sizeof(*all->features));
    importance_dispose(&report[0].importance);
    importance_dispose(&report[1].importance);
    assert_null(report[0].importance.features);
    unlink(path);
    free(path);
    schema_destroy(s);
}

/* One feature, one number; more requests than are taken. */
static void test_numbers_and_the_sample(void **state)
{
    enum { N = IMPORTANCE_REQUESTS_MAX + 7777 };
    static const char json[] = "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\",\"dim\":1},"
                               "{\"name\":\"floor\",\"source\":\"imp.floor\"},"
                               "{\"name\":\"os\",\"source\":\"device.os\",\"dim\":1}]}";
    struct error err = {""};
    struct schema *s = schema_parse(bytes_of(json), "test", &err);
    assert_non_null(s);
    struct network_feature features[] = {{"dsp", 3, 1, 1, false}, {"os", 3, 1, 1, false}};
    struct network_shape shape = {features, 2, 0, 1, 2, 1, 1, false};
    struct network *n = network_create_zero(&shape);
    n->hidden1_weight[2] = n->hidden1_weight[3] = 1; /* the number, and that it is missing */
    n->hidden1_bias[0] = 5;
    n->hidden2_weight[0] = 1;
    n->output_weight[1] = 1;
    n->output_bias[1] = -6.5f;
    uint32_t *slots = calloc(N, sizeof(*slots)), *request = calloc(N, sizeof(*request));
    float *numeric = calloc(2 * N, sizeof(*numeric)), *weight = calloc(N, sizeof(*weight));
    uint16_t *dsp = calloc(N, sizeof(*dsp));
    uint8_t *label = calloc(N, sizeof(*label));
    struct prng g = {3};
    for (uint32_t i = 0; i < N; i++) {
        request[i] = i;
        weight[i] = 1;
        slots[i] = VALUE_FIRST;
        bool missing = prng_unit(&g) < 0.1;
        numeric[2 * i] = missing ? 0 : (float)(2 * prng_normal(&g));
        numeric[2 * i + 1] = missing;
        double logit = (double)(numeric[2 * i] + numeric[2 * i + 1]) - 1.5;
        label[i] = prng_unit(&g) < 1 / (1 + exp(-logit));
    }
    struct examples e = examples_of(N, slots, numeric, N, request, dsp, label, weight);
    struct importance_options o = {.recall = 0.9, .seed = 1};
    struct importance all, again;
    assert_int_equal(importance_measure(&all, n, s, &e, &o, &err), 0);
    assert_int_equal(importance_measure(&again, n, s, &e, &o, &err), 0);
    assert_int_equal(all.n_requests, IMPORTANCE_REQUESTS_MAX);
    assert_int_equal(all.n_features, 2);
    assert_string_equal(all.features[0].name, "floor");
    assert_true(all.features[0].nll_loss > 0.2 && all.features[0].withheld_loss > 0.2);
    assert_true(all.features[1].nll_loss == 0 && all.features[1].withheld_loss == 0);
    assert_memory_equal(all.features, again.features, 2 * sizeof(*all.features));
    importance_dispose(&all);
    importance_dispose(&again);
    network_destroy(n);
    free(slots);
    free(request);
    free(numeric);
    free(weight);
    free(dsp);
    free(label);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_decides_is_found),
        cmocka_unit_test(test_numbers_and_the_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
