/* Scores held against the world's truth: how much a filter that orders calls by them withholds at
 * an expected recall, beside the best possible one. Whoever prints lines like those of `bidsieve
 * score` can be judged: other trainers too. One thread. */
#ifndef LOADTEST_JUDGE_H
#define LOADTEST_JUDGE_H

#include <stdio.h>

#include "loadtest/truth.h"
#include "loadtest/world.h"
#include "proxy/capture.h"

struct judge_dsp {
    struct truth truth; /* of each call, in the order of the records */
    float *score;       /* [truth.n rounded up]: INFINITY = not scored, so it is sent first */
    uint64_t unscored;  /* a line without the DSP, or its p is null */
    uint64_t sent;      /* as the lines' "send" says */
    double expected_sent;
    uint64_t bids, bids_sent; /* drawn: counted bids */
};

struct judge {
    const struct world *world;
    uint64_t requests, strangers; /* strangers: scores of DSPs that the world has not */
    struct judge_dsp *dsps;       /* [world->n_buyers] */
    struct arena arena;
};

void judge_init(struct judge *j, const struct world *w);
void judge_dispose(struct judge *j);

/* One captured request, whoever was asked, and the line that a scorer printed for it:
 * {"auction":.., "dsps":[{"dsp":.., "p":.., "send":..}]}. A p is any number, higher is sent first;
 * "auction" and "send" may be missing, a call without "send" is made. -1: the line is no such
 * thing, or is about another auction. */
int judge_add(struct judge *j, const struct bid_request *r, int64_t ts_ms, struct bytes line,
              struct error *err);
/* All of the capture with all of the lines, in order; records that `bidsieve score` refuses have no
 * line. `where` names the lines in what is said. */
int judge_read(struct judge *j, struct capture_reader *reader, FILE *lines, const char *where,
               struct error *err);

void judge_print(struct judge *j, double recall, FILE *out);      /* less than 100 columns */
void judge_print_json(struct judge *j, double recall, FILE *out); /* keys: loadtest/README.md */

#endif
