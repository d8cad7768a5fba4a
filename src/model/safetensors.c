/* Opening: map, check everything, hand out pointers into the map. Writing: a temporary file that
 * takes its name when it is whole.
 *
 * Only regular files are mapped, and writers of this module never change a file in place, so the
 * map cannot shrink under its reader unless somebody truncates the file by hand. */
#include "model/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"
#include "model/safetensors_header.h"

enum { LENGTH_BYTES = 8, HEADER_ALIGNMENT = 8, CHECKSUM_DIGITS = 16 };

struct safetensors {
    const char *map;
    size_t map_bytes, data_start;
    struct header header;
    struct tensor *tensors;
};

/* ---- reading ---- */

static int map_file(struct safetensors *f, const char *path, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, "%s: %s", path, strerror(errno));
    int status = -1;
    if (fstat(fd, &st) != 0)
        error_set(err, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        error_set(err, "%s: not a regular file", path);
    else if (st.st_size < LENGTH_BYTES)
        error_set(err, "%s: too short for a safetensors file", path);
    else {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            error_set(err, "%s: cannot map: %s", path, strerror(errno));
        } else {
            f->map = map;
            f->map_bytes = (size_t)st.st_size;
            status = 0;
        }
    }
    close(fd);
    return status;
}

static uint64_t read_length(const char *from)
{
    uint64_t length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        length |= (uint64_t)(unsigned char)from[i] << (8 * i);
    return length;
}

static int place_tensors(struct safetensors *f, const char *path, struct error *err)
{
    f->tensors = calloc(f->header.n_tensors + 1, sizeof(*f->tensors));
    if (f->tensors == NULL)
        return error_set(err, "%s: no memory for %zu tensors", path, f->header.n_tensors);
    for (size_t i = 0; i < f->header.n_tensors; i++) {
        const struct header_tensor *t = &f->header.tensors[i];
        f->tensors[i] = t->tensor;
        f->tensors[i].data = f->map + f->data_start + t->begin;
        f->tensors[i].bytes = t->end - t->begin;
    }
    return 0;
}

struct safetensors *safetensors_open(const char *path, struct error *err)
{
    struct safetensors *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        error_set(err, "%s: no memory", path);
        return NULL;
    }
    if (map_file(f, path, err) != 0)
        goto fail;
    uint64_t length = read_length(f->map);
    if (length > f->map_bytes - LENGTH_BYTES) {
        error_set(err, "%s: the header reaches past the end of the file", path);
        goto fail;
    }
    if (length > HEADER_BYTES_MAX) {
        error_set(err, "%s: a header of more than %d bytes", path, HEADER_BYTES_MAX);
        goto fail;
    }
    f->data_start = LENGTH_BYTES + (size_t)length;
    struct bytes text = {f->map + LENGTH_BYTES, (size_t)length};
    if (header_parse(&f->header, text, path, err) != 0 ||
        header_check_layout(&f->header, f->data_start, f->map_bytes - f->data_start, path, err) !=
            0 ||
        place_tensors(f, path, err) != 0)
        goto fail;
    return f;
fail:
    safetensors_close(f);
    return NULL;
}

void safetensors_close(struct safetensors *f)
{
    if (f == NULL)
        return;
    if (f->map != NULL)
        munmap((void *)f->map, f->map_bytes);
    header_dispose(&f->header);
    free(f->tensors);
    free(f);
}

size_t safetensors_count(const struct safetensors *f)
{
    return f->header.n_tensors;
}

const struct tensor *safetensors_at(const struct safetensors *f, size_t i)
{
    assert(i < f->header.n_tensors);
    return &f->tensors[i];
}

const struct tensor *safetensors_find(const struct safetensors *f, const char *name)
{
    for (size_t i = 0; i < f->header.n_tensors; i++)
        if (strcmp(f->tensors[i].name, name) == 0)
            return &f->tensors[i];
    return NULL;
}

struct bytes safetensors_metadata(const struct safetensors *f, const char *key)
{
    for (size_t i = 0; i < f->header.n_metadata; i++)
        if (strcmp(f->header.metadata[i].key, key) == 0)
            return f->header.metadata[i].value;
    return (struct bytes){NULL, 0};
}

/* The data has no holes, so "all tensor data in file order" is one run of bytes. */
static uint64_t data_checksum(const char *map, size_t map_bytes, size_t data_start)
{
    return hash_bytes((struct bytes){map + data_start, map_bytes - data_start}, 0);
}

uint64_t safetensors_checksum(const struct safetensors *f)
{
    return data_checksum(f->map, f->map_bytes, f->data_start);
}

/* What the header says of one tensor, where its data lies included. */
static uint64_t entry_hash(const struct tensor *t, uint64_t begin)
{
    uint64_t words[8] = {t->dtype, t->rank, begin, t->bytes};
    memcpy(&words[4], t->shape, t->rank * sizeof(t->shape[0]));
    return hash_bytes((struct bytes){(const char *)words, sizeof(words)},
                      hash_bytes(bytes_of(t->name), 0));
}

/* A sum, for empty tensors have no order of their own. */
static uint64_t table_checksum(const struct safetensors *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < f->header.n_tensors; i++)
        sum += entry_hash(&f->tensors[i], f->header.tensors[i].begin);
    return sum;
}

static void print_digits(char to[CHECKSUM_DIGITS + 1], uint64_t checksum)
{
    snprintf(to, CHECKSUM_DIGITS + 1, "%016llx", (unsigned long long)checksum);
}

int safetensors_check(const struct safetensors *f, const char *path, struct error *err)
{
    static const char why[] = "the file is damaged, or was changed and still has the old one";
    struct bytes written = safetensors_metadata(f, "checksum");
    char table[CHECKSUM_DIGITS + 1], data[CHECKSUM_DIGITS + 1];
    if (written.base == NULL)
        return 0;
    struct bytes of_table = {NULL, 0}, of_data = written;
    if (written.len > CHECKSUM_DIGITS) {
        of_data.len = CHECKSUM_DIGITS;
        of_table = (struct bytes){written.base + CHECKSUM_DIGITS, written.len - CHECKSUM_DIGITS};
    }
    print_digits(table, table_checksum(f));
    if (of_table.len > 0 && !bytes_is(of_table, table))
        return error_set(err,
                         "%s: the tensors' names, dtypes, shapes or offsets do not match its "
                         "checksum: %s",
                         path, why);
    print_digits(data, safetensors_checksum(f));
    if (!bytes_is(of_data, data))
        return error_set(err, "%s: the tensors' data does not match its checksum: %s", path, why);
    return 0;
}

/* ---- writing ---- */

struct text {
    char *base;
    size_t len, room;
    bool no_memory;
};

static void text_add(struct text *t, const char *bytes, size_t len)
{
    if (t->room - t->len < len) {
        size_t room = 2 * (t->len + len);
        char *bigger = t->no_memory ? NULL : realloc(t->base, room);
        if (bigger == NULL) {
            t->no_memory = true;
            return;
        }
        t->base = bigger;
        t->room = room;
    }
    memcpy(t->base + t->len, bytes, len);
    t->len += len;
}

__attribute__((format(printf, 2, 3))) static void text_print(struct text *t, const char *format,
                                                             ...)
{
    char line[128];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    assert(len >= 0 && (size_t)len < sizeof(line));
    text_add(t, line, (size_t)len);
}

/* A JSON string. Bytes that are not UTF-8 become U+FFFD: the file must stay readable. */
static void text_add_string(struct text *t, struct bytes s)
{
    text_add(t, "\"", 1);
    while (s.len > 0) {
        size_t length = header_utf8_length(s);
        unsigned char c = (unsigned char)s.base[0];
        if (length == 0)
            text_add(t, "\xef\xbf\xbd", 3);
        else if (c == '"' || c == '\\')
            text_print(t, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            text_print(t, "\\u%04x", c);
        else
            text_add(t, s.base, length);
        size_t step = length == 0 ? 1 : length;
        s.base += step;
        s.len -= step;
    }
    text_add(t, "\"", 1);
}

static const char *dtype_name(enum tensor_dtype dtype)
{
    switch (dtype) {
    case TENSOR_F32:
        return "F32";
    case TENSOR_I32:
        return "I32";
    case TENSOR_U8:
        return "U8";
    default:
        return NULL;
    }
}

static void add_tensor(struct text *t, const struct tensor *tensor, uint64_t *offset)
{
    text_add(t, ",", 1);
    text_add_string(t, bytes_of(tensor->name));
    text_print(t, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(tensor->dtype));
    for (uint32_t i = 0; i < tensor->rank; i++)
        text_print(t, "%s%llu", i > 0 ? "," : "", (unsigned long long)tensor->shape[i]);
    text_print(t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*offset,
               (unsigned long long)(*offset + tensor->bytes));
    *offset += tensor->bytes;
}

/* The order of the safetensors library: wide dtypes first, so that every tensor is aligned, then by
 * name. Whoever reads a file with it and writes it again gets the same data, and the checksum
 * holds.
 */
static int in_library_order(const void *a, const void *b)
{
    static const int rank[] = {[TENSOR_F32] = 0, [TENSOR_I32] = 1, [TENSOR_U8] = 2};
    const struct tensor *x = *(const struct tensor *const *)a;
    const struct tensor *y = *(const struct tensor *const *)b;
    if (x->dtype != y->dtype)
        return rank[x->dtype] - rank[y->dtype];
    return strcmp(x->name, y->name);
}

/* The length, the JSON and its padding; *checksum_at is where the digits of the data's checksum go,
 * before those of the table's. */
static void build_head(struct text *t, const struct tensor *const *tensors, size_t n,
                       const struct safetensors_entry *metadata, size_t n_metadata,
                       size_t *checksum_at)
{
    static const char start[] = "{\"__metadata__\":{\"checksum\":\"";
    text_add(t, "\0\0\0\0\0\0\0\0", LENGTH_BYTES);
    text_add(t, start, strlen(start));
    *checksum_at = t->len;
    text_add(t, "00000000000000000000000000000000\"", 2 * CHECKSUM_DIGITS + 1);
    for (size_t i = 0; i < n_metadata; i++) {
        text_add(t, ",", 1);
        text_add_string(t, bytes_of(metadata[i].key));
        text_add(t, ":", 1);
        text_add_string(t, metadata[i].value);
    }
    text_add(t, "}", 1);
    uint64_t offset = 0, table = 0;
    for (size_t i = 0; i < n; i++) {
        table += entry_hash(tensors[i], offset);
        add_tensor(t, tensors[i], &offset);
    }
    text_add(t, "}", 1);
    while (t->len % HEADER_ALIGNMENT != 0 && !t->no_memory)
        text_add(t, " ", 1);
    if (t->no_memory)
        return;
    for (int i = 0; i < LENGTH_BYTES; i++)
        t->base[i] = (char)((t->len - LENGTH_BYTES) >> (8 * i));
    char digits[CHECKSUM_DIGITS + 1];
    print_digits(digits, table);
    memcpy(t->base + *checksum_at + CHECKSUM_DIGITS, digits, CHECKSUM_DIGITS);
}

static int write_all(int fd, const void *data, size_t bytes)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t wrote = write(fd, from, bytes < (1u << 30) ? bytes : (1u << 30));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return -1;
        from += wrote;
        bytes -= (size_t)wrote;
    }
    return 0;
}

/* The checksum is of the data as a reader will see it, so it is computed over the written file. */
static int write_checksum(int fd, size_t data_start, size_t checksum_at)
{
    struct stat st;
    char digits[CHECKSUM_DIGITS + 1];
    if (fstat(fd, &st) != 0)
        return -1;
    size_t bytes = (size_t)st.st_size;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -1;
    uint64_t checksum = data_checksum(map, bytes, data_start);
    munmap(map, bytes);
    print_digits(digits, checksum);
    return pwrite(fd, digits, CHECKSUM_DIGITS, (off_t)checksum_at) == CHECKSUM_DIGITS ? 0 : -1;
}

static int write_content(int fd, const struct text *head, size_t checksum_at,
                         const struct tensor *const *tensors, size_t n)
{
    if (write_all(fd, head->base, head->len) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (write_all(fd, tensors[i]->data, tensors[i]->bytes) != 0)
            return -1;
    if (write_checksum(fd, head->len, checksum_at) != 0)
        return -1;
    return fsync(fd);
}

/* So that the rename itself survives a power cut. A folder that cannot be synced is no failure. */
static void sync_folder(const char *path)
{
    char *folder = strdup(path);
    if (folder == NULL)
        return;
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

static int write_and_rename(const char *path, const struct text *head, size_t checksum_at,
                            const struct tensor *const *tensors, size_t n, struct error *err)
{
    size_t room = strlen(path) + sizeof(".tmp");
    char *temporary = malloc(room);
    if (temporary == NULL)
        return error_set(err, "%s: no memory", path);
    snprintf(temporary, room, "%s.tmp", path);
    int status = -1;
    int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        error_set(err, "%s: %s", temporary, strerror(errno));
        goto done;
    }
    status = write_content(fd, head, checksum_at, tensors, n);
    if (status != 0)
        error_set(err, "%s: cannot write: %s", temporary, strerror(errno));
    if (close(fd) != 0 && status == 0)
        status = error_set(err, "%s: cannot write: %s", temporary, strerror(errno));
    if (status == 0 && rename(temporary, path) != 0)
        status = error_set(err, "%s: cannot rename from .tmp: %s", path, strerror(errno));
    if (status != 0)
        unlink(temporary);
    else
        sync_folder(path);
done:
    free(temporary);
    return status;
}

int safetensors_write(const char *path, const struct tensor *tensors, size_t n,
                      const struct safetensors_entry *metadata, size_t n_metadata,
                      struct error *err)
{
    const struct tensor **sorted = malloc((n + 1) * sizeof(*sorted));
    if (sorted == NULL)
        return error_set(err, "%s: no memory for the header", path);
    for (size_t i = 0; i < n; i++) {
        assert(dtype_name(tensors[i].dtype) != NULL && tensors[i].rank <= 4);
        sorted[i] = &tensors[i];
    }
    qsort(sorted, n, sizeof(*sorted), in_library_order);
    struct text head = {NULL, 0, 0, false};
    size_t checksum_at;
    int status = -1;
    build_head(&head, sorted, n, metadata, n_metadata, &checksum_at);
    if (head.no_memory)
        error_set(err, "%s: no memory for the header", path);
    else
        status = write_and_rename(path, &head, checksum_at, sorted, n, err);
    free(head.base);
    free(sorted);
    return status;
}
