/* Which texts of a feature get a row of their own. Deterministic: the same texts and counts, in
 * whatever order, give the same vocabulary. */
#ifndef FILTER_VOCABULARY_H
#define FILTER_VOCABULARY_H

#include "filter/interner.h"
#include "filter/schema.h"

/* Fills `out` with the texts that at least f->min_count requests have, the most frequent first, at
 * most f->values_max of them. counts[n]: how many requests have text n of `values`. With back-off,
 * the counts of a rare text go to the coarser one, which thereby stands for all its rare ones: a
 * row exists only where that many requests teach it. Hashed features have none. -1: no memory. */
int vocabulary_build(struct interner *out, const struct schema_feature *f,
                     const struct interner *values, const uint64_t *counts);

/* A text with a NUL in it cannot be in a vocabulary. */
bool vocabulary_may_hold(struct bytes text);

/* The coarser text that a text of this source begins with ("USA/ca" of "USA/ca/oakland"); {NULL,
 * 0}: it is the coarsest. */
struct bytes vocabulary_coarser(const struct feature_source *source, struct bytes text);

/* ---- in a model file: the texts in order, each ended by a NUL ---- */

/* Caller frees; *size bytes, 0 (and NULL) when the vocabulary is empty. -1: no memory. */
int vocabulary_write(const struct interner *vocabulary, char **text, size_t *size);
/* -1: no memory, an empty or repeated text, or no NUL at the end. */
int vocabulary_read(struct interner *vocabulary, struct bytes text);

#endif
