/* Extraction: every feature of the schema asks its source and puts the answer into its own slots.
 */
#include "filter/features.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "filter/schema.h"

void features_extract(const struct schema *s, const struct bid_request *r,
                      const struct geo_place *place, int64_t ts_ms, struct arena *arena,
                      struct raw_features *out)
{
    struct source_input in;
    source_input_init(&in, r, place, ts_ms, s->user_agents, s->time_zones, arena);
    out->texts = arena_alloc(arena, s->n_slots * sizeof(*out->texts));
    out->numbers = arena_alloc(arena, s->n_numbers * sizeof(*out->numbers));
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        struct bytes *slots = out->texts + f->at;
        switch (f->source->kind) {
        case SOURCE_DSP:
            break;
        case SOURCE_TEXT:
            slots[0] = f->source->text(&in);
            break;
        case SOURCE_TEXTS: {
            uint32_t n = f->source->texts(&in, slots, f->slots);
            memset(slots + n, 0, (f->slots - n) * sizeof(*slots));
            break;
        }
        case SOURCE_NUMBER:
            out->numbers[f->at] = f->source->number(&in);
            break;
        }
    }
}
