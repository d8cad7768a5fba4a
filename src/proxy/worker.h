/* A worker: one event loop on one thread, with its own listener, DSP links, memory and counters.
 * Workers share nothing on the hot path but the immutable snapshot. */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "proxy/dsp_link.h"
#include "proxy/extras.h"
#include "proxy/log.h"
#include "proxy/metrics.h"
#include "proxy/net/gunzip.h"
#include "proxy/net/gzip.h"
#include "proxy/net/server.h"
#include "proxy/notices.h"
#include "proxy/snapshot.h"
#include "proxy/text.h"

/* What one worker needs to serve one snapshot. Counted: each transaction holds the view that it
 * began with. */
struct view {
    struct snapshot *snapshot;
    struct filter_scratch *scratch;
    struct dsp_link **links; /* [config->n_dsps]; NULL = disabled */
    uint32_t references;
};

struct worker {
    uint32_t id, n_workers;
    struct loop *loop;
    struct server *server;
    struct view *view;
    struct metrics *metrics;
    struct metrics_shard *shard;
    struct capture_writer *capture; /* or NULL */
    struct log *log;
    struct notices *notices;
    struct gunzip *gunzip;
    struct gzip *gzip;
    struct trace_gate trace_gate;
    struct text line;                  /* the capture record being written */
    struct transaction *active, *idle; /* in flight; kept for reuse, with their memory */
    uint32_t in_flight, in_flight_max;
    struct timer tick;
    void (*stopped)(void *ctx); /* set while stopping */
    void *stopped_ctx;
    bool server_stopped;
    bool is_ending; /* adopts nothing any more */
};

/* Listens on `port` (0 = any). The snapshot is acquired. Services are borrowed. Any thread, before
 * worker_run. */
struct worker *worker_create(uint32_t id, uint32_t n_workers, uint16_t port,
                             struct snapshot *snapshot, struct metrics *metrics,
                             struct capture_writer *capture, struct log *log,
                             struct notices *notices, struct error *err);
void worker_run(struct worker *w); /* the thread's body; returns after worker_stop has drained */
void worker_destroy(struct worker *w); /* after worker_run has returned */

/* Any thread. The worker takes the snapshot (acquired by the caller for it) and the capture writer,
 * and then calls adopted(ctx) on its own thread: from then on it uses nothing else for new
 * requests, nor another writer at all. */
void worker_adopt(struct worker *w, struct snapshot *snapshot, struct capture_writer *capture,
                  void (*adopted)(void *ctx), void *ctx);
/* Any thread: stops listening, lets what is in flight end, then returns from worker_run. */
void worker_stop(struct worker *w);
/* Any thread: returns from worker_run now, whatever is in flight. */
void worker_kill(struct worker *w);

struct view *view_acquire(struct view *v);
void view_release(struct view *v);

/* For transaction.c. Answers, counts and logs; body may be empty. */
void worker_respond(struct worker *w, struct exchange *e, int status, struct bytes body,
                    uint32_t dsps_called, uint32_t bids);
void worker_transaction_ended(struct worker *w);

#endif
