/* Small numbers as text that lives forever: features and places hold borrowed spans, and most of
 * the numbers in a bid request are below a thousand. */
#ifndef FILTER_DIGITS_H
#define FILTER_DIGITS_H

#include <stdint.h>

#include "arena.h"
#include "bytes.h"

enum { DIGITS_STATIC_MAX = 999 };

/* n <= DIGITS_STATIC_MAX, decimal, no leading zeros. */
struct bytes digits(uint32_t n);

/* Any n; what is larger, or negative, is written into the arena. */
struct bytes digits_any(int64_t n, struct arena *arena);

#endif
