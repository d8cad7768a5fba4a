/* Capture reader, request scanner, geo look-up, in that order; what is not sound is counted and
 * left out. */
#include "proxy/labelled.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/progress.h"

struct labelled_reader {
    struct capture_reader *capture;
    const struct geo *geo;
    struct arena arena;
    struct progress progress;
    struct labelled_counts counts;
};

struct labelled_reader *labelled_open(const struct cli_list *paths, const struct geo *geo,
                                      struct error *err)
{
    struct labelled_reader *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        error_set(err, "capture: out of memory");
        return NULL;
    }
    r->geo = geo;
    r->capture = capture_reader_open(paths->items, paths->n, err);
    if (r->capture == NULL) {
        free(r);
        return NULL;
    }
    progress_begin(&r->progress);
    return r;
}

void labelled_close(struct labelled_reader *r)
{
    if (r == NULL)
        return;
    progress_end(&r->progress);
    capture_reader_close(r->capture);
    arena_dispose(&r->arena);
    free(r);
}

/* Calls that were sent and answered, with a bid or without one. */
static bool has_label(const struct capture_dsp *d, bool *bid)
{
    *bid = bytes_is(d->outcome, "bid");
    return d->sent && (*bid || bytes_is(d->outcome, "no_bid"));
}

uint32_t labelled_pairs(const struct capture_record *r, struct trainset_pair **pairs,
                        uint32_t *room)
{
    uint32_t n = 0;
    if (*room < r->n_dsps) {
        *room = r->n_dsps * 2;
        *pairs = realloc(*pairs, *room * sizeof(**pairs));
        if (*pairs == NULL)
            abort();
    }
    for (uint32_t i = 0; i < r->n_dsps; i++) {
        const struct capture_dsp *d = &r->dsps[i];
        bool bid;
        if (has_label(d, &bid))
            (*pairs)[n++] =
                (struct trainset_pair){d->dsp, bid, d->propensity, bid ? d->price : NAN};
    }
    return n;
}

static void take_calls(struct labelled_reader *r, const struct capture_record *record,
                       struct labelled_record *out)
{
    out->calls = arena_alloc(&r->arena, record->n_dsps * sizeof(*out->calls));
    out->n_calls = 0;
    for (uint32_t i = 0; i < record->n_dsps; i++) {
        const struct capture_dsp *d = &record->dsps[i];
        bool bid;
        if (!has_label(d, &bid))
            continue;
        out->calls[out->n_calls++] = (struct labelled_call){
            d->dsp, bid, (float)fmin(1 / d->propensity, TRAINSET_WEIGHT_MAX),
            bid && d->price > 0 && d->price < TRAINSET_PRICE_MAX ? (float)d->price : 0};
    }
}

bool labelled_next(struct labelled_reader *r, struct labelled_record *out)
{
    struct capture_record record;
    struct error err;
    for (int status; (status = capture_next(r->capture, &record, &err)) != 0;) {
        struct bid_request_error fault;
        arena_reset(&r->arena, 1 << 20);
        if (status > 0)
            status = capture_check_time(r->capture, &record, &err) == 0 ? 1 : -1;
        if (status > 0 && !bid_request_scan(&out->request, record.request, 0, &r->arena, &fault))
            status = capture_request_fault(r->capture, &err, fault.path, fault.reason);
        if (status < 0) {
            if (r->counts.skipped++ == 0)
                snprintf(r->counts.first_fault, sizeof(r->counts.first_fault), "%.500s", err.text);
            continue;
        }
        r->counts.records++;
        out->ts_ms = record.ts_ms;
        geo_locate(r->geo, &out->request, &out->place);
        take_calls(r, &record, out);
        if (progress_due(&r->progress))
            progress_show(&r->progress, "scoring captures: %3.0f%%, %" PRIu64 " requests",
                          100 * capture_progress(r->capture), r->counts.records);
        return true;
    }
    progress_end(&r->progress);
    return false;
}

const struct labelled_counts *labelled_counts(const struct labelled_reader *r)
{
    return &r->counts;
}

void labelled_say_skipped(const struct labelled_reader *r, const char *command)
{
    if (r->counts.skipped > 0)
        fprintf(stderr, "bidsieve %s: left out %" PRIu64 " records that are not sound; first: %s\n",
                command, r->counts.skipped, r->counts.first_fault);
}

uint32_t labelled_score(struct labelled_reader *r, const struct labelled_record *record,
                        const struct predictor *model, struct predictor_scratch *scratch,
                        const struct labelled_score **out)
{
    uint32_t n = 0, *dsps = arena_alloc(&r->arena, record->n_calls * sizeof(*dsps));
    float *p = arena_alloc(&r->arena, record->n_calls * sizeof(*p));
    struct labelled_score *scores = arena_alloc(&r->arena, record->n_calls * sizeof(*scores));
    for (uint32_t i = 0; i < record->n_calls; i++) {
        char name[256];
        struct bytes dsp = record->calls[i].dsp;
        snprintf(name, sizeof(name), "%.*s", (int)dsp.len, dsp.base);
        int32_t known = predictor_find_dsp(model, name);
        if (known < 0)
            continue;
        scores[n].call = &record->calls[i];
        scores[n].dsp = dsps[n] = (uint32_t)known;
        n++;
    }
    if (n > 0)
        predictor_score(model, scratch, &record->request, &record->place, record->ts_ms, &r->arena,
                        dsps, n, p);
    for (uint32_t i = 0; i < n; i++)
        scores[i].p = p[i];
    *out = scores;
    return n;
}

void labelled_judge(struct judgement *j, const struct labelled_score *scores, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        judgement_add(j, scores[i].dsp, scores[i].p, scores[i].call->bid, scores[i].call->weight,
                      scores[i].call->price);
}

void labelled_keep(struct fresh *f, const struct predictor_scratch *scratch,
                   const struct labelled_score *scores, uint32_t n)
{
    const uint32_t *slots;
    const float *numeric;
    if (n == 0)
        return;
    predictor_scored(scratch, &slots, &numeric);
    fresh_add_request(f, slots, numeric);
    for (uint32_t i = 0; i < n; i++)
        fresh_add_call(f, scores[i].dsp, scores[i].call->bid, scores[i].call->weight,
                       scores[i].call->price);
}
