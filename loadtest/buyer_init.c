/* How a buyer's campaigns come about. What each targets is drawn from how buyers commonly target:
 * most by country, fewer by region or city; a creative has one medium; a third or so restrict
 * devices, hours, categories. Then reach: campaigns of one buyer differ by orders of magnitude, so
 * each gets a share of the buyer's bid rate from a log-normal, and of some candidate targetings the
 * one that reaches about so much is taken. Last, one common factor on the chances brings the sum to
 * the scenario's rate. Nothing here knows how a filter would fare with it. */
#include "loadtest/buyer.h"

#include <math.h>
#include <stdlib.h>

#include "hash.h"

enum { CANDIDATES = 16, FOCUS_MAX = 6 };

/* Which sample requests a campaign takes, and with what chance before the common factor. */
struct reach {
    uint32_t *requests;
    float *chances;
    uint32_t n;
};

struct drawing {
    struct buyer *buyer;
    const struct sample *sample;
    struct prng g;
    uint32_t focus[FOCUS_MAX]; /* countries that the buyer is active in */
    uint32_t n_focus;
    bool *known; /* [sample->n] the buyer recognises the user */
};

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        abort();
    return p;
}

static bool chance(struct prng *g, double p)
{
    return prng_unit(g) < p;
}

static void set_bit(uint64_t *set, uint32_t bit)
{
    set[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static void draw_focus(struct drawing *d)
{
    const struct atlas *a = traffic_atlas(d->buyer->traffic);
    double total = 0;
    for (uint32_t c = 0; c < a->n_countries; c++)
        total += a->countries[c].weight * a->countries[c].price;
    d->n_focus = 2 + (uint32_t)prng_below(&d->g, FOCUS_MAX - 1);
    for (uint32_t i = 0; i < d->n_focus; i++) {
        double x = prng_unit(&d->g) * total;
        uint32_t c = 0;
        while (c + 1 < a->n_countries && x >= a->countries[c].weight * a->countries[c].price) {
            x -= a->countries[c].weight * a->countries[c].price;
            c++;
        }
        d->focus[i] = c;
    }
}

static void draw_places(struct drawing *d, struct targeting *t)
{
    const struct atlas *a = traffic_atlas(d->buyer->traffic);
    double kind = prng_unit(&d->g);
    uint32_t home = d->focus[prng_below(&d->g, d->n_focus)];
    t->any_place = kind < 0.05;
    if (kind < 0.60) {
        uint32_t n = 1 + (uint32_t)prng_below(&d->g, 3);
        set_bit(t->places, a->countries[home].node);
        for (uint32_t i = 1; i < n; i++)
            set_bit(t->places, a->countries[d->focus[prng_below(&d->g, d->n_focus)]].node);
        return;
    }
    uint32_t first = a->countries[home].first_city, cities = a->countries[home].n_cities;
    uint32_t n = 1 + (uint32_t)prng_below(&d->g, kind < 0.85 ? 4 : 7);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t city = first + (uint32_t)prng_below(&d->g, cities);
        set_bit(t->places, kind < 0.85 ? a->nodes[city].parent : city);
    }
}

static void draw_creative(struct drawing *d, struct targeting *t)
{
    double kind = prng_unit(&d->g);
    t->media = kind < 0.66 ? MEDIA_BANNER : kind < 0.88 ? MEDIA_VIDEO : MEDIA_NATIVE;
    if (t->media != MEDIA_BANNER || chance(&d->g, 0.25))
        return;
    double scale = 0.3 + prng_unit(&d->g);
    for (uint32_t k = 0; k < VIEW_SIZES_MAX && SIZES_KNOWN[k].w != 0; k++) {
        if (chance(&d->g, SIZES_KNOWN[k].weight * scale * 0.6))
            t->sizes |= 1u << k;
    }
    if (t->sizes == 0)
        t->sizes = 1u << prng_below(&d->g, 3);
}

static uint64_t *draw_domains(struct drawing *d, uint32_t n)
{
    uint64_t *set = zeroed((traffic_properties(d->buyer->traffic) + 63) / 64, sizeof(*set));
    for (uint32_t i = 0; i < n; i++)
        set_bit(set, traffic_draw_property(d->buyer->traffic, &d->g));
    return set;
}

static void draw_device(struct drawing *d, struct targeting *t)
{
    static const uint8_t DEVICES[] = {1 << 4 | 1 << 5 | 1 << 1, 1 << 4, 1 << 2, 1 << 2 | 1 << 5,
                                      1 << 3 | 1 << 6 | 1 << 7};
    static const uint8_t SYSTEMS[] = {1 << OS_IOS, 1 << OS_ANDROID, 1 << OS_WINDOWS,
                                      1 << OS_IOS | 1 << OS_MACOS};
    if (chance(&d->g, 0.35))
        t->devices = DEVICES[prng_below(&d->g, t->media == MEDIA_VIDEO ? 5 : 4)];
    else if (chance(&d->g, 0.25))
        t->systems = SYSTEMS[prng_below(&d->g, 4)];
    if (chance(&d->g, 0.25))
        t->channels = chance(&d->g, 0.5) ? 1 << CHANNEL_APP : 1 << CHANNEL_SITE;
}

static void draw_times(struct drawing *d, struct targeting *t)
{
    static const uint8_t PARTS[][2] = {{6, 11}, {9, 18}, {11, 15}, {16, 24}, {18, 24}, {7, 23}};
    if (chance(&d->g, 0.25)) {
        const uint8_t *part = PARTS[prng_below(&d->g, sizeof(PARTS) / sizeof(PARTS[0]))];
        for (uint32_t h = part[0]; h < part[1]; h++)
            t->hours |= 1u << h;
    }
    if (chance(&d->g, 0.12))
        t->weekdays = chance(&d->g, 0.6) ? 0x1f : 0x60;
}

static void draw_targeting(struct drawing *d, struct targeting *t)
{
    const struct scenario_dsp *s = d->buyer->scenario;
    *t = (struct targeting){0};
    draw_creative(d, t);
    uint32_t deals = traffic_deals(d->buyer->traffic);
    if (deals > 0 && chance(&d->g, s->deal_share.drawn)) {
        t->deal_only = true;
        t->any_place = chance(&d->g, 0.6);
        uint32_t n = 2 + (uint32_t)prng_below(&d->g, deals / 4 + 2);
        for (uint32_t i = 0; i < n; i++)
            set_bit(t->deals, (uint32_t)prng_below(&d->g, deals));
        if (!t->any_place)
            draw_places(d, t);
        return;
    }
    draw_places(d, t);
    draw_device(d, t);
    draw_times(d, t);
    if (chance(&d->g, 0.4)) {
        uint32_t n = 2 + (uint32_t)prng_below(&d->g, 6);
        for (uint32_t i = 0; i < n; i++) {
            double skewed = prng_unit(&d->g);
            t->cats |= 1u << (uint32_t)(skewed * skewed * CATEGORIES_COUNT);
        }
    }
    double list = prng_unit(&d->g);
    if (list < 0.12)
        t->domains_allowed = draw_domains(d, 30 + (uint32_t)prng_below(&d->g, 200));
    else if (list < 0.40)
        t->domains_blocked = draw_domains(d, 10 + (uint32_t)prng_below(&d->g, 80));
    t->user = chance(&d->g, s->user_share.drawn);
}

static void draw_price(struct drawing *d, struct campaign *c)
{
    double median = dist_draw(&d->buyer->scenario->price_median.dist, &d->g);
    if (c->targeting.media == MEDIA_VIDEO)
        median *= 6;
    if (c->targeting.deal_only)
        median *= 1.6;
    /* What buyers pay follows what the place costs. */
    const struct atlas *a = traffic_atlas(d->buyer->traffic);
    double dearest = c->targeting.any_place ? 0.6 : 0.2;
    for (uint32_t node = 1; node < a->n_nodes; node++) {
        double price = a->countries[a->nodes[node].country].price;
        if ((c->targeting.places[node / 64] >> (node % 64) & 1) != 0 && price > dearest)
            dearest = price;
    }
    c->price_mu = log(median * dearest);
    c->price_sigma = fmax(dist_draw(&d->buyer->scenario->price_sigma.dist, &d->g), 0);
}

static void draw_life(struct drawing *d, struct campaign *c, uint32_t number)
{
    const struct scenario_dsp *s = d->buyer->scenario;
    c->number = number;
    c->key = hash_mix(d->buyer->key + number + 1);
    c->interest = fmin(fmax(dist_draw(&s->interest.dist, &d->g), 0.01), 0.98);
    c->category = (uint8_t)(1 + prng_below(&d->g, 24)); /* never IAB25 or 26 */
    c->runout_share = chance(&d->g, s->runout_share.drawn) ? 0.3 + 0.7 * prng_unit(&d->g) : 0;
    if (chance(&d->g, s->evergreen_share.drawn))
        return;
    c->flight_days = (uint32_t)fmax(dist_draw(&s->flight_days.dist, &d->g), 1);
    c->cycle_days = c->flight_days + (uint32_t)fmax(dist_draw(&s->pause_days.dist, &d->g), 1);
    c->first_day = (uint32_t)prng_below(&d->g, c->cycle_days);
    struct prng own = {c->key}; /* so that worlds without ramps are drawn alike */
    c->ramp_days = fmin(dist_draw(&s->ramp_days.dist, &own), c->flight_days);
}

/* In the long run; a ramp takes half of its days, a spent budget about a third of a day. */
static double running_share(const struct campaign *c)
{
    double flights =
        c->cycle_days == 0 ? 1 : ((double)c->flight_days - c->ramp_days / 2) / c->cycle_days;
    return flights * (1 - 0.33 * c->runout_share);
}

/* Chances of all sample requests that it takes; their mean is its rate. */
static double measure(const struct drawing *d, const struct campaign *c, struct reach *out)
{
    const struct atlas *a = traffic_atlas(d->buyer->traffic);
    double sum = 0;
    out->n = 0;
    for (uint32_t i = 0; i < d->sample->n; i++) {
        const struct view *v = &d->sample->views[i];
        if (!campaign_takes_request(c, a, v, d->known[i]))
            continue;
        double none = 1;
        for (uint32_t k = 0; k < v->n_imps; k++) {
            if (campaign_takes_imp(c, &v->imps[k]))
                none *= 1 - campaign_chance(c, 1, campaign_floor(c, &v->imps[k], NULL));
        }
        if (none == 1)
            continue;
        out->requests[out->n] = i;
        out->chances[out->n++] = (float)(1 - none);
        sum += 1 - none;
    }
    return sum / d->sample->n * running_share(c);
}

static void reach_init(struct reach *r, uint32_t n)
{
    r->requests = zeroed(n, sizeof(*r->requests));
    r->chances = zeroed(n, sizeof(*r->chances));
}

static void reach_dispose(struct reach *r)
{
    free(r->requests);
    free(r->chances);
}

/* The best of some candidates, by how near its rate comes to the target. */
static void draw_campaign(struct drawing *d, struct campaign *out, uint32_t number, double target)
{
    struct reach scratch;
    reach_init(&scratch, d->sample->n);
    double best = INFINITY;
    *out = (struct campaign){0};
    for (int i = 0; i < CANDIDATES; i++) {
        struct campaign c = {0};
        draw_targeting(d, &c.targeting);
        draw_price(d, &c);
        draw_life(d, &c, number);
        double rate = measure(d, &c, &scratch);
        double distance = fabs(log((rate + 1e-5) / target));
        if (distance < best) {
            best = distance;
            campaign_dispose(out);
            *out = c;
        } else {
            campaign_dispose(&c);
        }
    }
    reach_dispose(&scratch);
}

/* P(bid) over the sample with every interest multiplied by the factor. */
static double union_rate(const struct drawing *d, const struct campaign *c,
                         const struct reach *reach, uint32_t n, double factor)
{
    double *none = zeroed(d->sample->n, sizeof(*none));
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        double scale = fmin(c[i].interest * factor, 0.98) / c[i].interest * running_share(&c[i]);
        for (uint32_t k = 0; k < reach[i].n; k++)
            none[reach[i].requests[k]] += log1p(-fmin(reach[i].chances[k] * scale, 0.999));
    }
    for (uint32_t i = 0; i < d->sample->n; i++)
        sum -= expm1(none[i]);
    free(none);
    return sum / d->sample->n;
}

/* Brings the buyer to its rate by one common factor on the chances, 1/4 to 4. */
static void fit(struct drawing *d, struct campaign *c, uint32_t n, double target)
{
    struct reach *reach = zeroed(n, sizeof(*reach));
    for (uint32_t i = 0; i < n; i++) {
        reach_init(&reach[i], d->sample->n);
        measure(d, &c[i], &reach[i]);
    }
    double low = 0.25, high = 4;
    for (int step = 0; step < 24; step++) {
        double middle = sqrt(low * high);
        if (union_rate(d, c, reach, n, middle) < target)
            low = middle;
        else
            high = middle;
    }
    d->buyer->rate_drawn = union_rate(d, c, reach, n, low);
    for (uint32_t i = 0; i < n; i++) {
        c[i].interest = fmin(c[i].interest * low, 0.98);
        reach_dispose(&reach[i]);
    }
    free(reach);
}

void buyer_init(struct buyer *b, const struct scenario_dsp *s, const struct traffic *t,
                const struct sample *sample)
{
    struct buyer plain = {.scenario = s, .traffic = t};
    plain.key = hash_bytes(bytes_of(s->name), traffic_scenario(t)->seed + 0x627579);
    struct drawing d = {.buyer = &plain, .sample = sample, .g = {plain.key}};
    draw_focus(&d);
    d.known = zeroed(sample->n + 1, sizeof(*d.known));
    for (uint32_t i = 0; i < sample->n; i++)
        d.known[i] = buyer_knows(&plain, sample->views[i].user);
    uint32_t n = (uint32_t)s->campaigns.drawn;
    struct campaign *campaigns = zeroed(n, sizeof(*campaigns));
    double *shares = zeroed(n, sizeof(*shares)), total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += shares[i] = exp(s->reach_sigma.drawn * prng_normal(&d.g));
    for (uint32_t i = 0; i < n; i++)
        draw_campaign(&d, &campaigns[i], i, s->bid_rate.drawn * shares[i] / total * 1.1 + 1e-5);
    fit(&d, campaigns, n, s->bid_rate.drawn);
    double rate = plain.rate_drawn;
    buyer_init_with(b, s, t, campaigns, n);
    b->rate_drawn = rate;
    free(shares);
    free(campaigns);
    free(d.known);
}
