/* A borrowed run of bytes: never owned, never NUL-terminated. {NULL, 0} means "absent". */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct bytes {
    const char *base;
    size_t len;
};

static inline struct bytes bytes_of(const char *text)
{
    struct bytes b = {text, text != NULL ? strlen(text) : 0};
    return b;
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

static inline bool bytes_is(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_of(text));
}

/* As memcmp orders; of two that begin alike, the shorter first. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(a.base, b.base, shorter) : 0;
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

/* In whatever case, as HTTP's words are. */
static inline bool bytes_is_word(struct bytes a, const char *text)
{
    return a.len == strlen(text) && strncasecmp(a.base, text, a.len) == 0;
}

#endif
