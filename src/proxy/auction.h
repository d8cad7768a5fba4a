/* One auction: who is called, who answered, when it ends, who wins and what they pay. Plain C; its
 * clock and its I/O come through a small table, so that tests drive it with a fake clock. One
 * loop's thread.
 *
 *   auction_create -> auction_start -> (auction_on_answer | auction_on_timer)* -> io.finished, once
 *                  -> auction_response, auction_dsp... -> auction_destroy
 *
 * It ends when every call is answered or at its deadline, whichever comes first; calls still open
 * then are timeouts and are cancelled. Answers after the end, or after a call's own deadline,
 * change nothing. */
#ifndef PROXY_AUCTION_H
#define PROXY_AUCTION_H

#include "arena.h"
#include "filter/bid_request.h"
#include "filter/decision.h"
#include "proxy/currency.h"

struct auction_settings {
    bool second_price; /* when the request has no `at` */
    char currency[4];  /* of the answer, unless the request's cur says otherwise */
    int64_t increment_micros;
    uint32_t timeout_ms,
        network_margin_ms;              /* deadline = min(tmax, timeout) - margin, at least 1 ms */
    const struct currency_rates *rates; /* or NULL */
    bool deals_first;  /* a bid for a deal beats one without, whatever their prices */
    bool fire_notices; /* auction_notices is used: burl, and nurl where adm is there, are not passed
                          on */
};

struct auction_dsp_settings {
    const char *name;
    uint32_t timeout_ms; /* of one call */
    bool
        secondary; /* called only when the primaries brought no bid, while its timeout still fits */
    const char *default_currency; /* of a response without cur: "USD" */
    bool disabled;                /* not part of the exchange: no reason is given for it */
    struct bytes_list seats;      /* its bids must be of one of them; n = 0: any */
};

enum auction_outcome {
    OUTCOME_NOT_CALLED,
    OUTCOME_PENDING,
    OUTCOME_BID,
    OUTCOME_NO_BID,
    OUTCOME_TIMEOUT,
    OUTCOME_ERROR,   /* no answer, or an HTTP error status */
    OUTCOME_INVALID, /* an answer that holds no valid bid but at least one refused one, or is no
                        BidResponse */
    OUTCOME_COUNT
};
const char *
auction_outcome_name(enum auction_outcome o); /* "bid", "no_bid", ... as in the capture record */

/* Why a bid was refused; each a counter. */
enum bid_refusal {
    BID_VALID,
    BID_NOT_JSON,
    BID_WRONG_RESPONSE_ID,
    BID_UNKNOWN_IMP,
    BID_BAD_PRICE,    /* absent, not a number, not finite, not positive */
    BID_BELOW_FLOOR,  /* of the imp or its deal, converted */
    BID_BAD_CURRENCY, /* not allowed by the request, or no rate */
    BID_NO_ID,
    BID_DUPLICATE_ID,
    BID_BAD_SIZE,       /* banner w/h that the imp does not offer */
    BID_BLOCKED_DOMAIN, /* adomain in badv */
    BID_BLOCKED_CATEGORY,
    BID_UNKNOWN_DEAL,
    BID_SEAT_NOT_ALLOWED,
    BID_NO_MARKUP, /* neither adm nor nurl */
    BID_BAD_MEDIA, /* mtype names a medium that the imp does not offer */
    BID_TOO_MANY,  /* beyond the bids read of one answer */
    BID_REFUSALS
};
const char *bid_refusal_name(enum bid_refusal r);
int bid_refusal_loss_code(enum bid_refusal r); /* OpenRTB 2.6 list "Loss Reason Codes" */

struct auction;
struct auction_io {
    uint64_t (*now_us)(void *ctx);
    /* Start the call of one DSP; its body says tmax_ms. Must not call back into the auction. 0 =
     * started; else the reason it was not (enum why, e.g. WHY_HEALTH, WHY_OVERLOAD, WHY_QPS). */
    int (*call)(void *ctx, uint32_t dsp, uint32_t tmax_ms);
    void (*cancel)(void *ctx, uint32_t dsp);  /* no auction_on_answer for it afterwards */
    void (*timer)(void *ctx, uint64_t at_us); /* one timer; 0 clears, a new time replaces */
    void (*finished)(void *ctx);              /* last; may destroy the auction */
};

/* decisions[n_dsps] is copied. r, settings, dsps outlive the auction. The auction lives in the
 * arena. */
struct auction *auction_create(const struct bid_request *r, const struct auction_settings *settings,
                               const struct auction_dsp_settings *dsps, uint32_t n_dsps,
                               const struct decision *decisions, const struct auction_io *io,
                               void *ctx, uint64_t received_us, struct arena *arena);
/* Makes the calls. If there is none to make, finished comes from inside this call. */
void auction_start(struct auction *a);
/* transport_ok: a whole HTTP answer with `status` and `body` (borrowed for this call). */
void auction_on_answer(struct auction *a, uint32_t dsp, bool transport_ok, int status,
                       struct bytes body);
void auction_on_timer(struct auction *a);
/* The caller went away or the server stops hard: cancels all open calls, no finished. */
void auction_abort(struct auction *a);
/* Aborts it if it still runs; all that it holds is in the arena. */
void auction_destroy(struct auction *a);

/* Why a DSP whose decision was to send was not called after all. */
enum auction_skip {
    SKIP_NONE,
    SKIP_REFUSED,    /* io.call said so; decision.why is what it said */
    SKIP_NO_TIME,    /* nothing was left before the deadline, or too little for a secondary:
                        rule:tmax */
    SKIP_NOT_NEEDED, /* a secondary, and the primaries brought a bid: WHY_SECONDARY */
};

/* After the end: */
struct auction_dsp {
    struct decision
        decision; /* as given, or with send = false and the `why` of a call that was not made */
    enum auction_outcome outcome;
    uint64_t latency_us;  /* 0 unless answered (with any status) or timed out */
    int http_status;      /* 0 none */
    int64_t price_micros; /* highest valid bid, auction currency; 0 none */
    int64_t paid_micros;  /* sum over imps won */
    bool won;
    uint16_t refused[BID_REFUSALS]; /* bids refused, by reason */
    enum auction_skip skip;
    int nbr;         /* the DSP's no-bid reason; -1 none */
    uint32_t n_bids; /* valid ones */
};
const struct auction_dsp *auction_dsp(const struct auction *a, uint32_t dsp);

/* What the winner of an imp pays, in the auction's currency; -1 = no winner. */
int64_t auction_paid(const struct auction *a, uint32_t imp);

/* The BidResponse, in the arena; {NULL, 0} = no bid (204). Prices are what the winner pays. */
struct bytes auction_response(const struct auction *a, struct arena *arena);
/* The same with "ext":<ext>, a JSON object's text; then there is an answer even without a bid, with
 * auction_nbr. */
struct bytes auction_response_ext(const struct auction *a, struct bytes ext, struct arena *arena);
/* Why each (DSP, imp) brought nothing: a JSON array of SeatNonBid objects, as in IAB's community
 * extension "seat-non-bid", for ext.seatnonbid. */
struct bytes auction_seatnonbid(const struct auction *a, struct arena *arena);
struct bytes auction_currency(const struct auction *a);
/* Why nobody won, as a no-bid reason code (loss.h). */
int auction_nbr(const struct auction *a);

/* Win and billing notices, for when we fire them (settings.fire_notices): macros filled in. */
struct auction_notice {
    uint32_t dsp;
    struct bytes imp_id, bid_id;
    struct bytes nurl; /* {NULL, 0} absent, or left to the caller because it brings the markup */
    struct bytes burl; /* {NULL, 0} absent */
};
typedef void (*auction_notice_cb)(void *ctx, const struct auction_notice *n);
void auction_notices(const struct auction *a, struct arena *arena, auction_notice_cb cb, void *ctx);

/* Every bid that was refused or lost. */
struct auction_loss {
    uint32_t dsp;
    struct bytes imp_id, bid_id; /* as the bid has them */
    enum bid_refusal refusal;    /* BID_VALID: it lost the auction */
    int loss_code;               /* OpenRTB's */
    struct bytes lurl;           /* {NULL, 0} absent; macros filled in */
};
typedef void (*auction_loss_cb)(void *ctx, const struct auction_loss *l);
void auction_losses(const struct auction *a, struct arena *arena, auction_loss_cb cb, void *ctx);

/* ---- the price of one imp, by itself ---- */
struct contender {
    uint32_t dsp;
    int64_t price_micros, floor_micros; /* its own floor: the imp's or its deal's */
    bool first_price;                   /* a deal's `at` may differ from the auction's */
    bool fixed_price; /* a deal's `at` is 3: its floor is the agreed price; without one, its bid */
    uint8_t priority; /* a higher one wins whatever the price: 1 deal in a private auction... */
    uint64_t tie;     /* higher wins among equal prices: hash of (auction id, DSP name) */
};
/* The winner's index, or -1. *paid: first price, or max(own floor, the best of another DSP at the
 * same priority + increment), never above its own bid; alone over the floor it pays the floor, and
 * alone without a floor the increment. */
int clearing(const struct contender *c, uint32_t n, int64_t increment_micros, int64_t *paid_micros);
/* The winner alone; *rival: the best price of another DSP at its priority, 0 = none. */
int clearing_winner(const struct contender *c, uint32_t n, int64_t *rival_micros);

#endif
