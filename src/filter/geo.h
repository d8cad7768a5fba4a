/* Where a request comes from: its own geo object, else the IP address in a MaxMind database. */
#ifndef FILTER_GEO_H
#define FILTER_GEO_H

#include "bytes.h"
#include "error.h"
#include "filter/bid_request.h"

struct geo; /* an open database; immutable, any thread */
struct geo *geo_open(const char *path, struct error *err);
void geo_close(struct geo *g);

#define GEO_UTCOFFSET_ABSENT INT32_MIN

struct geo_place {
    struct bytes country; /* ISO 3166-1 alpha-3, as in OpenRTB, also when the database or the
                             request has alpha-2 */
    struct bytes region, city, zip, metro;
    double lat, lon;        /* NAN */
    struct bytes time_zone; /* "Europe/London", of the database */
    int32_t utcoffset_min;  /* local time minus UTC, as the request says it; GEO_UTCOFFSET_ABSENT */
    bool from_database;
};

/* g may be NULL. Spans borrow from the request, the database or static tables; valid while those
 * live. A broken database entry counts as no entry. */
void geo_locate(const struct geo *g, const struct bid_request *r, struct geo_place *out);

#endif
