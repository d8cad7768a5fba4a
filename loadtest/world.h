/* The simulated world: one scenario, its traffic and its buyers. A pure function of (scenario,
 * request, time): the process that bids, the one that sends and the one that reports each load the
 * same file and agree on everything, also on what a DSP would have bid had it been asked.
 * Immutable; any thread. */
#ifndef LOADTEST_WORLD_H
#define LOADTEST_WORLD_H

#include "loadtest/buyer.h"

struct world {
    struct scenario *scenario;
    struct traffic *traffic;
    struct buyer *buyers;
    uint32_t n_buyers;
};

struct world *world_load(const char *path, struct error *err);
void world_destroy(struct world *w);

/* The traffic alone, for who only sends: buyers stay empty. */
struct world *world_load_traffic(const char *path, struct error *err);

int32_t world_find_buyer(const struct world *w, struct bytes name); /* -1 unknown */

/* Days given as "3" (that day) or "A:B" (from A up to, not including, B). */
int world_parse_days(const char *text, int32_t *first, int32_t *end, struct error *err);

#endif
