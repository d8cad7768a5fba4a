/* All numbers from 000 to 999 stand in one string; a number's text starts behind its leading zeros.
 */
#include "filter/digits.h"

#include <assert.h>

#define ONES(p) p "0" p "1" p "2" p "3" p "4" p "5" p "6" p "7" p "8" p "9"
#define TENS(p) \
    ONES(p "0") \
    ONES(p "1") \
    ONES(p "2") ONES(p "3") ONES(p "4") ONES(p "5") ONES(p "6") ONES(p "7") ONES(p "8") ONES(p "9")

static const char NUMBERS[] = TENS("0") TENS("1") TENS("2") TENS("3") TENS("4") TENS("5") TENS("6")
    TENS("7") TENS("8") TENS("9");

_Static_assert(sizeof(NUMBERS) == 3 * (DIGITS_STATIC_MAX + 1) + 1, "three digits a number");

struct bytes digits(uint32_t n)
{
    assert(n <= DIGITS_STATIC_MAX);
    uint32_t zeros = n < 10 ? 2 : n < 100 ? 1 : 0;
    return (struct bytes){NUMBERS + 3 * n + zeros, 3 - zeros};
}

struct bytes digits_any(int64_t n, struct arena *arena)
{
    if (n >= 0 && n <= DIGITS_STATIC_MAX)
        return digits((uint32_t)n);
    char text[20];
    size_t at = sizeof(text);
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        text[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (n < 0)
        text[--at] = '-';
    char *copy = arena_alloc(arena, sizeof(text) - at);
    memcpy(copy, text + at, sizeof(text) - at);
    return (struct bytes){copy, sizeof(text) - at};
}
