/* A text that grows in an arena: how answers are written. Never fails; one thread. */
#ifndef PROXY_TEXT_H
#define PROXY_TEXT_H

#include <stdint.h>

#include "arena.h"
#include "bytes.h"

struct text {
    struct arena *arena;
    char *base;
    size_t len, size;
};

/* size_hint: bytes expected; 0 is fine. */
void text_begin(struct text *t, struct arena *arena, size_t size_hint);
void text_add(struct text *t, struct bytes b);
void text_add_string(struct text *t, const char *s);
/* b quoted and escaped as a JSON string; b is UTF-8. */
void text_add_json(struct text *t, struct bytes b);
void text_add_int(struct text *t, int64_t n);
void text_add_micros(struct text *t, int64_t micros);
void text_add_base64(struct text *t, struct bytes b); /* RFC 4648 section 4, padded */
struct bytes text_bytes(const struct text *t);        /* lives in the arena */

/* Money, or any number in millionths, as the shortest decimal: 3010000 -> "3.01", 5000000 -> "5",
 * -1 -> "-0.000001". Returns the length. */
enum { MICROS_TEXT_MAX = 24 };
size_t micros_format(char out[MICROS_TEXT_MAX], int64_t micros);

#endif
