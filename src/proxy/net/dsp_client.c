/* A pool of connections, each in one of four lists: opening, idle, busy, draining. A call is
 * attached to a connection, or waits for the host's address, or waits in `failed` for its callback.
 *
 *   opening -> busy | idle (its call was cancelled meanwhile) | closed
 *   idle    -> busy | closed (timeout, readable, the host moved)
 *   busy    -> idle | closed (answered) | draining (cancelled)
 *   draining-> idle | closed
 *
 * Failures are never reported where they happen but from a timer that is due at once; so only two
 * places call back, deliver_failures and on_answered, and both do it last: the callback may start
 * and cancel calls and destroy the client. Within a list the oldest comes first (idle: last), so
 * one lazy timer a list is enough: it is set when it is not, and never cleared.
 *
 * What a connection reads goes to the loop's scratch buffer; only an answer that does not arrive in
 * one read gets memory of its own. */
#include "proxy/net/dsp_client.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "proxy/net/answer.h"
#include "proxy/net/endpoint.h"
#include "proxy/net/gunzip.h"
#include "proxy/net/list.h"
#include "proxy/net/net_internal.h"
#include "proxy/net/stream.h"
#include "proxy/net/url.h"

enum {
    INSERT_BYTES_MAX = 64,
    EXTRA_BYTES_MAX = 512,
    FRAMING_BYTES_MAX = 48, /* "Content-Length: ...\r\n" and the empty line */
    INPUT_BYTES_MIN = 16384,
    INPUT_BYTES_KEPT = 262144,
    UNUSED_KEPT = 64
};

struct payload {
    uint32_t references;
    size_t before_len, after_len;
    char data[];
};

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

/* ---- payloads ---- */

struct payload *payload_create(struct bytes before, struct bytes after)
{
    struct payload *p = malloc(sizeof(*p) + before.len + after.len);
    if (p == NULL)
        abort();
    *p = (struct payload){.references = 1, .before_len = before.len, .after_len = after.len};
    if (before.len > 0)
        memcpy(p->data, before.base, before.len);
    if (after.len > 0)
        memcpy(p->data + before.len, after.base, after.len);
    return p;
}

static struct payload *payload_acquire(struct payload *p)
{
    p->references++;
    return p;
}

void payload_release(struct payload *p)
{
    if (p != NULL && --p->references == 0)
        free(p);
}

/* ---- calls ---- */

static struct dsp_call *call_take(struct dsp_client *c)
{
    if (list_is_empty(&c->unused_calls)) {
        struct dsp_call *fresh = calloc(1, sizeof(*fresh));
        if (fresh == NULL)
            abort();
        return fresh;
    }
    struct dsp_call *call = LIST_ITEM(c->unused_calls.next, struct dsp_call, link);
    list_unlink(&call->link);
    return call;
}

static void call_end(struct dsp_call *call)
{
    struct dsp_client *c = call->client;
    payload_release(call->payload);
    call->payload = NULL;
    call->connection = NULL;
    list_push_front(&c->unused_calls, &call->link);
}

static void client_free(struct dsp_client *c);

static void call_back(struct dsp_call *call, enum dsp_result result, int status, struct bytes body)
{
    struct dsp_client *c = call->client;
    dsp_call_cb cb = call->cb;
    void *ctx = call->ctx;
    call_end(call);
    c->depth++;
    cb(ctx, result, status, body);
    c->depth--;
    if (c->is_destroyed && c->depth == 0)
        client_free(c);
}

static void deliver_failures(void *ctx)
{
    struct dsp_client *c = ctx;
    struct list due;
    if (list_is_empty(&c->failed))
        return;
    /* Only those that are here now: a caller that tries again at once would keep us forever. */
    list_init(&due);
    due.next = c->failed.next;
    due.prev = c->failed.prev;
    due.next->prev = due.prev->next = &due;
    list_init(&c->failed);
    c->depth++;
    while (!c->is_destroyed && !list_is_empty(&due)) {
        struct dsp_call *call = LIST_ITEM(due.next, struct dsp_call, link);
        list_unlink(&call->link);
        call_back(call, call->result, 0, (struct bytes){NULL, 0});
    }
    while (!list_is_empty(&due)) { /* destroyed: they end without a word */
        struct dsp_call *call = LIST_ITEM(due.next, struct dsp_call, link);
        list_unlink(&call->link);
        call_end(call);
    }
    c->depth--;
    if (c->is_destroyed && c->depth == 0)
        client_free(c);
}

static void call_fail(struct dsp_call *call, enum dsp_result result)
{
    struct dsp_client *c = call->client;
    call->connection = NULL;
    call->result = result;
    list_push_back(&c->failed, &call->link);
    if (c->failed_timer.heap_index == 0)
        timer_set(c->loop, &c->failed_timer, 0, deliver_failures, c);
}

/* ---- connections ---- */

static uint32_t *state_count(struct dsp_client *c, struct list *state)
{
    return state == &c->opening    ? &c->n_opening
           : state == &c->idle     ? &c->n_idle
           : state == &c->draining ? &c->n_draining
                                   : NULL;
}

static void connection_leave(struct connection *k)
{
    uint32_t *count = state_count(k->client, k->state);
    if (count != NULL)
        --*count;
    list_unlink(&k->link);
}

static void connection_enter(struct connection *k, struct list *state)
{
    struct dsp_client *c = k->client;
    uint32_t *count = state_count(c, state);
    if (count != NULL)
        ++*count;
    k->state = state;
    k->since_us = loop_turn_us(c->loop);
    if (state == &c->idle)
        list_push_front(state, &k->link);
    else
        list_push_back(state, &k->link);
}

static void keep_input(struct dsp_client *c, char *input, size_t capacity)
{
    if (input != NULL && c->spare_input == NULL && capacity <= INPUT_BYTES_KEPT) {
        c->spare_input = input;
        c->spare_capacity = capacity;
    } else {
        free(input);
    }
}

static void connection_close(struct connection *k)
{
    struct dsp_client *c = k->client;
    connection_leave(k);
    stream_close(&k->stream);
    payload_release(k->payload);
    k->payload = NULL;
    keep_input(c, k->input, k->input_capacity);
    k->input = NULL;
    c->n_open--;
    if (c->n_unused_connections < UNUSED_KEPT) {
        c->n_unused_connections++;
        list_push_front(&c->unused_connections, &k->link);
    } else {
        free(k);
    }
}

static void expire_idle(void *ctx)
{
    struct dsp_client *c = ctx;
    uint64_t now_us = loop_turn_us(c->loop);
    while (!list_is_empty(&c->idle)) {
        struct connection *k = LIST_ITEM(c->idle.prev, struct connection, link);
        uint64_t due_us = k->since_us + c->idle_timeout_us;
        if (due_us > now_us) {
            timer_set(c->loop, &c->idle_timer, due_us, expire_idle, c);
            return;
        }
        connection_close(k);
    }
}

static void connection_rest(struct connection *k)
{
    struct dsp_client *c = k->client;
    if (!endpoint_has(&c->endpoint, &k->address)) { /* the host has moved since */
        connection_close(k);
        return;
    }
    connection_leave(k);
    connection_enter(k, &c->idle);
    k->is_reused = true;
    if (c->idle_timer.heap_index == 0)
        timer_set(c->loop, &c->idle_timer, k->since_us + c->idle_timeout_us, expire_idle, c);
}

static void expire_draining(void *ctx)
{
    struct dsp_client *c = ctx;
    uint64_t now_us = loop_turn_us(c->loop);
    while (!list_is_empty(&c->draining)) {
        struct connection *k = LIST_ITEM(c->draining.next, struct connection, link);
        uint64_t due_us = k->since_us + c->drain_timeout_us;
        if (due_us > now_us) {
            timer_set(c->loop, &c->draining_timer, due_us, expire_draining, c);
            return;
        }
        connection_close(k);
    }
}

static void open_for(struct dsp_call *call);

/* The peer closed, reset, or could not be written to. A server may close a connection that we think
 * idle at the moment we use it: then nothing was answered, and one more try is safe. */
static void connection_lost(struct connection *k)
{
    struct dsp_client *c = k->client;
    struct dsp_call *call = k->state == &c->busy ? k->call : NULL;
    bool may_retry = k->is_reused && !k->has_answer_begun;
    connection_close(k);
    if (call == NULL)
        return;
    call->connection = NULL;
    if (may_retry && !call->was_retried) {
        call->was_retried = true;
        c->since_start.retries++;
        open_for(call);
    } else {
        call_fail(call, DSP_CALL_CLOSED);
    }
}

static void send_request(struct connection *k, struct dsp_call *call)
{
    struct dsp_client *c = k->client;
    struct payload *p = call->payload;
    connection_leave(k);
    connection_enter(k, &c->busy);
    k->call = call;
    call->connection = k;
    k->has_answer_begun = false;
    k->input_len = 0;
    answer_begin(&k->answer, c->head_bytes_max, c->body_bytes_max);
    char *at = k->out + c->head_len;
    memcpy(at, call->extra, call->extra_len);
    at += call->extra_len;
    at += snprintf(at, FRAMING_BYTES_MAX, "Content-Length: %zu\r\n\r\n",
                   p->before_len + call->insert_len + p->after_len);
    memcpy(at, call->insert, call->insert_len);
    struct iovec pieces[4] = {{k->out, (size_t)(at - k->out)},
                              {p->data, p->before_len},
                              {at, call->insert_len},
                              {p->data + p->before_len, p->after_len}};
    switch (stream_write(&k->stream, pieces, 4)) {
    case STREAM_WRITTEN:
        break;
    case STREAM_PENDING:
        k->payload = payload_acquire(p);
        break;
    case STREAM_BROKEN:
        connection_lost(k);
        break;
    }
}

/* ---- opening ---- */

static void open_failed(struct connection *k)
{
    struct dsp_client *c = k->client;
    struct dsp_call *call = k->call;
    c->since_start.connect_failures++;
    endpoint_failed(&c->endpoint, &k->address, loop_turn_us(c->loop));
    connection_close(k);
    if (call == NULL) {
        c->n_unclaimed--;
        return;
    }
    call->connection = NULL;
    if (c->endpoint.n > 1 && !call->had_second_address) {
        call->had_second_address = true;
        open_for(call);
    } else {
        call_fail(call, DSP_CALL_CONNECT_FAILED);
    }
}

/* Also calls that wait for an address. */
static void expire_opening(void *ctx)
{
    struct dsp_client *c = ctx;
    uint64_t now_us = loop_turn_us(c->loop), next_us = UINT64_MAX;
    while (!list_is_empty(&c->opening)) {
        struct connection *k = LIST_ITEM(c->opening.next, struct connection, link);
        next_us = k->since_us + c->connect_timeout_us;
        if (next_us > now_us)
            break;
        next_us = UINT64_MAX;
        open_failed(k);
    }
    while (!list_is_empty(&c->waiting)) {
        struct dsp_call *call = LIST_ITEM(c->waiting.next, struct dsp_call, link);
        uint64_t due_us = call->since_us + c->connect_timeout_us;
        if (due_us > now_us) {
            next_us = due_us < next_us ? due_us : next_us;
            break;
        }
        list_unlink(&call->link);
        call->is_waiting = false;
        c->n_waiting--;
        call_fail(call, DSP_CALL_RESOLVE_FAILED);
    }
    if (next_us != UINT64_MAX)
        timer_set(c->loop, &c->opening_timer, next_us, expire_opening, c);
}

static void watch_opening(struct dsp_client *c)
{
    if (c->opening_timer.heap_index == 0)
        timer_set(c->loop, &c->opening_timer, loop_turn_us(c->loop) + c->connect_timeout_us,
                  expire_opening, c);
}

static const struct stream_events connection_events;

static struct connection *connection_open(struct dsp_client *c, const struct address *to)
{
    struct connection *k;
    size_t size = sizeof(*k) + c->head_len + EXTRA_BYTES_MAX + FRAMING_BYTES_MAX + INSERT_BYTES_MAX;
    if (list_is_empty(&c->unused_connections)) {
        k = malloc(size);
        if (k == NULL)
            abort();
    } else {
        k = LIST_ITEM(c->unused_connections.next, struct connection, link);
        list_unlink(&k->link);
        c->n_unused_connections--;
    }
    memset(k, 0, sizeof(*k));
    k->client = c;
    k->address = *to;
    memcpy(k->out, c->head, c->head_len);
    c->since_start.connects++;
    if (!stream_open(&k->stream, c->loop, to, c->tls, &connection_events, k)) {
        c->n_unused_connections++;
        list_push_front(&c->unused_connections, &k->link);
        return NULL;
    }
    c->n_open++;
    connection_enter(k, &c->opening);
    return k;
}

bool dsp_client_has_room(const struct dsp_client *c)
{
    return c->n_idle > 0 || c->n_unclaimed > 0 || c->n_open + c->n_waiting < c->connections_max;
}

/* On a new connection, not one that rests. */
static void open_for(struct dsp_call *call)
{
    struct dsp_client *c = call->client;
    struct address to;
    if (c->n_open + c->n_waiting >= c->connections_max) {
        call_fail(call, DSP_CALL_NO_CONNECTION);
        return;
    }
    uint64_t now_us = loop_turn_us(c->loop);
    switch (endpoint_next(&c->endpoint, now_us, &to)) {
    case ENDPOINT_READY:
        break;
    case ENDPOINT_WAIT:
        call->is_waiting = true;
        c->n_waiting++;
        list_push_back(&c->waiting, &call->link);
        watch_opening(c);
        return;
    case ENDPOINT_UNKNOWN:
        call_fail(call, DSP_CALL_RESOLVE_FAILED);
        return;
    }
    struct connection *k = connection_open(c, &to);
    if (k == NULL) {
        c->since_start.connect_failures++;
        endpoint_failed(&c->endpoint, &to, now_us);
        call_fail(call, DSP_CALL_CONNECT_FAILED);
        return;
    }
    k->call = call;
    call->connection = k;
    watch_opening(c);
}

/* A connection that opens for nobody, because its call did not wait: the one that began first. */
static void claim(struct dsp_call *call)
{
    struct dsp_client *c = call->client;
    struct list *at = c->opening.next;
    while (LIST_ITEM(at, struct connection, link)->call != NULL)
        at = at->next;
    struct connection *k = LIST_ITEM(at, struct connection, link);
    k->call = call;
    call->connection = k;
    c->n_unclaimed--;
}

static void start(struct dsp_call *call)
{
    struct dsp_client *c = call->client;
    if (!list_is_empty(&c->idle)) {
        c->since_start.reuses++;
        send_request(LIST_ITEM(c->idle.next, struct connection, link), call);
    } else if (c->n_unclaimed > 0) {
        claim(call);
    } else {
        open_for(call);
    }
}

/* The endpoint knows more: calls that waited go on (or fail), connections to where the host no
 * longer is are closed once they rest. */
static void on_endpoint_changed(void *ctx)
{
    struct dsp_client *c = ctx;
    for (struct list *at = c->idle.next, *next; at != &c->idle; at = next) {
        next = at->next;
        struct connection *k = LIST_ITEM(at, struct connection, link);
        if (!endpoint_has(&c->endpoint, &k->address))
            connection_close(k);
    }
    while (!list_is_empty(&c->waiting)) {
        struct dsp_call *call = LIST_ITEM(c->waiting.next, struct dsp_call, link);
        list_unlink(&call->link);
        call->is_waiting = false;
        c->n_waiting--;
        open_for(call);
        if (call->is_waiting) /* it was resolved to nothing and asked again */
            break;
    }
}

static void on_opened(void *ctx, bool ok)
{
    struct connection *k = ctx;
    if (!ok) {
        open_failed(k);
    } else if (k->call != NULL) {
        send_request(k, k->call);
    } else {
        k->client->n_unclaimed--;
        connection_rest(k);
    }
}

/* ---- answers ---- */

/* The connection goes first, to rest or away, so that the callback may use it; what the body lies
 * in is kept until the callback is through. */
static void on_answered(struct connection *k, struct bytes body)
{
    struct dsp_client *c = k->client;
    struct dsp_call *call = k->state == &c->busy ? k->call : NULL;
    struct answer answer = k->answer;
    char *input = k->input;
    size_t capacity = k->input_capacity;
    k->input = NULL;
    k->input_len = k->input_capacity = 0;
    k->call = NULL;
    if (k->state == &c->draining)
        c->since_start.drained++;
    if (answer.is_persistent && !answer.has_surplus && k->payload == NULL)
        connection_rest(k);
    else
        connection_close(k);
    if (call == NULL) {
        keep_input(c, input, capacity);
        return;
    }
    enum dsp_result result = DSP_CALL_OK;
    if (answer.is_gzip && body.len > 0) {
        switch (gunzip_body(loop_gunzip(c->loop), body, c->body_bytes_max, &body)) {
        case GUNZIP_OK:
            break;
        case GUNZIP_MALFORMED:
            result = DSP_CALL_MALFORMED;
            break;
        case GUNZIP_TOO_LARGE:
            result = DSP_CALL_TOO_LARGE;
            break;
        }
    }
    if (result != DSP_CALL_OK) {
        call_fail(call, result);
        keep_input(c, input, capacity);
        return;
    }
    c->depth++;
    call_back(call, DSP_CALL_OK, answer.status, body);
    c->depth--;
    keep_input(c, input, capacity);
    if (c->is_destroyed && c->depth == 0)
        client_free(c);
}

static void on_bad_answer(struct connection *k, enum dsp_result result)
{
    struct dsp_client *c = k->client;
    struct dsp_call *call = k->state == &c->busy ? k->call : NULL;
    connection_close(k);
    if (call != NULL)
        call_fail(call, result);
}

static void grow_input(struct connection *k)
{
    struct dsp_client *c = k->client;
    if (k->input == NULL && c->spare_input != NULL) {
        k->input = c->spare_input;
        k->input_capacity = c->spare_capacity;
        c->spare_input = NULL;
        return;
    }
    size_t capacity = k->input_capacity == 0 ? INPUT_BYTES_MIN : k->input_capacity * 2;
    k->input = realloc(k->input, capacity);
    if (k->input == NULL)
        abort();
    k->input_capacity = capacity;
}

/* Whether there may be more to read; if not, the connection may be gone. */
static bool read_answer(struct connection *k)
{
    struct dsp_client *c = k->client;
    char *base = loop_scratch(c->loop);
    size_t room = LOOP_SCRATCH_BYTES;
    if (k->input_len > 0) {
        if (k->input_capacity - k->input_len < INPUT_BYTES_MIN / 4)
            grow_input(k);
        base = k->input;
        room = k->input_capacity - k->input_len;
    }
    ssize_t n = stream_read(&k->stream, base + k->input_len, room);
    if (n == STREAM_AGAIN)
        return false;
    if (n == STREAM_END && answer_end(&k->answer, k->input_len)) {
        on_answered(k, (struct bytes){base + k->answer.body_at, k->answer.body_len});
        return false;
    }
    if (n <= 0) {
        connection_lost(k);
        return false;
    }
    k->has_answer_begun = true;
    size_t len = k->input_len + (size_t)n;
    switch (answer_feed(&k->answer, base, &len)) {
    case ANSWER_MORE:
        while (base != k->input && k->input_capacity < len)
            grow_input(k);
        if (base != k->input && len > 0)
            memcpy(k->input, base, len);
        k->input_len = len;
        return true;
    case ANSWER_DONE:
        on_answered(k, (struct bytes){base + k->answer.body_at, k->answer.body_len});
        return false;
    case ANSWER_MALFORMED:
        on_bad_answer(k, DSP_CALL_MALFORMED);
        return false;
    default:
        on_bad_answer(k, DSP_CALL_TOO_LARGE);
        return false;
    }
}

static void on_readable(void *ctx)
{
    struct connection *k = ctx;
    struct dsp_client *c = k->client;
    if (k->state == &c->idle) {
        char byte; /* TLS sends tickets at rest; anything else ends it */
        if (stream_read(&k->stream, &byte, 1) != STREAM_AGAIN)
            connection_close(k);
        return;
    }
    /* A socket tells again when there is more; TLS may hold back what it has read. */
    bool is_tls = k->stream.ssl != NULL;
    while (read_answer(k) && is_tls)
        ;
}

static void on_written(void *ctx, bool ok)
{
    struct connection *k = ctx;
    if (!ok) {
        /* It may have answered before it stopped listening; then that answer counts. */
        bool is_tls = k->stream.ssl != NULL;
        k->stream.n_pieces = 0;
        if (is_tls)
            connection_lost(k);
        else
            on_readable(k);
        return;
    }
    payload_release(k->payload);
    k->payload = NULL;
    on_readable(k); /* writing may have read for TLS's sake */
}

static const struct stream_events connection_events = {on_opened, on_readable, on_written};

/* ---- the interface ---- */

struct dsp_call *dsp_client_call(struct dsp_client *c, struct payload *p, struct bytes insert,
                                 struct bytes extra_headers, dsp_call_cb cb, void *ctx)
{
    assert(!c->is_destroyed && insert.len <= INSERT_BYTES_MAX &&
           extra_headers.len <= EXTRA_BYTES_MAX);
    struct dsp_call *call = call_take(c);
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
    start(call);
    return call;
}

void dsp_call_cancel(struct dsp_call *call)
{
    struct dsp_client *c = call->client;
    struct connection *k = call->connection;
    if (k != NULL) {
        k->call = NULL;
        if (k->state == &c->busy) {
            connection_leave(k);
            connection_enter(k, &c->draining);
            if (c->draining_timer.heap_index == 0)
                timer_set(c->loop, &c->draining_timer, k->since_us + c->drain_timeout_us,
                          expire_draining, c);
        } else { /* it goes on opening, for the next call */
            c->n_unclaimed++;
        }
    } else {
        list_unlink(&call->link);
        if (call->is_waiting)
            c->n_waiting--;
        call->is_waiting = false;
    }
    call_end(call);
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

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* The framing and the connection are ours to name. */
static int check_header(const char *line, struct error *err)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection",
                                       "expect", "upgrade"};
    size_t name_len = 0;
    while (is_token_char(line[name_len]))
        name_len++;
    if (name_len == 0 || line[name_len] != ':')
        return error_set(err, "header \"%.100s\": must read \"Name: value\"", line);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strlen(ours[i]) == name_len && strncasecmp(line, ours[i], name_len) == 0)
            return error_set(err, "header \"%.100s\": is set by the client itself", line);
    for (const char *p = line + name_len; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' ? *p != '\t' : *p == 0x7f)
            return error_set(err, "header \"%.100s\": control character in the value", line);
    return 0;
}

static bool names_header(const char *const *headers, const char *name)
{
    size_t len = strlen(name);
    for (; headers != NULL && *headers != NULL; headers++)
        if (strncasecmp(*headers, name, len) == 0 && (*headers)[len] == ':')
            return true;
    return false;
}

static int build_head(struct dsp_client *c, const char *const *headers, struct error *err)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, &c->head_len);
    if (out == NULL)
        return error_set(err, "DSP client: out of memory");
    fprintf(out, "POST %s HTTP/1.1\r\n", c->url.target);
    if (!names_header(headers, "host"))
        fprintf(out, "Host: %s\r\n", c->url.authority);
    if (!names_header(headers, "content-type"))
        fputs("Content-Type: application/json\r\n", out);
    if (!names_header(headers, "accept-encoding"))
        fputs("Accept-Encoding: gzip\r\n", out);
    int status = 0;
    for (const char *const *h = headers; status == 0 && h != NULL && *h != NULL; h++) {
        status = check_header(*h, err);
        fprintf(out, "%s\r\n", *h);
    }
    fclose(out);
    c->head = text;
    return status;
}

struct dsp_client *dsp_client_create(struct loop *l, const struct dsp_client_options *o,
                                     struct error *err)
{
    struct dsp_client *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        error_set(err, "DSP client: out of memory");
        return NULL;
    }
    if (url_parse(o->url, &c->url, err) != 0 || build_head(c, o->headers, err) != 0 ||
        (c->url.is_tls &&
         (c->tls = tls_client_create(c->url.host, o->tls_verify, o->tls_ca_file, err)) == NULL)) {
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
                  on_endpoint_changed, c);
    /* Names are looked up before the first call needs them. */
    endpoint_refresh(&c->endpoint, loop_now_us());
    return c;
}

static void client_free(struct dsp_client *c)
{
    while (!list_is_empty(&c->unused_connections)) {
        struct connection *k = LIST_ITEM(c->unused_connections.next, struct connection, link);
        list_unlink(&k->link);
        free(k);
    }
    while (!list_is_empty(&c->unused_calls)) {
        struct dsp_call *call = LIST_ITEM(c->unused_calls.next, struct dsp_call, link);
        list_unlink(&call->link);
        free(call);
    }
    tls_client_destroy(c->tls);
    free(c->spare_input);
    free(c->head);
    free(c);
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
                call_end(k->call);
            connection_close(k);
        }
    struct list *calls[] = {&c->waiting, &c->failed};
    for (size_t i = 0; i < 2; i++)
        while (!list_is_empty(calls[i])) {
            struct dsp_call *call = LIST_ITEM(calls[i]->next, struct dsp_call, link);
            list_unlink(&call->link);
            call_end(call);
        }
    struct timer *timers[] = {&c->opening_timer, &c->idle_timer, &c->draining_timer,
                              &c->failed_timer};
    for (size_t i = 0; i < 4; i++)
        timer_clear(c->loop, timers[i]);
    endpoint_dispose(&c->endpoint);
    if (c->depth == 0)
        client_free(c);
}
