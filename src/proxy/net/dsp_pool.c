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
#include "proxy/net/dsp_pool.h"
#include "proxy/net/dsp_client.h"

#include <stdlib.h>

#include "decimal.h"
#include "proxy/net/dsp_request.h"
#include "proxy/net/gunzip.h"
#include "proxy/net/net_internal.h"

enum {
    FRAMING_BYTES_MAX = 48, /* "Content-Length: ...\r\n" and the empty line */
    INPUT_BYTES_MIN = 16384,
    INPUT_BYTES_KEPT = 262144,
    UNUSED_KEPT = 64
};

/* ---- calls ---- */

struct dsp_call *pool_call_take(struct dsp_client *c)
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

void pool_call_end(struct dsp_call *call)
{
    struct dsp_client *c = call->client;
    payload_release(call->payload);
    call->payload = NULL;
    call->connection = NULL;
    list_push_front(&c->unused_calls, &call->link);
}

static void call_back(struct dsp_call *call, enum dsp_result result, int status, struct bytes body)
{
    struct dsp_client *c = call->client;
    dsp_call_cb cb = call->cb;
    void *ctx = call->ctx;
    pool_call_end(call);
    c->depth++;
    cb(ctx, result, status, body);
    c->depth--;
    if (c->is_destroyed && c->depth == 0)
        pool_free(c);
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
        pool_call_end(call);
    }
    c->depth--;
    if (c->is_destroyed && c->depth == 0)
        pool_free(c);
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

void pool_connection_close(struct connection *k)
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
        pool_connection_close(k);
    }
}

static void connection_rest(struct connection *k)
{
    struct dsp_client *c = k->client;
    if (!endpoint_has(&c->endpoint, &k->address)) { /* the host has moved since */
        pool_connection_close(k);
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
        pool_connection_close(k);
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
    pool_connection_close(k);
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
    struct iovec pieces[4] = {{p->data, p->before_len}};
    uint32_t n = 1;
    if (!p->is_request) {
        char *at = k->out + c->head_len;
        memcpy(at, call->extra, call->extra_len);
        at += call->extra_len;
        memcpy(at, "Content-Length: ", 16);
        at += 16;
        at += decimal_write(at, p->before_len + call->insert_len + p->after_len);
        memcpy(at, "\r\n\r\n", 4);
        at += 4;
        memcpy(at, call->insert, call->insert_len);
        pieces[0] = (struct iovec){k->out, (size_t)(at - k->out)};
        pieces[1] = (struct iovec){p->data, p->before_len};
        pieces[2] = (struct iovec){at, call->insert_len};
        pieces[3] = (struct iovec){p->data + p->before_len, p->after_len};
        n = 4;
    }
    switch (stream_write(&k->stream, pieces, n)) {
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
    pool_connection_close(k);
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

void pool_start(struct dsp_call *call)
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
void pool_endpoint_changed(void *ctx)
{
    struct dsp_client *c = ctx;
    for (struct list *at = c->idle.next, *next; at != &c->idle; at = next) {
        next = at->next;
        struct connection *k = LIST_ITEM(at, struct connection, link);
        if (!endpoint_has(&c->endpoint, &k->address))
            pool_connection_close(k);
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
        pool_connection_close(k);
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
        pool_free(c);
}

static void on_bad_answer(struct connection *k, enum dsp_result result)
{
    struct dsp_client *c = k->client;
    struct dsp_call *call = k->state == &c->busy ? k->call : NULL;
    pool_connection_close(k);
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
            pool_connection_close(k);
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
    pool_call_end(call);
}

void pool_free(struct dsp_client *c)
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
