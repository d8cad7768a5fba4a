/* The addresses of one host and port: resolved off the loop, refreshed, taken in turns; one that
 * just failed is passed over for a while. Loop's thread only. */
#ifndef PROXY_NET_ENDPOINT_H
#define PROXY_NET_ENDPOINT_H

#include "proxy/net/resolver.h"

struct endpoint {
    struct loop *loop;
    const char *host; /* borrowed */
    uint16_t port;
    uint64_t refresh_us; /* 0 = never again */
    uint64_t due_us;     /* resolve then */
    struct resolver_job *job;
    struct address addresses[RESOLVER_ADDRESSES_MAX];
    uint64_t avoid_until_us[RESOLVER_ADDRESSES_MAX];
    uint32_t n, next;
    void (*changed)(void *ctx); /* an answer came, good or bad; not inside endpoint_next */
    void *ctx;
};

void endpoint_init(struct endpoint *e, struct loop *l, const char *host, uint16_t port,
                   uint64_t refresh_us, void (*changed)(void *ctx), void *ctx);
void endpoint_dispose(struct endpoint *e);

/* Starts to resolve if it is time to; cheap otherwise. Old addresses serve until new ones are in.
 */
void endpoint_refresh(struct endpoint *e, uint64_t now_us);

enum endpoint_state { ENDPOINT_READY, ENDPOINT_WAIT, ENDPOINT_UNKNOWN };
enum endpoint_state endpoint_next(struct endpoint *e, uint64_t now_us, struct address *out);
bool endpoint_has(const struct endpoint *e, const struct address *a);
void endpoint_failed(struct endpoint *e, const struct address *a, uint64_t now_us);

#endif
