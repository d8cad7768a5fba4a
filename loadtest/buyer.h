/* One simulated DSP: its campaigns, and what it does with a request. Immutable after creation; any
 * thread. Nothing that it did before decides what it does now: a bid is a pure function of the
 * request and its time, so what it would have done with a call that was withheld is known too. */
#ifndef LOADTEST_BUYER_H
#define LOADTEST_BUYER_H

#include "loadtest/campaign.h"

struct buyer_index;
struct buyer {
    const struct scenario_dsp *scenario; /* borrowed */
    const struct traffic *traffic;       /* borrowed */
    const char *name;
    char seat[32];
    uint64_t key;
    struct campaign *campaigns;
    uint32_t n_campaigns;
    struct buyer_index *index;
    double rate_drawn; /* P(bid) over the sample that it was drawn with */
};

/* A sample of the world's requests, which campaigns are fitted to. */
struct sample {
    struct view *views;
    uint32_t n;
};

/* Draws the campaigns so that the DSP bids on about scenario->bid_rate of the sample. */
void buyer_init(struct buyer *b, const struct scenario_dsp *d, const struct traffic *t,
                const struct sample *sample);
/* For tests: with these campaigns (copied; their sets become the buyer's). */
void buyer_init_with(struct buyer *b, const struct scenario_dsp *d, const struct traffic *t,
                     const struct campaign *campaigns, uint32_t n);
void buyer_dispose(struct buyer *b);

/* Whether it recognises the user of the request. */
bool buyer_knows(const struct buyer *b, uint64_t user);

/* The true probability that it bids on at least one imp. */
double buyer_probability(const struct buyer *b, const struct view *v);

/* What could be known of it the day before, with logs without end of the days_before days that came
 * before the request's: the mean of its probability over those days at the same hour, and over
 * whether the DSP recognises the user. */
double buyer_probability_known(const struct buyer *b, const struct view *v, int32_t days_before);

struct buyer_bid {
    uint32_t imp;      /* index in the request */
    uint32_t campaign; /* index */
    int32_t deal;      /* of this world; -1 none */
    int64_t price_micros, floor_micros;
};
/* What it does bid: at most one bid an imp, of its highest campaign. Returns how many. */
uint32_t buyer_bids(const struct buyer *b, const struct view *v,
                    struct buyer_bid out[VIEW_IMPS_MAX]);

enum buyer_conduct { CONDUCT_ANSWER, CONDUCT_ERROR, CONDUCT_MALFORMED, CONDUCT_LATE };
/* How it answers this auction, and after how long. */
enum buyer_conduct buyer_conduct(const struct buyer *b, uint64_t auction, uint64_t *delay_us);

#endif
