/* bidsieve train: capture records in, model file out. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "filter/predictor.h"
#include "proxy/commands.h"
#include "proxy/progress.h"
#include "proxy/train_options.h"

static void show_training(void *ctx, const struct train_progress *p)
{
    struct progress *progress = ctx;
    if (progress_due(progress))
        progress_show(
            progress,
            "epoch %u of at most %u: %3.0f%%, train loss %.4f, validation nll %.4f, %.0fk "
            "examples/s",
            p->epoch, p->epochs_max, 100 * p->epoch_share, p->train_nll, p->validation_nll,
            p->examples_per_second / 1000);
}

static void show_conjunctions(void *ctx, uint32_t done, uint32_t dsps)
{
    struct progress *progress = ctx;
    if (progress_due(progress))
        progress_show(progress, "conjunctions: %u of %u DSPs", done, dsps);
}

static void show_ablation(void *ctx, uint32_t done, uint32_t features)
{
    struct progress *progress = ctx;
    if (progress_due(progress))
        progress_show(progress, "what features contribute: %u of %u", done, features);
}

/* What the curves of the model that was just written allow at the target. */
struct outlook {
    uint32_t dsps, unproven; /* of them: those that are sent every call */
    double withheld;         /* share of all calls of the later slice */
    double margin_costs;     /* so much more would be withheld without the margin */
};

static int look_ahead(const char *path, double recall, struct outlook *out, struct error *err)
{
    struct predictor *p = predictor_load(path, err);
    if (p == NULL)
        return -1;
    *out = (struct outlook){.dsps = predictor_info(p)->n_dsps};
    double calls = 0, withheld = 0, bare = 0;
    for (uint32_t d = 0; d < out->dsps; d++) {
        const struct recall_curve *c = predictor_curve(p, d);
        float threshold = predictor_threshold(p, d, recall);
        double of_dsp = c != NULL ? (double)c->pairs : 0;
        calls += of_dsp;
        out->unproven += isnan(threshold);
        withheld += of_dsp * predictor_withheld(p, d, threshold, RECALL_OF_BIDS);
        threshold = predictor_threshold_bare(p, d, recall, RECALL_OF_BIDS);
        bare += of_dsp * predictor_withheld(p, d, threshold, RECALL_OF_BIDS);
    }
    out->withheld = calls > 0 ? withheld / calls : 0;
    out->margin_costs = calls > 0 ? (bare - withheld) / calls : 0;
    predictor_destroy(p);
    return 0;
}

static void print_importance(const struct importance *all, double recall)
{
    if (all->n_features == 0)
        return;
    printf("what each feature contributes: its values shuffled among %u requests of the last part "
           "of the time (nll %.4f,\n%.1f%% withheld at exactly recall %g):\n%-24s %10s %14s\n",
           all->n_requests, all->nll, 100 * all->withheld, recall, "feature", "nll loss",
           "withheld loss");
    for (uint32_t i = 0; i < all->n_features; i++)
        printf("%-24s %10.5f %13.2f%%\n", all->features[i].name, all->features[i].nll_loss,
               100 * all->features[i].withheld_loss);
}

static void print_report(const char *out, const struct train_input *n,
                         const struct training_report *all, const struct outlook *o, double recall)
{
    const struct train_report *report = &all->train;
    double hours = (double)(n->last_ms - n->first_ms) / 3.6e6;
    printf("%s: learnt from %" PRIu64 " requests, %" PRIu64 " calls, %" PRIu64
           " bids in %u epochs, %.1f s "
           "(%.0fk examples/s)\nvalidation: nll %.4f, auc ",
           out, n->records - n->repeated, n->pairs, n->bids, report->epochs, report->seconds,
           report->examples_per_second / 1000, report->validation_nll);
    printf(isfinite(report->validation_auc) ? "%.4f" : "-", report->validation_auc);
    printf(
        ". 'bidsieve inspect --model %s' shows more.\nat recall %g: %.1f%% of calls withheld (the "
        "margin costs %.1f%%)",
        out, recall, 100 * o->withheld, 100 * o->margin_costs);
    if (o->unproven > 0)
        printf("; %u of %u DSPs are not filtered and get every call: too few bids in the last "
               "part of the time to prove a threshold",
               o->unproven, o->dsps);
    putchar('\n');
    if (isfinite(all->withheld_linear))
        printf(
            "on the last part of the time, at exactly that recall: %.1f%%, a linear model %.1f%%\n",
            100 * all->withheld, 100 * all->withheld_linear);
    if (hours < 23)
        printf("These captures cover %.1f hours: what bids at other hours is not known. A day is "
               "the least to filter by, some days are better.\n",
               hours);
}

/* Where there is no such number (no bid in the later slice, say), null. */
static const char *json_number(double x, char text[32])
{
    snprintf(text, 32, isfinite(x) ? "%.6f" : "null", x);
    return text;
}

static void print_json(const char *out, const struct train_input *in,
                       const struct training_report *report, const struct outlook *outlook,
                       const struct training_options *options)
{
    const struct train_report *train = &report->train;
    const struct importance *importance = &report->importance;
    char nll[32], auc[32], withheld[32], linear[32];
    fputs("{\"model\":", stdout);
    cli_print_json(out);
    printf(",\"requests\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"bids\":%" PRIu64
           ",\"epochs\":%u,\"best_epoch\":%u,\"validation_nll\":%s,\"validation_auc\":%s,"
           "\"seconds\":%.3f,"
           "\"examples_per_second\":%.0f,\"recall_target\":%g,\"confidence\":%g,\"margin\":%g,"
           "\"withheld\":%.6f,\"margin_costs\":%.6f,\"dsps\":%u,\"dsps_unproven\":%u,"
           "\"withheld_at_recall\":%s,\"withheld_at_recall_linear\":%s",
           in->records - in->repeated, in->pairs, in->bids, train->epochs, train->best_epoch,
           json_number(train->validation_nll, nll), json_number(train->validation_auc, auc),
           train->seconds, train->examples_per_second, options->recall_target, options->confidence,
           options->margin, outlook->withheld, outlook->margin_costs, outlook->dsps,
           outlook->unproven, json_number(report->withheld, withheld),
           json_number(report->withheld_linear, linear));
    for (uint32_t i = 0; i < importance->n_features; i++)
        printf("%s{\"feature\":\"%s\",\"nll_loss\":%.6f,\"withheld_loss\":%.6f}",
               i == 0 ? ",\"importance\":[" : ",", importance->features[i].name,
               importance->features[i].nll_loss, importance->features[i].withheld_loss);
    puts(importance->n_features > 0 ? "]}" : "}");
}

static int train(struct train_input *in, struct training_options *options, const char *out,
                 bool json)
{
    struct error err = {""};
    struct training_report report;
    struct outlook outlook;
    struct progress progress;
    progress_begin(&progress);
    options->train.progress = show_training;
    options->train.conjunction_progress = show_conjunctions;
    options->train.progress_ctx = &progress;
    options->ablate_progress = show_ablation;
    int failed = training_run(in->set, options, out, &report, &err);
    progress_end(&progress);
    if (!failed)
        failed = look_ahead(out, options->recall_target, &outlook, &err);
    if (!failed && json)
        print_json(out, in, &report, &outlook, options);
    else if (!failed)
        print_report(out, in, &report, &outlook, options->recall_target);
    if (!failed && !json)
        print_importance(&report.importance, options->recall_target);
    importance_dispose(&report.importance);
    return failed ? cli_fail("train", "%s", err.text) : 0;
}

int cmd_train(int argc, char **argv)
{
    const char *out = NULL, *warm = NULL;
    bool json = false, ablate = false;
    double validation_share = 0.2;
    struct train_options_line line;
    struct cli_option options[TRAIN_OPTIONS_MAX + 5];
    size_t n = train_options_rows(&line, options);
    options[n++] =
        (struct cli_option){"out", CLI_TEXT, &out, "MODEL", "the model file to write", 0, 0, true};
    options[n++] = (struct cli_option){
        "validation-share",
        CLI_NUMBER,
        &validation_share,
        "S",
        "last share of the time covered: early stopping and recall\ncurves are drawn from it "
        "(default 0.2)",
        0.01,
        0.9,
        false};
    options[n++] = (struct cli_option){
        "warm",
        CLI_TEXT,
        &warm,
        "MODEL",
        "begin from this older model: the same features, dims, hidden sizes\nand arch",
        0,
        0,
        false};
    options[n++] = (struct cli_option){
        "ablate",
        CLI_FLAG,
        &ablate,
        NULL,
        "report what each feature contributes: what is lost when its values\nare shuffled among "
        "the requests",
        0,
        0,
        false};
    options[n++] = (struct cli_option){"json", CLI_FLAG, &json, NULL, "report as one JSON document",
                                       0,      0,        false};
    const struct cli_command command = {
        .name = "train",
        .summary = "Learns P(bid | request, DSP) from captured traffic and writes a model with a "
                   "recall curve "
                   "per DSP.",
        .usage = "--capture PATH... --out MODEL [options]",
        .epilogue =
            "  bidsieve train --capture capture/ --out model.safetensors\n"
            "Bring your own logs: docs/capture.md has the record; only ts, request and dsps are "
            "required.",
        .options = options,
        .n_options = n,
    };
    int status = cli_parse(&command, argc, argv);
    struct training_options o;
    if (status == CLI_RUN && !train_options_take(&line, "train", &o))
        status = 2;
    if (status == CLI_RUN) {
        struct train_input in;
        o.validation_share = validation_share;
        o.ablate = ablate;
        o.warm = warm;
        status = train_input_read(&in, &line, "train");
        if (status == 0)
            status = train(&in, &o, out, json);
        train_input_dispose(&in);
    }
    cli_list_dispose(&line.capture);
    return status;
}
