/* Names to addresses without stopping the loop: getaddrinfo on a few short-lived threads, the
 * answer delivered on the loop. Loop's thread only. */
#ifndef PROXY_NET_RESOLVER_H
#define PROXY_NET_RESOLVER_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "proxy/net/loop.h"

enum { RESOLVER_ADDRESSES_MAX = 16 };

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
};

struct resolver;
struct resolver *resolver_create(struct loop *l);
/* Answers that are still out are dropped; a thread inside getaddrinfo ends by itself later. */
void resolver_close(struct resolver *r);

/* addresses are valid inside the callback only; n = 0: the name does not resolve. */
typedef void (*resolver_cb)(void *ctx, const struct address *addresses, uint32_t n);

/* host must be NUL-terminated; copied. The callback comes once, later, unless cancelled. */
struct resolver_job;
struct resolver_job *resolver_start(struct resolver *r, const char *host, uint16_t port,
                                    resolver_cb cb, void *ctx);
void resolver_cancel(struct resolver_job *job);

/* A literal IPv4 or IPv6 address; no thread, no network. */
bool resolver_literal(const char *host, uint16_t port, struct address *out);

#endif
