/* The scanner walks the text once, from `at` to `end`, and keeps no more state than that: whoever
 * entered an object reads it to its end before going on in what is around it, so the call stack of
 * the caller is the nesting, and a counter bounds it. Only json_skip meets nesting of its own; it
 * remembers the kind of each open bracket in one bit.
 *
 * A value is found to be whole before it is handed out, so a caller never sees a piece of one. The
 * inner loops take the position as an argument and return the new one, or NULL on a fault, which
 * keeps it in a register. */
#include "filter/json.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "filter/json_run.h"

/* ---- faults ---------------------------------------------------------------------------------- */

__attribute__((noinline, cold)) static const char *fault_at(struct json *j, const char *p,
                                                            const char *phrase)
{
    j->at = p;
    j->error = phrase;
    return NULL;
}

__attribute__((noinline, cold)) static bool fault(struct json *j, const char *p, const char *phrase)
{
    fault_at(j, p, phrase);
    return false;
}

static const char end_in_object[] = "the text ends inside an object";
static const char end_in_array[] = "the text ends inside an array";

/* ---- lexemes --------------------------------------------------------------------------------- */

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Mostly there is none, and one comparison says so. */
static inline const char *skip_space(const char *p, const char *end)
{
    if (p < end && (unsigned char)*p > ' ')
        return p;
    while (p < end && is_space(*p))
        p++;
    return p;
}

static inline int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four hex digits at p, or -1. */
static inline int hex4(const char *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static inline bool is_continuation(const char *p, unsigned char low, unsigned char high)
{
    unsigned char c = (unsigned char)*p;
    return c >= low && c <= high;
}

/* One multi-byte sequence, well-formed by Unicode's table 3-7 (no surrogates, nothing overlong,
 * nothing beyond U+10FFFF). Returns its length, or 0. */
static inline size_t utf8_sequence(const char *p, const char *end)
{
    unsigned char c = (unsigned char)*p;
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || (size_t)(end - p) < len)
        return 0;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (!is_continuation(p + 1, low, high))
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (!is_continuation(p + i, 0x80, 0xbf))
            return 0;
    }
    return len;
}

/* Past whatever is not plain in a string at p: an escape, or a run of multi-byte sequences. */
__attribute__((noinline)) static const char *string_special(struct json *j, const char *p)
{
    unsigned char c = (unsigned char)*p;
    if (c >= 0x80) {
        while (p < j->end && (unsigned char)*p >= 0x80) {
            size_t len = utf8_sequence(p, j->end);
            if (len == 0)
                return fault_at(j, p, "invalid UTF-8 in a string");
            p += len;
        }
        return p;
    }
    if (c != '\\')
        return fault_at(j, p, "a control character in a string must be escaped");
    if (j->end - p < 2)
        return fault_at(j, j->end, "the text ends inside a string");
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        if (j->end - p < 6 || hex4(p + 2) < 0)
            return fault_at(j, p, "a Unicode escape needs four hexadecimal digits");
        return p + 6;
    default:
        return fault_at(j, p, "unknown escape in a string");
    }
}

/* From behind the opening quote to the closing one. */
static inline const char *string_end(struct json *j, const char *p, bool *escaped)
{
    for (;;) {
        p = json_plain_run(p, j->end);
        if (p == j->end)
            return fault_at(j, p, "the text ends inside a string");
        if (*p == '"')
            return p;
        *escaped |= *p == '\\';
        p = string_special(j, p);
        if (p == NULL)
            return NULL;
    }
}

static inline const char *number_end(struct json *j, const char *p)
{
    const char *end = j->end;
    if (*p == '-')
        p++;
    if (p == end || !is_digit(*p))
        return fault_at(j, p, "expected a digit");
    if (*p == '0') {
        p++; /* a digit behind it is then no ',' and no bracket, hence a fault */
    } else {
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && *p == '.') {
        if (++p == end || !is_digit(*p))
            return fault_at(j, p, "expected a digit behind the point");
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && (*p | 0x20) == 'e') {
        if (++p < end && (*p == '+' || *p == '-'))
            p++;
        if (p == end || !is_digit(*p))
            return fault_at(j, p, "expected a digit in the exponent");
        while (p < end && is_digit(*p))
            p++;
    }
    return p;
}

static inline const char *literal_end(struct json *j, const char *p, const char *word, size_t len)
{
    if ((size_t)(j->end - p) < len || memcmp(p, word, len) != 0)
        return fault_at(j, p, "expected a value");
    return p + len;
}

/* Past the scalar at p. */
static inline const char *scalar_end(struct json *j, const char *p)
{
    bool escaped = false;
    switch (*p) {
    case '"':
        p = string_end(j, p + 1, &escaped);
        return p == NULL ? NULL : p + 1;
    case 't':
        return literal_end(j, p, "true", 4);
    case 'f':
        return literal_end(j, p, "false", 5);
    case 'n':
        return literal_end(j, p, "null", 4);
    default:
        if (*p != '-' && !is_digit(*p))
            return fault_at(j, p, "expected a value");
        return number_end(j, p);
    }
}

/* From where a key is due to where its value is. */
static inline const char *key_end(struct json *j, const char *p, struct bytes *key, bool *escaped)
{
    p = skip_space(p, j->end);
    if (p == j->end || *p != '"')
        return fault_at(j, p, "expected a key in quotes");
    const char *base = p + 1;
    p = string_end(j, base, escaped);
    if (p == NULL)
        return NULL;
    key->base = base;
    key->len = (size_t)(p - base);
    p = skip_space(p + 1, j->end);
    if (p == j->end || *p != ':')
        return fault_at(j, p, "expected ':'");
    return p + 1;
}

/* ---- the walk -------------------------------------------------------------------------------- */

void json_begin(struct json *j, struct bytes text)
{
    memset(j, 0, sizeof(*j));
    j->base = j->at = text.base != NULL ? text.base : "";
    j->end = j->base + text.len;
}

enum json_type json_peek(struct json *j)
{
    if (j->error != NULL)
        return JSON_IS_INVALID;
    j->at = skip_space(j->at, j->end);
    if (j->at == j->end)
        return JSON_IS_INVALID;
    switch (*j->at) {
    case '{':
        return JSON_IS_OBJECT;
    case '[':
        return JSON_IS_ARRAY;
    case '"':
        return JSON_IS_STRING;
    case 't':
        return JSON_IS_TRUE;
    case 'f':
        return JSON_IS_FALSE;
    case 'n':
        return JSON_IS_NULL;
    default:
        return *j->at == '-' || is_digit(*j->at) ? JSON_IS_NUMBER : JSON_IS_INVALID;
    }
}

static inline bool enter(struct json *j, char bracket, const char *phrase)
{
    if (j->error != NULL)
        return false;
    const char *p = skip_space(j->at, j->end);
    if (p == j->end || *p != bracket)
        return fault(j, p, phrase);
    if (j->depth == JSON_DEPTH_MAX)
        return fault(j, p, "nested too deeply");
    j->depth++;
    j->first = true;
    j->at = p + 1;
    return true;
}

bool json_enter_object(struct json *j)
{
    return enter(j, '{', "expected an object");
}

bool json_enter_array(struct json *j)
{
    return enter(j, '[', "expected an array");
}

/* What was closed is itself a member of what is around it. */
static inline bool leave(struct json *j, const char *p)
{
    j->at = p;
    j->depth--;
    j->first = false;
    return false;
}

bool json_next_key(struct json *j, struct bytes *key)
{
    if (j->error != NULL)
        return false;
    assert(j->depth > 0);
    const char *p = skip_space(j->at, j->end);
    if (p == j->end)
        return fault(j, p, end_in_object);
    if (*p == '}')
        return leave(j, p + 1);
    if (!j->first) {
        if (*p != ',')
            return fault(j, p, "expected ',' or '}'");
        p++;
    }
    bool escaped = false;
    p = key_end(j, p, key, &escaped);
    if (p == NULL)
        return false;
    j->key_escaped = escaped;
    j->first = false;
    j->at = p;
    return true;
}

bool json_next_element(struct json *j)
{
    if (j->error != NULL)
        return false;
    assert(j->depth > 0);
    const char *p = skip_space(j->at, j->end);
    if (p == j->end)
        return fault(j, p, end_in_array);
    if (*p == ']')
        return leave(j, p + 1);
    if (!j->first) {
        if (*p != ',')
            return fault(j, p, "expected ',' or ']'");
        p = skip_space(p + 1, j->end);
        /* Otherwise the next call would take "[1,]" for the end. */
        if (p < j->end && *p == ']')
            return fault(j, p, "expected a value");
    }
    j->first = false;
    j->at = p;
    return true;
}

bool json_text(struct json *j, struct bytes *raw, bool *escaped)
{
    if (j->error != NULL)
        return false;
    const char *p = skip_space(j->at, j->end);
    if (p == j->end || *p != '"')
        return fault(j, p, "expected a string");
    bool any = false;
    const char *last = string_end(j, p + 1, &any);
    if (last == NULL)
        return false;
    raw->base = p + 1;
    raw->len = (size_t)(last - raw->base);
    if (escaped != NULL)
        *escaped = any;
    j->at = last + 1;
    return true;
}

bool json_number(struct json *j, struct bytes *raw)
{
    if (j->error != NULL)
        return false;
    const char *p = skip_space(j->at, j->end);
    if (p == j->end || (*p != '-' && !is_digit(*p)))
        return fault(j, p, "expected a number");
    const char *last = number_end(j, p);
    if (last == NULL)
        return false;
    raw->base = p;
    raw->len = (size_t)(last - p);
    j->at = last;
    return true;
}

/* Past the object or array at p: `open` counts the brackets not yet closed, `kinds` holds a bit for
 * each, set for an object. */
static const char *container_end(struct json *j, const char *p)
{
    const char *end = j->end;
    uint64_t kinds[JSON_DEPTH_MAX / 64] = {0};
    uint32_t open = 0;
    struct bytes key;
    bool escaped = false;
    for (;;) {
        /* A value is due at p. */
        if (p == end)
            return fault_at(j, p, "the text ends where a value is due");
        if (*p == '{' || *p == '[') {
            bool object = *p == '{';
            if (j->depth + open == JSON_DEPTH_MAX)
                return fault_at(j, p, "nested too deeply");
            uint64_t bit = (uint64_t)1 << (open % 64);
            kinds[open / 64] = object ? kinds[open / 64] | bit : kinds[open / 64] & ~bit;
            open++;
            p = skip_space(p + 1, end);
            if (p == end)
                return fault_at(j, p, object ? end_in_object : end_in_array);
            if (*p != (object ? '}' : ']')) {
                if (object && (p = key_end(j, p, &key, &escaped)) == NULL)
                    return NULL;
                p = skip_space(p, end);
                continue;
            }
        } else if ((p = scalar_end(j, p)) == NULL) {
            return NULL;
        }
        /* A value ends at p, or a closing bracket stands there. */
        for (;;) {
            bool object = (kinds[(open - 1) / 64] >> ((open - 1) % 64) & 1) != 0;
            p = skip_space(p, end);
            if (p < end && *p == ',') {
                p++;
                if (object && (p = key_end(j, p, &key, &escaped)) == NULL)
                    return NULL;
                p = skip_space(p, end);
                break;
            }
            if (p == end)
                return fault_at(j, p, object ? end_in_object : end_in_array);
            if (*p != (object ? '}' : ']'))
                return fault_at(j, p, object ? "expected ',' or '}'" : "expected ',' or ']'");
            p++;
            if (--open == 0)
                return p;
        }
    }
}

bool json_skip(struct json *j, struct bytes *raw)
{
    if (j->error != NULL)
        return false;
    const char *start = skip_space(j->at, j->end);
    if (start == j->end)
        return fault(j, start, "the text ends where a value is due");
    const char *p = *start == '{' || *start == '[' ? container_end(j, start) : scalar_end(j, start);
    if (p == NULL)
        return false;
    if (raw != NULL) {
        raw->base = start;
        raw->len = (size_t)(p - start);
    }
    j->at = p;
    return true;
}

bool json_finish(struct json *j)
{
    if (j->error != NULL)
        return false;
    j->at = skip_space(j->at, j->end);
    if (j->depth != 0)
        return fault(j, j->at, "an object or array was not read to its end");
    if (j->at != j->end)
        return fault(j, j->at, "nothing may follow the value");
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

static size_t utf8_encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Decodes the \u escape at *p, which takes a second one if both make a surrogate pair. */
static uint32_t decode_u(const char **p, const char *end)
{
    uint32_t c = (uint32_t)hex4(*p + 2);
    *p += 6;
    if (c < 0xd800 || c > 0xdfff)
        return c;
    if (c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        uint32_t low = (uint32_t)hex4(*p + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* Decodes the escape at *p, which the scanner has validated, into out[4]. */
static size_t decode_escape(const char **p, const char *end, char *out)
{
    char c = (*p)[1];
    if (c == 'u')
        return utf8_encode(decode_u(p, end), out);
    *p += 2;
    switch (c) {
    case 'b':
        c = '\b';
        break;
    case 'f':
        c = '\f';
        break;
    case 'n':
        c = '\n';
        break;
    case 'r':
        c = '\r';
        break;
    case 't':
        c = '\t';
        break;
    default: /* itself */
        break;
    }
    out[0] = c;
    return 1;
}

struct bytes json_unescape(struct bytes raw, struct arena *arena)
{
    const char *p = raw.len == 0 ? NULL : memchr(raw.base, '\\', raw.len);
    if (p == NULL)
        return raw;
    /* No escape is shorter than what it stands for. */
    char *out = arena_alloc(arena, raw.len);
    const char *start = raw.base, *end = raw.base + raw.len;
    size_t n = 0;
    while (p != NULL) {
        memcpy(out + n, start, (size_t)(p - start));
        n += (size_t)(p - start);
        n += decode_escape(&p, end, out + n);
        start = p;
        p = memchr(start, '\\', (size_t)(end - start));
    }
    memcpy(out + n, start, (size_t)(end - start));
    return (struct bytes){out, n + (size_t)(end - start)};
}

bool json_key_is(struct bytes raw, const char *text)
{
    const char *p = raw.base, *end = raw.base + raw.len;
    size_t left = strlen(text);
    while (p < end) {
        char decoded[4] = {*p};
        size_t n = 1;
        if (*p == '\\')
            n = decode_escape(&p, end, decoded);
        else
            p++;
        if (n > left || memcmp(decoded, text, n) != 0)
            return false;
        text += n;
        left -= n;
    }
    return left == 0;
}

/* ---- numbers --------------------------------------------------------------------------------- */

enum { EXPONENT_LIMIT = 1000000000, DOUBLE_DIGITS_MAX = 800 };

/* A number taken apart: its significant digits without zeros at either end, and the power of ten of
 * the last one. */
struct decimal {
    bool negative;
    bool truncated;   /* more digits than were asked for; what is cut off is not zero */
    uint32_t n;       /* digits kept; 0 = the number is zero */
    uint64_t digits;  /* the first 19 of them, as a number */
    int64_t exponent; /* of the last digit kept */
    char *text;       /* where to put the digits' text, or NULL */
    uint32_t digits_max;
};

static void decimal_push(struct decimal *d, char digit)
{
    if (d->n >= d->digits_max) {
        d->truncated |= digit != '0';
        d->exponent++;
        return;
    }
    if (d->text != NULL)
        d->text[d->n] = digit;
    if (d->n < 19)
        d->digits = d->digits * 10 + (uint64_t)(digit - '0');
    d->n++;
}

/* raw is a valid number. Zeros are held back until a digit follows them, so that "1.000" and "1e3"
 * keep one digit each, however many zeros there are. */
static void decimal_parse(struct decimal *d, struct bytes raw)
{
    const char *p = raw.base, *end = raw.base + raw.len;
    d->negative = p < end && *p == '-';
    p += d->negative;
    bool fraction = false;
    int64_t zeros = 0, behind_point = 0;
    for (; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        behind_point += fraction;
        if (*p == '0') {
            zeros += d->n > 0;
            continue;
        }
        for (; zeros > 0; zeros--)
            decimal_push(d, '0');
        decimal_push(d, *p);
    }
    d->exponent += zeros - behind_point;
    if (p == end)
        return;
    p++;
    bool minus = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    int64_t exponent = 0;
    for (; p < end; p++) {
        if (exponent < EXPONENT_LIMIT)
            exponent = exponent * 10 + (*p - '0');
    }
    d->exponent += minus ? -exponent : exponent;
}

/* 10^n, n at most 19. */
static uint64_t power_of_ten(int64_t n)
{
    uint64_t power = 1;
    while (n-- > 0)
        power *= 10;
    return power;
}

double json_to_double(struct bytes raw)
{
    /* A double's halfway point has at most 767 significant digits; what is beyond can only say "a
     * little more", which one digit more says as well. Without a point the text reads the same in
     * any locale. */
    char text[DOUBLE_DIGITS_MAX + 32];
    struct decimal d = {.text = text, .digits_max = DOUBLE_DIGITS_MAX};
    decimal_parse(&d, raw);
    if (d.n == 0)
        return d.negative ? -0.0 : 0.0;
    double value;
    if (d.n <= 15 && d.exponent >= -22 && d.exponent <= 22) {
        /* Both exact, hence one correctly rounded operation (Clinger). */
        static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
        value = (double)d.digits;
        value = d.exponent < 0 ? value / exact[-d.exponent] : value * exact[d.exponent];
    } else {
        if (d.truncated) {
            text[d.n++] = '1';
            d.exponent--;
        }
        snprintf(text + d.n, sizeof(text) - d.n, "e%lld", (long long)d.exponent);
        value = strtod(text, NULL);
    }
    return d.negative ? -value : value;
}

bool json_to_int(struct bytes raw, int64_t *out)
{
    /* Nearly all are a few digits. */
    if (raw.len <= 18) {
        int64_t value = 0;
        size_t i = 0;
        for (; i < raw.len && is_digit(raw.base[i]); i++)
            value = value * 10 + (raw.base[i] - '0');
        if (i == raw.len) {
            *out = value;
            return true;
        }
    }
    struct decimal d = {.digits_max = 19};
    decimal_parse(&d, raw);
    if (d.n == 0) {
        *out = 0;
        return true;
    }
    if (d.truncated || d.exponent < 0 || d.exponent > 18)
        return false;
    uint64_t value;
    if (__builtin_mul_overflow(d.digits, power_of_ten(d.exponent), &value))
        return false;
    if (value > (uint64_t)INT64_MAX + d.negative)
        return false;
    *out = d.negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool json_to_micros(struct bytes raw, int64_t *out)
{
    struct decimal d = {.digits_max = 19};
    decimal_parse(&d, raw);
    int64_t exponent = d.exponent + 6;
    uint64_t value = 0;
    if (d.n == 0 || exponent < -19) {
        value = 0;
    } else if (exponent >= 0) {
        if (exponent > 19 || __builtin_mul_overflow(d.digits, power_of_ten(exponent), &value))
            return false;
    } else {
        /* Half of a power of ten is whole, so digits that were cut off cannot reach it. */
        uint64_t unit = power_of_ten(-exponent);
        value = d.digits / unit + (d.digits % unit >= unit / 2);
    }
    if (value > 9000000000000u)
        return false;
    *out = d.negative ? -(int64_t)value : (int64_t)value;
    return true;
}
