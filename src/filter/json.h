/* A validating pull scanner over one JSON text (RFC 8259): one pass, no allocation, no DOM. It is
 * the request path's reader; jansson is the oracle that its tests compare it with.
 *
 *   struct json j;
 *   json_begin(&j, text);
 *   json_enter_object(&j);
 *   struct bytes key;
 *   while (json_next_key(&j, &key)) {
 *       if (bytes_is(key, "id")) json_text(&j, &id); else json_skip(&j, NULL);
 *   }
 *   if (!json_finish(&j)) ... j.error, j.at - j.base
 *
 * After the first fault every call fails and moves nothing, so that a caller may check once at the
 * end. Depth is bounded by JSON_DEPTH_MAX. Strings must be valid UTF-8; escapes are validated, and
 * decoded only on demand.
 *
 * Names keep clear of jansson's (json_string, JSON_OBJECT, ...), with which it shares programs. */
#ifndef FILTER_JSON_H
#define FILTER_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "bytes.h"

enum { JSON_DEPTH_MAX = 128 };

enum json_type {
    JSON_IS_INVALID, /* a fault, or the end of the text */
    JSON_IS_OBJECT,
    JSON_IS_ARRAY,
    JSON_IS_STRING,
    JSON_IS_NUMBER,
    JSON_IS_TRUE,
    JSON_IS_FALSE,
    JSON_IS_NULL
};

struct json {
    const char *base, *at, *end;
    const char *error; /* NULL while all is well; a constant phrase, e.g. "expected ',' or '}'" */
    uint32_t depth;
    bool first;       /* no member read yet in the innermost object or array */
    bool key_escaped; /* the last key holds a backslash: compare it with json_key_is */
};

void json_begin(struct json *j, struct bytes text);

/* The type of the next value; consumes white space only. */
enum json_type json_peek(struct json *j);

bool json_enter_object(struct json *j);
/* The next member's key, raw between its quotes; its value must be read or skipped before the next
 * call. False at '}', which is consumed, or on a fault. */
bool json_next_key(struct json *j, struct bytes *key);
/* Whether a raw key, its escapes decoded, is this text. */
bool json_key_is(struct bytes raw, const char *text);

bool json_enter_array(struct json *j);
bool json_next_element(struct json *j); /* false at ']', consumed, or on a fault */

/* Raw bytes between the quotes. *escaped (may be NULL) says whether a backslash is among them. */
bool json_text(struct json *j, struct bytes *raw, bool *escaped);
bool json_number(struct json *j, struct bytes *raw);
/* Skips one value of any type, validating it. *raw (may be NULL) gets its whole text, quotes and
 * brackets included. */
bool json_skip(struct json *j, struct bytes *raw);

/* True if no fault occurred and only white space is left. */
bool json_finish(struct json *j);

/* Decodes a raw string with escapes into the arena; a raw string without any is returned as it is.
 * A lone surrogate becomes U+FFFD. */
struct bytes json_unescape(struct bytes raw, struct arena *arena);

/* Numbers, from raw text. json_to_double agrees with strtod. json_to_int: false if it has a
 * fraction, an exponent that does not come out whole, or does not fit. json_to_micros: value * 1e6
 * rounded half away from zero; false if beyond +-9e12 (that is 9 million currency units times 1e6).
 */
double json_to_double(struct bytes raw);
bool json_to_int(struct bytes raw, int64_t *out);
bool json_to_micros(struct bytes raw, int64_t *out);

#endif
