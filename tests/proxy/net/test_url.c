/* URLs of DSPs: what is taken apart how, what is refused. */
#include "proxy/net/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_parse_good(void **state)
{
    static const struct {
        const char *text;
        bool is_tls;
        const char *host;
        uint16_t port;
        const char *authority, *target;
    } cases[] = {
        {"http://dsp.example/bid", false, "dsp.example", 80, "dsp.example", "/bid"},
        {"http://dsp.example", false, "dsp.example", 80, "dsp.example", "/"},
        {"http://dsp.example?k=v", false, "dsp.example", 80, "dsp.example", "/?k=v"},
        {"https://dsp.example/a/b?c=d&e=%20", true, "dsp.example", 443, "dsp.example",
         "/a/b?c=d&e=%20"},
        {"HTTPS://Dsp.Example:443/", true, "Dsp.Example", 443, "Dsp.Example", "/"},
        {"https://dsp.example:80/", true, "dsp.example", 80, "dsp.example:80", "/"},
        {"http://127.0.0.1:9001/bid#part", false, "127.0.0.1", 9001, "127.0.0.1:9001", "/bid"},
        {"http://[::1]:9001/x", false, "::1", 9001, "[::1]:9001", "/x"},
        {"http://[2001:db8::7]/x", false, "2001:db8::7", 80, "[2001:db8::7]", "/x"},
        {"http://a_b-c.d:65535/x?y=http://z/?", false, "a_b-c.d", 65535, "a_b-c.d:65535",
         "/x?y=http://z/?"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct url u;
        struct error err = {""};
        if (url_parse(cases[i].text, &u, &err) != 0)
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_int_equal(u.is_tls, cases[i].is_tls);
        assert_string_equal(u.host, cases[i].host);
        assert_int_equal(u.port, cases[i].port);
        assert_string_equal(u.authority, cases[i].authority);
        assert_string_equal(u.target, cases[i].target);
    }
}

static void test_parse_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "dsp.example/bid",
        "ftp://dsp.example/",
        "http:/dsp.example/",
        "http://",
        "http:///bid",
        "http://:80/",
        "http://dsp.example:/",
        "http://dsp.example:0/",
        "http://dsp.example:65536/",
        "http://dsp.example:123456/",
        "http://dsp.example:8o/",
        "http://dsp.example:-1/",
        "http://user:secret@dsp.example/",
        "http://dsp example/",
        "http://dsp.example/a b",
        "http://dsp.example/a\r\nX: y",
        "http://dsp.example/\x7f",
        "http://dsp.ex\xc3\xa4mple/",
        "http://[::1/",
        "http://[::1]9001/",
        "http://[]/",
        "http://[dsp.example]/",
        "http://dsp;example/",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct url u;
        struct error err = {""};
        if (url_parse(cases[i], &u, &err) == 0)
            fail_msg("accepted: \"%s\"", cases[i]);
        assert_string_not_equal(err.text, "");
        assert_int_equal(url_parse(cases[i], &u, NULL), -1);
    }
    struct url u;
    assert_int_equal(url_parse(NULL, &u, NULL), -1);
}

static void test_parse_lengths(void **state)
{
    char text[4096];
    struct url u;
    for (size_t n = 200; n < 300; n++) { /* host names around the limit */
        int at = snprintf(text, sizeof(text), "http://");
        memset(text + at, 'h', n);
        strcpy(text + at + n, "/");
        assert_int_equal(url_parse(text, &u, NULL), n < sizeof(u.host) ? 0 : -1);
    }
    for (size_t n = 2000; n < 2100; n++) { /* targets, too */
        int at = snprintf(text, sizeof(text), "http://h");
        memset(text + at, '/', n);
        text[(size_t)at + n] = '\0';
        assert_int_equal(url_parse(text, &u, NULL), n < sizeof(u.target) ? 0 : -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_good),
        cmocka_unit_test(test_parse_refused),
        cmocka_unit_test(test_parse_lengths),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
