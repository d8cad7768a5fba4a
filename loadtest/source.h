/* Where the load generator's requests come from: a file of lines, or a scenario's days. One thread.
 *
 * A line of a file is a BidRequest, or {"src":...,"body":<BidRequest>}, or a capture record; the
 * file may be gzip. */
#ifndef LOADTEST_SOURCE_H
#define LOADTEST_SOURCE_H

#include "loadtest/world.h"

struct source_item {
    struct bytes body; /* valid until the next call */
    int64_t ts_ms;     /* of a capture record or a scenario; -1 = none */
};

struct source;
/* repeat: begins again at the end of the file, for ever. */
struct source *source_open_file(const char *path, bool repeat, struct error *err);
/* Days first_day up to, not including, end_day; of all their requests `items_max` spread evenly (0
 * = all), so that a shorter day is still a whole one. */
struct source *source_open_scenario(const char *path, int32_t first_day, int32_t end_day,
                                    uint64_t items_max, struct error *err);
void source_close(struct source *s);

/* 1 = an item, 0 = the end, -1 = the file cannot be read further (err). */
int source_next(struct source *s, struct source_item *out, struct error *err);
uint64_t source_total(const struct source *s); /* items in all; 0 = not known */

/* The request in a line; the line itself when it is neither of the other two. *ts_ms: -1 = none. */
struct bytes source_line_body(struct bytes line, int64_t *ts_ms);

#endif
