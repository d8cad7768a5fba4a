/* Two logs, both written by a thread of their own: what happens (stderr) and one line a request
 * (the access log). Whoever logs copies a line into a bounded queue and goes on; when a disk or a
 * pipe is slower than the traffic, lines are dropped and the loss is counted and told, never waited
 * for. A call site that repeats itself is cut to LOG_REPEATS_MAX lines a second, and the rest
 * summed up in one.
 *
 * Nothing personal belongs in a message: no addresses, user ids, bodies or query strings. The
 * access log's entry has no place for them. */
#ifndef PROXY_LOG_H
#define PROXY_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum { LOG_REPEATS_MAX = 10, LOG_LINE_MAX = 2048 };

struct log_options {
    enum log_level level;
    bool json;                /* a JSON object a line, in both logs; else text */
    const char *access_file;  /* NULL = no access log; "-" = stdout; borrowed for the call */
    int fd;                   /* of the first log; 0 = stderr. Stays open. */
    uint32_t queue_bytes_max; /* of each log; 0 = 1 MiB */
    uint64_t (*now_us)(void); /* monotonic, for the limit on repeats; NULL = the real one */
};

struct log; /* one for the process; any thread writes */
struct log *log_create(const struct log_options *o, struct error *err);
/* Level, format and access file anew; the file is opened again even under the same name, so that
 * logrotate may have moved it. On failure everything stays as it was. fd, queue and clock do not
 * change. */
int log_reload(struct log *l, const struct log_options *o, struct error *err);
/* Whether this access log could be opened; nothing is created. */
int log_access_check(const char *file, struct error *err);
/* Writes what is queued, for at most a second if nobody reads. NULL is fine. */
void log_destroy(struct log *l);

/* One line, without '\n'; control characters come out escaped, what is beyond LOG_LINE_MAX is cut.
 * format must be a literal: it identifies the call site. l NULL = no log. */
__attribute__((format(printf, 3, 4))) void log_write(struct log *l, enum log_level level,
                                                     const char *format, ...);

struct log_entry {
    struct bytes method, path; /* without the query */
    int status;
    uint64_t request_bytes, response_bytes, duration_us;
    uint32_t dsps_called, bids; /* of an auction */
};
/* False = there is no access log, or the line was dropped. */
bool log_access(struct log *l, const struct log_entry *e);

/* Waits until what was logged before is written or given up. Not for an event loop. */
void log_flush(struct log *l);

struct log_stats {
    uint64_t written, dropped /* queue full */, repeats_cut, write_errors; /* lines; writes */
};
void log_stats(struct log *l, struct log_stats *out);

#endif
