/* The interface of the DSP client: made, called, looked at, destroyed. What happens in between is
 * in dsp_pool.c. */
#include "proxy/net/dsp_client.h"

#include <assert.h>
#include <stdlib.h>

#include "proxy/net/dsp_pool.h"
#include "proxy/net/dsp_request.h"
#include "proxy/net/net_internal.h"

struct dsp_call *dsp_client_call(struct dsp_client *c, struct payload *p, struct bytes insert,
                                 struct bytes extra_headers, dsp_call_cb cb, void *ctx)
{
    assert(!c->is_destroyed && insert.len <= INSERT_BYTES_MAX &&
           extra_headers.len <= EXTRA_BYTES_MAX &&
           (!p->is_request || insert.len + extra_headers.len == 0));
    struct dsp_call *call = pool_call_take(c);
    call->client = c;
    call->payload = payload_acquire(p);
    call->cb = cb;
    call->ctx = ctx;
    call->since_us = loop_turn_us(c->loop);
    call->connection = NULL;
    call->is_waiting = call->was_retried = call->had_second_address = false;
    call->insert_len = (uint16_t)insert.len;
    call->extra_len = (uint16_t)extra_headers.len;
    if (insert.len > 0)
        memcpy(call->insert, insert.base, insert.len);
    if (extra_headers.len > 0)
        memcpy(call->extra, extra_headers.base, extra_headers.len);
    endpoint_refresh(&c->endpoint, call->since_us);
    pool_start(call);
    return call;
}

bool dsp_client_has_room(const struct dsp_client *c)
{
    return c->n_idle > 0 || c->n_unclaimed > 0 || c->n_open + c->n_waiting < c->connections_max;
}

void dsp_client_stats(const struct dsp_client *c, struct dsp_client_stats *out)
{
    *out = c->since_start;
    out->open = c->n_open;
    out->idle = c->n_idle;
    out->connecting = c->n_opening;
    out->draining = c->n_draining;
}

const char *dsp_result_name(enum dsp_result r)
{
    static const char *const names[DSP_CALL_RESULTS] = {
        [DSP_CALL_OK] = "ok",
        [DSP_CALL_NO_CONNECTION] = "no_connection",
        [DSP_CALL_CONNECT_FAILED] = "connect_failed",
        [DSP_CALL_RESOLVE_FAILED] = "resolve_failed",
        [DSP_CALL_CLOSED] = "closed",
        [DSP_CALL_MALFORMED] = "malformed",
        [DSP_CALL_TOO_LARGE] = "too_large",
    };
    return names[r];
}

/* ---- life ---- */

void dsp_client_options_default(struct dsp_client_options *o)
{
    *o = (struct dsp_client_options){.connections_max = 64,
                                     .connect_timeout_ms = 1000,
                                     .idle_timeout_ms = 30000,
                                     .drain_timeout_ms = 1000,
                                     .head_bytes_max = 16384,
                                     .body_bytes_max = 1048576,
                                     .dns_refresh_ms = 30000,
                                     .tls_verify = true};
}

int dsp_url_check(const char *url, struct error *err)
{
    struct url parsed;
    return url_parse(url, &parsed, err);
}

static struct tls_client *create_tls(const char *host, const struct dsp_client_options *o,
                                     struct error *err)
{
    if (!o->tls_verify || o->tls_trust != NULL)
        return tls_client_create(host, o->tls_verify ? o->tls_trust : NULL, err);
    struct tls_trust *own = tls_trust_load(o->tls_ca_file, err);
    struct tls_client *tls = own != NULL ? tls_client_create(host, own, err) : NULL;
    tls_trust_destroy(own);
    return tls;
}

struct dsp_client *dsp_client_create(struct loop *l, const struct dsp_client_options *o,
                                     struct error *err)
{
    struct dsp_client *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        error_set(err, "DSP client: out of memory");
        return NULL;
    }
    if (url_parse(o->url, &c->url, err) != 0 ||
        (c->head = request_head(&c->url, o->headers, &c->head_len, err)) == NULL ||
        (c->url.is_tls && (c->tls = create_tls(c->url.host, o, err)) == NULL)) {
        free(c->head);
        free(c);
        return NULL;
    }
    c->loop = l;
    c->connections_max = o->connections_max > 0 ? o->connections_max : 1;
    c->connect_timeout_us = (uint64_t)o->connect_timeout_ms * 1000;
    c->idle_timeout_us = (uint64_t)o->idle_timeout_ms * 1000;
    c->drain_timeout_us = (uint64_t)o->drain_timeout_ms * 1000;
    c->head_bytes_max = o->head_bytes_max;
    c->body_bytes_max = o->body_bytes_max;
    struct list *lists[] = {&c->opening,
                            &c->idle,
                            &c->busy,
                            &c->draining,
                            &c->waiting,
                            &c->failed,
                            &c->unused_connections,
                            &c->unused_calls};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    endpoint_init(&c->endpoint, l, c->url.host, c->url.port, (uint64_t)o->dns_refresh_ms * 1000,
                  pool_endpoint_changed, c);
    /* Names are looked up before the first call needs them. */
    endpoint_refresh(&c->endpoint, loop_now_us());
    return c;
}

void dsp_client_destroy(struct dsp_client *c)
{
    if (c == NULL)
        return;
    assert(!c->is_destroyed);
    c->is_destroyed = true;
    struct list *connections[] = {&c->opening, &c->idle, &c->busy, &c->draining};
    for (size_t i = 0; i < 4; i++)
        while (!list_is_empty(connections[i])) {
            struct connection *k = LIST_ITEM(connections[i]->next, struct connection, link);
            if (k->call != NULL)
                pool_call_end(k->call);
            pool_connection_close(k);
        }
    struct list *calls[] = {&c->waiting, &c->failed};
    for (size_t i = 0; i < 2; i++)
        while (!list_is_empty(calls[i])) {
            struct dsp_call *call = LIST_ITEM(calls[i]->next, struct dsp_call, link);
            list_unlink(&call->link);
            pool_call_end(call);
        }
    struct timer *timers[] = {&c->opening_timer, &c->idle_timer, &c->draining_timer,
                              &c->failed_timer};
    for (size_t i = 0; i < 4; i++)
        timer_clear(c->loop, timers[i]);
    endpoint_dispose(&c->endpoint);
    if (c->depth == 0)
        pool_free(c);
}
