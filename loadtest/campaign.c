/* Matching one campaign with one request, dimension by dimension. Buyers match all their campaigns
 * at once with bit sets (buyer.c); this is the plain form that drawing campaigns uses and that the
 * tests hold the fast one against. */
#include "loadtest/campaign.h"

#include <math.h>
#include <stdlib.h>

#include "hash.h"

void campaign_dispose(struct campaign *c)
{
    free(c->targeting.domains_allowed);
    free(c->targeting.domains_blocked);
}

static bool has_bit(const uint64_t *set, uint32_t bit)
{
    return (set[bit / 64] >> (bit % 64) & 1) != 0;
}

bool campaign_in_place(const struct targeting *t, const struct atlas *a, uint32_t place)
{
    if (t->any_place)
        return true;
    for (; place != 0; place = a->nodes[place].parent) {
        if (has_bit(t->places, place))
            return true;
    }
    return false;
}

bool campaign_takes_request(const struct campaign *c, const struct atlas *a, const struct view *v,
                            bool matched)
{
    const struct targeting *t = &c->targeting;
    if (!campaign_in_place(t, a, v->place))
        return false;
    if ((t->cats != 0 && (t->cats & v->cats) == 0) ||
        (v->blocked_cats & 1u << (c->category - 1)) != 0)
        return false;
    if (t->domains_allowed != NULL &&
        (v->property < 0 || !has_bit(t->domains_allowed, (uint32_t)v->property)))
        return false;
    if (t->domains_blocked != NULL && v->property >= 0 &&
        has_bit(t->domains_blocked, (uint32_t)v->property))
        return false;
    if ((t->devices != 0 && (t->devices & 1u << v->device) == 0) ||
        (t->systems != 0 && (t->systems & 1u << v->os) == 0) ||
        (t->channels != 0 && (t->channels & 1u << v->channel) == 0))
        return false;
    if ((t->hours != 0 && (t->hours & 1u << v->hour) == 0) ||
        (t->weekdays != 0 && (t->weekdays & 1u << v->weekday) == 0))
        return false;
    return !t->user || (matched && !v->coppa);
}

bool campaign_takes_imp(const struct campaign *c, const struct view_imp *imp)
{
    const struct targeting *t = &c->targeting;
    if ((t->media & imp->media) == 0)
        return false;
    if (t->media == MEDIA_BANNER && t->sizes != 0 && !imp->any_size && (t->sizes & imp->sizes) == 0)
        return false;
    if (!t->deal_only)
        return !imp->private_auction;
    int32_t deal;
    campaign_floor(c, imp, &deal);
    return deal >= 0;
}

double campaign_pace(const struct campaign *c, int32_t day, int32_t ms_of_day)
{
    double pace = 1;
    if (c->cycle_days != 0) {
        int64_t since = (int64_t)day - c->first_day;
        int64_t in_cycle = since % c->cycle_days + (since % c->cycle_days < 0 ? c->cycle_days : 0);
        if (in_cycle >= c->flight_days)
            return 0;
        double age_days = (double)in_cycle + ms_of_day / 86400e3;
        if (age_days < c->ramp_days)
            pace = age_days / c->ramp_days;
    }
    uint64_t today = hash_mix(c->key ^ (0x6461790000000000u + (uint32_t)day));
    if (hash_unit(today) >= c->runout_share)
        return pace;
    double spent_at = 0.35 + 0.65 * hash_unit(today + 1); /* share of the day, UTC */
    return ms_of_day < spent_at * 86400000 ? pace : 0;
}

int64_t campaign_floor(const struct campaign *c, const struct view_imp *imp, int32_t *deal)
{
    if (deal != NULL)
        *deal = -1;
    for (uint32_t i = 0; c->targeting.deal_only && i < imp->n_deals; i++) {
        if (has_bit(c->targeting.deals, imp->deals[i].deal)) {
            if (deal != NULL)
                *deal = imp->deals[i].deal;
            return imp->deals[i].floor_micros;
        }
    }
    return imp->floor_micros;
}

double campaign_chance(const struct campaign *c, double pace, int64_t floor_micros)
{
    double interest = pace * c->interest;
    if (floor_micros <= 0)
        return interest;
    double z = log((double)floor_micros * 1e-6) - c->price_mu;
    if (c->price_sigma <= 0)
        return z <= 0 ? interest : 0;
    return interest * 0.5 * erfc(z / (c->price_sigma * M_SQRT2));
}

int64_t campaign_bid(const struct campaign *c, double pace, uint64_t auction, uint32_t imp,
                     int64_t floor_micros)
{
    uint64_t draw = hash_mix(auction ^ c->key) + imp * UINT64_C(0x9e3779b97f4a7c15);
    if (hash_unit(draw) >= pace * c->interest)
        return 0;
    double u = 1.0 - hash_unit(draw + 1), v = hash_unit(draw + 2);
    double normal = sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
    double price = exp(c->price_mu + c->price_sigma * normal) * 1e6;
    if (price < (double)floor_micros || price > 1e12)
        return 0;
    int64_t rounded = llround(price / 100) * 100; /* four decimals of a dollar */
    if (rounded < floor_micros)
        rounded = floor_micros;
    return rounded > 0 ? rounded : 100;
}
