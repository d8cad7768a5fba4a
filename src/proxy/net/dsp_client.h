/* The DSP client: HTTP/1.1 POSTs over a bounded pool of keep-alive connections to one URL, on one
 * loop. Built for fan-out: the same payload goes to many, late answers are drained so that
 * connections survive, and nothing about a DSP can make it hold more than connections_max sockets
 * or grow without bound.
 *
 * Reuse is last-in first-out; a readable or closed idle connection is dropped; a call on a reused
 * connection that dies before one byte of answer came is retried once on a new one. Also the sender
 * behind `replay` and the load generator. */
#ifndef PROXY_NET_DSP_CLIENT_H
#define PROXY_NET_DSP_CLIENT_H

#include "bytes.h"
#include "error.h"
#include "proxy/net/loop.h"
#include "proxy/net/tls_trust.h"

struct dsp_client_options {
    const char *url; /* http://host[:port]/path?query, or https:// */
    const char *const
        *headers; /* "Name: value", NULL-terminated; sent with each call; may be NULL */
    uint32_t connections_max;
    uint32_t connect_timeout_ms;
    uint32_t idle_timeout_ms;  /* an idle connection is closed after it */
    uint32_t drain_timeout_ms; /* a cancelled call's connection is closed if its answer is not in by
                                  then */
    uint32_t head_bytes_max, body_bytes_max; /* of an answer, also after inflating */
    uint32_t dns_refresh_ms; /* names are resolved off the loop, again after this; several addresses
                                take turns */
    bool tls_verify;         /* certificate chain and host name; https only */
    const char *tls_ca_file; /* NULL = the system's */
    const struct tls_trust *tls_trust; /* loaded before, instead of tls_ca_file; NULL = load that */
};
void dsp_client_options_default(struct dsp_client_options *o);

struct dsp_client;
/* The URL must parse; a name that does not resolve (yet) is not an error here. */
struct dsp_client *dsp_client_create(struct loop *l, const struct dsp_client_options *o,
                                     struct error *err);
/* Cancels what is open (its calls are gone, not to be cancelled again), closes everything. May be
 * called inside a callback. */
void dsp_client_destroy(struct dsp_client *c);
int dsp_url_check(const char *url, struct error *err); /* what create would say */

/* A request body shared by many calls: before + (per call: insert) + after. Copied once. Not
 * thread-safe. */
struct payload;
struct payload *payload_create(struct bytes before, struct bytes after); /* one reference */
/* A whole request, its head and framing included, that the calls with it send as it is: insert and
 * extra headers must be empty then, and the client's URL and headers are only where it goes. */
struct payload *payload_create_request(struct bytes request);
void payload_release(struct payload *p);

enum dsp_result {
    DSP_CALL_OK,             /* a whole HTTP answer; any status */
    DSP_CALL_NO_CONNECTION,  /* all connections_max are busy: refused, nothing sent */
    DSP_CALL_CONNECT_FAILED, /* refused, unreachable, timed out, TLS failed */
    DSP_CALL_RESOLVE_FAILED,
    DSP_CALL_CLOSED,    /* closed or reset before the whole answer */
    DSP_CALL_MALFORMED, /* not HTTP, bad framing, bad chunk, bad gzip */
    DSP_CALL_TOO_LARGE, /* head or body beyond its limit */
    DSP_CALL_RESULTS
};
const char *dsp_result_name(enum dsp_result r);

/* body is valid inside the callback only; inflated if it came as gzip. */
typedef void (*dsp_call_cb)(void *ctx, enum dsp_result result, int status, struct bytes body);

struct dsp_call;
/* Whether a call started now would find a connection, or room for a new one. */
bool dsp_client_has_room(const struct dsp_client *c);
/* Starts one POST. The callback comes exactly once, never inside this call, and never after
 * dsp_call_cancel. The client has no deadline of its own: the caller cancels. insert (up to 64
 * bytes) is copied, as are the extra header lines ("Name: value\r\n"..., up to 512 bytes; may be
 * empty). Takes its own reference to the payload. */
struct dsp_call *dsp_client_call(struct dsp_client *c, struct payload *p, struct bytes insert,
                                 struct bytes extra_headers, dsp_call_cb cb, void *ctx);
/* The answer, if it still comes, is read and dropped, so that the connection can be used again. */
void dsp_call_cancel(struct dsp_call *call);

struct dsp_client_stats {
    uint32_t open, idle, connecting, draining;                     /* now */
    uint64_t connects, connect_failures, reuses, retries, drained; /* since the start */
};
void dsp_client_stats(const struct dsp_client *c, struct dsp_client_stats *out);

#endif
