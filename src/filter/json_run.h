/* The scanner's inner loop: how far a string goes on plainly. A plain byte is printable ASCII other
 * than the quote and the backslash; anything else needs a closer look. Internal to json.c, and a
 * header of its own so that a test can hold the variants against each other.
 *
 * None reads at or behind `end`. */
#ifndef FILTER_JSON_RUN_H
#define FILTER_JSON_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool json_is_plain(char byte)
{
    unsigned char c = (unsigned char)byte;
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Byte by byte: the definition. */
static inline const char *json_plain_run_bytes(const char *p, const char *end)
{
    while (p < end && json_is_plain(*p))
        p++;
    return p;
}

/* Eight bytes in a word: each test leaves the top bit of a byte that is not plain. A borrow may
 * also mark a byte above a marked one, never without one, so "none is marked" is exact on any byte
 * order. */
static inline const char *json_plain_run_word(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    while (end - p >= 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        uint64_t quote = x ^ (ones * '"'), backslash = x ^ (ones * '\\');
        uint64_t marked = x | (x - ones * 0x20) | (quote - ones) | (backslash - ones);
        if ((marked & tops) != 0)
            break;
        p += 8;
    }
    return json_plain_run_bytes(p, end);
}

#ifdef __SSE2__
static inline const char *json_plain_run_sse2(const char *p, const char *end)
{
    while (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
        __m128i quote = _mm_cmpeq_epi8(x, _mm_set1_epi8('"'));
        __m128i backslash = _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'));
        /* x itself brings the top bits of what is not ASCII. */
        __m128i marked = _mm_or_si128(_mm_or_si128(control, quote), _mm_or_si128(backslash, x));
        unsigned mask = (unsigned)_mm_movemask_epi8(marked);
        if (mask != 0)
            return p + __builtin_ctz(mask);
        p += 16;
    }
    return json_plain_run_word(p, end);
}
#endif

static inline const char *json_plain_run(const char *p, const char *end)
{
#ifdef __SSE2__
    return json_plain_run_sse2(p, end);
#else
    return json_plain_run_word(p, end);
#endif
}

#endif
