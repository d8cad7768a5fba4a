/* What the sources have in common: how a text is made. It is lower-cased where case carries
 * nothing, bounded, and borrowed from the request, the arena or static storage. Values that depend
 * on where they occur say so in their text ("USA/ca", "ios 17"), because a vocabulary knows no
 * context. For the sources' own files only. */
#ifndef FILTER_SOURCE_TEXT_H
#define FILTER_SOURCE_TEXT_H

#include <string.h>

#include "filter/digits.h"
#include "filter/feature_source.h"
#include "filter/feature_source_list.h"

enum { TEXT_BYTES_MAX = 128 };

#define LITERAL(text)          \
    {                          \
        text, sizeof(text) - 1 \
    }
#define TEXT(text) ((struct bytes)LITERAL(text))
#define NO_TEXT ((struct bytes){NULL, 0})

static inline struct bytes text_bounded(struct bytes b)
{
    return (struct bytes){b.base, b.len < TEXT_BYTES_MAX ? b.len : TEXT_BYTES_MAX};
}

static inline struct bytes text_lower(const struct source_input *in, struct bytes b)
{
    b = text_bounded(b);
    if (b.len == 0)
        return b;
    char *copy = arena_alloc(in->arena, b.len);
    bytes_lower(copy, b);
    return (struct bytes){copy, b.len};
}

static inline struct bytes text_join(const struct source_input *in, struct bytes a, char between,
                                     struct bytes b)
{
    char *text = arena_alloc(in->arena, a.len + 1 + b.len);
    if (a.len > 0)
        memcpy(text, a.base, a.len);
    text[a.len] = between;
    if (b.len > 0)
        memcpy(text + a.len + 1, b.base, b.len);
    return (struct bytes){text, a.len + 1 + b.len};
}

static inline struct bytes text_flag(int value)
{
    return value < 0 ? NO_TEXT : value > 0 ? TEXT("1") : TEXT("0");
}

/* A code of some OpenRTB list; negative = absent. */
static inline struct bytes text_code(int32_t value)
{
    return value >= 0 && value <= DIGITS_STATIC_MAX ? digits((uint32_t)value) : NO_TEXT;
}

static inline struct bytes text_size(const struct source_input *in, int32_t w, int32_t h)
{
    if (w < 0 || h < 0)
        return NO_TEXT;
    return text_join(in, digits_any(w, in->arena), 'x', digits_any(h, in->arena));
}

/* Values beyond max, empty ones and repetitions are left out. */
static inline void text_add(struct bytes *out, uint32_t *n, uint32_t max, struct bytes value)
{
    if (value.len == 0 || *n == max)
        return;
    for (uint32_t i = 0; i < *n; i++)
        if (bytes_equal(out[i], value))
            return;
    out[(*n)++] = value;
}

static inline uint32_t text_add_list(struct bytes *out, uint32_t max, const struct bytes_list *list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n && n < max; i++)
        text_add(out, &n, max, text_bounded(list->items[i]));
    return n;
}

#endif
