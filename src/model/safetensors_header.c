/* Reads the header strictly: what the format's writers produce passes, and whatever deviates is
 * refused with the byte where it does. Strings are unescaped into one buffer; it is as long as the
 * header, which is always enough: an escape is longer than what it stands for, and the two quotes
 * leave room for the NUL. */
#include "model/safetensors_header.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *at, *end, *start;
    char *texts; /* where the next string goes */
    const char *where;
    struct error *err;
};

static int fail(struct parser *p, const char *why)
{
    return error_set(p->err, "%s: header byte %zu: %s", p->where, (size_t)(p->at - p->start), why);
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static bool take(struct parser *p, char c)
{
    skip_space(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* ---- strings ---- */

size_t header_utf8_length(struct bytes b)
{
    const unsigned char *s = (const unsigned char *)b.base;
    if (b.len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || b.len < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

static int hex4(struct parser *p, uint32_t *code)
{
    *code = 0;
    if (p->end - p->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (uint32_t)((c | 32) - 'a' + 10);
        else
            return -1;
        *code = *code << 4 | digit;
    }
    return 0;
}

static void put_utf8(struct parser *p, uint32_t code)
{
    if (code < 0x80) {
        *p->texts++ = (char)code;
    } else if (code < 0x800) {
        *p->texts++ = (char)(0xc0 | code >> 6);
        *p->texts++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *p->texts++ = (char)(0xe0 | code >> 12);
        *p->texts++ = (char)(0x80 | (code >> 6 & 63));
        *p->texts++ = (char)(0x80 | (code & 63));
    } else {
        *p->texts++ = (char)(0xf0 | code >> 18);
        *p->texts++ = (char)(0x80 | (code >> 12 & 63));
        *p->texts++ = (char)(0x80 | (code >> 6 & 63));
        *p->texts++ = (char)(0x80 | (code & 63));
    }
}

/* Behind "\u". */
static int parse_unicode_escape(struct parser *p)
{
    uint32_t code, low;
    if (hex4(p, &code) != 0)
        return fail(p, "bad \\u escape");
    if (code >= 0xdc00 && code <= 0xdfff)
        return fail(p, "lone low surrogate");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u')
            return fail(p, "lone high surrogate");
        p->at += 2;
        if (hex4(p, &low) != 0 || low < 0xdc00 || low > 0xdfff)
            return fail(p, "lone high surrogate");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(p, code);
    return 0;
}

/* Behind the backslash. */
static int parse_escape(struct parser *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end)
        return fail(p, "string without end");
    char c = *p->at;
    if (c == 'u') {
        p->at++;
        return parse_unicode_escape(p);
    }
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    if (known == NULL)
        return fail(p, "unknown escape");
    p->at++;
    *p->texts++ = to[known - from];
    return 0;
}

static int parse_string(struct parser *p, struct bytes *out)
{
    if (!take(p, '"'))
        return fail(p, "expected a string");
    out->base = p->texts;
    for (;;) {
        if (p->at == p->end)
            return fail(p, "string without end");
        char c = *p->at;
        if (c == '"')
            break;
        if (c == '\\') {
            p->at++;
            if (parse_escape(p) != 0)
                return -1;
            continue;
        }
        if ((unsigned char)c < 0x20)
            return fail(p, "control character in a string");
        size_t length = header_utf8_length((struct bytes){p->at, (size_t)(p->end - p->at)});
        if (length == 0)
            return fail(p, "invalid UTF-8");
        memcpy(p->texts, p->at, length);
        p->texts += length;
        p->at += length;
    }
    p->at++;
    out->len = (size_t)(p->texts - out->base);
    *p->texts++ = '\0';
    return 0;
}

/* A string that serves as a C string. */
static int parse_name(struct parser *p, struct bytes *out)
{
    if (parse_string(p, out) != 0)
        return -1;
    if (memchr(out->base, '\0', out->len) != NULL)
        return fail(p, "NUL in a name");
    return 0;
}

static int parse_key(struct parser *p, struct bytes *out)
{
    if (parse_name(p, out) != 0)
        return -1;
    return take(p, ':') ? 0 : fail(p, "expected ':'");
}

/* ---- numbers ---- */

static int parse_integer(struct parser *p, uint64_t *out)
{
    skip_space(p);
    const char *first = p->at;
    *out = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if (__builtin_mul_overflow(*out, (uint64_t)10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*p->at - '0'), out))
            return fail(p, "number beyond 64 bits");
    if (p->at == first)
        return fail(p, "expected a whole number");
    if (*first == '0' && p->at - first > 1)
        return fail(p, "number with a leading zero");
    return 0;
}

/* At most `max` numbers. */
static int parse_integers(struct parser *p, uint64_t *out, uint32_t max, uint32_t *n)
{
    if (!take(p, '['))
        return fail(p, "expected '['");
    *n = 0;
    if (take(p, ']'))
        return 0;
    do {
        if (*n == max)
            return fail(p, "too many numbers in an array");
        if (parse_integer(p, &out[(*n)++]) != 0)
            return -1;
    } while (take(p, ','));
    return take(p, ']') ? 0 : fail(p, "expected ',' or ']'");
}

/* ---- the form ---- */

static int parse_dtype(struct parser *p, struct header_tensor *t)
{
    static const struct {
        const char *name;
        enum tensor_dtype dtype;
        uint32_t bytes;
    } known[] = {
        {"F32", TENSOR_F32, 4},       {"U8", TENSOR_U8, 1},      {"I32", TENSOR_I32, 4},
        {"BOOL", TENSOR_OTHER, 1},    {"I8", TENSOR_OTHER, 1},   {"F8_E5M2", TENSOR_OTHER, 1},
        {"F8_E4M3", TENSOR_OTHER, 1}, {"I16", TENSOR_OTHER, 2},  {"U16", TENSOR_OTHER, 2},
        {"F16", TENSOR_OTHER, 2},     {"BF16", TENSOR_OTHER, 2}, {"U32", TENSOR_OTHER, 4},
        {"F64", TENSOR_OTHER, 8},     {"I64", TENSOR_OTHER, 8},  {"U64", TENSOR_OTHER, 8},
    };
    struct bytes name;
    if (parse_name(p, &name) != 0)
        return -1;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (bytes_is(name, known[i].name)) {
            t->tensor.dtype = known[i].dtype;
            t->item_bytes = known[i].bytes;
            return 0;
        }
    return fail(p, "unknown dtype");
}

/* The shape's bytes must be what the offsets span. */
static int check_extent(struct parser *p, const struct header_tensor *t)
{
    uint64_t bytes = t->item_bytes;
    bool empty = false;
    for (uint32_t i = 0; i < t->tensor.rank; i++)
        empty |= t->tensor.shape[i] == 0;
    for (uint32_t i = 0; i < t->tensor.rank && !empty; i++)
        if (__builtin_mul_overflow(bytes, t->tensor.shape[i], &bytes))
            return fail(p, "shape beyond 64 bits");
    if (empty)
        bytes = 0;
    if (t->begin > t->end)
        return fail(p, "data_offsets run backwards");
    if (t->end - t->begin != bytes)
        return fail(p, "data_offsets do not span the shape");
    return 0;
}

static int parse_tensor(struct parser *p, struct header_tensor *t)
{
    bool dtype = false, shape = false, offsets = false;
    uint64_t range[2];
    uint32_t n;
    if (!take(p, '{'))
        return fail(p, "expected '{'");
    do {
        struct bytes key;
        if (parse_key(p, &key) != 0)
            return -1;
        if (bytes_is(key, "dtype") && !dtype) {
            dtype = true;
            if (parse_dtype(p, t) != 0)
                return -1;
        } else if (bytes_is(key, "shape") && !shape) {
            shape = true;
            if (parse_integers(p, t->tensor.shape, 4, &t->tensor.rank) != 0)
                return -1;
        } else if (bytes_is(key, "data_offsets") && !offsets) {
            offsets = true;
            if (parse_integers(p, range, 2, &n) != 0)
                return -1;
            if (n != 2)
                return fail(p, "data_offsets are not two numbers");
            t->begin = range[0];
            t->end = range[1];
        } else {
            return fail(p, "a tensor has dtype, shape and data_offsets, each once");
        }
    } while (take(p, ','));
    if (!take(p, '}'))
        return fail(p, "expected ',' or '}'");
    if (!dtype || !shape || !offsets)
        return fail(p, "a tensor lacks dtype, shape or data_offsets");
    return check_extent(p, t);
}

/* Room for one more; limits keep a hostile header from asking for much. */
static void *grow(void *items, size_t n, size_t item_bytes)
{
    if ((n & (n - 1)) != 0)
        return items;
    return realloc(items, (n == 0 ? 1 : 2 * n) * item_bytes);
}

static int parse_metadata(struct parser *p, struct header *h)
{
    if (!take(p, '{'))
        return fail(p, "expected '{'");
    if (take(p, '}'))
        return 0;
    do {
        struct bytes key, value;
        if (parse_key(p, &key) != 0 || parse_string(p, &value) != 0)
            return -1;
        if (h->n_metadata == HEADER_METADATA_MAX)
            return fail(p, "too many metadata entries");
        for (size_t i = 0; i < h->n_metadata; i++)
            if (strcmp(h->metadata[i].key, key.base) == 0)
                return fail(p, "metadata key twice");
        void *bigger = grow(h->metadata, h->n_metadata, sizeof(*h->metadata));
        if (bigger == NULL)
            return fail(p, "no memory");
        h->metadata = bigger;
        h->metadata[h->n_metadata++] = (struct header_entry){key.base, value};
    } while (take(p, ','));
    return take(p, '}') ? 0 : fail(p, "expected ',' or '}'");
}

static int parse_named_tensor(struct parser *p, struct header *h, struct bytes name)
{
    if (h->n_tensors == HEADER_TENSORS_MAX)
        return fail(p, "too many tensors");
    for (size_t i = 0; i < h->n_tensors; i++)
        if (strcmp(h->tensors[i].tensor.name, name.base) == 0)
            return fail(p, "tensor name twice");
    void *bigger = grow(h->tensors, h->n_tensors, sizeof(*h->tensors));
    if (bigger == NULL)
        return fail(p, "no memory");
    h->tensors = bigger;
    struct header_tensor *t = &h->tensors[h->n_tensors++];
    memset(t, 0, sizeof(*t));
    t->tensor.name = name.base;
    return parse_tensor(p, t);
}

static int parse_header(struct parser *p, struct header *h)
{
    bool metadata = false;
    if (p->at == p->end || *p->at != '{')
        return fail(p, "expected '{'");
    p->at++;
    if (!take(p, '}')) {
        do {
            struct bytes name;
            if (parse_key(p, &name) != 0)
                return -1;
            if (!bytes_is(name, "__metadata__")) {
                if (parse_named_tensor(p, h, name) != 0)
                    return -1;
            } else if (metadata) {
                return fail(p, "__metadata__ twice");
            } else {
                metadata = true;
                if (parse_metadata(p, h) != 0)
                    return -1;
            }
        } while (take(p, ','));
        if (!take(p, '}'))
            return fail(p, "expected ',' or '}'");
    }
    skip_space(p);
    return p->at == p->end ? 0 : fail(p, "something behind the header's JSON");
}

int header_parse(struct header *h, struct bytes text, const char *where, struct error *err)
{
    memset(h, 0, sizeof(*h));
    h->texts = malloc(text.len + 1);
    if (h->texts == NULL)
        return error_set(err, "%s: no memory for the header", where);
    struct parser p = {text.base, text.base + text.len, text.base, h->texts, where, err};
    if (parse_header(&p, h) != 0) {
        header_dispose(h);
        return -1;
    }
    return 0;
}

void header_dispose(struct header *h)
{
    free(h->tensors);
    free(h->metadata);
    free(h->texts);
    memset(h, 0, sizeof(*h));
}

/* ---- layout ---- */

static int by_offset(const void *a, const void *b)
{
    const struct header_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

int header_check_layout(struct header *h, uint64_t data_start, uint64_t data_bytes,
                        const char *where, struct error *err)
{
    uint64_t at = 0;
    if (h->n_tensors > 0)
        qsort(h->tensors, h->n_tensors, sizeof(*h->tensors), by_offset);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct header_tensor *t = &h->tensors[i];
        if (t->end > data_bytes)
            return error_set(err, "%s: tensor %.80s reaches past the end of the file", where,
                             t->tensor.name);
        if (t->begin < at)
            return error_set(err, "%s: tensor %.80s overlaps another", where, t->tensor.name);
        if (t->begin > at)
            return error_set(err, "%s: a hole before tensor %.80s", where, t->tensor.name);
        if ((data_start + t->begin) % t->item_bytes != 0)
            return error_set(err, "%s: tensor %.80s is not aligned to its dtype", where,
                             t->tensor.name);
        at = t->end;
    }
    if (at != data_bytes)
        return error_set(err, "%s: %llu bytes behind the last tensor", where,
                         (unsigned long long)(data_bytes - at));
    return 0;
}
