/* The admin listener. /healthz and /readyz are open, so that probes need no secret; the rest wants
 * the bearer token when one is configured. */
#include "proxy/admin.h"

#include <math.h>
#include <stdio.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "wall_clock.h"

struct admin {
    struct process *process;
    struct server *server;
    struct text text;
};

static const struct http_header type_json = {"content-type", {"application/json", 16}};

static void respond_text(struct exchange *e, int status, const char *text)
{
    static const struct http_header type = {"content-type", {"text/plain", 10}};
    exchange_respond(e, status, &type, 1, bytes_of(text));
}

static void respond_json(struct exchange *e, int status, json_t *document)
{
    char *text = json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    exchange_respond(e, status, &type_json, 1, bytes_of(text != NULL ? text : "{}"));
    free(text);
    json_decref(document);
}

static json_t *number_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* ---- status ---- */

static json_t *model_status(const struct snapshot *s)
{
    if (s->model == NULL)
        return json_null();
    const struct predictor_info *i = predictor_info(s->model);
    return json_pack(
        "{s:s,s:s,s:I,s:I,s:I,s:b,s:I,s:I,s:s}", "file", s->config->model.file, "version",
        i->version, "window_from_ms", (json_int_t)i->window_from_ms, "window_to_ms",
        (json_int_t)i->window_to_ms, "trained_at_ms", (json_int_t)i->trained_at_ms, "stale",
        s->config->clock == CLOCK_SOURCE_WALL && wall_ms() >= s->model_stale_at_ms, "train_calls",
        (json_int_t)i->train_pairs, "train_bids", (json_int_t)i->train_bids, "kernel", i->kernel);
}

static const char *mode_name(enum filter_mode mode)
{
    return mode == FILTER_ON ? "on" : mode == FILTER_SHADOW ? "shadow" : "off";
}

static json_t *dsp_status(const struct process *p, uint32_t d)
{
    const struct config_dsp *c = &p->snapshot->config->dsps[d];
    struct metrics_dsp_totals v;
    metrics_dsp_totals(p->metrics, metrics_dsp_slot(p->metrics, c->name), &v);
    json_t *why = json_object(), *outcomes = json_object();
    for (int i = 0; i < WHY_COUNT; i++)
        if (v.decisions[i] > 0)
            json_object_set_new(why, why_name((enum why)i),
                                json_integer((json_int_t)v.decisions[i]));
    for (int i = OUTCOME_BID; i < OUTCOME_COUNT; i++)
        json_object_set_new(outcomes, auction_outcome_name((enum auction_outcome)i),
                            json_integer((json_int_t)v.calls[i]));
    const struct filter *f = p->snapshot->filter;
    const char *not_filtered = filter_not_filtered(f, d);
    const char *of =
        c->filter.recall_of == RECALL_OF_VALUE && !filter_lacks_value(f, d) ? "value" : "bids";
    return json_pack("{s:s,s:s,s:b,s:s,s:f,s:s,s:o,s:o,s:f,s:f,s:I,s:I,s:o,s:o}", "name", c->name,
                     "url", c->url, "enabled", c->enabled, "filter", mode_name(c->filter.mode),
                     "recall_target", c->filter.recall_target, "recall_of", of, "threshold",
                     number_or_null((double)filter_threshold(f, d)), "not_filtered",
                     not_filtered != NULL ? json_string(not_filtered) : json_null(), "explore",
                     c->filter.explore, "health_share", v.health_share, "connections_busy",
                     (json_int_t)v.connections[CONNECTION_BUSY], "connections_idle",
                     (json_int_t)v.connections[CONNECTION_IDLE], "decisions", why, "outcomes",
                     outcomes);
}

static void status(struct admin *a, struct exchange *e)
{
    struct process *p = a->process;
    const struct snapshot *s = p->snapshot;
    json_t *dsps = json_array();
    for (uint32_t d = 0; d < s->config->n_dsps; d++)
        json_array_append_new(dsps, dsp_status(p, d));
    json_t *reload = json_null();
    if (p->last_reload_ms >= 0)
        reload = json_pack("{s:I,s:b,s:o}", "at_ms", (json_int_t)p->last_reload_ms, "ok",
                           p->last_reload_error[0] == '\0', "error",
                           p->last_reload_error[0] == '\0' ? json_null()
                                                           : json_string(p->last_reload_error));
    json_t *capture = json_null();
    if (p->capture != NULL) {
        struct capture_stats c;
        capture_stats(p->capture, &c);
        capture =
            json_pack("{s:s,s:I,s:I,s:I,s:s}", "directory", s->config->capture.options.directory,
                      "records", (json_int_t)c.records, "dropped", (json_int_t)c.dropped,
                      "write_errors", (json_int_t)c.write_errors, "last_error", c.last_error);
    }
    respond_json(
        e, 200,
        json_pack("{s:s,s:s,s:I,s:I,s:i,s:b,s:b,s:o,s:o,s:o,s:o}", "version", BIDSIEVE_VERSION,
                  "config", p->config_path, "generation", (json_int_t)s->generation, "uptime_ms",
                  (json_int_t)((loop_now_us() - p->started_us) / 1000), "loops", (int)p->n_workers,
                  "stopping", p->stopping, "restart_needed", p->restart_needed, "last_reload",
                  reload, "model", model_status(s), "capture", capture, "dsps", dsps));
}

/* ---- the rest ---- */

static void metrics(struct admin *a, struct exchange *e)
{
    static const struct http_header type = {"content-type",
                                            {"text/plain; version=0.0.4; charset=utf-8", 40}};
    const struct process *p = a->process;
    const struct snapshot *s = p->snapshot;
    const struct predictor_info *model = s->model != NULL ? predictor_info(s->model) : NULL;
    const struct metrics_facts facts = {
        .generation = s->generation,
        .dsps = s->config->n_dsps,
        .model_version = model != NULL ? model->version : NULL,
        .model_age_seconds = model != NULL && model->trained_at_ms >= 0
                                 ? (double)(wall_ms() - model->trained_at_ms) / 1000
                                 : NAN,
        .model_stale = s->config->clock == CLOCK_SOURCE_WALL && wall_ms() >= s->model_stale_at_ms,
        .currency = s->config->auction.currency,
        .capture = p->capture,
        .notices = p->notices,
    };
    text_reset(&a->text);
    metrics_render(p->metrics, &facts, &a->text);
    exchange_respond(e, 200, &type, 1, text_bytes(&a->text));
}

static void on_reloaded(void *ctx, uint64_t generation, const char *error)
{
    respond_json(ctx, error == NULL ? 200 : 422,
                 error == NULL ? json_pack("{s:I}", "generation", (json_int_t)generation)
                               : json_pack("{s:s}", "error", error));
}

static bool authorised(const struct admin *a, const struct exchange *e)
{
    const char *token = a->process->snapshot->config->admin.token;
    struct bytes header = exchange_header(e, "authorization");
    if (token == NULL)
        return true;
    size_t len = strlen(token);
    return header.len == 7 + len && memcmp(header.base, "Bearer ", 7) == 0 &&
           CRYPTO_memcmp(header.base + 7, token, len) == 0;
}

static void handle(void *ctx, struct exchange *e)
{
    struct admin *a = ctx;
    struct bytes path = exchange_path(e), method = exchange_method(e);
    bool get = bytes_is(method, "GET") || bytes_is(method, "HEAD");
    bool reload = bytes_is(path, "/reload");
    bool known = reload || bytes_is(path, "/healthz") || bytes_is(path, "/readyz") ||
                 bytes_is(path, "/metrics") || bytes_is(path, "/status");
    if (!known)
        respond_text(e, 404, "there are /healthz /readyz /metrics /status, and POST /reload\n");
    else if (reload ? !bytes_is(method, "POST") : !get)
        respond_text(e, 405, reload ? "POST it\n" : "GET it\n");
    else if (bytes_is(path, "/healthz"))
        respond_text(e, 200, "ok\n");
    else if (bytes_is(path, "/readyz"))
        respond_text(e, a->process->stopping ? 503 : 200,
                     a->process->stopping ? "stopping\n" : "ready\n");
    else if (!authorised(a, e))
        respond_text(e, 401, "authorization: Bearer <admin.token> is required\n");
    else if (bytes_is(path, "/metrics"))
        metrics(a, e);
    else if (bytes_is(path, "/status"))
        status(a, e);
    else
        process_reload(a->process, on_reloaded, e);
}

struct admin *admin_create(struct process *p, struct error *err)
{
    const struct config *c = p->snapshot->config;
    struct admin *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    a->process = p;
    const struct server_options o = {.host = c->admin.host,
                                     .port = c->admin.port,
                                     .connections_max = 1024,
                                     .body_bytes_max = 65536,
                                     .idle_timeout_ms = 10000,
                                     .write_timeout_ms = 10000};
    a->server = server_create(p->loop, &o, handle, a, err);
    if (a->server == NULL) {
        free(a);
        return NULL;
    }
    return a;
}

void admin_destroy(struct admin *a)
{
    if (a == NULL)
        return;
    server_destroy(a->server);
    text_dispose(&a->text);
    free(a);
}
