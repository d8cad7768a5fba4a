/* bidsieve recalibrate: a model's rates of campaigns and its thresholds by fresh traffic, without
 * training. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>

#include "filter/recalibration.h"
#include "proxy/commands.h"
#include "proxy/labelled.h"
#include "proxy/recall_options.h"

struct job {
    const char *in, *out;
    const struct predictor *model;
    struct network *network; /* the model's; its rates follow */
    double recall;
    enum recall_of of;
    struct judgement *before, *judgement; /* of the fresh traffic: the old model's, the new one's */
    struct fresh *fresh;
    struct followed followed;
    struct recalibration r;
    uint64_t records, records_learnt, unknown_dsp_calls;
};

/* What the network has learnt from would flatter it. */
static int read_captures(struct job *job, const struct cli_list *paths, const struct geo *geo,
                         struct error *err)
{
    struct labelled_reader *reader = labelled_open(paths, geo, err);
    if (reader == NULL)
        return -1;
    struct predictor_scratch *scratch = predictor_scratch_create(job->model);
    struct labelled_record record;
    while (scratch != NULL && labelled_next(reader, &record)) {
        const struct labelled_score *scores;
        if (record.ts_ms <= predictor_info(job->model)->learnt_to_ms) {
            job->records_learnt++;
            continue;
        }
        uint32_t n = labelled_score(reader, &record, job->model, scratch, &scores);
        labelled_judge(job->before, scores, n);
        labelled_keep(job->fresh, scratch, scores, n);
        job->unknown_dsp_calls += record.n_calls - n;
        if (job->records == 0 || record.ts_ms < job->r.from_ms)
            job->r.from_ms = record.ts_ms;
        if (job->records == 0 || record.ts_ms > job->r.to_ms)
            job->r.to_ms = record.ts_ms;
        job->records++;
    }
    labelled_say_skipped(reader, "recalibrate");
    predictor_scratch_destroy(scratch);
    labelled_close(reader);
    return scratch != NULL ? 0 : error_set(err, "out of memory");
}

static int check_traffic(const struct job *job, struct error *err)
{
    uint64_t calls = 0, bids = 0;
    if (job->records == 0 && job->records_learnt > 0)
        return error_set(err,
                         "all %" PRIu64 " records are of the time that the model has learnt from; "
                         "it takes later ones",
                         job->records_learnt);
    for (uint32_t d = 0; d < predictor_info(job->model)->n_dsps; d++) {
        struct tally t = {0};
        judgement_tally(job->before, d, NAN, RECALL_OF_BIDS, &t);
        calls += t.calls;
        bids += t.bids;
    }
    if (bids == 0)
        return error_set(err,
                         "no bid to go by: %" PRIu64 " records, %" PRIu64
                         " labelled calls to DSPs of the model",
                         job->records, calls);
    return 0;
}

/* ---- the report ---- */

struct change { /* of one DSP */
    const char *name, *not_filtered;
    float old_threshold, threshold; /* NAN = not filtered */
    struct tally_result before, after;
    uint64_t calls, bids;
};

static struct change change_of(const struct job *job, const struct predictor *fresh, uint32_t d)
{
    struct tally before = {0}, after = {0};
    struct change c = {.name = predictor_dsp_name(fresh, d),
                       .not_filtered = predictor_not_filtered(fresh, d, job->recall, job->of),
                       .old_threshold = predictor_threshold_of(job->model, d, job->recall, job->of),
                       .threshold = predictor_threshold_of(fresh, d, job->recall, job->of)};
    judgement_tally(job->before, d, c.old_threshold, job->of, &before);
    judgement_tally(job->judgement, d, c.threshold, job->of, &after);
    c.before = tally_result(&before, 0.95);
    c.after = tally_result(&after, 0.95);
    c.calls = after.calls;
    c.bids = after.bids;
    return c;
}

static void print_threshold(float threshold)
{
    if (isfinite(threshold))
        printf(" %9.5f", (double)threshold);
    else
        printf(" %9s", "-");
}

static void print_row(const struct change *c)
{
    printf("%-16s %9" PRIu64 " %7" PRIu64, c->name, c->calls, c->bids);
    print_threshold(c->old_threshold);
    print_threshold(c->threshold);
    if (c->bids > 0)
        printf("  %6.3f  %6.3f", c->before.recall, c->after.recall);
    else
        printf("  %6s  %6s", "-", "-");
    printf("  %5.1f%%  %5.1f%%", 100 * c->before.withheld, 100 * c->after.withheld);
    if (c->not_filtered != NULL)
        printf("  not filtered: %s", c->not_filtered);
    putchar('\n');
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *change_json(const struct change *c)
{
    return json_pack(
        "{s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:f,s:f,s:o}", "dsp", c->name, "calls", (json_int_t)c->calls,
        "bids", (json_int_t)c->bids, "old_threshold", number((double)c->old_threshold), "threshold",
        number((double)c->threshold), "old_recall", number(c->before.recall), "recall",
        number(c->after.recall), "old_withheld", c->before.withheld, "withheld", c->after.withheld,
        "not_filtered", c->not_filtered != NULL ? json_string(c->not_filtered) : json_null());
}

static void print_json(const struct job *job, const struct predictor *fresh)
{
    const struct followed *f = &job->followed;
    json_t *dsps = json_array();
    for (uint32_t d = 0; d < predictor_info(fresh)->n_dsps; d++) {
        struct change c = change_of(job, fresh, d);
        json_array_append_new(dsps, change_json(&c));
    }
    json_t *document = json_pack(
        "{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:s,s:f,s:f,s:I,s:I,s:I,s:o}", "model", job->out,
        "old_version", predictor_info(job->model)->version, "version",
        predictor_info(fresh)->version, "records", (json_int_t)job->records, "records_learnt",
        (json_int_t)job->records_learnt, "unknown_dsp_calls", (json_int_t)job->unknown_dsp_calls,
        "from_ms", (json_int_t)job->r.from_ms, "to_ms", (json_int_t)job->r.to_ms, "recall_target",
        job->recall, "recall_of", recall_of_name(job->of), "confidence", job->r.confidence,
        "margin", job->r.margin, "units", (json_int_t)f->units, "units_quieter",
        (json_int_t)f->quieter, "units_busier", (json_int_t)f->busier, "dsps", dsps);
    json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(document);
}

static void print_table(const struct job *job, const struct predictor *fresh)
{
    printf("%-16s %9s %7s %9s %9s  %6s  %6s  %6s  %6s\n", "", "", "", "threshold", "", "recall", "",
           "withheld", "");
    printf("%-16s %9s %7s %9s %9s  %6s  %6s  %6s  %6s\n", "dsp", "calls", "bids", "old", "new",
           "old", "new", "old", "new");
    for (uint32_t d = 0; d < predictor_info(fresh)->n_dsps; d++) {
        struct change c = change_of(job, fresh, d);
        print_row(&c);
    }
    printf("\n%s: thresholds for a recall target of %g of the %s, by %" PRIu64
           " records. Recall and withheld are of this traffic.\n",
           job->out, job->recall, recall_of_name(job->of), job->records);
    const struct followed *f = &job->followed;
    if (f->units > 0)
        printf("Of %u units of conjunctions %u are less than a third as busy as they were, %u more "
               "than three times; the rest of the network is as it was.\n",
               f->units, f->quieter, f->busier);
    if (job->records_learnt > 0)
        printf("%" PRIu64
               " further records are of the time that the model has learnt from: left out.\n",
               job->records_learnt);
    if (job->unknown_dsp_calls > 0)
        printf("%" PRIu64 " calls were to DSPs that the model does not know: left out.\n",
               job->unknown_dsp_calls);
}

/* ---- the command ---- */

static int run(struct job *job, const struct cli_list *capture, const struct geo *geo, bool json,
               struct error *err)
{
    uint32_t n = predictor_info(job->model)->n_dsps;
    job->before = judgement_create(n);
    job->judgement = judgement_create(n);
    job->fresh = fresh_create(&job->network->shape);
    if (job->before == NULL || job->judgement == NULL || job->fresh == NULL)
        return error_set(err, "out of memory");
    if (read_captures(job, capture, geo, err) != 0 || check_traffic(job, err) != 0 ||
        recalibration_follow(job->network, job->fresh, job->judgement, &job->followed, err) != 0)
        return -1;
    if (recalibrate(job->in, job->network, job->judgement, &job->r, job->out, err) != 0)
        return -1;
    struct predictor *fresh = predictor_load(job->out, err);
    if (fresh == NULL)
        return -1;
    if (json)
        print_json(job, fresh);
    else
        print_table(job, fresh);
    predictor_destroy(fresh);
    return 0;
}

int cmd_recalibrate(int argc, char **argv)
{
    struct cli_list capture = {0};
    struct job job = {.recall = 0.97};
    const char *geo_path = NULL, *of = "bids";
    double confidence = NAN, margin = NAN;
    bool json = false;
    const struct cli_option options[] = {
        {"capture", CLI_LIST, &capture, "PATH...",
         "fresh traffic, later than the model's training: files or\ndirectories of capture "
         "segments",
         0, 0, true},
        {"model", CLI_TEXT, &job.in, "FILE", "the model file", 0, 0, true},
        {"out", CLI_TEXT, &job.out, "FILE", "the model file to write; may be the same", 0, 0, true},
        {"recall", CLI_NUMBER, &job.recall, "R", "recall target that the report is made for", 0.01,
         1, false},
        {"recall-of", CLI_TEXT, &of, "WHAT", "of the report: " RECALL_OF_HELP, 0, 0, false},
        {"confidence", CLI_NUMBER, &confidence, "C",
         "of the recall curves' bounds (default: the model's)", 0.5, 0.999, false},
        {"margin", CLI_NUMBER, &margin, "M", "added to every recall target (default: the model's)",
         0, 0.5, false},
        {"geo", CLI_TEXT, &geo_path, "FILE.mmdb", GEO_HELP, 0, 0, false},
        {"json", CLI_FLAG, &json, NULL, "report as one JSON document", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "recalibrate",
        .summary =
            "Sets a model's calibration, recall curves and rates of campaigns by fresh traffic, in "
            "seconds and without training.",
        .usage = "--model FILE --capture PATH... --out FILE [options]",
        .epilogue =
            "Thresholds follow, and of the network the rates of its campaigns: which run now, and "
            "how busily. As with any\n"
            "recall curve, the traffic must have been sent without a filter, or with exploration. "
            "model.max_age_hours counts\n"
            "from the end of this traffic then: docs/training.md.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN && !recall_of_parse("recalibrate", of, &job.of))
        status = 2;
    if (status != CLI_RUN) {
        cli_list_dispose(&capture);
        return status;
    }
    struct error err = {""};
    struct geo *geo = NULL;
    struct predictor *model = predictor_load_with_network(job.in, &job.network, &err);
    status = -1;
    if (model != NULL && (geo_path == NULL || (geo = geo_open(geo_path, &err)) != NULL)) {
        const struct predictor_info *info = predictor_info(model);
        double old =
            isfinite(info->recall_confidence) ? info->recall_confidence : RECALL_CONFIDENCE;
        job.model = model;
        job.r.checksum = info->checksum;
        job.r.confidence = isfinite(confidence) ? confidence : old;
        job.r.margin = isfinite(margin) ? margin : info->recall_margin;
        status = run(&job, &capture, geo, json, &err);
    }
    judgement_destroy(job.before);
    judgement_destroy(job.judgement);
    fresh_destroy(job.fresh);
    network_destroy(job.network);
    predictor_destroy(model);
    geo_close(geo);
    cli_list_dispose(&capture);
    return status == 0 ? 0 : cli_fail("recalibrate", "%s", err.text);
}
