/* From labelled requests to a model file: what is learned, what is refused, and that the same input
 * gives the same bytes. */
#include "tests/filter/small_world.h"

#include "filter/slices.h"

static char *file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *data = malloc(1 << 22);
    *size = fread(data, 1, 1 << 22, file);
    fclose(file);
    return data;
}

static void test_train_learns(void **state)
{
    char *path = small_world_model();
    struct error err;
    struct predictor *p = predictor_load(path, &err);
    if (p == NULL)
        fail_msg("%s", err.text);
    const struct predictor_info *info = predictor_info(p);
    assert_int_equal(info->n_dsps, 3);
    assert_string_equal(predictor_dsp_name(p, 0), "alpha");
    assert_string_equal(predictor_dsp_name(p, 1), "beta");
    assert_string_equal(predictor_dsp_name(p, 2), "gamma");
    assert_int_equal(predictor_find_dsp(p, "beta"), 1);
    assert_int_equal(predictor_find_dsp(p, "delta"), -1);

    /* the last fifth of the time validates; its end dates the model */
    int64_t first = FIXTURE_TS, last = FIXTURE_TS + INT64_C(60000) * (SMALL_WORLD_REQUESTS - 1);
    assert_int_equal(info->window_from_ms, first);
    assert_int_equal(info->validation_to_ms, last);
    assert_int_equal(info->trained_at_ms, last);
    assert_true(info->window_to_ms < info->validation_from_ms);
    assert_true(llabs(info->validation_from_ms - (first + (last - first) * 4 / 5)) <= 60000);
    assert_int_equal(info->train_pairs + info->validation_pairs, 3 * SMALL_WORLD_REQUESTS);

    /* it knows who bids, on requests that it never saw */
    double alpha[2] = {0}, beta[2] = {0};
    uint32_t n_alpha[2] = {0}, n_beta[2] = {0};
    for (uint32_t i = SMALL_WORLD_REQUESTS; i < SMALL_WORLD_REQUESTS + 400; i++) {
        struct small_request q;
        float scores[8];
        small_world_request(i, &q);
        small_world_score(p, i, scores);
        bool for_alpha = strstr(q.json, "USA") != NULL && strstr(q.json, "Windows") == NULL;
        bool for_beta = strstr(q.json, "\"site3.") != NULL;
        alpha[for_alpha] += (double)scores[0];
        beta[for_beta] += (double)scores[1];
        n_alpha[for_alpha]++;
        n_beta[for_beta]++;
    }
    assert_true(alpha[1] / n_alpha[1] > 0.5 && alpha[0] / n_alpha[0] < 0.05);
    assert_true(beta[1] / n_beta[1] > 0.5 && beta[0] / n_beta[0] < 0.05);

    /* a curve each; alpha's proves a threshold that withholds most */
    const struct recall_curve *curve = predictor_curve(p, 0);
    assert_non_null(curve);
    assert_true(curve->auc > 0.9);
    assert_int_equal(curve->pairs, info->validation_pairs / 3);
    float threshold = recall_curve_threshold(curve, 0.9, 0);
    assert_true(threshold > 0.01f);

    char *description = predictor_describe(p);
    assert_non_null(strstr(description, "\"validation_bids\""));
    assert_non_null(strstr(description, "\"gamma\""));
    free(description);
    predictor_destroy(p);
    predictor_destroy(NULL);
    unlink(path);
    free(path);
}

static void test_train_same_bytes(void **state)
{
    size_t size[2];
    char *data[2];
    for (int i = 0; i < 2; i++) {
        char *path = small_world_model();
        data[i] = file_read(path, &size[i]);
        unlink(path);
        free(path);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(data[0], data[1], size[0]);
    free(data[0]);
    free(data[1]);
}

/* What trains on requests as they come must not depend on the order they come in. */
static void test_slices_by_time(void **state)
{
    struct error err;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    static const uint32_t order[2][6] = {{0, 1, 2, 3, 4, 5}, {5, 2, 0, 4, 1, 3}};
    float scores[2][8];
    for (int k = 0; k < 2; k++) {
        struct trainset *t = trainset_create(s, NULL);
        for (int part = 0; part < 6; part++)
            small_world_fill(t, order[k][part] * 200, 200);
        struct training_options o;
        struct training_report report;
        small_world_options(&o);
        o.train.epochs_max = 2;
        o.train.threads = 1 + (uint32_t)k; /* in turn, or beside each other */
        char *path = fixture_temporary("", 0);
        assert_int_equal(training_run(t, &o, path, &report, &err), 0);
        struct predictor *p = predictor_load(path, &err);
        if (p == NULL)
            fail_msg("%s", err.text);
        small_world_score(p, 9999, scores[k]);
        predictor_destroy(p);
        unlink(path);
        free(path);
        trainset_destroy(t);
    }
    assert_memory_equal(scores[0], scores[1], 3 * sizeof(float));
    schema_destroy(s);
}

/* A part is as a set that never saw the rest. */
static void test_between_is_a_set_of_its_own(void **state)
{
    enum { FROM = 700, N = 900 };
    struct error err = {""};
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    struct trainset *all = trainset_create(s, NULL), *alone = trainset_create(s, NULL);
    small_world_fill(all, 0, FROM + N + 300);
    small_world_fill(alone, FROM, N);
    struct trainset *sets[2] = {alone, trainset_between(all, FIXTURE_TS + INT64_C(60000) * FROM,
                                                        FIXTURE_TS + INT64_C(60000) * (FROM + N))};
    assert_int_equal(trainset_counts(sets[1])->requests, N);
    assert_int_equal(trainset_counts(sets[1])->pairs, trainset_counts(alone)->pairs);
    assert_int_equal(trainset_counts(sets[1])->bids, trainset_counts(alone)->bids);
    size_t size[2];
    char *data[2];
    for (int i = 0; i < 2; i++) {
        int64_t first_ms, last_ms;
        struct training_options o;
        struct training_report report;
        assert_true(trainset_span(sets[i], &first_ms, &last_ms));
        assert_int_equal(first_ms, FIXTURE_TS + INT64_C(60000) * FROM);
        assert_int_equal(last_ms, FIXTURE_TS + INT64_C(60000) * (FROM + N - 1));
        small_world_options(&o);
        o.train.epochs_max = 2;
        char *path = fixture_temporary("", 0);
        if (training_run(sets[i], &o, path, &report, &err) != 0)
            fail_msg("%s", err.text);
        data[i] = file_read(path, &size[i]);
        unlink(path);
        free(path);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(data[0], data[1], size[0]);
    free(data[0]);
    free(data[1]);
    trainset_destroy(sets[1]);
    struct trainset *none = trainset_between(all, 0, 1);
    int64_t unset;
    assert_false(trainset_span(none, &unset, &unset));
    trainset_destroy(none);
    trainset_destroy(alone);
    trainset_destroy(all);
    schema_destroy(s);
}

static bool add(struct trainset *t, int64_t ts_ms, const char *json, const char *dsp, bool bid,
                double propensity)
{
    struct trainset_pair pair = {bytes_of(dsp), bid, propensity, 0};
    struct bid_request_error e;
    return trainset_add(t, ts_ms, bytes_of(json), &pair, 1, &e);
}

static const char PLAIN[] = "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}";

static void test_counts(void **state)
{
    struct error err;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    struct trainset *t = trainset_create(s, NULL);
    struct bid_request_error e;
    assert_false(add(t, 1, "{", "a", true, 1));
    assert_false(trainset_add(t, 1, bytes_of("{\"id\":1}"), NULL, 0, &e));
    assert_true(strlen(e.reason) > 0);
    assert_true(add(t, 1, PLAIN, "a", true, 0.5));
    assert_true(add(t, 2, PLAIN, "a", false, 1));
    static const double wrong[] = {0, -1, 1.5, NAN, INFINITY};
    for (size_t i = 0; i < 5; i++)
        assert_true(add(t, 1, PLAIN, "a", true, wrong[i]));
    assert_true(add(t, 1, PLAIN, "", true, 1));
    assert_true(trainset_add(t, 1, bytes_of(PLAIN), NULL, 0, &e));
    const struct trainset_counts *c = trainset_counts(t);
    assert_int_equal(c->requests, 11);
    assert_int_equal(c->requests_unreadable, 2);
    assert_int_equal(c->pairs, 2);
    assert_int_equal(c->bids, 1);
    assert_int_equal(c->pairs_dropped, 6);
    trainset_destroy(t);
    trainset_destroy(NULL);
    schema_destroy(s);
}

/* Whatever differs, the time, the id, the DSP, the outcome, makes another record. */
static void test_repeated_records(void **state)
{
    struct error err;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    struct trainset *t = trainset_create(s, NULL);
    static const char other[] =
        "{\"id\":\"q\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}";
    for (int again = 0; again < 3; again++) {
        assert_true(add(t, 1, PLAIN, "a", true, 1));
        assert_true(add(t, 2, PLAIN, "a", true, 1));
        assert_true(add(t, 1, other, "a", true, 1));
        assert_true(add(t, 1, PLAIN, "b", true, 1));
        assert_true(add(t, 1, PLAIN, "a", false, 1));
    }
    const struct trainset_counts *c = trainset_counts(t);
    assert_int_equal(c->requests, 15);
    assert_int_equal(c->requests_repeated, 10);
    assert_int_equal(c->pairs, 5);
    /* many, in another order */
    small_world_fill(t, 0, 6000);
    small_world_fill(t, 3000, 4000);
    small_world_fill(t, 0, 3000);
    assert_int_equal(c->requests_repeated, 10 + 6000);
    assert_int_equal(c->pairs, 5 + 3 * 7000);
    trainset_destroy(t);
    schema_destroy(s);
}

/* {when, bid} of a few requests, and what the refusal must say. */
static void test_nothing_to_learn(void **state)
{
    static const struct {
        const char *says;
        double share;
        struct {
            int64_t ts_ms;
            int label; /* 0, 1; -1 ends */
        } rows[6];
    } cases[] = {
        {"no request with a label", 0.2, {{0, -1}}},
        {"of one moment", 0.2, {{5, 1}, {5, 0}, {5, 1}, {0, -1}}},
        {"no bid among them", 0.2, {{1, 0}, {2, 0}, {9, 1}, {0, -1}}},
        {"nothing but bids", 0.2, {{1, 1}, {2, 1}, {9, 1}, {0, -1}}},
        {"validation share", 0, {{1, 1}, {2, 0}, {9, 1}, {0, -1}}},
        {"validation share", 1, {{1, 1}, {2, 0}, {9, 1}, {0, -1}}},
        {"validation share", NAN, {{1, 1}, {2, 0}, {9, 1}, {0, -1}}},
    };
    struct error err;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct trainset *t = trainset_create(s, NULL);
        for (size_t k = 0; cases[i].rows[k].label >= 0; k++)
            add(t, cases[i].rows[k].ts_ms, PLAIN, "a", cases[i].rows[k].label == 1, 1);
        struct training_options o;
        struct training_report report;
        small_world_options(&o);
        o.validation_share = cases[i].share;
        assert_int_equal(training_run(t, &o, "/tmp/bidsieve-never-written", &report, &err), -1);
        if (strstr(err.text, cases[i].says) == NULL)
            fail_msg("said \"%s\", not \"%s\"", err.text, cases[i].says);
        assert_int_equal(access("/tmp/bidsieve-never-written", F_OK), -1);
        trainset_destroy(t);
    }
    schema_destroy(s);
}

/* No label in the earlier slice, no recall curve: the refitted network scores such a DSP, but
 * nothing is proven of it, and serving sends it everything. */
static void test_dsp_of_the_later_slice(void **state)
{
    struct error err;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    struct trainset *t = trainset_create(s, NULL);
    small_world_fill(t, 0, 500);
    for (int i = 0; i < 7; i++)
        add(t, FIXTURE_TS + INT64_C(60000) * (490 + i), PLAIN, "newcomer", true, 1);
    struct training_options o;
    struct training_report report;
    small_world_options(&o);
    o.train.epochs_max = 1;
    for (int refit = 0; refit < 2; refit++) {
        o.refit = refit;
        char *path = fixture_temporary("", 0);
        assert_int_equal(training_run(t, &o, path, &report, &err), 0);
        assert_int_equal(report.pairs_dropped, 7);
        struct predictor *p = predictor_load(path, &err);
        assert_non_null(p);
        int32_t newcomer = predictor_find_dsp(p, "newcomer");
        assert_int_equal(newcomer >= 0, refit);
        for (uint32_t d = 0; d < predictor_info(p)->n_dsps; d++)
            assert_int_equal(predictor_curve(p, d) == NULL, (int32_t)d == newcomer);
        predictor_destroy(p);
        unlink(path);
        free(path);
    }
    trainset_destroy(t);
    schema_destroy(s);
}

/* Vocabularies come from the earlier slice; rare values do not get in; encoding is what serving
 * computes for the same request. */
static void test_slices_encode_as_serving(void **state)
{
    static const char json[] =
        "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\"},{\"name\":\"domain\","
        "\"source\":\"property.domain\",\"min_count\":2,\"values_max\":2},"
        "{\"name\":\"floor\",\"source\":\"imp.floor\"}]}";
    static const struct {
        const char *domain;
        int64_t ts_ms;
    } rows[] = {{"a", 0}, {"b", 1}, {"b", 2}, {"once", 3},  {"a", 4},      {"c", 5},
                {"c", 6}, {"c", 7}, {"b", 8}, {"late", 99}, {"late", 100}, {"late", 100}};
    enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
    struct error err;
    struct schema *s = schema_parse(bytes_of(json), "test", &err);
    assert_non_null(s);
    struct interner *domains = interner_create(), *dsps = interner_create();
    struct interner *values[] = {NULL, domains, NULL};
    uint32_t texts[ROWS];
    float numbers[ROWS];
    int64_t ts[ROWS];
    uint64_t first_pair[ROWS + 1];
    struct collected_pair pairs[ROWS];
    interner_add(dsps, bytes_of("z"));
    interner_add(dsps, bytes_of("a"));
    for (uint32_t i = 0; i < ROWS; i++) {
        texts[i] = interner_add(domains, bytes_of(rows[i].domain));
        numbers[i] = i == 1 ? NAN : (float)i;
        ts[i] = rows[i].ts_ms;
        first_pair[i] = i;
        pairs[i] = (struct collected_pair){1, (uint16_t)(i % 2), i % 3 == 0, (float)i};
    }
    first_pair[ROWS] = ROWS;
    struct collected from = {ROWS, ts, texts, numbers, first_pair, pairs, values, dsps, NULL};
    struct slices out;
    assert_int_equal(slices_create(&out, s, &from, 0.2, &err), 0);
    assert_int_equal(out.train.examples.n_requests, 9);
    assert_int_equal(out.validation.examples.n_requests, 3);
    assert_int_equal(out.train.to_ms, 8);
    assert_int_equal(out.validation.from_ms, 99);
    /* 3 b, 3 c, 2 a: two stay, the tie goes by text; DSPs go by name */
    struct interner *v = out.encoder->vocabularies[1];
    assert_int_equal(interner_count(v), 2);
    assert_bytes(interner_text(v, 0), "b", "most frequent");
    assert_bytes(interner_text(v, 1), "c", "next");
    assert_bytes(interner_text(out.dsps, 0), "a", "first DSP");
    assert_int_equal(out.train.examples.dsp[0], 1);

    for (uint32_t i = 0; i < ROWS; i++) {
        struct bytes text = bytes_of(rows[i].domain);
        double number = i == 1 ? NAN : (double)i;
        struct raw_features raw = {&text, &number};
        uint32_t slot;
        float numeric[2];
        encoder_encode(out.encoder, &raw, &slot, numeric);
        assert_int_equal(slot, out.slots[i]);
        assert_memory_equal(numeric, out.numeric + 2 * i, sizeof(numeric));
    }
    assert_true(out.train.examples.n_days == 0); /* nine milliseconds */
    slices_dispose(&out);

    /* the same, half a day from one to the next: days end where the slice ends */
    for (uint32_t i = 0; i < ROWS; i++)
        ts[i] *= 12 * 3600 * 1000;
    assert_int_equal(slices_create(&out, s, &from, 0.2, &err), 0);
    static const uint16_t days[] = {0, 1, 1, 2, 2, 3, 3, 4, 4};
    assert_int_equal(out.train.examples.n_days, 5);
    assert_memory_equal(out.train.examples.day, days, sizeof(days));
    assert_int_equal(out.validation.examples.n_days, 0);
    slices_dispose(&out);
    interner_destroy(domains);
    interner_destroy(dsps);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_encode_as_serving),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_repeated_records),
        cmocka_unit_test(test_nothing_to_learn),
        cmocka_unit_test(test_train_learns),
        cmocka_unit_test(test_train_same_bytes),
        cmocka_unit_test(test_slices_by_time),
        cmocka_unit_test(test_between_is_a_set_of_its_own),
        cmocka_unit_test(test_dsp_of_the_later_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
