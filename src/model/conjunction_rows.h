/* Conjunctions folded for serving: a row of factors for each value, of all units of all DSPs, so
 * that a request's rates are a product of rows. Immutable; any thread, each with its own scratch.
 */
#ifndef MODEL_CONJUNCTION_ROWS_H
#define MODEL_CONJUNCTION_ROWS_H

#include "model/kernel.h"
#include "model/kernel_int8.h"
#include "model/network.h"

struct conjunction_rows;
/* c must have units. whole: in whole numbers as far as they go; NULL: in floats. NULL: no memory.
 */
struct conjunction_rows *conjunction_rows_create(const struct conjunctions *c,
                                                 const struct network_shape *shape,
                                                 const struct kernel *k,
                                                 const struct kernel_int8 *whole);
void conjunction_rows_destroy(struct conjunction_rows *r);
size_t conjunction_rows_bytes(const struct conjunction_rows *r);
/* Scratch: so many floats on a cache line. */
size_t conjunction_rows_scratch(const struct conjunction_rows *r);

/* The rates of all units for a request, kept in scratch; slots as scorer_score takes them. */
void conjunction_rows_begin(const struct conjunction_rows *r, float *scratch,
                            const uint32_t *slots);
/* What the DSP's conjunctions and `logit` say together; logit itself for a DSP without any. */
float conjunction_rows_join(const struct conjunction_rows *r, const float *scratch, uint32_t dsp,
                            float logit);

#endif
