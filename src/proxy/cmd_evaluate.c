/* bidsieve evaluate: how a model does on captured traffic, per DSP, at the thresholds that it would
 * be run with. Every figure is weighted by 1 / propensity; counts and 95% bounds stand beside it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "proxy/breakdown.h"
#include "proxy/commands.h"
#include "proxy/labelled.h"
#include "proxy/recall_options.h"

static const double CONFIDENCE = 0.95;

struct result {
    struct tally tally;
    struct tally_result at; /* the threshold */
    struct recall_curve curve;
    float threshold; /* NAN: fails open */
    const char *not_filtered;
};

struct evaluation {
    const struct predictor *model;
    double recall;
    enum recall_of of;
    float *thresholds; /* [n_dsps] */
    struct judgement *judgement;
    struct breakdown *breakdown; /* NULL without --by */
    uint32_t top;
    struct labelled_counts counts;
    uint64_t unknown_dsp_calls, bids_unpriced;
    uint64_t records_learnt; /* of the time that the model has learnt from */
};

static int read_captures(struct evaluation *e, const struct cli_list *paths, const struct geo *geo,
                         struct error *err)
{
    struct labelled_reader *reader = labelled_open(paths, geo, err);
    if (reader == NULL)
        return -1;
    struct predictor_scratch *scratch = predictor_scratch_create(e->model);
    struct labelled_record record;
    while (scratch != NULL && labelled_next(reader, &record)) {
        const struct labelled_score *scores;
        uint32_t n = labelled_score(reader, &record, e->model, scratch, &scores);
        e->records_learnt += record.ts_ms <= predictor_info(e->model)->validation_to_ms;
        e->unknown_dsp_calls += record.n_calls - n;
        for (uint32_t i = 0; i < n; i++)
            e->bids_unpriced += scores[i].call->bid && !(scores[i].call->price > 0);
        labelled_judge(e->judgement, scores, n);
        if (e->breakdown != NULL)
            breakdown_add(e->breakdown, &record, scores, n, e->thresholds, e->of);
    }
    e->counts = *labelled_counts(reader);
    labelled_say_skipped(reader, "evaluate");
    predictor_scratch_destroy(scratch);
    labelled_close(reader);
    if (scratch == NULL)
        return error_set(err, "out of memory");
    if (e->counts.records == 0)
        return error_set(err, "no %srecord to judge by", e->counts.skipped > 0 ? "sound " : "");
    return 0;
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *result_json(const char *name, const struct result *r)
{
    bool bids = r->tally.bids > 0;
    return json_pack(
        "{s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "dsp", name, "calls",
        (json_int_t)r->curve.pairs, "bids", (json_int_t)r->curve.bids, "bid_rate",
        number(r->curve.bid_rate), "auc", number(r->curve.auc), "nll", number(r->curve.nll),
        "calibration", number(r->curve.calibration), "threshold", number((double)r->threshold),
        "recall", number(r->at.recall), "recall_low", number(bids ? r->at.recall_low : NAN),
        "recall_high", number(bids ? r->at.recall_high : NAN), "withheld", number(r->at.withheld),
        "not_filtered", r->not_filtered != NULL ? json_string(r->not_filtered) : json_null());
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
    printf("%-16s %9" PRIu64 " %7" PRIu64 " %5.2f%%", name, r->curve.pairs, r->curve.bids,
           100 * r->curve.bid_rate);
    print_figure(6, 3, r->curve.auc);
    print_figure(7, 4, r->curve.nll);
    print_figure(6, 2, r->curve.calibration);
    print_figure(10, 5, (double)r->threshold);
    recall_print(&r->tally, &r->at);
    printf("  %5.1f%%", 100 * r->at.withheld);
    if (r->not_filtered != NULL)
        printf("  not filtered: %s", r->not_filtered);
    putchar('\n');
}

/* One DSP, also counted into the total. */
static int judge(const struct evaluation *e, uint32_t d, struct result *r, struct tally *total,
                 struct error *err)
{
    r->tally = (struct tally){0};
    r->threshold = e->thresholds[d];
    r->not_filtered = predictor_not_filtered(e->model, d, e->recall, e->of);
    judgement_tally(e->judgement, d, r->threshold, e->of, &r->tally);
    judgement_tally(e->judgement, d, r->threshold, e->of, total);
    r->at = tally_result(&r->tally, CONFIDENCE);
    return judgement_of_dsp(e->judgement, d, &r->curve, err);
}

/* The share of calls that would be withheld besides, without the model's margin. */
static double margin_costs(const struct evaluation *e, const struct tally *total)
{
    struct tally bare = {0};
    for (uint32_t d = 0; d < predictor_info(e->model)->n_dsps; d++)
        judgement_tally(e->judgement, d, predictor_threshold_bare(e->model, d, e->recall, e->of),
                        e->of, &bare);
    return tally_result(&bare, CONFIDENCE).withheld - tally_result(total, CONFIDENCE).withheld;
}

static void print_total(const struct evaluation *e, const struct tally *total)
{
    struct tally_result r = tally_result(total, CONFIDENCE);
    printf("\n%.1f%% of %" PRIu64
           " labelled calls would be withheld at a recall target of %g of the %s "
           "(model %s)",
           100 * r.withheld, total->calls, e->recall, recall_of_name(e->of),
           predictor_info(e->model)->version);
    if (total->bids > 0)
        printf("; %.4f [%.4f, %.4f] kept", r.recall, r.recall_low, r.recall_high);
    printf(".\n");
    if (predictor_info(e->model)->recall_margin > 0)
        printf("The margin of %g in the thresholds costs %.1f%% of the calls.\n",
               predictor_info(e->model)->recall_margin, 100 * margin_costs(e, total));
    if (e->records_learnt > 0)
        printf(
            "%" PRIu64 " of %" PRIu64
            " records are of the time that the model was trained or calibrated on: later traffic "
            "is the honest test.\n",
            e->records_learnt, e->counts.records);
    if (e->unknown_dsp_calls > 0)
        printf("%" PRIu64 " calls were to DSPs that the model does not know; they would be sent.\n",
               e->unknown_dsp_calls);
    if (e->of == RECALL_OF_VALUE && e->bids_unpriced > 0)
        printf("%" PRIu64 " bids have no price; their value is not counted.\n", e->bids_unpriced);
    if (e->breakdown != NULL)
        breakdown_print(e->breakdown, e->top);
}

/* Takes the list. */
static void print_document(const struct evaluation *e, const struct tally *total, json_t *list)
{
    struct tally_result r = tally_result(total, CONFIDENCE);
    json_t *document = json_pack(
        "{s:s,s:f,s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:o,s:o}", "model",
        predictor_info(e->model)->version, "recall_target", e->recall, "recall_of",
        recall_of_name(e->of), "records", (json_int_t)e->counts.records, "records_skipped",
        (json_int_t)e->counts.skipped, "records_of_training_window", (json_int_t)e->records_learnt,
        "unknown_dsp_calls", (json_int_t)e->unknown_dsp_calls, "bids_without_price",
        (json_int_t)e->bids_unpriced, "withheld", r.withheld, "margin_costs",
        margin_costs(e, total), "recall", number(r.recall), "dsps", list);
    if (e->breakdown != NULL)
        json_object_set_new(document, "breakdown", breakdown_json(e->breakdown, e->top));
    json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(document);
}

static int report(const struct evaluation *e, bool json, struct error *err)
{
    struct result *r = calloc(1, sizeof(*r));
    json_t *list = json_array();
    struct tally total = {0};
    int status = r != NULL && list != NULL ? 0 : error_set(err, "out of memory");
    if (!json)
        printf("%-16s %9s %7s %6s %6s %7s %6s %9s  %-22s %s\n", "dsp", "calls", "bids", "rate",
               "auc", "nll", "calib", "threshold", "recall [95%]", "withheld");
    for (uint32_t d = 0; status == 0 && d < predictor_info(e->model)->n_dsps; d++) {
        const char *name = predictor_dsp_name(e->model, d);
        status = judge(e, d, r, &total, err);
        if (status == 0 && json)
            json_array_append_new(list, result_json(name, r));
        else if (status == 0)
            result_row(name, r);
    }
    free(r);
    if (status == 0 && json) {
        print_document(e, &total, list);
        return 0;
    }
    json_decref(list);
    if (status == 0)
        print_total(e, &total);
    return status;
}

static int evaluation_init(struct evaluation *e, const struct predictor *model, const char *by,
                           struct error *err)
{
    uint32_t n = predictor_info(model)->n_dsps;
    e->model = model;
    e->judgement = judgement_create(n);
    e->thresholds = malloc((n + 1) * sizeof(*e->thresholds));
    if (e->judgement == NULL || e->thresholds == NULL)
        return error_set(err, "out of memory");
    for (uint32_t d = 0; d < n; d++)
        e->thresholds[d] = predictor_threshold_of(model, d, e->recall, e->of);
    if (by != NULL && (e->breakdown = breakdown_create(by, model, err)) == NULL)
        return -1;
    return 0;
}

static void evaluation_dispose(struct evaluation *e)
{
    breakdown_destroy(e->breakdown);
    judgement_destroy(e->judgement);
    free(e->thresholds);
}

int cmd_evaluate(int argc, char **argv)
{
    struct cli_list capture = {0};
    const char *model_path = NULL, *geo_path = NULL, *by = NULL, *of = "bids";
    struct evaluation e = {.recall = 0.97};
    long top = 10;
    bool json = false;
    const struct cli_option options[] = {
        {"capture", CLI_LIST, &capture, "PATH...", CAPTURE_HELP, 0, 0, true},
        {"model", CLI_TEXT, &model_path, "FILE", "the model file", 0, 0, true},
        {"recall", CLI_NUMBER, &e.recall, "R", RECALL_HELP, 0.01, 1, false},
        {"recall-of", CLI_TEXT, &of, "WHAT", RECALL_OF_HELP, 0, 0, false},
        {"by", CLI_TEXT, &by, "FEATURE",
         "also where recall is worst: by country, size, domain, hour,\nor any feature of the model",
         0, 0, false},
        {"top", CLI_INTEGER, &top, "N", "so many values of --by (default 10)", 1, 1e6, false},
        {"geo", CLI_TEXT, &geo_path, "FILE.mmdb", GEO_HELP, 0, 0, false},
        {"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "evaluate",
        .summary =
            "Shows per DSP what a model would have kept (recall) and withheld on captured traffic.",
        .usage = "--capture PATH... --model FILE [--recall R] [--by FEATURE] [--json]",
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
    if (status == CLI_RUN && !recall_of_parse("evaluate", of, &e.of))
        status = 2;
    if (status != CLI_RUN) {
        cli_list_dispose(&capture);
        return status;
    }
    struct error err = {""};
    struct geo *geo = NULL;
    struct predictor *model = predictor_load(model_path, &err);
    e.top = (uint32_t)top;
    status = model != NULL && (geo_path == NULL || (geo = geo_open(geo_path, &err)) != NULL) &&
                     evaluation_init(&e, model, by, &err) == 0 &&
                     read_captures(&e, &capture, geo, &err) == 0 && report(&e, json, &err) == 0
                 ? 0
                 : cli_fail("evaluate", "%s", err.text);
    evaluation_dispose(&e);
    predictor_destroy(model);
    geo_close(geo);
    cli_list_dispose(&capture);
    return status;
}
