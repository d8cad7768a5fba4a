/* The serving process: workers, the snapshot in force, reloads, and how it ends. The main thread
 * runs the admin loop; a reload is built on a thread of its own, so that neither requests nor
 * metrics wait for it. */
#ifndef PROXY_PROCESS_H
#define PROXY_PROCESS_H

#include <pthread.h>

#include "proxy/worker.h"

struct reload; /* one under way */

struct process {
    const char *config_path;
    struct loop *loop; /* admin */
    struct worker **workers;
    pthread_t *threads;
    uint32_t n_workers, n_running;
    struct snapshot *snapshot; /* in force; admin thread */
    struct metrics *metrics;
    struct capture_writer *capture;
    struct log *log;
    struct notices *notices;
    struct reload *reloads; /* waiting and under way, first in first out; admin thread */
    uint64_t reloads_ok, reloads_failed;
    uint64_t started_us;          /* loop_now_us: the wall clock may jump */
    int64_t last_reload_ms;       /* -1 = none yet */
    char last_reload_error[1024]; /* "" = it went well */
    char *started_with;           /* the settings that hold until the next start, as text */
    bool restart_needed;          /* a reload brought others */
    bool stopping, ended;         /* ended: the loops only run out */
    struct timer stop_timer;
};

/* done(ctx, generation, NULL) or done(ctx, 0, error), later, on the admin thread. done may be NULL.
 */
void process_reload(struct process *p,
                    void (*done)(void *ctx, uint64_t generation, const char *error), void *ctx);

/* The body of `serve`: returns the exit status. */
int process_serve(const char *config_path);

#endif
