/* Texts to numbers, to rows; numbers to inputs. */
#include "tests/filter/fixture.h"

#include "filter/encoder.h"

static struct schema *schema_small(void)
{
    static const char json[] =
        "{\"features\":[{\"name\":\"a\",\"source\":\"imp.size\",\"slots\":3},{\"name\":\"dsp\","
        "\"source\":\"dsp\",\"dim\":2},{\"name\":\"n\",\"source\":\"imp.floor\"},{\"name\":\"b\","
        "\"source\":\"channel\",\"wide\":true},{\"name\":\"m\",\"source\":\"geo.lat\"}]}";
    struct error err;
    struct schema *s = schema_parse(bytes_of(json), "small", &err);
    assert_non_null(s);
    return s;
}

static void test_interner(void **state)
{
    enum { N = 5000 };
    struct interner *t = interner_create();
    char text[16];
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < N; i++) {
            snprintf(text, sizeof(text), "v%u", i);
            assert_int_equal(interner_add(t, bytes_of(text)), i);
        }
    assert_int_equal(interner_count(t), N);
    assert_bytes(interner_text(t, 77), "v77", "text");
    assert_int_equal(interner_find(t, bytes_of("v4999")), 4999);
    assert_int_equal(interner_find(t, bytes_of("v5000")), INTERNER_NONE);
    assert_int_equal(interner_find(t, bytes_of("")), INTERNER_NONE);
    assert_int_equal(interner_add(t, (struct bytes){"", 0}), N);
    assert_int_equal(interner_find(t, (struct bytes){NULL, 0}), N);
    assert_int_equal(interner_add(t, (struct bytes){"v1\0x", 4}), N + 1);
    interner_destroy(t);
    interner_destroy(NULL);
}

/* Texts of every length, alone and all at once; of equal begin, middle or end. */
static void test_interner_lengths(void **state)
{
    enum { LENGTHS = 80, KINDS = 4, N = LENGTHS * KINDS };
    static char text[N][LENGTHS];
    struct bytes texts[N + 2];
    const struct interner *tables[N + 2];
    uint32_t numbers[N + 2];
    struct interner *t = interner_create();
    for (uint32_t i = 0; i < N; i++) {
        size_t len = i / KINDS + 1;
        memset(text[i], 'x', len);
        text[i][len * (i % KINDS) / KINDS] = (char)('a' + i % KINDS);
        texts[i] = (struct bytes){text[i], len};
        tables[i] = t;
        assert_int_equal(interner_find(t, texts[i]), INTERNER_NONE);
        assert_int_equal(interner_add(t, texts[i]), i);
    }
    texts[N] = (struct bytes){NULL, 0};
    tables[N] = t;
    texts[N + 1] = texts[0];
    tables[N + 1] = NULL;
    interner_find_each(tables, texts, N + 2, numbers);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(interner_find(t, texts[i]), i);
        assert_int_equal(numbers[i], i);
    }
    assert_int_equal(numbers[N], INTERNER_NONE);
    assert_int_equal(numbers[N + 1], INTERNER_NONE);
    interner_destroy(t);
}

static void test_encode(void **state)
{
    struct schema *s = schema_small();
    struct encoder *e = encoder_create(s);
    interner_add(e->vocabularies[0], bytes_of("300x250"));
    interner_add(e->vocabularies[0], bytes_of("728x90"));
    interner_add(e->vocabularies[3], bytes_of("app"));
    e->mean[0] = 1;
    e->std[0] = 0.5;
    static const struct {
        const char *texts[4];
        double numbers[2];
        uint32_t slots[4];
        float numeric[4];
    } cases[] = {
        {{"300x250", "1x1", "728x90", "app"}, {1.5, 4}, {2, 1, 3, 2}, {1, 4, 0, 0}},
        {{"728x90", NULL, NULL, "site"},
         {100, -100},
         {3, SLOT_EMPTY, SLOT_EMPTY, 1},
         {5, -5, 0, 0}},
        {{NULL, NULL, NULL, NULL}, {NAN, INFINITY}, {0, SLOT_EMPTY, SLOT_EMPTY, 0}, {0, 0, 1, 1}},
        {{"", NULL, NULL, "ap"}, {-1e300, 0}, {0, SLOT_EMPTY, SLOT_EMPTY, 1}, {0, 0, 1, 0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes texts[4];
        double numbers[2] = {cases[i].numbers[0], cases[i].numbers[1]};
        uint32_t slots[4];
        float numeric[4];
        for (size_t k = 0; k < 4; k++)
            texts[k] = bytes_of(cases[i].texts[k]);
        struct raw_features raw = {texts, numbers};
        encoder_encode(e, &raw, slots, numeric);
        assert_memory_equal(slots, cases[i].slots, sizeof(slots));
        for (size_t k = 0; k < 4; k++)
            assert_true(numeric[k] == cases[i].numeric[k]);
    }

    struct network_shape shape;
    assert_int_equal(encoder_shape(e, 7, &shape), 0);
    assert_int_equal(shape.n_features, 3);
    assert_int_equal(shape.dsp_feature, 1);
    assert_int_equal(shape.features[0].values, 4);
    assert_int_equal(shape.features[1].values, VALUE_FIRST + 7);
    assert_int_equal(shape.features[2].values, 3);
    assert_true(shape.features[2].wide);
    assert_int_equal(shape.n_numeric, 4);
    network_shape_dispose(&shape);
    encoder_destroy(e);
    encoder_destroy(NULL);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interner),
        cmocka_unit_test(test_interner_lengths),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
