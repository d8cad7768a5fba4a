/* Encoded training rows as files for other trainers: a folder of .npy arrays and a meta.json that
 * says how to read them and how to write a model file (docs/pytorch.md). Made by the code that
 * encodes for training and serving. One thread. */
#ifndef FILTER_ROWS_H
#define FILTER_ROWS_H

#include "filter/encoder.h"
#include "filter/geo.h"
#include "filter/trainset.h"

struct rows;
/* Creates the folder if it is absent; files of an earlier run are replaced. Borrows all three; geo
 * may be NULL. */
struct rows *rows_create(const char *folder, const struct encoder *e, const struct interner *dsps,
                         const struct geo *geo, struct error *err);
void rows_destroy(struct rows *r);

/* Adds a request, in the order of the calls, and those of its labels that can be used: of DSPs that
 * are in `dsps`. 1 = added; 0 = it cannot be read (fault says why); -1 = it cannot be written. */
int rows_add(struct rows *r, int64_t ts_ms, struct bytes request, const struct trainset_pair *pairs,
             uint32_t n_pairs, struct bid_request_error *fault, struct error *err);

struct rows_counts {
    uint64_t requests, pairs, bids;
    uint64_t pairs_dropped; /* an unknown DSP, or a propensity outside (0, 1] */
};
const struct rows_counts *rows_counts(const struct rows *r);

/* The files are whole, with the vocabularies and meta.json, only when this gave 0. */
int rows_finish(struct rows *r, struct error *err);

#endif
