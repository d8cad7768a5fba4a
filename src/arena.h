/* Memory of one request: bump allocation, released all at once, its first chunk kept for the next
 * request, so that a warmed-up arena allocates nothing. One thread. */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    _Alignas(16) char data[];
};

struct arena {
    struct arena_chunk *first, *current;
    size_t used; /* of current */
};

/* 16-byte aligned, never NULL: running out of memory for one request aborts. */
static inline void *arena_alloc(struct arena *a, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    while (a->current != NULL) {
        if (size <= a->current->size - a->used) {
            void *p = a->current->data + a->used;
            a->used += size;
            return p;
        }
        if (a->current->next == NULL)
            break;
        a->current = a->current->next;
        a->used = 0;
    }
    size_t chunk_size = a->current == NULL ? 32768 : a->current->size * 2;
    if (chunk_size < size)
        chunk_size = size;
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + chunk_size);
    if (chunk == NULL)
        abort();
    chunk->next = NULL;
    chunk->size = chunk_size;
    if (a->current != NULL)
        a->current->next = chunk;
    else
        a->first = chunk;
    a->current = chunk;
    a->used = size;
    return chunk->data;
}

/* Forgets everything; keeps the chunks up to bytes_kept_max, so that one giant request is not held
 * forever. */
static inline void arena_reset(struct arena *a, size_t bytes_kept_max)
{
    size_t kept = 0;
    struct arena_chunk **link = &a->first;
    while (*link != NULL && kept + (*link)->size <= bytes_kept_max) {
        kept += (*link)->size;
        link = &(*link)->next;
    }
    struct arena_chunk *chunk = *link;
    *link = NULL;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    a->current = a->first;
    a->used = 0;
}

/* A place to go back to: what was allocated since is forgotten, its memory used again. */
struct arena_mark {
    struct arena_chunk *current;
    size_t used;
};

static inline struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){a->current, a->used};
}

static inline void arena_rewind(struct arena *a, struct arena_mark mark)
{
    a->current = mark.current != NULL ? mark.current : a->first;
    a->used = mark.used;
}

static inline void arena_dispose(struct arena *a)
{
    arena_reset(a, 0);
}

#endif
