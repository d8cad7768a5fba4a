/* The sources of features, by name: each a small function of the request, its place and its time.
 * feature_source_list.h is the closed list of them. */
#ifndef FILTER_FEATURE_SOURCE_H
#define FILTER_FEATURE_SOURCE_H

#include "arena.h"
#include "filter/bid_request.h"
#include "filter/geo.h"
#include "filter/time_zone.h"
#include "filter/user_agent.h"

enum source_kind {
    SOURCE_DSP,   /* the DSP that is asked; exactly one feature of a schema */
    SOURCE_TEXT,  /* one value or none */
    SOURCE_TEXTS, /* several values at once */
    SOURCE_NUMBER,
};

/* What all imps say together. */
struct source_imps {
    uint8_t media; /* bits of enum media */
    bool instl, rewarded;
    bool deals, open, closed; /* any deal; an imp in an open auction, in a private one */
    int8_t secure;            /* the strictest */
    const struct imp *cheapest, *video, *audio; /* the first such; NULL without any */
};

/* What the sources read; what several of them share is computed once, when the first asks. */
struct source_input {
    const struct bid_request *r;
    const struct geo_place *place;
    const struct user_agent_rules *user_agents;
    const struct time_zones *time_zones;
    struct arena *arena;
    int64_t ts_ms;
    struct source_imps imps;

    bool geo_read, local_read, domain_read, ua_read, os_read;
    uint32_t local_minute;             /* since Monday 00:00 */
    struct bytes geo_code, geo_region; /* "USA/ca/oakland", and its begin "USA/ca" */
    struct bytes domain;               /* of the property, normalised */
    struct user_agent ua;
    struct bytes os; /* device.os or the user agent's, as a family */
};
void source_input_init(struct source_input *in, const struct bid_request *r,
                       const struct geo_place *place, int64_t ts_ms,
                       const struct user_agent_rules *user_agents,
                       const struct time_zones *time_zones, struct arena *arena);

struct feature_source {
    const char *name;
    enum source_kind kind;
    char level; /* stands between a text's levels, coarse to fine: "USA/ca"; 0: it has none */
    struct bytes (*text)(struct source_input *in); /* {NULL, 0} or empty = missing */
    /* Up to max different values, none of them empty; returns how many. */
    uint32_t (*texts)(struct source_input *in, struct bytes *out, uint32_t max);
    double (*number)(struct source_input *in); /* NAN = missing */
    const char *doc;
};

/* The whole table, in the order of the documentation. */
const struct feature_source *feature_source_table(size_t *n);
const struct feature_source *feature_source_find(const char *name); /* NULL: no such source */

#endif
