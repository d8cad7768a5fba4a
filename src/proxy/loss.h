/* The codes that say why a bid or a DSP got nothing: OpenRTB's loss reasons (AdCOM list "Loss
 * Reason Codes") and the status codes of IAB's extension seat-non-bid, the ones that Prebid uses.
 */
#ifndef PROXY_LOSS_H
#define PROXY_LOSS_H

#include "proxy/auction.h"

enum {
    LOSS_WON = 0,
    LOSS_INVALID_RESPONSE = 3,
    LOSS_INVALID_DEAL = 4,
    LOSS_INVALID_AUCTION_ID = 5,
    LOSS_NO_MARKUP = 7,
    LOSS_NO_PRICE = 9,
    LOSS_BELOW_FLOOR = 100,
    LOSS_BELOW_DEAL_FLOOR = 101,
    LOSS_HIGHER_BID = 102,
    LOSS_DEAL = 103,
    LOSS_SEAT_BLOCKED = 104,
    LOSS_CREATIVE_SIZE = 203,
    LOSS_CREATIVE_FORMAT = 204,
    LOSS_CREATIVE_ADVERTISER = 205,
    LOSS_CREATIVE_CATEGORY = 209,
};

enum {
    NONBID_NO_BID = 0, /* up to 99: the DSP's own nbr */
    NONBID_ERROR = 100,
    NONBID_TIMEOUT = 101,
    NONBID_INVALID_RESPONSE = 102,
    NONBID_UNREACHABLE = 103,
    NONBID_BLOCKED = 200,
    NONBID_BLOCKED_CHANNEL = 201,
    NONBID_BLOCKED_MEDIA = 202,
    NONBID_BLOCKED_OPTIMIZED = 203, /* withheld by the model */
    NONBID_BLOCKED_PRIVACY = 204,
    NONBID_BLOCKED_CURRENCY = 205,
    NONBID_REJECTED = 300,
    NONBID_REJECTED_FLOOR = 301,
    NONBID_REJECTED_DUPLICATE = 302,
    NONBID_REJECTED_DEAL_FLOOR = 304,
    NONBID_REJECTED_CREATIVE = 350,
    NONBID_REJECTED_SIZE = 351,
    NONBID_REJECTED_FORMAT = 353,
    NONBID_REJECTED_ADVERTISER = 356,
    NONBID_REJECTED_CATEGORY = 357,
    /* 500 and above are the exchange's own: */
    NONBID_LOST = 500,         /* a valid bid, beaten by price */
    NONBID_LOST_TO_DEAL = 501, /* a valid bid, beaten by a deal */
    NONBID_QPS = 510,
    NONBID_HEALTH = 511,
    NONBID_OVERLOAD = 512,
    NONBID_NO_TIME = 513,
    NONBID_NOT_NEEDED = 514, /* a secondary */
};

/* OpenRTB's no-bid reasons, of our own answer. */
enum {
    NBR_INVALID_REQUEST = 2,
    NBR_NO_TIME = 15,
    /* 500 and above are the exchange's own: */
    NBR_NO_BID = 500,      /* DSPs were called, none brought a valid bid */
    NBR_NONE_CALLED = 501, /* every DSP was withheld or refused */
};

int loss_code(enum bid_refusal r, bool deal);
int loss_nonbid_refused(enum bid_refusal r, bool deal);
/* For a DSP without bids: not called, no bid, timeout, error, invalid answer. */
int loss_nonbid_dsp(const struct auction_dsp *d);

#endif
