/* The simulated DSPs as an HTTP server, one event loop and one thread:
 *
 *   POST /bid/<dsp>   a BidRequest -> 200 BidResponse | 204 | what the scenario's faults say
 *   GET  /stats       JSON: per DSP calls, bids, no bids, faults; of all bidders that share them
 *
 * The time of a request is its X-Bidsieve-Time header (ms since the epoch), else the wall clock. */
#ifndef LOADTEST_BIDDER_H
#define LOADTEST_BIDDER_H

#include "loadtest/world.h"
#include "proxy/net/server.h"

struct bidder_counts { /* of one DSP; written by one thread, read by any */
    uint64_t calls, bids, no_bids, errors, late, bad_requests;
};

struct bidder;
/* counts[n_bidders][w->n_buyers], zeroed: row `me` is this bidder's own, /stats sums all rows. */
struct bidder *bidder_create(struct loop *l, const struct world *w, const char *host, uint16_t port,
                             struct bidder_counts *counts, uint32_t n_bidders, uint32_t me,
                             struct error *err);
uint16_t bidder_port(const struct bidder *b);
/* Answers what is open; then done(ctx), once, later. */
void bidder_stop(struct bidder *b, void (*done)(void *ctx), void *ctx);
void bidder_destroy(struct bidder *b); /* after done */

#endif
