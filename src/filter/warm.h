/* A warm start: training begins from the parameters of an older model whose schema still fits.
 * Values that both vocabularies have are taken over by their text, DSPs by their name, layers and
 * the normalisation of numbers as they are. New values keep their random start. Conjunctions, and
 * the calibration, are fitted anew: they are not steps on a gradient. */
#ifndef FILTER_WARM_H
#define FILTER_WARM_H

#include "filter/encoder.h"
#include "model/network.h"

struct warm;
/* Checks the file as predictor_load does. */
struct warm *warm_open(const char *path, struct error *err);
void warm_destroy(struct warm *w);

/* The older model has seen nothing later; -1 unknown. */
int64_t warm_learnt_to_ms(const struct warm *w);
/* The older model's: its means and deviations. */
const struct encoder *warm_encoder(const struct warm *w);

/* s, with the older model's dim where s leaves it to the rule; the caller destroys it. NULL, and
 * the feature that differs, when s has not the same features in the same order, with the same
 * sources, slots, hashing and dims. */
struct schema *warm_schema(const struct warm *w, const struct schema *s, struct error *err);
/* -1, and what differs: hidden sizes, gates, wide tables. */
int warm_check_shape(const struct warm *w, const struct network_shape *s, struct error *err);

/* n: a new network that has passed both; its negative_rate is set, for which the output's bias is
 * shifted. encoder and dsps say what its rows are. -1: no memory. */
int warm_init(const struct warm *w, const struct encoder *encoder, const struct interner *dsps,
              struct network *n);

#endif
