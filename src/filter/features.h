/* Features: from a bid request, its place and its time to slots and numbers. The one
 * implementation, for training, evaluation and serving. What a feature may read is closed: this
 * file's table of named sources (docs/features.md lists them). A schema file picks sources, dims
 * and vocabulary bounds:
 *
 *   {"features": [
 *     {"name": "dsp", "source": "dsp", "dim": 16},
 *     {"name": "geocode", "source": "geo.code", "dim": 16, "min_count": 20, "values_max": 20000,
 * "wide": true},
 *     {"name": "cat", "source": "property.cat", "dim": 8, "slots": 4},
 *     {"name": "floor", "source": "imp.floor", "type": "number"} ]}
 */
#ifndef FILTER_FEATURES_H
#define FILTER_FEATURES_H

#include "arena.h"
#include "error.h"
#include "filter/bid_request.h"
#include "filter/geo.h"
#include "model/network.h"

struct schema; /* without vocabularies: what to extract. Immutable. */
struct schema *schema_load(const char *path, struct error *err);
struct schema *schema_parse(struct bytes json, const char *where, struct error *err);
void schema_destroy(struct schema *s);
uint32_t schema_slots(const struct schema *s);   /* categorical slots, the DSP left out */
uint32_t schema_numbers(const struct schema *s); /* numeric features */

/* One request's raw features: each slot a value's text ({NULL,0} = empty; slot 0 of a feature empty
 * = missing), each number (NAN = missing). Texts borrow from the request, the place, or the arena.
 */
struct raw_features {
    struct bytes *texts; /* [schema_slots] */
    double *numbers;     /* [schema_numbers] */
};
void features_extract(const struct schema *s, const struct bid_request *r,
                      const struct geo_place *place, int64_t ts_ms, struct arena *arena,
                      struct raw_features *out);

/* A row of a Markdown table a source, name, kind, meaning: what docs/features.md lists; NULL ends
 * it.
 */
const char *const *feature_sources(void);

#endif
