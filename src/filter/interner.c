/* An open-addressing table, at most half full, beside the array of texts. A slot holds its text's
 * key: a text of up to 16 bytes is its own key, so that a look-up touches one cache line; a longer
 * one's key is its hash, and only when that is equal are the texts compared. */
#include "filter/interner.h"

#include <assert.h>
#include <stdlib.h>

#include "arena.h"

struct interner_key {
    uint64_t a, b;
    uint32_t len;
};

struct interner_slot {
    uint64_t a, b;
    uint32_t len;
    uint32_t number; /* INTERNER_NONE = free */
};

struct interner {
    struct interner_slot *slots;
    uint32_t mask;
    uint32_t n, room;
    struct bytes *items;
    struct arena text;
};

static struct interner_slot *slots_create(uint32_t size)
{
    struct interner_slot *slots = malloc(size * sizeof(*slots));
    for (uint32_t i = 0; slots != NULL && i < size; i++)
        slots[i].number = INTERNER_NONE;
    return slots;
}

struct interner *interner_create(void)
{
    enum { SLOTS_FIRST = 16 };
    struct interner *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->mask = SLOTS_FIRST - 1;
    t->slots = slots_create(SLOTS_FIRST);
    if (t->slots == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

void interner_destroy(struct interner *t)
{
    if (t == NULL)
        return;
    arena_dispose(&t->text);
    free(t->items);
    free(t->slots);
    free(t);
}

/* ---- keys ---- */

/* Both halves of the product, together. */
static inline uint64_t fold(uint64_t x, uint64_t y)
{
    __uint128_t product = (__uint128_t)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static const uint64_t FACTOR_A = UINT64_C(0x9e3779b97f4a7c15);
static const uint64_t FACTOR_B = UINT64_C(0xd6e8feb86659fd93);

static inline uint64_t load(const char *at, size_t bytes)
{
    uint64_t word = 0;
    memcpy(&word, at, bytes);
    return word;
}

/* Words that overlap: they and the length say what the text is. */
static inline struct interner_key key_of(struct bytes text)
{
    const char *at = text.base, *end = text.base + text.len;
    uint32_t len = (uint32_t)text.len;
    if (text.len > 16) {
        uint64_t a = FACTOR_B, b = FACTOR_A;
        for (; end - at > 16; at += 16) {
            a = fold(a ^ load(at, 8), FACTOR_A);
            b = fold(b ^ load(at + 8, 8), FACTOR_B);
        }
        return (struct interner_key){fold(a ^ load(end - 16, 8), FACTOR_A),
                                     fold(b ^ load(end - 8, 8), FACTOR_B), len};
    }
    if (text.len >= 8)
        return (struct interner_key){load(at, 8), load(end - 8, 8), len};
    if (text.len >= 4)
        return (struct interner_key){load(at, 4), load(end - 4, 4), len};
    if (text.len > 0)
        return (struct interner_key){
            load(at, 1) | load(at + text.len / 2, 1) << 8 | load(end - 1, 1) << 16, 0, len};
    return (struct interner_key){0, 0, 0};
}

static inline uint32_t first_place(const struct interner *t, uint64_t a, uint64_t b, uint32_t len)
{
    return (uint32_t)fold(a ^ FACTOR_A ^ len, b ^ FACTOR_B) & t->mask;
}

static inline bool holds(const struct interner *t, const struct interner_slot *slot,
                         const struct interner_key *key, struct bytes text)
{
    return slot->a == key->a && slot->b == key->b && slot->len == key->len &&
           (text.len <= 16 || memcmp(t->items[slot->number].base, text.base, text.len) == 0);
}

/* The slot that holds the text, or the free one where it belongs. */
static inline struct interner_slot *place_from(const struct interner *t, uint32_t i,
                                               struct bytes text, const struct interner_key *key)
{
    while (t->slots[i].number != INTERNER_NONE && !holds(t, &t->slots[i], key, text))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

static struct interner_slot *place_of(const struct interner *t, struct bytes text,
                                      const struct interner_key *key)
{
    return place_from(t, first_place(t, key->a, key->b, key->len), text, key);
}

/* ---- growing ---- */

static int grow_slots(struct interner *t)
{
    struct interner_slot *old = t->slots;
    uint32_t n = t->mask + 1;
    struct interner_slot *larger = n * 2 > n ? slots_create(n * 2) : NULL;
    if (larger == NULL)
        return -1;
    t->slots = larger;
    t->mask = n * 2 - 1;
    for (uint32_t k = 0; k < n; k++) {
        if (old[k].number == INTERNER_NONE)
            continue;
        uint32_t i = first_place(t, old[k].a, old[k].b, old[k].len);
        while (larger[i].number != INTERNER_NONE)
            i = (i + 1) & t->mask;
        larger[i] = old[k];
    }
    free(old);
    return 0;
}

uint32_t interner_add(struct interner *t, struct bytes text)
{
    struct interner_key key = key_of(text);
    struct interner_slot *place = place_of(t, text, &key);
    if (place->number != INTERNER_NONE)
        return place->number;
    if (t->n == t->room) {
        uint32_t room = t->room == 0 ? 16 : t->room * 2;
        struct bytes *larger = realloc(t->items, room * sizeof(*larger));
        if (larger == NULL)
            return INTERNER_NONE;
        t->items = larger;
        t->room = room;
    }
    if (t->n >= (t->mask + 1) / 2) {
        if (grow_slots(t) != 0)
            return INTERNER_NONE;
        place = place_of(t, text, &key);
    }
    char *copy = arena_alloc(&t->text, text.len);
    if (text.len > 0)
        memcpy(copy, text.base, text.len);
    t->items[t->n] = (struct bytes){copy, text.len};
    *place = (struct interner_slot){key.a, key.b, key.len, t->n};
    return t->n++;
}

uint32_t interner_find(const struct interner *t, struct bytes text)
{
    struct interner_key key = key_of(text);
    return place_of(t, text, &key)->number;
}

void interner_find_each(const struct interner *const *tables, const struct bytes *texts, uint32_t n,
                        uint32_t *numbers)
{
    enum { AHEAD = 64 };
    struct {
        struct interner_key key;
        uint32_t from, index;
    } wanted[AHEAD];
    for (uint32_t done = 0; done < n;) {
        uint32_t k = 0;
        for (; done < n && k < AHEAD; done++) {
            const struct interner *t = tables[done];
            numbers[done] = INTERNER_NONE;
            if (t == NULL || texts[done].len == 0)
                continue;
            wanted[k].key = key_of(texts[done]);
            wanted[k].from = first_place(t, wanted[k].key.a, wanted[k].key.b, wanted[k].key.len);
            wanted[k].index = done;
            __builtin_prefetch(&t->slots[wanted[k++].from]);
        }
        for (uint32_t i = 0; i < k; i++) {
            uint32_t at = wanted[i].index;
            numbers[at] = place_from(tables[at], wanted[i].from, texts[at], &wanted[i].key)->number;
        }
    }
}

uint32_t interner_count(const struct interner *t)
{
    return t->n;
}

struct bytes interner_text(const struct interner *t, uint32_t number)
{
    assert(number < t->n);
    return t->items[number];
}
