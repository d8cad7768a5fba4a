/* All that a request needs and that a reload replaces: config, geo database, model, filter, rates.
 * Built and validated off the loop, then immutable; counted references; a failed build leaves
 * nothing behind. */
#ifndef PROXY_SNAPSHOT_H
#define PROXY_SNAPSHOT_H

#include "filter/decision.h"
#include "proxy/config.h"
#include "proxy/rate_cap.h"

struct snapshot {
    uint64_t generation;
    struct config *config;
    struct geo *geo;                      /* or NULL */
    struct predictor *model;              /* or NULL */
    struct currency_rates *rates;         /* or NULL */
    const char **dsp_names;               /* [config->n_dsps]; what the filter borrows */
    struct filter_settings *dsp_settings; /* [config->n_dsps]; the rules are the config's */
    struct filter *filter;
    struct auction_dsp_settings *auction_dsps; /* [config->n_dsps] */
    struct rate_cap *rate_caps; /* [config->n_dsps]; all that changes: every loop counts in it */
    struct tls_trust **trusts;  /* [config->n_dsps]; each is loaded once */
    int64_t model_stale_at_ms;  /* INT64_MAX = never */
    int references;             /* atomic */
};

/* Loads everything the config names. */
struct snapshot *snapshot_build(const char *config_path, uint64_t generation, struct error *err);
struct snapshot *snapshot_acquire(struct snapshot *s); /* any thread that holds a reference */
void snapshot_release(struct snapshot *s);             /* NULL is fine; the last one frees */

/* When a model whose data ended at trained_at_ms is too old to use. A window that is not
 * known (-1) and an age of 0 never are. */
int64_t snapshot_stale_at_ms(int64_t trained_at_ms, double max_age_hours);

#endif
