/* The world's traffic: sites and apps with their placements, people with their devices, and the bid
 * requests that come of them. Request i of a day is a pure function of (seed, day, i): any process
 * can make it again. Immutable after creation; any thread. */
#ifndef LOADTEST_TRAFFIC_H
#define LOADTEST_TRAFFIC_H

#include "loadtest/atlas.h"
#include "loadtest/scenario.h"

enum { TRAFFIC_BODY_MAX = 8192 };

struct traffic;
/* Borrows the scenario. */
struct traffic *traffic_create(const struct scenario *s);
void traffic_destroy(struct traffic *t);

/* Request `index` (below requests_per_day) of day `day`: an OpenRTB 2.6 body of 1-1.5 KB in out;
 * *ts_ms gets its time, which rises with the index along the day's curve of volume. */
struct bytes traffic_request(const struct traffic *t, int32_t day, uint32_t index,
                             char out[TRAFFIC_BODY_MAX], int64_t *ts_ms);

const struct scenario *traffic_scenario(const struct traffic *t);
const struct atlas *traffic_atlas(const struct traffic *t);
uint32_t traffic_properties(const struct traffic *t); /* how many sites and apps */
uint32_t traffic_deals(const struct traffic *t);
/* Index of the site or app with this domain or bundle; -1 = not of this world. */
int32_t traffic_find_property(const struct traffic *t, struct bytes name);
int32_t traffic_find_deal(const struct traffic *t, struct bytes id);
enum { TRAFFIC_DEAL_NAME_MAX = 24 };
void traffic_deal_name(const struct traffic *t, uint32_t deal, char out[TRAFFIC_DEAL_NAME_MAX]);
/* A property drawn by its popularity; for domain lists that a buyer would write. */
uint32_t traffic_draw_property(const struct traffic *t, struct prng *g);

#endif
