/* Inflating what strangers compressed. */
#include "proxy/net/gunzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

static struct bytes compress_gzip(const char *text, size_t len, char *out, size_t capacity)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return (struct bytes){out, z.total_out};
}

static void test_body_sizes_around_the_limit(void **state)
{
    enum { MAX = 40000 };
    struct gunzip *g = gunzip_create();
    char *text = malloc(2 * MAX), *packed = malloc(4 * MAX);
    for (size_t i = 0; i < 2 * MAX; i++)
        text[i] = (char)(i * i % 251);
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, MAX - 1, MAX, MAX + 1, 2 * MAX, 7};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bytes in = compress_gzip(text, sizes[i], packed, 4 * MAX), out;
        enum gunzip_result result = gunzip_body(g, in, MAX, &out);
        assert_int_equal(result, sizes[i] <= MAX ? GUNZIP_OK : GUNZIP_TOO_LARGE);
        if (result == GUNZIP_OK)
            assert_true(bytes_equal(out, (struct bytes){text, sizes[i]}));
    }
    free(text);
    free(packed);
    gunzip_destroy(g);
    gunzip_destroy(NULL);
}

static void test_body_cut_or_damaged(void **state)
{
    struct gunzip *g = gunzip_create();
    const char *text = "{\"id\":\"1\",\"seatbid\":[{\"bid\":[{\"id\":\"1\",\"price\":1.5}]}]}";
    char packed[512], damaged[512];
    struct bytes in = compress_gzip(text, strlen(text), packed, sizeof(packed)), out;
    for (size_t n = 0; n < in.len; n++)
        assert_int_equal(gunzip_body(g, (struct bytes){packed, n}, 1000, &out), GUNZIP_MALFORMED);
    for (size_t i = 0; i < in.len; i++) { /* a flipped bit is found, or changes nothing */
        memcpy(damaged, packed, in.len);
        damaged[i] ^= 4;
        if (gunzip_body(g, (struct bytes){damaged, in.len}, 1000, &out) == GUNZIP_OK)
            assert_true(bytes_is(out, text));
    }
    memcpy(packed + in.len, "garbage", 7);
    assert_int_equal(gunzip_body(g, (struct bytes){packed, in.len + 7}, 1000, &out),
                     GUNZIP_MALFORMED);
    assert_int_equal(gunzip_body(g, in, 1000, &out), GUNZIP_OK); /* and it still works */
    assert_true(bytes_is(out, text));
    gunzip_destroy(g);
}

static void test_body_of_several_members(void **state)
{
    struct gunzip *g = gunzip_create();
    char packed[512];
    size_t len = 0;
    static const char *const parts[] = {"one ", "", "two ", "three"};
    for (size_t i = 0; i < 4; i++)
        len += compress_gzip(parts[i], strlen(parts[i]), packed + len, sizeof(packed) - len).len;
    struct bytes out;
    assert_int_equal(gunzip_body(g, (struct bytes){packed, len}, 100, &out), GUNZIP_OK);
    assert_true(bytes_is(out, "one two three"));
    gunzip_destroy(g);
}

static void test_bomb(void **state)
{
    struct gunzip *g = gunzip_create();
    enum { BOMB = 64 << 20 };
    char *zeros = calloc(1, BOMB), *packed = malloc(BOMB / 500);
    struct bytes in = compress_gzip(zeros, BOMB, packed, BOMB / 500), out;
    free(zeros);
    assert_int_equal(gunzip_body(g, in, 100000, &out), GUNZIP_TOO_LARGE);
    free(packed);
    gunzip_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_sizes_around_the_limit),
        cmocka_unit_test(test_body_cut_or_damaged),
        cmocka_unit_test(test_body_of_several_members),
        cmocka_unit_test(test_bomb),
    };
    return cmocka_run_group_tests_name("gunzip", tests, NULL, NULL);
}
