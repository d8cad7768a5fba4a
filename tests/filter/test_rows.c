/* Rows for other trainers: the arrays hold what the encoder says, and the labels. */
#include "tests/filter/small_world.h"

#include <dirent.h>
#include <sys/stat.h>

#include "filter/rows.h"

enum { REQUESTS = 500, HEADER = 128 };

static char *temporary_folder(void)
{
    char *path = strdup("/tmp/bidsieve-rows-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static void remove_folder(char *path)
{
    char name[512];
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        unlink(name);
    }
    closedir(d);
    rmdir(path);
    free(path);
}

/* What is behind the header; the caller frees. */
static void *load(const char *folder, const char *name, size_t *bytes)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(stat(path, &st), 0);
    char *data = malloc((size_t)st.st_size);
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(data, 1, (size_t)st.st_size, f), st.st_size);
    fclose(f);
    *bytes = (size_t)st.st_size - HEADER;
    memmove(data, data + HEADER, *bytes);
    return data;
}

struct learnt {
    struct schema *schema;
    struct encoder *encoder;
    struct interner *dsps;
};

static void learn(struct learnt *l)
{
    struct error err = {""};
    l->schema = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    struct trainset *t = trainset_create(l->schema, NULL);
    small_world_fill(t, 0, REQUESTS);
    if (trainset_learn_encoder(t, &l->encoder, &l->dsps, &err) != 0)
        fail_msg("%s", err.text);
    trainset_destroy(t);
}

static void learnt_dispose(struct learnt *l)
{
    encoder_destroy(l->encoder);
    interner_destroy(l->dsps);
    schema_destroy(l->schema);
}

static void test_rows(void **state)
{
    struct learnt l;
    struct error err = {""};
    struct bid_request_error fault;
    char *folder = temporary_folder();
    learn(&l);
    assert_int_equal(interner_count(l.dsps), 3);
    assert_bytes(interner_text(l.dsps, 0), "alpha", "DSPs by name");
    struct rows *r = rows_create(folder, l.encoder, l.dsps, NULL, &err);
    assert_non_null(r);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct small_request q;
        small_world_request(i, &q);
        struct trainset_pair pairs[] = {{bytes_of("gamma"), q.gamma, 0.25, NAN},
                                        {bytes_of("stranger"), true, 1, NAN},
                                        {bytes_of("alpha"), q.alpha, 1, NAN},
                                        {bytes_of("beta"), q.beta, 0, NAN}};
        assert_int_equal(
            rows_add(r, q.ts_ms, bytes_of(q.json), pairs, i == 0 ? 0 : 4, &fault, &err), 1);
    }
    assert_int_equal(rows_add(r, 5, bytes_of("{}"), NULL, 0, &fault, &err), 0);
    assert_true(fault.reason[0] != '\0');
    const struct rows_counts *n = rows_counts(r);
    assert_int_equal(n->requests, REQUESTS);
    assert_int_equal(n->pairs, 2 * (REQUESTS - 1));
    assert_int_equal(n->pairs_dropped, 2 * (REQUESTS - 1));
    if (rows_finish(r, &err) != 0)
        fail_msg("%s", err.text);
    rows_destroy(r);

    size_t bytes;
    uint32_t *slots = load(folder, "slots.npy", &bytes);
    uint32_t columns = schema_slots(l.schema), numbers = schema_numbers(l.schema);
    assert_int_equal(bytes, REQUESTS * columns * sizeof(*slots));
    float *numeric = load(folder, "numeric.npy", &bytes);
    assert_int_equal(bytes, REQUESTS * 2 * numbers * sizeof(*numeric));
    int64_t *ts = load(folder, "ts_ms.npy", &bytes);
    assert_int_equal(bytes, REQUESTS * sizeof(*ts));
    uint32_t *request = load(folder, "request.npy", &bytes);
    uint16_t *dsp = load(folder, "dsp.npy", &bytes);
    uint8_t *label = load(folder, "label.npy", &bytes);
    assert_int_equal(bytes, 2 * (REQUESTS - 1));
    float *weight = load(folder, "weight.npy", &bytes);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        struct small_request q;
        struct bid_request b;
        struct geo_place place;
        struct raw_features raw;
        struct arena arena = {0};
        uint32_t expected[16];
        float inputs[16];
        small_world_request(i, &q);
        fixture_scan(&b, q.json, &arena);
        geo_locate(NULL, &b, &place);
        features_extract(l.schema, &b, &place, q.ts_ms, &arena, &raw);
        encoder_encode(l.encoder, &raw, expected, inputs);
        assert_memory_equal(slots + i * columns, expected, columns * sizeof(*expected));
        assert_memory_equal(numeric + i * 2 * numbers, inputs, 2 * numbers * sizeof(*inputs));
        assert_true(ts[i] == q.ts_ms);
        arena_dispose(&arena);
        if (i == 0)
            continue; /* it had no label */
        size_t at = 2 * ((size_t)i - 1);
        assert_true(request[at] == i && request[at + 1] == i);
        assert_true(dsp[at] == 2 && dsp[at + 1] == 0);
        assert_true(label[at] == q.gamma && label[at + 1] == q.alpha);
        assert_true(weight[at] == 4 && weight[at + 1] == 1);
    }
    free(slots);
    free(numeric);
    free(ts);
    free(request);
    free(dsp);
    free(label);
    free(weight);
    learnt_dispose(&l);
    remove_folder(folder);
}

/* meta.json leads to every file, and its metadata is a schema that is taken back. */
static void test_meta(void **state)
{
    struct learnt l;
    struct error err = {""};
    char *folder = temporary_folder(), path[512];
    learn(&l);
    struct rows *r = rows_create(folder, l.encoder, l.dsps, NULL, &err);
    snprintf(path, sizeof(path), "%s/meta.json", folder);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rows_finish(r, &err), 0);
    rows_destroy(r);
    json_t *meta = json_load_file(path, 0, NULL);
    assert_non_null(meta);
    assert_int_equal(json_array_size(json_object_get(meta, "dsps")), 3);
    size_t i, vocabularies = 0;
    json_t *f;
    json_array_foreach(json_object_get(meta, "features"), i, f)
    {
        const char *name = json_string_value(json_object_get(f, "vocabulary"));
        size_t bytes, texts = 0;
        if (name == NULL)
            continue;
        char *text = load(folder, name, &bytes);
        for (size_t k = 0; k < bytes; k++)
            texts += text[k] == '\0';
        assert_int_equal(json_integer_value(json_object_get(f, "values")), VALUE_FIRST + texts);
        free(text);
        vocabularies++;
    }
    assert_int_equal(i, 8);
    assert_int_equal(vocabularies, 5);
    json_t *metadata = json_object_get(meta, "metadata");
    json_t *schema = json_loads(json_string_value(json_object_get(metadata, "schema")), 0, NULL);
    static const char *const extra[] = {"mean", "std", NULL};
    struct schema *again = schema_from_json(schema, "meta.json", extra, &err);
    if (again == NULL)
        fail_msg("%s", err.text);
    assert_int_equal(schema_slots(again), schema_slots(l.schema));
    schema_destroy(again);
    json_decref(schema);
    json_decref(meta);

    /* A new run takes it away until it is done. */
    r = rows_create(folder, l.encoder, l.dsps, NULL, &err);
    assert_non_null(r);
    assert_int_equal(access(path, F_OK), -1);
    rows_destroy(r);
    assert_int_equal(access(path, F_OK), -1);
    rows_destroy(NULL);
    assert_null(rows_create("/tmp/no/such/folder", l.encoder, l.dsps, NULL, &err));
    assert_non_null(strstr(err.text, "/tmp/no/such/folder: cannot be created"));
    learnt_dispose(&l);
    remove_folder(folder);
}

static void test_learn_encoder_of_nothing(void **state)
{
    struct error err = {""};
    struct encoder *e = NULL;
    struct interner *dsps = NULL;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    struct trainset *t = trainset_create(s, NULL);
    assert_int_equal(trainset_learn_encoder(t, &e, &dsps, &err), -1);
    assert_true(err.text[0] != '\0' && e == NULL && dsps == NULL);
    trainset_destroy(t);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_learn_encoder_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
