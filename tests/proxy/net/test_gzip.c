/* What is compressed must come out again, whatever its size and however it was cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "prng.h"
#include "proxy/net/gunzip.h"
#include "proxy/net/gzip.h"

static void comes_out_again(struct gzip *g, struct gunzip *u, const char *text, size_t len,
                            size_t cut1, size_t cut2)
{
    const struct bytes pieces[] = {
        {text, cut1}, {text + cut1, cut2 - cut1}, {text + cut2, len - cut2}};
    struct bytes packed = gzip_pieces(g, pieces, 3), out;
    assert_int_equal(gunzip_body(u, packed, len + 1, &out), GUNZIP_OK);
    assert_true(bytes_equal(out, (struct bytes){text, len}));
}

static void test_gzip_pieces_sizes_and_cuts(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 100, 1500, 16383, 16384, 16385, 70000, 1 << 20};
    struct gzip *g = gzip_create();
    struct gunzip *u = gunzip_create();
    struct prng random = {1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int kind = 0; kind < 2; kind++) {
            size_t n = sizes[i];
            char *text = malloc(n + 1);
            for (size_t k = 0; k < n; k++) /* random bytes do not shrink, few letters do */
                text[k] = (char)(kind == 0 ? prng_next(&random) : 'a' + prng_below(&random, 3));
            comes_out_again(g, u, text, n, 0, 0);
            comes_out_again(g, u, text, n, n, n);
            size_t cut = prng_below(&random, n + 1);
            comes_out_again(g, u, text, n, cut / 2, cut);
            free(text);
        }
    }
    gunzip_destroy(u);
    gzip_destroy(g);
}

static void test_gzip_pieces_is_the_same_each_time(void **state)
{
    static const char text[] =
        "{\"id\":\"1\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}";
    const struct bytes piece = {text, sizeof(text) - 1};
    struct gzip *g = gzip_create();
    struct bytes packed = gzip_pieces(g, &piece, 1);
    char first[256];
    size_t len = packed.len;
    assert_true(len < sizeof(first));
    memcpy(first, packed.base, len);
    packed = gzip_pieces(g, &piece, 1); /* nothing of the last body is left */
    assert_true(bytes_equal(packed, (struct bytes){first, len}));
    gzip_destroy(g);
    gzip_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gzip_pieces_sizes_and_cuts),
        cmocka_unit_test(test_gzip_pieces_is_the_same_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
