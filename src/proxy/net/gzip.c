/* A bid request is small, and what costs is mostly the tables of codes that each body gets: a
 * larger window or other strategies gain nothing (bench_gzip), so the state is kept small. */
#include "proxy/net/gzip.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

enum { LEVEL = 1, WINDOW_BITS = 14, MEMORY_LEVEL = 6, KEPT_BYTES = 262144, FIRST_BYTES = 16384 };

struct gzip {
    z_stream stream;
    char *out;
    size_t capacity;
};

struct gzip *gzip_create(void)
{
    struct gzip *g = calloc(1, sizeof(*g));
    if (g == NULL || deflateInit2(&g->stream, LEVEL, Z_DEFLATED, 16 + WINDOW_BITS, MEMORY_LEVEL,
                                  Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    return g;
}

void gzip_destroy(struct gzip *g)
{
    if (g == NULL)
        return;
    deflateEnd(&g->stream);
    free(g->out);
    free(g);
}

static void grow(struct gzip *g)
{
    g->capacity = g->capacity == 0 ? FIRST_BYTES : g->capacity * 2;
    g->out = realloc(g->out, g->capacity);
    if (g->out == NULL)
        abort();
}

/* Takes all of the input, or all that is left of the output. */
static size_t run(struct gzip *g, size_t len, struct bytes in, int flush)
{
    z_stream *z = &g->stream;
    int status = Z_OK;
    do {
        uInt offered = in.len < UINT_MAX ? (uInt)in.len : UINT_MAX;
        z->next_in = (Bytef *)in.base;
        z->avail_in = offered;
        do {
            if (len == g->capacity)
                grow(g);
            size_t room = g->capacity - len;
            uInt given = room < UINT_MAX ? (uInt)room : UINT_MAX;
            z->next_out = (Bytef *)g->out + len;
            z->avail_out = given;
            status = deflate(z, flush);
            len += given - z->avail_out;
        } while (z->avail_out == 0 && status != Z_STREAM_END);
        in.base += offered;
        in.len -= offered;
    } while (in.len > 0);
    return len;
}

struct bytes gzip_pieces(struct gzip *g, const struct bytes *pieces, uint32_t n)
{
    size_t len = 0;
    if (g->capacity > KEPT_BYTES) { /* what one large body grew is given back */
        free(g->out);
        g->out = NULL;
        g->capacity = 0;
    }
    deflateReset(&g->stream);
    for (uint32_t i = 0; i < n; i++)
        if (pieces[i].len > 0)
            len = run(g, len, pieces[i], Z_NO_FLUSH);
    len = run(g, len, (struct bytes){"", 0}, Z_FINISH);
    return (struct bytes){g->out, len};
}
