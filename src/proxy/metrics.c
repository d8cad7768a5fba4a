/* A shard is one block of memory that one thread writes; DSP slots hang off it, each on cache lines
 * of its own, made when a name is first seen and kept to the end. Nothing is ever moved or freed
 * while loops run, so readers need no lock: they take the number of slots with an acquire load, and
 * all else relaxed.
 *
 * Rendering first adds the shards up, then writes family by family, as the format wants all series
 * of a family together. Series of a closed set that never occurred are left out, but for those that
 * dashboards divide by or alerts watch: these are there from the start, so that rate() sees the
 * first increment. */
#include "proxy/metrics.h"

#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SLOT_OTHER = METRICS_DSPS_MAX - 1, CACHE_LINE_BYTES = 64 };

struct metrics {
    uint32_t n_shards;
    struct metrics_shard **shards;

    pthread_mutex_t mutex; /* of adding a name */
    char *names[METRICS_DSPS_MAX];
    uint32_t n_dsps;     /* published last; SLOT_OTHER is not among them */
    uint32_t other_used; /* 0 or 1 */

    uint64_t reloads_ok, reloads_failed; /* any thread */
    int64_t reload_ok_at;                /* seconds, 0 = never */
    struct timespec started;             /* CLOCK_REALTIME */
};

/* ---- fixed bounds, in micros (of a second, or of a currency unit) ---- */

struct bounds {
    uint32_t n;
    uint64_t at[METRICS_BUCKETS_MAX];
};
static const struct bounds request_bounds = {15,
                                             {250, 500, 1000, 2500, 5000, 10000, 25000, 50000,
                                              75000, 100000, 150000, 200000, 300000, 500000,
                                              1000000}};
static const struct bounds filter_bounds = {12,
                                            {2, 5, 10, 20, 35, 50, 75, 100, 200, 500, 1000, 5000}};
static const struct bounds call_bounds = {
    12, {1000, 2500, 5000, 10000, 25000, 50000, 75000, 100000, 150000, 250000, 500000, 1000000}};
static const struct bounds price_bounds = {12,
                                           {10000, 50000, 100000, 250000, 500000, 1000000, 2000000,
                                            5000000, 10000000, 20000000, 50000000, 100000000}};

static void buckets_add(struct metrics_buckets *b, const struct bounds *bounds, uint64_t value)
{
    uint32_t i = 0;
    while (i < bounds->n && value > bounds->at[i])
        i++;
    metrics_add(&b->counts[i], 1);
    metrics_add(&b->sum, value);
}

/* ---- life ---- */

static void *zeroed_lines(size_t size)
{
    size = (size + CACHE_LINE_BYTES - 1) & ~(size_t)(CACHE_LINE_BYTES - 1);
    void *p = aligned_alloc(CACHE_LINE_BYTES, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

/* Slots of all shards, or none: with no memory the name counts as "_other". */
static bool create_slot(struct metrics *m, uint32_t slot)
{
    for (uint32_t i = 0; i < m->n_shards; i++) {
        struct metrics_dsp *d = zeroed_lines(sizeof(*d));
        if (d == NULL) {
            while (i-- > 0) {
                free(m->shards[i]->dsps[slot]);
                m->shards[i]->dsps[slot] = NULL;
            }
            return false;
        }
        m->shards[i]->dsps[slot] = d;
    }
    return true;
}

struct metrics *metrics_create(uint32_t n_shards, struct error *err)
{
    assert(n_shards > 0 && n_shards <= METRICS_SHARDS_MAX);
    struct metrics *m = calloc(1, sizeof(*m));
    if (m == NULL) {
        error_set(err, "metrics: out of memory");
        return NULL;
    }
    pthread_mutex_init(&m->mutex, NULL);
    clock_gettime(CLOCK_REALTIME, &m->started);
    m->shards = calloc(n_shards, sizeof(*m->shards));
    for (; m->shards != NULL && m->n_shards < n_shards; m->n_shards++) {
        m->shards[m->n_shards] = zeroed_lines(sizeof(struct metrics_shard));
        if (m->shards[m->n_shards] == NULL)
            break;
    }
    if (m->n_shards < n_shards || !create_slot(m, SLOT_OTHER)) {
        error_set(err, "metrics: out of memory");
        metrics_destroy(m);
        return NULL;
    }
    return m;
}

void metrics_destroy(struct metrics *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->n_shards; i++) {
        for (uint32_t slot = 0; slot < METRICS_DSPS_MAX; slot++)
            free(m->shards[i]->dsps[slot]);
        free(m->shards[i]);
    }
    for (uint32_t slot = 0; slot < m->n_dsps; slot++)
        free(m->names[slot]);
    free(m->shards);
    pthread_mutex_destroy(&m->mutex);
    free(m);
}

/* ---- control plane ---- */

static uint32_t find_name(const struct metrics *m, const char *name)
{
    uint32_t slot = 0;
    while (slot < m->n_dsps && strcmp(m->names[slot], name) != 0)
        slot++;
    return slot;
}

uint32_t metrics_dsp_slot(struct metrics *m, const char *name)
{
    pthread_mutex_lock(&m->mutex);
    uint32_t slot = find_name(m, name);
    if (slot == m->n_dsps) {
        char *copy = slot < SLOT_OTHER ? strdup(name) : NULL;
        if (copy != NULL && create_slot(m, slot)) {
            m->names[slot] = copy;
            __atomic_store_n(&m->n_dsps, slot + 1, __ATOMIC_RELEASE);
        } else {
            free(copy);
            slot = SLOT_OTHER;
            __atomic_store_n(&m->other_used, 1, __ATOMIC_RELAXED);
        }
    }
    pthread_mutex_unlock(&m->mutex);
    return slot;
}

void metrics_count_reload(struct metrics *m, bool ok)
{
    __atomic_fetch_add(ok ? &m->reloads_ok : &m->reloads_failed, 1, __ATOMIC_RELAXED);
    if (ok)
        __atomic_store_n(&m->reload_ok_at, (int64_t)time(NULL), __ATOMIC_RELAXED);
}

/* ---- data plane ---- */

struct metrics_shard *metrics_shard(struct metrics *m, uint32_t shard)
{
    assert(shard < m->n_shards);
    return m->shards[shard];
}

static const int statuses[STATUS_OTHER] = {200, 204, 400, 401, 404, 405, 413, 415, 500, 503};

void metrics_request(struct metrics_shard *s, int http_status, uint64_t duration_us)
{
    uint32_t i = 0;
    while (i < STATUS_OTHER && statuses[i] != http_status)
        i++;
    metrics_add(&s->requests[i], 1);
    buckets_add(&s->request_us, &request_bounds, duration_us);
    histogram_add(&s->request_histogram, duration_us);
}

void metrics_filter_time(struct metrics_shard *s, uint64_t duration_us)
{
    buckets_add(&s->filter_us, &filter_bounds, duration_us);
}

void metrics_auction_dsp(struct metrics_shard *s, uint32_t slot, const struct auction_dsp *d)
{
    struct metrics_dsp *to = metrics_dsp(s, slot);
    assert(d->decision.why < WHY_COUNT && d->outcome < OUTCOME_COUNT);
    metrics_add(&to->decisions[d->decision.why], 1);
    if (d->outcome == OUTCOME_NOT_CALLED)
        return;
    metrics_add(&to->calls[d->outcome], 1);
    /* A timeout's latency is our own deadline, not the DSP's speed, but a histogram without it
     * would praise the DSP that answers late. */
    if (d->outcome != OUTCOME_PENDING && d->latency_us > 0)
        buckets_add(&to->call_us, &call_bounds, d->latency_us);
    if (d->outcome == OUTCOME_BID || d->outcome == OUTCOME_INVALID)
        for (uint32_t i = BID_VALID + 1; i < BID_REFUSALS; i++)
            if (d->refused[i] != 0)
                metrics_add(&to->refused[i], d->refused[i]);
    if (d->won) {
        metrics_add(&to->wins, 1);
        metrics_add(&to->paid_micros, (uint64_t)d->paid_micros);
    }
}

void metrics_clearing_price(struct metrics_shard *s, int64_t paid_micros)
{
    buckets_add(&s->price_micros, &price_bounds, paid_micros > 0 ? (uint64_t)paid_micros : 0);
}

void metrics_health(struct metrics_shard *s, uint32_t slot, double share)
{
    metrics_set(&metrics_dsp(s, slot)->cut_back_ppm, (uint64_t)llround((1 - share) * 1e6));
}

void metrics_connections(struct metrics_shard *s, uint32_t slot, const struct dsp_client_stats *c)
{
    uint64_t *states = metrics_dsp(s, slot)->connections;
    uint32_t elsewhere = c->idle + c->connecting + c->draining;
    metrics_set(&states[CONNECTION_IDLE], c->idle);
    metrics_set(&states[CONNECTION_CONNECTING], c->connecting);
    metrics_set(&states[CONNECTION_DRAINING], c->draining);
    metrics_set(&states[CONNECTION_BUSY], c->open > elsewhere ? c->open - elsewhere : 0);
}

void metrics_lag(struct metrics_shard *s, uint64_t lag_us)
{
    /* A scrape sets it to 0 at any moment; at worst one turn's lag is reported twice. */
    if (lag_us > __atomic_load_n(&s->lag_us_max, __ATOMIC_RELAXED))
        __atomic_store_n(&s->lag_us_max, lag_us, __ATOMIC_RELAXED);
}

/* ---- adding up ---- */

static uint64_t load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void add_all(uint64_t *to, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += load(&from[i]);
}

static void add_buckets(struct metrics_buckets *to, const struct metrics_buckets *from)
{
    add_all(to->counts, from->counts, METRICS_BUCKETS_MAX + 1);
    to->sum += load(&from->sum);
}

static void add_dsp(struct metrics_dsp *to, const struct metrics_dsp *from)
{
    add_all(to->decisions, from->decisions, WHY_COUNT);
    add_all(to->calls, from->calls, OUTCOME_COUNT);
    add_all(to->refused, from->refused, BID_REFUSALS);
    add_all(to->transport, from->transport, DSP_CALL_RESULTS);
    add_all(to->connections, from->connections, CONNECTION_STATES);
    to->cut_back_ppm += load(&from->cut_back_ppm);
    to->wins += load(&from->wins);
    to->paid_micros += load(&from->paid_micros);
    add_buckets(&to->call_us, &from->call_us);
}

static void sum_dsp(const struct metrics *m, uint32_t slot, struct metrics_dsp *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < m->n_shards; i++)
        add_dsp(out, m->shards[i]->dsps[slot]);
}

void metrics_dsp_totals(const struct metrics *m, uint32_t slot, struct metrics_dsp_totals *out)
{
    struct metrics_dsp sum;
    sum_dsp(m, slot, &sum);
    *out = (struct metrics_dsp_totals){.wins = sum.wins, .paid_micros = sum.paid_micros};
    memcpy(out->decisions, sum.decisions, sizeof(out->decisions));
    memcpy(out->calls, sum.calls, sizeof(out->calls));
    memcpy(out->connections, sum.connections, sizeof(out->connections));
    out->health_share = 1 - (double)sum.cut_back_ppm / 1e6 / m->n_shards;
}

void metrics_request_times(const struct metrics *m, struct histogram *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < m->n_shards; i++)
        histogram_merge(out, &m->shards[i]->request_histogram);
}

uint64_t metrics_in_flight(const struct metrics *m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->n_shards; i++)
        n += load(&m->shards[i]->in_flight);
    return n;
}

/* All of it, summed; its dsps[] are NULL, they are apart. */
struct totals {
    struct metrics_shard all;
    uint32_t n_dsps;
    const char *names[METRICS_DSPS_MAX];
    struct metrics_dsp dsps[METRICS_DSPS_MAX];
};

static void sum_all(struct metrics *m, struct totals *t)
{
    for (uint32_t i = 0; i < m->n_shards; i++) {
        struct metrics_shard *from = m->shards[i];
        add_all(t->all.requests, from->requests, STATUS_COUNT);
        add_all(t->all.auctions, from->auctions, AUCTION_RESULTS);
        t->all.in_flight += load(&from->in_flight);
        t->all.capture_skipped += load(&from->capture_skipped);
        t->all.gzip_bodies += load(&from->gzip_bodies);
        t->all.gzip_plain_bytes += load(&from->gzip_plain_bytes);
        t->all.gzip_bytes += load(&from->gzip_bytes);
        add_buckets(&t->all.request_us, &from->request_us);
        add_buckets(&t->all.filter_us, &from->filter_us);
        add_buckets(&t->all.price_micros, &from->price_micros);
        uint64_t lag = __atomic_exchange_n(&from->lag_us_max, 0, __ATOMIC_RELAXED);
        if (lag > t->all.lag_us_max)
            t->all.lag_us_max = lag;
    }
    t->n_dsps = __atomic_load_n(&m->n_dsps, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < t->n_dsps; slot++) {
        t->names[slot] = m->names[slot];
        sum_dsp(m, slot, &t->dsps[slot]);
    }
    if (__atomic_load_n(&m->other_used, __ATOMIC_RELAXED) != 0) {
        t->names[t->n_dsps] = "_other";
        sum_dsp(m, SLOT_OTHER, &t->dsps[t->n_dsps++]);
    }
}

/* ---- text ---- */

static void family(struct text *out, const char *name, const char *type, const char *help)
{
    text_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_escaped(struct text *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            text_literal(out, "\\n");
        else if (*value == '"' || *value == '\\')
            text_format(out, "\\%c", *value);
        else
            text_add(out, value, 1);
    }
}

static void open_sample(struct text *out, const char *name, const char *suffix)
{
    text_add_string(out, name);
    text_add_string(out, suffix);
}

static void label(struct text *out, const char *key, const char *value, bool first)
{
    text_format(out, "%s%s=\"", first ? "{" : ",", key);
    add_escaped(out, value);
    text_literal(out, "\"");
}

static void end_uint(struct text *out, uint64_t value)
{
    text_literal(out, " ");
    text_add_uint(out, value);
    text_literal(out, "\n");
}

/* Millionths as a plain decimal. */
static void add_micros(struct text *out, uint64_t micros)
{
    text_add_uint(out, micros / 1000000);
    uint32_t rest = (uint32_t)(micros % 1000000);
    if (rest == 0)
        return;
    char digits[8];
    snprintf(digits, sizeof(digits), "%06u", rest);
    size_t len = 6;
    while (digits[len - 1] == '0')
        len--;
    text_literal(out, ".");
    text_add(out, digits, len);
}

static void end_micros(struct text *out, uint64_t micros)
{
    text_literal(out, " ");
    add_micros(out, micros);
    text_literal(out, "\n");
}

static void single(struct text *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    family(out, name, type, help);
    open_sample(out, name, "");
    end_uint(out, value);
}

static void single_double(struct text *out, const char *name, const char *type, const char *help,
                          double value)
{
    family(out, name, type, help);
    text_format(out, "%s %.17g\n", name, value);
}

static void sample_dsp(struct text *out, const char *name, const char *dsp, const char *key,
                       const char *value, uint64_t n)
{
    open_sample(out, name, "");
    label(out, "dsp", dsp, true);
    if (key != NULL)
        label(out, key, value, false);
    text_literal(out, "}");
    end_uint(out, n);
}

static void buckets(struct text *out, const char *name, const char *dsp,
                    const struct bounds *bounds, const struct metrics_buckets *b)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i <= bounds->n; i++) {
        seen += b->counts[i];
        open_sample(out, name, "_bucket");
        if (dsp != NULL)
            label(out, "dsp", dsp, true);
        text_add_string(out, dsp != NULL ? ",le=\"" : "{le=\"");
        if (i < bounds->n)
            add_micros(out, bounds->at[i]);
        else
            text_literal(out, "+Inf");
        text_literal(out, "\"}");
        end_uint(out, seen);
    }
    for (int is_count = 0; is_count < 2; is_count++) {
        open_sample(out, name, is_count ? "_count" : "_sum");
        if (dsp != NULL) {
            label(out, "dsp", dsp, true);
            text_literal(out, "}");
        }
        if (is_count)
            end_uint(out, seen);
        else
            end_micros(out, b->sum);
    }
}

/* ---- the families ---- */

static void render_requests(struct text *out, const struct totals *t)
{
    static const char *const results[] = {"bid", "no_bid", "none_called", "aborted"};
    const char *name = "bidsieve_requests_total";
    family(out, name, "counter",
           "Requests to /openrtb2/auction that were answered, by HTTP status.");
    for (uint32_t i = 0; i < STATUS_COUNT; i++) {
        bool always = i == STATUS_200 || i == STATUS_204 || i == STATUS_400 || i == STATUS_503;
        if (t->all.requests[i] == 0 && !always)
            continue;
        char status[16] = "other";
        if (i < STATUS_OTHER)
            snprintf(status, sizeof(status), "%d", statuses[i]);
        open_sample(out, name, "");
        label(out, "status", status, true);
        text_literal(out, "}");
        end_uint(out, t->all.requests[i]);
    }
    name = "bidsieve_request_duration_seconds";
    family(out, name, "histogram", "From the request read whole to its answer.");
    buckets(out, name, NULL, &request_bounds, &t->all.request_us);
    name = "bidsieve_filter_duration_seconds";
    family(out, name, "histogram", "Scanning a request and deciding for all DSPs.");
    buckets(out, name, NULL, &filter_bounds, &t->all.filter_us);
    single(out, "bidsieve_requests_in_flight", "gauge", "Requests read and not yet answered.",
           t->all.in_flight);
    name = "bidsieve_auctions_total";
    family(out, name, "counter", "Auctions that ended, by result.");
    for (uint32_t i = 0; i < AUCTION_RESULTS; i++) {
        open_sample(out, name, "");
        label(out, "result", results[i], true);
        text_literal(out, "}");
        end_uint(out, t->all.auctions[i]);
    }
}

static void render_gzip(struct text *out, const struct totals *t)
{
    single(out, "bidsieve_gzip_bodies_total", "counter",
           "Bodies compressed for DSPs that take gzip; one serves all of an auction.",
           t->all.gzip_bodies);
    single(out, "bidsieve_gzip_input_bytes_total", "counter", "Bytes before compression.",
           t->all.gzip_plain_bytes);
    single(out, "bidsieve_gzip_output_bytes_total", "counter", "Bytes after compression.",
           t->all.gzip_bytes);
}

static void render_prices(struct text *out, const struct totals *t, const char *currency)
{
    const char *name = "bidsieve_clearing_price_cpm";
    char help[96];
    snprintf(help, sizeof(help), "What the winner of an imp pays, CPM%s%.3s.",
             currency != NULL ? " in " : "", currency != NULL ? currency : "");
    family(out, name, "histogram", help);
    buckets(out, name, NULL, &price_bounds, &t->all.price_micros);
}

static const char *why_of(uint32_t i)
{
    return why_name((enum why)i);
}
static const char *outcome_of(uint32_t i)
{
    return auction_outcome_name((enum auction_outcome)i);
}
static const char *refusal_of(uint32_t i)
{
    return bid_refusal_name((enum bid_refusal)i);
}
static const char *transport_of(uint32_t i)
{
    return dsp_result_name((enum dsp_result)i);
}
static const char *state_of(uint32_t i)
{
    static const char *const names[] = {"busy", "idle", "connecting", "draining"};
    return names[i];
}

/* A closed set counted per DSP: an array inside struct metrics_dsp. */
struct dsp_family {
    const char *name, *type, *help, *label;
    const char *(*value_of)(uint32_t i);
    size_t offset;
    uint32_t from, to;
    uint32_t always; /* bits of the values that are there though 0 */
};

static const struct dsp_family dsp_families[] = {
    {"bidsieve_dsp_decisions_total", "counter",
     "Decisions whether to call a DSP, one for each auction, by final reason.", "why", why_of,
     offsetof(struct metrics_dsp, decisions), 0, WHY_COUNT,
     1u << WHY_SCORE | 1u << WHY_BELOW_THRESHOLD},
    {"bidsieve_dsp_calls_total", "counter", "Calls made, by what came of them.", "outcome",
     outcome_of, offsetof(struct metrics_dsp, calls), OUTCOME_PENDING, OUTCOME_COUNT,
     1u << OUTCOME_BID | 1u << OUTCOME_NO_BID | 1u << OUTCOME_TIMEOUT | 1u << OUTCOME_ERROR |
         1u << OUTCOME_INVALID},
    {"bidsieve_dsp_bids_refused_total", "counter", "Bids that were refused, by reason.", "reason",
     refusal_of, offsetof(struct metrics_dsp, refused), BID_VALID + 1, BID_REFUSALS, 0},
    {"bidsieve_dsp_transport_errors_total", "counter",
     "Calls that brought no whole HTTP answer, by cause.", "result", transport_of,
     offsetof(struct metrics_dsp, transport), DSP_CALL_OK + 1, DSP_CALL_RESULTS, 0},
    {"bidsieve_dsp_connections", "gauge", "Connections to a DSP, by state.", "state", state_of,
     offsetof(struct metrics_dsp, connections), 0, CONNECTION_STATES, ~0u},
};

static void render_dsp_family(struct text *out, const struct totals *t, const struct dsp_family *f)
{
    family(out, f->name, f->type, f->help);
    for (uint32_t slot = 0; slot < t->n_dsps; slot++) {
        const uint64_t *counts =
            (const uint64_t *)(const void *)((const char *)&t->dsps[slot] + f->offset);
        for (uint32_t i = f->from; i < f->to; i++) {
            const char *value = f->value_of(i);
            if (counts[i] != 0 || (i < 32 && (f->always >> i & 1) != 0))
                sample_dsp(out, f->name, t->names[slot], f->label,
                           value != NULL ? value : "unnamed", counts[i]);
        }
    }
}

static void render_dsps(struct text *out, const struct totals *t)
{
    for (size_t i = 0; i < sizeof(dsp_families) / sizeof(*dsp_families); i++)
        render_dsp_family(out, t, &dsp_families[i]);
    const char *name = "bidsieve_dsp_call_duration_seconds";
    family(out, name, "histogram",
           "From a call to its answer; a call that timed out counts with the time it was given.");
    for (uint32_t slot = 0; slot < t->n_dsps; slot++)
        buckets(out, name, t->names[slot], &call_bounds, &t->dsps[slot].call_us);
    name = "bidsieve_dsp_wins_total";
    family(out, name, "counter", "Auctions of which the DSP won at least one imp.");
    for (uint32_t slot = 0; slot < t->n_dsps; slot++)
        sample_dsp(out, name, t->names[slot], NULL, NULL, t->dsps[slot].wins);
    name = "bidsieve_dsp_revenue_cpm_total";
    family(out, name, "counter",
           "Sum of the clearing prices of the imps won, CPM: a thousandth of it is the revenue in "
           "currency units.");
    for (uint32_t slot = 0; slot < t->n_dsps; slot++) {
        open_sample(out, name, "");
        label(out, "dsp", t->names[slot], true);
        text_literal(out, "}");
        end_micros(out, t->dsps[slot].paid_micros);
    }
}

static void render_capture(struct text *out, const struct totals *t, const struct capture_writer *w)
{
    if (w == NULL)
        return;
    struct capture_stats stats;
    capture_stats(w, &stats);
    single(out, "bidsieve_capture_records_total", "counter", "Auctions written to the capture.",
           stats.records);
    single(out, "bidsieve_capture_dropped_total", "counter",
           "Auctions lost to the capture: its queue was full or the disk failed.", stats.dropped);
    single(out, "bidsieve_capture_skipped_total", "counter",
           "Auctions left out of the capture by capture.sample.", t->all.capture_skipped);
    single(out, "bidsieve_capture_written_bytes_total", "counter",
           "Bytes written to segments, after compression.", stats.bytes_written);
    single(out, "bidsieve_capture_write_errors_total", "counter",
           "Faults of the disk while capturing.", stats.write_errors);
}

static void render_notices(struct text *out, const struct notices *n)
{
    static const char *const results[] = {"sent", "failed", "dropped", "refused"};
    const char *name = "bidsieve_notices_total";
    struct notices_stats stats;
    uint64_t pending = 0;
    if (n == NULL)
        return;
    notices_stats(n, &stats);
    family(out, name, "counter",
           "Notices to DSPs that were fired for the exchange, by kind and what came of them.");
    for (int kind = 0; kind < NOTICE_KINDS; kind++) {
        const struct notices_counts *c = &stats.kinds[kind];
        const uint64_t counts[] = {c->sent, c->failed, c->dropped, c->refused};
        for (int i = 0; i < 4; i++) {
            open_sample(out, name, "");
            label(out, "kind", notice_kind_name((enum notice_kind)kind), true);
            label(out, "result", results[i], false);
            text_literal(out, "}");
            end_uint(out, counts[i]);
        }
    }
    name = "bidsieve_notices_queued_total";
    family(out, name, "counter", "Notices that were taken to be fired, by kind.");
    for (int kind = 0; kind < NOTICE_KINDS; kind++) {
        open_sample(out, name, "");
        label(out, "kind", notice_kind_name((enum notice_kind)kind), true);
        text_literal(out, "}");
        end_uint(out, stats.kinds[kind].queued);
        pending += notices_pending(&stats.kinds[kind]);
    }
    single(out, "bidsieve_notices_pending", "gauge", "Notices that wait or are under way.",
           pending);
}

static void render_control(struct metrics *m, struct text *out, const struct metrics_facts *facts)
{
    const char *name = "bidsieve_reloads_total";
    family(out, name, "counter", "Reloads of the configuration, by result.");
    text_format(out, "%s{result=\"success\"} %llu\n%s{result=\"failure\"} %llu\n", name,
                (unsigned long long)load(&m->reloads_ok), name,
                (unsigned long long)load(&m->reloads_failed));
    int64_t at = __atomic_load_n(&m->reload_ok_at, __ATOMIC_RELAXED);
    single(out, "bidsieve_config_last_reload_success_timestamp_seconds", "gauge",
           "When the configuration that serves was loaded.",
           (uint64_t)(at != 0 ? at : (int64_t)m->started.tv_sec));
    single(out, "bidsieve_config_generation", "gauge", "Number of the configuration that serves.",
           facts->generation);
    single(out, "bidsieve_dsps", "gauge", "DSPs in the configuration that serves.", facts->dsps);
    name = "bidsieve_model_info";
    family(out, name, "gauge", "The model that serves; no series when there is none.");
    if (facts->model_version != NULL) {
        open_sample(out, name, "");
        label(out, "version", facts->model_version, true);
        text_literal(out, "} 1\n");
        single(out, "bidsieve_model_stale", "gauge",
               "1 when the model is older than model.max_age_hours, so that all calls are made.",
               facts->model_stale);
        if (isfinite(facts->model_age_seconds))
            single_double(out, "bidsieve_model_age_seconds", "gauge",
                          "Since the end of the model's training window.",
                          facts->model_age_seconds);
    }
    name = "bidsieve_build_info";
    family(out, name, "gauge", "The program that serves.");
    text_format(out, "%s{version=\"%s\"} 1\n", name, BIDSIEVE_VERSION);
}

static uint64_t open_files(void)
{
    uint64_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL)
        return 0;
    while (readdir(folder) != NULL)
        n++;
    closedir(folder);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the folder's own */
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Named as every Prometheus client library names them, hence without our prefix. */
static void render_process(const struct metrics *m, struct text *out, uint64_t lag_us_max)
{
    const char *name = "bidsieve_event_loop_lag_seconds";
    family(out, name, "gauge",
           "The longest turn of any event loop since the last scrape: what a request may wait.");
    open_sample(out, name, "");
    end_micros(out, lag_us_max);
    single_double(out, "process_start_time_seconds", "gauge", "Since the epoch.",
                  (double)m->started.tv_sec + (double)m->started.tv_nsec * 1e-9);
    struct rusage usage;
    struct rlimit files;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        name = "process_cpu_seconds_total";
        family(out, name, "counter", "User and system time.");
        open_sample(out, name, "");
        end_micros(out, (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
    }
    single(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    single(out, "process_open_fds", "gauge", "Open file descriptors.", open_files());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        single(out, "process_max_fds", "gauge", "Most file descriptors that may be open.",
               files.rlim_cur);
}

void metrics_render(struct metrics *m, const struct metrics_facts *facts, struct text *out)
{
    struct totals *t = calloc(1, sizeof(*t));
    if (t == NULL)
        abort();
    sum_all(m, t);
    render_requests(out, t);
    render_prices(out, t, facts->currency);
    render_dsps(out, t);
    render_gzip(out, t);
    render_capture(out, t, facts->capture);
    render_notices(out, facts->notices);
    render_control(m, out, facts);
    render_process(m, out, t->all.lag_us_max);
    free(t);
}
