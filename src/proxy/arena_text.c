/* One buffer that doubles: the old half stays behind in the arena, which is emptied with the
 * request anyway. */
#include "proxy/arena_text.h"

#include <stdio.h>

void arena_text_begin(struct arena_text *t, struct arena *arena, size_t size_hint)
{
    t->arena = arena;
    t->len = 0;
    t->size = size_hint < 64 ? 64 : size_hint;
    t->base = arena_alloc(arena, t->size);
}

/* Room for n more bytes. */
static char *text_reserve(struct arena_text *t, size_t n)
{
    if (n > t->size - t->len) {
        size_t size = t->size * 2;
        if (size < t->len + n)
            size = t->len + n;
        char *grown = arena_alloc(t->arena, size);
        memcpy(grown, t->base, t->len);
        t->base = grown;
        t->size = size;
    }
    return t->base + t->len;
}

void arena_text_add(struct arena_text *t, struct bytes b)
{
    if (b.len == 0)
        return;
    memcpy(text_reserve(t, b.len), b.base, b.len);
    t->len += b.len;
}

void arena_text_add_string(struct arena_text *t, const char *s)
{
    arena_text_add(t, bytes_of(s));
}

void arena_text_add_json(struct arena_text *t, struct bytes b)
{
    static const char hex[] = "0123456789abcdef";
    arena_text_add_string(t, "\"");
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < b.len; i++) {
        unsigned char c = (unsigned char)b.base[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        arena_text_add(t, (struct bytes){b.base + plain, i - plain});
        plain = i + 1;
        char escape[6] = {'\\', (char)c};
        size_t len = 2;
        if (c == '\n')
            escape[1] = 'n';
        else if (c == '\r')
            escape[1] = 'r';
        else if (c == '\t')
            escape[1] = 't';
        else if (c < 0x20) {
            memcpy(escape + 1, "u00", 3);
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            len = 6;
        }
        arena_text_add(t, (struct bytes){escape, len});
    }
    arena_text_add(t, (struct bytes){b.base + plain, b.len - plain});
    arena_text_add_string(t, "\"");
}

void arena_text_add_int(struct arena_text *t, int64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%lld", (long long)n);
    arena_text_add(t, (struct bytes){digits, (size_t)len});
}

void arena_text_add_micros(struct arena_text *t, int64_t micros)
{
    char digits[MICROS_TEXT_MAX];
    arena_text_add(t, (struct bytes){digits, micros_format(digits, micros)});
}

void arena_text_add_base64(struct arena_text *t, struct bytes b)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < b.len; i += 3) {
        size_t left = b.len - i;
        uint32_t group = (uint32_t)(unsigned char)b.base[i] << 16;
        if (left > 1)
            group |= (uint32_t)(unsigned char)b.base[i + 1] << 8;
        if (left > 2)
            group |= (unsigned char)b.base[i + 2];
        char quad[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63],
                        left > 1 ? alphabet[group >> 6 & 63] : '=',
                        left > 2 ? alphabet[group & 63] : '='};
        arena_text_add(t, (struct bytes){quad, 4});
    }
}

struct bytes arena_text_bytes(const struct arena_text *t)
{
    return (struct bytes){t->base, t->len};
}

size_t micros_format(char out[MICROS_TEXT_MAX], int64_t micros)
{
    uint64_t magnitude = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    int len = snprintf(out, MICROS_TEXT_MAX, "%s%llu.%06u", micros < 0 ? "-" : "",
                       (unsigned long long)(magnitude / 1000000), (unsigned)(magnitude % 1000000));
    while (out[len - 1] == '0')
        len--;
    if (out[len - 1] == '.')
        len--;
    return (size_t)len;
}
