/* A text that grows in an arena: how answers are written. Never fails; one thread. */
#ifndef PROXY_ARENA_TEXT_H
#define PROXY_ARENA_TEXT_H

#include <stdint.h>

#include "arena.h"
#include "bytes.h"

struct arena_text {
    struct arena *arena;
    char *base;
    size_t len, size;
};

/* size_hint: bytes expected; 0 is fine. */
void arena_text_begin(struct arena_text *t, struct arena *arena, size_t size_hint);
void arena_text_add(struct arena_text *t, struct bytes b);
void arena_text_add_string(struct arena_text *t, const char *s);
/* b quoted and escaped as a JSON string; b is UTF-8. */
void arena_text_add_json(struct arena_text *t, struct bytes b);
void arena_text_add_int(struct arena_text *t, int64_t n);
void arena_text_add_micros(struct arena_text *t, int64_t micros);
void arena_text_add_base64(struct arena_text *t, struct bytes b); /* RFC 4648 section 4, padded */
struct bytes arena_text_bytes(const struct arena_text *t);        /* lives in the arena */

/* Money, or any number in millionths, as the shortest decimal: 3010000 -> "3.01", 5000000 -> "5",
 * -1 -> "-0.000001". Returns the length. */
enum { MICROS_TEXT_MAX = 24 };
size_t micros_format(char out[MICROS_TEXT_MAX], int64_t micros);

#endif
