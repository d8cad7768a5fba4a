/* Who gets a row: by count, by the cap, with back-off; and vocabularies in a file. */
#include "tests/filter/fixture.h"

#include "filter/encoder.h"

static struct schema *schema_of(const char *feature)
{
    char json[512];
    struct error err;
    snprintf(json, sizeof(json),
             "{\"features\":[{\"name\":\"x\",%s},{\"name\":\"dsp\",\"source\":\"dsp\"}]}", feature);
    struct schema *s = schema_parse(bytes_of(json), "test", &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    return s;
}

struct counted {
    const char *text;
    uint64_t count;
};

/* The vocabulary's texts in order, a blank behind each. */
static void build(const char *feature, const struct counted *values, char out[512])
{
    struct schema *s = schema_of(feature);
    struct interner *texts = interner_create(), *vocabulary = interner_create();
    uint64_t counts[16];
    uint32_t n = 0;
    for (; values[n].text != NULL; n++) {
        assert_int_equal(interner_add(texts, bytes_of(values[n].text)), n);
        counts[n] = values[n].count;
    }
    assert_int_equal(vocabulary_build(vocabulary, &s->features[0], texts, counts), 0);
    out[0] = '\0';
    for (uint32_t i = 0; i < interner_count(vocabulary); i++)
        snprintf(out + strlen(out), 512 - strlen(out), "%.*s ",
                 (int)interner_text(vocabulary, i).len, interner_text(vocabulary, i).base);
    interner_destroy(texts);
    interner_destroy(vocabulary);
    schema_destroy(s);
}

static void test_build(void **state)
{
    static const struct {
        const char *feature;
        struct counted values[8];
        const char *expected;
    } cases[] = {
        {"\"source\":\"imp.tagid\"", {{"a", 9}, {"b", 10}, {"d", 30}, {"c", 30}}, "c d b "},
        {"\"source\":\"imp.tagid\",\"values_max\":2", {{"b", 10}, {"d", 30}, {"c", 31}}, "c d "},
        {"\"source\":\"imp.tagid\",\"min_count\":1", {{"a", 0}, {"b", 1}}, "b "},
        {"\"source\":\"imp.tagid\",\"hash_bits\":4", {{"a", 99}}, ""},
        {"\"source\":\"geo.code\"", {{"USA/ca/a", 9}, {"USA/ca/b", 9}}, ""},
        /* rare cities count for their region, rare regions for the country */
        {"\"source\":\"geo.code\",\"backoff\":true",
         {{"USA/ca/a", 9}, {"USA/ca/b", 9}, {"USA/ca/c", 20}},
         "USA/ca/c USA/ca "},
        {"\"source\":\"geo.code\",\"backoff\":true",
         {{"USA/ca/a", 4}, {"USA/ny", 3}, {"USA/tx/b", 2}, {"USA", 1}, {"GBR/eng", 9}},
         "USA "},
        {"\"source\":\"geo.code\",\"backoff\":true", {{"USA/ca/c", 20}}, "USA/ca/c "},
        {"\"source\":\"property.cat\",\"backoff\":true", {{"IAB1-2", 6}, {"IAB1-3", 6}}, "IAB1 "},
        {"\"source\":\"geo.code\",\"backoff\":true", {{"/a", 6}, {"/b", 6}}, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char got[512];
        build(cases[i].feature, cases[i].values, got);
        if (strcmp(got, cases[i].expected) != 0)
            fail_msg("%s: got \"%s\", expected \"%s\"", cases[i].feature, got, cases[i].expected);
    }
}

static void test_row_with_backoff(void **state)
{
    static const struct {
        const char *text;
        uint32_t row;
    } cases[] = {{"USA/ca/c", VALUE_FIRST},        {"USA/ca/x", VALUE_FIRST + 1},
                 {"USA/ca", VALUE_FIRST + 1},      {"USA/ny/y", VALUE_FIRST + 2},
                 {"USA", VALUE_FIRST + 2},         {"GBR/eng/london", VALUE_UNKNOWN},
                 {"USA/ca/c/deeper", VALUE_FIRST}, {"/", VALUE_UNKNOWN},
                 {"USA/ca/", VALUE_FIRST + 1},     {"", VALUE_MISSING}};
    struct schema *s = schema_of("\"source\":\"geo.code\",\"backoff\":true");
    struct encoder *e = encoder_create(s);
    interner_add(e->vocabularies[0], bytes_of("USA/ca/c"));
    interner_add(e->vocabularies[0], bytes_of("USA/ca"));
    interner_add(e->vocabularies[0], bytes_of("USA"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes text = bytes_of(cases[i].text);
        uint32_t slot;
        assert_int_equal(encoder_row(e, 0, text), cases[i].row);
        encoder_encode(e, &(struct raw_features){&text, NULL}, &slot, NULL);
        assert_int_equal(slot, cases[i].row);
    }
    encoder_destroy(e);
    schema_destroy(s);
}

static void test_row_hashed(void **state)
{
    struct schema *s = schema_of("\"source\":\"imp.tagid\",\"hash_bits\":4");
    struct encoder *e = encoder_create(s);
    assert_null(e->vocabularies[0]);
    bool seen[16] = {false};
    for (uint32_t i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "tag%u", i);
        struct bytes text = bytes_of(name);
        uint32_t row = encoder_row(e, 0, text), slot;
        encoder_encode(e, &(struct raw_features){&text, NULL}, &slot, NULL);
        assert_int_equal(slot, row);
        assert_in_range(row, VALUE_FIRST, VALUE_FIRST + 15);
        seen[row - VALUE_FIRST] = true;
    }
    for (size_t i = 0; i < 16; i++)
        assert_true(seen[i]);
    /* files depend on it */
    assert_int_equal(encoder_row(e, 0, bytes_of("tag7")), VALUE_FIRST + 5);
    assert_int_equal(encoder_row(e, 0, (struct bytes){NULL, 0}), VALUE_MISSING);
    struct network_shape shape;
    assert_int_equal(encoder_shape(e, 3, &shape), 0);
    assert_int_equal(shape.features[0].values, VALUE_FIRST + 16);
    assert_int_equal(shape.features[0].dim, 9);
    network_shape_dispose(&shape);
    encoder_destroy(e);
    schema_destroy(s);
}

static void test_dim_by_rule(void **state)
{
    static const struct {
        const char *feature;
        uint32_t values, dim;
    } cases[] = {
        {"\"source\":\"channel\"", 0, 1},           {"\"source\":\"channel\"", 2, 2},
        {"\"source\":\"channel\"", 3, 3},           {"\"source\":\"imp.tagid\"", 29, 16},
        {"\"source\":\"imp.tagid\"", 28, 15},       {"\"source\":\"imp.tagid\"", 500, 16},
        {"\"source\":\"channel\",\"dim\":7", 2, 7},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct schema *s = schema_of(cases[i].feature), *settled = schema_copy(s);
        struct encoder *e = encoder_create(s);
        for (uint32_t v = 0; v < cases[i].values; v++) {
            char text[16];
            snprintf(text, sizeof(text), "v%u", v);
            interner_add(e->vocabularies[0], bytes_of(text));
        }
        struct network_shape shape;
        assert_int_equal(encoder_shape(e, 5, &shape), 0);
        assert_int_equal(shape.features[0].dim, cases[i].dim);
        assert_int_equal(shape.features[1].dim, 4); /* five DSPs, missing, unknown */
        encoder_settle_dims(e, 5, settled);
        assert_int_equal(settled->features[0].dim, cases[i].dim);
        assert_int_equal(settled->features[1].dim, 4);
        network_shape_dispose(&shape);
        encoder_destroy(e);
        schema_destroy(s);
        schema_destroy(settled);
    }
}

static void test_vocabulary_file(void **state)
{
    struct interner *v = interner_create(), *again = interner_create();
    char *text;
    size_t size;
    assert_int_equal(vocabulary_write(v, &text, &size), 0);
    assert_null(text);
    assert_int_equal(size, 0);
    interner_add(v, bytes_of("b"));
    interner_add(v, bytes_of("a longer one \xc3\xa9"));
    assert_int_equal(vocabulary_write(v, &text, &size), 0);
    assert_int_equal(vocabulary_read(again, (struct bytes){text, size}), 0);
    assert_int_equal(interner_count(again), 2);
    assert_bytes(interner_text(again, 1), "a longer one \xc3\xa9", "text");
    free(text);
    interner_destroy(again);
    interner_destroy(v);

    static const struct bytes refused[] = {
        {"a", 1}, {"a\0b", 3}, {"\0", 1}, {"a\0\0", 3}, {"a\0a\0", 4}};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        again = interner_create();
        assert_int_equal(vocabulary_read(again, refused[i]), -1);
        interner_destroy(again);
    }
    assert_false(vocabulary_may_hold((struct bytes){"a\0b", 3}));
    assert_false(vocabulary_may_hold((struct bytes){NULL, 0}));
    assert_true(vocabulary_may_hold(bytes_of("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build),           cmocka_unit_test(test_row_with_backoff),
        cmocka_unit_test(test_row_hashed),      cmocka_unit_test(test_dim_by_rule),
        cmocka_unit_test(test_vocabulary_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
