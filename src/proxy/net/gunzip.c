/* The output buffer doubles as it fills, up to the limit and one byte more: that byte tells a body
 * that just fits from one that does not. What one large body grew is given back before the next. */
#include "proxy/net/gunzip.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

enum { KEPT_BYTES = 262144, FIRST_BYTES = 16384 };

struct gunzip {
    z_stream stream;
    char *out;
    size_t capacity;
};

struct gunzip *gunzip_create(void)
{
    struct gunzip *g = calloc(1, sizeof(*g));
    if (g == NULL || inflateInit2(&g->stream, 16 + MAX_WBITS) != Z_OK)
        abort();
    return g;
}

void gunzip_destroy(struct gunzip *g)
{
    if (g == NULL)
        return;
    inflateEnd(&g->stream);
    free(g->out);
    free(g);
}

static void grow(struct gunzip *g, size_t capacity_max)
{
    size_t capacity = g->capacity == 0 ? FIRST_BYTES : g->capacity * 2;
    if (capacity > capacity_max)
        capacity = capacity_max;
    g->out = realloc(g->out, capacity);
    if (g->out == NULL)
        abort();
    g->capacity = capacity;
}

enum gunzip_result gunzip_body(struct gunzip *g, struct bytes in, size_t bytes_max,
                               struct bytes *out)
{
    if (g->capacity > KEPT_BYTES || g->capacity > bytes_max + 1) {
        free(g->out);
        g->out = NULL;
        g->capacity = 0;
    }
    z_stream *z = &g->stream;
    size_t len = 0;
    if (in.len > UINT_MAX || inflateReset(z) != Z_OK)
        return GUNZIP_MALFORMED;
    z->next_in = (Bytef *)in.base;
    z->avail_in = (uInt)in.len;
    for (;;) {
        if (len > bytes_max)
            return GUNZIP_TOO_LARGE;
        if (len == g->capacity)
            grow(g, bytes_max + 1);
        size_t room = g->capacity - len;
        z->next_out = (Bytef *)g->out + len;
        z->avail_out = room < UINT_MAX ? (uInt)room : UINT_MAX;
        uInt offered = z->avail_out;
        int status = inflate(z, Z_NO_FLUSH);
        len += offered - z->avail_out;
        if (status == Z_STREAM_END) {
            if (z->avail_in == 0)
                break;
            if (inflateReset(z) != Z_OK)
                return GUNZIP_MALFORMED;
        } else if (status != Z_OK || (z->avail_in == 0 && z->avail_out > 0)) {
            return GUNZIP_MALFORMED; /* damaged, or cut off */
        }
    }
    if (len > bytes_max)
        return GUNZIP_TOO_LARGE;
    *out = (struct bytes){g->out, len};
    return GUNZIP_OK;
}
