/* A DSP integration on one loop. What the client was made from is hashed; a reload that changes
 * none of it keeps the link, with its warm connections. */
#include "proxy/dsp_link.h"

#include <stdio.h>

#include "hash.h"

static uint64_t hash_string(const char *s, uint64_t seed)
{
    return hash_bytes(bytes_of(s != NULL ? s : "\1"), seed);
}

static uint64_t settings_hash(const struct config *c, const struct config_dsp *d)
{
    const uint64_t numbers[] = {d->connections_max, d->connect_timeout_ms, d->tls_verify, d->gzip,
                                c->limits.response_bytes_max};
    uint64_t h = hash_bytes((struct bytes){(const char *)numbers, sizeof(numbers)}, 1);
    h = hash_string(d->url, h);
    h = hash_string(d->tls_ca_file, h);
    h = hash_string(d->openrtb_version, h);
    for (char **header = d->headers; header != NULL && *header != NULL; header++)
        h = hash_string(*header, h);
    return h;
}

bool dsp_link_fits(const struct dsp_link *link, const struct config *config,
                   const struct config_dsp *dsp)
{
    return strcmp(link->name, dsp->name) == 0 && link->settings_hash == settings_hash(config, dsp);
}

static struct dsp_client *create_client(struct loop *loop, const struct config *c,
                                        const struct config_dsp *d, uint32_t n_workers,
                                        struct error *err)
{
    struct dsp_client_options o;
    dsp_client_options_default(&o);
    o.url = d->url;
    o.connections_max = (d->connections_max + n_workers - 1) / n_workers;
    o.connect_timeout_ms = d->connect_timeout_ms;
    o.body_bytes_max = c->limits.response_bytes_max;
    o.tls_verify = d->tls_verify;
    o.tls_ca_file = d->tls_ca_file;
    o.tls_trust = d->tls_trust;

    size_t n = 0;
    while (d->headers != NULL && d->headers[n] != NULL)
        n++;
    const char **headers = calloc(n + 3, sizeof(*headers));
    char version[64];
    if (headers == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        headers[i] = d->headers[i];
    snprintf(version, sizeof(version), "x-openrtb-version: %s", d->openrtb_version);
    headers[n++] = version;
    if (d->gzip)
        headers[n++] = "content-encoding: gzip";
    o.headers = headers;
    struct dsp_client *client = dsp_client_create(loop, &o, err);
    free(headers);
    return client;
}

struct dsp_link *dsp_link_create(struct loop *loop, const struct config *config,
                                 const struct config_dsp *dsp, uint32_t slot, uint32_t n_workers,
                                 struct error *err)
{
    struct dsp_link *link = calloc(1, sizeof(*link));
    if (link == NULL || (link->name = strdup(dsp->name)) == NULL) {
        free(link);
        error_set(err, "out of memory");
        return NULL;
    }
    link->client = create_client(loop, config, dsp, n_workers, err);
    if (link->client == NULL) {
        free(link->name);
        free(link);
        return NULL;
    }
    link->slot = slot;
    link->gzip = dsp->gzip;
    health_init(&link->health, loop_now_us());
    link->settings_hash = settings_hash(config, dsp);
    link->references = 1;
    return link;
}

struct dsp_link *dsp_link_acquire(struct dsp_link *link)
{
    link->references++;
    return link;
}

void dsp_link_release(struct dsp_link *link)
{
    if (link == NULL || --link->references > 0)
        return;
    dsp_client_destroy(link->client);
    free(link->name);
    free(link);
}
