/* The closed list of what a feature may read: a table of named sources, each a small function of
 * the request, its place and its time. Nothing else gets into a model: no auction id, no user id,
 * no address. */
#ifndef FILTER_FEATURE_SOURCE_H
#define FILTER_FEATURE_SOURCE_H

#include "arena.h"
#include "filter/bid_request.h"
#include "filter/geo.h"
#include "filter/user_agent.h"

enum source_kind {
    SOURCE_DSP,   /* the DSP that is asked; exactly one feature of a schema */
    SOURCE_TEXT,  /* one value or none */
    SOURCE_TEXTS, /* several values at once */
    SOURCE_NUMBER,
};

/* What the sources read, with what several of them share computed once. */
struct source_input {
    const struct bid_request *r;
    const struct geo_place *place;
    struct arena *arena;
    int64_t local_minute, utc_minute; /* since Monday 00:00, 0..10079 */
    int32_t year;                     /* of the request, UTC */
    struct bytes domain;              /* of the property, normalised */
    struct user_agent ua;
    struct bytes os; /* device.os or the user agent's, as a family */
};
void source_input_init(struct source_input *in, const struct bid_request *r,
                       const struct geo_place *place, int64_t ts_ms,
                       const struct user_agent_rules *rules, struct arena *arena);

struct feature_source {
    const char *name;
    enum source_kind kind;
    struct bytes (*text)(const struct source_input *in); /* {NULL, 0} or empty = missing */
    /* Up to max different values, none of them empty; returns how many. */
    uint32_t (*texts)(const struct source_input *in, struct bytes *out, uint32_t max);
    double (*number)(const struct source_input *in); /* NAN = missing */
    char level; /* what stands between a text's levels, coarse to fine: "USA/ca/oakland"; 0: it has none */
    const char *doc;
};

/* The whole table, in the order of the documentation. */
const struct feature_source *feature_source_table(size_t *n);
const struct feature_source *feature_source_find(const char *name); /* NULL: no such source */

#endif
