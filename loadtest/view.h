/* A bid request as the simulated buyers see it: numbers and bit sets instead of text. Made once a
 * request from the scanned body, so that a request from elsewhere is judged like the world's own.
 */
#ifndef LOADTEST_VIEW_H
#define LOADTEST_VIEW_H

#include "filter/bid_request.h"

#include <stdint.h>

enum {
    VIEW_IMPS_MAX = 8, /* the buyers look at no more */
    VIEW_DEALS_MAX = 8,
    VIEW_SIZES_MAX = 16,
    DEALS_MAX = 512,      /* of the whole world */
    CATEGORIES_COUNT = 26 /* IAB1..IAB26, by their first number */
};

/* The banner sizes that campaigns have creatives for. */
struct size_known {
    int32_t w, h;
    double weight; /* how many campaigns have it */
};
extern const struct size_known SIZES_KNOWN[VIEW_SIZES_MAX]; /* w = 0 ends it */

enum system { OS_UNKNOWN, OS_ANDROID, OS_IOS, OS_WINDOWS, OS_MACOS, OS_LINUX, OS_TV, OS_COUNT };

struct view_deal {
    uint16_t deal; /* index of a deal of this world */
    int64_t floor_micros;
};

struct view_imp {
    uint8_t media;  /* bits of enum media */
    uint32_t sizes; /* bit i = SIZES_KNOWN[i]; 0 with a banner = no size told, or a strange one */
    bool any_size;  /* a banner without any size */
    bool private_auction;
    int64_t floor_micros;
    struct view_deal deals[VIEW_DEALS_MAX];
    uint32_t n_deals;
};

struct view {
    uint64_t auction; /* hash of the request's id: all draws of this auction come from it */
    uint64_t user;    /* hash of the id that buyers know the user by; 0 = none */
    uint32_t place;   /* node of the atlas */
    uint32_t cats, blocked_cats; /* bit n = IAB(n+1) */
    int32_t property;            /* index of a site or app of this world; -1 = foreign */
    uint8_t device;              /* OpenRTB's device type, 0..7; 0 unknown */
    uint8_t os;                  /* enum system */
    uint8_t channel;             /* enum channel */
    uint8_t hour, weekday;       /* local; 0 = Monday */
    bool coppa, dollars;         /* dollars: the request takes bids in USD */
    int32_t day, ms_of_day;      /* of the world; day 0 is the scenario's start */
    const struct bid_request *request;
    struct view_imp imps[VIEW_IMPS_MAX];
    uint32_t n_imps;
};

struct traffic;
/* r must outlive the view. */
void view_make(struct view *v, const struct traffic *t, const struct bid_request *r, int64_t ts_ms);

#endif
