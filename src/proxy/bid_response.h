/* One DSP's BidResponse: read in one pass over its bytes, then each bid judged against the request.
 * What is wrong with one bid costs that bid alone. Everything lives in the auction's arena. */
#ifndef PROXY_BID_RESPONSE_H
#define PROXY_BID_RESPONSE_H

#include "proxy/auction.h"
#include "proxy/block_list.h"

enum { BID_RESPONSE_BIDS_MAX = 512 }; /* further ones are refused unread */

struct bid {
    struct bytes json;                    /* the object as the DSP wrote it */
    struct bytes id, impid, dealid, adid; /* decoded; {NULL,0} absent or of an odd type */
    struct bytes adm, nurl, burl, lurl;
    struct bytes seat;         /* its seatbid's */
    struct bytes adomain, cat; /* JSON text of an array of strings, or of a string */
    bool markup_object;        /* adm is a JSON object, as some send for native */
    bool malformed;            /* not an object, or a member that matters stands in it twice */
    uint16_t group;            /* 0, or which seatbid with "group":1: wins as a whole or not */
    int32_t w, h, mtype;       /* -1 */
    int64_t price_micros;      /* in the response's currency; 0 absent or not usable */

    /* Judged: */
    enum bid_refusal refusal;
    uint32_t dsp;
    uint32_t imp;                        /* index in the request, or UINT32_MAX */
    const struct deal *deal;             /* or NULL */
    int64_t value_micros, floor_micros;  /* in the auction's currency; floor of imp or deal */
    const struct bid_response *response; /* that holds it */

    /* Awarded (see award.h): */
    bool won;
    int64_t paid_micros;       /* auction's currency */
    int64_t min_to_win_micros; /* auction's currency; -1 = not told */
    uint16_t loss_code;        /* 0 = won */
};

struct bid_response {
    struct bytes id, bidid;
    struct bytes cur; /* once judged, never absent */
    bool cur_odd;     /* present, but not a string */
    int nbr;          /* -1 */
    struct bid *bids;
    uint32_t n_bids;
    uint32_t n_dropped; /* bids beyond BID_RESPONSE_BIDS_MAX */
};

/* Copies body into the arena and reads it. False: it is no BidResponse (not JSON, not an object, or
 * seatbid is something else than an array); *out is then empty. */
bool bid_response_read(struct bid_response *out, struct bytes body, struct arena *arena);

/* What bids are held against. */
struct bid_terms {
    const struct bid_request *request;
    const struct block_list *badv, *bcat;
    const struct currency_rates *rates;
    struct bytes currency; /* of the auction */
    uint32_t dsp;
    struct bytes dsp_name; /* stands in for an absent seat */
    struct bytes default_currency;
    struct bytes_list seats; /* that this DSP buys for; n = 0: any */
};

/* Fills the judged part of every bid and adds to refused[BID_REFUSALS]. Returns the number of valid
 * bids. */
uint32_t bid_response_judge(struct bid_response *response, const struct bid_terms *terms,
                            struct arena *arena, uint16_t refused[BID_REFUSALS]);

#endif
