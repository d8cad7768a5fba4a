/* A worker. Reload: a view of the new snapshot is built on the worker's own thread, reusing every
 * DSP link whose settings did not change, and replaces the current one; transactions that began
 * with the old view end with it, and the last one frees it. Stop: the listener first, then what is
 * in flight, then the loop. */
#include "proxy/worker.h"

#include "proxy/transaction.h"

enum { TICK_US = 250000 };

/* ---- views ---- */

struct view *view_acquire(struct view *v)
{
    v->references++;
    return v;
}

void view_release(struct view *v)
{
    if (v == NULL || --v->references > 0)
        return;
    for (uint32_t d = 0; d < v->snapshot->config->n_dsps; d++)
        dsp_link_release(v->links[d]);
    free(v->links);
    filter_scratch_destroy(v->scratch);
    snapshot_release(v->snapshot);
    free(v);
}

/* The link of the old view that still fits, or a new one. */
static struct dsp_link *find_link(struct worker *w, const struct config *c,
                                  const struct config_dsp *dsp, struct error *err)
{
    struct view *old = w->view;
    for (uint32_t d = 0; old != NULL && d < old->snapshot->config->n_dsps; d++)
        if (old->links[d] != NULL && dsp_link_fits(old->links[d], c, dsp))
            return dsp_link_acquire(old->links[d]);
    return dsp_link_create(w->loop, c, dsp, metrics_dsp_slot(w->metrics, dsp->name), w->n_workers,
                           err);
}

/* Takes the snapshot's reference, also on failure. */
static struct view *view_create(struct worker *w, struct snapshot *s, struct error *err)
{
    const struct config *c = s->config;
    struct view *v = calloc(1, sizeof(*v));
    if (v == NULL) {
        snapshot_release(s);
        error_set(err, "out of memory");
        return NULL;
    }
    v->references = 1;
    v->snapshot = s;
    v->links = calloc(c->n_dsps + 1, sizeof(*v->links));
    v->scratch = filter_scratch_create(s->filter);
    if (v->links == NULL || v->scratch == NULL)
        abort();
    for (uint32_t d = 0; d < c->n_dsps; d++) {
        if (!c->dsps[d].enabled)
            continue;
        v->links[d] = find_link(w, c, &c->dsps[d], err);
        if (v->links[d] == NULL) {
            view_release(v);
            return NULL;
        }
    }
    return v;
}

/* What others read of this loop is published now and then: gauges that only the loop can tell. */
static void publish(struct worker *w)
{
    metrics_set(&w->shard->in_flight, w->in_flight);
    metrics_lag(w->shard, loop_lag_us_max(w->loop));
    const struct config *c = w->view->snapshot->config;
    for (uint32_t d = 0; d < c->n_dsps; d++) {
        struct dsp_link *link = w->view->links[d];
        if (link == NULL)
            continue;
        struct dsp_client_stats stats;
        dsp_client_stats(link->client, &stats);
        metrics_connections(w->shard, link->slot, &stats);
        metrics_health(w->shard, link->slot, link->health.share);
    }
}

/* A body that is a little too large is read whole and then refused (413, counted). The server
 * itself would answer amid it and close, and most clients then see a broken pipe rather than the
 * answer. */
static uint32_t body_bytes_read(const struct config *c)
{
    enum { SLACK_BYTES_MIN = 262144 };
    uint32_t max = c->limits.body_bytes_max;
    return max + (max > SLACK_BYTES_MIN ? max : SLACK_BYTES_MIN);
}

static void use_view(struct worker *w, struct view *v)
{
    static const struct dsp_client_stats none;
    struct view *old = w->view;
    w->view = v;
    /* Those that stay are published again within a tick; those that went have no connections. */
    for (uint32_t d = 0; old != NULL && d < old->snapshot->config->n_dsps; d++)
        if (old->links[d] != NULL) {
            metrics_connections(w->shard, old->links[d]->slot, &none);
            metrics_health(w->shard, old->links[d]->slot, 1);
        }
    publish(w);
    if (w->server != NULL)
        server_limit_body(w->server, body_bytes_read(v->snapshot->config));
    w->in_flight_max =
        (v->snapshot->config->limits.in_flight_max + w->n_workers - 1) / w->n_workers;
    view_release(old);
}

struct adoption {
    struct worker *worker;
    struct snapshot *snapshot;
    struct capture_writer *capture;
    void (*adopted)(void *ctx);
    void *ctx;
};

static void adopt(void *arg)
{
    struct adoption *a = arg;
    struct error err;
    if (a->worker->is_ending) {
        snapshot_release(a->snapshot);
        a->adopted(a->ctx);
        free(a);
        return;
    }
    struct view *v = view_create(a->worker, a->snapshot, &err);
    a->worker->capture = a->capture;
    if (v != NULL)
        use_view(a->worker, v);
    else
        log_write(a->worker->log, LOG_ERROR, "worker %u keeps the old configuration: %s",
                  a->worker->id, err.text);
    a->adopted(a->ctx);
    free(a);
}

void worker_adopt(struct worker *w, struct snapshot *snapshot, struct capture_writer *capture,
                  void (*adopted)(void *ctx), void *ctx)
{
    struct adoption *a = malloc(sizeof(*a));
    if (a == NULL)
        abort();
    *a = (struct adoption){w, snapshot, capture, adopted, ctx};
    loop_post(w->loop, adopt, a);
}

/* ---- serving ---- */

static void write_access(struct worker *w, const struct exchange *e, int status, size_t body_len,
                         uint64_t duration_us, uint32_t dsps_called, uint32_t bids)
{
    const struct log_entry entry = {.method = exchange_method(e),
                                    .path = exchange_path(e),
                                    .status = status,
                                    .request_bytes = exchange_body(e).len,
                                    .response_bytes = body_len,
                                    .duration_us = duration_us,
                                    .dsps_called = dsps_called,
                                    .bids = bids};
    log_access(w->log, &entry);
}

void worker_respond(struct worker *w, struct exchange *e, int status, struct bytes body,
                    uint32_t dsps_called, uint32_t bids)
{
    static const struct http_header json = {"content-type", {"application/json", 16}};
    static const struct http_header allow = {"allow", {"POST", 4}};
    const struct http_header *header = status == 405 ? &allow : body.len > 0 ? &json : NULL;
    uint64_t duration_us = loop_now_us() - exchange_started_us(e);
    metrics_request(w->shard, status, duration_us);
    if (w->view->snapshot->config->log.access_file != NULL)
        write_access(w, e, status, body.len, duration_us, dsps_called, bids);
    exchange_respond(e, status, header, header != NULL, body);
}

static void handle(void *ctx, struct exchange *e)
{
    struct worker *w = ctx;
    if (!bytes_is(exchange_path(e), "/openrtb2/auction")) {
        metrics_request(w->shard, 404, 0);
        exchange_respond(e, 404, NULL, 0, (struct bytes){NULL, 0});
        return;
    }
    if (!bytes_is(exchange_method(e), "POST"))
        worker_respond(w, e, 405, (struct bytes){NULL, 0}, 0, 0);
    else
        transaction_begin(w, e);
}

static void tick(void *ctx)
{
    struct worker *w = ctx;
    publish(w);
    timer_set(w->loop, &w->tick, loop_now_us() + TICK_US, tick, w);
}

/* ---- stopping ---- */

void worker_transaction_ended(struct worker *w)
{
    if (w->server_stopped && w->in_flight == 0)
        loop_stop(w->loop);
}

static void on_server_stopped(void *ctx)
{
    struct worker *w = ctx;
    w->server_stopped = true;
    worker_transaction_ended(w);
}

static void stop(void *arg)
{
    struct worker *w = arg;
    if (!w->is_ending) /* it may lie in the loop when that is killed, and run when that is freed */
        server_stop(w->server, on_server_stopped, w);
}

void worker_stop(struct worker *w)
{
    loop_post(w->loop, stop, w);
}

void worker_kill(struct worker *w)
{
    loop_stop(w->loop);
}

/* ---- life ---- */

struct worker *worker_create(uint32_t id, uint32_t n_workers, uint16_t port,
                             struct snapshot *snapshot, struct metrics *metrics,
                             struct capture_writer *capture, struct log *log,
                             struct notices *notices, struct error *err)
{
    const struct config *c = snapshot->config;
    struct worker *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    w->id = id;
    w->n_workers = n_workers;
    w->metrics = metrics;
    w->shard = metrics_shard(metrics, id);
    w->capture = capture;
    w->log = log;
    w->notices = notices;
    w->gunzip = gunzip_create();
    w->gzip = gzip_create();
    w->loop = loop_create(err);
    if (w->loop == NULL || w->gunzip == NULL)
        goto fail;
    struct view *v = view_create(w, snapshot_acquire(snapshot), err);
    if (v == NULL)
        goto fail;
    use_view(w, v);
    const struct server_options o = {
        .host = c->listen.host,
        .port = port,
        .reuseport = true,
        .connections_max = c->listen.connections_max,
        .body_bytes_max = body_bytes_read(c),
        .idle_timeout_ms = c->listen.idle_timeout_ms,
        .write_timeout_ms = c->listen.write_timeout_ms,
        .tls_certificate = c->listen.tls_certificate,
        .tls_key = c->listen.tls_key,
    };
    w->server = server_create(w->loop, &o, handle, w, err);
    if (w->server == NULL)
        goto fail;
    return w;
fail:
    worker_destroy(w);
    return NULL;
}

void worker_run(struct worker *w)
{
    tick(w);
    loop_run(w->loop);
    timer_clear(w->loop, &w->tick);
}

void worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    w->is_ending = true;
    transactions_dispose(w);
    server_destroy(w->server);
    view_release(w->view);
    gunzip_destroy(w->gunzip);
    gzip_destroy(w->gzip);
    loop_destroy(w->loop);
    text_dispose(&w->line);
    free(w);
}
