/* The open-loop sender behind `bidsieve replay` and the load generator: POSTs bodies at times that
 * do not depend on the answers, and measures each from the moment it was due. A server that stalls
 * therefore shows in every request that it delayed, not only in those it had already taken
 * ("coordinated omission"). Runs its own loop on the calling thread, and one more to keep time. */
#ifndef PROXY_OPEN_LOOP_H
#define PROXY_OPEN_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"
#include "proxy/histogram.h"
#include "proxy/net/dsp_client.h"

struct open_loop_job {
    struct bytes body;    /* borrowed until the next call of the source */
    struct bytes headers; /* "Name: value\r\n"..., up to 512 bytes, or empty; borrowed likewise */
    uint64_t due_us;      /* since the start; not falling from job to job */
};
/* Fills the next job; false = there is none. Called one job ahead, on the calling thread. */
typedef bool (*open_loop_next_cb)(void *ctx, struct open_loop_job *out);

enum { OPEN_LOOP_STATUS_MAX = 600, OPEN_LOOP_LATE_US = 5000 };

struct open_loop_result {
    struct histogram latency; /* us from due to answered; a closed loop: from sent */
    struct histogram service; /* us from sent to answered */
    uint64_t sent, answered, timeouts;
    uint64_t errors[DSP_CALL_RESULTS]; /* what brought no answer, by enum dsp_result */
    uint64_t statuses[OPEN_LOOP_STATUS_MAX];
    uint64_t late;       /* sent more than OPEN_LOOP_LATE_US after they were due */
    double seconds;      /* from the start to the last answer */
    double send_seconds; /* from the start to the last sending */
    double due_seconds;  /* from the start to when the last one was due */
};
uint64_t open_loop_failures(const struct open_loop_result *r); /* errors and timeouts */

struct open_loop_options {
    const char *url;
    uint32_t connections_max; /* calls in flight at most; beyond it jobs wait, and are late */
    uint32_t timeout_ms;      /* a call without an answer is given up after it */
    bool closed; /* a closed loop: due times are ignored, each answer starts the next */
    bool tls_verify;
    const char *tls_ca_file;
    const char *const *headers; /* with every call, as in dsp_client_options; may be NULL */
    /* A few times a second, on the calling thread; may be NULL. False ends the run: nothing more is
     * sent, what is open is waited for. */
    bool (*progress)(void *ctx, const struct open_loop_result *so_far);
};
void open_loop_options_default(struct open_loop_options *o);

/* Sends all jobs and waits for their answers. -1: the URL is wrong, or nobody answers there at all.
 * Requests that fail are counted, not errors. next and progress get ctx. */
int open_loop_run(const struct open_loop_options *o, open_loop_next_cb next, void *ctx,
                  struct open_loop_result *out, struct error *err);

#endif
