/* A growing run of bytes that is reused: what is written once a request or once a scrape allocates
 * nothing after it has grown to its size. Zero-initialise; one thread. Running out of memory
 * aborts, as in arena.h. */
#ifndef PROXY_TEXT_H
#define PROXY_TEXT_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "decimal.h"

struct text {
    char *base;
    size_t len, capacity;
};

/* Room for `size` more bytes; returns where they go. The caller writes there and adds to len. */
static inline char *text_reserve(struct text *t, size_t size)
{
    if (size > t->capacity - t->len) {
        size_t capacity = t->capacity < 2048 ? 4096 : t->capacity * 2;
        if (capacity < t->len + size)
            capacity = t->len + size;
        char *base = realloc(t->base, capacity);
        if (base == NULL)
            abort();
        t->base = base;
        t->capacity = capacity;
    }
    return t->base + t->len;
}

static inline void text_add(struct text *t, const char *base, size_t len)
{
    if (len == 0)
        return;
    memcpy(text_reserve(t, len), base, len);
    t->len += len;
}

/* A string literal: its length is known when compiled. */
#define text_literal(t, literal) text_add((t), "" literal, sizeof(literal) - 1)

static inline void text_add_bytes(struct text *t, struct bytes b)
{
    text_add(t, b.base, b.len);
}

static inline void text_add_string(struct text *t, const char *string)
{
    text_add(t, string, strlen(string));
}

static inline void text_add_uint(struct text *t, uint64_t n)
{
    char digits[DECIMAL_BYTES_MAX];
    text_add(t, digits, decimal_write(digits, n));
}

static inline void text_add_int(struct text *t, int64_t n)
{
    if (n < 0)
        text_add(t, "-", 1);
    text_add_uint(t, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

/* For what is not hot. */
__attribute__((format(printf, 2, 3))) static inline void text_format(struct text *t,
                                                                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    size_t room = t->capacity - t->len;
    int size = vsnprintf(room > 0 ? t->base + t->len : NULL, room, format, args);
    if (size >= 0 && (size_t)size >= room) {
        text_reserve(t, (size_t)size + 1);
        vsnprintf(t->base + t->len, (size_t)size + 1, format, again);
    }
    va_end(again);
    va_end(args);
    if (size > 0)
        t->len += (size_t)size;
}

static inline struct bytes text_bytes(const struct text *t)
{
    struct bytes b = {t->base, t->len};
    return b;
}

static inline void text_reset(struct text *t)
{
    t->len = 0;
}

static inline void text_dispose(struct text *t)
{
    free(t->base);
    t->base = NULL;
    t->len = t->capacity = 0;
}

#endif
