/* Two buffers: what came from the file, and text. For a plain file the text buffer is read into
 * directly; for a compressed one it is what the decompressor writes into. Lines are handed out
 * where they lie in the text buffer; when it holds no further line break, the rest moves to its
 * front and more is filled in behind it. */
#include "proxy/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { INPUT_BYTES = 128 * 1024, FILL_BYTES = 256 * 1024, MAGIC_BYTES = 4 };

enum encoding { PLAIN, ZSTD_FRAMES, GZIP };

struct lines {
    char *path;
    int fd;
    enum encoding encoding;

    unsigned char *input;
    size_t input_at, input_len;
    uint64_t bytes_read;
    bool input_ended;

    ZSTD_DStream *zstd;
    z_stream gzip;
    bool gzip_open;
    bool inside;  /* a frame or member has begun and not ended */
    bool pending; /* the decompressor may hold more output than had room */

    char *text;
    size_t at, scanned, len, capacity;
    uint64_t number;
    bool skipping; /* the rest of a line that is too long */
    bool ended;
};

/* ---- the file ---- */

static int read_some(struct lines *l, void *to, size_t room, size_t *got, struct error *err)
{
    ssize_t n;
    do
        n = read(l->fd, to, room);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_set(err, "%s: cannot read: %s", l->path, strerror(errno));
    l->input_ended = n == 0;
    l->bytes_read += (uint64_t)n;
    *got = (size_t)n;
    return 0;
}

static int read_input(struct lines *l, struct error *err)
{
    l->input_at = l->input_len = 0;
    return read_some(l, l->input, INPUT_BYTES, &l->input_len, err);
}

/* The first bytes decide, not the name: people rename. */
static int detect(struct lines *l, struct error *err)
{
    while (l->input_len < MAGIC_BYTES && !l->input_ended) {
        size_t got = 0;
        if (read_some(l, l->input + l->input_len, INPUT_BYTES - l->input_len, &got, err) != 0)
            return -1;
        l->input_len += got;
    }
    const unsigned char *p = l->input;
    if (l->input_len >= 4 && ((p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd) ||
                              (p[0] >> 4 == 5 && p[1] == 0x2a && p[2] == 0x4d && p[3] == 0x18))) {
        l->encoding = ZSTD_FRAMES;
        l->zstd = ZSTD_createDStream();
        if (l->zstd == NULL)
            return error_set(err, "%s: out of memory", l->path);
    } else if (l->input_len >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        l->encoding = GZIP;
        if (inflateInit2(&l->gzip, 15 + 16) != Z_OK)
            return error_set(err, "%s: out of memory", l->path);
        l->gzip_open = true;
    }
    return 0;
}

struct lines *lines_open(const char *path, struct error *err)
{
    bool standard_input = strcmp(path, "-") == 0;
    struct lines *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        error_set(err, "%s: out of memory", path);
        return NULL;
    }
    l->fd = -1;
    l->path = strdup(standard_input ? "standard input" : path);
    l->input = malloc(INPUT_BYTES);
    if (l->path == NULL || l->input == NULL) {
        error_set(err, "%s: out of memory", path);
        goto fail;
    }
    l->fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0) {
        error_set(err, "%s: cannot open: %s", path, strerror(errno));
        goto fail;
    }
    if (detect(l, err) != 0)
        goto fail;
    return l;
fail:
    lines_close(l);
    return NULL;
}

void lines_close(struct lines *l)
{
    if (l == NULL)
        return;
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    ZSTD_freeDStream(l->zstd);
    if (l->gzip_open)
        inflateEnd(&l->gzip);
    free(l->input);
    free(l->text);
    free(l->path);
    free(l);
}

/* ---- into text ---- */

static int fill_plain(struct lines *l, struct error *err)
{
    size_t room = l->capacity - l->len, got = l->input_len - l->input_at;
    if (got > 0) { /* what was read to see the encoding */
        got = got < room ? got : room;
        memcpy(l->text + l->len, l->input + l->input_at, got);
        l->input_at += got;
    } else if (read_some(l, l->text + l->len, room, &got, err) != 0) {
        return -1;
    }
    l->len += got;
    return 0;
}

static int zstd_step(struct lines *l, struct error *err)
{
    ZSTD_inBuffer in = {l->input, l->input_len, l->input_at};
    ZSTD_outBuffer out = {l->text, l->capacity, l->len};
    size_t before_in = in.pos, before_out = out.pos;
    size_t left = ZSTD_decompressStream(l->zstd, &out, &in);
    if (ZSTD_isError(left))
        return error_set(err, "%s: line %llu is followed by broken zstd data: %s", l->path,
                         (unsigned long long)l->number, ZSTD_getErrorName(left));
    if (in.pos != before_in || out.pos != before_out)
        l->inside = left != 0;
    l->pending = out.pos == out.size;
    l->input_at = in.pos;
    l->len = out.pos;
    return 0;
}

static int gzip_step(struct lines *l, struct error *err)
{
    l->gzip.next_in = l->input + l->input_at;
    l->gzip.avail_in = (uInt)(l->input_len - l->input_at);
    l->gzip.next_out = (unsigned char *)l->text + l->len;
    l->gzip.avail_out = (uInt)(l->capacity - l->len);
    if (l->gzip.avail_in > 0)
        l->inside = true;
    int code = inflate(&l->gzip, Z_NO_FLUSH);
    l->input_at = l->input_len - l->gzip.avail_in;
    l->len = l->capacity - l->gzip.avail_out;
    l->pending = l->gzip.avail_out == 0 && code != Z_STREAM_END;
    if (code == Z_STREAM_END) { /* another member may follow */
        inflateReset(&l->gzip);
        l->inside = false;
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return error_set(err, "%s: line %llu is followed by broken gzip data: %s", l->path,
                         (unsigned long long)l->number,
                         l->gzip.msg != NULL ? l->gzip.msg : "unknown fault");
    }
    return 0;
}

/* Adds at least one byte to the text, unless there are no more: then input_ended. */
static int fill_decompressed(struct lines *l, struct error *err)
{
    size_t before = l->len;
    while (l->len == before) {
        if (l->input_at == l->input_len && !l->pending) {
            if (read_input(l, err) != 0)
                return -1;
            if (l->input_ended)
                return 0;
        }
        if ((l->encoding == ZSTD_FRAMES ? zstd_step(l, err) : gzip_step(l, err)) != 0)
            return -1;
    }
    return 0;
}

static int fill(struct lines *l, struct error *err)
{
    if (l->at > 0) {
        memmove(l->text, l->text + l->at, l->len - l->at);
        l->scanned -= l->at;
        l->len -= l->at;
        l->at = 0;
    }
    if (l->capacity - l->len < FILL_BYTES) {
        size_t capacity = l->capacity < FILL_BYTES ? 2 * FILL_BYTES : l->capacity * 2;
        char *text = realloc(l->text, capacity);
        if (text == NULL)
            return error_set(err, "%s: out of memory", l->path);
        l->text = text;
        l->capacity = capacity;
    }
    size_t before = l->len;
    if ((l->encoding == PLAIN ? fill_plain(l, err) : fill_decompressed(l, err)) != 0)
        return -1;
    l->ended = l->len == before;
    return 0;
}

/* ---- lines ---- */

static void hand_out(struct lines *l, size_t len, struct bytes *line)
{
    *line = (struct bytes){l->text + l->at, len};
    if (++l->number == 1 && len >= 3 && memcmp(line->base, "\xef\xbb\xbf", 3) == 0) {
        line->base += 3; /* a byte order mark, as some tools write it */
        line->len -= 3;
    }
}

int lines_next(struct lines *l, struct bytes *line, bool *ended, struct error *err)
{
    for (;;) {
        char *found =
            l->scanned == l->len ? NULL : memchr(l->text + l->scanned, '\n', l->len - l->scanned);
        size_t len = (found != NULL ? (size_t)(found - l->text) : l->len) - l->at;
        if (found != NULL && (l->skipping || len <= LINES_BYTES_MAX)) {
            bool skipped = l->skipping;
            l->skipping = false;
            if (!skipped)
                hand_out(l, len, line);
            l->at = l->scanned = (size_t)(found - l->text) + 1;
            if (skipped)
                continue;
            *ended = true;
            return 1;
        }
        if (l->skipping) {
            l->at = l->scanned = l->len;
        } else if (len > LINES_BYTES_MAX) {
            l->skipping = true;
            l->number++;
            return error_set(err, "%s:%llu: line longer than %d MB", l->path,
                             (unsigned long long)l->number, LINES_BYTES_MAX >> 20);
        }
        l->scanned = l->len;
        if (l->ended)
            break;
        if (fill(l, err) != 0) { /* what came before it is still whole lines */
            l->ended = true;
            l->at = l->scanned = l->len;
            return -1;
        }
    }
    if (l->at == l->len)
        return 0;
    hand_out(l, l->len - l->at, line);
    l->at = l->len;
    *ended = false;
    return 1;
}

uint64_t lines_number(const struct lines *l)
{
    return l->number;
}

uint64_t lines_bytes_read(const struct lines *l)
{
    return l->bytes_read;
}

bool lines_cut(const struct lines *l)
{
    return l->ended && l->inside;
}
