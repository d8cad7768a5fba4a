/* The inventory: sites, apps and TV apps, each with a publisher, categories, a home country and a
 * few placements whose media, sizes, floor and deals stay the same. Popularity falls as a power of
 * the rank. Immutable after creation. */
#ifndef LOADTEST_PROPERTY_H
#define LOADTEST_PROPERTY_H

#include "loadtest/atlas.h"
#include "loadtest/lookup.h"
#include "loadtest/scenario.h"

enum property_kind { PROPERTY_SITE, PROPERTY_APP, PROPERTY_TV, PROPERTY_KINDS };

enum placement_kind {
    PLACEMENT_RECTANGLE,
    PLACEMENT_LEADERBOARD,
    PLACEMENT_SKYSCRAPER,
    PLACEMENT_BILLBOARD,
    PLACEMENT_VIDEO,
    PLACEMENT_NATIVE,
    PLACEMENT_APP_BANNER,
    PLACEMENT_INTERSTITIAL,
    PLACEMENT_REWARDED,
    PLACEMENT_TV,
    PLACEMENT_KINDS
};

enum { PLACEMENTS_MAX = 4 };

struct placement {
    uint8_t kind;         /* enum placement_kind */
    int64_t floor_micros; /* in the dearest country; 0 = none */
    int32_t deal;         /* index of its deal; -1 = none */
    bool deal_private;
};

struct property {
    char name[48]; /* domain, or bundle of an app */
    char title[40];
    uint8_t kind;    /* enum property_kind */
    int8_t home;     /* index of a country; -1 = everywhere */
    uint8_t cats[2]; /* 1..26 */
    uint8_t n_cats;
    uint16_t publisher;
    uint16_t tmax_ms;
    int32_t first_day; /* it has no traffic before */
    uint32_t n_placements;
    struct placement placements[PLACEMENTS_MAX];
};

struct urn; /* properties to draw from, by weight */

struct inventory {
    struct property *properties;
    uint32_t n_properties, n_sites, n_deals;
    struct lookup names, deals;
    struct urn *urns; /* [PROPERTY_KINDS][countries + 1]; the last is "everywhere" */
    uint32_t n_countries;
};

void inventory_init(struct inventory *v, const struct scenario *s, const struct atlas *a);
void inventory_dispose(struct inventory *v);

/* A property of the kind that already has traffic on `day`: of the country's own ones, or
 * (country < 0) of those at home everywhere. */
const struct property *inventory_draw(const struct inventory *v, enum property_kind kind,
                                      int32_t country, int32_t day, struct prng *g);

enum { DEAL_NAME_MAX = 24 };
/* "deal-7f3a-12": the name of a deal, NUL-terminated. */
void inventory_deal_name(const struct scenario *s, uint32_t deal, char out[DEAL_NAME_MAX]);

#endif
