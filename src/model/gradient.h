/* The gradient of one mini-batch: dense for the layers; for the tables (embeddings, wide) only the
 * rows that the batch touched, packed in the order of first touch. One thread. */
#ifndef MODEL_GRADIENT_H
#define MODEL_GRADIENT_H

#include <stddef.h>
#include <stdint.h>

#include "model/network.h"

/* A wide table [values, n_dsps] counts as values * n_dsps rows of one float: a batch touches single
 * cells of it. */
struct gradient_table {
    float *param; /* in the network's block */
    size_t rows;
    uint32_t dim;
    uint32_t *place;   /* [rows] 0 = not touched, else 1 + its place in `touched` */
    uint32_t *touched; /* [n_touched] rows */
    float *sum;        /* [n_touched][dim] */
    size_t n_touched, touched_max;
};

struct gradient {
    float *dense; /* laid out as the front of the network's block */
    size_t dense_floats;
    struct gradient_table *tables; /* [n_features] embeddings, [n_features] wide, the gate; rows = 0
                                      if there is none */
    size_t n_tables;
};

/* For batches of up to `batch` pairs; the network must outlive it. NULL: no memory. */
struct gradient *gradient_create(struct network *n, uint32_t batch);
void gradient_destroy(struct gradient *g);

/* The place of a row's sum in the table; a row touched first gets one, zeroed. */
static inline uint32_t gradient_touch(struct gradient_table *t, size_t row)
{
    uint32_t place = t->place[row];
    if (place == 0) {
        t->touched[t->n_touched] = (uint32_t)row;
        place = t->place[row] = (uint32_t)++t->n_touched;
        for (uint32_t i = 0; i < t->dim; i++)
            t->sum[(place - 1) * (size_t)t->dim + i] = 0;
    }
    return place - 1;
}

static inline float *gradient_row(struct gradient_table *t, size_t row)
{
    return t->sum + gradient_touch(t, row) * (size_t)t->dim;
}

/* Forgets the tables' rows; `dense` is overwritten by the next pass anyway. */
void gradient_clear(struct gradient *g);

#endif
