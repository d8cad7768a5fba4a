/* The training set cut in two by time and encoded: vocabularies and normalisation from the earlier
 * slice alone, both slices as the network takes them. Nothing of the later slice can leak into what
 * the model knows. */
#ifndef FILTER_SLICES_H
#define FILTER_SLICES_H

#include "filter/encoder.h"
#include "model/train.h"

/* What a training set has collected. */
struct collected_pair {
    float weight;
    uint16_t dsp;
    uint8_t label;
    float price; /* of a bid; 0 = not known */
};
struct collected {
    uint32_t n_requests;
    const int64_t *ts_ms;       /* [n_requests], any order */
    const uint32_t *texts;      /* [n_requests, schema's slots]: number of the text in its feature's
                                   interner; INTERNER_NONE = empty */
    const float *numbers;       /* [n_requests, schema's numbers]; NAN = missing */
    const uint64_t *first_pair; /* [n_requests + 1] */
    const struct collected_pair *pairs;
    struct interner *const *values; /* [features] */
    const struct interner *dsps;
    const struct encoder *normalisation; /* of an older model, to go on with, but for numbers that
                                            did not vary then; NULL: learnt */
};

struct slice {
    int64_t from_ms, to_ms;
    struct examples examples; /* its arrays belong to the slices */
    float *price; /* [pairs] of the bids, 0 = not known: to judge by, never to learn from; only of
                     the later slice, else NULL */
    uint64_t bids;
};

struct slices {
    struct encoder *encoder;
    struct interner *dsps; /* the model's: by name */
    struct slice train, validation;
    uint64_t pairs_dropped; /* of DSPs that the earlier slice has no label of */
    uint32_t *slots;        /* both slices' */
    float *numeric;
};

/* validation_share 0: all of it is the earlier slice. */
int slices_create(struct slices *s, const struct schema *schema, const struct collected *from,
                  double validation_share, struct error *err);
void slices_dispose(struct slices *s);

/* Rows that no training example has reached keep what they were drawn at random. Each becomes the
 * average row of its table, weighted by use: a value without evidence acts as the average one. */
int slices_settle_unseen_rows(const struct slices *s, struct network *n);

#endif
