/* A small market whose truth is known: each DSP has campaigns with conjunctive targeting, and bids
 * with a probability that the request cannot reveal once a campaign is eligible. For the trainer's
 * tests and benches: the best possible AUC is that of the true probabilities. */
#ifndef TESTS_MODEL_SYNTHETIC_H
#define TESTS_MODEL_SYNTHETIC_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/train.h"
#include "prng.h"
#include "tests/model/examples.h"

enum {
    SYNTHETIC_COUNTRIES = 12,
    SYNTHETIC_GEOS = 120, /* as many in each country */
    SYNTHETIC_DOMAINS = 600,
    SYNTHETIC_SIZES = 12,
    SYNTHETIC_CATEGORIES = 26,
    SYNTHETIC_CATEGORY_SLOTS = 3,
    SYNTHETIC_DEVICES = 5,
    SYNTHETIC_NOISE = 12, /* features that say nothing, when asked for */
};

struct synthetic_campaign {
    bool geo[SYNTHETIC_GEOS], size[SYNTHETIC_SIZES], category[SYNTHETIC_CATEGORIES];
    bool device[SYNTHETIC_DEVICES], blocked[SYNTHETIC_DOMAINS];
    uint32_t hour_from, hour_to;
    bool needs_user;
    double p;
};

struct synthetic {
    uint32_t n_dsps, n_campaigns;         /* campaigns of each DSP */
    struct synthetic_campaign *campaigns; /* [n_dsps][n_campaigns] */
    struct network_feature features[7 + SYNTHETIC_NOISE];
    struct network_shape shape;
};

struct synthetic_examples {
    struct examples e;
    float *truth; /* [n_pairs] the true P(bid | request) */
};

static inline void synthetic_pick(struct prng *g, bool *set, uint32_t n, double share)
{
    for (uint32_t i = 0; i < n; i++)
        set[i] = prng_unit(g) < share;
}

/* One or two countries, whole or a part of their regions. */
static inline void synthetic_pick_geos(struct prng *g, bool *set)
{
    uint32_t size = SYNTHETIC_GEOS / SYNTHETIC_COUNTRIES;
    double share = prng_unit(g) < 0.5 ? 1 : 0.4;
    for (int i = 0; i < 2; i++)
        synthetic_pick(g, set + prng_below(g, SYNTHETIC_COUNTRIES) * size, size, share);
}

static inline void synthetic_init(struct synthetic *w, uint32_t n_dsps, uint32_t n_campaigns,
                                  uint32_t noise, uint32_t hidden1, uint32_t hidden2, uint64_t seed)
{
    static const struct network_feature some[7] = {
        {"dsp", 0, 12, 1, false},
        {"geo", SYNTHETIC_GEOS + VALUE_FIRST, 12, 1, true},
        {"domain", SYNTHETIC_DOMAINS + VALUE_FIRST, 16, 1, true},
        {"size", SYNTHETIC_SIZES + VALUE_FIRST, 8, 1, false},
        {"category", SYNTHETIC_CATEGORIES + VALUE_FIRST, 8, SYNTHETIC_CATEGORY_SLOTS, false},
        {"device", SYNTHETIC_DEVICES + VALUE_FIRST, 4, 1, false},
        {"hour", 24 + VALUE_FIRST, 8, 1, false},
    };
    struct prng g = {seed};
    memset(w, 0, sizeof(*w));
    memcpy(w->features, some, sizeof(some));
    w->features[0].values = n_dsps + VALUE_FIRST;
    for (uint32_t i = 0; i < noise; i++) {
        struct network_feature *f = &w->features[7 + i];
        *f = (struct network_feature){"", 50 + VALUE_FIRST, 12, 1, false};
        snprintf(f->name, sizeof(f->name), "noise%u", i);
    }
    w->n_dsps = n_dsps;
    w->n_campaigns = n_campaigns;
    w->shape = (struct network_shape){w->features, 7 + noise, 0, n_dsps, 2, hidden1, hidden2, true};
    w->campaigns = calloc(n_dsps * n_campaigns, sizeof(*w->campaigns));
    for (uint32_t i = 0; i < n_dsps * n_campaigns; i++) {
        struct synthetic_campaign *c = &w->campaigns[i];
        synthetic_pick_geos(&g, c->geo);
        synthetic_pick(&g, c->size, SYNTHETIC_SIZES, 0.3);
        synthetic_pick(&g, c->category, SYNTHETIC_CATEGORIES, prng_unit(&g) < 0.4 ? 1 : 0.3);
        synthetic_pick(&g, c->device, SYNTHETIC_DEVICES, prng_unit(&g) < 0.5 ? 1 : 0.5);
        synthetic_pick(&g, c->blocked, SYNTHETIC_DOMAINS, prng_unit(&g) < 0.6 ? 0 : 0.3);
        c->hour_from = prng_unit(&g) < 0.7 ? 0 : (uint32_t)prng_below(&g, 12);
        c->hour_to = c->hour_from == 0 ? 24 : c->hour_from + 12;
        c->needs_user = prng_unit(&g) < 0.3;
        c->p = 0.2 + 0.7 * prng_unit(&g);
    }
}

static inline void synthetic_dispose(struct synthetic *w)
{
    free(w->campaigns);
}

struct synthetic_request {
    uint32_t geo, domain, size, categories[SYNTHETIC_CATEGORY_SLOTS], n_categories, device, hour;
    bool user;
};

static inline double synthetic_truth(const struct synthetic *w, const struct synthetic_request *r,
                                     uint32_t dsp)
{
    double none = 1;
    for (uint32_t i = 0; i < w->n_campaigns; i++) {
        const struct synthetic_campaign *c = &w->campaigns[dsp * w->n_campaigns + i];
        bool category = false;
        for (uint32_t k = 0; k < r->n_categories; k++)
            category |= c->category[r->categories[k]];
        if (c->geo[r->geo] && c->size[r->size] && category && c->device[r->device] &&
            !c->blocked[r->domain] && r->hour >= c->hour_from && r->hour < c->hour_to &&
            (r->user || !c->needs_user))
            none *= 1 - c->p;
    }
    return 1 - none;
}

/* Frequent values are much more frequent than rare ones, as geos and domains are. */
static inline uint32_t synthetic_skewed(struct prng *g, uint32_t n)
{
    double u = prng_unit(g);
    return (uint32_t)(n * u * u);
}

/* Every request is sent to every DSP. */
static inline void synthetic_draw(const struct synthetic *w, uint32_t n_requests, uint64_t seed,
                                  struct synthetic_examples *out)
{
    struct prng g = {seed};
    uint32_t n_slots = network_shape_slots(&w->shape), noise = w->shape.n_features - 7;
    uint64_t n_pairs = (uint64_t)n_requests * w->n_dsps, pair = 0;
    uint32_t *slots = calloc((size_t)n_requests * n_slots, sizeof(*slots)), *at = slots;
    float *numeric = calloc((size_t)n_requests * 2, sizeof(*numeric));
    uint32_t *request = calloc(n_pairs, sizeof(*request));
    uint16_t *dsp = calloc(n_pairs, sizeof(*dsp));
    uint8_t *label = calloc(n_pairs, sizeof(*label));
    float *weight = calloc(n_pairs, sizeof(*weight));
    out->truth = calloc(n_pairs, sizeof(*out->truth));
    for (uint32_t i = 0; i < n_requests; i++) {
        struct synthetic_request r = {.geo = synthetic_skewed(&g, SYNTHETIC_GEOS),
                                      .domain = synthetic_skewed(&g, SYNTHETIC_DOMAINS),
                                      .size = (uint32_t)prng_below(&g, SYNTHETIC_SIZES),
                                      .device = (uint32_t)prng_below(&g, SYNTHETIC_DEVICES),
                                      .hour = (uint32_t)prng_below(&g, 24),
                                      .user = prng_unit(&g) < 0.6};
        r.n_categories = 1 + (uint32_t)prng_below(&g, SYNTHETIC_CATEGORY_SLOTS);
        for (uint32_t k = 0; k < r.n_categories; k++)
            r.categories[k] = (uint32_t)prng_below(&g, SYNTHETIC_CATEGORIES);
        *at++ = VALUE_FIRST + r.geo;
        *at++ = VALUE_FIRST + r.domain;
        *at++ = VALUE_FIRST + r.size;
        for (uint32_t k = 0; k < SYNTHETIC_CATEGORY_SLOTS; k++)
            *at++ = k < r.n_categories ? VALUE_FIRST + r.categories[k] : SLOT_EMPTY;
        *at++ = VALUE_FIRST + r.device;
        *at++ = VALUE_FIRST + r.hour;
        for (uint32_t k = 0; k < noise; k++)
            *at++ = VALUE_FIRST + (uint32_t)prng_below(&g, 50);
        numeric[2 * i] = r.user ? 1 : 0;
        numeric[2 * i + 1] = (float)prng_normal(&g);
        for (uint32_t d = 0; d < w->n_dsps; d++, pair++) {
            double p = synthetic_truth(w, &r, d);
            out->truth[pair] = (float)p;
            request[pair] = i;
            dsp[pair] = (uint16_t)d;
            label[pair] = prng_unit(&g) < p;
            weight[pair] = 1;
        }
    }
    out->e = examples_of(n_requests, slots, numeric, n_pairs, request, dsp, label, weight);
}

static inline void synthetic_examples_dispose(struct synthetic_examples *x)
{
    free((void *)x->e.slots);
    free((void *)x->e.numeric);
    free((void *)x->e.request);
    free((void *)x->e.dsp);
    free((void *)x->e.label);
    free((void *)x->e.weight);
    free(x->truth);
}

#endif
