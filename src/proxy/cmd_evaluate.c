/* bidsieve evaluate: how a model does on captured traffic, per DSP, at the thresholds that it would
 * be run with. Every figure is weighted by 1 / propensity; counts and 95% bounds stand beside it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "filter/predictor.h"
#include "filter/trainset.h"
#include "proxy/capture.h"
#include "proxy/cli.h"
#include "proxy/commands.h"
#include "proxy/progress.h"

struct samples { /* of one DSP */
    float *p, *weight;
    uint8_t *label;
    uint64_t n, room;
};

struct result {
    uint64_t calls, bids;
    float threshold; /* NAN: fails open */
    double recall, recall_low, recall_high, withheld;
    struct recall_curve curve;
};

struct evaluation {
    const struct predictor *model;
    const struct geo *geo;
    struct samples *samples; /* [n_dsps] */
    uint64_t records, skipped, unknown_dsp_calls;
    uint64_t records_learnt; /* of the time that the model has learnt from */
    char first_fault[512];
};

static void samples_add(struct samples *s, float p, uint8_t label, float weight)
{
    if (s->n == s->room) {
        s->room = s->room == 0 ? 1024 : s->room * 2;
        s->p = realloc(s->p, s->room * sizeof(*s->p));
        s->weight = realloc(s->weight, s->room * sizeof(*s->weight));
        s->label = realloc(s->label, s->room * sizeof(*s->label));
        if (s->p == NULL || s->weight == NULL || s->label == NULL)
            abort();
    }
    s->p[s->n] = p;
    s->weight[s->n] = weight;
    s->label[s->n++] = label;
}

static void add_record(struct evaluation *e, struct predictor_scratch *scratch, struct arena *arena,
                       const struct capture_record *record, const struct bid_request *r)
{
    uint32_t n = 0, *dsps = arena_alloc(arena, record->n_dsps * sizeof(*dsps));
    float *p = arena_alloc(arena, record->n_dsps * sizeof(*p));
    const struct capture_dsp **from = arena_alloc(arena, record->n_dsps * sizeof(*from));
    for (uint32_t i = 0; i < record->n_dsps; i++) {
        const struct capture_dsp *d = &record->dsps[i];
        if (!d->sent || (!bytes_is(d->outcome, "bid") && !bytes_is(d->outcome, "no_bid")))
            continue;
        char name[256];
        snprintf(name, sizeof(name), "%.*s", (int)d->dsp.len, d->dsp.base);
        int32_t dsp = predictor_find_dsp(e->model, name);
        if (dsp < 0) {
            e->unknown_dsp_calls++;
            continue;
        }
        from[n] = d;
        dsps[n++] = (uint32_t)dsp;
    }
    struct geo_place place;
    geo_locate(e->geo, r, &place);
    predictor_score(e->model, scratch, r, &place, record->ts_ms, arena, dsps, n, p);
    for (uint32_t i = 0; i < n; i++)
        samples_add(&e->samples[dsps[i]], p[i], bytes_is(from[i]->outcome, "bid"),
                    (float)fmin(1 / from[i]->propensity, TRAINSET_WEIGHT_MAX));
}

static int read_captures(struct evaluation *e, const struct cli_list *paths, struct error *err)
{
    struct capture_reader *reader = capture_reader_open(paths->items, paths->n, err);
    if (reader == NULL)
        return -1;
    struct predictor_scratch *scratch = predictor_scratch_create(e->model);
    struct arena arena = {0};
    struct capture_record record;
    struct progress progress;
    progress_begin(&progress);
    for (int status; (status = capture_next(reader, &record, err)) != 0;) {
        struct bid_request r;
        struct bid_request_error fault;
        arena_reset(&arena, 1 << 20);
        if (status > 0)
            status = capture_check_time(reader, &record, err) == 0 ? 1 : -1;
        if (status > 0 && !bid_request_scan(&r, record.request, 0, &arena, &fault))
            status = capture_request_fault(reader, err, fault.path, fault.reason);
        if (status < 0) {
            if (e->skipped++ == 0)
                snprintf(e->first_fault, sizeof(e->first_fault), "%.500s", err->text);
            continue;
        }
        e->records++;
        e->records_learnt += record.ts_ms <= predictor_info(e->model)->validation_to_ms;
        add_record(e, scratch, &arena, &record, &r);
        if (progress_due(&progress))
            progress_show(&progress, "scoring captures: %3.0f%%, %" PRIu64 " requests",
                          100 * capture_progress(reader), e->records);
    }
    progress_end(&progress);
    arena_dispose(&arena);
    predictor_scratch_destroy(scratch);
    capture_reader_close(reader);
    return 0;
}

/* What sending p >= threshold would have kept and withheld of these samples. */
static int judge(const struct samples *s, float threshold, struct result *out, struct error *err)
{
    double bids = 0, bids_squared = 0, kept = 0, calls = 0, withheld = 0;
    double below = 0, below_squared = 0;
    out->calls = s->n;
    out->bids = 0;
    out->threshold = threshold;
    for (uint64_t i = 0; i < s->n; i++) {
        double w = (double)s->weight[i];
        bool send = !isfinite(threshold) || s->p[i] >= threshold;
        calls += w;
        withheld += send ? 0 : w;
        below += send ? 0 : w * (double)s->p[i];
        below_squared += send ? 0 : w * w * (double)s->p[i];
        if (s->label[i]) {
            out->bids++;
            bids += w;
            bids_squared += w * w;
            kept += send ? w : 0;
        }
    }
    out->withheld = calls > 0 ? withheld / calls : 0;
    out->recall = bids > 0 ? kept / bids : NAN;
    out->recall_low = out->recall_high = NAN;
    if (bids > 0)
        wilson_bounds(out->recall, recall_evidence_bids(bids, bids_squared, below, below_squared),
                      1.96, &out->recall_low, &out->recall_high);
    return recall_curve_build(&out->curve, s->p, s->label, s->weight, s->n, err);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *result_json(const char *name, const struct result *r)
{
    return json_pack("{s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "dsp", name, "calls",
                     (json_int_t)r->calls, "bids", (json_int_t)r->bids, "bid_rate",
                     number(r->curve.bid_rate), "auc", number(r->curve.auc), "nll",
                     number(r->curve.nll), "calibration", number(r->curve.calibration), "threshold",
                     number((double)r->threshold), "recall", number(r->recall), "recall_low",
                     number(r->recall_low), "recall_high", number(r->recall_high), "withheld",
                     number(r->withheld));
}

static void print_figure(int width, int digits, double v)
{
    if (isfinite(v))
        printf(" %*.*f", width, digits, v);
    else
        printf(" %*s", width, "-");
}

static void result_row(const char *name, const struct result *r)
{
    printf("%-16s %9" PRIu64 " %7" PRIu64 " %5.2f%%", name, r->calls, r->bids,
           100 * r->curve.bid_rate);
    print_figure(6, 3, r->curve.auc);
    print_figure(7, 4, r->curve.nll);
    print_figure(6, 2, r->curve.calibration);
    print_figure(10, 5, (double)r->threshold);
    if (isfinite(r->recall))
        printf("  %.3f [%.3f, %.3f]  %5.1f%%\n", r->recall, r->recall_low, r->recall_high,
               100 * r->withheld);
    else
        printf("  %-20s  %5.1f%%\n", "-", 100 * r->withheld);
}

static int report(struct evaluation *e, double recall, bool json, struct error *err)
{
    uint32_t n = predictor_info(e->model)->n_dsps;
    struct result *r = calloc(1, sizeof(*r));
    json_t *list = json_array();
    double calls = 0, withheld = 0;
    int failed = 0;
    if (!json)
        printf("%-16s %9s %7s %6s %6s %7s %6s %9s  %-22s %s\n", "dsp", "calls", "bids", "rate",
               "auc", "nll", "calib", "threshold", "recall [95%]", "withheld");
    for (uint32_t d = 0; d < n && !failed; d++) {
        float threshold = predictor_threshold(e->model, d, recall);
        failed = judge(&e->samples[d], threshold, r, err);
        if (failed)
            break;
        calls += (double)r->calls;
        withheld += (double)r->calls * r->withheld;
        if (json)
            json_array_append_new(list, result_json(predictor_dsp_name(e->model, d), r));
        else
            result_row(predictor_dsp_name(e->model, d), r);
    }
    double share = calls > 0 ? withheld / calls : 0;
    if (json) {
        json_t *document = json_pack(
            "{s:s,s:f,s:I,s:I,s:I,s:I,s:f,s:O}", "model", predictor_info(e->model)->version,
            "recall_target", recall, "records", (json_int_t)e->records, "records_skipped",
            (json_int_t)e->skipped, "records_of_training_window", (json_int_t)e->records_learnt,
            "unknown_dsp_calls", (json_int_t)e->unknown_dsp_calls, "withheld", share, "dsps", list);
        json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
        putchar('\n');
        json_decref(document);
    } else if (!failed) {
        printf("\n%.1f%% of %.0f labelled calls would be withheld at a recall target of %g (model "
               "%s).\n",
               100 * share, calls, recall, predictor_info(e->model)->version);
        if (e->records_learnt > 0)
            printf("%" PRIu64 " of %" PRIu64
                   " records are of the time that the model was trained on: later traffic is the "
                   "honest test.\n",
                   e->records_learnt, e->records);
        if (e->unknown_dsp_calls > 0)
            printf("%" PRIu64
                   " calls were to DSPs that the model does not know; they would be sent.\n",
                   e->unknown_dsp_calls);
    }
    json_decref(list);
    free(r);
    return failed;
}

int cmd_evaluate(int argc, char **argv)
{
    struct cli_list capture = {0};
    const char *model_path = NULL, *geo_path = NULL;
    double recall = 0.97;
    bool json = false;
    const struct cli_option options[] = {
        {"capture", CLI_LIST, &capture, "PATH...",
         "files or directories of capture segments, plain or .zst", 0, 0, true},
        {"model", CLI_TEXT, &model_path, "FILE", "the model file", 0, 0, true},
        {"recall", CLI_NUMBER, &recall, "R",
         "recall target that sets the thresholds (default 0.97)", 0.01, 1, false},
        {"geo", CLI_TEXT, &geo_path, "FILE.mmdb", "geo database for records without device.geo", 0,
         0, false},
        {"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "evaluate",
        .summary =
            "Shows per DSP what a model would have kept (recall) and withheld on captured traffic.",
        .usage = "--capture PATH... --model FILE [--recall R] [--json]",
        .epilogue =
            "Judge a model on traffic later than its training window ('bidsieve inspect' shows "
            "it), "
            "and on captures that\n"
            "were sent without a filter or with exploration: what was withheld for certain has no "
            "outcome to judge by.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN) {
        cli_list_dispose(&capture);
        return status;
    }
    struct error err = {""};
    struct geo *geo = NULL;
    struct evaluation e = {0};
    uint32_t n = 0;
    struct predictor *model = predictor_load(model_path, &err);
    if (model == NULL || (geo_path != NULL && (geo = geo_open(geo_path, &err)) == NULL)) {
        status = cli_fail("evaluate", "%s", err.text);
        goto done;
    }
    n = predictor_info(model)->n_dsps;
    e.model = model;
    e.geo = geo;
    e.samples = calloc(n + 1, sizeof(*e.samples));
    if (read_captures(&e, &capture, &err) != 0 || report(&e, recall, json, &err) != 0) {
        status = cli_fail("evaluate", "%s", err.text);
        goto done;
    }
    if (e.skipped > 0)
        fprintf(stderr,
                "bidsieve evaluate: left out %" PRIu64 " records that are not sound; first: %s\n",
                e.skipped, e.first_fault);
    status = 0;
done:
    for (uint32_t d = 0; d < n; d++) {
        free(e.samples[d].p);
        free(e.samples[d].weight);
        free(e.samples[d].label);
    }
    free(e.samples);
    predictor_destroy(model);
    geo_close(geo);
    cli_list_dispose(&capture);
    return status;
}
