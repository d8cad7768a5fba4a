/* Counters of the data plane, and their Prometheus text. Each event loop owns a shard and alone
 * writes it, so that counting is an addition to memory that no other core writes; a scrape on any
 * thread adds the shards up with relaxed loads.
 *
 * DSPs are slots by name for the life of the process: a reload looks its names up in the roster,
 * which only ever grows, so counters survive it. The funnel of one DSP, each step a sum of series:
 *
 *   considered   dsp_decisions_total                        every auction, every enabled DSP
 *   - rule       dsp_decisions_total{why=~"rule:.*"}        what is left is eligible
 *   - model      dsp_decisions_total{why="below_threshold"}
 *   - caps       dsp_decisions_total{why=~"qps|health|overload|secondary"}
 *   = to send    dsp_decisions_total{why=~"score|explore|shadow|off|fail_open:.*"}
 *   sent         dsp_calls_total                            the same, but for what was cut off
 *   answers      dsp_calls_total{outcome=~"bid|no_bid|timeout|error|invalid"}
 *   won          dsp_wins_total */
#ifndef PROXY_METRICS_H
#define PROXY_METRICS_H

#include "filter/decision.h"
#include "proxy/auction.h"
#include "proxy/capture.h"
#include "proxy/histogram.h"
#include "proxy/net/dsp_client.h"
#include "proxy/notices.h"
#include "proxy/text.h"

enum {
    METRICS_DSPS_MAX = 1024, /* slots; names beyond it share the last, "_other" */
    METRICS_SHARDS_MAX = 256,
    METRICS_BUCKETS_MAX = 16
};

/* The closed set of what /openrtb2/auction answers; other codes count as "other". */
enum metrics_status {
    STATUS_200,
    STATUS_204,
    STATUS_400,
    STATUS_401,
    STATUS_404,
    STATUS_405,
    STATUS_413,
    STATUS_415,
    STATUS_500,
    STATUS_503,
    STATUS_OTHER,
    STATUS_COUNT
};

enum metrics_auction {
    AUCTION_BID,
    AUCTION_NO_BID,      /* at least one DSP was called, none brought a valid bid */
    AUCTION_NONE_CALLED, /* every DSP was withheld or refused */
    AUCTION_ABORTED,
    AUCTION_RESULTS
};

enum metrics_connection {
    CONNECTION_BUSY,
    CONNECTION_IDLE,
    CONNECTION_CONNECTING,
    CONNECTION_DRAINING,
    CONNECTION_STATES
};

/* Values at or below fixed bounds, as Prometheus wants them: counted exactly, unlike what could be
 * read off a log-linear histogram. counts[i] is of one bucket; the last is +Inf. */
struct metrics_buckets {
    uint64_t counts[METRICS_BUCKETS_MAX + 1];
    uint64_t sum;
};

struct metrics_dsp { /* of one shard and slot */
    uint64_t decisions[WHY_COUNT];
    uint64_t calls[OUTCOME_COUNT];
    uint64_t refused[BID_REFUSALS];
    uint64_t transport[DSP_CALL_RESULTS];
    uint64_t wins, paid_micros;
    struct metrics_buckets call_us;
    uint64_t connections[CONNECTION_STATES]; /* now */
    uint64_t cut_back_ppm; /* now: the share of its calls that its health does not let through */
};

struct metrics_shard {
    uint64_t requests[STATUS_COUNT];
    uint64_t auctions[AUCTION_RESULTS];
    uint64_t in_flight;       /* now */
    uint64_t capture_skipped; /* auctions that capture.sample left out */
    uint64_t gzip_bodies;     /* compressed for DSPs; each is shared by all that take it */
    uint64_t gzip_plain_bytes, gzip_bytes; /* of them, before and after */
    uint64_t lag_us_max;                   /* since the last scrape */
    struct metrics_buckets request_us;     /* from read whole to answered */
    struct metrics_buckets filter_us;      /* scan and decide */
    struct metrics_buckets price_micros;   /* what winners pay, an imp each */
    struct histogram request_histogram;    /* for quantiles in /status */
    struct metrics_dsp *dsps[METRICS_DSPS_MAX];
};

struct metrics;
struct metrics *metrics_create(uint32_t n_shards, struct error *err);
void metrics_destroy(struct metrics *m); /* no loop may still count */

/* ---- control plane, any thread ---- */
/* The slot of a name, now known to all shards. Call it when a snapshot is built, before a loop sees
 * the slot. Never fails: see METRICS_DSPS_MAX. */
uint32_t metrics_dsp_slot(struct metrics *m, const char *name);
void metrics_count_reload(struct metrics *m, bool ok);

/* ---- data plane: the shard's own thread ---- */
struct metrics_shard *metrics_shard(struct metrics *m, uint32_t shard);

/* The one way to count: a reader on another thread never sees half a number. */
static inline void metrics_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void metrics_set(uint64_t *gauge, uint64_t value)
{
    __atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

static inline struct metrics_dsp *metrics_dsp(struct metrics_shard *s, uint32_t slot)
{
    return s->dsps[slot];
}

void metrics_request(struct metrics_shard *s, int http_status, uint64_t duration_us);
void metrics_filter_time(struct metrics_shard *s, uint64_t duration_us);
/* One DSP of an auction that has ended: decision, outcome, refusals, latency, win and payment. */
void metrics_auction_dsp(struct metrics_shard *s, uint32_t slot, const struct auction_dsp *d);
void metrics_clearing_price(struct metrics_shard *s, int64_t paid_micros);
void metrics_health(struct metrics_shard *s, uint32_t slot, double share);
void metrics_connections(struct metrics_shard *s, uint32_t slot, const struct dsp_client_stats *c);
void metrics_lag(struct metrics_shard *s, uint64_t lag_us);

/* ---- reading, any thread ---- */
/* What is not counted but is so at the moment of the scrape. */
struct metrics_facts {
    uint64_t generation;
    uint32_t dsps;             /* in the config */
    const char *model_version; /* NULL = none */
    double model_age_seconds;  /* NAN = unknown */
    bool model_stale;
    const char *currency;           /* of prices */
    struct capture_writer *capture; /* NULL = off */
    const struct notices *notices;  /* NULL = none */
};
/* Text exposition format 0.0.4, appended. */
void metrics_render(struct metrics *m, const struct metrics_facts *facts, struct text *out);

/* Sums over the shards, for /status. */
struct metrics_dsp_totals {
    uint64_t decisions[WHY_COUNT], calls[OUTCOME_COUNT], wins, paid_micros;
    uint64_t connections[CONNECTION_STATES];
    double health_share; /* mean of all loops; 1 = well */
};
void metrics_dsp_totals(const struct metrics *m, uint32_t slot, struct metrics_dsp_totals *out);
void metrics_request_times(const struct metrics *m,
                           struct histogram *out); /* zeroed by the callee */
uint64_t metrics_in_flight(const struct metrics *m);

#endif
