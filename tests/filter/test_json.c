/* The scanner against RFC 8259, against JSONTestSuite, and against jansson.
 *
 * Every text is handed over in a heap block of exactly its length, so that AddressSanitizer sees a
 * read behind the end. */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filter/json.h"
#include "filter/json_run.h"
#include "prng.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static struct bytes exactly(const char *base, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, base, len);
    return (struct bytes){copy, len};
}

static void exactly_free(struct bytes b)
{
    free((void *)b.base);
}

static struct bytes lit(const char *text)
{
    return (struct bytes){text, strlen(text)};
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *data = NULL;
    size_t n = 0, capacity = 0, got;
    do {
        capacity = capacity * 2 + 65536;
        data = realloc(data, capacity);
        got = fread(data + n, 1, capacity - n, file);
        n += got;
    } while (got > 0);
    fclose(file);
    *len = n;
    return data;
}

static const char *corpus(void)
{
    const char *folder = getenv("BIDSIEVE_CORPUS");
    if (folder == NULL)
        print_message("skipped: BIDSIEVE_CORPUS is not set\n");
    return folder;
}

static bool accepts_by_skip(struct bytes text, struct json *j)
{
    json_begin(j, text);
    return json_skip(j, NULL) && json_finish(j);
}

/* What the scanner reads, as a tree of jansson's, so that both readings can be compared. NULL on a
 * fault. */
static json_t *walk(struct json *j, struct arena *arena, bool *overflow)
{
    struct bytes raw, key;
    bool escaped;
    switch (json_peek(j)) {
    case JSON_IS_OBJECT: {
        json_t *object = json_object();
        json_enter_object(j);
        while (json_next_key(j, &key)) {
            bool key_escaped = j->key_escaped;
            struct bytes name = json_unescape(key, arena);
            assert_int_equal(key_escaped, key.len > 0 && memchr(key.base, '\\', key.len) != NULL);
            json_object_setn_new_nocheck(object, name.base, name.len, walk(j, arena, overflow));
        }
        return object;
    }
    case JSON_IS_ARRAY: {
        json_t *array = json_array();
        json_enter_array(j);
        while (json_next_element(j))
            json_array_append_new(array, walk(j, arena, overflow));
        return array;
    }
    case JSON_IS_STRING:
        if (!json_text(j, &raw, &escaped))
            return NULL;
        raw = json_unescape(raw, arena);
        return json_stringn_nocheck(raw.base, raw.len);
    case JSON_IS_NUMBER: {
        if (!json_number(j, &raw))
            return NULL;
        bool real = false;
        for (size_t i = 0; i < raw.len; i++)
            real |= raw.base[i] == '.' || raw.base[i] == 'e' || raw.base[i] == 'E';
        int64_t whole = 0;
        *overflow |= real ? isinf(json_to_double(raw)) : !json_to_int(raw, &whole);
        return real ? json_real(isinf(json_to_double(raw)) ? 0 : json_to_double(raw))
                    : json_integer(whole);
    }
    case JSON_IS_TRUE:
        return json_skip(j, NULL) ? json_true() : NULL;
    case JSON_IS_FALSE:
        return json_skip(j, NULL) ? json_false() : NULL;
    case JSON_IS_NULL:
        return json_skip(j, NULL) ? json_null() : NULL;
    default:
        json_skip(j, NULL);
        return NULL;
    }
}

/* What jansson refuses and we do not, or the other way round, and why that is right. */
enum difference { AGREE, BIG_NUMBER, NUL_IN_KEY, LONE_SURROGATE, DEPTH, NUL_BYTE, DIFFERENCES };
static const char *const difference_names[DIFFERENCES] = {
    "agree",
    "number beyond jansson's types",
    "NUL in a key",
    "lone surrogate escaped (i_ files)",
    "depth (ours 128, jansson's 2048)",
    "NUL byte between tokens (a quirk of jansson)"};
struct tally {
    unsigned counts[DIFFERENCES];
};

static void print_tally(const char *what, const struct tally *t)
{
    print_message("%s: %u agree", what, t->counts[AGREE]);
    for (int i = 1; i < DIFFERENCES; i++) {
        if (t->counts[i] > 0)
            print_message(", %u differ: %s", t->counts[i], difference_names[i]);
    }
    print_message("\n");
}

static enum difference explain(bool ours, const json_error_t *e, bool overflow,
                               const struct json *j)
{
    if (!ours && j->at < j->end && *j->at == '\0')
        return NUL_BYTE;
    if (!ours)
        return strcmp(j->error, "nested too deeply") == 0 ? DEPTH : DIFFERENCES;
    if (json_error_code(e) == json_error_numeric_overflow)
        return overflow ? BIG_NUMBER : DIFFERENCES;
    if (json_error_code(e) == json_error_null_byte_in_key)
        return NUL_IN_KEY;
    return strstr(e->text, "invalid Unicode") != NULL ? LONE_SURROGATE : DIFFERENCES;
}

static void compare(const char *base, size_t len, struct tally *tally)
{
    struct bytes text = exactly(base, len);
    struct arena arena = {0};
    struct json j, skipped;
    bool overflow = false;
    json_begin(&j, text);
    json_t *ours = walk(&j, &arena, &overflow);
    bool accepted = json_finish(&j);
    /* The two ways of reading agree, to the byte at fault. */
    assert_int_equal(accepts_by_skip(text, &skipped), accepted);
    if (skipped.at - skipped.base != j.at - j.base)
        fail_msg("skip stops at %td (%s), walk at %td (%s): %.*s", skipped.at - skipped.base,
                 skipped.error, j.at - j.base, j.error, (int)len, base);

    json_error_t e;
    json_t *theirs = json_loadb(text.base, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (accepted == (theirs != NULL)) {
        tally->counts[AGREE]++;
        if (accepted && !json_equal(ours, theirs))
            fail_msg("read differently: %.*s", (int)len, base);
    } else {
        enum difference why = explain(accepted, &e, overflow, &j);
        if (why == DIFFERENCES)
            fail_msg("we %s (%s), jansson says \"%s\": %.*s", accepted ? "accept" : "refuse",
                     accepted ? "" : j.error, e.text, (int)len, base);
        tally->counts[why]++;
    }
    json_decref(theirs);
    json_decref(ours);
    arena_dispose(&arena);
    exactly_free(text);
}

/* ---- acceptance ------------------------------------------------------------------------------ */

static const char *const accepted_texts[] = {"0",
                                             "-0",
                                             "1",
                                             "-1.5e+10",
                                             "1E400",
                                             "1e-400",
                                             "123456789012345678901234567890",
                                             "0.0",
                                             "0e0",
                                             "\"\"",
                                             "\"a\"",
                                             "\"\\u0000\"",
                                             "\"\\ud83d\\ude00\"",
                                             "\"\\ud83d\"",
                                             "\"\\ude00\"",
                                             "\"\x7f\"",
                                             "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                             "\"\xc2\x80\"",
                                             "\"\xdf\xbf\"",
                                             "\"\xe0\xa0\x80\"",
                                             "\"\xed\x9f\xbf\"",
                                             "\"\xee\x80\x80\"",
                                             "\"\xef\xbf\xbf\"",
                                             "\"\xf0\x90\x80\x80\"",
                                             "\"\xf4\x8f\xbf\xbf\"",
                                             "true",
                                             "false",
                                             "null",
                                             " \t\r\n[ ] ",
                                             "{ }",
                                             "[[],{},[{}]]",
                                             "{\"a\":{\"b\":[1,2,{\"c\":null}]},\"\":0}",
                                             "{\"a\":1,\"a\":2}",
                                             "[1 , 2\n,\t3 ]"};

/* Text, byte at fault, phrase. */
static const struct {
    const char *text;
    size_t at;
    const char *phrase;
} refused_texts[] = {{"", 0, "the text ends where a value is due"},
                     {"  ", 2, "the text ends where a value is due"},
                     {"[", 1, "the text ends inside an array"},
                     {"[1", 2, "the text ends inside an array"},
                     {"[1,", 3, "the text ends where a value is due"},
                     {"[1,]", 3, "expected a value"},
                     {"[,1]", 1, "expected a value"},
                     {"[1 2]", 3, "expected ',' or ']'"},
                     {"[1}", 2, "expected ',' or ']'"},
                     {"{", 1, "the text ends inside an object"},
                     {"{\"a\"", 4, "expected ':'"},
                     {"{\"a\":", 5, "the text ends where a value is due"},
                     {"{\"a\":1", 6, "the text ends inside an object"},
                     {"{\"a\":1,}", 7, "expected a key in quotes"},
                     {"{,}", 1, "expected a key in quotes"},
                     {"{a:1}", 1, "expected a key in quotes"},
                     {"{\"a\" 1}", 5, "expected ':'"},
                     {"{\"a\":1]", 6, "expected ',' or '}'"},
                     {"{\"a\":}", 5, "expected a value"},
                     {"]", 0, "expected a value"},
                     {"1 1", 2, "nothing may follow the value"},
                     {"[]]", 2, "nothing may follow the value"},
                     {"01", 1, "nothing may follow the value"},
                     {"-", 1, "expected a digit"},
                     {"-a", 1, "expected a digit"},
                     {"+1", 0, "expected a value"},
                     {".5", 0, "expected a value"},
                     {"1.", 2, "expected a digit behind the point"},
                     {"1.e1", 2, "expected a digit behind the point"},
                     {"1e", 2, "expected a digit in the exponent"},
                     {"1e+", 3, "expected a digit in the exponent"},
                     {"0x10", 1, "nothing may follow the value"},
                     {"NaN", 0, "expected a value"},
                     {"tru", 0, "expected a value"},
                     {"nulL", 0, "expected a value"},
                     {"truefalse", 4, "nothing may follow the value"},
                     {"'a'", 0, "expected a value"},
                     {"\"", 1, "the text ends inside a string"},
                     {"\"a", 2, "the text ends inside a string"},
                     {"\"\\", 2, "the text ends inside a string"},
                     {"\"\\\"", 3, "the text ends inside a string"},
                     {"\"\\x\"", 1, "unknown escape in a string"},
                     {"\"\\u12\"", 1, "a Unicode escape needs four hexadecimal digits"},
                     {"\"\\u12g4\"", 1, "a Unicode escape needs four hexadecimal digits"},
                     {"\"a\nb\"", 2, "a control character in a string must be escaped"},
                     {"\"\x1f\"", 1, "a control character in a string must be escaped"},
                     {"\"\x80\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xc1\xbf\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xc2\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xc2", 1, "invalid UTF-8 in a string"},
                     {"\"\xe0\x9f\xbf\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xed\xa0\x80\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xef\xbf\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xf0\x8f\xbf\xbf\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xf4\x90\x80\x80\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xf5\x80\x80\x80\"", 1, "invalid UTF-8 in a string"},
                     {"\"\xff\"", 1, "invalid UTF-8 in a string"},
                     {"\xef\xbb\xbf{}", 0, "expected a value"},
                     {"[1]\f", 3, "nothing may follow the value"},
                     {"{\"a\":1 /**/}", 7, "expected ',' or '}'"}};

static void test_skip_accepts(void **state)
{
    struct tally tally = {{0}};
    for (size_t i = 0; i < sizeof(accepted_texts) / sizeof(accepted_texts[0]); i++) {
        struct bytes text = exactly(accepted_texts[i], strlen(accepted_texts[i]));
        struct json j;
        if (!accepts_by_skip(text, &j))
            fail_msg("%s: %s at %td", accepted_texts[i], j.error, j.at - j.base);
        exactly_free(text);
        compare(accepted_texts[i], strlen(accepted_texts[i]), &tally);
    }
}

static void test_skip_refuses_where_and_why(void **state)
{
    struct tally tally = {{0}};
    for (size_t i = 0; i < sizeof(refused_texts) / sizeof(refused_texts[0]); i++) {
        struct bytes text = exactly(refused_texts[i].text, strlen(refused_texts[i].text));
        struct json j;
        assert_false(accepts_by_skip(text, &j));
        assert_string_equal(j.error, refused_texts[i].phrase);
        assert_int_equal(j.at - j.base, refused_texts[i].at);
        exactly_free(text);
        compare(refused_texts[i].text, strlen(refused_texts[i].text), &tally);
    }
    /* A NUL is no white space. */
    compare("[1,\0002]", 6, &tally);
    compare("1\0", 2, &tally);
    compare("\"\0\"", 3, &tally);
    assert_int_equal(tally.counts[AGREE] + tally.counts[NUL_BYTE],
                     3 + sizeof(refused_texts) / sizeof(refused_texts[0]));
}

static void test_depth_is_bounded(void **state)
{
    char text[2 * (JSON_DEPTH_MAX + 1) * 5];
    static const struct {
        const char *open, *close;
    } kinds[] = {{"[", "]"}, {"{\"a\":", "}"}, {"[{\"a\":", "}]"}};
    for (int k = 0; k < 3; k++) {
        int levels = k == 2 ? 2 : 1;
        for (int depth = JSON_DEPTH_MAX - levels; depth <= JSON_DEPTH_MAX + levels;
             depth += levels) {
            size_t n = 0;
            for (int i = 0; i < depth; i += levels)
                n += (size_t)sprintf(text + n, "%s", kinds[k].open);
            n += (size_t)sprintf(text + n, "1");
            for (int i = 0; i < depth; i += levels)
                n += (size_t)sprintf(text + n, "%s", kinds[k].close);
            struct json j;
            assert_int_equal(accepts_by_skip((struct bytes){text, n}, &j), depth <= JSON_DEPTH_MAX);
            struct tally tally = {{0}};
            compare(text, n, &tally);
            assert_int_equal(tally.counts[DEPTH], depth > JSON_DEPTH_MAX);
        }
    }
}

static void test_json_test_suite(void **state)
{
    static const char *const i_accepted[] = {
        "i_number_", /* any size is JSON; who wants its value is told when it does not fit */
        "i_object_key_lone_2nd_surrogate",
        "i_string_1st_surrogate_but_2nd_missing",
        "i_string_1st_valid_surrogate_2nd_invalid",
        "i_string_incomplete_surrogate",
        "i_string_invalid_lonely_surrogate",
        "i_string_invalid_surrogate",
        "i_string_inverted_surrogates",
        "i_string_lone_second_surrogate"};
    static const char *const i_refused[] = {"i_string_UTF-16LE_with_BOM",
                                            "i_string_UTF-8_invalid_sequence",
                                            "i_string_UTF8_surrogate_U+D800",
                                            "i_string_invalid_utf-8",
                                            "i_string_iso_latin_1",
                                            "i_string_lone_utf8_continuation_byte",
                                            "i_string_not_in_unicode_range",
                                            "i_string_overlong_sequence",
                                            "i_string_truncated-utf-8",
                                            "i_string_utf16BE_no_BOM",
                                            "i_string_utf16LE_no_BOM",
                                            "i_structure_500_nested_arrays",
                                            "i_structure_UTF-8_BOM_empty_object"};
    const char *folder = corpus();
    if (folder == NULL)
        return;
    char path[1024];
    snprintf(path, sizeof(path), "%s/json", folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    struct tally tally = {{0}};
    unsigned kinds[3] = {0};
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        if (strlen(name) < 5 || name[1] != '_')
            continue;
        bool expected = name[0] == 'y';
        int listed = name[0] != 'i';
        for (size_t i = 0; !listed && i < sizeof(i_accepted) / sizeof(i_accepted[0]); i++)
            listed = expected = strncmp(name, i_accepted[i], strlen(i_accepted[i])) == 0;
        for (size_t i = 0; !listed && i < sizeof(i_refused) / sizeof(i_refused[0]); i++)
            listed = strncmp(name, i_refused[i], strlen(i_refused[i])) == 0;
        if (!listed)
            fail_msg("%s is not decided", name);
        snprintf(path, sizeof(path), "%s/json/%s", folder, name);
        size_t len;
        char *data = read_file(path, &len);
        struct bytes text = exactly(data, len);
        struct json j;
        if (accepts_by_skip(text, &j) != expected)
            fail_msg("%s: %s", name, expected ? j.error : "accepted");
        compare(data, len, &tally);
        kinds[name[0] == 'y' ? 0 : name[0] == 'n' ? 1 : 2]++;
        exactly_free(text);
        free(data);
    }
    closedir(dir);
    print_message("JSONTestSuite: %u y_, %u n_, %u i_\n", kinds[0], kinds[1], kinds[2]);
    print_tally("JSONTestSuite against jansson", &tally);
    assert_true(kinds[0] > 90 && kinds[1] > 180 && kinds[2] > 30);
}

/* ---- against jansson ------------------------------------------------------------------------- */

static const char *const requests[] = {
    "{\"id\":\"a\",\"imp\":[{\"id\":\"1\",\"banner\":{\"format\":[{\"w\":300,\"h\":250}]},"
    "\"bidfloor\":"
    "0.5}],\"site\":{\"page\":\"http:\\/\\/x.example/"
    "\\u00e9?\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"},"
    "\"tmax\":120,\"test\":null,\"ext\":{\"a\":[true,false,[],{}],\"\\u0069d\":-1.25e-3}}",
    " {\r\n\t\"id\" : \"b\" ,\n \"imp\" : [ { \"id\" : \"1\" , \"video\" : { \"mimes\" : [ "
    "\"video/mp4\" ] , \"w\" : 640 , \"h\" : 480 } } ] ,\n \"cur\" : [ \"USD\" , \"EUR\" ]\n}\n",
    "[[[1,2.0,-3e5],\"\\ud83d\\ude00 long enough to fill a whole vector register \\\\ or two\"],"
    "{\"k\":{\"k\":{\"k\":[0]}}}]"};

static void compare_cut_and_mutated(const char *text, size_t len, struct tally *t,
                                    struct prng *prng)
{
    /* Bytes that matter to JSON, besides any. */
    static const char telling[] = "{}[]\",:\\ \n0-.eE+tfnu/\x7f\x80\xc3\xe2\xf0\xff\x01";
    for (size_t n = 0; n <= len; n++)
        compare(text, n, t);
    char *copy = malloc(len);
    for (size_t i = 0; i < len; i++) {
        memcpy(copy, text, len);
        copy[i] = telling[prng_next(prng) % (sizeof(telling) - 1)];
        compare(copy, len, t);
        copy[i] = (char)prng_next(prng);
        compare(copy, len, t);
        memmove(copy + i, copy + i + 1, len - i - 1); /* and one byte less */
        compare(copy, len - 1, t);
    }
    free(copy);
}

static void test_cut_and_mutated(void **state)
{
    struct tally tally = {{0}};
    struct prng prng = {1};
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        compare_cut_and_mutated(requests[i], strlen(requests[i]), &tally, &prng);
    print_tally("cut and mutated against jansson", &tally);
}

static void compare_lines(FILE *file, struct tally *tally, unsigned cut_and_mutate)
{
    struct prng prng = {2};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;
    while ((len = getline(&line, &capacity, file)) > 0) {
        compare(line, (size_t)len, tally);
        if (cut_and_mutate > 0 && len < 3000) {
            compare_cut_and_mutated(line, (size_t)len, tally, &prng);
            cut_and_mutate--;
        }
    }
    free(line);
}

static void test_corpus_against_jansson(void **state)
{
    static const char *const names[] = {"requests.ndjson", "responses.ndjson",
                                        "invalid_requests.ndjson"};
    const char *folder = corpus();
    if (folder == NULL)
        return;
    struct tally tally = {{0}};
    char path[1024];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/openrtb/%s", folder, names[i]);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        compare_lines(file, &tally, 2);
        fclose(file);
    }
    snprintf(path, sizeof(path), "zcat '%s/openrtb/captured-2012.ndjson.gz'", folder);
    FILE *pipe = popen(path, "r");
    assert_non_null(pipe);
    compare_lines(pipe, &tally, 1);
    assert_int_equal(pclose(pipe), 0);
    print_tally("OpenRTB corpus against jansson", &tally);
    assert_true(tally.counts[AGREE] > 12000);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void test_values_as_they_stand(void **state)
{
    struct json j;
    struct bytes key, raw;
    bool escaped;
    int64_t whole;
    json_begin(
        &j, lit(" {\"s\":\"a\\nb\",\"n\": -12 ,\"raw\":[1, {\"x\":\"]\"}],\"e\":{},\"t\":true}"));
    assert_int_equal(json_peek(&j), JSON_IS_OBJECT);
    assert_true(json_enter_object(&j));
    assert_true(json_next_key(&j, &key) && bytes_is(key, "s"));
    assert_true(json_text(&j, &raw, &escaped) && escaped && bytes_is(raw, "a\\nb"));
    assert_true(json_next_key(&j, &key) && bytes_is(key, "n"));
    assert_int_equal(json_peek(&j), JSON_IS_NUMBER);
    assert_true(json_number(&j, &raw) && bytes_is(raw, "-12") && json_to_int(raw, &whole));
    assert_int_equal(whole, -12);
    assert_true(json_next_key(&j, &key) && bytes_is(key, "raw"));
    assert_true(json_skip(&j, &raw) && bytes_is(raw, "[1, {\"x\":\"]\"}]"));
    assert_true(json_next_key(&j, &key) && bytes_is(key, "e"));
    assert_true(json_enter_object(&j));
    assert_false(json_next_key(&j, &key));
    assert_true(json_next_key(&j, &key) && bytes_is(key, "t"));
    assert_int_equal(json_peek(&j), JSON_IS_TRUE);
    assert_true(json_skip(&j, &raw) && bytes_is(raw, "true"));
    assert_false(json_next_key(&j, &key));
    assert_true(json_finish(&j));
    assert_int_equal(json_peek(&j), JSON_IS_INVALID);
}

static void test_nothing_moves_after_a_fault(void **state)
{
    struct json j;
    struct bytes key, raw;
    json_begin(&j, lit("{\"a\":1,\"b\":2}"));
    assert_true(json_enter_object(&j) && json_next_key(&j, &key));
    assert_false(json_text(&j, &raw, NULL)); /* it is a number */
    assert_string_equal(j.error, "expected a string");
    struct json before = j;
    assert_false(json_number(&j, &raw));
    assert_false(json_skip(&j, &raw));
    assert_false(json_next_key(&j, &key));
    assert_false(json_next_element(&j));
    assert_false(json_enter_array(&j));
    assert_false(json_enter_object(&j));
    assert_int_equal(json_peek(&j), JSON_IS_INVALID);
    assert_false(json_finish(&j));
    assert_true(j.at == before.at && j.depth == before.depth && j.error == before.error);

    json_begin(&j, lit("[1]"));
    assert_false(json_enter_object(&j));
    assert_string_equal(j.error, "expected an object");
    json_begin(&j, lit("[1]"));
    assert_true(json_enter_array(&j) && json_next_element(&j) && json_skip(&j, NULL));
    assert_false(json_finish(&j)); /* not read to its end */
    json_begin(&j, (struct bytes){NULL, 0});
    assert_false(json_skip(&j, NULL));
}

static void test_plain_run_variants_agree(void **state)
{
    static const char marks[] = "\"\\\x1f\x00\x80\xff\x20\x7f!";
    for (size_t len = 0; len <= 67; len++) {
        for (size_t lead = 0; lead < 3; lead++) {
            char *block = malloc(len + lead + 1);
            char *p = block + lead + 1; /* unaligned; the block ends where the text does */
            for (size_t at = 0; at < len; at++) {
                for (size_t m = 0; m < sizeof(marks) - 1; m++) {
                    memset(p, 'x', len);
                    p[at] = marks[m];
                    if (at + 3 < len)
                        p[at + 3] = '"';
                    const char *expected = json_plain_run_bytes(p, p + len);
                    assert_ptr_equal(json_plain_run_word(p, p + len), expected);
#ifdef __SSE2__
                    assert_ptr_equal(json_plain_run_sse2(p, p + len), expected);
#endif
                }
            }
            memset(p, 'x', len);
            assert_ptr_equal(json_plain_run(p, p + len), p + len);
            assert_ptr_equal(json_plain_run_word(p, p + len), p + len);
            free(block);
        }
    }
    for (int c = 0; c < 256; c++) {
        char text[16];
        memset(text, c, sizeof(text));
        assert_ptr_equal(json_plain_run(text, text + 16), json_plain_run_bytes(text, text + 16));
        assert_ptr_equal(json_plain_run_word(text, text + 16),
                         json_plain_run_bytes(text, text + 16));
    }
}

/* ---- strings --------------------------------------------------------------------------------- */

static const struct {
    const char *raw, *decoded;
} escapes[] = {{"", ""},
               {"plain", "plain"},
               {"\\\"\\\\\\/", "\"\\/"},
               {"\\b\\f\\n\\r\\t", "\b\f\n\r\t"},
               {"\\u0041\\u00e9\\u20ac\\uD83D\\uDe00", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
               {"x\\u007fy", "x\x7fy"},
               {"\\uffff\\ud800", "\xef\xbf\xbf\xef\xbf\xbd"},
               {"\\udc00z", "\xef\xbf\xbdz"},
               {"\\ud800\\ud800\\udc00", "\xef\xbf\xbd\xf0\x90\x80\x80"},
               {"\\ud800\\u0041", "\xef\xbf\xbd\x41"},
               {"\\ud800\\n", "\xef\xbf\xbd\n"},
               {"\\udbff\\udfff", "\xf4\x8f\xbf\xbf"},
               {"\xc3\xa9\\\\u0041", "\xc3\xa9\\u0041"}};

static void test_unescape(void **state)
{
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
        struct bytes raw = exactly(escapes[i].raw, strlen(escapes[i].raw));
        struct bytes decoded = json_unescape(raw, &arena);
        assert_true(bytes_is(decoded, escapes[i].decoded));
        if (strchr(escapes[i].raw, '\\') == NULL)
            assert_ptr_equal(decoded.base, raw.base);
        assert_true(json_key_is(raw, escapes[i].decoded));
        exactly_free(raw);
    }
    struct bytes nul = json_unescape(lit("a\\u0000b"), &arena);
    assert_int_equal(nul.len, 3);
    assert_memory_equal(nul.base, "a\0b", 3);
    arena_dispose(&arena);
}

static void test_key_is(void **state)
{
    assert_true(json_key_is(lit("id"), "id"));
    assert_true(json_key_is(lit("\\u0069d"), "id"));
    assert_true(json_key_is(lit("\\u0069\\u0064"), "id"));
    assert_false(json_key_is(lit("\\u0069"), "id"));
    assert_false(json_key_is(lit("\\u0069dx"), "id"));
    assert_false(json_key_is(lit("id"), "i"));
    assert_false(json_key_is(lit("i"), "id"));
    assert_false(json_key_is(lit("\\u0000"), ""));
    assert_false(json_key_is(lit("id\\u0000"), "id"));
    assert_true(json_key_is(lit(""), ""));
}

/* ---- numbers --------------------------------------------------------------------------------- */

static const struct {
    const char *raw;
    bool fits;
    int64_t value;
} ints[] = {{"0", true, 0},
            {"-0", true, 0},
            {"7", true, 7},
            {"-120", true, -120},
            {"9223372036854775807", true, INT64_MAX},
            {"9223372036854775808", false, 0},
            {"-9223372036854775808", true, INT64_MIN},
            {"-9223372036854775809", false, 0},
            {"18446744073709551616", false, 0},
            {"99999999999999999999999999", false, 0},
            {"1e3", true, 1000},
            {"1E+3", true, 1000},
            {"120e-1", true, 12},
            {"125e-1", false, 0},
            {"1.5", false, 0},
            {"1.0", true, 1},
            {"1.50e1", true, 15},
            {"300.000000000000000000000000000000", true, 300},
            {"0.000000000000000000000000000003e30", true, 3},
            {"1e18", true, 1000000000000000000},
            {"1e19", false, 0},
            {"0e99999999999999999999", true, 0},
            {"1e99999999999999999999", false, 0},
            {"1e-99999999999999999999", false, 0},
            {"922337203685477580700e-2", true, INT64_MAX}};

static void test_to_int(void **state)
{
    for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
        int64_t value = 0;
        if (json_to_int(lit(ints[i].raw), &value) != ints[i].fits)
            fail_msg("%s", ints[i].raw);
        if (ints[i].fits)
            assert_int_equal(value, ints[i].value);
    }
}

static const struct {
    const char *raw;
    bool fits;
    int64_t micros;
} prices[] = {{"0", true, 0},
              {"1", true, 1000000},
              {"0.35", true, 350000},
              {"3.01", true, 3010000},
              {"0.0000005", true, 1},
              {"0.00000049999999999999999999999", true, 0},
              {"0.00000050000000000000000000001", true, 1},
              {"0.0000015", true, 2},
              {"0.0000025", true, 3},
              {"-0.0000005", true, -1},
              {"-0.0000004", true, 0},
              {"1.005", true, 1005000},
              {"1e-6", true, 1},
              {"1e-7", true, 0},
              {"1e-400", true, 0},
              {"5e-99999999999999999999", true, 0},
              {"9000000", true, 9000000000000},
              {"-9000000", true, -9000000000000},
              {"9000000.0000004", true, 9000000000000},
              {"9000000.0000005", false, 0},
              {"9000001", false, 0},
              {"1e300", false, 0},
              {"1e99999999999999999999", false, 0},
              {"123456789012345678901234567890", false, 0},
              {"1.23456789012345678901234567890", true, 1234568}};

static void test_to_micros(void **state)
{
    for (size_t i = 0; i < sizeof(prices) / sizeof(prices[0]); i++) {
        int64_t micros = 0;
        if (json_to_micros(lit(prices[i].raw), &micros) != prices[i].fits)
            fail_msg("%s", prices[i].raw);
        if (prices[i].fits)
            assert_int_equal(micros, prices[i].micros);
    }
}

static void check_double(const char *text, size_t len)
{
    char *terminated = malloc(len + 1);
    memcpy(terminated, text, len);
    terminated[len] = '\0';
    double expected = strtod(terminated, NULL);
    double got = json_to_double((struct bytes){text, len});
    if (memcmp(&expected, &got, sizeof(got)) != 0)
        fail_msg("%s: %.17g, strtod says %.17g", terminated, got, expected);
    free(terminated);
}

static void test_to_double_agrees_with_strtod(void **state)
{
    static const char *const hard[] = {"0",
                                       "-0",
                                       "-0.0e5",
                                       "0.1",
                                       "1e22",
                                       "1e23",
                                       "123456789012345",
                                       "1234567890123456",
                                       "9007199254740993",
                                       "9007199254740992.9999",
                                       "2.2250738585072011e-308",
                                       "2.2250738585072014e-308",
                                       "4.9406564584124654e-324",
                                       "2.4703282292062327e-324",
                                       "2.4703282292062328e-324",
                                       "1.7976931348623157e308",
                                       "1.7976931348623159e308",
                                       "1e400",
                                       "-1e400",
                                       "1e-400",
                                       "1e99999999999999999999",
                                       "1e-99999999999999999999",
                                       "0.000001e6",
                                       "100000000000000000000000000000000000e-35"};
    for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++)
        check_double(hard[i], strlen(hard[i]));

    struct prng prng = {3};
    char text[128];
    for (int i = 0; i < 20000; i++) {
        int n = 0, digits = 1 + (int)(prng_next(&prng) % 24);
        if (prng_next(&prng) % 2)
            text[n++] = '-';
        text[n++] = (char)('1' + prng_next(&prng) % 9);
        int point = (int)(prng_next(&prng) % 24);
        for (int k = 1; k < digits; k++) {
            if (k == point)
                text[n++] = '.';
            text[n++] = (char)('0' + prng_next(&prng) % 10);
        }
        if (prng_next(&prng) % 2)
            n += sprintf(text + n, "e%d", (int)(prng_next(&prng) % 660) - 330);
        check_double(text, (size_t)n);
    }
}

/* The halfway point above 1, written out, and the same with a 1 after a thousand zeros. */
static void test_to_double_many_digits(void **state)
{
    static const char half[] = "1.00000000000000011102230246251565404236316680908203125";
    char text[4096];
    size_t n = sizeof(half) - 1;
    memcpy(text, half, n);
    check_double(text, n);
    memset(text + n, '0', 2000);
    check_double(text, n + 2000);
    text[n + 1999] = '1';
    check_double(text, n + 2000);
    memset(text, '9', 3000);
    check_double(text, 300);
    check_double(text, 3000);
    memcpy(text + 3000, "e-3000", 6);
    check_double(text, 3006);
    text[0] = '0';
    text[1] = '.';
    memset(text + 2, '0', 2998);
    memcpy(text + 3000, "7e3000", 6);
    check_double(text, 3006);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skip_accepts),
        cmocka_unit_test(test_skip_refuses_where_and_why),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_json_test_suite),
        cmocka_unit_test(test_cut_and_mutated),
        cmocka_unit_test(test_corpus_against_jansson),
        cmocka_unit_test(test_values_as_they_stand),
        cmocka_unit_test(test_nothing_moves_after_a_fault),
        cmocka_unit_test(test_plain_run_variants_agree),
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_key_is),
        cmocka_unit_test(test_to_int),
        cmocka_unit_test(test_to_micros),
        cmocka_unit_test(test_to_double_agrees_with_strtod),
        cmocka_unit_test(test_to_double_many_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
