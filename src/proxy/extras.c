/* Everything here runs after the auction, for the few requests that ask. A DSP's body may be any
 * bytes at all, so it is made valid UTF-8 before it becomes a JSON string. */
#include "proxy/extras.h"

#include <math.h>
#include <openssl/crypto.h>
#include <stdio.h>

#include "filter/json.h"
#include "proxy/arena_text.h"

/* ---- what is asked for ---- */

/* Whether the member `flag` of the object at hand is true (or 1); reads the whole value. */
static bool object_has_flag(struct json *j, const char *flag)
{
    bool set = false;
    struct bytes key, raw;
    if (json_peek(j) != JSON_IS_OBJECT) {
        json_skip(j, NULL);
        return false;
    }
    json_enter_object(j);
    while (json_next_key(j, &key)) {
        bool is_flag = json_key_is(key, flag);
        if (!json_skip(j, &raw))
            return false;
        if (is_flag)
            set = bytes_is(raw, "true") || bytes_is(raw, "1");
    }
    return set;
}

bool extras_wants_seatnonbid(const struct bid_request *r)
{
    static const char word[] = "returnallbidstatus", own[] = "seatnonbid";
    struct bytes ext = {r->body.base + r->ext.at, r->ext.len};
    /* Callers that speak Prebid send an ext of kilobytes with each request. */
    if (ext.len == 0 || (memmem(ext.base, ext.len, word, sizeof(word) - 1) == NULL &&
                         memmem(ext.base, ext.len, own, sizeof(own) - 1) == NULL))
        return false;
    bool wanted = false;
    struct json j;
    struct bytes key;
    json_begin(&j, ext);
    if (json_peek(&j) != JSON_IS_OBJECT)
        return false;
    json_enter_object(&j);
    while (json_next_key(&j, &key)) {
        if (json_key_is(key, "prebid"))
            wanted |= object_has_flag(&j, word);
        else if (json_key_is(key, "bidsieve"))
            wanted |= object_has_flag(&j, own);
        else
            json_skip(&j, NULL);
    }
    return wanted;
}

bool trace_gate_admit(struct trace_gate *g, const char *token, double rate_max, struct bytes header,
                      uint64_t now_us)
{
    size_t len = token != NULL ? strlen(token) : 0;
    if (len == 0 || rate_max <= 0 || header.len != len ||
        CRYPTO_memcmp(header.base, token, len) != 0)
        return false;
    double most = rate_max > 1 ? rate_max : 1;
    if (g->filled_us == 0)
        g->tokens = most;
    else
        g->tokens += (double)(now_us - g->filled_us) * 1e-6 * rate_max;
    g->filled_us = now_us;
    if (g->tokens > most)
        g->tokens = most;
    if (g->tokens < 1)
        return false;
    g->tokens -= 1;
    return true;
}

/* ---- notes ---- */

struct trace *trace_create(uint32_t n_dsps, struct arena *arena)
{
    struct trace *t = arena_alloc(arena, sizeof(*t));
    *t = (struct trace){.dsps = arena_alloc(arena, n_dsps * sizeof(*t->dsps))};
    memset(t->dsps, 0, n_dsps * sizeof(*t->dsps));
    return t;
}

void trace_answer(struct trace *t, uint32_t dsp, enum dsp_result result, struct bytes body,
                  struct arena *arena)
{
    struct trace_dsp *d = &t->dsps[dsp];
    size_t len = body.len < TRACE_BODY_BYTES_MAX ? body.len : TRACE_BODY_BYTES_MAX;
    char *copy = arena_alloc(arena, len);
    if (len > 0)
        memcpy(copy, body.base, len);
    d->answered = true;
    d->result = result;
    d->body = (struct bytes){copy, len};
    d->body_bytes = body.len;
}

/* ---- writing ---- */

/* How many bytes the UTF-8 character at `at` has; 0 = there is none. */
static size_t character_len(const unsigned char *at, size_t left)
{
    static const struct {
        unsigned char from, to, second_from, second_to;
        size_t len;
    } rows[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (at[0] < rows[i].from || at[0] > rows[i].to)
            continue;
        if (rows[i].len > left ||
            (rows[i].len > 1 && (at[1] < rows[i].second_from || at[1] > rows[i].second_to)))
            return 0;
        for (size_t k = 2; k < rows[i].len; k++)
            if (at[k] < 0x80 || at[k] > 0xbf)
                return 0;
        return rows[i].len;
    }
    return 0;
}

/* The same text, with U+FFFD for each byte that is no UTF-8. */
static struct bytes as_utf8(struct bytes b, struct arena *arena)
{
    struct arena_text t;
    arena_text_begin(&t, arena, b.len + 16);
    for (size_t i = 0; i < b.len;) {
        size_t len = character_len((const unsigned char *)b.base + i, b.len - i);
        if (len > 0)
            arena_text_add(&t, (struct bytes){b.base + i, len});
        else
            arena_text_add_string(&t, "\xef\xbf\xbd");
        i += len > 0 ? len : 1;
    }
    return arena_text_bytes(&t);
}

static void add_key(struct arena_text *t, const char *key)
{
    char last = t->base[t->len - 1];
    arena_text_add_string(t, last == '{' || last == '[' ? "\"" : ",\"");
    arena_text_add_string(t, key);
    arena_text_add_string(t, "\":");
}

static void add_text(struct arena_text *t, const char *key, struct bytes value)
{
    if (value.base == NULL)
        return;
    add_key(t, key);
    arena_text_add_json(t, as_utf8(value, t->arena));
}

static void add_int(struct arena_text *t, const char *key, int64_t value)
{
    add_key(t, key);
    arena_text_add_int(t, value);
}

static void add_bool(struct arena_text *t, const char *key, bool value)
{
    add_key(t, key);
    arena_text_add_string(t, value ? "true" : "false");
}

static void add_number_value(struct arena_text *t, double value)
{
    char text[32] = "null";
    if (isfinite(value))
        snprintf(text, sizeof(text), "%.9g", value);
    arena_text_add_string(t, text);
}

static void add_number(struct arena_text *t, const char *key, double value)
{
    add_key(t, key);
    add_number_value(t, value);
}

/* {"geo.code": "GBR-ENG", "cat": ["IAB1", {"unknown": "IAB99"}], "floor": 0.35}: what the model
 * was given. A text that its vocabulary has not counts as "unknown" for it. */
static void add_features(struct arena_text *t, const struct extras *x)
{
    const struct predictor_input *inputs;
    uint32_t n =
        predictor_inputs(x->snapshot->model, x->request, x->place, x->ts_ms, t->arena, &inputs);
    add_key(t, "features");
    arena_text_add_string(t, "{");
    for (uint32_t i = 0; i < n; i++) {
        const struct predictor_input *in = &inputs[i];
        add_key(t, in->feature);
        if (in->is_number) {
            add_number_value(t, in->number);
            continue;
        }
        if (in->n_texts != 1)
            arena_text_add_string(t, "[");
        for (uint32_t k = 0; k < in->n_texts; k++) {
            arena_text_add_string(t, k > 0 ? "," : "");
            if (in->texts[k].len == 0) {
                arena_text_add_string(t, "null");
                continue;
            }
            if (!in->known[k])
                arena_text_add_string(t, "{\"unknown\":");
            arena_text_add_json(t, as_utf8(in->texts[k], t->arena));
            if (!in->known[k])
                arena_text_add_string(t, "}");
        }
        if (in->n_texts != 1)
            arena_text_add_string(t, "]");
    }
    arena_text_add_string(t, "}");
}

static void add_place(struct arena_text *t, const struct geo_place *place)
{
    add_key(t, "place");
    arena_text_add_string(t, "{");
    add_text(t, "country", place->country);
    add_text(t, "region", place->region);
    add_text(t, "city", place->city);
    add_text(t, "metro", place->metro);
    add_text(t, "time_zone", place->time_zone);
    if (place->utcoffset_min != GEO_UTCOFFSET_ABSENT)
        add_int(t, "utcoffset_min", place->utcoffset_min);
    add_bool(t, "from_database", place->from_database);
    arena_text_add_string(t, "}");
}

static void add_timings(struct arena_text *t, const struct extras *x)
{
    const struct trace *trace = x->trace;
    add_key(t, "timings_us");
    arena_text_add_string(t, "{");
    add_int(t, "scan", (int64_t)(trace->scanned_us - trace->received_us));
    add_int(t, "decide", (int64_t)(trace->decided_us - trace->scanned_us));
    add_int(t, "auction", (int64_t)(x->now_us - trace->decided_us));
    add_int(t, "total", (int64_t)(x->now_us - trace->received_us));
    arena_text_add_string(t, "}");
}

static void add_answer(struct arena_text *t, const struct auction_dsp *d,
                       const struct trace_dsp *traced)
{
    add_text(t, "outcome", bytes_of(auction_outcome_name(d->outcome)));
    add_int(t, "latency_us", (int64_t)d->latency_us);
    if (traced->answered && traced->result != DSP_CALL_OK)
        add_text(t, "transport", bytes_of(dsp_result_name(traced->result)));
    if (d->http_status != 0)
        add_int(t, "http_status", d->http_status);
    if (d->nbr >= 0)
        add_int(t, "nbr", d->nbr);
    add_int(t, "bids", d->n_bids);
    if (d->price_micros > 0)
        add_number(t, "price", (double)d->price_micros / 1e6);
    if (d->won)
        add_number(t, "paid", (double)d->paid_micros / 1e6);
    add_bool(t, "won", d->won);
    add_key(t, "refused");
    arena_text_add_string(t, "{");
    for (int i = BID_VALID + 1; i < BID_REFUSALS; i++)
        if (d->refused[i] > 0)
            add_int(t, bid_refusal_name((enum bid_refusal)i), d->refused[i]);
    arena_text_add_string(t, "}");
    if (traced->answered) {
        add_int(t, "body_bytes", (int64_t)traced->body_bytes);
        add_text(t, "body", traced->body);
    }
}

static void add_dsp(struct arena_text *t, const struct extras *x, uint32_t dsp)
{
    const struct auction_dsp *d = auction_dsp(x->auction, dsp);
    arena_text_add_string(t, t->base[t->len - 1] == '[' ? "{" : ",{");
    add_text(t, "dsp", bytes_of(x->snapshot->config->dsps[dsp].name));
    add_bool(t, "sent", d->outcome != OUTCOME_NOT_CALLED);
    add_text(t, "why", bytes_of(why_name((enum why)d->decision.why)));
    add_number(t, "p", (double)d->decision.p);
    add_number(t, "threshold", (double)d->decision.threshold);
    add_number(t, "propensity", (double)d->decision.propensity);
    if (d->outcome != OUTCOME_NOT_CALLED)
        add_answer(t, d, &x->trace->dsps[dsp]);
    arena_text_add_string(t, "}");
}

static void add_trace(struct arena_text *t, const struct extras *x)
{
    const struct snapshot *s = x->snapshot;
    add_key(t, "bidsieve");
    arena_text_add_string(t, "{\"debug\":{");
    add_int(t, "generation", (int64_t)s->generation);
    if (s->model != NULL) {
        add_text(t, "model", bytes_of(predictor_info(s->model)->version));
        add_bool(t, "model_stale", x->ts_ms >= s->model_stale_at_ms);
    }
    add_int(t, "ts", x->ts_ms);
    add_timings(t, x);
    add_place(t, x->place);
    if (s->model != NULL)
        add_features(t, x);
    add_key(t, "dsps");
    arena_text_add_string(t, "[");
    for (uint32_t i = 0; i < s->config->n_dsps; i++)
        if (s->config->dsps[i].enabled)
            add_dsp(t, x, i);
    arena_text_add_string(t, "]}}");
}

struct bytes extras_ext(const struct extras *x, struct arena *arena)
{
    struct arena_text t;
    if (!x->seatnonbid && x->trace == NULL)
        return (struct bytes){NULL, 0};
    arena_text_begin(&t, arena, 4096);
    arena_text_add_string(&t, "{");
    if (x->seatnonbid) {
        add_key(&t, "seatnonbid");
        arena_text_add(&t, auction_seatnonbid(x->auction, arena));
    }
    if (x->trace != NULL)
        add_trace(&t, x);
    arena_text_add_string(&t, "}");
    return arena_text_bytes(&t);
}
