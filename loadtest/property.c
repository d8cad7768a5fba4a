/* Properties are drawn once from the seed, in order of popularity. Drawing one for a request is an
 * alias table (Vose, IEEE TSE 1991): one draw, one comparison, whatever the skew. */
#include "loadtest/property.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/view.h"

struct urn {
    uint32_t n;
    uint32_t *items, *alias;
    float *keep;
};

static const char *const WORDS[] = {
    "river", "daily", "harbor", "maple",  "signal", "orbit",  "copper", "field",  "north", "pixel",
    "sunny", "metro", "garden", "velvet", "tiger",  "lunar",  "stone",  "rapid",  "cedar", "bright",
    "amber", "coast", "delta",  "echo",   "forest", "globe",  "honey",  "island", "jolly", "kite",
    "lemon", "motor", "noble",  "ocean",  "prime",  "quartz", "ranch",  "silver", "tempo", "union"};
enum { WORDS_COUNT = sizeof(WORDS) / sizeof(WORDS[0]) };

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static void urn_build(struct urn *u, const double *weights)
{
    double total = 0;
    for (uint32_t i = 0; i < u->n; i++)
        total += weights[i];
    double *scaled = must(calloc(u->n + 1, sizeof(*scaled)));
    uint32_t *stack = must(calloc(u->n + 1, sizeof(*stack)));
    uint32_t small = 0, large = u->n; /* two stacks in one array, growing towards each other */
    for (uint32_t i = 0; i < u->n; i++) {
        scaled[i] = weights[i] * u->n / total;
        stack[scaled[i] < 1 ? small++ : --large] = i;
    }
    while (small > 0 && large < u->n) {
        uint32_t less = stack[--small], more = stack[large];
        u->keep[less] = (float)scaled[less];
        u->alias[less] = more;
        scaled[more] -= 1 - scaled[less];
        if (scaled[more] < 1) {
            large++;
            stack[small++] = more;
        }
    }
    while (small > 0)
        u->keep[stack[--small]] = 1;
    while (large < u->n)
        u->keep[stack[large++]] = 1;
    free(scaled);
    free(stack);
}

static uint32_t urn_draw(const struct urn *u, struct prng *g)
{
    uint64_t draw = prng_next(g);
    uint32_t i = (uint32_t)(((draw >> 32) * u->n) >> 32);
    float rest = (float)(draw & 0xffffff) * 0x1p-24f;
    return u->items[rest < u->keep[i] ? i : u->alias[i]];
}

static uint8_t draw_kind(const double *weights, struct prng *g)
{
    double x = prng_unit(g);
    uint8_t k = 0;
    while (k + 1 < PLACEMENT_KINDS && x >= weights[k])
        x -= weights[k++];
    return k;
}

static void draw_placement(struct inventory *v, struct placement *out, enum property_kind kind,
                           const struct scenario_traffic *t, struct prng *g)
{
    static const double MIX[PROPERTY_KINDS][PLACEMENT_KINDS] = {
        [PROPERTY_SITE] = {.34, .26, .12, .08, .11, .09},
        [PROPERTY_APP] = {.08, 0, 0, 0, .04, .12, .44, .18, .14},
        [PROPERTY_TV] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    static const double PRICE[PLACEMENT_KINDS] = {1, .8, .9, 1.6, 4.5, .9, .45, 2.2, 5.5, 9};
    out->kind = draw_kind(MIX[kind], g);
    double floor = t->floor_median * PRICE[out->kind] * exp(t->floor_sigma * prng_normal(g));
    bool none = prng_unit(g) < t->floor_zero_share;
    out->floor_micros = none ? 0 : llround(floor * 100) * 10000;
    bool has_deal = prng_unit(g) < t->deal_share;
    out->deal = has_deal && v->n_deals < DEALS_MAX ? (int32_t)v->n_deals++ : -1;
    out->deal_private = prng_unit(g) < 0.15;
}

static void draw_property(struct inventory *v, uint32_t index, enum property_kind kind,
                          const struct scenario *s, const struct atlas *a)
{
    const struct scenario_traffic *t = &s->traffic;
    struct property *p = &v->properties[index];
    struct prng g = {hash_mix(s->seed + 0x70726f70) ^ hash_mix(index + 1)};
    const char *one = WORDS[prng_below(&g, WORDS_COUNT)];
    const char *two = WORDS[prng_below(&g, WORDS_COUNT)];
    p->kind = (uint8_t)kind;
    /* ".example" is reserved (RFC 2606): no name here is anyone's. */
    if (kind == PROPERTY_SITE)
        snprintf(p->name, sizeof(p->name), "%s%s%u.example", one, two, index);
    else
        snprintf(p->name, sizeof(p->name), "example.%s.%s%u", one, two, index);
    snprintf(p->title, sizeof(p->title), "%c%s %s %u", one[0] - 32, one + 1, two, index);
    p->home = -1;
    if (index % 4 != 0) { /* every fourth is at home everywhere: no list can be empty of all */
        double x = prng_unit(&g);
        uint32_t c = 0;
        while (c + 1 < a->n_countries && x >= a->countries[c].weight)
            x -= a->countries[c++].weight;
        p->home = (int8_t)c;
    }
    double skewed = prng_unit(&g);
    p->cats[0] = (uint8_t)(1 + (uint32_t)(skewed * skewed * CATEGORIES_COUNT) % CATEGORIES_COUNT);
    p->cats[1] = (uint8_t)(1 + prng_below(&g, CATEGORIES_COUNT));
    p->n_cats = prng_unit(&g) < 0.4 && p->cats[1] != p->cats[0] ? 2 : 1;
    p->publisher = (uint16_t)prng_below(&g, t->publishers);
    static const uint16_t TMAX_MS[] = {300, 350, 400, 500};
    p->tmax_ms = TMAX_MS[prng_below(&g, 4)];
    bool is_new = prng_unit(&g) < t->new_share && index % 4 != 0;
    int32_t later = 1 + (int32_t)prng_below(&g, t->new_days);
    p->first_day = is_new ? later : INT32_MIN;
    p->n_placements = kind == PROPERTY_TV ? 2 : 1 + (uint32_t)prng_below(&g, PLACEMENTS_MAX);
    for (uint32_t i = 0; i < p->n_placements; i++)
        draw_placement(v, &p->placements[i], kind, t, &g);
    lookup_add(&v->names, hash_bytes(bytes_of(p->name), s->seed), index);
}

static struct urn *urn_at(const struct inventory *v, enum property_kind kind, int32_t country)
{
    uint32_t list = country < 0 ? v->n_countries : (uint32_t)country;
    return &v->urns[kind * (v->n_countries + 1) + list];
}

static void build_urn(struct inventory *v, enum property_kind kind, int32_t home, double zipf)
{
    struct urn *u = urn_at(v, kind, home);
    double *weights = must(calloc(v->n_properties, sizeof(*weights)));
    u->items = must(calloc(v->n_properties, sizeof(*u->items)));
    for (uint32_t i = 0; i < v->n_properties; i++) {
        const struct property *p = &v->properties[i];
        if (p->kind != kind || p->home != home)
            continue;
        weights[u->n] = pow(u->n + 1.0, -zipf);
        u->items[u->n++] = i;
    }
    u->items = must(realloc(u->items, (u->n + 1) * sizeof(*u->items)));
    u->keep = must(calloc(u->n + 1, sizeof(*u->keep)));
    u->alias = must(calloc(u->n + 1, sizeof(*u->alias)));
    urn_build(u, weights);
    free(weights);
}

void inventory_init(struct inventory *v, const struct scenario *s, const struct atlas *a)
{
    *v = (struct inventory){.n_properties = s->traffic.sites + s->traffic.apps,
                            .n_sites = s->traffic.sites,
                            .n_countries = a->n_countries};
    v->properties = must(calloc(v->n_properties, sizeof(*v->properties)));
    lookup_init(&v->names, v->n_properties);
    lookup_init(&v->deals, DEALS_MAX);
    for (uint32_t i = 0; i < v->n_properties; i++) {
        enum property_kind kind = PROPERTY_SITE;
        if (i >= v->n_sites) /* TV apps are few: two of 16, one of them at home everywhere */
            kind = i % 16 == 0 || i % 16 == 7 ? PROPERTY_TV : PROPERTY_APP;
        draw_property(v, i, kind, s, a);
    }
    for (uint32_t i = 0; i < v->n_deals; i++) {
        char name[DEAL_NAME_MAX];
        inventory_deal_name(s, i, name);
        lookup_add(&v->deals, hash_bytes(bytes_of(name), s->seed), i);
    }
    v->urns = must(calloc(PROPERTY_KINDS * (v->n_countries + 1), sizeof(*v->urns)));
    for (uint32_t kind = 0; kind < PROPERTY_KINDS; kind++) {
        for (int32_t home = -1; home < (int32_t)v->n_countries; home++)
            build_urn(v, kind, home, s->traffic.property_zipf);
    }
}

void inventory_dispose(struct inventory *v)
{
    for (uint32_t i = 0; i < PROPERTY_KINDS * (v->n_countries + 1); i++) {
        free(v->urns[i].items);
        free(v->urns[i].alias);
        free(v->urns[i].keep);
    }
    free(v->urns);
    free(v->properties);
    lookup_dispose(&v->names);
    lookup_dispose(&v->deals);
}

const struct property *inventory_draw(const struct inventory *v, enum property_kind kind,
                                      int32_t country, int32_t day, struct prng *g)
{
    const struct urn *u = urn_at(v, kind, country);
    if (u->n == 0)
        u = urn_at(v, kind, -1);
    for (int attempt = 0; attempt < 4; attempt++) {
        const struct property *p = &v->properties[urn_draw(u, g)];
        if (day >= p->first_day)
            return p;
    }
    /* Those at home everywhere are there from the start. */
    return &v->properties[urn_draw(urn_at(v, kind, -1), g)];
}

void inventory_deal_name(const struct scenario *s, uint32_t deal, char out[DEAL_NAME_MAX])
{
    snprintf(out, DEAL_NAME_MAX, "deal-%04x-%u", (unsigned)(hash_mix(s->seed ^ deal) & 0xffff),
             deal);
}
