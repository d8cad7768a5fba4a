/* Win, billing and loss notices, fired for the exchange: GETs to whatever URLs DSPs name, from a
 * thread and a loop of their own, so that no auction waits for them. Everything is bounded: the
 * bytes that wait, the hosts known at a time, the connections and the backlog of each, the time
 * that one may take. What does not fit is dropped and counted; nothing is sent twice, but for one
 * more try on a kept connection that turns out to be closed.
 *
 * A URL comes from a DSP, so it is a stranger's: only http and https, no user information, no
 * redirect is followed, certificates are verified, and nothing of the answer is used but its
 * status. Which networks the process may reach is for the firewall to say (docs/notices.md). */
#ifndef PROXY_NOTICES_H
#define PROXY_NOTICES_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"

enum notice_kind { NOTICE_WIN, NOTICE_BILLING, NOTICE_LOSS, NOTICE_KINDS };
const char *notice_kind_name(enum notice_kind k); /* "win", ... */

struct notices_options {
    uint32_t queue_bytes_max;
    uint32_t hosts_max;
    uint32_t connections_per_host_max;
    uint32_t waiting_per_host_max;
    uint32_t timeout_ms; /* of one notice, from the moment it left the queue */
    uint32_t drain_ms;   /* notices_destroy waits so long for what is still to be sent */
    bool tls_verify;
};
void notices_options_default(struct notices_options *o);

struct notices; /* one for the process */
struct notices *notices_create(const struct notices_options *o, struct error *err);
/* Nobody pushes any more. NULL is fine. */
void notices_destroy(struct notices *n);

/* Any thread; copies. False: dropped, or no URL that is ever fired. */
bool notices_push(struct notices *n, enum notice_kind kind, struct bytes url);

struct notices_stats {
    struct notices_counts {
        uint64_t queued;  /* taken by notices_push */
        uint64_t sent;    /* answered, with a status below 400 */
        uint64_t failed;  /* no answer in time, or an error status */
        uint64_t dropped; /* no room in the queue, or for its host; or the process ended */
        uint64_t refused; /* not a URL that is fired */
        uint64_t settled; /* of those queued: sent, failed, dropped or refused by now */
    } kinds[NOTICE_KINDS];
};
static inline uint64_t notices_pending(const struct notices_counts *c)
{
    return c->queued > c->settled ? c->queued - c->settled : 0;
}
/* Any thread. */
void notices_stats(const struct notices *n, struct notices_stats *out);

#endif
