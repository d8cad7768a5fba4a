/* Rates: what a file may hold, and conversions to the micro. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/currency.h"

static char path[] = "/tmp/bidsieve-currency-XXXXXX";

static struct currency_rates *load(const char *text, struct error *err)
{
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return currency_load(path, err);
}

static int make_file(void **state)
{
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    return unlink(path);
}

static void test_currency_load_refuses(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", ":1:"},
        {"[]", "base"},
        {"{\"rates\":{}}", "base"},
        {"{\"base\":1,\"rates\":{}}", "base"},
        {"{\"base\":\"DOLLAR\",\"rates\":{}}", "base"},
        {"{\"base\":\"USD\"}", "rates"},
        {"{\"base\":\"USD\",\"rates\":[]}", "rates"},
        {"{\"base\":\"USD\",\"rates\":{\"EURO\":1}}", "rates.EURO"},
        {"{\"base\":\"USD\",\"rates\":{\"E1R\":1}}", "rates.E1R"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":\"1\"}}", "rates.EUR"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":0}}", "rates.EUR"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":-1}}", "rates.EUR"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":1e300}}", "rates.EUR"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":null}}", "rates.EUR"},
        {"{\"base\":\"USD\",\"rates\":{\"USD\":2}}", "rates.USD"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":1,\"EUR\":2}}", "duplicate"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":1,\"eur\":2}}", "twice"},
        {"{\"base\":\"USD\",\"rates\":{\"EUR\":1}", ":1:"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {""};
        assert_null(load(rows[i].text, &err));
        if (strstr(err.text, rows[i].says) == NULL || strstr(err.text, path) == NULL)
            fail_msg("%s: \"%s\" does not name %s", rows[i].text, err.text, rows[i].says);
    }
    struct error err;
    assert_null(currency_load("/nonexistent/rates.json", &err));
    assert_non_null(strstr(err.text, "/nonexistent/rates.json: No such file"));
}

static void test_currency_convert(void **state)
{
    struct error err;
    struct currency_rates *c =
        load("{\"date\":\"2026-11-20\",\"base\":\"USD\",\"rates\":"
             "{\"EUR\":0.92,\"JPY\":150,\"USD\":1,\"GBP\":0.79,\"IRR\":42000}}",
             &err);
    assert_non_null(c);
    static const struct {
        int64_t micros;
        const char *from, *to;
        int64_t expect; /* -1 = refused */
    } rows[] = {
        {1000000, "USD", "EUR", 920000},
        {920000, "EUR", "USD", 1000000},
        {1000000, "EUR", "EUR", 1000000},
        {1000000, "XXX", "XXX", 1000000}, /* the same one needs no rate */
        {1000000, "usd", "eUr", 920000},
        {1000000, "EUR", "GBP", 858696}, /* over the base: 0.79 / 0.92 */
        {1, "USD", "EUR", 1},
        {0, "USD", "EUR", 0},
        {-1000000, "USD", "EUR", -920000},
        {3010000, "USD", "JPY", 451500000},
        {9000000000000, "USD", "EUR", 8280000000000},
        {9000000000000, "USD", "IRR", -1}, /* beyond what is exact */
        {1000000, "USD", "CHF", -1},
        {1000000, "CHF", "USD", -1},
        {1000000, "", "USD", -1},
        {1000000, "USDX", "USDX", -1},
        {1000000, "U$D", "U$D", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t out = -1;
        bool ok =
            currency_convert(c, rows[i].micros, bytes_of(rows[i].from), bytes_of(rows[i].to), &out);
        if (ok != (rows[i].expect != -1) || out != rows[i].expect)
            fail_msg("row %zu: %d, %lld", i, ok, (long long)out);
    }
    int64_t out;
    assert_true(currency_convert(NULL, 7, bytes_of("EUR"), bytes_of("EUR"), &out));
    assert_int_equal(out, 7);
    assert_false(currency_convert(NULL, 7, bytes_of("EUR"), bytes_of("USD"), &out));
    assert_true(currency_same(bytes_of("eur"), bytes_of("EUR")));
    assert_false(currency_same(bytes_of(""), bytes_of("")));
    currency_destroy(c);
    currency_destroy(NULL);
}

/* There and back is the same amount, up to the micro that rounding may cost per unit. */
static void test_currency_round_trip(void **state)
{
    struct error err;
    struct currency_rates *c = load("{\"base\":\"EUR\",\"rates\":{\"USD\":1.0873}}", &err);
    assert_non_null(c);
    for (int64_t micros = 1; micros < 5000000000; micros = micros * 3 + 1) {
        int64_t there, back;
        assert_true(currency_convert(c, micros, bytes_of("EUR"), bytes_of("USD"), &there));
        assert_true(currency_convert(c, there, bytes_of("USD"), bytes_of("EUR"), &back));
        assert_in_range(back, micros - 1, micros + 1);
    }
    currency_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_currency_load_refuses),
        cmocka_unit_test(test_currency_convert),
        cmocka_unit_test(test_currency_round_trip),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
