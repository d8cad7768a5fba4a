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
#include "filter/vocabulary.h"

struct encoder {
    const struct schema *schema;     /* borrowed */
    struct interner **vocabularies;  /* [n_features]; text n has row VALUE_FIRST + n; NULL for the
                                        DSP, numbers and hashed features */
    const struct interner **of_slot; /* [n_slots] its feature's vocabulary */
    uint32_t *empty_row;             /* [n_slots] of an empty text */
    double *mean, *std;              /* [n_numbers] */
};

/* Empty vocabularies, mean 0, std 1. */
struct encoder *encoder_create(const struct schema *s);
void encoder_destroy(struct encoder *e);

/* VALUE_MISSING for an empty text. One that the vocabulary has not counts, in a feature with
 * back-off, as the longest of its coarser texts that it has ("USA/ca" of "USA/ca/oakland"); else it
 * is VALUE_UNKNOWN. In a hashed feature: VALUE_FIRST + hash_bytes(text, 0) mod 2^hash_bits. */
uint32_t encoder_row(const struct encoder *e, uint32_t feature, struct bytes text);
/* in: NAN = missing. */
void encoder_number(const struct encoder *e, uint32_t number, double in, float *value,
                    float *missing);

/* slots[schema->n_slots], numeric[2 * schema->n_numbers]. */
void encoder_encode(const struct encoder *e, const struct raw_features *raw, uint32_t *slots,
                    float *numeric);

/* Length of a value's embedding: the schema's, else by the rule of the published prototype,
 * (rows of the table + 1) / 2, at most SCHEMA_DIM_RULE_MAX. 0: a number. */
uint32_t encoder_dim(const struct encoder *e, uint32_t feature, uint32_t n_dsps);
/* Writes these dims into a schema, whose features are the encoder's: what a model file says. */
void encoder_settle_dims(const struct encoder *e, uint32_t n_dsps, struct schema *s);

/* The network's shape but for hidden1 and hidden2; network_shape_dispose frees it. -1: no memory.
 */
int encoder_shape(const struct encoder *e, uint32_t n_dsps, struct network_shape *out);

#endif
