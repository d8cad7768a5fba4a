/* The labelled calls of captures, one record at a time, and a model's scores for them: what
 * `evaluate`, `recalibrate` and `backtest` read. A label is a call that was sent and answered with
 * a bid or without one. One thread. */
#ifndef PROXY_LABELLED_H
#define PROXY_LABELLED_H

#include "filter/fresh.h"
#include "filter/judgement.h"
#include "filter/predictor.h"
#include "filter/trainset.h"
#include "proxy/capture.h"
#include "proxy/cli.h"

struct labelled_call {
    struct bytes dsp;
    bool bid;
    float weight; /* 1 / propensity, as in training */
    float price;  /* of a bid; 0 = not known */
};

struct labelled_record { /* valid until the next one */
    int64_t ts_ms;
    struct bid_request request;
    struct geo_place place;
    struct labelled_call *calls;
    uint32_t n_calls;
};

struct labelled_counts {
    uint64_t records, skipped; /* skipped: not sound */
    char first_fault[512];
};

struct labelled_reader;
/* geo may be NULL; it is borrowed. */
struct labelled_reader *labelled_open(const struct cli_list *paths, const struct geo *geo,
                                      struct error *err);
void labelled_close(struct labelled_reader *r);
/* False at the end. Shows progress on a terminal. */
bool labelled_next(struct labelled_reader *r, struct labelled_record *out);
const struct labelled_counts *labelled_counts(const struct labelled_reader *r);
/* "bidsieve COMMAND: left out N records ..." on stderr, when there were any. */
void labelled_say_skipped(const struct labelled_reader *r, const char *command);

struct labelled_score {
    const struct labelled_call *call;
    uint32_t dsp; /* the model's */
    float p;
};
/* Those calls whose DSP the model knows, in the reader's memory; returns how many. */
uint32_t labelled_score(struct labelled_reader *r, const struct labelled_record *record,
                        const struct predictor *model, struct predictor_scratch *scratch,
                        const struct labelled_score **out);

/* Adds what labelled_score gave. */
void labelled_judge(struct judgement *j, const struct labelled_score *scores, uint32_t n);
/* Likewise, with the features that the scratch was left with. */
void labelled_keep(struct fresh *f, const struct predictor_scratch *scratch,
                   const struct labelled_score *scores, uint32_t n);

/* The labels of one record, for a training set: fills *pairs, an array with that much room, which
 * grows and is the caller's to free. Returns how many. No memory ends the program. */
uint32_t labelled_pairs(const struct capture_record *r, struct trainset_pair **pairs,
                        uint32_t *room);

#endif
