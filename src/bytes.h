/* A borrowed run of bytes: never owned, never NUL-terminated. {NULL, 0} means "absent". */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

/* Eight characters at once: those between A and Z get bit 5. */
static inline uint64_t bytes_lower_word(uint64_t w)
{
    const uint64_t each = UINT64_C(0x0101010101010101), high = each * 0x80;
    uint64_t seven = w & ~high;
    uint64_t from_a = seven + each * (0x80 - 'A'), above_z = seven + each * (0x7f - 'Z');
    return w | ((~w & high & (from_a ^ above_z)) >> 2);
}

/* Writes b to `to`, A-Z as a-z. */
static inline void bytes_lower(char *to, struct bytes b)
{
    uint64_t word;
    size_t i = 0;
    for (; i + 8 <= b.len; i += 8) {
        memcpy(&word, b.base + i, 8);
        word = bytes_lower_word(word);
        memcpy(to + i, &word, 8);
    }
    if (i == b.len)
        return;
    if (b.len >= 8) {
        memcpy(&word, b.base + b.len - 8, 8);
        word = bytes_lower_word(word);
        memcpy(to + b.len - 8, &word, 8);
        return;
    }
    for (; i < b.len; i++) {
        char c = b.base[i];
        to[i] = (char)(c + ((c >= 'A' && c <= 'Z') << 5));
    }
}

#endif
