/* When a name stops resolving, the addresses that were good stay: name servers fail more often than
 * DSPs move. */
#include "proxy/net/endpoint.h"

#include <string.h>

#include "proxy/net/net_internal.h"

enum { RETRY_US = 1000000, AVOID_US = 5000000 };

void endpoint_init(struct endpoint *e, struct loop *l, const char *host, uint16_t port,
                   uint64_t refresh_us, void (*changed)(void *ctx), void *ctx)
{
    *e = (struct endpoint){.loop = l,
                           .host = host,
                           .port = port,
                           .refresh_us = refresh_us,
                           .changed = changed,
                           .ctx = ctx};
    if (resolver_literal(host, port, &e->addresses[0])) {
        e->n = 1;
        e->due_us = UINT64_MAX;
    }
}

void endpoint_dispose(struct endpoint *e)
{
    resolver_cancel(e->job);
    e->job = NULL;
}

static void on_resolved(void *ctx, const struct address *addresses, uint32_t n)
{
    struct endpoint *e = ctx;
    uint64_t now_us = loop_now_us();
    e->job = NULL;
    if (n > 0) {
        memcpy(e->addresses, addresses, n * sizeof(*addresses));
        memset(e->avoid_until_us, 0, sizeof(e->avoid_until_us));
        e->n = n;
        e->next = (uint32_t)(now_us % n); /* not every process at the same one */
        e->due_us = e->refresh_us > 0 ? now_us + e->refresh_us : UINT64_MAX;
    } else {
        uint64_t wait_us = e->refresh_us > 0 && e->refresh_us < RETRY_US ? e->refresh_us : RETRY_US;
        e->due_us = now_us + wait_us;
    }
    e->changed(e->ctx);
}

void endpoint_refresh(struct endpoint *e, uint64_t now_us)
{
    if (now_us >= e->due_us && e->job == NULL)
        e->job = resolver_start(loop_resolver(e->loop), e->host, e->port, on_resolved, e);
}

enum endpoint_state endpoint_next(struct endpoint *e, uint64_t now_us, struct address *out)
{
    endpoint_refresh(e, now_us);
    if (e->n == 0)
        return e->job != NULL ? ENDPOINT_WAIT : ENDPOINT_UNKNOWN;
    uint32_t chosen = e->next % e->n;
    for (uint32_t i = 0; i < e->n; i++) {
        uint32_t candidate = (e->next + i) % e->n;
        if (e->avoid_until_us[candidate] <= now_us) {
            chosen = candidate;
            break;
        }
    }
    e->next = chosen + 1;
    *out = e->addresses[chosen];
    return ENDPOINT_READY;
}

static bool address_equal(const struct address *a, const struct address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
}

bool endpoint_has(const struct endpoint *e, const struct address *a)
{
    for (uint32_t i = 0; i < e->n; i++)
        if (address_equal(&e->addresses[i], a))
            return true;
    return false;
}

void endpoint_failed(struct endpoint *e, const struct address *a, uint64_t now_us)
{
    for (uint32_t i = 0; i < e->n; i++)
        if (address_equal(&e->addresses[i], a))
            e->avoid_until_us[i] = now_us + AVOID_US;
}
