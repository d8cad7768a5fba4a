/* Macro substitution, and the texts it is made with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "proxy/arena_text.h"
#include "proxy/macros.h"

static const struct macro_values VALUES = {
    .id = {"auc", 3},
    .bid_id = {"bid", 3},
    .imp_id = {"imp", 3},
    .seat_id = {"", 0},
    .ad_id = {"ad", 2},
    .price = {"3.01", 4},
    .currency = {"USD", 3},
    .mbr = {"0.602", 5},
    .loss = {"0", 1},
    .min_to_win = {"3", 1},
    .multiplier = {"1", 1},
    .imp_ts = {NULL, 0},
};

static void test_macros_substitute_table(void **state)
{
    static const struct {
        const char *text, *expect;
    } rows[] = {
        {"", ""},
        {"no macro", "no macro"},
        {"${AUCTION_ID}", "auc"},
        {"http://x/?p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}", "http://x/?p=3.01&c=USD"},
        {"${AUCTION_BID_ID}|${AUCTION_IMP_ID}|${AUCTION_SEAT_ID}|${AUCTION_AD_ID}", "bid|imp||ad"},
        {"${AUCTION_MBR} ${AUCTION_LOSS} ${AUCTION_MIN_TO_WIN} ${AUCTION_MULTIPLIER}",
         "0.602 0 3 1"},
        {"${AUCTION_PRICE}${AUCTION_PRICE}", "3.013.01"},
        {"${AUCTION_PRICE:B64}", "My4wMQ=="},
        {"${AUCTION_ID:B64}${AUCTION_SEAT_ID:B64}.", "YXVj."},
        {"${AUCTION_IMP_TS} not ours to know", "${AUCTION_IMP_TS} not ours to know"},
        {"${AUCTION_PRICE:AES} ${AUCTION_PRICE:} ${AUCTION_PRICE:b64}",
         "${AUCTION_PRICE:AES} ${AUCTION_PRICE:} ${AUCTION_PRICE:b64}"},
        {"${AUCTION_PRICES} ${AUCTION_} ${auction_price} ${AUCTION_PRIC}",
         "${AUCTION_PRICES} ${AUCTION_} ${auction_price} ${AUCTION_PRIC}"},
        {"${AUCTION_PRICE", "${AUCTION_PRICE"},
        {"${AUCTION_${AUCTION_PRICE}}", "${AUCTION_3.01}"},
        {"$${AUCTION_PRICE}}{", "$3.01}{"},
        {"${AUCTION_PRICE and much more than a name can be long} ${AUCTION_PRICE}",
         "${AUCTION_PRICE and much more than a name can be long} 3.01"},
        {"%24%7BAUCTION_PRICE%7D", "%24%7BAUCTION_PRICE%7D"},
        {"${AUCTION_", "${AUCTION_"},
        {"x${AUCTION_ID}", "xauc"},
        {"${CLICK_URL} ${AUCTION_ID}", "${CLICK_URL} auc"},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        /* A heap copy of exact size, so that a read past its end is seen. */
        size_t len = strlen(rows[i].text);
        char *copy = malloc(len + (len == 0));
        memcpy(copy, rows[i].text, len);
        struct bytes text = {copy, len};
        struct bytes out = macros_substitute(text, &VALUES, &arena);
        if (!bytes_is(out, rows[i].expect))
            fail_msg("%s -> %.*s", rows[i].text, (int)out.len, out.base);
        if (strcmp(rows[i].text, rows[i].expect) == 0)
            assert_ptr_equal(out.base, copy); /* nothing replaced, nothing copied */
        free(copy);
    }
    arena_dispose(&arena);
}

/* What is put in is not looked at again. */
static void test_macros_substitute_is_not_recursive(void **state)
{
    struct arena arena = {0};
    struct macro_values v = VALUES;
    v.ad_id = bytes_of("${AUCTION_PRICE}");
    struct bytes out = macros_substitute(bytes_of("<${AUCTION_AD_ID}>"), &v, &arena);
    assert_true(bytes_is(out, "<${AUCTION_PRICE}>"));
    arena_dispose(&arena);
}

/* A long bidid times many macros in adm stays bounded. */
static void test_macros_substitute_growth_is_bounded(void **state)
{
    enum { MACROS = 4000, VALUE = 30000 };
    struct arena arena = {0};
    struct macro_values v = VALUES;
    char *value = malloc(VALUE);
    memset(value, 'v', VALUE);
    v.bid_id = (struct bytes){value, VALUE};
    struct arena_text t;
    arena_text_begin(&t, &arena, 0);
    for (int i = 0; i < MACROS; i++)
        arena_text_add_string(&t, "${AUCTION_BID_ID}");
    arena_text_add_string(&t, "${AUCTION_SEAT_ID}end");
    struct bytes in = arena_text_bytes(&t), out = macros_substitute(in, &v, &arena);
    assert_in_range(out.len, in.len + VALUE, in.len + MACROS_GROWTH_BYTES_MAX);
    assert_memory_equal(out.base, value, VALUE);
    /* Those that shrink the text are still replaced. */
    assert_memory_equal(out.base + out.len - 20, "${AUCTION_BID_ID}end", 20);
    free(value);
    arena_dispose(&arena);
}

static void test_micros_format(void **state)
{
    static const struct {
        int64_t micros;
        const char *expect;
    } rows[] = {
        {0, "0"},
        {1, "0.000001"},
        {10000, "0.01"},
        {3010000, "3.01"},
        {5000000, "5"},
        {10000000, "10"},
        {100, "0.0001"},
        {123456789, "123.456789"},
        {-1, "-0.000001"},
        {-2500000, "-2.5"},
        {9000000000000, "9000000"},
        {INT64_MAX, "9223372036854.775807"},
        {INT64_MIN, "-9223372036854.775808"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[MICROS_TEXT_MAX];
        size_t len = micros_format(out, rows[i].micros);
        if (!bytes_is((struct bytes){out, len}, rows[i].expect))
            fail_msg("%.*s, not %s", (int)len, out, rows[i].expect);
    }
}

static void test_text_add_json(void **state)
{
    struct arena arena = {0};
    struct arena_text t;
    arena_text_begin(&t, &arena, 0);
    arena_text_add_json(&t, (struct bytes){"a\"b\\c\n\r\t\x01\x1f\0/\xc3\xa9", 14});
    assert_true(
        bytes_is(arena_text_bytes(&t), "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\\u0000/\xc3\xa9\""));
    arena_text_begin(&t, &arena, 0);
    arena_text_add_json(&t, (struct bytes){NULL, 0});
    arena_text_add_int(&t, INT64_MIN);
    arena_text_add_micros(&t, 1500000);
    assert_true(bytes_is(arena_text_bytes(&t), "\"\"-92233720368547758081.5"));
    arena_dispose(&arena);
}

static void test_text_add_base64(void **state)
{
    /* RFC 4648 section 10 */
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"},
                                          {"\xfb\xff", "+/8="}};
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena_text t;
        arena_text_begin(&t, &arena, 0);
        arena_text_add_base64(&t, bytes_of(rows[i][0]));
        assert_true(bytes_is(arena_text_bytes(&t), rows[i][1]));
    }
    arena_dispose(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_macros_substitute_table),
        cmocka_unit_test(test_macros_substitute_is_not_recursive),
        cmocka_unit_test(test_macros_substitute_growth_is_bounded),
        cmocka_unit_test(test_micros_format),
        cmocka_unit_test(test_text_add_json),
        cmocka_unit_test(test_text_add_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
