/* Deciding takes a few microseconds, so it is done at once; only the answer waits for its latency,
 * in memory that belongs to the exchange. */
#include "loadtest/bidder.h"

#include <stdio.h>
#include <stdlib.h>

#include "loadtest/reply.h"
#include "loadtest/sink.h"
#include "wall_clock.h"

struct bidder {
    struct loop *loop;
    const struct world *world;
    struct server *server;
    struct bidder_counts *counts;
    uint32_t n_bidders, me;
    struct arena arena;
    char reply[REPLY_BYTES_MAX];
};

/* An answer that waits. */
struct waiting {
    struct timer timer;
    struct exchange *exchange;
    int status;
    size_t len;
    char body[];
};

static const struct http_header JSON[] = {
    {"content-type", {"application/json", sizeof("application/json") - 1}}};

static void count(uint64_t *n)
{
    __atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

static void answer(struct exchange *e, int status, struct bytes body)
{
    exchange_respond(e, status, JSON, body.len > 0 ? 1 : 0, body);
}

static void on_time(void *ctx)
{
    struct waiting *w = ctx;
    answer(w->exchange, w->status, (struct bytes){w->body, w->len});
}

static void answer_later(struct bidder *b, struct exchange *e, int status, struct bytes body,
                         uint64_t delay_us)
{
    if (delay_us == 0) {
        answer(e, status, body);
        return;
    }
    struct waiting *w = exchange_alloc(e, sizeof(*w) + body.len);
    *w = (struct waiting){.exchange = e, .status = status, .len = body.len};
    if (body.len > 0)
        memcpy(w->body, body.base, body.len);
    timer_set(b->loop, &w->timer, exchange_started_us(e) + delay_us, on_time, w);
}

static int64_t request_time_ms(const struct exchange *e)
{
    struct bytes h = exchange_header(e, "x-bidsieve-time");
    int64_t ms = 0;
    bool sound = h.len > 0 && h.len <= 15;
    for (size_t i = 0; sound && i < h.len; i++) {
        sound = h.base[i] >= '0' && h.base[i] <= '9';
        ms = ms * 10 + (h.base[i] - '0');
    }
    if (sound)
        return ms;
    return wall_ms();
}

static void bid(struct bidder *b, struct exchange *e, uint32_t dsp)
{
    const struct buyer *buyer = &b->world->buyers[dsp];
    struct bidder_counts *counts = &b->counts[b->me * b->world->n_buyers + dsp];
    struct bid_request r;
    struct bid_request_error fault;
    count(&counts->calls);
    if (!bid_request_scan(&r, exchange_body(e), 0, &b->arena, &fault)) {
        count(&counts->bad_requests);
        char text[512];
        struct sink o = {.base = text, .size = sizeof(text)};
        sink_literal(&o, "{\"error\":\"");
        sink_escaped(&o, bytes_of(fault.path));
        sink_literal(&o, " ");
        sink_escaped(&o, bytes_of(fault.reason));
        sink_literal(&o, "\"}");
        answer(e, 400, (struct bytes){text, o.len});
        return;
    }
    struct view v;
    view_make(&v, b->world->traffic, &r, request_time_ms(e));
    uint64_t delay_us;
    enum buyer_conduct conduct = buyer_conduct(buyer, v.auction, &delay_us);
    if (conduct == CONDUCT_ERROR || conduct == CONDUCT_MALFORMED) {
        count(&counts->errors);
        bool error = conduct == CONDUCT_ERROR;
        answer_later(b, e, error ? 500 : 200, bytes_of(error ? "" : "{\"id\":"), delay_us);
        return;
    }
    if (conduct == CONDUCT_LATE)
        count(&counts->late);
    struct buyer_bid bids[VIEW_IMPS_MAX];
    uint32_t n = buyer_bids(buyer, &v, bids);
    struct bytes reply = {NULL, 0};
    if (n > 0)
        reply = reply_compose(buyer, &v, bids, n, b->reply);
    count(reply.len > 0 ? &counts->bids : &counts->no_bids);
    answer_later(b, e, reply.len > 0 ? 200 : 204, reply, delay_us);
}

static void stats(struct bidder *b, struct exchange *e)
{
    static const struct {
        const char *name;
        size_t offset;
    } FIELDS[] = {{"calls", offsetof(struct bidder_counts, calls)},
                  {"bids", offsetof(struct bidder_counts, bids)},
                  {"no_bids", offsetof(struct bidder_counts, no_bids)},
                  {"errors", offsetof(struct bidder_counts, errors)},
                  {"late", offsetof(struct bidder_counts, late)},
                  {"bad_requests", offsetof(struct bidder_counts, bad_requests)}};
    struct sink o = {.base = b->reply, .size = sizeof(b->reply)};
    sink_literal(&o, "{\"scenario\":\"");
    sink_string(&o, b->world->scenario->name);
    sink_literal(&o, "\",\"dsps\":[");
    for (uint32_t d = 0; d < b->world->n_buyers; d++) {
        sink_string(&o, d > 0 ? ",{\"dsp\":\"" : "{\"dsp\":\"");
        sink_string(&o, b->world->buyers[d].name);
        sink_literal(&o, "\"");
        for (size_t f = 0; f < sizeof(FIELDS) / sizeof(FIELDS[0]); f++) {
            uint64_t sum = 0;
            for (uint32_t i = 0; i < b->n_bidders; i++) {
                const struct bidder_counts *row = &b->counts[i * b->world->n_buyers + d];
                const void *at = (const char *)row + FIELDS[f].offset;
                sum += __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
            }
            sink_literal(&o, ",\"");
            sink_string(&o, FIELDS[f].name);
            sink_literal(&o, "\":");
            sink_uint(&o, sum);
        }
        sink_literal(&o, "}");
    }
    sink_literal(&o, "]}\n");
    answer(e, 200, (struct bytes){b->reply, o.len});
}

static void on_request(void *ctx, struct exchange *e)
{
    static const char PREFIX[] = "/bid/";
    struct bidder *b = ctx;
    struct bytes path = exchange_path(e);
    arena_reset(&b->arena, 1 << 20);
    if (bytes_is(path, "/stats")) {
        stats(b, e);
        return;
    }
    int32_t dsp = -1;
    if (path.len > 5 && memcmp(path.base, PREFIX, 5) == 0)
        dsp = world_find_buyer(b->world, (struct bytes){path.base + 5, path.len - 5});
    if (dsp < 0)
        answer(e, 404, bytes_of("{\"error\":\"POST /bid/<dsp> or GET /stats\"}"));
    else if (!bytes_is(exchange_method(e), "POST"))
        answer(e, 405, bytes_of("{\"error\":\"POST a bid request\"}"));
    else
        bid(b, e, (uint32_t)dsp);
}

struct bidder *bidder_create(struct loop *l, const struct world *w, const char *host, uint16_t port,
                             struct bidder_counts *counts, uint32_t n_bidders, uint32_t me,
                             struct error *err)
{
    struct bidder *b = calloc(1, sizeof(*b));
    if (b == NULL)
        abort();
    *b = (struct bidder){.loop = l, .world = w, .counts = counts, .n_bidders = n_bidders, .me = me};
    struct server_options o = {.host = host,
                               .port = port,
                               .reuseport = true,
                               .connections_max = 60000,
                               .body_bytes_max = 1 << 20,
                               .idle_timeout_ms = 600000,
                               .write_timeout_ms = 10000};
    b->server = server_create(l, &o, on_request, b, err);
    if (b->server == NULL) {
        free(b);
        return NULL;
    }
    return b;
}

uint16_t bidder_port(const struct bidder *b)
{
    return server_port(b->server);
}

void bidder_stop(struct bidder *b, void (*done)(void *ctx), void *ctx)
{
    server_stop(b->server, done, ctx);
}

void bidder_destroy(struct bidder *b)
{
    if (b == NULL)
        return;
    server_destroy(b->server);
    arena_dispose(&b->arena);
    free(b);
}
