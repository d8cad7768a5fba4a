/* The capture record: lines that are built read back equal; hand-written minimal records are read;
 * what is no record is named by file, line and JSON path; what a crash leaves is counted, whatever
 * the byte it was cut at; the writer rotates, bounds, survives its disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "prng.h"
#include "proxy/capture.h"
#include "proxy/lines.h"

#define LENGTH(array) (sizeof(array) / sizeof(*(array)))

/* ---- a folder a test ---- */

static char folder[256];

static int make_folder(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/bidsieve-capture-XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL) {
        unlink(path);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        char inner[1024];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
        remove_tree(inner);
    }
    closedir(d);
    rmdir(path);
}

static int remove_folder(void **state)
{
    (void)state;
    remove_tree(folder);
    return 0;
}

static const char *in_folder(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 512, "%s/%s", folder, name);
    return path;
}

static void put_file(const char *name, const void *base, size_t len)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(base, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void put_text(const char *name, const char *text)
{
    put_file(name, text, strlen(text));
}

static struct capture_reader *open_one(const char *path)
{
    struct error err = {""};
    struct capture_reader *r = capture_reader_open(&path, 1, &err);
    if (r == NULL)
        fail_msg("%s", err.text);
    return r;
}

struct tally {
    uint64_t records, faults, torn;
    char first_fault[1024];
};

static struct tally read_all(const char *path)
{
    struct tally t = {0};
    struct error err;
    struct capture_record record;
    struct capture_reader *r = open_one(path);
    int result;
    while ((result = capture_next(r, &record, &err)) != 0) {
        if (result > 0)
            t.records++;
        else if (t.faults++ == 0)
            memcpy(t.first_fault, err.text, sizeof(t.first_fault));
        assert_true(t.faults < 100000); /* else it does not end */
    }
    assert_true(capture_progress(r) == 1);
    t.torn = capture_torn(r);
    capture_reader_close(r);
    return t;
}

static size_t list_folder(char names[][256], size_t max)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort);
    assert_true(n >= 0);
    size_t kept = 0;
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.') {
            assert_true(kept < max);
            snprintf(names[kept++], 256, "%s", entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
    return kept;
}

/* ---- building and reading back ---- */

static bool same_double(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void assert_bytes(struct bytes got, struct bytes expected)
{
    assert_int_equal(got.base == NULL, expected.base == NULL);
    if (!bytes_equal(got, expected))
        fail_msg("got '%.*s', expected '%.*s'", (int)got.len, got.base, (int)expected.len,
                 expected.base);
}

static struct capture_dsp random_dsp(struct prng *g, char *name)
{
    static const char *const outcomes[] = {"bid", "no_bid", "timeout", "error", "invalid"};
    static const char *const whys[] = {"score", "explore", "rule:country", "fail_open:no_model"};
    struct capture_dsp d = {
        .p = NAN, .threshold = NAN, .propensity = 1, .price = NAN, .paid = NAN, .latency_us = -1};
    snprintf(name, 32, "dsp \"%d\"\\\n\x01\xc3\xa4", (int)prng_below(g, 1000));
    d.dsp = bytes_of(name);
    d.sent = prng_below(g, 2) == 0;
    if (prng_below(g, 4) != 0)
        d.why = bytes_of(whys[prng_below(g, LENGTH(whys))]);
    if (prng_below(g, 4) != 0)
        d.p = (double)(float)pow(prng_unit(g), (double)prng_below(g, 12));
    if (prng_below(g, 4) != 0)
        d.threshold = (double)(float)(prng_unit(g) * 0.1);
    if (prng_below(g, 2) == 0)
        d.propensity = (double)(float)(0.001 + 0.999 * prng_unit(g));
    if (!d.sent)
        return d;
    d.outcome = bytes_of(outcomes[prng_below(g, LENGTH(outcomes))]);
    d.latency_us = (int64_t)prng_below(g, 200000);
    if (bytes_is(d.outcome, "bid")) {
        d.price = (double)prng_below(g, 100000000) / 1e6;
        if (prng_below(g, 2) == 0) {
            d.won = true;
            d.paid = (double)prng_below(g, 9000000000000) / 1e6;
        }
    }
    return d;
}

static void assert_dsp(const struct capture_dsp *got, const struct capture_dsp *expected)
{
    assert_bytes(got->dsp, expected->dsp);
    assert_int_equal(got->sent, expected->sent);
    assert_bytes(got->why, expected->why);
    assert_bytes(got->outcome, expected->outcome);
    assert_int_equal(got->latency_us, expected->latency_us);
    assert_int_equal(got->won, expected->won);
    assert_true(same_double((double)(float)got->p, expected->p));
    assert_true(same_double((double)(float)got->threshold, expected->threshold));
    assert_true(same_double((double)(float)got->propensity, expected->propensity));
    assert_true(same_double(got->price, expected->price));
    assert_true(same_double(got->paid, expected->paid));
}

static void test_capture_line_reads_back_equal(void **state)
{
    (void)state;
    enum { RECORDS = 300, DSPS = 12 };
    static const char request[] = "{\"id\":\"a\\n\\u00e4\",\r\n  \"imp\" : [ {\"id\":\"1\"}\n]}\n";
    static const char one_line[] = "{\"id\":\"a\\n\\u00e4\",    \"imp\" : [ {\"id\":\"1\"} ]} ";
    static struct capture_dsp dsps[RECORDS][DSPS];
    static char names[RECORDS][DSPS][32];
    struct text line = {0};
    struct prng g = {11};
    FILE *f = fopen(in_folder("a.ndjson"), "wb");
    assert_non_null(f);
    for (int i = 0; i < RECORDS; i++) {
        text_reset(&line);
        capture_line_begin(&line, 1763760000000 + i,
                           i % 3 == 0 ? (struct bytes){NULL, 0} : bytes_of("a\n\xc3\xa4\"\\"),
                           bytes_of(request), NULL, 0, i % 2 == 0 ? NULL : "2026\"x", (uint64_t)i);
        for (int k = 0; k < i % DSPS; k++) {
            dsps[i][k] = random_dsp(&g, names[i][k]);
            capture_line_dsp(&line, &dsps[i][k]);
        }
        capture_line_end(&line);
        assert_ptr_equal(memchr(line.base, '\n', line.len), line.base + line.len - 1);
        json_t *document = json_loadb(line.base, line.len, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(document);
        json_decref(document);
        fwrite(line.base, 1, line.len, f);
    }
    fclose(f);
    text_dispose(&line);
    struct capture_reader *r = open_one(in_folder("a.ndjson"));
    struct capture_record got;
    struct error err;
    for (int i = 0; i < RECORDS; i++) {
        if (capture_next(r, &got, &err) != 1)
            fail_msg("%s", err.text);
        assert_int_equal(got.ts_ms, 1763760000000 + i);
        assert_int_equal(got.generation, i);
        assert_bytes(got.auction,
                     i % 3 == 0 ? (struct bytes){NULL, 0} : bytes_of("a\n\xc3\xa4\"\\"));
        assert_bytes(got.model, i % 2 == 0 ? (struct bytes){NULL, 0} : bytes_of("2026\"x"));
        assert_true(got.request.len >= strlen(one_line) - 1);
        assert_memory_equal(got.request.base, one_line, strlen(one_line) - 1);
        assert_int_equal(got.n_dsps, i % DSPS);
        for (int k = 0; k < i % DSPS; k++)
            assert_dsp(&got.dsps[k], &dsps[i][k]);
    }
    assert_int_equal(capture_next(r, &got, &err), 0);
    assert_int_equal(capture_next(r, &got, &err), 0);
    capture_reader_close(r);
}

/* One field's text out of a line built with one DSP. */
static void line_of(struct text *line, struct capture_dsp d)
{
    text_reset(line);
    capture_line_begin(line, 0, bytes_of("a"), bytes_of("{}"), NULL, 0, NULL, 0);
    capture_line_dsp(line, &d);
    capture_line_end(line);
    *text_reserve(line, 1) = '\0';
}

static void test_capture_line_numbers_are_short(void **state)
{
    (void)state;
    static const struct {
        float p;
        const char *text;
    } floats[] = {{0.02f, "0.02"},
                  {0.0312f, "0.0312"},
                  {1, "1"},
                  {0, "0"},
                  {0.5f, "0.5"},
                  {0.1f, "0.1"},
                  {1e-7f, "0.0000001"},
                  {1.0f / 3, "0.33333334"},
                  {0.999999f, "0.999999"},
                  {1e-30f, "1.00000000e-30"},
                  {100, "100"},
                  {123456.7f, "123456.7"}};
    static const struct {
        double price;
        const char *text;
    } money[] = {{1.92, "1.92"},         {3.01, "3.01"},
                 {0.000001, "0.000001"}, {10, "10"},
                 {1234.5, "1234.5"},     {0, "0"},
                 {4e6, "4000000"},       {8999999.999999, "8999999.999999"}};
    struct text line = {0};
    struct capture_dsp d = {.dsp = bytes_of("x"),
                            .sent = true,
                            .outcome = bytes_of("bid"),
                            .threshold = NAN,
                            .propensity = 1,
                            .paid = NAN,
                            .latency_us = -1};
    for (size_t i = 0; i < LENGTH(floats); i++) {
        char expected[64];
        d.p = (double)floats[i].p;
        d.price = NAN;
        line_of(&line, d);
        snprintf(expected, sizeof(expected), "\"p\":%s,", floats[i].text);
        if (i == 9) /* far out of range: only that it reads back matters */
            assert_true(strtof(strstr(line.base, "\"p\":") + 4, NULL) == floats[i].p);
        else if (strstr(line.base, expected) == NULL)
            fail_msg("no %s in %s", expected, line.base);
    }
    for (size_t i = 0; i < LENGTH(money); i++) {
        char expected[64];
        d.p = NAN;
        d.price = money[i].price;
        line_of(&line, d);
        snprintf(expected, sizeof(expected), "\"price\":%s}", money[i].text);
        if (strstr(line.base, expected) == NULL)
            fail_msg("no %s in %s", expected, line.base);
    }
    /* Absent is left out. */
    d.price = NAN;
    line_of(&line, d);
    assert_non_null(
        strstr(line.base, "\"dsps\":[{\"dsp\":\"x\",\"sent\":true,\"outcome\":\"bid\"}]}\n"));
    text_dispose(&line);
}

static void test_capture_line_float_round_trip(void **state)
{
    (void)state;
    struct text line = {0};
    struct prng g = {5};
    struct capture_dsp d = {.dsp = bytes_of("x"),
                            .threshold = NAN,
                            .propensity = 1,
                            .price = NAN,
                            .paid = NAN,
                            .latency_us = -1};
    for (int i = 0; i < 30000; i++) {
        union {
            uint32_t bits;
            float f;
        } u = {(uint32_t)prng_next(&g)};
        if (i % 2 == 0)
            u.f = (float)prng_unit(&g);
        d.p = (double)u.f;
        line_of(&line, d);
        const char *at = strstr(line.base, "\"p\":");
        assert_int_equal(at != NULL, isfinite(u.f) != 0);
        if (at == NULL)
            continue;
        assert_true((float)strtod(at + 4, NULL) == u.f);
        assert_true(strcspn(at + 4, ",}") <= 24);
    }
    text_dispose(&line);
}

static void test_capture_line_strings_stay_json(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        size_t len;
        const char *expected;
    } cases[] = {
        {"\xff", 1, "\xef\xbf\xbd"},
        {"a\xc3", 2, "a\xef\xbf\xbd"},
        {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80"},
        {"\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", 4, NULL},
        {"\t\b\x7f", 3, "\t\b\x7f"},
        {"", 0, ""},
        {"\xe2\x80\xa8", 3, "\xe2\x80\xa8"},
    };
    struct text line = {0};
    for (size_t i = 0; i < LENGTH(cases); i++) {
        text_reset(&line);
        capture_line_begin(&line, 0, (struct bytes){cases[i].raw, cases[i].len}, bytes_of("{}"),
                           NULL, 0, NULL, 0);
        capture_line_end(&line);
        json_t *document = json_loadb(line.base, line.len, 0, NULL);
        assert_non_null(document);
        const char *got = json_string_value(json_object_get(document, "auction"));
        assert_non_null(got);
        if (cases[i].expected != NULL)
            assert_string_equal(got, cases[i].expected);
        json_decref(document);
    }
    text_dispose(&line);
}

static void test_capture_line_allocates_nothing_when_warm(void **state)
{
    (void)state;
    struct text line = {0};
    struct capture_dsp d = {.dsp = bytes_of("alpha"),
                            .sent = true,
                            .outcome = bytes_of("bid"),
                            .p = 0.25,
                            .threshold = 0.01,
                            .propensity = 0.5,
                            .price = 1.5,
                            .paid = 1.25,
                            .latency_us = 900,
                            .won = true};
    const char *base = NULL;
    for (int i = 0; i < 3; i++) {
        text_reset(&line);
        capture_line_begin(&line, 1, bytes_of("x"), bytes_of("{\"id\":\"x\"}"), NULL, 0, "m", 1);
        for (int k = 0; k < 100; k++)
            capture_line_dsp(&line, &d);
        capture_line_end(&line);
        assert_true(i == 0 || line.base == base);
        base = line.base;
    }
    text_dispose(&line);
}

/* ---- masking ---- */

static void masked_request(const char *body, bool ip, bool ids, char *out, size_t size)
{
    const struct bid_request r = {.body = bytes_of(body)};
    struct text line = {0};
    struct capture_mask masks[CAPTURE_MASKS_MAX];
    uint32_t n = capture_masks(&r, ip, ids, masks);
    capture_line_begin(&line, 0, bytes_of("a"), bytes_of(body), masks, n, NULL, 0);
    capture_line_end(&line);
    *text_reserve(&line, 1) = '\0';
    const char *from = strstr(line.base, "\"request\":") + strlen("\"request\":");
    const char *to = strstr(from, ",\"dsps\":");
    assert_true((size_t)(to - from) < size);
    memcpy(out, from, (size_t)(to - from));
    out[to - from] = '\0';
    text_dispose(&line);
}

static void test_capture_masks_ip(void **state)
{
    (void)state;
    static const struct {
        const char *ip, *masked;
    } cases[] = {
        {"81.2.69.160", "81.2.69.0"},
        {"255.255.255.255", "255.255.255.0"},
        {"2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:db8:85a3::"},
        {"::1", "::"},
        {"::ffff:81.2.69.160", "::ffff:81.2.69.0"},
        {"fe80::1%eth0", ""},
        {"1.2.3", ""},
        {"not an address at all, and a long one, too, at that", ""},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char body[256], expected[256], got[256];
        snprintf(body, sizeof(body), "{\"device\":{\"ip\":\"%s\",\"w\":1}}", cases[i].ip);
        snprintf(expected, sizeof(expected), "{\"device\":{\"ip\":\"%s\",\"w\":1}}",
                 cases[i].masked);
        masked_request(body, true, true, got, sizeof(got));
        assert_string_equal(got, expected);
        masked_request(body, false, true, got, sizeof(got));
        assert_string_equal(got, body);
    }
}

static void test_capture_masks_ids(void **state)
{
    (void)state;
    static const char body[] = "{\"user\":{\"buyeruid\":\"B-77\",\"id\":\"u1\"},"
                               "\"device\":{\"ifa\":\"00000000-0000-0000-0000-000000000000\","
                               "\"ipv6\":\"2001:db8:1:2::3\",\"ip\":\"10.1.2.3\"}}";
    char got[512], again[512];
    masked_request(body, true, true, got, sizeof(got));
    assert_null(strstr(got, "u1"));
    assert_null(strstr(got, "B-77"));
    assert_non_null(strstr(got, "\"ip\":\"10.1.2.0\""));
    assert_non_null(strstr(got, "\"ipv6\":\"2001:db8:1::\""));
    assert_non_null(strstr(got, "\"ifa\":\"00000000-0000-0000-0000-000000000000\""));
    json_t *document = json_loads(got, 0, NULL);
    assert_non_null(document);
    const char *id = json_string_value(json_object_get(json_object_get(document, "user"), "id"));
    assert_int_equal(strspn(id, "0123456789abcdef"), 16);
    assert_int_equal(strlen(id), 16);
    masked_request(body, true, true, again, sizeof(again));
    assert_string_equal(got, again);
    /* Files depend on the hash: it must never come out differently. */
    assert_string_equal(id, "83a69bab7c9aa3e8");
    json_decref(document);
}

/* Wherever and however an identifier stands. */
static void test_capture_masks_every_place(void **state)
{
    (void)state;
    static const struct {
        const char *body, *masked; /* # = any 16 hex digits */
    } cases[] = {
        {"{\"user\":{\"eids\":[{\"source\":\"s\",\"uids\":[{\"id\":\"SECRET\",\"atype\":1},{\"id\":"
         "\"SECRET2\"}]}]}}",
         "{\"user\":{\"eids\":[{\"source\":\"s\",\"uids\":[{\"id\":\"#\",\"atype\":1},{\"id\":\"#"
         "\"}]}"
         "]}}"},
        {"{\"user\":{\"ext\":{\"eids\":[{\"uids\":[{\"id\":\"SECRET\"}]}],\"consent\":\"C\"}}}",
         "{\"user\":{\"ext\":{\"eids\":[{\"uids\":[{\"id\":\"#\"}]}],\"consent\":\"C\"}}}"},
        {"{\"user\":{\"ext\":{\"prebid\":{\"buyeruids\":{\"a\":\"SECRET\",\"\\u0062\":77,\"c\":"
         "{\"x\":\"SECRET\"},\"d\":\"\"},\"other\":\"kept\"},\"buyeruids\":\"kept\"}}}",
         "{\"user\":{\"ext\":{\"prebid\":{\"buyeruids\":{\"a\":\"#\",\"\\u0062\":\"#\",\"c\":"
         "null,\"d\":\"\"},\"other\":\"kept\"},\"buyeruids\":\"kept\"}}}"},
        {"{\"user\":{\"ext\":{\"prebid\":{\"buyeruids\":\"SECRET\",\"buyeruids\":[\"SECRET\",null]}"
         "}"
         "}}",
         "{\"user\":{\"ext\":{\"prebid\":{\"buyeruids\":\"#\",\"buyeruids\":[\"#\",null]}}}}"},
        {"{\"device\":{\"didsha1\":\"SECRET\",\"macmd5\":\"SECRET\",\"ua\":\"U\"}}",
         "{\"device\":{\"didsha1\":\"#\",\"macmd5\":\"#\",\"ua\":\"U\"}}"},
        {"{\"user\":{\"id\":\"SECRET\",\"id\":\"SECRET\"},\"user\":{\"id\":\"SECRET\"}}",
         "{\"user\":{\"id\":\"#\",\"id\":\"#\"},\"user\":{\"id\":\"#\"}}"},
        {"{\"user\":{\"\\u0069d\":\"SECRET\",\"\\u0069x\":\"kept\"}}",
         "{\"user\":{\"\\u0069d\":\"#\",\"\\u0069x\":\"kept\"}}"},
        {"{\"user\":{\"id\": 12345 ,\"buyeruid\":[\"SECRET\"]}}",
         "{\"user\":{\"id\": \"#\" ,\"buyeruid\":null}}"},
        {"{\"user\":{\"id\":null,\"buyeruid\":\"\"},\"device\":{\"ip\":7,\"ifa\":true}}",
         "{\"user\":{\"id\":null,\"buyeruid\":\"\"},\"device\":{\"ip\":null,\"ifa\":true}}"},
        {"{\"id\":\"kept\",\"site\":{\"id\":\"kept\",\"ip\":\"1.2.3.4\"},\"user\":7,\"device\":[]}",
         "{\"id\":\"kept\",\"site\":{\"id\":\"kept\",\"ip\":\"1.2.3.4\"},\"user\":7,\"device\":[]"
         "}"},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char got[512];
        masked_request(cases[i].body, true, true, got, sizeof(got));
        const char *at = got, *expected = cases[i].masked;
        while (*expected != '\0') {
            size_t step = *expected == '#' ? 16 : 1;
            if (*expected == '#' ? strspn(at, "0123456789abcdef") != 16 : *at != *expected)
                fail_msg("%s became %s", cases[i].body, got);
            expected++;
            at += step;
        }
        assert_int_equal(*at, '\0');
        assert_null(strstr(got, "SECRET"));
    }
}

/* More identifiers than can be listed: then nothing of the request is kept. */
static void test_capture_masks_too_many(void **state)
{
    (void)state;
    for (int n = CAPTURE_MASKS_MAX; n <= CAPTURE_MASKS_MAX + 1; n++) {
        struct text body = {0};
        text_literal(&body, "{\"user\":{\"eids\":[{\"uids\":[");
        for (int i = 0; i < n; i++)
            text_format(&body, "%s{\"id\":\"SECRET%d\"}", i == 0 ? "" : ",", i);
        text_literal(&body, "]}]}}");
        *text_reserve(&body, 1) = '\0';
        char *got = malloc(2 * body.len);
        masked_request(body.base, false, true, got, 2 * body.len);
        assert_null(strstr(got, "SECRET"));
        assert_int_equal(strcmp(got, "{}") == 0, n > CAPTURE_MASKS_MAX);
        free(got);
        text_dispose(&body);
    }
}

/* ---- reading ---- */

static void test_capture_next_minimal_records(void **state)
{
    (void)state;
    put_text(
        "a.ndjson",
        "\xef\xbb\xbf{\"ts\":1763760000123,\"request\":{\"id\":\"1\"},\"dsps\":[{\"dsp\":\"a\","
        "\"sent\":true,\"outcome\":\"bid\"},{\"dsp\":\"b\",\"sent\":false}]}\r\n"
        "\n   \n"
        "{\"x\":{\"y\":[1,{}]},\"dsps\":[],\"request\": {} ,\"ts\":1763760000123.75}\n"
        "{\"ts\":1.763760000123e12,\"request\":{},\"auction\":null,\"model\":null,"
        "\"generation\":null,\"dsps\":[{\"sent\":true,\"outcome\":\"no_bid\",\"dsp\":"
        "\"\\u0061\",\"why\":null,\"p\":null,\"threshold\":null,\"propensity\":null,"
        "\"price\":null,\"paid\":null,\"won\":null,\"latency_us\":null,\"extra\":1}]}\n"
        "{\"v\":1.0,\"ts\":0,\"request\":{}}");
    struct capture_reader *r = open_one(in_folder("a.ndjson"));
    struct capture_record got;
    struct error err;
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 1763760000123);
    assert_null(got.auction.base);
    assert_null(got.model.base);
    assert_int_equal(got.generation, -1);
    assert_bytes(got.request, bytes_of("{\"id\":\"1\"}"));
    assert_int_equal(got.n_dsps, 2);
    assert_bytes(got.dsps[0].dsp, bytes_of("a"));
    assert_true(got.dsps[0].sent);
    assert_bytes(got.dsps[0].outcome, bytes_of("bid"));
    assert_null(got.dsps[0].why.base);
    assert_true(isnan(got.dsps[0].p) && isnan(got.dsps[0].price) && isnan(got.dsps[0].paid));
    assert_true(got.dsps[0].propensity == 1);
    assert_int_equal(got.dsps[0].latency_us, -1);
    assert_false(got.dsps[0].won);
    assert_false(got.dsps[1].sent);
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 1763760000123);
    assert_int_equal(got.n_dsps, 0);
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 1763760000123);
    assert_bytes(got.dsps[0].dsp, bytes_of("a"));
    assert_true(got.dsps[0].propensity == 1);
    assert_int_equal(capture_next(r, &got, &err), 1); /* no line break, but whole */
    assert_int_equal(got.ts_ms, 0);
    assert_int_equal(capture_next(r, &got, &err), 0);
    assert_int_equal(capture_torn(r), 0);
    capture_reader_close(r);
}

static void test_capture_next_names_the_fault(void **state)
{
    (void)state;
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"[]", "a record must be an object"},
        {"17", "a record must be an object"},
        {"{\"request\":{}}", "ts: is missing"},
        {"{\"ts\":1}", "request: is missing"},
        {"{\"ts\":\"1\",\"request\":{}}", "ts: must be a number"},
        {"{\"ts\":-1,\"request\":{}}", "ts: -1 is not between"},
        {"{\"ts\":1e300,\"request\":{}}", "ts: 1e300 is not between"},
        {"{\"ts\":null,\"request\":{}}", "ts: must be a number"},
        {"{\"ts\":1,\"request\":\"{}\"}", "request: must be an object"},
        {"{\"ts\":1,\"request\":null}", "request: must be an object"},
        {"{\"v\":2,\"ts\":1,\"request\":{}}", "v: version 2"},
        {"{\"v\":\"1\",\"ts\":1,\"request\":{}}", "v: must be a number"},
        {"{\"ts\":1,\"request\":{},\"dsps\":{}}", "dsps: must be an array"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[1]}", "dsps[0]: must be an object"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"sent\":false}]}", "dsps[0].dsp: is missing"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"\",\"sent\":false}]}",
         "dsps[0].dsp: must not be empty"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false},{\"dsp\":\"a\"}]}",
         "dsps[1].sent: is missing"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":1}]}",
         "dsps[0].sent: must be true or false"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":true}]}",
         "dsps[0].outcome: is missing"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":true,\"outcome\":\"won\"}]}",
         "dsps[0].outcome: must be bid"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false,\"outcome\":\"bid\"}]}",
         "dsps[0].outcome: cannot be"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":true,\"outcome\":\"bid\","
         "\"propensity\":0}]}",
         "dsps[0].propensity: must be above 0"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false,\"p\":1.5}]}",
         "dsps[0].p: 1.5 is not between 0 and 1"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false,\"propensity\":2}]}",
         "dsps[0].propensity: 2 is not between"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false,\"price\":-1}]}",
         "dsps[0].price: -1 is not between"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false,\"won\":0}]}",
         "dsps[0].won: must be true or false"},
        {"{\"ts\":1,\"request\":{},\"dsps\":[{\"dsp\":\"a\",\"sent\":false,\"latency_us\":\"1\"}]}",
         "dsps[0].latency_us: must be a number"},
        {"{\"ts\":1,\"request\":{},}", "not JSON at byte"},
        {"{\"ts\":1,\"request\":{}} x", "not JSON at byte"},
        {"{\"ts\":1,\"request\":{\"a\":01}}", "not JSON at byte"},
        {"{\"ts\":1,\"request\":{}", "not JSON at byte"},
        {"{\"ts\":1,\"request\":{\"a\":\"\xff\"}}", "not JSON at byte"},
        {"nonsense", "not JSON at byte"},
    };
    static const char good[] = "{\"ts\":1,\"request\":{}}\n";
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char file[1024], expected[600];
        struct error err = {""};
        struct capture_record got;
        snprintf(file, sizeof(file), "%s%s\n%s", good, cases[i].line, good);
        put_text("a.ndjson", file);
        struct capture_reader *r = open_one(in_folder("a.ndjson"));
        assert_int_equal(capture_next(r, &got, &err), 1);
        if (capture_next(r, &got, &err) != -1)
            fail_msg("accepted: %s", cases[i].line);
        snprintf(expected, sizeof(expected), "%s:2: ", in_folder("a.ndjson"));
        if (strncmp(err.text, expected, strlen(expected)) != 0 ||
            strstr(err.text, cases[i].expected) == NULL)
            fail_msg("%s: said '%s'", cases[i].line, err.text);
        assert_int_equal(capture_next(r, &got, &err), 1); /* reading goes on */
        assert_int_equal(capture_next(r, &got, &err), 0);
        assert_int_equal(capture_torn(r), 0);
        capture_reader_close(r);
    }
}

/* A record cut at every byte, behind two whole ones: the whole ones come, the cut one is counted
 * (or comes, when only its line break is lost). */
static void test_capture_next_cut_at_every_byte(void **state)
{
    (void)state;
    static const char whole[] = "{\"ts\":1,\"request\":{\"id\":\"x\"},\"dsps\":[{\"dsp\":\"a\","
                                "\"sent\":true,\"outcome\":\"bid\",\"price\":1.5}]}\n";
    size_t len = strlen(whole);
    char file[512];
    memcpy(file, whole, len);
    memcpy(file + len, whole, len);
    memcpy(file + 2 * len, whole, len);
    for (size_t cut = 0; cut <= len; cut++) {
        put_file("a.ndjson", file, 2 * len + cut);
        struct tally t = read_all(in_folder("a.ndjson"));
        assert_int_equal(t.faults, 0);
        assert_int_equal(t.records, cut >= len - 1 ? 3 : 2);
        assert_int_equal(t.torn, cut > 0 && cut < len - 1);
    }
}

static size_t records_text(struct text *out, int n)
{
    for (int i = 0; i < n; i++)
        text_format(
            out,
            "{\"ts\":%d,\"request\":{\"id\":\"%x\"},\"dsps\":[{\"dsp\":\"a\",\"sent\":false}]"
            "}\n",
            i, i * 2654435761u);
    return out->len;
}

/* A zstd segment cut at every byte: no faults; at least all records of the flushes before the cut;
 * and never more torn than one. */
static void test_capture_next_zstd_cut_at_every_byte(void **state)
{
    (void)state;
    enum { FLUSHES = 4, EACH = 8 };
    struct text plain = {0}, packed = {0};
    size_t flushed_at[FLUSHES + 1] = {0};
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    for (int i = 0; i < FLUSHES; i++) {
        text_reset(&plain);
        records_text(&plain, EACH);
        size_t bound = ZSTD_compressBound(plain.len) + 1024;
        ZSTD_inBuffer in = {plain.base, plain.len, 0};
        ZSTD_outBuffer out = {text_reserve(&packed, bound), bound, 0};
        /* Two frames of two flushes each. */
        assert_int_equal(
            ZSTD_compressStream2(zstd, &out, &in, i % 2 == 0 ? ZSTD_e_flush : ZSTD_e_end), 0);
        packed.len += out.pos;
        flushed_at[i + 1] = packed.len;
    }
    ZSTD_freeCCtx(zstd);
    for (size_t cut = 0; cut <= packed.len; cut++) {
        put_file("a.ndjson.zst", packed.base, cut);
        struct tally t = read_all(in_folder("a.ndjson.zst"));
        int whole = 0;
        while (whole < FLUSHES && flushed_at[whole + 1] <= cut)
            whole++;
        if (t.faults != 0)
            fail_msg("cut at %zu: %s", cut, t.first_fault);
        assert_true(t.records >= (uint64_t)whole * EACH);
        assert_true(t.records <= (uint64_t)(whole + 1) * EACH);
        assert_true(t.torn <= 1);
        if (cut == packed.len)
            assert_int_equal(t.torn, 0);
    }
    text_dispose(&plain);
    text_dispose(&packed);
}

static void test_capture_next_broken_zstd_is_a_fault(void **state)
{
    (void)state;
    struct text plain = {0};
    records_text(&plain, 2000);
    size_t size = ZSTD_compressBound(plain.len);
    char *packed = malloc(size);
    size_t len = ZSTD_compress(packed, size, plain.base, plain.len, 1);
    assert_false(ZSTD_isError(len));
    struct prng g = {2};
    for (int i = 0; i < 200; i++) {
        char *copy = malloc(len);
        memcpy(copy, packed, len);
        copy[4 + prng_below(&g, len - 4)] ^= (char)(1 + prng_below(&g, 255));
        put_file("a.ndjson.zst", copy, len);
        struct tally t = read_all(in_folder("a.ndjson.zst")); /* must end, whatever it says */
        assert_true(t.records <= 2000);
        free(copy);
    }
    /* Garbage behind a whole frame: its records come, then the fault. */
    char *tail = calloc(1, len + 64);
    memcpy(tail, packed, len);
    put_file("a.ndjson.zst", tail, len + 64);
    struct tally t = read_all(in_folder("a.ndjson.zst"));
    assert_int_equal(t.records, 2000);
    assert_int_equal(t.faults, 1);
    assert_non_null(strstr(t.first_fault, "broken zstd data"));
    free(tail);
    free(packed);
    text_dispose(&plain);
}

static void test_capture_next_gzip(void **state)
{
    (void)state;
    struct text plain = {0};
    records_text(&plain, 5000);
    for (int member = 0; member < 2; member++) {
        gzFile f = gzopen(in_folder("a.jsonl.gz"), member == 0 ? "wb" : "ab");
        assert_non_null(f);
        assert_int_equal(gzwrite(f, plain.base, (unsigned)plain.len), plain.len);
        gzclose(f);
    }
    struct tally t = read_all(folder);
    assert_int_equal(t.records, 10000);
    assert_int_equal(t.faults, 0);
    assert_int_equal(t.torn, 0);
    struct stat st;
    assert_int_equal(stat(in_folder("a.jsonl.gz"), &st), 0);
    assert_int_equal(truncate(in_folder("a.jsonl.gz"), st.st_size - 100), 0);
    t = read_all(folder);
    assert_true(t.records > 5000 && t.records < 10000);
    assert_int_equal(t.faults, 0);
    assert_int_equal(t.torn, 1);
    text_dispose(&plain);
}

/* By content, not by name; line numbers and lengths across the buffers' edges. */
static void test_capture_next_lines_of_all_lengths(void **state)
{
    (void)state;
    struct text file = {0};
    struct prng g = {9};
    int n = 0;
    while (file.len < 3 << 20) {
        text_format(&file, "{\"ts\":%d,\"request\":{\"pad\":\"", n++);
        size_t pad = prng_below(&g, n % 50 == 0 ? 400000 : 3000);
        memset(text_reserve(&file, pad), 'x', pad);
        file.len += pad;
        text_literal(&file, "\"}}\n");
    }
    text_literal(&file, "{\"ts\":-1}\n");
    size_t size = ZSTD_compressBound(file.len);
    char *packed = malloc(size);
    size_t len = ZSTD_compress(packed, size, file.base, file.len, 1);
    put_file("plain.zst", file.base, file.len);
    put_file("packed.ndjson", packed, len);
    const char *const names[] = {"plain.zst", "packed.ndjson"};
    for (int k = 0; k < 2; k++) {
        struct capture_reader *r = open_one(in_folder(names[k]));
        struct capture_record got;
        struct error err;
        double before = 0;
        for (int i = 0; i < n; i++) {
            assert_int_equal(capture_next(r, &got, &err), 1);
            assert_int_equal(got.ts_ms, i);
            assert_true(capture_progress(r) >= before && capture_progress(r) <= 1);
            before = capture_progress(r);
        }
        assert_int_equal(capture_next(r, &got, &err), -1);
        char expected[64];
        snprintf(expected, sizeof(expected), "%s:%d: ts:", names[k], n + 1);
        assert_non_null(strstr(err.text, expected));
        assert_int_equal(capture_next(r, &got, &err), 0);
        capture_reader_close(r);
    }
    free(packed);
    text_dispose(&file);
}

static void test_capture_next_line_too_long(void **state)
{
    (void)state;
    static const char good[] = "{\"ts\":1,\"request\":{}}\n";
    FILE *f = fopen(in_folder("a.ndjson"), "wb");
    assert_non_null(f);
    char *block = malloc(1 << 20);
    memset(block, ' ', 1 << 20);
    fputs(good, f);
    for (int i = 0; i < 40; i++)
        fwrite(block, 1, 1 << 20, f);
    fputs("\n", f);
    fputs(good, f);
    for (int i = 0; i < 15; i++) /* within the limit: blank */
        fwrite(block, 1, 1 << 20, f);
    fputs(good, f);
    fclose(f);
    free(block);
    struct tally t = read_all(in_folder("a.ndjson"));
    assert_int_equal(t.records, 3);
    assert_int_equal(t.faults, 1);
    assert_non_null(strstr(t.first_fault, "a.ndjson:2: line longer than 16 MB"));
}

static void test_capture_reader_directory(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int ts; /* in the order of names; -1 = must not be read */
    } files[] = {{"b.ndjson", 2},       {"a.jsonl", 1}, {"c.ndjson.tmp", -1}, {".d.ndjson", -1},
                 {"e.ndjson.part", -1}, {"notes", -1},  {"z.ndjson", 3},      {"ndjson", -1},
                 {".ndjson", -1},       {"x.zst", -1},  {"0.ndjson.zst", 0}};
    for (size_t i = 0; i < LENGTH(files); i++) {
        char line[64];
        snprintf(line, sizeof(line), "{\"ts\":%d,\"request\":{}}\n", files[i].ts);
        put_text(files[i].name, line);
    }
    assert_int_equal(mkdir(in_folder("sub.ndjson"), 0755), 0);
    put_text("empty.ndjson", "");
    struct capture_reader *r = open_one(folder);
    struct capture_record got;
    struct error err;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(capture_next(r, &got, &err), 1);
        assert_int_equal(got.ts_ms, i);
    }
    assert_int_equal(capture_next(r, &got, &err), 0);
    capture_reader_close(r);
    /* A file that is named is read, whatever its name; several paths in the order given. */
    const char *paths[] = {in_folder("z.ndjson"), in_folder("a.jsonl")};
    r = capture_reader_open(paths, 2, &err);
    assert_non_null(r);
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 3);
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 1);
    capture_reader_close(r);
}

static void test_capture_reader_open_faults(void **state)
{
    (void)state;
    struct error err;
    const char *path = in_folder("absent");
    assert_null(capture_reader_open(&path, 1, &err));
    assert_non_null(strstr(err.text, "absent: No such file"));
    path = folder;
    assert_null(capture_reader_open(&path, 1, &err));
    assert_non_null(strstr(err.text, "holds no capture segment"));
    capture_reader_close(NULL);
    /* A file that goes away before its turn is one fault; the next is read. */
    put_text("a.ndjson", "{\"ts\":1,\"request\":{}}\n");
    put_text("b.ndjson", "{\"ts\":2,\"request\":{}}\n");
    struct capture_reader *r = open_one(folder);
    unlink(in_folder("a.ndjson"));
    struct capture_record got;
    assert_int_equal(capture_next(r, &got, &err), -1);
    assert_non_null(strstr(err.text, "a.ndjson: cannot open"));
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 2);
    assert_int_equal(capture_next(r, &got, &err), 0);
    capture_reader_close(r);
}

static void test_capture_reader_standard_input(void **state)
{
    (void)state;
    put_text("a", "{\"ts\":7,\"request\":{}}\n{\"ts\":\"x\"}\n");
    int keep = dup(STDIN_FILENO), fd = open(in_folder("a"), O_RDONLY);
    dup2(fd, STDIN_FILENO);
    close(fd);
    struct capture_reader *r = open_one("-");
    struct capture_record got;
    struct error err;
    assert_int_equal(capture_next(r, &got, &err), 1);
    assert_int_equal(got.ts_ms, 7);
    assert_int_equal(capture_next(r, &got, &err), -1);
    assert_string_equal(err.text, "standard input:2: ts: must be a number");
    assert_int_equal(capture_next(r, &got, &err), 0);
    assert_true(capture_progress(r) == 1);
    capture_reader_close(r);
    dup2(keep, STDIN_FILENO);
    close(keep);
}

/* ---- writing ---- */

static struct capture_options options(bool compress)
{
    struct capture_options o = {.directory = folder,
                                .compress = compress,
                                .segment_bytes_max = 64 << 20,
                                .segment_seconds_max = 3600,
                                .queue_bytes_max = 16 << 20,
                                .directory_bytes_max = 0};
    return o;
}

static struct capture_writer *writer(const struct capture_options *o)
{
    struct error err = {""};
    struct capture_writer *w = capture_writer_create(o, &err);
    if (w == NULL)
        fail_msg("%s", err.text);
    return w;
}

static bool append_record(struct capture_writer *w, int ts, size_t pad)
{
    struct text line = {0};
    text_format(&line, "{\"ts\":%d,\"request\":{\"pad\":\"", ts);
    memset(text_reserve(&line, pad), 'y', pad);
    line.len += pad;
    text_literal(&line, "\"}}\n");
    bool ok = capture_append(w, text_bytes(&line));
    text_dispose(&line);
    return ok;
}

struct appender {
    struct capture_writer *writer;
    int from, n;
};

static void *append_many(void *arg)
{
    struct appender *a = arg;
    for (int i = 0; i < a->n; i++)
        assert_true(append_record(a->writer, a->from + i, (size_t)(i % 700)));
    return NULL;
}

static void test_capture_writer_many_threads(void **state)
{
    (void)state;
    enum { THREADS = 4, EACH = 2000 };
    for (int compress = 0; compress < 2; compress++) {
        struct capture_options o = options(compress);
        struct capture_writer *w = writer(&o);
        struct appender a[THREADS];
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) {
            a[i] = (struct appender){w, i * EACH, EACH};
            assert_int_equal(pthread_create(&threads[i], NULL, append_many, &a[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        capture_flush(w);
        struct capture_stats stats;
        capture_stats(w, &stats);
        assert_int_equal(stats.records, THREADS * EACH);
        assert_int_equal(stats.dropped, 0);
        assert_int_equal(stats.write_errors, 0);
        assert_true(stats.bytes_written > 0);
        /* Flushed: all can be read though the segment is still open. */
        assert_int_equal(read_all(folder).records, THREADS * EACH);
        capture_writer_destroy(w);

        static bool seen[THREADS * EACH];
        memset(seen, 0, sizeof(seen));
        int last[THREADS] = {-1, -1, -1, -1};
        struct capture_reader *r = open_one(folder);
        struct capture_record got;
        struct error err;
        while (capture_next(r, &got, &err) == 1) {
            assert_false(seen[got.ts_ms]);
            seen[got.ts_ms] = true;
            int thread = (int)got.ts_ms / EACH; /* a thread's lines keep their order */
            assert_true((int)got.ts_ms % EACH > last[thread]);
            last[thread] = (int)got.ts_ms % EACH;
        }
        assert_int_equal(capture_torn(r), 0);
        capture_reader_close(r);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(last[i], EACH - 1);
        char names[16][256];
        size_t n = list_folder(names, 16);
        assert_int_equal(n, 1);
        assert_non_null(strstr(names[0], compress ? "Z-" : ".ndjson"));
        assert_int_equal(strstr(names[0], ".zst") != NULL, compress);
        unlink(in_folder(names[0]));
    }
}

static void test_capture_writer_no_records_no_file(void **state)
{
    (void)state;
    char names[4][256];
    struct capture_options o = options(true);
    struct capture_writer *w = writer(&o);
    capture_flush(w);
    capture_flush(w);
    capture_writer_destroy(w);
    capture_writer_destroy(NULL);
    assert_int_equal(list_folder(names, 4), 0);
}

static void test_capture_writer_rotates_by_size(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        struct capture_options o = options(compress);
        o.segment_bytes_max = 10000;
        struct capture_writer *w = writer(&o);
        for (int i = 0; i < 200; i++)
            assert_true(append_record(w, i, 500));
        assert_true(append_record(w, 200, 50000)); /* alone in its segment */
        assert_true(append_record(w, 201, 10));
        capture_writer_destroy(w);
        char names[64][256];
        size_t n = list_folder(names, 64);
        assert_true(n >= 12 && n <= 16);
        struct capture_reader *r = open_one(folder);
        struct capture_record got;
        struct error err;
        for (int i = 0; i < 202; i++) { /* names sort as they were written */
            assert_int_equal(capture_next(r, &got, &err), 1);
            assert_int_equal(got.ts_ms, i);
        }
        assert_int_equal(capture_next(r, &got, &err), 0);
        capture_reader_close(r);
        for (size_t i = 0; i < n; i++) {
            struct stat st;
            assert_int_equal(stat(in_folder(names[i]), &st), 0);
            assert_true(st.st_size <= 10000 || strcmp(names[i], names[n - 2]) == 0);
            assert_int_equal(st.st_mode & 07, 0); /* personal data: not for everyone */
            unlink(in_folder(names[i]));
        }
    }
}

static void test_capture_writer_rotates_by_time(void **state)
{
    (void)state;
    struct capture_options o = options(true);
    o.segment_seconds_max = 1;
    struct capture_writer *w = writer(&o);
    append_record(w, 1, 0);
    capture_flush(w);
    char names[8][256];
    struct tally t;
    int waited = 0;
    do { /* closed by the clock alone: then its frame has an end */
        usleep(100000);
        t = read_all(folder);
        assert_int_equal(t.records, 1);
    } while (t.torn != 0 && ++waited < 100);
    assert_int_equal(t.torn, 0);
    append_record(w, 2, 0);
    capture_writer_destroy(w);
    assert_int_equal(list_folder(names, 8), 2);
    assert_int_equal(read_all(folder).records, 2);
}

static void test_capture_writer_two_in_a_second(void **state)
{
    (void)state;
    char names[16][256];
    struct capture_options o = options(false);
    for (int i = 0; i < 5; i++) {
        struct capture_writer *w = writer(&o);
        append_record(w, i, 0);
        capture_writer_destroy(w);
    }
    assert_int_equal(list_folder(names, 16), 5);
    assert_int_equal(read_all(folder).records, 5);
}

static void test_capture_append_bounded(void **state)
{
    (void)state;
    struct capture_options o = options(false);
    o.queue_bytes_max = 2000;
    struct capture_writer *w = writer(&o);
    assert_false(append_record(w, 0, 3000)); /* never fits */
    uint64_t kept = 0, refused = 1;
    for (int i = 0; i < 2000; i++) {
        if (append_record(w, i, 300))
            kept++;
        else
            refused++;
    }
    capture_flush(w);
    struct capture_stats stats;
    capture_stats(w, &stats);
    assert_true(refused > 1);
    assert_int_equal(stats.dropped, refused);
    assert_int_equal(stats.records, kept);
    assert_true(append_record(w, 1, 300)); /* there is room again */
    capture_writer_destroy(w);
    assert_int_equal(read_all(folder).records, kept + 1);
}

static void test_capture_writer_deletes_the_oldest(void **state)
{
    (void)state;
    /* Not ours, though it sorts first: someone's converted log stays. */
    put_text("00000000.ndjson", "{\"ts\":0,\"request\":{}}\n");
    put_text("20200101T000000Z-1-000000.ndjson", "{\"ts\":0,\"request\":{}}\n"); /* ours, of old */
    struct capture_options o = options(false);
    o.segment_bytes_max = 10000;
    o.directory_bytes_max = 50000;
    struct capture_writer *w = writer(&o);
    for (int i = 1; i <= 500; i++) {
        assert_true(append_record(w, i, 500));
        if (i % 10 == 0)
            capture_flush(w);
    }
    capture_writer_destroy(w);
    char names[64][256];
    size_t n = list_folder(names, 64);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        assert_int_equal(stat(in_folder(names[i]), &st), 0);
        total += (uint64_t)st.st_size;
    }
    assert_true(total <= 50000 + 100);
    assert_true(n >= 4);
    assert_string_equal(names[0], "00000000.ndjson");
    assert_true(strcmp(names[1], "20200101T000000Z-1-000000.ndjson") != 0);
    /* What is left are the youngest, without a gap. */
    struct capture_reader *r = open_one(folder);
    struct capture_record got;
    struct error err;
    assert_int_equal(capture_next(r, &got, &err), 1);
    int64_t before = -1;
    while (capture_next(r, &got, &err) == 1) {
        assert_true(before < 0 || got.ts_ms == before + 1);
        before = got.ts_ms;
    }
    assert_int_equal(before, 500);
    capture_reader_close(r);
}

static void test_capture_writer_create_faults(void **state)
{
    (void)state;
    struct error err;
    struct capture_options o = options(false);
    put_text("file", "x");
    o.directory = in_folder("file");
    assert_null(capture_writer_create(&o, &err));
    assert_non_null(strstr(err.text, "/file: "));
    o.directory = in_folder("file/below");
    assert_null(capture_writer_create(&o, &err));
    char deep[512];
    snprintf(deep, sizeof(deep), "%s/a/b/c", folder);
    o.directory = deep;
    struct capture_writer *w = writer(&o);
    append_record(w, 1, 0);
    capture_writer_destroy(w);
    assert_int_equal(read_all(deep).records, 1);
}

/* The directory is taken away and given back. */
static void test_capture_writer_survives_a_lost_directory(void **state)
{
    (void)state;
    char directory[512];
    snprintf(directory, sizeof(directory), "%s/d", folder);
    struct capture_options o = options(true);
    o.directory = directory;
    o.segment_bytes_max = 2000; /* so that the next record needs a new segment */
    struct capture_writer *w = writer(&o);
    assert_true(append_record(w, 1, 1900));
    capture_flush(w);
    remove_tree(directory);
    put_text("d", "a file in its way");
    assert_true(append_record(w, 2, 1900));
    capture_flush(w); /* does not hang */
    struct capture_stats stats;
    capture_stats(w, &stats);
    assert_int_equal(stats.records, 1);
    assert_int_equal(stats.dropped, 1);
    assert_true(stats.write_errors >= 1);
    assert_non_null(strstr(stats.last_error, directory));
    unlink(directory);
    assert_true(append_record(w, 3, 0));
    capture_flush(w);
    capture_stats(w, &stats);
    assert_int_equal(stats.records, 2);
    capture_writer_destroy(w);
    struct tally t = read_all(directory);
    assert_int_equal(t.records, 1);
    assert_int_equal(t.faults + t.torn, 0);
}

/* The open segment is deleted under the writer, with its folder: the next records have a new one at
 * once, not when the old one's hour is over. */
static void test_capture_writer_survives_a_deleted_segment(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        char directory[512];
        snprintf(directory, sizeof(directory), "%s/e%d", folder, compress);
        struct capture_options o = options(compress == 1);
        o.directory = directory;
        struct capture_writer *w = writer(&o);
        assert_true(append_record(w, 1, 0));
        capture_flush(w);
        remove_tree(directory);
        capture_flush(w);
        struct capture_stats stats;
        capture_stats(w, &stats);
        assert_int_equal(stats.write_errors, 1);
        assert_non_null(strstr(stats.last_error, "deleted"));
        assert_true(append_record(w, 2, 0));
        capture_flush(w);
        capture_writer_destroy(w);
        assert_int_equal(read_all(directory).records, 1);
    }
}

/* While the disk fails, what fits waits in the queue, and is there when it works again. */
static void test_capture_writer_keeps_the_queue(void **state)
{
    (void)state;
    char directory[512];
    snprintf(directory, sizeof(directory), "%s/d", folder);
    struct capture_options o = options(false);
    o.directory = directory;
    struct capture_writer *w = writer(&o);
    rmdir(directory);
    put_text("d", "a file in its way");
    struct capture_stats stats;
    for (int i = 0; i < 50; i++)
        assert_true(append_record(w, i, 100));
    int waited = 0;
    do {
        usleep(50000);
        capture_stats(w, &stats);
    } while (stats.write_errors == 0 && ++waited < 200);
    assert_true(stats.write_errors > 0);
    assert_int_equal(stats.records + stats.dropped, 0);
    unlink(directory);
    capture_flush(w);
    capture_stats(w, &stats);
    assert_int_equal(stats.records, 50);
    assert_int_equal(stats.dropped, 0);
    capture_writer_destroy(w);
    assert_int_equal(read_all(directory).records, 50);
}

/* A full disk, as a limit on the size of files: what could not be written whole is cut off and
 * counted; the next segments go on. In a process of its own, as the limit is the process's. */
static void test_capture_writer_survives_a_full_disk(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct rlimit limit = {30000, 30000};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &limit);
            struct capture_options o = options(compress);
            struct capture_writer *w = capture_writer_create(&o, NULL);
            struct prng g = {4};
            for (int i = 0; i < 300; i++) {
                char line[1200];
                int at = snprintf(line, sizeof(line), "{\"ts\":%d,\"request\":{\"x\":\"", i);
                while (at < 1000) /* does not compress well */
                    at += snprintf(line + at, sizeof(line) - (size_t)at, "%016llx",
                                   (unsigned long long)prng_next(&g));
                at += snprintf(line + at, sizeof(line) - (size_t)at, "\"}}\n");
                capture_append(w, (struct bytes){line, (size_t)at});
                if (i % 10 == 9)
                    capture_flush(w);
            }
            capture_flush(w);
            struct capture_stats stats;
            capture_stats(w, &stats);
            capture_writer_destroy(w);
            bool good = stats.records + stats.dropped == 300 && stats.dropped > 0 &&
                        stats.records > 100 && stats.write_errors > 0 &&
                        strstr(stats.last_error, "cannot write") != NULL;
            char note[64];
            snprintf(note, sizeof(note), "%llu", (unsigned long long)stats.records);
            FILE *f = fopen(in_folder("records"), "w");
            fputs(note, f);
            fclose(f);
            _exit(good ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        FILE *f = fopen(in_folder("records"), "r");
        unsigned long long records;
        assert_int_equal(fscanf(f, "%llu", &records), 1);
        fclose(f);
        struct tally t = read_all(folder);
        assert_int_equal(t.faults, 0);
        assert_int_equal(t.records, records);
        remove_tree(folder);
        mkdir(folder, 0755);
    }
}

/* kill -9 while writing: what was flushed is there, and nothing of it is a fault. */
static void test_capture_writer_killed(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct capture_options o = options(compress);
            struct capture_writer *w = capture_writer_create(&o, NULL);
            for (int i = 0; i < 1000; i++)
                append_record(w, i, 200);
            capture_flush(w);
            if (write(pipes[1], "x", 1) != 1)
                _exit(1);
            for (int i = 1000;; i++)
                append_record(w, i, 200);
        }
        char byte;
        assert_int_equal(read(pipes[0], &byte, 1), 1);
        usleep(20000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(pipes[0]);
        close(pipes[1]);
        struct tally t = read_all(folder);
        assert_true(t.records >= 1000);
        assert_int_equal(t.faults, 0);
        assert_true(t.torn <= 1);
        remove_tree(folder);
        mkdir(folder, 0755);
    }
}

/* ---- the corpus, when there is one ---- */

/* Every real request becomes a line that reads back as the same request, masked or not. */
static void test_capture_corpus_requests(void **state)
{
    (void)state;
    const char *corpus = getenv("BIDSIEVE_CORPUS");
    if (corpus == NULL) {
        print_message("skipped: BIDSIEVE_CORPUS is not set\n");
        skip();
    }
    char path[1024];
    snprintf(path, sizeof(path), "%s/openrtb/requests.ndjson", corpus);
    struct error err = {""};
    struct lines *lines = lines_open(path, &err);
    if (lines == NULL)
        fail_msg("%s", err.text);
    struct bytes text;
    struct arena arena = {0};
    struct text line = {0};
    bool ended;
    int n = 0;
    while (lines_next(lines, &text, &ended, &err) == 1) {
        json_t *entry = json_loadb(text.base, text.len, 0, NULL);
        assert_non_null(entry);
        char *body = json_dumps(json_object_get(entry, "body"), JSON_INDENT(2));
        struct bid_request r;
        struct bid_request_error why;
        arena_reset(&arena, 1 << 20);
        if (bid_request_scan(&r, bytes_of(body), 0, &arena, &why)) {
            struct capture_mask masks[CAPTURE_MASKS_MAX];
            for (int masked = 0; masked < 2; masked++) {
                text_reset(&line);
                uint32_t n_masks = capture_masks(&r, masked, masked, masks);
                capture_line_begin(&line, 5, r.id, r.body, masks, n_masks, NULL, 0);
                capture_line_end(&line);
                put_file("a.ndjson", line.base, line.len);
                struct capture_reader *reader = open_one(in_folder("a.ndjson"));
                struct capture_record got;
                if (capture_next(reader, &got, &err) != 1)
                    fail_msg("%s", err.text);
                assert_bytes(got.auction, r.id);
                json_t *again = json_loadb(got.request.base, got.request.len, 0, NULL);
                assert_non_null(again);
                if (!masked)
                    assert_true(json_equal(again, json_object_get(entry, "body")));
                json_decref(again);
                capture_reader_close(reader);
            }
            n++;
        }
        free(body);
        json_decref(entry);
    }
    assert_true(n > 100);
    lines_close(lines);
    arena_dispose(&arena);
    text_dispose(&line);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_capture_line_reads_back_equal),
        TEST(test_capture_line_numbers_are_short),
        TEST(test_capture_line_float_round_trip),
        TEST(test_capture_line_strings_stay_json),
        TEST(test_capture_line_allocates_nothing_when_warm),
        TEST(test_capture_masks_ip),
        TEST(test_capture_masks_ids),
        TEST(test_capture_masks_every_place),
        TEST(test_capture_masks_too_many),
        TEST(test_capture_next_minimal_records),
        TEST(test_capture_next_names_the_fault),
        TEST(test_capture_next_cut_at_every_byte),
        TEST(test_capture_next_zstd_cut_at_every_byte),
        TEST(test_capture_next_broken_zstd_is_a_fault),
        TEST(test_capture_next_gzip),
        TEST(test_capture_next_lines_of_all_lengths),
        TEST(test_capture_next_line_too_long),
        TEST(test_capture_reader_directory),
        TEST(test_capture_reader_open_faults),
        TEST(test_capture_reader_standard_input),
        TEST(test_capture_writer_many_threads),
        TEST(test_capture_writer_no_records_no_file),
        TEST(test_capture_writer_rotates_by_size),
        TEST(test_capture_writer_rotates_by_time),
        TEST(test_capture_writer_two_in_a_second),
        TEST(test_capture_append_bounded),
        TEST(test_capture_writer_deletes_the_oldest),
        TEST(test_capture_writer_create_faults),
        TEST(test_capture_writer_survives_a_lost_directory),
        TEST(test_capture_writer_survives_a_deleted_segment),
        TEST(test_capture_writer_keeps_the_queue),
        TEST(test_capture_writer_survives_a_full_disk),
        TEST(test_capture_writer_killed),
        TEST(test_capture_corpus_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
