/* Beginning from an older model: what is taken over, what stays new, what is refused, and that it
 * is worth it. */
#include "tests/filter/small_world.h"

#include "filter/schema.h"
#include "filter/warm.h"

enum { LATER = SMALL_WORLD_REQUESTS / 2 };

static struct schema *parsed(const char *json)
{
    struct error err = {""};
    struct schema *s = schema_parse(bytes_of(json), "test", &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    return s;
}

/* Trains on n requests of the small world; -1 and err as training_run. */
static int train(const char *schema, uint32_t n, const struct training_options *o, const char *path,
                 struct training_report *report, struct error *err)
{
    struct schema *s = parsed(schema);
    struct trainset *t = trainset_create(s, NULL);
    small_world_fill(t, 0, n);
    int status = training_run(t, o, path, report, err);
    trainset_destroy(t);
    schema_destroy(s);
    return status;
}

static void options(struct training_options *o, enum training_arch arch)
{
    small_world_options(o);
    o->arch = arch;
    o->baseline = false;
    o->refit = false; /* the later slice stays unseen */
}

/* One pass from a model is better than one from nothing. */
static void test_better_than_from_nothing(void **state)
{
    char *old = fixture_temporary("", 0), *path = fixture_temporary("", 0);
    for (int arch = ARCH_FULL; arch <= ARCH_LINEAR; arch++) {
        struct error err = {""};
        struct training_options o;
        struct training_report first, warm, cold;
        struct predictor *p;
        options(&o, (enum training_arch)arch);
        if (train(SMALL_WORLD_SCHEMA, SMALL_WORLD_REQUESTS, &o, old, &first, &err) != 0)
            fail_msg("%s", err.text);
        o.train.epochs_max = 1;
        assert_int_equal(train(SMALL_WORLD_SCHEMA, SMALL_WORLD_REQUESTS, &o, path, &cold, &err), 0);
        o.warm = old;
        if (train(SMALL_WORLD_SCHEMA, SMALL_WORLD_REQUESTS, &o, path, &warm, &err) != 0)
            fail_msg("%s", err.text);
        /* conjunctions are fitted anew in either, and may say all there is to say */
        double slack = arch == ARCH_FULL ? 1.02 : 1;
        assert_true(warm.train.validation_nll < slack * cold.train.validation_nll);
        assert_true(warm.train.validation_nll < 1.1 * first.train.validation_nll);
        p = predictor_load(path, &err);
        assert_non_null(p);
        predictor_destroy(p);
    }
    unlink(old);
    unlink(path);
    free(old);
    free(path);
}

/* With the refit, and a linear model beside it, from a model of earlier traffic. */
static void test_both_trainings(void **state)
{
    char *old = fixture_temporary("", 0), *path = fixture_temporary("", 0);
    struct error err = {""};
    struct training_options o;
    struct training_report report;
    options(&o, ARCH_FULL);
    o.refit = true;
    assert_int_equal(train(SMALL_WORLD_SCHEMA, LATER, &o, old, &report, &err), 0);
    struct predictor *before = predictor_load(old, &err);
    assert_non_null(before);
    o.warm = old;
    o.baseline = true;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        o.train.threads = threads;
        if (train(SMALL_WORLD_SCHEMA, SMALL_WORLD_REQUESTS, &o, path, &report, &err) != 0)
            fail_msg("%s", err.text);
        assert_true(isfinite(report.withheld_linear) && report.train.validation_auc > 0.8);
        struct predictor *p = predictor_load(path, &err);
        assert_non_null(p);
        assert_int_equal(predictor_info(p)->n_dsps, 3);
        assert_true(predictor_encoder(p)->mean[0] == predictor_encoder(before)->mean[0]);
        assert_true(predictor_encoder(p)->std[0] == predictor_encoder(before)->std[0]);
        predictor_destroy(p);
    }
    predictor_destroy(before);
    /* what it would be judged by must not be what the older model has seen */
    assert_int_equal(train(SMALL_WORLD_SCHEMA, LATER + LATER / 10, &o, path, &report, &err), -1);
    assert_non_null(strstr(err.text, "a validation share below 0.09"));
    assert_non_null(strstr(err.text, old));
    assert_int_equal(train(SMALL_WORLD_SCHEMA, LATER, &o, path, &report, &err), -1);
    assert_non_null(strstr(err.text, "nothing is left to judge by"));
    unlink(old);
    unlink(path);
    free(old);
    free(path);
}

/* Whatever share of no-bids is drawn, the older model's probabilities come out. */
static void test_negative_rate(void **state)
{
    char *path = small_world_model();
    struct error err = {""};
    struct network *old;
    struct predictor *p = predictor_load_with_network(path, &old, &err);
    struct warm *w = warm_open(path, &err);
    assert_true(p != NULL && old != NULL && w != NULL);
    struct interner *dsps = interner_create();
    for (uint32_t d = 0; d < 3; d++) {
        interner_add(dsps, bytes_of(predictor_dsp_name(p, d)));
        old->calibration[d][0] = 1;
        old->calibration[d][1] = 0;
    }
    conjunctions_destroy(old->conjunctions);
    old->conjunctions = NULL;
    struct network *n = network_create(&old->shape, 99);
    n->negative_rate = old->negative_rate / 3;
    assert_int_equal(warm_init(w, predictor_encoder(p), dsps, n), 0);
    struct scorer *a = scorer_create(old, &err), *b = scorer_create(n, &err);
    struct scorer_scratch *sa = scorer_scratch_create(a), *sb = scorer_scratch_create(b);
    struct prng g = {8};
    for (int i = 0; i < 50; i++) {
        uint32_t slots[7], all[] = {0, 1, 2};
        float numeric[4] = {(float)prng_normal(&g), 0, 0, 1}, pa[3], pb[3];
        for (int k = 0; k < 7; k++)
            slots[k] = (uint32_t)prng_below(&g, 5);
        scorer_score(a, sa, slots, numeric, all, 3, pa);
        scorer_score(b, sb, slots, numeric, all, 3, pb);
        for (int d = 0; d < 3; d++)
            assert_true(fabsf(pa[d] - pb[d]) < 1e-5f);
    }
    scorer_scratch_destroy(sa);
    scorer_scratch_destroy(sb);
    scorer_destroy(a);
    scorer_destroy(b);
    network_destroy(n);
    network_destroy(old);
    interner_destroy(dsps);
    warm_destroy(w);
    predictor_destroy(p);
    unlink(path);
    free(path);
}

/* Other texts, other DSPs, in another order. */
static void test_by_text_and_name(void **state)
{
    static const char *const countries[] = {"NZL", "FRA", "USA"}, *const names[] = {"gamma", "zeta",
                                                                                    "alpha"};
    char *path = small_world_model();
    struct error err = {""};
    struct network *old;
    struct predictor *p = predictor_load_with_network(path, &old, &err);
    struct warm *w = warm_open(path, &err);
    assert_true(p != NULL && w != NULL);
    struct schema *s = parsed(SMALL_WORLD_SCHEMA);
    struct encoder *e = encoder_create(s);
    struct interner *dsps = interner_create();
    struct network_shape shape;
    for (int i = 0; i < 3; i++) {
        interner_add(e->vocabularies[1], bytes_of(countries[i]));
        interner_add(dsps, bytes_of(names[i]));
    }
    assert_int_equal(encoder_shape(e, 3, &shape), 0);
    shape.hidden1 = old->shape.hidden1;
    shape.hidden2 = old->shape.hidden2;
    shape.gated = true;
    assert_int_equal(warm_check_shape(w, &shape, &err), 0);
    struct network *n = network_create(&shape, 7), *random = network_create(&shape, 7);
    assert_int_equal(warm_init(w, e, dsps, n), 0);
    const struct encoder *was = predictor_encoder(p);
    for (uint32_t v = 0; v < 5; v++) {
        uint32_t from = v < VALUE_FIRST ? v : encoder_row(was, 1, bytes_of(countries[v - 2]));
        bool known = v != VALUE_FIRST; /* NZL is new */
        assert_memory_equal(n->embedding[1] + 4 * v,
                            known ? old->embedding[1] + 4 * from : random->embedding[1] + 4 * v,
                            4 * sizeof(float));
        for (uint32_t d = 0; d < 3; d++) {
            int32_t dsp = predictor_find_dsp(p, names[d]);
            float expected = known && dsp >= 0 ? old->wide[1][3 * from + (uint32_t)dsp] : 0;
            assert_true(n->wide[1][3 * v + d] == expected);
        }
    }
    for (uint32_t d = 0; d < 3; d++) {
        int32_t dsp = predictor_find_dsp(p, names[d]);
        const struct network *from = dsp >= 0 ? old : random;
        uint32_t row = dsp >= 0 ? (uint32_t)dsp : d, width = shape.hidden1;
        assert_int_equal(dsp >= 0, d != 1); /* zeta is new */
        assert_memory_equal(n->embedding[0] + 4 * (2 + d), from->embedding[0] + 4 * (2 + row),
                            4 * sizeof(float));
        assert_memory_equal(n->gate + width * d, from->gate + width * row, width * sizeof(float));
    }
    assert_memory_equal(n->hidden2_weight, old->hidden2_weight,
                        shape.hidden1 * shape.hidden2 * sizeof(float));
    network_destroy(n);
    network_destroy(random);
    network_destroy(old);
    network_shape_dispose(&shape);
    interner_destroy(dsps);
    encoder_destroy(e);
    schema_destroy(s);
    warm_destroy(w);
    predictor_destroy(p);
    unlink(path);
    free(path);
}

#define DSP "{\"name\":\"dsp\",\"source\":\"dsp\",\"dim\":4},"
#define COUNTRY "{\"name\":\"country\",\"source\":\"geo.country\",\"dim\":4,\"wide\":true},"

/* Dims by rule are the older model's, whatever the vocabulary has grown to. */
static void test_dims_by_rule(void **state)
{
    static const char json[] =
        "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\"},"
        "{\"name\":\"country\",\"source\":\"geo.country\",\"min_count\":1500}]}";
    static const char more[] =
        "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\"},"
        "{\"name\":\"country\",\"source\":\"geo.country\",\"min_count\":1}]}";
    char *old = fixture_temporary("", 0), *path = fixture_temporary("", 0);
    struct error err = {""};
    struct training_options o;
    struct training_report report;
    options(&o, ARCH_FULL);
    o.train.epochs_max = 1;
    assert_int_equal(train(json, LATER, &o, old, &report, &err), 0);
    o.warm = old;
    if (train(more, SMALL_WORLD_REQUESTS, &o, path, &report, &err) != 0)
        fail_msg("%s", err.text);
    struct predictor *a = predictor_load(old, &err), *b = predictor_load(path, &err);
    assert_true(a != NULL && b != NULL);
    assert_int_equal(predictor_info(a)->shape->features[1].values, 2);
    assert_int_equal(predictor_info(b)->shape->features[1].values, 6);
    assert_int_equal(predictor_info(b)->shape->features[1].dim,
                     predictor_info(a)->shape->features[1].dim);
    predictor_destroy(a);
    predictor_destroy(b);
    unlink(old);
    unlink(path);
    free(old);
    free(path);
}

static void test_what_does_not_fit(void **state)
{
    static const char head[] = "{\"features\":[" DSP;
    static const struct {
        const char *features, *told;
    } cases[] = {
        {COUNTRY "{\"name\":\"floor\",\"source\":\"imp.floor\"}]}", "the schema 3"},
        {"{\"name\":\"country\",\"source\":\"geo.country\",\"dim\":5},"
         "{\"name\":\"os\",\"source\":\"device.os\"},{\"name\":\"floor\",\"source\":\"imp.floor\"}]"
         "}",
         "feature country: dim is 4 in the model, 5 in the schema"},
        {COUNTRY "{\"name\":\"os\",\"source\":\"imp.size\"},"
                 "{\"name\":\"floor\",\"source\":\"imp.floor\"}]}",
         "feature os: source is device.os in the model, imp.size in the schema"},
        {COUNTRY "{\"name\":\"floor\",\"source\":\"imp.floor\"},"
                 "{\"name\":\"os\",\"source\":\"device.os\"}]}",
         "the schema has feature floor where the model has os"},
        {COUNTRY "{\"name\":\"os\",\"source\":\"device.os\",\"hash_bits\":4},"
                 "{\"name\":\"floor\",\"source\":\"imp.floor\"}]}",
         "feature os: hash_bits is 0 in the model, 4 in the schema"},
        {"{\"name\":\"country\",\"source\":\"geo.country\",\"dim\":4},"
         "{\"name\":\"os\",\"source\":\"device.os\"},{\"name\":\"floor\",\"source\":\"imp.floor\"}]"
         "}",
         "feature country: wide is true in the model, false in the network"},
    };
    static const char base[] =
        "{\"features\":[" DSP COUNTRY "{\"name\":\"os\",\"source\":\"device.os\"},"
        "{\"name\":\"floor\",\"source\":\"imp.floor\"}]}";
    char *old = fixture_temporary("", 0), json[1024];
    struct error err = {""};
    struct training_options o;
    struct training_report report;
    options(&o, ARCH_FULL);
    o.train.epochs_max = 1;
    assert_int_equal(train(base, 1000, &o, old, &report, &err), 0);
    o.warm = old;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(json, sizeof(json), "%s%s", head, cases[i].features);
        assert_int_equal(train(json, LATER, &o, "/nonexistent/m", &report, &err), -1);
        if (strstr(err.text, cases[i].told) == NULL || strstr(err.text, old) == NULL)
            fail_msg("%s", err.text);
    }
    o.hidden2 = 9;
    assert_int_equal(train(base, LATER, &o, "/nonexistent/m", &report, &err), -1);
    assert_non_null(strstr(err.text, "its hidden layers are 16,8, those to be trained 16,9"));
    o.hidden2 = 8;
    o.arch = ARCH_MLP;
    assert_int_equal(train(base, LATER, &o, "/nonexistent/m", &report, &err), -1);
    assert_non_null(strstr(err.text, "it has a gate for each DSP"));
    o.warm = "/nonexistent/old";
    assert_int_equal(train(base, LATER, &o, "/nonexistent/m", &report, &err), -1);
    assert_non_null(strstr(err.text, "/nonexistent/old"));
    unlink(old);
    free(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better_than_from_nothing),
        cmocka_unit_test(test_both_trainings),
        cmocka_unit_test(test_negative_rate),
        cmocka_unit_test(test_by_text_and_name),
        cmocka_unit_test(test_dims_by_rule),
        cmocka_unit_test(test_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
