/* What a caller may ask to be told beside the bids: why each DSP brought nothing
 * (ext.seatnonbid), and, with the token from the configuration, how each decision came about
 * (ext.bidsieve.debug). Nobody who does not ask pays for it. */
#ifndef PROXY_EXTRAS_H
#define PROXY_EXTRAS_H

#include "proxy/auction.h"
#include "proxy/net/dsp_client.h"
#include "proxy/snapshot.h"

/* ext.prebid.returnallbidstatus, as callers of Prebid Server set it, or ext.bidsieve.seatnonbid. */
bool extras_wants_seatnonbid(const struct bid_request *r);

/* Traces are for people: a bucket of one second's worth bounds what they cost. Of one loop. */
struct trace_gate {
    double tokens;
    uint64_t filled_us;
};
/* Whether a request with this X-Bidsieve-Debug header is traced. token: NULL = never. */
bool trace_gate_admit(struct trace_gate *g, const char *token, double rate_max, struct bytes header,
                      uint64_t now_us);

enum { TRACE_BODY_BYTES_MAX = 4096 };

/* What a transaction notes down while it runs, when it is traced. In its arena. */
struct trace {
    uint64_t received_us, scanned_us, decided_us; /* loop_now_us */
    struct trace_dsp {
        enum dsp_result result;
        bool answered;     /* or failed: the call came to an end before the auction's */
        struct bytes body; /* its first TRACE_BODY_BYTES_MAX */
        size_t body_bytes; /* all of it */
    } * dsps;              /* [n_dsps] */
};
struct trace *trace_create(uint32_t n_dsps, struct arena *arena);
/* body is copied. */
void trace_answer(struct trace *t, uint32_t dsp, enum dsp_result result, struct bytes body,
                  struct arena *arena);

/* The "ext" of the answer: {NULL, 0} when nothing was asked for. trace may be NULL. */
struct extras {
    const struct snapshot *snapshot;
    const struct bid_request *request;
    const struct geo_place *place;
    const struct auction *auction; /* ended */
    int64_t ts_ms;
    uint64_t now_us;
    bool seatnonbid;
    const struct trace *trace;
};
struct bytes extras_ext(const struct extras *x, struct arena *arena);

#endif
