/* Collects (request, DSP, outcome) from capture records, compactly, for training
 * (filter/training.h). One thread. */
#ifndef FILTER_TRAINSET_H
#define FILTER_TRAINSET_H

#include "error.h"
#include "filter/encoder.h"
#include "filter/features.h"
#include "filter/slices.h"

struct trainset;
struct trainset *trainset_create(const struct schema *s, const struct geo *geo /* may be NULL */);
void trainset_destroy(struct trainset *t);

struct trainset_pair {
    struct bytes dsp;
    bool bid;
    double propensity; /* in (0, 1] */
    double price;      /* of a bid; 0 or NAN = not known */
};
enum {
    TRAINSET_WEIGHT_MAX = 1000,      /* 1/propensity beyond it counts as that much */
    TRAINSET_PRICE_MAX = 1000000000, /* a price from here on is no price */
};

/* Any order of time. False when the request cannot be read (e says why; counted, training goes on).
 */
bool trainset_add(struct trainset *t, int64_t ts_ms, struct bytes request,
                  const struct trainset_pair *pairs, uint32_t n_pairs, struct bid_request_error *e);

struct trainset_counts {
    uint64_t requests, requests_unreadable;
    uint64_t requests_repeated; /* like another to the letter, DSPs and labels too; left out */
    uint64_t pairs, bids;       /* labels taken */
    uint64_t pairs_dropped;     /* a propensity outside (0, 1], no DSP name */
};
const struct trainset_counts *trainset_counts(const struct trainset *t);

/* A training set of its own, of what t holds of [from_ms, to_ms). It borrows t's texts: t must
 * outlive it, and nothing may be added to it. No memory ends the program. */
struct trainset *trainset_between(const struct trainset *t, int64_t from_ms, int64_t to_ms);

/* The first and the last moment of it; false when it is empty. */
bool trainset_span(const struct trainset *t, int64_t *first_ms, int64_t *last_ms);

/* What training on all of it would encode with, for who trains elsewhere: vocabularies and
 * normalisation, and the DSPs by name. The caller destroys both. */
int trainset_learn_encoder(const struct trainset *t, struct encoder **encoder,
                           struct interner **dsps, struct error *err);

const struct schema *trainset_schema(const struct trainset *t);
/* All of it, borrowed until something is added. */
struct collected trainset_collected(const struct trainset *t);

#endif
