/* The header has a fixed room of 128 bytes (a multiple of 64, as the format wants), padded with
 * blanks: enough for any number of rows. Bytes are written as the machine has them, so it must be a
 * little-endian one, as all that bidsieve runs on are. */
#include "filter/npy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "npy files are written little-endian");

enum { HEADER_BYTES = 128, PREAMBLE_BYTES = 10 };

static const struct {
    const char *name;
    size_t bytes;
} TYPES[] = {
    [NPY_U8] = {"|u1", 1},  [NPY_U16] = {"<u2", 2}, [NPY_U32] = {"<u4", 4},
    [NPY_I64] = {"<i8", 8}, [NPY_F32] = {"<f4", 4},
};

struct npy {
    FILE *file;
    char *path;
    enum npy_type type;
    uint32_t columns;
    uint64_t rows;
};

static void write_header(struct npy *a)
{
    char header[HEADER_BYTES + 1], shape[64];
    if (a->columns > 0)
        snprintf(shape, sizeof(shape), "(%" PRIu64 ", %" PRIu32 ")", a->rows, a->columns);
    else
        snprintf(shape, sizeof(shape), "(%" PRIu64 ",)", a->rows);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(HEADER_BYTES - PREAMBLE_BYTES);
    header[9] = 0;
    int len = snprintf(header + PREAMBLE_BYTES, sizeof(header) - PREAMBLE_BYTES,
                       "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                       TYPES[a->type].name, shape);
    memset(header + PREAMBLE_BYTES + len, ' ', HEADER_BYTES - PREAMBLE_BYTES - (size_t)len);
    header[HEADER_BYTES - 1] = '\n';
    fwrite(header, 1, HEADER_BYTES, a->file);
}

static int failed(const struct npy *a, struct error *err)
{
    return error_set(err, "%s: cannot be written: %s", a->path, strerror(errno));
}

struct npy *npy_create(const char *path, enum npy_type type, uint32_t columns, struct error *err)
{
    struct npy *a = calloc(1, sizeof(*a));
    if (a == NULL || (a->path = strdup(path)) == NULL) {
        free(a);
        error_set(err, "%s: out of memory", path);
        return NULL;
    }
    a->type = type;
    a->columns = columns;
    a->file = fopen(path, "wb");
    if (a->file == NULL) {
        failed(a, err);
        free(a->path);
        free(a);
        return NULL;
    }
    write_header(a);
    return a;
}

int npy_append(struct npy *a, const void *rows, size_t n_rows, struct error *err)
{
    size_t bytes = TYPES[a->type].bytes * (a->columns > 0 ? a->columns : 1);
    if (n_rows > 0 && fwrite(rows, bytes, n_rows, a->file) != n_rows)
        return failed(a, err);
    a->rows += n_rows;
    return 0;
}

int npy_close(struct npy *a, struct error *err)
{
    if (a == NULL)
        return 0;
    int status = 0;
    if (fseek(a->file, 0, SEEK_SET) != 0)
        status = failed(a, err);
    else
        write_header(a);
    if (ferror(a->file) && status == 0)
        status = failed(a, err);
    if (fclose(a->file) != 0 && status == 0)
        status = failed(a, err);
    free(a->path);
    free(a);
    return status;
}

int npy_write(const char *path, enum npy_type type, const void *items, size_t n, struct error *err)
{
    struct npy *a = npy_create(path, type, 0, err);
    if (a == NULL)
        return -1;
    int appended = npy_append(a, items, n, err);
    int closed = npy_close(a, appended == 0 ? err : NULL);
    return appended == 0 ? closed : -1;
}
