/* Inside of a schema, for the modules that build on it: extraction, encoder, training. */
#ifndef FILTER_SCHEMA_H
#define FILTER_SCHEMA_H

#include <jansson.h>

#include "filter/feature_source.h"
#include "filter/features.h"

enum {
    SCHEMA_FEATURES_MAX = 256,
    SCHEMA_DIM_MAX = 256,
    SCHEMA_DIM_RULE_MAX = 16, /* of a feature that names no dim */
    SCHEMA_HASH_BITS_MAX = 22,
    SCHEMA_SLOTS_MAX = 16,
    SCHEMA_VALUES_MAX = 4000000,
    SCHEMA_INPUTS_MAX = 16384, /* width of the first layer */
};

struct schema_feature {
    char name[64];
    const struct feature_source *source;
    uint32_t dim;        /* 0: a number, or by rule: see encoder_dim */
    uint32_t slots;      /* 1 unless the source has several values; 0: the DSP, or a number */
    uint32_t min_count;  /* a value seen less often in training is unknown */
    uint32_t values_max; /* the vocabulary's bound; the most frequent stay */
    uint32_t hash_bits;  /* above 0: no vocabulary; a text's row is its hash mod 2^hash_bits */
    bool backoff;        /* a text that is unknown counts as the coarser one it begins with */
    bool wide;
    uint32_t at; /* its first slot, or its place among the numbers */
};

struct schema {
    struct schema_feature *features;
    uint32_t n_features;
    uint32_t n_slots, n_numbers;
    uint32_t dsp_feature;
    struct user_agent_rules *user_agents; /* owned */
    struct time_zones *time_zones;        /* owned */
};

/* {"features": [...]}: members that are not of a schema file are refused, but for those named in
 * allowed_extra (NULL-terminated, may be NULL), which a model's metadata adds. */
struct schema *schema_from_json(const json_t *document, const char *where,
                                const char *const *allowed_extra, struct error *err);
struct schema *schema_copy(const struct schema *s); /* NULL: no memory */
/* A schema file of it; the caller owns the reference. NULL: no memory. */
json_t *schema_to_json(const struct schema *s);

#endif
