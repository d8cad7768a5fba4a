/* Who wins each imp of one auction, and what it pays: a clearing for each imp, repeated while a
 * seat that wants all of its imps or none ("group":1) would get only some. */
#ifndef PROXY_AWARD_H
#define PROXY_AWARD_H

#include "proxy/bid_response.h"

struct award_terms {
    const struct bid_request *request;
    bool second_price; /* where neither request nor deal says */
    bool deals_first;
    int64_t increment_micros; /* in the auction's currency */
    const uint64_t *ties;     /* [dsp] hash of (auction id, DSP name) */
};

/* bids: the valid ones, of all DSPs. Fills their awarded part; winners[n_imps] gets each imp's
 * winner or NULL. */
void award(struct bid *const *bids, uint32_t n_bids, const struct award_terms *terms,
           struct arena *arena, const struct bid **winners);

#endif
