/* One event loop, one thread. Everything in net/ belongs to a loop and is used on its thread only,
 * except loop_post and loop_stop. No h2o type shows in these headers: the library stays replaceable
 * behind them. */
#ifndef PROXY_NET_LOOP_H
#define PROXY_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct loop;
/* Also sets SIGPIPE to be ignored, unless the program handles it: a peer that closes is an EPIPE.
 */
struct loop *loop_create(struct error *err);
/* NULL is fine; nothing may still be open on it. Runs what was posted, and turns until servers that
 * were destroyed are gone. */
void loop_destroy(struct loop *l);

/* Runs until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l); /* any thread, also a signal handler */

/* CLOCK_MONOTONIC, read anew. */
uint64_t loop_now_us(void);

/* Runs fn(arg) once on the loop's thread, in order of posting. Any thread; never inside the call.
 */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* A one-shot timer in the owner's storage; zero-initialise. Microsecond deadlines, fired at most ~1
 * ms late. The callback may set it again. */
typedef void (*timer_cb)(void *ctx);
struct timer {
    timer_cb cb;
    void *ctx;
    uint64_t deadline_us;
    uint32_t heap_index; /* 0 = not set */
};
void timer_set(struct loop *l, struct timer *t, uint64_t deadline_us, timer_cb cb,
               void *ctx); /* set again moves it */
void timer_clear(struct loop *l, struct timer *t);

/* Microseconds the last turn of the loop spent in callbacks; the worst since the last call of this:
 * event-loop lag. */
uint64_t loop_lag_us_max(struct loop *l);

/* How long this turn has been calling back already; 0 outside of one. Meanwhile nothing else is
 * read, and no timer fires. */
uint64_t loop_turn_age_us(const struct loop *l);

#endif
