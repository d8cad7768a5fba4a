/* Labelled calls of fresh traffic as a model takes them. One thread. */
#ifndef FILTER_FRESH_H
#define FILTER_FRESH_H

#include "model/network.h"
#include "model/train.h"

struct fresh;

struct fresh *fresh_create(const struct network_shape *shape); /* NULL: no memory */
void fresh_destroy(struct fresh *f);

/* slots[network_shape_slots], numeric[n_numeric]. The calls that follow are its. No memory ends the
 * program, as in a training set. */
void fresh_add_request(struct fresh *f, const uint32_t *slots, const float *numeric);
void fresh_add_call(struct fresh *f, uint32_t dsp, bool bid, float weight, float price);

/* Until more are added. */
struct examples fresh_examples(const struct fresh *f);
const float *fresh_prices(const struct fresh *f); /* [pairs], as judgement_score takes them */

#endif
