/* The places of the simulated world: countries, their regions, their cities, as a tree of nodes.
 * Node 0 is "unknown". Immutable; any thread. */
#ifndef LOADTEST_ATLAS_H
#define LOADTEST_ATLAS_H

#include "bytes.h"

#include <stdint.h>

enum { ATLAS_COUNTRIES_MAX = 32, ATLAS_NODES_MAX = 512 };

struct atlas_country {
    const char *code, *language; /* ISO 3166-1 alpha-3, ISO 639-1 */
    double weight;               /* of the world's traffic; they sum to about 1 */
    double price;                /* of an impression, relative to the dearest country */
    double ios;                  /* share of iOS among phones */
    bool gdpr;
    uint32_t node, n_cities;
    uint32_t first_city; /* nodes of its cities are consecutive */
};

struct atlas_node {
    uint32_t parent;       /* city -> region -> country -> 0 */
    uint32_t country;      /* index of the country */
    const char *name;      /* alpha-3 code, region code, or the city's name */
    int32_t utcoffset_min; /* standard time all the year: this world has no summer time */
    double lat, lon;
};

struct atlas {
    const struct atlas_country *countries;
    const struct atlas_node *nodes;
    uint32_t n_countries, n_nodes;
};

struct atlas *atlas_create(void);
void atlas_destroy(struct atlas *a);

/* The most exact node that these names lead to; 0 when even the country is unknown. */
uint32_t atlas_find(const struct atlas *a, struct bytes country, struct bytes region,
                    struct bytes city);

#endif
