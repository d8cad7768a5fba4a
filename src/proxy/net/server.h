/* Inbound HTTP/1.1 on one loop. The handler is called once a request is read whole; the answer may
 * be given inside the handler or later. A client that goes away is not noticed until then; an
 * exchange is always answered once. */
#ifndef PROXY_NET_SERVER_H
#define PROXY_NET_SERVER_H

#include "bytes.h"
#include "error.h"
#include "proxy/net/loop.h"

struct server_options {
    const char *host; /* numeric or a name; "" or "0.0.0.0" = any */
    uint16_t port;    /* 0 = any free one; see server_port */
    bool reuseport;
    uint32_t connections_max;              /* beyond it, new connections wait in the backlog */
    uint32_t body_bytes_max;               /* beyond it: 413 */
    uint32_t idle_timeout_ms;              /* keep-alive and slow requests */
    uint32_t write_timeout_ms;             /* a client that does not read is cut off; 0 = never */
    const char *tls_certificate, *tls_key; /* PEM files; NULL = plain */
};

struct exchange; /* one request and its answer */
typedef void (*server_cb)(void *ctx, struct exchange *e);

struct server;
struct server *server_create(struct loop *l, const struct server_options *o, server_cb cb,
                             void *ctx, struct error *err);
uint16_t server_port(const struct server *s);
void server_limit_body(struct server *s, uint32_t body_bytes_max); /* from the next request on */
uint32_t server_connections(const struct server *s);
/* Stops listening (handshakes that have begun are finished and accepted first), lets open exchanges
 * end, answers them with Connection: close, closes idle connections; then calls done once, later.
 */
void server_stop(struct server *s, void (*done)(void *ctx), void *ctx);
/* After done; or at once, cutting connections: an exchange that is open then must still be answered
 * once (it goes nowhere), and says nothing about its request any more. */
void server_destroy(struct server *s);

/* Valid until exchange_respond. */
struct bytes exchange_method(const struct exchange *e);
struct bytes exchange_path(const struct exchange *e);  /* without the query */
struct bytes exchange_query(const struct exchange *e); /* without '?' */
struct bytes exchange_header(const struct exchange *e,
                             const char *lower_name); /* {NULL,0} if absent */
struct bytes exchange_body(const struct exchange *e);
uint64_t exchange_started_us(const struct exchange *e); /* when the request was read */
/* Memory that lives until the answer is written, e.g. for a copy of the body beyond respond; freed
 * with it. */
void *exchange_alloc(struct exchange *e, size_t size);

struct http_header {
    const char *name; /* lower case */
    struct bytes value;
};
/* Copies what it is given; the exchange must not be touched afterwards. content-length is set here.
 */
void exchange_respond(struct exchange *e, int status, const struct http_header *headers,
                      uint32_t n_headers, struct bytes body);

#endif
