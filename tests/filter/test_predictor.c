/* Model files: what loads scores the same, what is damaged is refused, what is minimal works. */
#include "tests/filter/small_world.h"

#include "model/safetensors.h"

static char *file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *data = malloc(1 << 22);
    *size = fread(data, 1, 1 << 22, file);
    fclose(file);
    return data;
}

/* One model for all tests of this file. */
struct shared {
    char *path, *data;
    size_t size;
    float scores[3][8]; /* of three requests */
    float threshold;
};
enum { SCORED_FIRST = 5000 };

static void score_three(const struct predictor *p, float scores[3][8])
{
    memset(scores, 0, 3 * sizeof(scores[0]));
    for (uint32_t i = 0; i < 3; i++)
        small_world_score(p, SCORED_FIRST + i, scores[i]);
}

static int set_up(void **state)
{
    static struct shared s;
    struct error err;
    s.path = small_world_model();
    s.data = file_read(s.path, &s.size);
    struct predictor *p = predictor_load(s.path, &err);
    if (p == NULL)
        fail_msg("%s", err.text);
    score_three(p, s.scores);
    s.threshold = recall_curve_threshold(predictor_curve(p, 0), 0.9, 0);
    predictor_destroy(p);
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    struct shared *s = *state;
    unlink(s->path);
    free(s->path);
    free(s->data);
    return 0;
}

static struct predictor *load_bytes(const char *data, size_t size, struct error *err)
{
    char *path = fixture_temporary(data, size);
    struct predictor *p = predictor_load(path, err);
    if (p == NULL && strstr(err->text, path) == NULL)
        fail_msg("the message does not name the file: %s", err->text);
    unlink(path);
    free(path);
    return p;
}

/* Refused, or just as good as the whole file. */
static bool refused_or_same(const struct shared *s, const char *data, size_t size)
{
    struct error err = {""};
    float scores[3][8];
    struct predictor *p = load_bytes(data, size, &err);
    if (p == NULL)
        return true;
    score_three(p, scores);
    bool same = predictor_info(p)->n_dsps == 3 && memcmp(scores, s->scores, sizeof(scores)) == 0 &&
                predictor_curve(p, 0) != NULL &&
                recall_curve_threshold(predictor_curve(p, 0), 0.9, 0) == s->threshold;
    predictor_destroy(p);
    return same;
}

static void test_load_scores_the_same(void **state)
{
    const struct shared *s = *state;
    assert_true(refused_or_same(s, s->data, s->size));
    struct error err;
    struct predictor *p = load_bytes(s->data, s->size, &err);
    assert_non_null(p);
    predictor_destroy(p);
}

static void test_cut_files(void **state)
{
    const struct shared *s = *state;
    struct error err;
    size_t step = s->size / 150;
    for (size_t keep = 0; keep < s->size; keep += keep < 64 ? 1 : step)
        if (load_bytes(s->data, keep, &err) != NULL)
            fail_msg("a file of %zu of %zu bytes was loaded", keep, s->size);
    assert_null(load_bytes(s->data, s->size - 1, &err));
}

static void test_flipped_bytes(void **state)
{
    const struct shared *s = *state;
    struct prng g = {11};
    char *copy = malloc(s->size);
    uint64_t header;
    memcpy(&header, s->data, sizeof(header));
    for (int i = 0; i < 700; i++) {
        /* mostly in the header, where the meaning is */
        size_t at = prng_below(&g, i % 4 == 0 ? s->size : header + 8);
        memcpy(copy, s->data, s->size);
        copy[at] ^= (char)(1u << prng_below(&g, 8));
        if (!refused_or_same(s, copy, s->size))
            fail_msg("byte %zu changed, and the model with it: %.*s", at, 60,
                     copy + at - (at < 30 ? at : 30));
    }
    free(copy);
}

static void test_no_model(void **state)
{
    struct error err;
    assert_null(load_bytes("", 0, &err));
    assert_null(load_bytes("{}", 2, &err));
    assert_null(predictor_load("/no/such/model", &err));
    assert_non_null(strstr(err.text, "/no/such/model"));
}

/* ---- a file with just the network, a schema and names: what another trainer would write ---- */

#define PLAIN_SCHEMA                                                                        \
    "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\",\"dim\":2},{\"name\":\"country\"," \
    "\"source\":\"geo.country\",\"dim\":3},{\"name\":\"floor\",\"source\":\"imp.floor\"%s}]}"

struct plain {
    struct network *network;
    struct tensor tensors[32];
    size_t n;
};

static void plain_create(struct plain *p)
{
    struct network_feature features[] = {{"dsp", 4, 2, 1, false}, {"country", 4, 3, 1, false}};
    struct network_shape shape = {.features = features,
                                  .n_features = 2,
                                  .dsp_feature = 0,
                                  .n_dsps = 2,
                                  .n_numeric = 2,
                                  .hidden1 = 5,
                                  .hidden2 = 4};
    p->network = network_create(&shape, 3);
    assert_int_equal(network_tensors(p->network, p->tensors, 31, &p->n), 0);
    p->tensors[p->n++] = (struct tensor){"vocabulary.country", TENSOR_U8, 1, {8}, "USA\0GBR\0", 8};
}

static struct predictor *plain_load(const struct plain *plain,
                                    const struct safetensors_entry *entries, size_t n,
                                    struct error *err)
{
    char *path = fixture_temporary("", 0);
    if (safetensors_write(path, plain->tensors, plain->n, entries, n, err) != 0)
        fail_msg("%s", err->text);
    struct predictor *p = predictor_load(path, err);
    unlink(path);
    free(path);
    return p;
}

static char *plain_schema(const char *more)
{
    static char json[512];
    snprintf(json, sizeof(json), PLAIN_SCHEMA, more);
    return json;
}

static void test_minimal_file(void **state)
{
    struct plain plain;
    struct error err = {""};
    plain_create(&plain);
    struct safetensors_entry entries[] = {{"schema", bytes_of(plain_schema(""))},
                                          {"dsps", bytes_of("[\"one\",\"two\"]")}};
    struct predictor *p = plain_load(&plain, entries, 2, &err);
    if (p == NULL)
        fail_msg("%s", err.text);
    assert_null(predictor_curve(p, 0));
    assert_int_equal(predictor_info(p)->trained_at_ms, -1);
    assert_true(predictor_info(p)->negative_rate == 1);
    assert_int_equal(predictor_find_dsp(p, "two"), 1);
    float scores[8];
    small_world_score(p, 1, scores);
    assert_true(scores[0] > 0 && scores[0] < 1 && scores[1] > 0 && scores[1] < 1);
    char *description = predictor_describe(p);
    assert_non_null(strstr(description, "geo.country"));
    free(description);
    predictor_destroy(p);
    network_destroy(plain.network);
}

/* Without a checksum to hide behind, whatever is read of a file has to be checked: any damage is
 * refused with a line, or is a model that scores and describes itself. */
static void test_damaged_file_without_checksum(void **state)
{
    struct plain plain;
    struct error err;
    plain_create(&plain);
    struct safetensors_entry entries[] = {
        {"schema", bytes_of(plain_schema(",\"mean\":1.5,\"std\":2"))},
        {"dsps", bytes_of("[\"one\",\"two\"]")},
        {"negative_rate", bytes_of("0.25")},
        {"curves", bytes_of("{\"one\":{\"pairs\":100,\"bids\":10,\"points\":[[0.1,1,0.9,1,0],"
                            "[0.4,0.9,0.8,1,0.5]]}}")},
        {"training", bytes_of("{\"from_ms\":1,\"to_ms\":2,\"validation_from_ms\":3}")}};
    char *path = fixture_temporary("", 0);
    if (safetensors_write(path, plain.tensors, plain.n, entries, 5, &err) != 0)
        fail_msg("%s", err.text);
    FILE *file = fopen(path, "rb");
    static char whole[1 << 16], copy[1 << 16];
    size_t size = fread(whole, 1, sizeof(whole), file);
    fclose(file);
    unlink(path);
    free(path);
    struct predictor *sound = load_bytes(whole, size, &err);
    if (sound == NULL)
        fail_msg("%s", err.text);
    predictor_destroy(sound);
    struct prng g = {23};
    uint64_t header;
    memcpy(&header, whole, sizeof(header));
    uint32_t loaded = 0;
    for (int i = 0; i < 4000; i++) {
        static const char often[] = "0123456789-.,:[]{}\"e\\ \x00\xff";
        memcpy(copy, whole, size);
        for (uint64_t k = 1 + prng_below(&g, 3); k > 0; k--) {
            size_t at = prng_below(&g, i % 5 == 0 ? size : header + 8);
            copy[at] = i % 2 == 0 ? often[prng_below(&g, sizeof(often) - 1)]
                                  : (char)(copy[at] ^ (1 << prng_below(&g, 8)));
        }
        err.text[0] = '\0';
        struct predictor *p = load_bytes(copy, size, &err);
        if (p == NULL) {
            assert_true(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
            continue;
        }
        loaded++;
        float scores[64];
        if (predictor_info(p)->n_dsps <= 8)
            small_world_score(p, 1, scores);
        for (uint32_t d = 0; d < predictor_info(p)->n_dsps; d++)
            predictor_threshold(p, d, 0.97);
        free(predictor_describe(p));
        predictor_destroy(p);
    }
    assert_true(loaded > 100 && loaded < 3900);
    network_destroy(plain.network);
}

static void test_metadata_refused(void **state)
{
    static const struct {
        const char *key, *value, *says;
    } cases[] = {
        {"format", "bidsieve-9", "format"},
        {"schema", "{", "schema"},
        {"schema", "{\"features\":[]}", "features"},
        {"schema", "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\",\"dim\":2}]}", "hidden1"},
        {"dsps", "[]", "dsps"},
        {"dsps", "[\"one\"]", "dsp"},
        {"dsps", "[\"one\",\"one\"]", "twice"},
        {"dsps", "[\"one\",2]", "dsps[1]"},
        {"negative_rate", "0", "negative_rate"},
        {"negative_rate", "2", "negative_rate"},
        {"negative_rate", "\"x\"", "negative_rate"},
        {"curves", "[]", "curves"},
        {"curves", "{\"one\":{}}", "\"one\""},
        {"curves", "{\"one\":{\"points\":[[0.5,2,0,0,0]]}}", "\"one\""},
        {"curves", "{\"one\":{\"points\":[[0.5,1,1,1,0],[0.4,1,1,1,0]]}}", "\"one\""},
        {"curves", "{\"one\":{\"points\":[[0.5,1,1,1]]}}", "\"one\""},
        {"training", "{", "training"},
        {"metadata_checksum", "0000000000000000", "checksum"},
    };
    struct plain plain;
    plain_create(&plain);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {""};
        struct safetensors_entry entries[3] = {{"schema", bytes_of(plain_schema(""))},
                                               {"dsps", bytes_of("[\"one\",\"two\"]")}};
        size_t n = 2;
        for (size_t k = 0; k < 2; k++)
            if (strcmp(entries[k].key, cases[i].key) == 0)
                entries[k].value = bytes_of(cases[i].value);
        if (strcmp(cases[i].key, "schema") != 0 && strcmp(cases[i].key, "dsps") != 0)
            entries[n++] = (struct safetensors_entry){cases[i].key, bytes_of(cases[i].value)};
        struct predictor *p = plain_load(&plain, entries, n, &err);
        if (p != NULL || strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s = %s: said \"%s\", not \"%s\"", cases[i].key, cases[i].value, err.text,
                     cases[i].says);
    }
    static const char *const normalisations[] = {",\"std\":0", ",\"std\":-1", ",\"mean\":\"x\"",
                                                 ",\"std\":null"};
    for (size_t i = 0; i < 4; i++) {
        struct error err;
        struct safetensors_entry entries[] = {{"schema", bytes_of(plain_schema(normalisations[i]))},
                                              {"dsps", bytes_of("[\"one\",\"two\"]")}};
        assert_null(plain_load(&plain, entries, 2, &err));
        assert_non_null(strstr(err.text, "features[2]"));
    }
    network_destroy(plain.network);
}

static void test_tensors_refused(void **state)
{
    static const int32_t slots[] = {2};
    static const float numeric[] = {0, 0}, p_wrong[] = {0.9f, 0.9f}, not_finite[] = {NAN, 0};
    static const struct {
        struct tensor extra[3];
        const char *says;
    } cases[] = {
        {{{"golden.p", TENSOR_F32, 2, {1, 2}, p_wrong, 8}}, "golden.slots"},
        {{{"golden.p", TENSOR_F32, 1, {2}, p_wrong, 8}}, "golden.p"},
        {{{"golden.p", TENSOR_F32, 2, {2, 1}, p_wrong, 8}}, "golden"},
        {{{"golden.p", TENSOR_F32, 2, {1, 2}, p_wrong, 8},
          {"golden.slots", TENSOR_I32, 2, {1, 1}, slots, 4},
          {"golden.numeric", TENSOR_F32, 2, {1, 2}, numeric, 8}},
         "does not compute"},
        {{{"golden.p", TENSOR_F32, 2, {1, 2}, p_wrong, 8},
          {"golden.slots", TENSOR_I32, 2, {1, 1}, slots, 4},
          {"golden.numeric", TENSOR_F32, 2, {1, 2}, not_finite, 8}},
         "finite"},
    };
    struct plain plain;
    plain_create(&plain);
    struct safetensors_entry entries[] = {{"schema", bytes_of(plain_schema(""))},
                                          {"dsps", bytes_of("[\"one\",\"two\"]")}};
    struct error err;
    size_t n = plain.n;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        plain.n = n;
        for (size_t k = 0; k < 3 && cases[i].extra[k].name != NULL; k++)
            plain.tensors[plain.n++] = cases[i].extra[k];
        struct predictor *p = plain_load(&plain, entries, 2, &err);
        if (p != NULL || strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: said \"%s\", not \"%s\"", i, err.text, cases[i].says);
    }
    plain.n = n;

    /* a vocabulary that does not fit its table; none at all; a weight that is no number */
    static const char *const vocabularies[] = {"USA\0GB\0\0", "USA\0USA\0", "USAxGBR\0",
                                               "USA\0GBRx"};
    for (size_t i = 0; i < 4; i++) {
        plain.tensors[n - 1].data = vocabularies[i];
        assert_null(plain_load(&plain, entries, 2, &err));
    }
    plain.n = n - 1;
    assert_null(plain_load(&plain, entries, 2, &err));
    plain.n = n;
    plain.tensors[n - 1].data = "USA\0GBR\0";
    plain.network->hidden2_bias[1] = INFINITY;
    assert_null(plain_load(&plain, entries, 2, &err));
    assert_non_null(strstr(err.text, "finite"));
    network_destroy(plain.network);
}

/* Scoring takes memory from the arena alone, and none that a reset arena has not. */
static void test_score_allocates_nothing(void **state)
{
    const struct shared *s = *state;
    struct error err;
    struct predictor *p = predictor_load(s->path, &err);
    assert_non_null(p);
    struct predictor_scratch *scratch = predictor_scratch_create(p);
    struct arena arena = {0};
    static const uint32_t dsps[] = {2, 0};
    size_t chunks_warm = 0;
    for (uint32_t i = 0; i < 50; i++) {
        struct small_request q;
        struct bid_request r;
        struct geo_place place;
        float out[2];
        arena_reset(&arena, 1 << 20);
        small_world_request(i, &q);
        fixture_scan(&r, q.json, &arena);
        geo_locate(NULL, &r, &place);
        predictor_score(p, scratch, &r, &place, q.ts_ms, &arena, dsps, 2, out);
        size_t chunks = 0;
        for (const struct arena_chunk *c = arena.first; c != NULL; c = c->next)
            chunks++;
        if (i == 0)
            chunks_warm = chunks;
        assert_int_equal(chunks, chunks_warm);
        float all[8];
        small_world_score(p, i, all);
        assert_true(out[0] == all[2] && out[1] == all[0]); /* batch and order do not matter */
    }
    arena_dispose(&arena);
    predictor_scratch_destroy(scratch);
    predictor_scratch_destroy(NULL);
    predictor_destroy(p);
}

static const struct predictor_input *input_of(const struct predictor_input *inputs, uint32_t n,
                                              const char *feature)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(inputs[i].feature, feature) == 0)
            return &inputs[i];
    fail_msg("no input %s", feature);
    return NULL;
}

/* What people are shown is what the network is given: values, missing ones, unknown ones. */
static void test_inputs(void **state)
{
    const struct shared *s = *state;
    struct error err;
    struct predictor *p = predictor_load(s->path, &err);
    assert_non_null(p);
    struct arena arena = {0};
    struct bid_request r;
    struct geo_place place;
    const struct predictor_input *inputs;
    fixture_scan(
        &r,
        "{\"id\":\"1\",\"imp\":[{\"id\":\"1\",\"banner\":{\"format\":[{\"w\":7,\"h\":9},{\"w\":8,"
        "\"h\":"
        "9}]}}],\"site\":{\"domain\":\"never.seen.example\"},\"device\":{\"geo\":{\"country\":"
        "\"USA\"}}}",
        &arena);
    geo_locate(NULL, &r, &place);
    uint32_t n = predictor_inputs(p, &r, &place, FIXTURE_TS, &arena, &inputs);
    assert_int_equal(n, 7); /* all of the schema but the DSP */
    const struct predictor_input *in = input_of(inputs, n, "country");
    assert_int_equal(in->n_texts, 1);
    assert_true(bytes_is(in->texts[0], "USA") && in->known[0]);
    in = input_of(inputs, n, "domain");
    assert_true(in->n_texts == 1 && !in->known[0] && in->texts[0].len > 0);
    in = input_of(inputs, n, "os");
    assert_true(in->n_texts == 1 && in->texts[0].len == 0);
    in = input_of(inputs, n, "size");
    assert_int_equal(in->n_texts, 2);
    assert_true(bytes_is(in->texts[1], "8x9") && !in->known[1]);
    in = input_of(inputs, n, "deal_floor");
    assert_true(in->is_number && isnan(in->number));
    arena_dispose(&arena);
    predictor_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_load_scores_the_same),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_no_model),
        cmocka_unit_test(test_minimal_file),
        cmocka_unit_test(test_damaged_file_without_checksum),
        cmocka_unit_test(test_metadata_refused),
        cmocka_unit_test(test_tensors_refused),
        cmocka_unit_test(test_score_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
