/* Captured auctions held against the world's truth: what each DSP would have done with every
 * request, asked or not. One thread. */
#ifndef LOADTEST_REPORT_H
#define LOADTEST_REPORT_H

#include <stdio.h>

#include "loadtest/truth.h"
#include "loadtest/world.h"
#include "proxy/capture.h"

struct report_dsp {
    uint64_t requests, sent, explored; /* explored: those sent for exploration only */
    uint64_t skipped; /* calls that something other than the filter left out: health, a QPS cap, no
                         time...; they count in nothing else here */
    uint64_t bids, bids_sent;       /* the counterfactual draw: would bid; and was asked */
    double expected, expected_sent; /* sum of p over all requests; over those sent */
    uint64_t timeouts, errors, invalid, disagreements;
    int64_t revenue_micros, revenue_kept_micros; /* as a winner: all asked; as it was */
    struct truth truth;
};

struct report {
    const struct world *world;
    int32_t first_day, end_day;
    uint64_t auctions, other_days, unreadable;
    uint64_t shown, shown_kept; /* auctions with a winner, all asked; as it was */
    struct report_dsp *dsps;    /* [world->n_buyers] */
    struct arena arena;
};

void report_init(struct report *r, const struct world *w, int32_t first_day, int32_t end_day);
void report_add(struct report *r, const struct capture_record *record);
void report_dispose(struct report *r);

void report_print(struct report *r, FILE *out);      /* a table of less than 100 columns */
void report_print_json(struct report *r, FILE *out); /* keys: loadtest/README.md */

#endif
