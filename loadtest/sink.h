/* Appends to a caller's buffer; what does not fit is cut off and remembered. Bodies are composed
 * this way because printf would cost more than everything else that the generator does. */
#ifndef LOADTEST_SINK_H
#define LOADTEST_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"

struct sink {
    char *base;
    size_t len, size;
    bool cut;
};

static inline void sink_bytes(struct sink *t, const char *base, size_t len)
{
    if (len > t->size - t->len) {
        t->cut = true;
        return;
    }
    memcpy(t->base + t->len, base, len);
    t->len += len;
}

static inline void sink_string(struct sink *t, const char *s)
{
    sink_bytes(t, s, strlen(s));
}

/* A string constant, its length known to the compiler. */
#define sink_literal(t, s) sink_bytes((t), "" s, sizeof(s) - 1)

static inline void sink_uint(struct sink *t, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    sink_bytes(t, digits + at, sizeof(digits) - at);
}

static inline void sink_int(struct sink *t, int64_t n)
{
    if (n < 0)
        sink_literal(t, "-");
    sink_uint(t, n < 0 ? -(uint64_t)n : (uint64_t)n);
}

/* A number given in units of 10^-places, with all its places. */
static inline void sink_fixed(struct sink *t, int64_t n, unsigned places)
{
    uint64_t unit = 1, size = n < 0 ? -(uint64_t)n : (uint64_t)n;
    for (unsigned i = 0; i < places; i++)
        unit *= 10;
    if (n < 0)
        sink_literal(t, "-");
    sink_uint(t, size / unit);
    sink_literal(t, ".");
    for (uint64_t rest = size % unit; unit > 1;) {
        unit /= 10;
        char digit = (char)('0' + rest / unit);
        sink_bytes(t, &digit, 1);
        rest %= unit;
    }
}

static inline void sink_hex(struct sink *t, uint64_t n, unsigned digits)
{
    char out[16];
    for (unsigned i = 0; i < digits; i++)
        out[digits - 1 - i] = "0123456789abcdef"[n >> (4 * i) & 15];
    sink_bytes(t, out, digits);
}

/* The inside of a JSON string: quotes, backslashes and control characters escaped. */
static inline void sink_escaped(struct sink *t, struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        unsigned char c = (unsigned char)b.base[i];
        if (c == '"' || c == '\\')
            sink_literal(t, "\\");
        if (c < 0x20) {
            sink_literal(t, "\\u00");
            sink_hex(t, c, 2);
        } else {
            sink_bytes(t, b.base + i, 1);
        }
    }
}

#endif
