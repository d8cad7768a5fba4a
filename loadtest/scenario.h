/* A scenario: what one simulated world is drawn from. A JSON file of distributions and a seed; the
 * same file gives the same world, byte for byte. Keys: loadtest/README.md. */
#ifndef LOADTEST_SCENARIO_H
#define LOADTEST_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"
#include "prng.h"

enum { SCENARIO_DSPS_MAX = 64, SCENARIO_CAMPAIGNS_MAX = 128, SCENARIO_NAME_MAX = 64 };

/* A number, or what it is drawn from. */
struct dist {
    enum { DIST_CONSTANT, DIST_UNIFORM, DIST_LOG_UNIFORM, DIST_LOG_NORMAL } kind;
    double a, b; /* low and high; log-normal: median and sigma of the logarithm */
};
double dist_draw(const struct dist *d, struct prng *g);

struct scenario_traffic {
    uint32_t requests_per_day;
    uint32_t sites, apps, publishers, users;
    double property_zipf; /* exponent of the popularity of sites and apps */
    double user_skew;     /* user = population * u^skew: 1 is uniform, larger recurs more */
    double local_share;   /* of the traffic on properties of the user's own country */
    double new_share;     /* of the sites and apps that appear only later ... */
    uint32_t new_days;    /* ... on a day up to this one */
    double app_share;     /* of the traffic of phones and tablets */
    double user_id_share; /* of the users whom buyers can recognise */
    double deal_share;    /* of the placements that carry deals */
    double two_imps_share, coppa_share;
    double region_share, city_share; /* of the requests that tell it */
    double floor_median, floor_sigma, floor_zero_share;
};

/* `drawn` is set once at load for what belongs to a DSP; what belongs to a campaign is drawn from
 * `dist` for each. */
struct scenario_number {
    struct dist dist;
    double drawn;
};

struct scenario_dsp {
    char name[SCENARIO_NAME_MAX + 1];
    struct scenario_number campaigns;
    struct scenario_number bid_rate; /* of all requests, in the long run */
    struct scenario_number match_rate, user_share, deal_share, evergreen_share, runout_share;
    struct scenario_number flight_days, pause_days, ramp_days; /* of a campaign */
    struct scenario_number interest;                           /* of a campaign: what hides in q */
    struct scenario_number price_median, price_sigma;          /* of a campaign; USD per mille */
    struct scenario_number reach_sigma;                        /* how unequal its campaigns are */
    struct scenario_number latency_ms, latency_p99_ms;         /* median; 0 = answer at once */
    struct scenario_number error_rate, malformed_rate;         /* HTTP 500; not JSON */
    struct scenario_number timeout_rate, timeout_after_ms;     /* so late that no one waits */
};

struct scenario {
    char name[SCENARIO_NAME_MAX + 1];
    uint64_t seed;
    int64_t start_ms; /* midnight UTC of day 0 */
    struct scenario_traffic traffic;
    struct scenario_dsp *dsps;
    uint32_t n_dsps;
};

struct scenario *scenario_load(const char *path, struct error *err);
struct scenario *scenario_parse(struct bytes json, const char *where, struct error *err);
void scenario_destroy(struct scenario *s);

#endif
