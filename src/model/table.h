/* Tables that are read at random while scoring: on cache lines, huge pages asked for, and fetched
 * ahead of their use. */
#ifndef MODEL_TABLE_H
#define MODEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { TABLE_LINE_BYTES = 64, TABLE_HUGE_PAGE_BYTES = 2 << 20, TABLE_AHEAD_BYTES = 512 };
enum { TABLE_NEAR_BYTES = 128 << 10 }; /* what is read of a smaller table stays in the caches */

enum { TABLE_LINE_FLOATS = TABLE_LINE_BYTES / sizeof(float) };

/* So many floats on whole cache lines. */
static inline size_t table_on_line(size_t floats)
{
    return (floats + TABLE_LINE_FLOATS - 1) / TABLE_LINE_FLOATS * TABLE_LINE_FLOATS;
}

/* Zeroed; free() frees it. NULL: no memory. */
static inline void *table_alloc(size_t bytes)
{
    bool huge = bytes >= TABLE_HUGE_PAGE_BYTES;
    size_t alignment = huge ? TABLE_HUGE_PAGE_BYTES : TABLE_LINE_BYTES;
    bytes = (bytes / alignment + 1) * alignment;
    void *p = aligned_alloc(alignment, bytes);
    if (p == NULL)
        return NULL;
    if (huge)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* a wish; nothing depends on it */
    memset(p, 0, bytes);
    return p;
}

static inline bool table_is_far(size_t rows, size_t row_bytes)
{
    return rows * row_bytes > TABLE_NEAR_BYTES;
}

/* Asks for the start of a row: the machine sees by itself that the rest follows. */
static inline void table_prefetch(const void *row, size_t bytes)
{
    if (bytes > TABLE_AHEAD_BYTES)
        bytes = TABLE_AHEAD_BYTES;
    for (size_t at = 0; at < bytes; at += TABLE_LINE_BYTES)
        __builtin_prefetch((const char *)row + at);
}

#endif
