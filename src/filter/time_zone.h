/* Local time, by the name of a time zone ("Europe/Berlin") or by a country. The rules are built in,
 * as they are in force since 2025 (tz database 2025), so that training and serving agree whatever
 * the machine has installed. */
#ifndef FILTER_TIME_ZONE_H
#define FILTER_TIME_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"

struct time_zone; /* static */

/* The names, arranged for look-ups; immutable, any thread. */
struct time_zones;
struct time_zones *time_zones_create(void); /* NULL: no memory */
void time_zones_destroy(struct time_zones *t);

/* NULL: no such zone. */
const struct time_zone *time_zones_find(const struct time_zones *t, struct bytes name);

/* Where most people of the country live; alpha3 in upper case. *spans: it has others that matter,
 * so that whoever knows the longitude knows better. NULL: no such country. */
const struct time_zone *time_zones_of_country(const struct time_zones *t, struct bytes alpha3,
                                              bool *spans);

/* Local time minus UTC in minutes, at a moment. Any ts_ms; rules of the past are not known. */
int32_t time_zone_offset_min(const struct time_zone *z, int64_t ts_ms);

#endif
