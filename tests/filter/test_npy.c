/* The bytes of a .npy file, as numpy's documentation of the format says they are. */
#include "tests/filter/fixture.h"

#include "filter/npy.h"

static size_t read_file(const char *path, char *out, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

static void test_npy_bytes(void **state)
{
    static const struct {
        enum npy_type type;
        uint32_t columns;
        size_t rows, bytes;
        const char *header;
    } cases[] = {
        {NPY_U8, 0, 3, 3, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"},
        {NPY_U16, 0, 0, 0, "{'descr': '<u2', 'fortran_order': False, 'shape': (0,), }"},
        {NPY_U32, 4, 2, 32, "{'descr': '<u4', 'fortran_order': False, 'shape': (2, 4), }"},
        {NPY_I64, 1, 1, 8, "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1), }"},
        {NPY_F32, 2, 3, 24, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *path = fixture_temporary("what was there before", 21), file[256], data[64];
        struct error err = {""};
        for (size_t k = 0; k < sizeof(data); k++)
            data[k] = (char)(k * 7 + 1);
        struct npy *a = npy_create(path, cases[i].type, cases[i].columns, &err);
        assert_non_null(a);
        if (cases[i].rows > 1) { /* in two parts */
            size_t one = cases[i].bytes / cases[i].rows;
            assert_int_equal(npy_append(a, data, 1, &err), 0);
            assert_int_equal(npy_append(a, data + one, cases[i].rows - 1, &err), 0);
        } else {
            assert_int_equal(npy_append(a, data, cases[i].rows, &err), 0);
        }
        assert_int_equal(npy_close(a, &err), 0);
        size_t len = read_file(path, file, sizeof(file));
        assert_int_equal(len, 128 + cases[i].bytes);
        assert_memory_equal(file, "\x93NUMPY\x01\x00\x76\x00", 10);
        assert_memory_equal(file + 10, cases[i].header, strlen(cases[i].header));
        for (size_t k = 10 + strlen(cases[i].header); k < 127; k++)
            assert_int_equal(file[k], ' ');
        assert_int_equal(file[127], '\n');
        assert_memory_equal(file + 128, data, cases[i].bytes);
        unlink(path);
        free(path);
    }
    npy_close(NULL, NULL);
}

static void test_npy_write(void **state)
{
    char *path = fixture_temporary("", 0), file[256];
    struct error err = {""};
    assert_int_equal(npy_write(path, NPY_U8, "a\0b\0", 4, &err), 0);
    assert_int_equal(read_file(path, file, sizeof(file)), 132);
    assert_memory_equal(file + 128, "a\0b\0", 4);
    unlink(path);
    free(path);
}

static void test_npy_where_it_cannot(void **state)
{
    struct error err = {""};
    assert_null(npy_create("/tmp/no/such/folder/a.npy", NPY_U8, 0, &err));
    assert_non_null(strstr(err.text, "/tmp/no/such/folder/a.npy: cannot be written: No such file"));
    if (access("/dev/full", W_OK) != 0)
        return;
    static char much[1 << 16];
    err.text[0] = '\0';
    assert_int_equal(npy_write("/dev/full", NPY_U8, much, sizeof(much), &err), -1);
    assert_non_null(strstr(err.text, "No space left"));
    err.text[0] = '\0';
    assert_int_equal(npy_write("/dev/full", NPY_U8, much, 3, &err), -1); /* seen when it closes */
    assert_non_null(strstr(err.text, "/dev/full"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_npy_bytes),
        cmocka_unit_test(test_npy_write),
        cmocka_unit_test(test_npy_where_it_cannot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
