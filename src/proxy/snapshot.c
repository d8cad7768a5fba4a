/* Config first, then what it names, each by its own loader; the first fault ends it, and releasing
 * the half-built snapshot undoes the rest. Nothing here is written after snapshot_build returns,
 * except the count of references. */
#include "proxy/snapshot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "config file: key: what the loader said". */
static int fail(const struct snapshot *s, const char *key, const struct error *why,
                struct error *err)
{
    return error_set(err, "%s: %s: %s", s->config->path, key, why->text);
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);
    if (p == NULL)
        abort();
    return p;
}

static int load_geo(struct snapshot *s, struct error *err)
{
    struct error why = {""};
    if (s->config->geo.database == NULL)
        return 0;
    s->geo = geo_open(s->config->geo.database, &why);
    return s->geo != NULL ? 0 : fail(s, "geo.database", &why, err);
}

static int load_model(struct snapshot *s, struct error *err)
{
    struct error why = {""};
    s->model_stale_at_ms = INT64_MAX;
    if (s->config->model.file == NULL)
        return 0;
    s->model = predictor_load(s->config->model.file, &why);
    if (s->model == NULL)
        return fail(s, "model.file", &why, err);
    s->model_stale_at_ms = snapshot_stale_at_ms(predictor_info(s->model)->trained_at_ms,
                                                s->config->model.max_age_hours);
    return 0;
}

int64_t snapshot_stale_at_ms(int64_t trained_at_ms, double max_age_hours)
{
    if (trained_at_ms < 0 || max_age_hours == 0)
        return INT64_MAX;
    int64_t age_ms = llround(max_age_hours * 3600e3);
    return trained_at_ms < INT64_MAX - age_ms ? trained_at_ms + age_ms : INT64_MAX;
}

static int load_rates(struct snapshot *s, struct error *err)
{
    struct error why = {""};
    if (s->config->currency_rates == NULL)
        return 0;
    s->rates = currency_load(s->config->currency_rates, &why);
    if (s->rates == NULL)
        return fail(s, "auction.currency_rates", &why, err);
    s->config->auction.rates = s->rates;
    return 0;
}

static bool same_file(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Here, because it takes long, and a loop must not wait for it. */
static int load_trusts(struct snapshot *s, struct error *err)
{
    struct config_dsp *dsps = s->config->dsps;
    s->trusts = allocate(s->config->n_dsps, sizeof(struct tls_trust *));
    for (uint32_t i = 0; i < s->config->n_dsps; i++) {
        if (!dsps[i].enabled || !dsps[i].tls_verify || strncasecmp(dsps[i].url, "https:", 6) != 0)
            continue;
        for (uint32_t j = 0; j < i && dsps[i].tls_trust == NULL; j++)
            if (dsps[j].tls_trust != NULL && same_file(dsps[i].tls_ca_file, dsps[j].tls_ca_file))
                dsps[i].tls_trust = dsps[j].tls_trust;
        if (dsps[i].tls_trust != NULL)
            continue;
        struct error why = {""};
        char key[64];
        snprintf(key, sizeof(key), "dsps[%u].tls.ca_file", i);
        s->trusts[i] = tls_trust_load(dsps[i].tls_ca_file, &why);
        if (s->trusts[i] == NULL)
            return fail(s, key, &why, err);
        dsps[i].tls_trust = s->trusts[i];
    }
    return 0;
}

/* A DSP whose own currency we cannot convert would see each of its bids refused. */
static int check_currency(const struct snapshot *s, uint32_t i, struct error *err)
{
    const struct config *c = s->config;
    int64_t converted;
    if (!c->dsps[i].enabled ||
        currency_convert(s->rates, 1000000, bytes_of(c->dsps[i].default_currency),
                         bytes_of(c->auction.currency), &converted))
        return 0;
    struct error why;
    char key[64];
    error_set(&why, "no rate from %s to auction.currency, %s%s", c->dsps[i].default_currency,
              c->auction.currency,
              s->rates != NULL ? "" : "; auction.currency_rates names no file");
    snprintf(key, sizeof(key), "dsps[%u].default_currency", i);
    return fail(s, key, &why, err);
}

static int make_filter(struct snapshot *s, struct error *err)
{
    const struct config *c = s->config;
    s->dsp_names = allocate(c->n_dsps, sizeof(*s->dsp_names));
    s->dsp_settings = allocate(c->n_dsps, sizeof(*s->dsp_settings));
    s->auction_dsps = allocate(c->n_dsps, sizeof(*s->auction_dsps));
    s->rate_caps = allocate(c->n_dsps, sizeof(*s->rate_caps));
    for (uint32_t i = 0; i < c->n_dsps; i++) {
        const struct config_dsp *dsp = &c->dsps[i];
        if (check_currency(s, i, err) != 0)
            return -1;
        s->dsp_names[i] = dsp->name;
        s->dsp_settings[i] = dsp->filter;
        s->auction_dsps[i] = (struct auction_dsp_settings){
            .name = dsp->name,
            .timeout_ms = dsp->timeout_ms,
            .secondary = dsp->secondary,
            .default_currency = dsp->default_currency,
            .disabled = !dsp->enabled,
            .seats = dsp->request.seats,
        };
    }
    struct error why = {""};
    s->filter = filter_create(s->model, s->geo, s->dsp_names, s->dsp_settings, c->n_dsps, &why);
    return s->filter != NULL ? 0 : fail(s, "dsps", &why, err);
}

struct snapshot *snapshot_build(const char *config_path, uint64_t generation, struct error *err)
{
    struct snapshot *s = allocate(1, sizeof(*s));
    s->generation = generation;
    s->references = 1;
    s->config = config_load(config_path, err);
    if (s->config == NULL || load_geo(s, err) != 0 || load_model(s, err) != 0 ||
        load_rates(s, err) != 0 || load_trusts(s, err) != 0 || make_filter(s, err) != 0) {
        snapshot_release(s);
        return NULL;
    }
    return s;
}

struct snapshot *snapshot_acquire(struct snapshot *s)
{
    /* No ordering: whoever calls this holds a reference already. */
    __atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
    return s;
}

void snapshot_release(struct snapshot *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    filter_destroy(s->filter); /* borrows all below */
    free(s->auction_dsps);
    free(s->rate_caps);
    free(s->dsp_settings);
    free(s->dsp_names);
    currency_destroy(s->rates);
    predictor_destroy(s->model);
    geo_close(s->geo);
    for (uint32_t i = 0; s->trusts != NULL && i < s->config->n_dsps; i++)
        tls_trust_destroy(s->trusts[i]);
    free(s->trusts);
    config_destroy(s->config);
    free(s);
}
