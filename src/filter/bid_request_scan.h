/* What bid_request*.c share: the state of one scan, and readers for the kinds of values that a bid
 * request holds. Internal to them.
 *
 * A reader consumes exactly one value, whatever its type. A scan ends at its first fault: the fault
 * is written down and the JSON scanner stopped, so that every loop runs out by itself and nobody
 * has to hand failures up. */
#ifndef FILTER_BID_REQUEST_SCAN_H
#define FILTER_BID_REQUEST_SCAN_H

#include "filter/bid_request.h"
#include "filter/json.h"

enum { BID_REQUEST_SIZES_MAX = 256 }; /* of one imp; the rest is validated and dropped */

struct scan {
    struct json j;
    struct arena *arena;
    struct bid_request *r;
    struct bid_request_error *e;
    uint32_t imps_max;
    uint32_t imp; /* being read; for paths */
};

/* Refuses the request, unless it is refused already: path by format, reason as it is. */
__attribute__((format(printf, 3, 4), noinline, cold)) void
scan_fault(struct scan *s, const char *reason, const char *path_format, ...);

/* Keys: decoded when they hold escapes. A key is looked up by its length and first letter, then
 * compared. */
static inline bool scan_key(struct scan *s, struct bytes *key)
{
    if (!json_next_key(&s->j, key))
        return false;
    if (__builtin_expect(s->j.key_escaped, false))
        *key = json_unescape(*key, s->arena);
    return true;
}

#define KEY(len, letter) ((uint32_t)(len) << 8 | (uint32_t)(letter))
/* Behind an empty key stands its closing quote, so base[0] can be read in any case. */
static inline uint32_t scan_key_code(struct bytes key)
{
    return key.len > 255 ? 0 : KEY(key.len, (unsigned char)key.base[0]);
}
#define KEY_IS(key, literal) \
    ((key).len == sizeof(literal) - 1 && memcmp((key).base, literal, sizeof(literal) - 1) == 0)

/* Objects and arrays: true when entered. Anything else is skipped. */
bool scan_enter_object(struct scan *s);
bool scan_enter_array(struct scan *s);
static inline void scan_skip(struct scan *s)
{
    json_skip(&s->j, NULL);
}

/* A string, decoded; absent when it is none. True unless it is something other than a string or
 * null. */
bool scan_text(struct scan *s, struct bytes *out);
/* A number that is whole and fits; else `absent`. */
void scan_int(struct scan *s, int32_t *out, int32_t absent);
/* The same, of 0 or more; false if it is negative. */
bool scan_count(struct scan *s, int32_t *out, int32_t absent);
/* 0, 1, false, true; else -1. True unless it is something other than these or null. */
bool scan_flag(struct scan *s, int8_t *out);
void scan_double(struct scan *s, double *out); /* else NAN */
/* An array's strings, the first BID_REQUEST_LIST_MAX of them; what is no string is left out. */
void scan_list(struct scan *s, struct bytes_list *out);
/* An array's whole numbers 0..31, as bits. */
void scan_bits(struct scan *s, uint32_t *out);
/* Money in currency units: null counts as 0, and so does less than 0. False if it is no number or
 * too large a one. */
bool scan_micros(struct scan *s, int64_t *out);
/* Three letters, turned to upper case; null and "" are absent. False if it is anything else. */
bool scan_currency(struct scan *s, struct bytes *out);
bool scan_is_currency(struct bytes text);
struct bytes scan_upper(struct scan *s, struct bytes text);

/* Makes room for one more item in an array that lives in the arena: doubles it when it is full. */
void *scan_grow(struct scan *s, void *items, uint32_t n, uint32_t *capacity, size_t item_size);

/* The parts. */
void scan_imps(struct scan *s);
void scan_sua(struct scan *s);
/* Markup of a native ad request, a JSON text of its own; at imp[s->imp].native.request. */
void scan_native_markup(struct scan *s, struct bytes markup);

#endif
