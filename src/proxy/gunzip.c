/* Inflates into the arena: guesses the size, doubles the buffer while the cap allows. */
#include "proxy/gunzip.h"

#include <zlib.h>

struct gunzip {
    z_stream stream;
};

struct gunzip *gunzip_create(void)
{
    struct gunzip *g = calloc(1, sizeof(*g));
    if (g != NULL && inflateInit2(&g->stream, 15 + 16) != Z_OK) {
        free(g);
        return NULL;
    }
    return g;
}

void gunzip_destroy(struct gunzip *g)
{
    if (g == NULL)
        return;
    inflateEnd(&g->stream);
    free(g);
}

enum gunzip_result gunzip_run(struct gunzip *g, struct bytes in, size_t bytes_max,
                              struct arena *arena, struct bytes *out)
{
    size_t room = in.len < bytes_max / 4 ? in.len * 4 : bytes_max;
    char *buffer = arena_alloc(arena, room + 1);
    size_t have = 0;
    inflateReset(&g->stream);
    g->stream.next_in = (Bytef *)(uintptr_t)in.base;
    g->stream.avail_in = (uInt)in.len;
    for (;;) {
        g->stream.next_out = (Bytef *)buffer + have;
        g->stream.avail_out =
            (uInt)(room + 1 - have); /* one byte more than allowed tells "full" from "more" */
        int status = inflate(&g->stream, Z_NO_FLUSH);
        have = room + 1 - g->stream.avail_out;
        if (have > bytes_max)
            return GUNZIP_TOO_LARGE;
        if (status == Z_STREAM_END)
            break;
        if (status != Z_OK && status != Z_BUF_ERROR)
            return GUNZIP_BROKEN;
        if (g->stream.avail_out > 0)
            return GUNZIP_BROKEN; /* input ended early */
        size_t larger = room < bytes_max / 2 ? room * 2 : bytes_max;
        char *moved = arena_alloc(arena, larger + 1);
        memcpy(moved, buffer, have);
        buffer = moved;
        room = larger;
    }
    if (g->stream.avail_in > 0)
        return GUNZIP_BROKEN;
    *out = (struct bytes){buffer, have};
    return GUNZIP_OK;
}
