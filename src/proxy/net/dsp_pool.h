/* The inside of a DSP client: its connections and calls, and what moves them. For dsp_client.c,
 * which is the interface. */
#ifndef PROXY_NET_DSP_POOL_H
#define PROXY_NET_DSP_POOL_H

#include "proxy/net/answer.h"
#include "proxy/net/dsp_client.h"
#include "proxy/net/endpoint.h"
#include "proxy/net/list.h"
#include "proxy/net/stream.h"
#include "proxy/net/url.h"

enum { INSERT_BYTES_MAX = 64, EXTRA_BYTES_MAX = 512 };

struct dsp_client {
    struct loop *loop;
    struct url url;
    struct endpoint endpoint;
    struct tls_client *tls; /* NULL: plain */
    uint32_t connections_max;
    uint64_t connect_timeout_us, idle_timeout_us, drain_timeout_us;
    size_t head_bytes_max, body_bytes_max;
    char *head; /* the part that all requests share */
    size_t head_len;

    struct list opening, idle, busy, draining; /* of connections */
    uint32_t n_open, n_idle, n_opening, n_draining;
    uint32_t n_unclaimed;        /* opening, but their calls were cancelled */
    struct list waiting, failed; /* of calls */
    uint32_t n_waiting;
    struct list unused_connections, unused_calls;
    uint32_t n_unused_connections;
    char *spare_input; /* a buffer that an answer left behind */
    size_t spare_capacity;

    struct timer opening_timer, idle_timer, draining_timer, failed_timer;
    struct dsp_client_stats since_start;
    uint32_t depth; /* of callbacks on the stack */
    bool is_destroyed;
};

struct connection {
    struct list link;
    struct dsp_client *client;
    struct stream stream;
    struct address address;
    struct dsp_call *call; /* opening or busy; NULL: cancelled */
    struct list *state;    /* which of the client's lists it is in */
    uint64_t since_us;     /* in that state */
    bool is_reused, has_answer_begun;
    struct payload *payload; /* while it is being written */
    struct answer answer;
    char *input; /* what did not arrive whole */
    size_t input_len, input_capacity;
    char out[]; /* the request's head, then the insert */
};

struct dsp_call {
    struct list link; /* waiting, failed or unused */
    struct dsp_client *client;
    struct connection *connection; /* or NULL */
    struct payload *payload;
    dsp_call_cb cb;
    void *ctx;
    uint64_t since_us;
    enum dsp_result result; /* while in failed */
    bool is_waiting, was_retried, had_second_address;
    uint16_t insert_len, extra_len;
    char insert[INSERT_BYTES_MAX];
    char extra[EXTRA_BYTES_MAX];
};

struct dsp_call *pool_call_take(struct dsp_client *c);
/* Forgets the call, wherever it was taken from before; no callback. */
void pool_call_end(struct dsp_call *call);
/* On a connection that rests, on one that opens for nobody, or on a new one. */
void pool_start(struct dsp_call *call);
void pool_connection_close(struct connection *k);
void pool_endpoint_changed(void *client);
void pool_free(struct dsp_client *c); /* nothing may be open */

#endif
