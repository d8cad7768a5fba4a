/* What is written reads back; what is damaged or hostile is refused with a line, never a crash. */
#include "tests/model/fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "hash.h"
#include "model/safetensors.h"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    strcpy(folder, "/tmp/test_safetensors.XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    unlink(path_of("a"));
    return rmdir(folder);
}

static void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*len + 1);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    fclose(f);
    return bytes;
}

/* A file of this header and so many bytes of data. */
static void write_crafted(const char *path, const char *header, size_t header_len, size_t data_len)
{
    char *bytes = calloc(1, 8 + header_len + data_len);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(header_len >> (8 * i));
    memcpy(bytes + 8, header, header_len);
    write_file(path, bytes, 8 + header_len + data_len);
    free(bytes);
}

/* ---- hostile files ---- */

static void test_open_refuses(void **state)
{
    /* Header texts are padded with spaces to 8 bytes unless `raw`. */
    static const struct {
        const char *header;
        size_t data_len;
        const char *why; /* NULL: accepted */
        bool raw;
    } cases[] = {
        {"{}", 0, NULL, false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, NULL, false},
        {" {\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "expected '{'",
         false},
        {"{ \"a\" : { \"shape\" : [ 1 , 2 ] , \"data_offsets\":[0, 8],\"dtype\":\"F32\"} }", 8,
         NULL, false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, NULL, false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, NULL, false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,18446744073709551615,9],\"data_offsets\":[0,0]}}",
         0, NULL, false},
        {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}", 8, NULL, false},
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         9, NULL, false},
        {"", 0, "expected '{'", true},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "behind the last",
         false},
        {"{}", 4, "behind the last", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "past the end",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "backwards", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "span the shape",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "hole", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, "overlaps", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         8, "overlaps", false},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
         6, "not aligned", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "not aligned",
         true},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype",
         false},
        {"{\"a\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "expected a string",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "beyond 64 bits", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
         "beyond 64 bits", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
         "beyond 64 bits", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         "too many numbers", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "whole number",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "expected ','",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]}}", 8, "leading zero",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,],\"data_offsets\":[0,8]}}", 8, "whole number",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "two numbers", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8,
         "too many numbers", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "lacks", false},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "each once", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":{}}}", 8,
         "each once", false},
        {"{\"a\":{}}", 0, "expected a string", false},
        {"{\"a\":[[[[[[[[[[]]]]]]]]]]}", 0, "expected '{'", false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}", 8, "whole number",
         false},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}",
         8, "name twice", false},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ twice", false},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "key twice", false},
        {"{\"__metadata__\":{\"k\":1}}", 0, "expected a string", false},
        {"{\"__metadata__\":{\"k\":{\"k\":\"v\"}}}", 0, "expected a string", false},
        {"{\"__metadata__\":{\"k\\u0000\":\"v\"}}", 0, "NUL", false},
        {"{\"__metadata__\":{\"k\":\"\xff\"}}", 0, "UTF-8", false},
        {"{\"__metadata__\":{\"k\":\"\xc0\x80\"}}", 0, "UTF-8", false},
        {"{\"__metadata__\":{\"k\":\"\xed\xa0\x80\"}}", 0, "UTF-8", false},
        {"{\"__metadata__\":{\"k\":\"\xf4\x90\x80\x80\"}}", 0, "UTF-8", false},
        {"{\"__metadata__\":{\"k\":\"\xe2\x82", 0, "UTF-8", true},
        {"{\"__metadata__\":{\"k\":\"a\nb\"}}", 0, "control character", false},
        {"{\"__metadata__\":{\"k\":\"\\x\"}}", 0, "unknown escape", false},
        {"{\"__metadata__\":{\"k\":\"\\", 0, "without end", true},
        {"{\"__metadata__\":{\"k\":\"\\u12", 0, "bad \\u", true},
        {"{\"__metadata__\":{\"k\":\"\\u12g4\"}}", 0, "bad \\u", false},
        {"{\"__metadata__\":{\"k\":\"\\ud800\"}}", 0, "surrogate", false},
        {"{\"__metadata__\":{\"k\":\"\\ud800\\u0041\"}}", 0, "surrogate", false},
        {"{\"__metadata__\":{\"k\":\"\\udc00\"}}", 0, "surrogate", false},
        {"{\"__metadata__\":{\"k\":\"v\"},}", 0, "expected a string", false},
        {"{\"__metadata__\":{\"k\":\"v\"}", 0, "expected ','", false},
        {"{} {}", 0, "behind the header", false},
        {"[]", 0, "expected '{'", false},
        {"{\"a\" 1}", 0, "expected ':'", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char header[256];
        size_t len = strlen(cases[i].header);
        memset(header, ' ', sizeof(header));
        memcpy(header, cases[i].header, len);
        if (!cases[i].raw)
            len = (len + 7) / 8 * 8;
        else if (strcmp(cases[i].why, "not aligned") == 0)
            len = (len + 7) / 8 * 8 + 1;
        write_crafted(path_of("a"), header, len, cases[i].data_len);
        struct error err = {""};
        struct safetensors *f = safetensors_open(path_of("a"), &err);
        if ((f != NULL) != (cases[i].why == NULL))
            fail_msg("%s: %s", cases[i].header, f != NULL ? "accepted" : err.text);
        if (f == NULL && strstr(err.text, cases[i].why) == NULL)
            fail_msg("%s: said: %s", cases[i].header, err.text);
        if (f == NULL && (strstr(err.text, folder) == NULL || strchr(err.text, '\n') != NULL))
            fail_msg("%s: the line does not say where: %s", cases[i].header, err.text);
        safetensors_close(f);
    }
}

static void test_open_refuses_what_is_no_file(void **state)
{
    struct error err;
    assert_null(safetensors_open(path_of("absent"), &err));
    assert_non_null(strstr(err.text, "No such file"));
    assert_null(safetensors_open(folder, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
    write_file(path_of("a"), "1234567", 7);
    assert_null(safetensors_open(path_of("a"), &err));
    assert_non_null(strstr(err.text, "too short"));
    static const unsigned char lengths[][8] = {{1},
                                               {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                               {0, 0, 0, 0, 0, 0, 0, 0x80},
                                               {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}};
    for (size_t i = 0; i < 4; i++) {
        write_file(path_of("a"), lengths[i], 8);
        assert_null(safetensors_open(path_of("a"), &err));
        assert_non_null(strstr(err.text, "header reaches past the end"));
    }
}

/* ---- round trips ---- */

static void test_write_reads_back(void **state)
{
    static const float floats[6] = {1, -2, 3.5f, 0, 1e-30f, 7};
    static const int32_t integers[2] = {-5, 6};
    static const char text[5] = "vocab", odd[] = "tab\t \"q\" \\ nul\0 \x01 \x7f end";
    static const char unicode[] = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    const struct tensor tensors[] = {
        {"names", TENSOR_U8, 1, {5}, text, 5},
        {"f \"\xc3\xa9\"", TENSOR_F32, 2, {2, 3}, floats, 24},
        {"i", TENSOR_I32, 1, {2}, integers, 8},
        {"none", TENSOR_F32, 1, {0}, floats, 0},
        {"scalar", TENSOR_F32, 0, {0}, floats + 2, 4},
    };
    const struct safetensors_entry metadata[] = {
        {"odd", {odd, sizeof(odd) - 1}},
        {"unicode", bytes_of(unicode)},
        {"empty", {"", 0}},
        {"not utf-8", {"a\xff\xc3", 3}},
    };
    struct error err;
    assert_int_equal(safetensors_write(path_of("a"), tensors, 5, metadata, 4, &err), 0);
    assert_int_equal(access(path_of("a.tmp"), F_OK), -1);
    struct safetensors *f = safetensors_open(path_of("a"), &err);
    if (f == NULL)
        fail_msg("%s", err.text);
    assert_int_equal(safetensors_count(f), 5);
    for (size_t i = 0; i < 5; i++) {
        const struct tensor *t = safetensors_find(f, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->rank, tensors[i].rank);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof(t->shape));
        assert_int_equal(t->bytes, tensors[i].bytes);
        assert_memory_equal(t->data, tensors[i].data, t->bytes);
        if (t->dtype != TENSOR_U8)
            assert_int_equal((uintptr_t)t->data % 4, 0);
    }
    assert_null(safetensors_find(f, "absent"));
    assert_true(bytes_equal(safetensors_metadata(f, "odd"), metadata[0].value));
    assert_true(bytes_is(safetensors_metadata(f, "unicode"), unicode));
    assert_true(bytes_is(safetensors_metadata(f, "empty"), ""));
    assert_non_null(safetensors_metadata(f, "empty").base);
    assert_true(bytes_is(safetensors_metadata(f, "not utf-8"), "a\xef\xbf\xbd\xef\xbf\xbd"));
    assert_null(safetensors_metadata(f, "absent").base);
    char checksum[17];
    struct bytes written = safetensors_metadata(f, "checksum");
    snprintf(checksum, sizeof(checksum), "%016llx", (unsigned long long)safetensors_checksum(f));
    assert_true(written.len == 32 && memcmp(written.base, checksum, 16) == 0);
    assert_int_equal(safetensors_check(f, "a", &err), 0);
    safetensors_close(f);

    size_t len;
    char *bytes = read_file(path_of("a"), &len);
    assert_int_equal((unsigned char)bytes[0] % 8, 0); /* the header's length: data is aligned */
    bytes[len - 1] ^= 1;
    write_file(path_of("a"), bytes, len);
    f = safetensors_open(path_of("a"), &err);
    assert_non_null(f);
    char damaged[17];
    snprintf(damaged, sizeof(damaged), "%016llx", (unsigned long long)safetensors_checksum(f));
    assert_string_not_equal(damaged, checksum);
    assert_int_equal(safetensors_check(f, "a", &err), -1);
    assert_non_null(strstr(err.text, "data does not match its checksum"));
    safetensors_close(f);
    free(bytes);
}

/* The checksum's second half vouches for the header's tensors; who writes just the first half has
 * the data checked. */
static void test_check_covers_the_header(void **state)
{
    static const float x[2] = {1, 2}, y[2] = {3, 4};
    static const struct tensor tensors[] = {{"x", TENSOR_F32, 1, {2}, x, 8},
                                            {"y", TENSOR_F32, 1, {2}, y, 8},
                                            {"none", TENSOR_F32, 1, {0}, x, 0}};
    static const struct {
        const char *from, *to;
    } changes[] = {{"\"x\":", "\"z\":"},
                   {"\"dtype\":\"F32\"", "\"dtype\":\"I32\""},
                   {"\"y\":", "\"w\":"},
                   {"\"none\"", "\"nine\""},
                   {"[0]", "[ ]"}};
    struct error err;
    size_t len;
    assert_int_equal(safetensors_write(path_of("a"), tensors, 3, NULL, 0, &err), 0);
    char *whole = read_file(path_of("a"), &len), *copy = malloc(len);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(copy, whole, len);
        char *at = memmem(copy, len, changes[i].from, strlen(changes[i].from));
        assert_non_null(at);
        memcpy(at, changes[i].to, strlen(changes[i].to));
        write_file(path_of("a"), copy, len);
        struct safetensors *f = safetensors_open(path_of("a"), &err);
        if (f == NULL)
            continue; /* refused already */
        if (safetensors_check(f, "the file", &err) == 0)
            fail_msg("%s for %s", changes[i].to, changes[i].from);
        assert_non_null(strstr(err.text, "the file: the tensors' names"));
        safetensors_close(f);
    }
    memcpy(copy, whole, len);
    char *digits = strstr(copy + 8, "checksum\":\"") + strlen("checksum\":\"");
    memset(digits + 16, ' ', 17);
    digits[16] = '"';
    write_file(path_of("a"), copy, len);
    struct safetensors *f = safetensors_open(path_of("a"), &err);
    assert_non_null(f);
    assert_int_equal(safetensors_check(f, "a", &err), 0);
    safetensors_close(f);
    free(copy);
    free(whole);
}

static void test_write_says_why_not(void **state)
{
    struct error err;
    assert_int_equal(safetensors_write("/proc/none/a", NULL, 0, NULL, 0, &err), -1);
    assert_non_null(strstr(err.text, "/proc/none/a.tmp: No such file"));
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(symlink("/dev/full", path_of("a.tmp")), 0);
        assert_int_equal(safetensors_write(path_of("a"), NULL, 0, NULL, 0, &err), -1);
        assert_non_null(strstr(err.text, "No space left"));
        assert_int_equal(access(path_of("a.tmp"), F_OK), -1); /* cleaned up */
    }
}

static void write_network(const char *path, const struct network *n)
{
    struct tensor tensors[16];
    size_t n_tensors;
    struct error err;
    static const struct safetensors_entry metadata[] = {{"schema", {"{\"x\":\"\xc3\xa9\"}", 10}}};
    assert_int_equal(network_tensors(n, tensors, 16, &n_tensors), 0);
    assert_int_equal(n_tensors, FIXTURE_FEATURES + 2 + 8);
    if (safetensors_write(path, tensors, n_tensors, metadata, 1, &err) != 0)
        fail_msg("%s", err.text);
}

static void test_network_saved_and_loaded_scores_to_the_bit(void **state)
{
    struct network *n = fixture_network(6, 20, 12, 42);
    n->calibration[4][0] = 1.5f;
    n->calibration[4][1] = -0.25f;
    write_network(path_of("a"), n);
    struct error err;
    struct safetensors *f = safetensors_open(path_of("a"), &err);
    assert_non_null(f);
    struct network *m = network_from_tensors(f, &n->shape, &err);
    if (m == NULL)
        fail_msg("%s", err.text);
    safetensors_close(f);
    assert_int_equal(m->block_floats, n->block_floats);
    assert_memory_equal(m->block, n->block, n->block_floats * sizeof(float));
    assert_memory_equal(m->calibration, n->calibration, 6 * sizeof(*n->calibration));
    m->negative_rate = n->negative_rate;
    struct scorer *s[2] = {scorer_create(n, NULL), scorer_create(m, NULL)};
    uint32_t slots[9], dsps[6] = {0, 1, 2, 3, 4, 5};
    float numeric[3], p[2][6];
    struct prng g = {1};
    fixture_request(&n->shape, &g, slots, numeric);
    for (int i = 0; i < 2; i++) {
        struct scorer_scratch *scratch = scorer_scratch_create(s[i]);
        scorer_score(s[i], scratch, slots, numeric, dsps, 6, p[i]);
        scorer_scratch_destroy(scratch);
        scorer_destroy(s[i]);
    }
    assert_memory_equal(p[0], p[1], sizeof(p[0]));
    network_destroy(n);
    network_destroy(m);
}

static void refuse_network(const struct safetensors *f, const struct network_shape *shape,
                           const char *why)
{
    struct error err = {""};
    struct network *m = network_from_tensors(f, shape, &err);
    assert_null(m);
    if (strstr(err.text, why) == NULL)
        fail_msg("said: %s", err.text);
}

static void test_network_from_tensors_calibration(void **state)
{
    struct network *n = fixture_network(3, 4, 4, 1);
    struct tensor tensors[16], others[16];
    size_t n_tensors, n_others = 0;
    struct error err;
    static const float slopes[] = {0, -1, NAN};
    assert_int_equal(network_tensors(n, tensors, 16, &n_tensors), 0);
    for (size_t i = 0; i < n_tensors; i++)
        if (strcmp(tensors[i].name, "calibration.dsp") != 0)
            others[n_others++] = tensors[i];
    assert_int_equal(n_others + 1, n_tensors);
    assert_int_equal(safetensors_write(path_of("a"), others, n_others, NULL, 0, &err), 0);
    struct safetensors *f = safetensors_open(path_of("a"), &err);
    struct network *m = network_from_tensors(f, &n->shape, &err);
    assert_non_null(m); /* without it no logit is bent */
    for (int d = 0; d < 3; d++)
        assert_true(m->calibration[d][0] == 1 && m->calibration[d][1] == 0);
    network_destroy(m);
    safetensors_close(f);
    for (size_t i = 0; i < 3; i++) {
        n->calibration[2][0] = slopes[i];
        write_network(path_of("a"), n);
        f = safetensors_open(path_of("a"), &err);
        assert_null(network_from_tensors(f, &n->shape, &err));
        assert_non_null(strstr(err.text, "calibration.dsp"));
        safetensors_close(f);
    }
    network_destroy(n);
}

static struct safetensors *write_without(const struct tensor *tensors, size_t n, const char *name)
{
    struct tensor others[24];
    size_t n_others = 0;
    for (size_t k = 0; k < n; k++)
        if (strcmp(tensors[k].name, name) != 0)
            others[n_others++] = tensors[k];
    assert_int_equal(n_others + 1, n);
    assert_int_equal(safetensors_write(path_of("a"), others, n_others, NULL, 0, NULL), 0);
    return safetensors_open(path_of("a"), NULL);
}

static void test_network_from_tensors_conjunctions(void **state)
{
    static const char *const names[] = {"conjunctions.rate", "conjunctions.dsp",
                                        "conjunction.geocode", "conjunction.hour"};
    struct network *n = fixture_network(3, 4, 4, 1);
    struct tensor tensors[24];
    size_t n_tensors;
    struct error err;
    fixture_conjunctions(n, 2);
    assert_int_equal(network_tensors(n, tensors, 24, &n_tensors), 0);
    assert_int_equal(safetensors_write(path_of("a"), tensors, n_tensors, NULL, 0, &err), 0);
    struct safetensors *f = safetensors_open(path_of("a"), &err);
    struct network *m = network_from_tensors(f, &n->shape, &err);
    assert_non_null(m);
    const struct conjunctions *a = n->conjunctions, *b = m->conjunctions;
    assert_int_equal(a->n_units, b->n_units);
    assert_memory_equal(a->first, b->first, 4 * sizeof(*a->first));
    assert_memory_equal(a->rate, b->rate, a->n_units * sizeof(float));
    assert_memory_equal(a->share, b->share, 3 * sizeof(float));
    assert_memory_equal(a->factor[0], b->factor[0], a->values[0] * a->n_units * sizeof(float));
    network_destroy(m);
    safetensors_close(f);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) { /* all of them, or none */
        f = write_without(tensors, n_tensors, names[i]);
        refuse_network(f, &n->shape, names[i]);
        safetensors_close(f);
    }
    f = write_without(tensors, n_tensors, "conjunctions.share"); /* as before there were any */
    m = network_from_tensors(f, &n->shape, &err);
    assert_non_null(m);
    for (uint32_t d = 0; d < 3; d++)
        assert_true(m->conjunctions->share[d] == 0.5f);
    network_destroy(m);
    safetensors_close(f);
    struct conjunctions *c = n->conjunctions;
    const struct {
        float *at, value;
        const char *why;
    } spoilt[] = {
        {&c->dsp[0], 2.5f, "conjunctions.dsp: must hold numbers of DSPs, 0 to 2"},
        {&c->dsp[0], 2, "conjunctions.dsp: must hold"},
        {&c->dsp[c->n_units - 1], 3, "conjunctions.dsp: must hold"},
        {&c->dsp[0], -1, "conjunctions.dsp: must hold"},
        {&c->dsp[0], NAN, "conjunctions.dsp: element 0 is not finite"},
        {&c->share[2], -0.01f, "conjunctions.share: element 2: must be 0 to 1, not -0.01"},
        {&c->share[0], 1.5f, "conjunctions.share: element 0: must be 0 to 1"},
        {&c->share[1], NAN, "conjunctions.share: element 1 is not finite"},
        {&c->rate[1], 0, "conjunctions.rate: element 1: must be above 0 and at most 1e+12"},
        {&c->rate[1], 1e13f, "conjunctions.rate: element 1: must be"},
        {&c->rate[1], INFINITY, "conjunctions.rate: element 1 is not finite"},
        {&c->factor[0][3], 0, "conjunction.geocode: element 3: must be above 0 and at most 1e+12"},
        {&c->factor[0][3], -1, "conjunction.geocode: element 3: must be"},
        {&c->factor[2][5], 3e38f, "conjunction.category: element 5: must be"},
        {&c->factor[2][5], NAN, "conjunction.category: element 5 is not finite"},
    };
    for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        float sound = *spoilt[i].at;
        *spoilt[i].at = spoilt[i].value;
        assert_int_equal(safetensors_write(path_of("a"), tensors, n_tensors, NULL, 0, &err), 0);
        f = safetensors_open(path_of("a"), &err);
        refuse_network(f, &n->shape, spoilt[i].why);
        safetensors_close(f);
        *spoilt[i].at = sound;
    }
    network_destroy(n);
}

static void test_network_from_tensors_refuses_another_shape(void **state)
{
    struct network *n = fixture_network(6, 20, 12, 42);
    struct network_feature *features = n->shape.features;
    write_network(path_of("a"), n);
    struct safetensors *f = safetensors_open(path_of("a"), NULL);
    struct network_shape shape = n->shape;
    shape.hidden1 = 19;
    refuse_network(f, &shape, "tensor hidden1.weight is [20, 18], but the schema says [19, 18]");
    shape = n->shape;
    shape.n_numeric = 1;
    refuse_network(f, &shape, "hidden1.weight is [20, 18]");
    features[0].values--;
    refuse_network(f, &n->shape, "embedding.geocode");
    features[0].values = 4000000;
    refuse_network(f, &n->shape, "the schema needs");
    features[0].values = 11;
    features[2].wide = true;
    refuse_network(f, &n->shape, "wide.category is missing");
    features[2].wide = false;
    strcpy(features[2].name, "categories");
    refuse_network(f, &n->shape, "embedding.categories is missing");
    features[0].dim = 0;
    refuse_network(f, &n->shape, "dim 0");
    features[0].dim = 5;
    features[1].slots = 2;
    refuse_network(f, &n->shape, "one slot");
    features[1].slots = 1;
    features[1].values = 9;
    refuse_network(f, &n->shape, "9 values for 6 DSPs");
    features[1].values = 8;
    strcpy(features[2].name, "geocode");
    refuse_network(f, &n->shape, "two features are named geocode");
    shape = n->shape;
    shape.dsp_feature = 5;
    features[2].name[0] = 'x';
    refuse_network(f, &shape, "no feature is the DSP");
    safetensors_close(f);

    strcpy(features[2].name, "category");
    n->hidden2_bias[3] = NAN;
    write_network(path_of("a"), n);
    f = safetensors_open(path_of("a"), NULL);
    refuse_network(f, &n->shape, "hidden2.bias: element 3 is not finite");
    safetensors_close(f);
    network_destroy(n);
}

static void test_network_tensors_says_when_there_is_no_room(void **state)
{
    struct network *n = fixture_network(2, 4, 4, 1);
    struct tensor tensors[3];
    size_t count;
    assert_int_equal(network_tensors(n, tensors, 3, &count), -1);
    assert_int_equal(count, FIXTURE_FEATURES + 2 + 8);
    network_destroy(n);
}

/* ---- damage ---- */

static void try_open(const struct network_shape *shape)
{
    struct error err = {""};
    struct safetensors *f = safetensors_open(path_of("a"), &err);
    if (f != NULL) {
        struct network *n = network_from_tensors(f, shape, &err);
        (void)safetensors_checksum(f);
        network_destroy(n);
    } else {
        assert_true(err.text[0] != '\0');
    }
    safetensors_close(f);
}

static void test_open_cut_at_every_byte(void **state)
{
    struct network *n = fixture_network(2, 3, 2, 42);
    write_network(path_of("a"), n);
    size_t len;
    char *bytes = read_file(path_of("a"), &len);
    for (size_t cut = len; cut-- > 0;) {
        assert_int_equal(truncate(path_of("a"), (off_t)cut), 0);
        struct error err = {""};
        struct safetensors *f = safetensors_open(path_of("a"), &err);
        if (f != NULL)
            fail_msg("cut to %zu of %zu bytes: accepted", cut, len);
        assert_true(err.text[0] != '\0');
    }
    free(bytes);
    network_destroy(n);
}

static void test_open_every_byte_of_the_header_changed(void **state)
{
    static const unsigned char others[] = {0,   '"', '\\', '{', '}', '[',  ']',  ',',  ':', ' ',
                                           '0', '1', '9',  'u', 'e', 0x7f, 0x80, 0xc3, 0xff};
    struct network *n = fixture_network(2, 3, 2, 42);
    write_network(path_of("a"), n);
    size_t len;
    char *bytes = read_file(path_of("a"), &len);
    size_t head = 8 + (unsigned char)bytes[0] + 256 * (size_t)(unsigned char)bytes[1];
    assert_true(head < len);
    FILE *f = fopen(path_of("a"), "r+b");
    assert_non_null(f);
    setbuf(f, NULL);
    for (size_t i = 0; i < head; i++) {
        for (size_t k = 0; k < sizeof(others) + 8; k++) {
            unsigned char now = k < sizeof(others)
                                    ? others[k]
                                    : (unsigned char)bytes[i] ^ (1u << (k - sizeof(others)));
            fseek(f, (long)i, SEEK_SET);
            fputc(now, f);
            try_open(&n->shape);
        }
        fseek(f, (long)i, SEEK_SET);
        fputc(bytes[i], f);
    }
    fclose(f);
    free(bytes);
    network_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_open_refuses_what_is_no_file),
        cmocka_unit_test(test_write_reads_back),
        cmocka_unit_test(test_check_covers_the_header),
        cmocka_unit_test(test_write_says_why_not),
        cmocka_unit_test(test_network_saved_and_loaded_scores_to_the_bit),
        cmocka_unit_test(test_network_from_tensors_calibration),
        cmocka_unit_test(test_network_from_tensors_conjunctions),
        cmocka_unit_test(test_network_from_tensors_refuses_another_shape),
        cmocka_unit_test(test_network_tensors_says_when_there_is_no_room),
        cmocka_unit_test(test_open_cut_at_every_byte),
        cmocka_unit_test(test_open_every_byte_of_the_header_changed),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
