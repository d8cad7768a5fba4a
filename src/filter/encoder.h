/* From raw features to what the network takes: vocabularies turn texts into rows, normalisation
 * turns numbers into inputs. Training fills an encoder, a model file carries it, serving uses it; a
 * text always goes through encoder_row and a number through encoder_number, wherever it is.
 *
 * Numeric inputs: the values of all numeric features in schema order, each (x - mean) / std within
 * +-5 and 0 when missing; then, in the same order, 1 where the number is missing and 0 where not.
 */
#ifndef FILTER_ENCODER_H
#define FILTER_ENCODER_H

#include "filter/interner.h"
#include "filter/schema.h"

struct encoder {
    const struct schema *schema;    /* borrowed */
    struct interner **vocabularies; /* [n_features]; text n has row VALUE_FIRST + n; NULL for the
                                       DSP and numbers */
    double *mean, *std;             /* [n_numbers] */
};

/* Empty vocabularies, mean 0, std 1. */
struct encoder *encoder_create(const struct schema *s);
void encoder_destroy(struct encoder *e);

/* VALUE_MISSING for an empty text, VALUE_UNKNOWN for one that the vocabulary has not. */
uint32_t encoder_row(const struct encoder *e, uint32_t feature, struct bytes text);
/* in: NAN = missing. */
void encoder_number(const struct encoder *e, uint32_t number, double in, float *value,
                    float *missing);

/* slots[schema->n_slots], numeric[2 * schema->n_numbers]. */
void encoder_encode(const struct encoder *e, const struct raw_features *raw, uint32_t *slots,
                    float *numeric);

/* The network's shape but for hidden1 and hidden2; network_shape_dispose frees it. -1: no memory.
 */
int encoder_shape(const struct encoder *e, uint32_t n_dsps, struct network_shape *out);

/* ---- vocabularies in a model file: the texts in order, each ended by a NUL ---- */

/* A text with a NUL in it cannot be in a vocabulary. */
bool vocabulary_may_hold(struct bytes text);
/* Caller frees; *size bytes, 0 (and NULL) when the vocabulary is empty. -1: no memory. */
int vocabulary_write(const struct interner *vocabulary, char **text, size_t *size);
/* -1: no memory, an empty or repeated text, or no NUL at the end. */
int vocabulary_read(struct interner *vocabulary, struct bytes text);

#endif
