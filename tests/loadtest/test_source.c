#include "world_fixture.h"

#include <unistd.h>
#include <zlib.h>

#include "loadtest/source.h"

static void test_line_body(void **state)
{
    static const struct {
        const char *line, *body;
        int64_t ts;
    } CASES[] = {
        {"{\"id\":\"1\",\"imp\":[]}", NULL, -1},
        {"{\"src\":\"a\",\"body\":{\"id\":\"1\"}}", "{\"id\":\"1\"}", -1},
        {"{\"body\": {\"id\":\"1\"} ,\"src\":\"a\"}", "{\"id\":\"1\"}", -1},
        {"{\"v\":1,\"ts\":17,\"request\":{\"id\":\"2\"},\"dsps\":[]}", "{\"id\":\"2\"}", 17},
        {"{\"ts\":17,\"body\":{\"id\":\"2\"}}", "{\"id\":\"2\"}", -1},
        /* A request may have members of these names. */
        {"{\"id\":\"1\",\"body\":{},\"imp\":[]}", NULL, -1},
        {"{\"id\":\"1\",\"imp\":[],\"request\":{},\"ts\":5}", NULL, -1},
        {"{\"request\":{\"id\":\"2\"}}", NULL, -1},
        {"{\"src\":\"a\",\"body\":\"text\"}", NULL, -1},
        {"not json at all", NULL, -1},
        {"{\"src\":\"a\",\"body\":{\"id\"", NULL, -1},
        {"[1]", NULL, -1},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        int64_t ts = 0;
        struct bytes body = source_line_body(bytes_of(CASES[i].line), &ts);
        const char *wanted = CASES[i].body != NULL ? CASES[i].body : CASES[i].line;
        if (!bytes_is(body, wanted) || ts != CASES[i].ts)
            fail_msg("%s: %.*s at %lld", CASES[i].line, (int)body.len, body.base, (long long)ts);
    }
}

static char path[] = "/tmp/bidsieve-source-XXXXXX";

static void write_file(const char *text, size_t len, bool gzip)
{
    gzFile f = gzopen(path, gzip ? "wb" : "wbT");
    assert_non_null(f);
    if (len > 0)
        assert_int_equal(gzwrite(f, text, (unsigned)len), len);
    gzclose(f);
}

static uint32_t read_all(bool repeat, uint32_t max, char *joined)
{
    struct error err = {""};
    struct source *s = source_open_file(path, repeat, &err);
    assert_non_null(s);
    struct source_item item;
    uint32_t n = 0;
    joined[0] = '\0';
    while (n < max && source_next(s, &item, &err) == 1) {
        sprintf(joined + strlen(joined), "%.*s;", (int)item.body.len, item.body.base);
        n++;
    }
    source_close(s);
    return n;
}

static void test_files(void **state)
{
    static const struct {
        const char *text;
        bool repeat;
        const char *reads;
    } CASES[] = {
        {"{\"a\":1}\n{\"b\":2}\n", false, "{\"a\":1};{\"b\":2};"},
        {"{\"a\":1}\r\n\n{\"b\":2}", false, "{\"a\":1};{\"b\":2};"},
        {"{\"a\":1}\n{\"b\":2}\n", true, "{\"a\":1};{\"b\":2};{\"a\":1};{\"b\":2};{\"a\":1};"},
        {"", false, ""},
        {"", true, ""}, /* and does not turn for ever */
        {"\n\n\n", true, ""},
    };
    for (size_t i = 0; i < 2 * sizeof(CASES) / sizeof(CASES[0]); i++) {
        char joined[256];
        write_file(CASES[i / 2].text, strlen(CASES[i / 2].text), i % 2 != 0);
        read_all(CASES[i / 2].repeat, 5, joined);
        assert_string_equal(joined, CASES[i / 2].reads);
    }
}

static void test_long_line(void **state)
{
    size_t len = 300000;
    char *line = malloc(len + 1);
    memset(line, 'x', len);
    line[len] = '\n';
    write_file(line, len + 1, false);
    struct error err = {""};
    struct source *s = source_open_file(path, false, &err);
    struct source_item item;
    assert_int_equal(source_next(s, &item, &err), 1);
    assert_int_equal(item.body.len, len);
    assert_int_equal(source_next(s, &item, &err), 0);
    source_close(s);
    free(line);
}

static void test_missing_and_broken(void **state)
{
    struct error err = {""};
    assert_null(source_open_file("/nonexistent/x", false, &err));
    assert_non_null(strstr(err.text, "/nonexistent/x"));
    write_file("{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n", 24, true);
    assert_int_equal(truncate(path, 24), 0);
    struct source *s = source_open_file(path, false, &err);
    struct source_item item;
    int status;
    while ((status = source_next(s, &item, &err)) == 1)
        ;
    assert_int_equal(status, -1);
    assert_non_null(strstr(err.text, path));
    source_close(s);
}

static void test_scenario_days(void **state)
{
    static const struct {
        int32_t first, end;
        uint64_t max, items;
    } CASES[] = {{2, 4, 0, 8000}, {2, 4, 9000, 8000}, {0, 1, 777, 777}, {5, 8, 1, 1}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct error err;
        struct source *s = source_open_scenario(scenario_path("small"), CASES[i].first,
                                                CASES[i].end, CASES[i].max, &err);
        assert_non_null(s);
        assert_int_equal(source_total(s), CASES[i].items);
        struct source_item item;
        uint32_t n = 0;
        int64_t start = INT64_C(1767571200000) + CASES[i].first * INT64_C(86400000);
        int64_t first = 0, last = 0;
        for (; source_next(s, &item, &err) == 1; n++) {
            assert_true(item.ts_ms >= last);
            last = item.ts_ms;
            first = n == 0 ? last : first;
        }
        assert_int_equal(n, CASES[i].items);
        assert_int_equal((first - start) / 86400000, 0);
        /* The sample reaches from the first hour to the last. */
        int64_t days = CASES[i].end - CASES[i].first;
        assert_true(n == 1 || last - start > days * INT64_C(86400000) - 3600000);
        assert_true(last - start < days * INT64_C(86400000));
        source_close(s);
    }
    source_close(NULL);
}

static int setup(void **state)
{
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_body),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_long_line),     cmocka_unit_test(test_missing_and_broken),
        cmocka_unit_test(test_scenario_days),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
