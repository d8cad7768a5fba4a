/* A buyer matches all its campaigns at once. For every value that a dimension can take (a place, a
 * domain, an hour of the week, ...) there is one bit set of the campaigns that accept it; a request
 * picks one set a dimension, and their intersection is what is left to look at: a handful. */
#include "loadtest/buyer.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "hash.h"

struct bits {
    uint64_t w[SCENARIO_CAMPAIGNS_MAX / 64];
};

struct buyer_index {
    struct bits *places;     /* [atlas nodes] */
    struct bits *properties; /* [properties + 1]; the last is "foreign" */
    struct bits *deals;      /* [deals + 1] who may buy by it */
    struct bits cats[CATEGORIES_COUNT], no_cat, blocked[CATEGORIES_COUNT];
    struct bits devices[8], systems[OS_COUNT], channels[4];
    struct bits hours[24], weekdays[7];
    struct bits anyone; /* those that need no recognised user */
    struct bits sizes[VIEW_SIZES_MAX], any_size, banner, media[16];
    struct bits open; /* those that do not buy by deals only */
};

static struct bits both(struct bits a, const struct bits *b)
{
    for (size_t i = 0; i < sizeof(a.w) / sizeof(a.w[0]); i++)
        a.w[i] &= b->w[i];
    return a;
}

static struct bits either(struct bits a, const struct bits *b)
{
    for (size_t i = 0; i < sizeof(a.w) / sizeof(a.w[0]); i++)
        a.w[i] |= b->w[i];
    return a;
}

static struct bits without(struct bits a, const struct bits *b)
{
    for (size_t i = 0; i < sizeof(a.w) / sizeof(a.w[0]); i++)
        a.w[i] &= ~b->w[i];
    return a;
}

static void put_if(struct bits *b, uint32_t campaign, bool yes)
{
    b->w[campaign / 64] |= (uint64_t)yes << (campaign % 64);
}

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        abort();
    return p;
}

static bool listed(const uint64_t *set, uint32_t bit)
{
    return set != NULL && (set[bit / 64] >> (bit % 64) & 1) != 0;
}

static void index_tables(struct buyer_index *x, const struct buyer *b, uint32_t i)
{
    const struct targeting *t = &b->campaigns[i].targeting;
    const struct atlas *a = traffic_atlas(b->traffic);
    for (uint32_t node = 0; node < a->n_nodes; node++)
        put_if(&x->places[node], i, campaign_in_place(t, a, node));
    uint32_t n = traffic_properties(b->traffic);
    for (uint32_t p = 0; p < n; p++)
        put_if(&x->properties[p], i,
               (t->domains_allowed == NULL || listed(t->domains_allowed, p)) &&
                   !listed(t->domains_blocked, p));
    put_if(&x->properties[n], i, t->domains_allowed == NULL);
    for (uint32_t d = 0; d < traffic_deals(b->traffic); d++)
        put_if(&x->deals[d], i, t->deal_only && listed(t->deals, d));
}

static void index_masks(struct buyer_index *x, const struct buyer *b, uint32_t i)
{
    const struct targeting *t = &b->campaigns[i].targeting;
    for (uint32_t k = 0; k < CATEGORIES_COUNT; k++) {
        put_if(&x->cats[k], i, (t->cats >> k & 1) != 0);
        put_if(&x->blocked[k], i, b->campaigns[i].category == k + 1);
    }
    put_if(&x->no_cat, i, t->cats == 0);
    for (uint32_t k = 0; k < 8; k++)
        put_if(&x->devices[k], i, t->devices == 0 || (t->devices >> k & 1) != 0);
    for (uint32_t k = 0; k < OS_COUNT; k++)
        put_if(&x->systems[k], i, t->systems == 0 || (t->systems >> k & 1) != 0);
    for (uint32_t k = 0; k < 4; k++)
        put_if(&x->channels[k], i, t->channels == 0 || (t->channels >> k & 1) != 0);
    for (uint32_t k = 0; k < 24; k++)
        put_if(&x->hours[k], i, t->hours == 0 || (t->hours >> k & 1) != 0);
    for (uint32_t k = 0; k < 7; k++)
        put_if(&x->weekdays[k], i, t->weekdays == 0 || (t->weekdays >> k & 1) != 0);
    bool banner = t->media == MEDIA_BANNER;
    for (uint32_t k = 0; k < VIEW_SIZES_MAX; k++)
        put_if(&x->sizes[k], i, banner && (t->sizes >> k & 1) != 0);
    put_if(&x->any_size, i, banner && t->sizes == 0);
    put_if(&x->banner, i, banner);
    put_if(&x->media[t->media & 15], i, !banner);
    put_if(&x->anyone, i, !t->user);
    put_if(&x->open, i, !t->deal_only);
}

static void build_index(struct buyer *b)
{
    struct buyer_index *x = zeroed(1, sizeof(*x));
    x->places = zeroed(traffic_atlas(b->traffic)->n_nodes, sizeof(struct bits));
    x->properties = zeroed(traffic_properties(b->traffic) + 1, sizeof(struct bits));
    x->deals = zeroed(traffic_deals(b->traffic) + 1, sizeof(struct bits));
    for (uint32_t i = 0; i < b->n_campaigns; i++) {
        index_tables(x, b, i);
        index_masks(x, b, i);
    }
    b->index = x;
}

void buyer_init_with(struct buyer *b, const struct scenario_dsp *d, const struct traffic *t,
                     const struct campaign *campaigns, uint32_t n)
{
    assert(n <= SCENARIO_CAMPAIGNS_MAX);
    *b = (struct buyer){.scenario = d, .traffic = t, .name = d->name, .n_campaigns = n};
    b->key = hash_bytes(bytes_of(d->name), traffic_scenario(t)->seed + 0x627579);
    snprintf(b->seat, sizeof(b->seat), "seat-%.24s", d->name);
    b->campaigns = zeroed(n, sizeof(*b->campaigns));
    memcpy(b->campaigns, campaigns, n * sizeof(*campaigns));
    build_index(b);
}

void buyer_dispose(struct buyer *b)
{
    for (uint32_t i = 0; i < b->n_campaigns; i++)
        campaign_dispose(&b->campaigns[i]);
    free(b->campaigns);
    if (b->index != NULL) {
        free(b->index->places);
        free(b->index->properties);
        free(b->index->deals);
        free(b->index);
    }
}

bool buyer_knows(const struct buyer *b, uint64_t user)
{
    return user != 0 && hash_unit(user ^ b->key) < b->scenario->match_rate.drawn;
}

static bool seat_may_bid(const struct buyer *b, const struct bid_request *r)
{
    bool allowed = r->wseat.n == 0;
    for (uint32_t i = 0; i < r->wseat.n; i++)
        allowed = allowed || bytes_is(r->wseat.items[i], b->seat);
    for (uint32_t i = 0; i < r->bseat.n; i++)
        allowed = allowed && !bytes_is(r->bseat.items[i], b->seat);
    return allowed;
}

/* The campaigns that take the request, whatever the imp. */
static bool take_request(const struct buyer *b, const struct view *v, struct bits *out)
{
    const struct buyer_index *x = b->index;
    if (!v->dollars || !seat_may_bid(b, v->request))
        return false;
    uint32_t property = v->property < 0 ? traffic_properties(b->traffic) : (uint32_t)v->property;
    struct bits s = both(x->places[v->place], &x->properties[property]);
    struct bits cats = x->no_cat;
    for (uint32_t rest = v->cats; rest != 0; rest &= rest - 1)
        cats = either(cats, &x->cats[__builtin_ctz(rest)]);
    s = both(s, &cats);
    for (uint32_t rest = v->blocked_cats; rest != 0; rest &= rest - 1)
        s = without(s, &x->blocked[__builtin_ctz(rest)]);
    s = both(both(both(s, &x->devices[v->device]), &x->systems[v->os]), &x->channels[v->channel]);
    s = both(both(s, &x->hours[v->hour]), &x->weekdays[v->weekday]);
    if (v->coppa || !buyer_knows(b, v->user))
        s = both(s, &x->anyone);
    *out = s;
    uint64_t some = 0;
    for (size_t i = 0; i < sizeof(s.w) / sizeof(s.w[0]); i++)
        some |= s.w[i];
    return some != 0;
}

static struct bits take_imp(const struct buyer *b, const struct view_imp *imp, struct bits s)
{
    const struct buyer_index *x = b->index;
    struct bits creatives = {{0}};
    if ((imp->media & MEDIA_BANNER) != 0) {
        creatives = imp->any_size ? x->banner : x->any_size;
        for (uint32_t rest = imp->sizes; rest != 0; rest &= rest - 1)
            creatives = either(creatives, &x->sizes[__builtin_ctz(rest)]);
    }
    for (uint32_t kind = MEDIA_VIDEO; kind <= MEDIA_NATIVE; kind *= 2) {
        if ((imp->media & kind) != 0)
            creatives = either(creatives, &x->media[kind]);
    }
    struct bits ways = {{0}};
    if (!imp->private_auction)
        ways = x->open;
    for (uint32_t i = 0; i < imp->n_deals; i++)
        ways = either(ways, &x->deals[imp->deals[i].deal]);
    return both(both(s, &creatives), &ways);
}

/* The next campaign of the set that runs now, and at which pace; -1 = none is left. Takes it out of
 * the set. */
static int next_running(const struct buyer *b, const struct view *v, struct bits *s, double *pace)
{
    for (size_t i = 0; i < sizeof(s->w) / sizeof(s->w[0]); i++) {
        while (s->w[i] != 0) {
            int c = (int)i * 64 + __builtin_ctzll(s->w[i]);
            s->w[i] &= s->w[i] - 1;
            *pace = campaign_pace(&b->campaigns[c], v->day, v->ms_of_day);
            if (*pace > 0)
                return c;
        }
    }
    return -1;
}

double buyer_probability(const struct buyer *b, const struct view *v)
{
    struct bits takers;
    if (!take_request(b, v, &takers))
        return 0;
    double none = 1;
    for (uint32_t i = 0; i < v->n_imps; i++) {
        struct bits s = take_imp(b, &v->imps[i], takers);
        double pace;
        for (int c; (c = next_running(b, v, &s, &pace)) >= 0;) {
            const struct campaign *campaign = &b->campaigns[c];
            none *=
                1 - campaign_chance(campaign, pace, campaign_floor(campaign, &v->imps[i], NULL));
        }
    }
    return 1 - none;
}

/* Some user whom the DSP recognises, or does not. */
static uint64_t user_who(const struct buyer *b, bool known)
{
    uint64_t user = 1;
    while (buyer_knows(b, user) != known)
        user++;
    return user;
}

double buyer_probability_known(const struct buyer *b, const struct view *v, int32_t days_before)
{
    double match = b->scenario->match_rate.drawn, sum = 0;
    for (int32_t day = v->day - days_before; day < v->day; day++)
        for (int known = 0; known < 2; known++) {
            double share = known ? match : 1 - match;
            struct view then = *v;
            if (v->user == 0)
                share = known ? 0 : 1;
            if (share <= 0)
                continue;
            then.day = day;
            then.user = v->user != 0 ? user_who(b, known) : 0;
            sum += share * buyer_probability(b, &then);
        }
    return sum / days_before;
}

uint32_t buyer_bids(const struct buyer *b, const struct view *v,
                    struct buyer_bid out[VIEW_IMPS_MAX])
{
    struct bits takers;
    uint32_t n = 0;
    if (!take_request(b, v, &takers))
        return 0;
    for (uint32_t i = 0; i < v->n_imps; i++) {
        struct bits s = take_imp(b, &v->imps[i], takers);
        struct buyer_bid best = {.imp = i};
        double pace;
        for (int c; (c = next_running(b, v, &s, &pace)) >= 0;) {
            int32_t deal;
            int64_t floor = campaign_floor(&b->campaigns[c], &v->imps[i], &deal);
            int64_t price = campaign_bid(&b->campaigns[c], pace, v->auction, i, floor);
            if (price > best.price_micros)
                best = (struct buyer_bid){i, (uint32_t)c, deal, price, floor};
        }
        if (best.price_micros > 0)
            out[n++] = best;
    }
    return n;
}

enum buyer_conduct buyer_conduct(const struct buyer *b, uint64_t auction, uint64_t *delay_us)
{
    const struct scenario_dsp *d = b->scenario;
    uint64_t draw = hash_mix(auction ^ b->key ^ 0x636f6e64756374);
    double x = hash_unit(draw);
    *delay_us = 0;
    if (d->latency_ms.drawn > 0) {
        double sigma = log(d->latency_p99_ms.drawn / d->latency_ms.drawn) / 2.3263;
        double u = 1.0 - hash_unit(draw + 1), v = hash_unit(draw + 2);
        double normal = sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
        *delay_us = (uint64_t)(d->latency_ms.drawn * exp(sigma * normal) * 1000);
    }
    if ((x -= d->timeout_rate.drawn) < 0) {
        *delay_us = (uint64_t)(d->timeout_after_ms.drawn * 1000);
        return CONDUCT_LATE;
    }
    if ((x -= d->error_rate.drawn) < 0)
        return CONDUCT_ERROR;
    return (x -= d->malformed_rate.drawn) < 0 ? CONDUCT_MALFORMED : CONDUCT_ANSWER;
}
