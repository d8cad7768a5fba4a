/* Each rule is one small predicate over the request; the table at the end gives their order, the
 * cheap ones and the ones that exclude most first. Sets are open-addressing hash tables over one
 * block of text. */
#include "filter/rules.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filter/property.h"
#include "hash.h"

/* ---- string sets ---- */

enum { SET_FILE_BYTES_MAX = 256 << 20 };

struct string_set {
    char *text;          /* the strings, one behind the other */
    struct bytes *table; /* base NULL = free */
    size_t mask;         /* table size - 1, a power of two minus one */
    size_t n;            /* distinct strings */
};

static struct bytes *set_place(const struct string_set *s, struct bytes b)
{
    size_t i = hash_bytes(b, 0) & s->mask;
    while (s->table[i].base != NULL && !bytes_equal(s->table[i], b))
        i = (i + 1) & s->mask;
    return &s->table[i];
}

/* A table for up to n strings, never more than half full, and room for text_size bytes of text. */
static struct string_set *set_allocate(size_t n, size_t text_size)
{
    size_t size = 8;
    while (size < 2 * n)
        size *= 2;
    struct string_set *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->mask = size - 1;
    s->table = calloc(size, sizeof(*s->table));
    s->text = malloc(text_size + 1);
    if (s->table == NULL || s->text == NULL) {
        string_set_destroy(s);
        return NULL;
    }
    return s;
}

static void set_add(struct string_set *s, struct bytes b)
{
    struct bytes *place = set_place(s, b);
    if (place->base == NULL) {
        *place = b;
        s->n++;
    }
}

struct string_set *string_set_create(const char *const *strings, size_t n)
{
    size_t text_size = 0;
    for (size_t i = 0; i < n; i++)
        text_size += strlen(strings[i]);
    struct string_set *s = set_allocate(n, text_size);
    if (s == NULL)
        return NULL;
    char *at = s->text;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(strings[i]);
        memcpy(at, strings[i], len);
        set_add(s, (struct bytes){at, len});
        at += len;
    }
    return s;
}

static char *file_read(const char *path, size_t *size_out, struct error *err)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        error_set(err, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    size_t size = 0, room = 0;
    for (;;) {
        if (room - size < 65536) {
            room = room == 0 ? 131072 : room * 2;
            char *larger = room <= SET_FILE_BYTES_MAX ? realloc(text, room) : NULL;
            if (larger == NULL) {
                error_set(err, "%s: larger than %d bytes", path, SET_FILE_BYTES_MAX);
                goto fail;
            }
            text = larger;
        }
        size_t n = fread(text + size, 1, room - size, file);
        size += n;
        if (n == 0)
            break;
    }
    if (ferror(file)) {
        error_set(err, "%s: %s", path, strerror(errno));
        goto fail;
    }
    fclose(file);
    *size_out = size;
    return text;
fail:
    free(text);
    fclose(file);
    return NULL;
}

/* The next line's word: comment, surrounding blanks and empty lines dropped; false at the end. */
static bool next_word(struct bytes *rest, struct bytes *word)
{
    while (rest->len > 0) {
        const char *newline = memchr(rest->base, '\n', rest->len);
        size_t len = newline != NULL ? (size_t)(newline - rest->base) : rest->len;
        struct bytes line = {rest->base, len};
        size_t used = len + (newline != NULL);
        rest->base += used;
        rest->len -= used;
        const char *comment = memchr(line.base, '#', line.len);
        if (comment != NULL)
            line.len = (size_t)(comment - line.base);
        while (line.len > 0 && strchr(" \t\r", line.base[line.len - 1]) != NULL)
            line.len--;
        while (line.len > 0 && strchr(" \t\r", line.base[0]) != NULL) {
            line.base++;
            line.len--;
        }
        if (line.len > 0) {
            *word = line;
            return true;
        }
    }
    return false;
}

struct string_set *string_set_load(const char *path, struct error *err)
{
    size_t size = 0;
    char *text = file_read(path, &size, err);
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < size; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] - 'A' + 'a');

    size_t n = 0;
    struct bytes rest = {text, size}, word;
    while (next_word(&rest, &word))
        n++;
    struct string_set *s = set_allocate(n, 0);
    if (s == NULL) {
        free(text);
        error_set(err, "%s: out of memory", path);
        return NULL;
    }
    free(s->text);
    s->text = text;
    rest = (struct bytes){text, size};
    while (next_word(&rest, &word))
        set_add(s, word);
    return s;
}

bool string_set_has(const struct string_set *s, struct bytes b)
{
    return s != NULL && b.base != NULL && set_place(s, b)->base != NULL;
}

void string_set_destroy(struct string_set *s)
{
    if (s == NULL)
        return;
    free(s->table);
    free(s->text);
    free(s);
}

static bool set_is_empty(const struct string_set *s)
{
    return s == NULL || s->n == 0;
}

static bool set_has_any_of(const struct string_set *s, const struct bytes_list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (string_set_has(s, list->items[i]))
            return true;
    return false;
}

static bool list_has(const struct bytes_list *list, struct bytes b)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (bytes_equal(list->items[i], b))
            return true;
    return false;
}

/* The domain itself or a parent of it: a.b.example.com, b.example.com, example.com, com. */
static bool set_has_domain(const struct string_set *s, struct bytes domain)
{
    while (domain.len > 0) {
        if (string_set_has(s, domain))
            return true;
        const char *dot = memchr(domain.base, '.', domain.len);
        if (dot == NULL)
            return false;
        domain.len -= (size_t)(dot + 1 - domain.base);
        domain.base = dot + 1;
    }
    return false;
}

/* ---- the rules; true = the DSP may be called ---- */

struct rule_input {
    const struct dsp_rules *rules;
    const struct bid_request *r;
    const struct geo_place *place;
};

static bool country_passes(const struct rule_input *in)
{
    return set_is_empty(in->rules->countries) ||
           string_set_has(in->rules->countries, in->place->country);
}

static bool channel_passes(const struct rule_input *in)
{
    return in->rules->channels == 0 || (in->rules->channels & (1u << in->r->channel)) != 0;
}

static bool media_passes(const struct rule_input *in)
{
    if (in->rules->media == 0)
        return true;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if ((in->r->imps[i].media & in->rules->media) != 0)
            return true;
    return false;
}

static bool imp_offers_size(const struct imp *imp, const struct dsp_rules *rules)
{
    if (imp->n_sizes == 0)
        return true;
    for (uint32_t i = 0; i < imp->n_sizes; i++)
        for (size_t k = 0; k < rules->n_sizes; k++)
            if (imp->sizes[i].w == rules->sizes[k].w && imp->sizes[i].h == rules->sizes[k].h)
                return true;
    return false;
}

static bool size_passes(const struct rule_input *in)
{
    if (in->rules->n_sizes == 0)
        return true;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (imp_offers_size(&in->r->imps[i], in->rules))
            return true;
    return false;
}

/* An advertising id that a user has switched off is all zeros. */
static bool ifa_identifies(struct bytes ifa)
{
    for (size_t i = 0; i < ifa.len; i++)
        if (ifa.base[i] != '0' && ifa.base[i] != '-')
            return true;
    return false;
}

static bool user_id_passes(const struct rule_input *in)
{
    const struct bid_request *r = in->r;
    return !in->rules->needs_user_id || r->user.buyeruid.len > 0 || r->user.id.len > 0 ||
           r->user.eid_sources.n > 0 || ifa_identifies(r->device.ifa);
}

static bool consent_passes(const struct rule_input *in)
{
    const struct bid_request *r = in->r;
    if (in->rules->needs_consent && r->regs.gdpr == 1 && r->user.consent.len == 0)
        return false;
    return !(in->rules->refuses_coppa && r->regs.coppa == 1);
}

/* Required: an imp with a deal. Excluded: an imp that can be had without one. */
static bool deals_pass(const struct rule_input *in)
{
    if (in->rules->deals == DEALS_ANY)
        return true;
    bool wanted = in->rules->deals == DEALS_REQUIRED;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if ((in->r->imps[i].n_deals > 0) == wanted)
            return true;
    return false;
}

static bool floor_passes(const struct rule_input *in)
{
    if (in->r->n_imps == 0)
        return true;
    int64_t lowest = in->r->imps[0].bidfloor_micros;
    for (uint32_t i = 1; i < in->r->n_imps; i++)
        if (in->r->imps[i].bidfloor_micros < lowest)
            lowest = in->r->imps[i].bidfloor_micros;
    if (lowest < in->rules->floor_min_micros)
        return false;
    return in->rules->floor_max_micros == 0 || lowest <= in->rules->floor_max_micros;
}

static bool domain_passes(const struct rule_input *in)
{
    const struct dsp_rules *rules = in->rules;
    if (set_is_empty(rules->domains) && set_is_empty(rules->domains_blocked))
        return true;
    char buffer[PROPERTY_DOMAIN_MAX];
    struct bytes domain = property_domain(in->r, buffer);
    if (set_has_domain(rules->domains_blocked, domain))
        return false;
    return set_is_empty(rules->domains) || set_has_domain(rules->domains, domain);
}

static bool seat_passes(const struct rule_input *in)
{
    const struct string_set *seats = in->rules->seats;
    if (set_is_empty(seats))
        return true;
    if (in->r->wseat.n > 0)
        return set_has_any_of(seats, &in->r->wseat);
    if (in->r->bseat.n == 0)
        return true;
    for (size_t i = 0; i <= seats->mask; i++)
        if (seats->table[i].base != NULL && !list_has(&in->r->bseat, seats->table[i]))
            return true;
    return false;
}

static bool currency_passes(const struct rule_input *in)
{
    return set_is_empty(in->rules->currencies) || in->r->cur.n == 0 ||
           set_has_any_of(in->rules->currencies, &in->r->cur);
}

static const struct rule {
    enum rule_result result;
    bool (*passes)(const struct rule_input *in);
} RULES[] = {
    {RULE_CHANNEL, channel_passes},   {RULE_MEDIA, media_passes},
    {RULE_COUNTRY, country_passes},   {RULE_SIZE, size_passes},
    {RULE_CONSENT, consent_passes},   {RULE_USER_ID, user_id_passes},
    {RULE_DEALS, deals_pass},         {RULE_FLOOR, floor_passes},
    {RULE_SEAT, seat_passes},         {RULE_DOMAIN, domain_passes},
    {RULE_CURRENCY, currency_passes},
};

enum rule_result dsp_rules_check(const struct dsp_rules *rules, const struct bid_request *r,
                                 const struct geo_place *place)
{
    struct rule_input in = {rules, r, place};
    for (size_t i = 0; i < sizeof(RULES) / sizeof(RULES[0]); i++)
        if (!RULES[i].passes(&in))
            return RULES[i].result;
    return RULE_PASS;
}

const char *rule_name(enum rule_result r)
{
    static const char *const NAMES[RULE_COUNT] = {
        [RULE_PASS] = "pass",       [RULE_COUNTRY] = "country", [RULE_MEDIA] = "media",
        [RULE_SIZE] = "size",       [RULE_USER_ID] = "user_id", [RULE_CONSENT] = "consent",
        [RULE_CHANNEL] = "channel", [RULE_DEALS] = "deals",     [RULE_FLOOR] = "floor",
        [RULE_DOMAIN] = "domain",   [RULE_SEAT] = "seat",       [RULE_CURRENCY] = "currency",
        [RULE_TMAX] = "tmax",
    };
    assert((unsigned)r < RULE_COUNT);
    return NAMES[r];
}

void dsp_rules_dispose(struct dsp_rules *rules)
{
    if (rules == NULL)
        return;
    string_set_destroy(rules->countries);
    string_set_destroy(rules->domains);
    string_set_destroy(rules->domains_blocked);
    string_set_destroy(rules->seats);
    string_set_destroy(rules->currencies);
    free(rules->sizes);
    memset(rules, 0, sizeof(*rules));
}
