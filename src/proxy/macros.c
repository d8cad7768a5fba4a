/* One pass: from "${AUCTION_" to "${AUCTION_", copying what lies between. The substitution is plain
 * text for text, as the specification wants it: no escaping, and no second look at what was put in.
 */
#include "proxy/macros.h"

#include "proxy/arena_text.h"

#include <stddef.h>

static const char PREFIX[] = "${AUCTION_";
enum { PREFIX_LEN = sizeof(PREFIX) - 1, NAME_MAX_LEN = 32 };

static const struct {
    const char *name;
    size_t value_at;
} MACROS[] = {
    {"ID", offsetof(struct macro_values, id)},
    {"BID_ID", offsetof(struct macro_values, bid_id)},
    {"IMP_ID", offsetof(struct macro_values, imp_id)},
    {"SEAT_ID", offsetof(struct macro_values, seat_id)},
    {"AD_ID", offsetof(struct macro_values, ad_id)},
    {"PRICE", offsetof(struct macro_values, price)},
    {"CURRENCY", offsetof(struct macro_values, currency)},
    {"MBR", offsetof(struct macro_values, mbr)},
    {"LOSS", offsetof(struct macro_values, loss)},
    {"MIN_TO_WIN", offsetof(struct macro_values, min_to_win)},
    {"MULTIPLIER", offsetof(struct macro_values, multiplier)},
    {"IMP_TS", offsetof(struct macro_values, imp_ts)},
};

struct macro {
    const struct bytes *value;
    bool base64;
    size_t len; /* of the whole macro, from '$' to '}' */
};

/* Reads the macro that starts at text.base with PREFIX. */
static bool macro_read(struct bytes text, const struct macro_values *values, struct macro *m)
{
    size_t room = text.len - PREFIX_LEN;
    const char *name = text.base + PREFIX_LEN;
    const char *close = memchr(name, '}', room < NAME_MAX_LEN ? room : NAME_MAX_LEN);
    if (close == NULL)
        return false;
    m->len = (size_t)(close - text.base) + 1;
    struct bytes key = {name, (size_t)(close - name)};
    const char *colon = memchr(key.base, ':', key.len);
    m->base64 = colon != NULL;
    if (colon != NULL) {
        if (!bytes_is((struct bytes){colon + 1, (size_t)(close - colon) - 1}, "B64"))
            return false;
        key.len = (size_t)(colon - name);
    }
    for (size_t i = 0; i < sizeof(MACROS) / sizeof(MACROS[0]); i++) {
        if (bytes_is(key, MACROS[i].name)) {
            m->value = (const struct bytes *)((const char *)values + MACROS[i].value_at);
            return m->value->base != NULL;
        }
    }
    return false;
}

struct bytes macros_substitute(struct bytes text, const struct macro_values *values,
                               struct arena *arena)
{
    const char *end = text.base + text.len, *copied = text.base, *at = text.base;
    struct arena_text out;
    bool replaced = false;
    while (at != NULL && at < end &&
           (at = memmem(at, (size_t)(end - at), PREFIX, PREFIX_LEN)) != NULL) {
        struct macro m;
        if (!macro_read((struct bytes){at, (size_t)(end - at)}, values, &m)) {
            at += PREFIX_LEN;
            continue;
        }
        if (!replaced)
            arena_text_begin(&out, arena, text.len + 256);
        size_t value_len = m.base64 ? (m.value->len + 2) / 3 * 4 : m.value->len;
        size_t len = out.len + (size_t)(at - copied) + value_len + (size_t)(end - at) - m.len;
        replaced = true;
        if (len > text.len + MACROS_GROWTH_BYTES_MAX) {
            at += m.len;
            continue;
        }
        arena_text_add(&out, (struct bytes){copied, (size_t)(at - copied)});
        if (m.base64)
            arena_text_add_base64(&out, *m.value);
        else
            arena_text_add(&out, *m.value);
        copied = at += m.len;
    }
    if (!replaced)
        return text;
    arena_text_add(&out, (struct bytes){copied, (size_t)(end - copied)});
    return arena_text_bytes(&out);
}
