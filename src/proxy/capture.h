/* Capture: every auction as one JSON line (DESIGN of the record: docs/capture.md), written off the
 * loop into segments, read back by train, evaluate, score and replay. */
#ifndef PROXY_CAPTURE_H
#define PROXY_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"
#include "filter/bid_request.h"
#include "proxy/text.h"

/* ---- reading ---- */
struct capture_dsp {
    struct bytes dsp;
    bool sent;
    struct bytes why;     /* {NULL,0} absent */
    double p, threshold;  /* NAN absent */
    double propensity;    /* 1 */
    struct bytes outcome; /* "bid", "no_bid", ...; {NULL,0} absent */
    double price, paid;   /* NAN absent */
    int64_t latency_us;   /* -1 */
    bool won;
};
struct capture_record {
    int64_t ts_ms;
    struct bytes auction; /* {NULL,0} absent */
    struct bytes request; /* the raw BidRequest */
    struct bytes model;
    int64_t generation; /* -1 */
    const struct capture_dsp *dsps;
    uint32_t n_dsps;
};

/* Files, directories of segments (names sorted; *.ndjson, *.ndjson.zst, *.jsonl, ...), "-" = stdin.
 */
struct capture_reader;
struct capture_reader *capture_reader_open(const char *const *paths, size_t n, struct error *err);
void capture_reader_close(struct capture_reader *r);
/* 1 = a record (valid until the next call), 0 = the end, -1 = *err: a line that is no record names
 * file and line; reading may go on after it. A torn last line of a segment (a crash) is counted and
 * skipped. */
int capture_next(struct capture_reader *r, struct capture_record *out, struct error *err);
/* -1, with file and line, for a time before 1973: no time of an auction but another unit, and the
 * hours and slices made of it would be wrong without a word. Of the record read last; for what
 * learns from times. */
int capture_check_time(const struct capture_reader *r, const struct capture_record *record,
                       struct error *err);
/* The request of the record last handed out is not sound: *err says so, as capture_next would.
 * Always -1. */
int capture_request_fault(const struct capture_reader *r, struct error *err, const char *path,
                          const char *reason);
double capture_progress(const struct capture_reader *r); /* share of bytes read, 0..1 */
uint64_t capture_torn(const struct capture_reader *r);

/* ---- building a line ---- (capture_line.c; one thread a text, nothing allocated once it has
 * grown)
 *
 *   text_reset(&line);
 *   capture_line_begin(&line, ts_ms, r.id, r.body, masks, capture_masks(&r, true, true, masks),
 * ...); capture_line_dsp(&line, &dsp)... capture_line_end(&line); capture_append(writer,
 * text_bytes(&line)); */
enum capture_mask_kind {
    CAPTURE_MASK_IP,  /* an IPv4 address loses its last octet, an IPv6 address all but its first 48
                         bits; what is neither becomes "" */
    CAPTURE_MASK_ID,  /* 16 hex digits of a hash, the same for the same id everywhere; "" and the
                         all-zero id stay as they are */
    CAPTURE_MASK_DROP /* null; the whole request becomes {} */
};
struct capture_mask {
    struct body_span span; /* inside the quotes; or a number; or the whole value to drop */
    enum capture_mask_kind kind;
};
enum { CAPTURE_MASKS_MAX = 256 };
/* The spans of r->body to mask, in its order; returns how many. ip: device.ip and ipv6. ids:
 * user.id, buyeruid, eids[].uids[].id (also in ext), ext.prebid.buyeruids, device.ifa, did*, dpid*,
 * mac*. When there are
 * more than can be listed, the whole request is dropped rather than one id be kept. */
uint32_t capture_masks(const struct bid_request *r, bool mask_ip, bool mask_ids,
                       struct capture_mask out[CAPTURE_MASKS_MAX]);
/* auction: decoded; {NULL,0} = null. request: valid JSON, as it came; line breaks in it become
 * spaces. masks: in the order of the body. model: NULL = null. */
void capture_line_begin(struct text *line, int64_t ts_ms, struct bytes auction,
                        struct bytes request, const struct capture_mask *masks, uint32_t n_masks,
                        const char *model, uint64_t generation);
/* p, threshold and propensity are written as the shortest decimals that read back as the same
 * float; price and paid to the micro. What holds the value for "absent" is left out, and so is a
 * propensity of 1, a latency of a call not sent, won = false. */
void capture_line_dsp(struct text *line, const struct capture_dsp *d);
void capture_line_end(struct text *line); /* with the '\n' */

/* ---- writing ---- */
struct capture_options {
    const char *directory;      /* created if absent */
    bool compress;              /* .ndjson.zst, else .ndjson */
    uint64_t segment_bytes_max; /* before compression */
    uint32_t segment_seconds_max;
    uint64_t queue_bytes_max; /* waiting for the writer thread; beyond it records are dropped and
                                 counted */
    uint64_t directory_bytes_max; /* the oldest segments are deleted beyond it; 0 = never */
};
struct capture_writer; /* one for the process; any thread appends */
struct capture_writer *capture_writer_create(const struct capture_options *o, struct error *err);
/* Whether it could be written to, or made where it is not: nothing is created. */
int capture_directory_check(const char *directory, struct error *err);
/* A whole line with its '\n'. Copies; never blocks on the disk. False = dropped. */
bool capture_append(struct capture_writer *w, struct bytes line);
void capture_flush(struct capture_writer *w); /* waits until what was appended is written */
void capture_writer_destroy(struct capture_writer *w); /* flushes and closes the segment */
struct capture_stats {
    uint64_t records, dropped, bytes_written, write_errors;
    char last_error[256];
};
void capture_stats(const struct capture_writer *w, struct capture_stats *out);

#endif
