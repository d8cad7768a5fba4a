/* What an auction is made of: shared by auction.c, which runs it, and auction_output.c, which
 * writes down how it came out. Nobody else includes this. */
#ifndef PROXY_AUCTION_STATE_H
#define PROXY_AUCTION_STATE_H

#include "proxy/auction.h"
#include "proxy/award.h"

enum auction_phase { PHASE_CREATED, PHASE_RUNNING, PHASE_ENDED, PHASE_ABORTED };

struct auction_call {
    struct auction_dsp dsp; /* what is told */
    struct bid_response response;
    uint64_t started_us, deadline_us;
};

struct auction {
    const struct bid_request *request;
    const struct auction_settings *settings;
    const struct auction_dsp_settings *dsps;
    const struct auction_io *io;
    void *ctx;
    struct arena *arena;

    enum auction_phase phase;
    bool secondaries_started;
    uint64_t received_us, deadline_us;
    uint32_t n_dsps, n_pending, n_valid_bids;
    struct auction_call *calls; /* [n_dsps] */

    char currency[4];
    bool lists_made; /* the block lists, at the first bid */
    const struct block_list *badv, *bcat;
    const struct bid **winners; /* [n_imps], once ended */
};

#endif
