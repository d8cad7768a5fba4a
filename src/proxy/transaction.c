/* The life of a bid request: checks of the HTTP message, one scan, one decision for all DSPs, caps,
 * the auction's fan-out with one shared payload (or one's own), the answer, the capture record. All
 * memory is the transaction's arena, which is kept for the next one. The auction drives it through
 * struct auction_io. */
#include "proxy/transaction.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "hash.h"
#include "proxy/arena_text.h"
#include "wall_clock.h"

enum {
    ARENA_BYTES_KEPT = 96 * 1024, /* as many may rest as were ever in flight */
    IN_FLIGHT_LOW = 128,
    LATE_US = 20000, /* a timeout noticed later than this was our own doing */
};

struct call_context {
    struct transaction *transaction;
    uint32_t dsp, tmax_ms;
    struct dsp_call *call; /* while open */
    bool is_probe;         /* called though it may well be too slow; its propensity says so */
};

struct transaction {
    struct worker *worker;
    struct transaction *next,
        *previous; /* in the worker's active list; next also in its idle list */
    struct arena arena;
    struct view *view;
    struct exchange *exchange;
    struct bid_request request;
    struct geo_place place;
    struct auction *auction;
    struct payload *payload, *gzip_payload; /* made for the first DSP that takes it */
    uint32_t gzip_tmax_ms;                  /* what the compressed one says */
    struct call_context *calls;             /* [n_dsps] */
    struct timer timer;
    uint64_t received_us;
    int64_t ts_ms;
    bool wants_seatnonbid;
    struct trace *trace;      /* NULL unless the caller may see one */
    struct bytes time_header; /* passed on to the DSPs when the clock is the header */
};

/* ---- answering ---- */

static void respond_error(struct worker *w, struct exchange *e, struct arena *arena, int status,
                          const char *path, const char *reason)
{
    struct arena_text body;
    char error[400];
    snprintf(error, sizeof(error), "%s%s%s", path, path[0] != '\0' ? ": " : "", reason);
    arena_text_begin(&body, arena, 512);
    arena_text_add_string(&body, "{\"error\":");
    arena_text_add_json(&body, bytes_of(error));
    arena_text_add_string(&body, ",\"nbr\":2}");
    worker_respond(w, e, status, arena_text_bytes(&body), 0, 0);
}

static struct transaction *transaction_take(struct worker *w)
{
    struct transaction *t = w->idle;
    if (t != NULL) {
        w->idle = t->next;
        struct arena arena = t->arena;
        memset(t, 0, sizeof(*t));
        t->arena = arena;
    } else if ((t = calloc(1, sizeof(*t))) == NULL) {
        abort();
    }
    t->worker = w;
    t->next = w->active;
    if (t->next != NULL)
        t->next->previous = t;
    w->active = t;
    w->in_flight++;
    return t;
}

static void transaction_end(struct transaction *t)
{
    struct worker *w = t->worker;
    if (t->auction != NULL)
        auction_destroy(t->auction);
    payload_release(t->payload);
    payload_release(t->gzip_payload);
    view_release(t->view);
    timer_clear(w->loop, &t->timer);
    arena_reset(&t->arena, ARENA_BYTES_KEPT);
    if (t->previous != NULL)
        t->previous->next = t->next;
    else
        w->active = t->next;
    if (t->next != NULL)
        t->next->previous = t->previous;
    t->next = w->idle;
    w->idle = t;
    w->in_flight--;
    worker_transaction_ended(w);
}

void transactions_dispose(struct worker *w)
{
    while (w->active != NULL) {
        struct transaction *t = w->active;
        auction_abort(t->auction);
        exchange_respond(t->exchange, 503, NULL, 0, (struct bytes){NULL, 0});
        transaction_end(t);
    }
    while (w->idle != NULL) {
        struct transaction *t = w->idle;
        w->idle = t->next;
        arena_dispose(&t->arena);
        free(t);
    }
}

/* ---- reading the request ---- */

static bool is_json_type(struct bytes type)
{
    return type.len == 0 || memmem(type.base, type.len, "json", 4) != NULL;
}

/* The body, inflated. 0, or the HTTP status that refuses it. */
static int read_body(struct transaction *t, const char **reason)
{
    struct bytes type = exchange_header(t->exchange, "content-type");
    struct bytes encoding = exchange_header(t->exchange, "content-encoding");
    t->request.body = exchange_body(t->exchange);
    if (!is_json_type(type)) {
        *reason = "content-type must be application/json";
        return 415;
    }
    if (t->request.body.len > t->view->snapshot->config->limits.body_bytes_max) {
        *reason = "the body is larger than limits.body_bytes_max";
        return 413;
    }
    if (encoding.len == 0 || bytes_is_word(encoding, "identity"))
        return 0;
    if (!bytes_is_word(encoding, "gzip") && !bytes_is_word(encoding, "x-gzip")) {
        *reason = "content-encoding must be gzip or identity";
        return 415;
    }
    struct bytes inflated;
    switch (gunzip_body(t->worker->gunzip, t->request.body,
                        t->view->snapshot->config->limits.body_bytes_max, &inflated)) {
    case GUNZIP_OK: {
        char *own = arena_alloc(&t->arena, inflated.len);
        memcpy(own, inflated.base, inflated.len);
        t->request.body = (struct bytes){own, inflated.len};
        return 0;
    }
    case GUNZIP_TOO_LARGE:
        *reason = "the inflated body is larger than limits.body_bytes_max";
        return 413;
    default:
        *reason = "the body is not sound gzip";
        return 400;
    }
}

/* The request's time; false if the clock is the header and the header is no sound time. */
static bool read_time(struct transaction *t)
{
    t->ts_ms = wall_ms();
    if (t->view->snapshot->config->clock != CLOCK_SOURCE_HEADER)
        return true;
    struct bytes header = exchange_header(t->exchange, "x-bidsieve-time");
    if (header.len == 0)
        return true;
    if (header.len > 15)
        return false;
    int64_t ms = 0;
    for (size_t i = 0; i < header.len; i++) {
        if (header.base[i] < '0' || header.base[i] > '9')
            return false;
        ms = ms * 10 + (header.base[i] - '0');
    }
    t->ts_ms = ms;
    char *line = arena_alloc(&t->arena, 64);
    int len = snprintf(line, 64, "x-bidsieve-time: %" PRId64 "\r\n", ms);
    t->time_header = (struct bytes){line, (size_t)len};
    return true;
}

/* ---- fan-out: the auction's I/O ---- */

static void on_timer(void *ctx)
{
    struct transaction *t = ctx;
    auction_on_timer(t->auction);
}

static void on_answer(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct call_context *c = ctx;
    struct transaction *t = c->transaction;
    c->call = NULL;
    struct dsp_link *link = t->view->links[c->dsp];
    metrics_add(&metrics_dsp(t->worker->shard, link->slot)->transport[result], 1);
    if (t->trace != NULL)
        trace_answer(t->trace, c->dsp, result, body, &t->arena);
    auction_on_answer(t->auction, c->dsp, result == DSP_CALL_OK, status, body);
}

static uint64_t io_now_us(void *ctx)
{
    return loop_now_us();
}

static const struct request_edit *edit_of(const struct transaction *t, uint32_t dsp)
{
    return &t->view->snapshot->config->dsps[dsp].request;
}

/* The least that is left for any DSP that shares the compressed body in this stage. */
static uint32_t least_tmax_ms(const struct transaction *t, uint32_t dsp, uint32_t tmax_ms)
{
    const struct auction_dsp_settings *settings = t->view->snapshot->auction_dsps;
    for (uint32_t d = 0; d < t->view->snapshot->config->n_dsps; d++) {
        const struct dsp_link *link = t->view->links[d];
        if (link != NULL && link->gzip && request_edit_is_none(edit_of(t, d)) &&
            settings[d].secondary == settings[dsp].secondary && settings[d].timeout_ms < tmax_ms &&
            auction_dsp(t->auction, d)->decision.send)
            tmax_ms = settings[d].timeout_ms;
    }
    return tmax_ms;
}

static struct payload *compress(struct transaction *t, const struct request_body *b,
                                uint32_t tmax_ms)
{
    struct metrics_shard *shard = t->worker->shard;
    char tmax[REQUEST_TMAX_SIZE];
    size_t tmax_len = request_tmax(&t->request, tmax_ms, tmax);
    const struct bytes pieces[] = {b->before, {tmax, tmax_len}, b->after};
    struct bytes body = gzip_pieces(t->worker->gzip, pieces, 3);
    metrics_add(&shard->gzip_bodies, 1);
    metrics_add(&shard->gzip_plain_bytes, b->before.len + tmax_len + b->after.len);
    metrics_add(&shard->gzip_bytes, body.len);
    return payload_create(body, (struct bytes){NULL, 0});
}

/* The body that a DSP shares with others: the transaction's. A compressed one is made once for all
 * that take it, so they are all told the same tmax. */
static struct payload *shared_payload(struct transaction *t, uint32_t dsp, uint32_t tmax_ms)
{
    struct request_body b = request_body(&t->request);
    if (!t->view->links[dsp]->gzip) {
        if (t->payload == NULL)
            t->payload = payload_create(b.before, b.after);
        return t->payload;
    }
    if (t->gzip_payload == NULL || tmax_ms < t->gzip_tmax_ms) {
        payload_release(t->gzip_payload);
        t->gzip_tmax_ms = least_tmax_ms(t, dsp, tmax_ms);
        t->gzip_payload = compress(t, &b, t->gzip_tmax_ms);
    }
    return t->gzip_payload;
}

/* The body of its own that a DSP gets; the caller's. NULL if it is the same as the shared one. The
 * payload is a copy, so the arena need not hold one text for each DSP. */
static struct payload *own_payload(struct transaction *t, uint32_t dsp, uint32_t tmax_ms)
{
    const struct request_edit *edit = edit_of(t, dsp);
    if (request_edit_is_none(edit))
        return NULL;
    struct arena_mark mark = arena_mark(&t->arena);
    struct payload *own = NULL;
    struct request_body b;
    if (request_edit_body(edit, &t->request, &t->arena, &b))
        own = t->view->links[dsp]->gzip ? compress(t, &b, tmax_ms)
                                        : payload_create(b.before, b.after);
    arena_rewind(&t->arena, mark);
    return own;
}

static int io_call(void *ctx, uint32_t dsp, uint32_t tmax_ms)
{
    struct transaction *t = ctx;
    struct dsp_link *link = t->view->links[dsp];
    if (link == NULL)
        return WHY_HEALTH;
    if (!request_edit_allows(edit_of(t, dsp), &t->request))
        return WHY_RULE_FIRST + RULE_SEAT;
    if (!health_in_time(&link->health, (uint64_t)tmax_ms * 1000)) {
        if (hash_unit(hash_bytes(t->request.id, ~link->settings_hash)) >= HEALTH_SHARE_MIN)
            return WHY_RULE_FIRST + RULE_TMAX;
        t->calls[dsp].is_probe = true;
    }
    if (!dsp_client_has_room(link->client))
        return WHY_OVERLOAD;
    const struct snapshot *s = t->view->snapshot;
    double qps_max = s->config->dsps[dsp].qps_max;
    if (qps_max > 0 && !rate_cap_admit(&s->rate_caps[dsp], qps_max, loop_now_us()))
        return WHY_QPS;
    struct payload *own = own_payload(t, dsp, tmax_ms);
    struct payload *payload = own != NULL ? own : shared_payload(t, dsp, tmax_ms);
    char tmax[REQUEST_TMAX_SIZE];
    struct bytes insert = {tmax, 0}; /* a compressed body holds it already */
    if (!link->gzip)
        insert.len = request_tmax(&t->request, tmax_ms, tmax);
    struct call_context *c = &t->calls[dsp];
    c->transaction = t;
    c->dsp = dsp;
    c->tmax_ms = tmax_ms;
    c->call = dsp_client_call(link->client, payload, insert, t->time_header, on_answer, c);
    payload_release(own);
    return 0;
}

static void io_cancel(void *ctx, uint32_t dsp)
{
    struct transaction *t = ctx;
    if (t->calls[dsp].call != NULL)
        dsp_call_cancel(t->calls[dsp].call);
    t->calls[dsp].call = NULL;
}

static void io_timer(void *ctx, uint64_t at_us)
{
    struct transaction *t = ctx;
    if (at_us == 0)
        timer_clear(t->worker->loop, &t->timer);
    else
        timer_set(t->worker->loop, &t->timer, at_us, on_timer, t);
}

/* ---- the end ---- */

static void capture(struct transaction *t)
{
    struct worker *w = t->worker;
    const struct snapshot *s = t->view->snapshot;
    const struct config *c = s->config;
    if (w->capture == NULL || !c->capture.enabled)
        return;
    if (c->capture.sample < 1 && hash_unit(hash_bytes(t->request.id, 0x5a)) >= c->capture.sample) {
        metrics_add(&w->shard->capture_skipped, 1);
        return;
    }
    struct capture_mask masks[CAPTURE_MASKS_MAX];
    uint32_t n_masks = capture_masks(&t->request, c->capture.mask_ip, c->capture.mask_ids, masks);
    text_reset(&w->line);
    capture_line_begin(&w->line, t->ts_ms, t->request.id, t->request.body, masks, n_masks,
                       s->model != NULL ? predictor_info(s->model)->version : NULL, s->generation);
    for (uint32_t d = 0; d < c->n_dsps; d++) {
        if (t->view->links[d] == NULL)
            continue;
        const struct auction_dsp *a = auction_dsp(t->auction, d);
        struct capture_dsp out = {
            .dsp = bytes_of(c->dsps[d].name),
            .sent = a->outcome != OUTCOME_NOT_CALLED,
            .why = bytes_of(why_name(a->decision.why)),
            .p = (double)a->decision.p,
            .threshold = (double)a->decision.threshold,
            .propensity =
                (double)a->decision.propensity * (t->calls[d].is_probe ? HEALTH_SHARE_MIN : 1),
            .price = a->price_micros > 0 ? (double)a->price_micros / 1e6 : NAN,
            .paid = a->won ? (double)a->paid_micros / 1e6 : NAN,
            .latency_us = a->outcome != OUTCOME_NOT_CALLED ? (int64_t)a->latency_us : -1,
            .won = a->won,
        };
        if (out.sent)
            out.outcome = bytes_of(auction_outcome_name(a->outcome));
        capture_line_dsp(&w->line, &out);
    }
    capture_line_end(&w->line);
    capture_append(w->capture, text_bytes(&w->line));
}

/* Metrics are in one currency, ours. */
static int64_t in_our_currency(const struct transaction *t, int64_t micros)
{
    const struct auction_settings *s = &t->view->snapshot->config->auction;
    int64_t out;
    return currency_convert(s->rates, micros, auction_currency(t->auction), bytes_of(s->currency),
                            &out)
               ? out
               : micros;
}

static bool count_prices(struct transaction *t)
{
    bool any = false;
    for (uint32_t i = 0; i < t->request.n_imps; i++) {
        int64_t paid = auction_paid(t->auction, i);
        if (paid >= 0)
            metrics_clearing_price(t->worker->shard, in_our_currency(t, paid));
        any |= paid >= 0;
    }
    return any;
}

struct counted {
    uint32_t called, bids;
};

static struct counted count(struct transaction *t, uint64_t now_us)
{
    struct metrics_shard *shard = t->worker->shard;
    struct counted n = {0, 0};
    for (uint32_t d = 0; d < t->view->snapshot->config->n_dsps; d++) {
        if (t->view->links[d] == NULL)
            continue;
        const struct auction_dsp *a = auction_dsp(t->auction, d);
        if (a->won &&
            !bytes_is(auction_currency(t->auction), t->view->snapshot->config->auction.currency)) {
            struct auction_dsp converted = *a;
            converted.paid_micros = in_our_currency(t, a->paid_micros);
            metrics_auction_dsp(shard, t->view->links[d]->slot, &converted);
        } else {
            metrics_auction_dsp(shard, t->view->links[d]->slot, a);
        }
        if (a->outcome == OUTCOME_NOT_CALLED)
            continue;
        n.called++;
        n.bids += a->n_bids;
        /* We were not there to see whether it answered in time: says nothing about its health, or
         * one stall of ours would withhold calls from all DSPs for seconds. */
        if (a->outcome == OUTCOME_TIMEOUT &&
            a->latency_us > (uint64_t)t->calls[d].tmax_ms * 1000 + LATE_US)
            continue;
        bool failed = a->outcome == OUTCOME_TIMEOUT || a->outcome == OUTCOME_ERROR ||
                      a->refused[BID_NOT_JSON] > 0;
        health_observe(&t->view->links[d]->health, now_us, failed, a->latency_us);
    }
    metrics_add(&shard->auctions[count_prices(t) ? AUCTION_BID
                                 : n.called > 0  ? AUCTION_NO_BID
                                                 : AUCTION_NONE_CALLED],
                1);
    return n;
}

/* ---- notices ---- */

static void push_notice(void *ctx, const struct auction_notice *n)
{
    struct transaction *t = ctx;
    if (n->nurl.len > 0)
        notices_push(t->worker->notices, NOTICE_WIN, n->nurl);
    if (n->burl.len > 0 && !t->request.test) /* a test is not billable */
        notices_push(t->worker->notices, NOTICE_BILLING, n->burl);
}

static void push_loss(void *ctx, const struct auction_loss *l)
{
    struct transaction *t = ctx;
    if (l->lurl.len > 0)
        notices_push(t->worker->notices, NOTICE_LOSS, l->lurl);
}

static void fire_notices(struct transaction *t)
{
    const struct config *c = t->view->snapshot->config;
    if (c->auction.fire_notices)
        auction_notices(t->auction, &t->arena, push_notice, t);
    if (c->loss_notices)
        auction_losses(t->auction, &t->arena, push_loss, t);
}

static void io_finished(void *ctx)
{
    struct transaction *t = ctx;
    uint64_t now_us = loop_now_us();
    const struct extras extras = {.snapshot = t->view->snapshot,
                                  .request = &t->request,
                                  .place = &t->place,
                                  .auction = t->auction,
                                  .ts_ms = t->ts_ms,
                                  .now_us = now_us,
                                  .seatnonbid = t->wants_seatnonbid,
                                  .trace = t->trace};
    struct bytes ext = extras_ext(&extras, &t->arena);
    struct bytes body = auction_response_ext(t->auction, ext, &t->arena);
    struct counted n = count(t, now_us);
    capture(t);
    fire_notices(t); /* before the answer: the request's texts may be gone with it */
    worker_respond(t->worker, t->exchange, body.len > 0 ? 200 : 204, body, n.called, n.bids);
    transaction_end(t);
}

static const struct auction_io io = {io_now_us, io_call, io_cancel, io_timer, io_finished};

/* ---- the beginning ---- */

/* What stands between the model's verdict and the wire, but for what is only known when the call is
 * due (io_call): a DSP that is disabled, its health. Which calls of an ailing DSP are made is drawn
 * by a hash of the auction's id, and their propensity says so. */
static void apply_caps(struct transaction *t, struct decision *decisions)
{
    for (uint32_t d = 0; d < t->view->snapshot->config->n_dsps; d++) {
        struct dsp_link *link = t->view->links[d];
        if (link == NULL)
            decisions[d].send = false;
        if (!decisions[d].send)
            continue;
        if (link->health.share < 1) {
            decisions[d].propensity *= (float)link->health.share;
            if (hash_unit(hash_bytes(t->request.id, link->settings_hash)) >= link->health.share) {
                decisions[d].send = false;
                decisions[d].why = WHY_HEALTH;
            }
        }
    }
}

/* What the caller asks to be told on top. */
static void read_wishes(struct transaction *t)
{
    const struct config *c = t->view->snapshot->config;
    struct worker *w = t->worker;
    t->wants_seatnonbid = t->request.ext.len > 0 && extras_wants_seatnonbid(&t->request);
    if (c->debug.token == NULL)
        return;
    struct bytes header = exchange_header(t->exchange, "x-bidsieve-debug");
    uint64_t now_us = loop_now_us();
    if (header.len == 0 || !trace_gate_admit(&w->trace_gate, c->debug.token,
                                             c->debug.rate_max / w->n_workers, header, now_us))
        return;
    t->trace = trace_create(c->n_dsps, &t->arena);
    t->trace->received_us = t->received_us;
    t->trace->scanned_us = now_us;
}

static void hold_auction(struct transaction *t)
{
    const struct snapshot *s = t->view->snapshot;
    uint32_t n = s->config->n_dsps;
    struct decision *decisions = arena_alloc(&t->arena, n * sizeof(*decisions));
    t->calls = arena_alloc(&t->arena, n * sizeof(*t->calls));
    memset(t->calls, 0, n * sizeof(*t->calls));
    filter_decide(s->filter, t->view->scratch, &t->request, t->ts_ms,
                  t->ts_ms >= s->model_stale_at_ms, &t->arena, &t->place, decisions);
    apply_caps(t, decisions);
    uint64_t now_us = loop_now_us();
    metrics_filter_time(t->worker->shard, now_us - t->received_us);
    if (t->trace != NULL)
        t->trace->decided_us = now_us;
    t->auction = auction_create(&t->request, &s->config->auction, s->auction_dsps, n, decisions,
                                &io, t, t->received_us, &t->arena);
    auction_start(t->auction);
}

/* Beside the configured limit: a turn of the loop that begins calls for as long as half of an
 * auction may last lets those that it began before run into their deadlines, with their answers
 * lying unread. All that work is lost, and each call cut off needs a new connection, which makes
 * the next turn longer still. So the rest of such a turn is refused, which is cheap. Few requests
 * in flight cannot be the reason for a long turn. */
static bool is_overloaded(const struct worker *w)
{
    if (w->in_flight >= w->in_flight_max)
        return true;
    uint64_t turn_us_max = (uint64_t)w->view->snapshot->config->auction.timeout_ms * 500;
    return w->in_flight >= IN_FLIGHT_LOW && loop_turn_age_us(w->loop) > turn_us_max;
}

void transaction_begin(struct worker *w, struct exchange *e)
{
    if (is_overloaded(w)) {
        worker_respond(w, e, 503, bytes_of("{\"error\":\"too many requests in flight\"}"), 0, 0);
        return;
    }
    struct transaction *t = transaction_take(w);
    t->view = view_acquire(w->view);
    t->exchange = e;
    t->received_us = exchange_started_us(e);

    struct bid_request_error fault = {"", ""};
    const char *reason = NULL;
    int status = read_body(t, &reason);
    if (status == 0 && !read_time(t)) {
        status = 400;
        reason = "x-bidsieve-time must be milliseconds since the epoch";
    }
    if (status == 0 &&
        !bid_request_scan(&t->request, t->request.body, t->view->snapshot->config->limits.imps_max,
                          &t->arena, &fault)) {
        status = 400;
        reason = fault.reason;
    }
    if (status != 0) {
        respond_error(w, e, &t->arena, status, fault.path, reason);
        transaction_end(t);
        return;
    }
    read_wishes(t);
    hold_auction(t);
}
