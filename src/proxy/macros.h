/* OpenRTB 2.6 section 4.4: the ${AUCTION_*} macros that a DSP puts into adm, nurl, burl and lurl,
 * and that the exchange replaces. ${NAME:B64} gets the value in Base64; other suffixes and unknown
 * names are left alone, as is a macro whose value is not ours to know. */
#ifndef PROXY_MACROS_H
#define PROXY_MACROS_H

#include "arena.h"
#include "bytes.h"

/* A value with base NULL leaves its macro in place; an empty one ({"", 0}) removes it. */
struct macro_values {
    struct bytes id;         /* AUCTION_ID: BidRequest.id */
    struct bytes bid_id;     /* BidResponse.bidid */
    struct bytes imp_id;     /* imp.id */
    struct bytes seat_id;    /* seatbid.seat */
    struct bytes ad_id;      /* bid.adid */
    struct bytes price;      /* what is paid, in the bid's currency */
    struct bytes currency;   /* of the bid */
    struct bytes mbr;        /* paid / bid */
    struct bytes loss;       /* loss reason code; 0 = won */
    struct bytes min_to_win; /* in the bid's currency */
    struct bytes multiplier; /* impressions won */
    struct bytes imp_ts;     /* ms since the epoch when the ad was shown */
};

/* How much longer than the text its substitution may become: what a DSP puts into bidid is
 * multiplied by what it puts into adm. Macros that would go beyond are left alone. */
enum { MACROS_GROWTH_BYTES_MAX = 65536 };

/* Returns text itself when nothing was replaced; else a new text in the arena. */
struct bytes macros_substitute(struct bytes text, const struct macro_values *values,
                               struct arena *arena);

#endif
