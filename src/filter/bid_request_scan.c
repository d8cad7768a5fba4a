/* The readers of single values that every part of a bid request is made of. */
#include "filter/bid_request_scan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void scan_fault(struct scan *s, const char *reason, const char *path_format, ...)
{
    if (s->j.error != NULL) /* broken JSON, or an earlier fault: what follows from it is noise */
        return;
    va_list args;
    va_start(args, path_format);
    vsnprintf(s->e->path, sizeof(s->e->path), path_format, args);
    va_end(args);
    snprintf(s->e->reason, sizeof(s->e->reason), "%s", reason);
    s->j.error = "refused";
}

bool scan_enter_object(struct scan *s)
{
    if (json_peek(&s->j) == JSON_IS_OBJECT)
        return json_enter_object(&s->j);
    scan_skip(s);
    return false;
}

bool scan_enter_array(struct scan *s)
{
    if (json_peek(&s->j) == JSON_IS_ARRAY)
        return json_enter_array(&s->j);
    scan_skip(s);
    return false;
}

bool scan_text(struct scan *s, struct bytes *out)
{
    *out = (struct bytes){NULL, 0};
    enum json_type type = json_peek(&s->j);
    if (type != JSON_IS_STRING) {
        scan_skip(s);
        return type == JSON_IS_NULL;
    }
    bool escaped = false;
    if (json_text(&s->j, out, &escaped) && escaped)
        *out = json_unescape(*out, s->arena);
    return true;
}

/* A number's whole value; false for whatever else, which is skipped. */
static bool scan_int64(struct scan *s, int64_t *value)
{
    if (json_peek(&s->j) != JSON_IS_NUMBER) {
        scan_skip(s);
        return false;
    }
    struct bytes raw;
    return json_number(&s->j, &raw) && json_to_int(raw, value);
}

void scan_int(struct scan *s, int32_t *out, int32_t absent)
{
    int64_t value;
    bool fits = scan_int64(s, &value) && value >= INT32_MIN && value <= INT32_MAX;
    *out = fits ? (int32_t)value : absent;
}

bool scan_count(struct scan *s, int32_t *out, int32_t absent)
{
    int64_t value;
    *out = absent;
    if (!scan_int64(s, &value))
        return true;
    if (value <= INT32_MAX && value >= 0)
        *out = (int32_t)value;
    return value >= 0;
}

bool scan_flag(struct scan *s, int8_t *out)
{
    *out = -1;
    switch (json_peek(&s->j)) {
    case JSON_IS_TRUE:
        *out = 1;
        break;
    case JSON_IS_FALSE:
        *out = 0;
        break;
    case JSON_IS_NULL:
        break;
    case JSON_IS_NUMBER: {
        int64_t value;
        if (!scan_int64(s, &value) || (value != 0 && value != 1))
            return false;
        *out = (int8_t)value;
        return true;
    }
    default:
        scan_skip(s);
        return false;
    }
    scan_skip(s);
    return true;
}

void scan_double(struct scan *s, double *out)
{
    struct bytes raw;
    *out = NAN;
    if (json_peek(&s->j) != JSON_IS_NUMBER)
        scan_skip(s);
    else if (json_number(&s->j, &raw))
        *out = json_to_double(raw);
}

void *scan_grow(struct scan *s, void *items, uint32_t n, uint32_t *capacity, size_t item_size)
{
    if (n < *capacity)
        return items;
    *capacity = *capacity == 0 ? 4 : *capacity * 2;
    void *grown = arena_alloc(s->arena, *capacity * item_size);
    if (n > 0)
        memcpy(grown, items, n * item_size);
    return grown;
}

void scan_list(struct scan *s, struct bytes_list *out)
{
    /* Most lists are short: they are gathered here, and take just their size of the arena. */
    struct bytes few[32];
    struct bytes *items = few;
    uint32_t n = 0, capacity = sizeof(few) / sizeof(few[0]);
    out->items = NULL;
    out->n = 0;
    if (!scan_enter_array(s))
        return;
    while (json_next_element(&s->j)) {
        if (n == BID_REQUEST_LIST_MAX) {
            scan_skip(s);
            continue;
        }
        items = scan_grow(s, items, n, &capacity, sizeof(*items));
        scan_text(s, &items[n]);
        n += items[n].base != NULL;
    }
    if (n > 0 && items == few) {
        items = arena_alloc(s->arena, n * sizeof(*items));
        memcpy(items, few, n * sizeof(*items));
    }
    out->items = n > 0 ? items : NULL;
    out->n = n;
}

void scan_bits(struct scan *s, uint32_t *out)
{
    *out = 0;
    if (!scan_enter_array(s))
        return;
    while (json_next_element(&s->j)) {
        int32_t value;
        scan_int(s, &value, -1);
        if (value >= 0 && value < 32)
            *out |= (uint32_t)1 << value;
    }
}

bool scan_micros(struct scan *s, int64_t *out)
{
    *out = 0;
    enum json_type type = json_peek(&s->j);
    if (type != JSON_IS_NUMBER) {
        scan_skip(s);
        return type == JSON_IS_NULL;
    }
    struct bytes raw;
    if (!json_number(&s->j, &raw))
        return true;
    bool fits = json_to_micros(raw, out);
    if (!fits || *out < 0)
        *out = 0;
    return fits || raw.base[0] == '-';
}

bool scan_is_currency(struct bytes text)
{
    if (text.len != 3)
        return false;
    for (size_t i = 0; i < 3; i++) {
        char c = text.base[i] | 0x20;
        if (c < 'a' || c > 'z')
            return false;
    }
    return true;
}

struct bytes scan_upper(struct scan *s, struct bytes text)
{
    bool lower = false;
    for (size_t i = 0; i < text.len; i++)
        lower |= text.base[i] >= 'a' && text.base[i] <= 'z';
    if (!lower)
        return text;
    char *upper = arena_alloc(s->arena, text.len);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        upper[i] = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    }
    return (struct bytes){upper, text.len};
}

bool scan_currency(struct scan *s, struct bytes *out)
{
    if (!scan_text(s, out))
        return false;
    if (out->len == 0) {
        out->base = NULL;
        return true;
    }
    if (!scan_is_currency(*out)) {
        *out = (struct bytes){NULL, 0};
        return false;
    }
    *out = scan_upper(s, *out);
    return true;
}
