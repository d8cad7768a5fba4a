/* One campaign of one simulated buyer: what it targets, for how long, with what chance it bids on
 * what it targets, and at what price. */
#ifndef LOADTEST_CAMPAIGN_H
#define LOADTEST_CAMPAIGN_H

#include "loadtest/atlas.h"
#include "loadtest/traffic.h"
#include "loadtest/view.h"

enum { PLACE_WORDS = ATLAS_NODES_MAX / 64, DEAL_WORDS = DEALS_MAX / 64 };

/* All of it must hold; an empty set does not restrict. */
struct targeting {
    bool any_place;
    uint64_t places[PLACE_WORDS]; /* nodes of the atlas; a place inside one of them counts */
    uint8_t media;                /* the one of enum media that its creative is */
    uint32_t sizes;               /* banner: bits of SIZES_KNOWN; 0 = any, even none told */
    uint32_t cats;
    uint64_t *domains_allowed, *domains_blocked; /* bit sets of properties; NULL = no list */
    uint8_t devices, systems, channels;          /* bit 1 << value */
    uint32_t hours;                              /* local, bit 0 = 00:00-00:59 */
    uint8_t weekdays;                            /* local, bit 0 = Monday */
    bool user;                                   /* only users whom the DSP recognises */
    bool deal_only;
    uint64_t deals[DEAL_WORDS];
};

struct campaign {
    uint64_t key; /* for draws */
    uint32_t number;
    struct targeting targeting;
    double interest;              /* P(bid | targeted), before the price; nothing in a request
                                     tells more */
    double price_mu, price_sigma; /* of the logarithm of the price in USD per mille */
    uint32_t flight_days, cycle_days, first_day; /* runs flight_days out of each cycle; cycle 0 =
                                                    always */
    double ramp_days;    /* a flight grows from nothing to its interest over so many days */
    double runout_share; /* of the days on which its budget is spent early */
    uint8_t category;    /* of its creative: IAB number */
};

void campaign_dispose(struct campaign *c);

/* Whether the place, or one around it, is among the targeted ones. */
bool campaign_in_place(const struct targeting *t, const struct atlas *a, uint32_t place);
/* Everything that is the same for all imps; matched: the DSP recognises the user. */
bool campaign_takes_request(const struct campaign *c, const struct atlas *a, const struct view *v,
                            bool matched);
bool campaign_takes_imp(const struct campaign *c, const struct view_imp *imp);
/* The share of its interest that it bids with at this time: 0 = it does not run, or has spent its
 * budget of the day; below 1 while its flight ramps up. */
double campaign_pace(const struct campaign *c, int32_t day, int32_t ms_of_day);
/* Of the imp, or for a campaign that buys by deals of the first deal that it has. *deal (may be
 * NULL) gets that deal's index, or -1. */
int64_t campaign_floor(const struct campaign *c, const struct view_imp *imp, int32_t *deal);
/* P(it bids on the imp | targeted): pace * interest * P(price >= floor). */
double campaign_chance(const struct campaign *c, double pace, int64_t floor_micros);
/* The draw itself: its price in micros, 0 = no bid. */
int64_t campaign_bid(const struct campaign *c, double pace, uint64_t auction, uint32_t imp,
                     int64_t floor_micros);

#endif
