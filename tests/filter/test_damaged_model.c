/* A model file that training wrote, cut at any byte or changed at any byte, is refused with a line
 * that names the file and the fault. What little loads in spite of a change is the same model:
 * blanks in the padding, and the name of a checksum, which vouches for what it was computed of and
 * is not looked for. With a path as its argument the test takes that model, and every bit
 * of its header. */
#include <fcntl.h>

#include "tests/filter/small_world.h"

static const char *given; /* a model of somebody else's, which stays as it is */

struct damaged {
    char *path, *whole;
    size_t size, header_end, text_end; /* text_end: where the header's padding begins */
    int fd;
    float scores[1024];
    char *description;
};

static void score(const struct predictor *p, float scores[1024])
{
    uint32_t n = predictor_info(p)->n_dsps;
    uint32_t dsps[1024];
    assert_true(n <= 1024);
    for (uint32_t d = 0; d < n; d++)
        dsps[d] = d;
    struct small_request q;
    struct bid_request r;
    struct geo_place place;
    struct arena arena = {0};
    struct predictor_scratch *scratch = predictor_scratch_create(p);
    small_world_request(5000, &q);
    fixture_scan(&r, q.json, &arena);
    geo_locate(NULL, &r, &place);
    predictor_score(p, scratch, &r, &place, q.ts_ms, &arena, dsps, n, scores);
    predictor_scratch_destroy(scratch);
    arena_dispose(&arena);
}

static void read_whole(struct damaged *d, const char *path)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    d->size = (size_t)lseek(fd, 0, SEEK_END);
    d->whole = malloc(d->size);
    assert_int_equal(pread(fd, d->whole, d->size, 0), (ssize_t)d->size);
    close(fd);
}

static int set_up(void **state)
{
    static struct damaged d;
    struct error err;
    char *path = given != NULL ? strdup(given) : small_world_model();
    read_whole(&d, path);
    if (given == NULL)
        unlink(path);
    free(path);
    uint64_t header;
    memcpy(&header, d.whole, sizeof(header));
    d.header_end = d.text_end = 8 + header;
    while (d.whole[d.text_end - 1] == ' ')
        d.text_end--;
    d.path = fixture_temporary(d.whole, d.size);
    d.fd = open(d.path, O_RDWR);
    assert_true(d.fd >= 0);
    struct predictor *p = predictor_load(d.path, &err);
    if (p == NULL)
        fail_msg("%s", err.text);
    assert_non_null(memmem(d.whole, d.header_end, "conjunctions.rate", 17));
    score(p, d.scores);
    d.description = predictor_describe(p);
    predictor_destroy(p);
    *state = &d;
    return 0;
}

static int tear_down(void **state)
{
    struct damaged *d = *state;
    close(d->fd);
    unlink(d->path);
    free(d->path);
    free(d->whole);
    free(d->description);
    return 0;
}

/* One line: the file, then a fault with a word for the part. */
static void check_message(const struct damaged *d, const char *text)
{
    static const char *const parts[] = {"header", "tensor",   "metadata",
                                        "format", "checksum", "too short"};
    size_t len = strlen(d->path), named = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        named += strncmp(text, d->path, len) == 0 && strstr(text + len, parts[i]) != NULL;
    if (named == 0 || strchr(text, '\n') != NULL)
        fail_msg("not a line that names the fault: %s", text);
}

static bool refused(const struct damaged *d)
{
    struct error err = {""};
    struct predictor *p = predictor_load(d->path, &err);
    if (p == NULL)
        check_message(d, err.text);
    predictor_destroy(p);
    return p == NULL;
}

static void put(const struct damaged *d, size_t at, char byte)
{
    assert_int_equal(pwrite(d->fd, &byte, 1, (off_t)at), 1);
}

static void test_cut_at_every_byte_of_the_header(void **state)
{
    const struct damaged *d = *state;
    size_t stride = given != NULL ? 97 : d->size / 200 + 1;
    for (size_t keep = d->size - 1; keep<d->size; keep -= keep> d->header_end + 1 ? stride : 1) {
        if (keep > d->header_end && keep < d->header_end + stride)
            keep = d->header_end + 1;
        assert_int_equal(ftruncate(d->fd, (off_t)keep), 0);
        if (!refused(d))
            fail_msg("cut at byte %zu of %zu, and loaded", keep, d->size);
    }
    assert_int_equal(pwrite(d->fd, d->whole, d->size, 0), (ssize_t)d->size);
}

static void test_longer(void **state)
{
    const struct damaged *d = *state;
    for (size_t more = 1; more <= 16; more++) {
        put(d, d->size + more - 1, 0);
        assert_true(refused(d));
    }
    assert_int_equal(ftruncate(d->fd, (off_t)d->size), 0);
}

/* Byte `at` is in the padding, or in the name of a checksum. */
static bool harmless(const struct damaged *d, size_t at)
{
    static const char *const names[] = {"\"checksum\":", "\"metadata_checksum\":"};
    if (at >= d->text_end)
        return true;
    for (size_t i = 0; i < 2; i++) {
        const char *name = memmem(d->whole, d->header_end, names[i], strlen(names[i]));
        assert_non_null(name);
        size_t from = (size_t)(name - d->whole);
        if (at > from && at + 2 < from + strlen(names[i]))
            return true;
    }
    return false;
}

static void check_changed(const struct damaged *d, size_t at, char byte)
{
    struct error err = {""};
    float scores[1024] = {0};
    put(d, at, byte);
    struct predictor *p = predictor_load(d->path, &err);
    put(d, at, d->whole[at]);
    if (p == NULL) {
        check_message(d, err.text);
        return;
    }
    if (!harmless(d, at))
        fail_msg("byte %zu is %02x, not %02x, and the model loads: %.60s", at, (unsigned char)byte,
                 (unsigned char)d->whole[at], d->whole + (at < 30 ? 0 : at - 30));
    score(p, scores);
    assert_memory_equal(scores, d->scores, sizeof(scores));
    predictor_destroy(p);
}

static void test_every_byte_of_the_header_changed(void **state)
{
    static const char often[] = "0123456789\"\\ ,:[]{}.-en_";
    const struct damaged *d = *state;
    struct prng g = {7};
    for (size_t at = 0; at < d->header_end; at++) {
        char was = d->whole[at];
        for (int bit = 0; given != NULL && bit < 8; bit++)
            check_changed(d, at, (char)(was ^ (1 << bit)));
        if (given == NULL)
            check_changed(d, at, (char)(was ^ (1 << prng_below(&g, 8))));
        char other = often[prng_below(&g, sizeof(often) - 1)];
        if (other != was)
            check_changed(d, at, other);
    }
}

static void test_data_changed(void **state)
{
    const struct damaged *d = *state;
    struct prng g = {9};
    size_t stride = (d->size - d->header_end) / (given != NULL ? 5000 : 300) + 1;
    for (size_t at = d->header_end; at < d->size; at += 1 + prng_below(&g, 2 * stride))
        check_changed(d, at, (char)(d->whole[at] ^ (1 << prng_below(&g, 8))));
    check_changed(d, d->size - 1, (char)(d->whole[d->size - 1] + 1));
}

int main(int argc, char **argv)
{
    given = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_byte_of_the_header),
        cmocka_unit_test(test_longer),
        cmocka_unit_test(test_every_byte_of_the_header_changed),
        cmocka_unit_test(test_data_changed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
