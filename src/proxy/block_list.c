/* An open-addressing table of lower-cased entries. A look-up tries the name and each of its
 * parents, so its cost depends on the name's own length alone. */
#include "proxy/block_list.h"

#include "hash.h"

struct block_list {
    uint32_t mask;
    struct bytes slots[];
};

enum { NAME_MAX_LEN = 253 }; /* of a domain (RFC 1035); longer ones are cut to their end */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The host of what may be a URL, without a leading "*." or "." and a trailing dot. */
static struct bytes host_of(struct bytes text)
{
    const char *scheme = memmem(text.base, text.len, "//", 2);
    if (scheme != NULL) {
        text.len -= (size_t)(scheme + 2 - text.base);
        text.base = scheme + 2;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.base[i] == '/' || text.base[i] == ':' || text.base[i] == '?')
            text.len = i;
    }
    while (text.len > 0 && (text.base[0] == '*' || text.base[0] == '.' || text.base[0] == ' '))
        text.base++, text.len--;
    while (text.len > 0 && (text.base[text.len - 1] == '.' || text.base[text.len - 1] == ' '))
        text.len--;
    return text;
}

/* Lower-cased into out[NAME_MAX_LEN]; a longer name keeps its end, where its parents are. */
static struct bytes folded(struct bytes name, char out[NAME_MAX_LEN])
{
    if (name.len > NAME_MAX_LEN) {
        name.base += name.len - NAME_MAX_LEN;
        name.len = NAME_MAX_LEN;
    }
    for (size_t i = 0; i < name.len; i++)
        out[i] = lower(name.base[i]);
    return (struct bytes){out, name.len};
}

/* The slot that holds name, or the free one where it belongs. */
static uint32_t slot_of(const struct block_list *b, struct bytes name)
{
    uint32_t i = (uint32_t)hash_bytes(name, 0) & b->mask;
    while (b->slots[i].base != NULL && !bytes_equal(b->slots[i], name))
        i = (i + 1) & b->mask;
    return i;
}

static const struct block_list *create(const struct bytes_list *list, bool domains,
                                       struct arena *arena)
{
    if (list->n == 0)
        return NULL;
    uint32_t size = 4;
    while (size < list->n * 2)
        size *= 2;
    struct block_list *b = arena_alloc(arena, sizeof(*b) + size * sizeof(b->slots[0]));
    b->mask = size - 1;
    memset(b->slots, 0, size * sizeof(b->slots[0]));
    for (uint32_t i = 0; i < list->n; i++) {
        char buffer[NAME_MAX_LEN];
        struct bytes item = list->items[i];
        struct bytes name = folded(domains && item.len > 0 ? host_of(item) : item, buffer);
        if (name.len == 0)
            continue;
        struct bytes *slot = &b->slots[slot_of(b, name)];
        char *copy = arena_alloc(arena, name.len);
        memcpy(copy, name.base, name.len);
        *slot = (struct bytes){copy, name.len};
    }
    return b;
}

const struct block_list *block_list_domains(const struct bytes_list *list, struct arena *arena)
{
    return create(list, true, arena);
}

const struct block_list *block_list_categories(const struct bytes_list *list, struct arena *arena)
{
    return create(list, false, arena);
}

static bool listed(const struct block_list *b, struct bytes name)
{
    return name.len > 0 && b->slots[slot_of(b, name)].base != NULL;
}

bool block_list_has_domain(const struct block_list *b, struct bytes domain)
{
    if (b == NULL || domain.len == 0)
        return false;
    char buffer[NAME_MAX_LEN];
    struct bytes name = folded(host_of(domain), buffer);
    while (!listed(b, name)) {
        const char *dot = name.len > 0 ? memchr(name.base, '.', name.len) : NULL;
        if (dot == NULL)
            return false;
        name.len -= (size_t)(dot + 1 - name.base);
        name.base = dot + 1;
    }
    return true;
}

bool block_list_has_category(const struct block_list *b, struct bytes category)
{
    if (b == NULL || category.len == 0)
        return false;
    char buffer[NAME_MAX_LEN];
    struct bytes name = folded(category, buffer);
    while (!listed(b, name)) {
        const char *dash = name.len > 0 ? memrchr(name.base, '-', name.len) : NULL;
        if (dash == NULL)
            return false;
        name.len = (size_t)(dash - name.base);
    }
    return true;
}

bool domain_is_within(struct bytes domain, struct bytes parent)
{
    if (domain.len == 0 || parent.len == 0)
        return false;
    domain = host_of(domain);
    parent = host_of(parent);
    if (parent.len == 0 || domain.len < parent.len)
        return false;
    size_t from = domain.len - parent.len;
    for (size_t i = 0; i < parent.len; i++) {
        if (lower(domain.base[from + i]) != lower(parent.base[i]))
            return false;
    }
    return from == 0 || domain.base[from - 1] == '.';
}
