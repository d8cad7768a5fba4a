/* Golden inputs: a few encoded requests with the scores of all DSPs, kept in the model file.
 * Whoever loads it computes them again and refuses a model whose scores do not come out: another
 * byte order, a broken kernel, a renamed table. */
#ifndef FILTER_GOLDEN_H
#define FILTER_GOLDEN_H

#include "model/network.h"
#include "model/safetensors.h"

enum { GOLDEN_MAX = 16, GOLDEN_TENSORS_MAX = 3 };

struct golden {
    uint32_t n;
    int32_t *slots; /* [n, slots]; SLOT_EMPTY is -1 */
    float *numeric; /* [n, n_numeric] */
    float *p;       /* [n, n_dsps] */
};

/* n <= GOLDEN_MAX requests out of n_requests, evenly spread. -1: no memory. */
int golden_create(struct golden *g, const struct scorer *s, const struct network_shape *shape,
                  const uint32_t *slots, const float *numeric, uint32_t n_requests);
void golden_dispose(struct golden *g);
/* Returns how many tensors it filled; they borrow from g. */
size_t golden_tensors(const struct golden *g, const struct network_shape *shape,
                      struct tensor out[GOLDEN_TENSORS_MAX]);

/* p[n, n_dsps] of the file's golden inputs, by another scorer: of a file whose own have been
 * checked, and which has some. -1: no memory. */
int golden_score(const struct safetensors *f, const struct scorer *s,
                 const struct network_shape *shape, float *p);

/* Whether `fast`, which is rounded, says what `exact` says, within the bound of serving; the golden
 * inputs have been checked with `exact`. false when the file has none. */
bool golden_near(const struct safetensors *f, const struct scorer *exact, const struct scorer *fast,
                 const struct network_shape *shape);

/* 0 also when the file has none. */
int golden_check(const struct safetensors *f, const struct scorer *s,
                 const struct network_shape *shape, const char *path, struct error *err);

#endif
