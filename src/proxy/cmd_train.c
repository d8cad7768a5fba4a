/* bidsieve train: capture records in, model file out. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter/predictor.h"
#include "filter/trainset.h"
#include "proxy/capture.h"
#include "proxy/cli.h"
#include "proxy/commands.h"
#include "proxy/features_default.h"
#include "proxy/progress.h"

struct read_counts {
    uint64_t records, repeated, calls, not_sent, pairs, bids, bad_records, bad_requests;
    int64_t first_ms, last_ms;
    char first_fault[1200];
};

static void note_fault(struct read_counts *n, const char *text)
{
    if (n->first_fault[0] == '\0')
        snprintf(n->first_fault, sizeof(n->first_fault), "%s", text);
}

/* The labels of one record: calls that were sent and answered with a bid or without one. */
static uint32_t labelled_pairs(const struct capture_record *r, struct trainset_pair **pairs,
                               uint32_t *room)
{
    if (*room < r->n_dsps) {
        *room = r->n_dsps * 2;
        *pairs = realloc(*pairs, *room * sizeof(**pairs));
        if (*pairs == NULL)
            abort();
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_dsps; i++) {
        const struct capture_dsp *d = &r->dsps[i];
        bool bid = bytes_is(d->outcome, "bid");
        if (!d->sent || (!bid && !bytes_is(d->outcome, "no_bid")))
            continue;
        (*pairs)[n++] =
            (struct trainset_pair){.dsp = d->dsp, .bid = bid, .propensity = d->propensity};
    }
    return n;
}

static int read_captures(struct trainset *set, const struct cli_list *paths, struct read_counts *n,
                         struct error *err)
{
    struct capture_reader *reader = capture_reader_open(paths->items, paths->n, err);
    if (reader == NULL)
        return -1;
    struct trainset_pair *pairs = NULL;
    uint32_t room = 0;
    struct capture_record record;
    struct progress progress;
    progress_begin(&progress);
    for (int status; (status = capture_next(reader, &record, err)) != 0;) {
        if (status < 0 || capture_check_time(reader, &record, err) != 0) {
            n->bad_records++;
            note_fault(n, err->text);
            continue;
        }
        uint32_t n_pairs = labelled_pairs(&record, &pairs, &room);
        struct bid_request_error fault;
        n->records++;
        n->calls += record.n_dsps;
        for (uint32_t i = 0; i < record.n_dsps; i++)
            n->not_sent += !record.dsps[i].sent;
        if (n->records == 1 || record.ts_ms < n->first_ms)
            n->first_ms = record.ts_ms;
        if (n->records == 1 || record.ts_ms > n->last_ms)
            n->last_ms = record.ts_ms;
        if (n_pairs > 0 &&
            !trainset_add(set, record.ts_ms, record.request, pairs, n_pairs, &fault)) {
            n->bad_requests++;
            capture_request_fault(reader, err, fault.path, fault.reason);
            note_fault(n, err->text);
            continue;
        }
        n->pairs += n_pairs;
        if (progress_due(&progress))
            progress_show(&progress,
                          "reading captures: %3.0f%%, %" PRIu64 " requests, %" PRIu64
                          " labelled calls",
                          100 * capture_progress(reader), n->records, n->pairs);
    }
    progress_end(&progress);
    free(pairs);
    capture_reader_close(reader);
    return 0;
}

static void show_training(void *ctx, const struct train_progress *p)
{
    struct progress *progress = ctx;
    if (progress_due(progress))
        progress_show(progress,
                      "epoch %u of at most %u: %3.0f%%, train nll %.4f, validation nll %.4f, %.0fk "
                      "examples/s",
                      p->epoch, p->epochs_max, 100 * p->epoch_share, p->train_nll,
                      p->validation_nll, p->examples_per_second / 1000);
}

/* What the curves of the model that was just written allow at the target. */
struct outlook {
    uint32_t dsps, unproven; /* of them: those that are sent every call */
    double withheld;         /* share of all calls of the later slice */
};

static int look_ahead(const char *path, double recall, struct outlook *out, struct error *err)
{
    struct predictor *p = predictor_load(path, err);
    if (p == NULL)
        return -1;
    *out = (struct outlook){.dsps = predictor_info(p)->n_dsps};
    double calls = 0, withheld = 0;
    for (uint32_t d = 0; d < out->dsps; d++) {
        const struct recall_curve *c = predictor_curve(p, d);
        float threshold = predictor_threshold(p, d, recall);
        bool proven = c != NULL && isfinite(threshold);
        calls += c != NULL ? (double)c->pairs : 0;
        out->unproven += !proven;
        for (uint32_t k = 0; proven && k < c->n; k++)
            if (c->points[k].threshold == threshold)
                withheld += (double)c->points[k].withheld * (double)c->pairs;
    }
    out->withheld = calls > 0 ? withheld / calls : 0;
    predictor_destroy(p);
    return 0;
}

static void print_report(const char *out, const struct read_counts *n,
                         const struct train_report *report, const struct outlook *o, double recall)
{
    double hours = (double)(n->last_ms - n->first_ms) / 3.6e6;
    printf("%s: learnt from %" PRIu64 " requests, %" PRIu64 " calls, %" PRIu64
           " bids in %u epochs, %.1f s "
           "(%.0fk examples/s)\nvalidation: nll %.4f, auc ",
           out, n->records - n->repeated, n->pairs, n->bids, report->epochs, report->seconds,
           report->examples_per_second / 1000, report->validation_nll);
    printf(isfinite(report->validation_auc) ? "%.4f" : "-", report->validation_auc);
    printf(". 'bidsieve inspect --model %s' shows more.\nat recall %g: %.1f%% of calls withheld",
           out, recall, 100 * o->withheld);
    if (o->unproven > 0)
        printf("; %u of %u DSPs get every call: too few bids in the last part of the time to prove "
               "a threshold",
               o->unproven, o->dsps);
    putchar('\n');
    if (hours < 23)
        printf("These captures cover %.1f hours: what bids at other hours is not known. A day is "
               "the least to filter by, some days are better.\n",
               hours);
}

static bool parse_hidden(const char *text, uint32_t *hidden1, uint32_t *hidden2)
{
    char end;
    return sscanf(text, "%" SCNu32 ",%" SCNu32 "%c", hidden1, hidden2, &end) == 2 &&
           *hidden1 >= 1 && *hidden1 <= 4096 && *hidden2 >= 1 && *hidden2 <= 4096;
}

static int train(struct trainset *set, const struct cli_list *paths,
                 struct trainset_options *options, const char *out, bool json)
{
    struct error err = {""};
    struct read_counts n = {0};
    struct train_report report;
    struct outlook outlook;
    if (read_captures(set, paths, &n, &err) != 0)
        return cli_fail("train", "%s", err.text);
    if (n.bad_records + n.bad_requests > 0)
        fprintf(stderr,
                "bidsieve train: left out %" PRIu64 " records and %" PRIu64
                " requests that are not sound; first: %s\n",
                n.bad_records, n.bad_requests, n.first_fault);
    const struct trainset_counts *taken = trainset_counts(set);
    n.repeated = taken->requests_repeated;
    if (taken->pairs_dropped > 0)
        fprintf(stderr,
                "bidsieve train: left out %" PRIu64
                " calls with a propensity of 0 or a DSP that is one too many or has too long a "
                "name\n",
                taken->pairs_dropped);
    if (n.repeated > 0)
        fprintf(stderr,
                "bidsieve train: left out %" PRIu64
                " records that repeat another to the letter (ts, request, DSPs, outcomes)\n",
                n.repeated);
    n.pairs = taken->pairs;
    n.bids = taken->bids;
    if (n.records == 0)
        return cli_fail("train", "no %srecord to learn from", n.bad_records > 0 ? "sound " : "");
    if (n.pairs == 0)
        return cli_fail("train",
                        "no call to learn from: %" PRIu64 " records with %" PRIu64
                        " calls, of which %" PRIu64 " were not sent and %" PRIu64
                        " have no outcome of bid or no_bid",
                        n.records, n.calls, n.not_sent, n.calls - n.not_sent);
    struct progress progress;
    progress_begin(&progress);
    options->train.progress = show_training;
    options->train.progress_ctx = &progress;
    int failed = trainset_train(set, options, out, &report, &err);
    progress_end(&progress);
    if (failed || look_ahead(out, options->recall_target, &outlook, &err) != 0)
        return cli_fail("train", "%s", err.text);
    if (json)
        printf("{\"model\":\"%s\",\"requests\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"bids\":%" PRIu64
               ",\"epochs\":%u,\"best_epoch\":%u,\"validation_nll\":%.6f,\"validation_auc\":%.6f,"
               "\"seconds\":%.3f,"
               "\"examples_per_second\":%.0f,\"recall_target\":%g,\"withheld\":%.6f,"
               "\"dsps\":%u,\"dsps_unproven\":%u}\n",
               out, n.records - n.repeated, n.pairs, n.bids, report.epochs, report.best_epoch,
               report.validation_nll, report.validation_auc, report.seconds,
               report.examples_per_second, options->recall_target, outlook.withheld, outlook.dsps,
               outlook.unproven);
    else
        print_report(out, &n, &report, &outlook, options->recall_target);
    return 0;
}

int cmd_train(int argc, char **argv)
{
    struct cli_list capture = {0};
    const char *schema_path = NULL, *out = NULL, *geo_path = NULL, *hidden = "256,64";
    bool json = false, no_refit = false;
    struct trainset_options o;
    trainset_options_default(&o);
    double dropout = (double)o.train.dropout, learning_rate = (double)o.train.learning_rate,
           negative_rate = (double)o.train.negative_rate;
    long seed = 1, threads = 1, epochs = o.train.epochs_max;
    const struct cli_option options[] = {
        {"capture", CLI_LIST, &capture, "PATH...",
         "files or directories of capture segments, plain or .zst", 0, 0, true},
        {"out", CLI_TEXT, &out, "MODEL", "the model file to write", 0, 0, true},
        {"schema", CLI_TEXT, &schema_path, "FILE",
         "which features to use (default: config/features.json, built in)", 0, 0, false},
        {"geo", CLI_TEXT, &geo_path, "FILE.mmdb", "geo database for records without device.geo", 0,
         0, false},
        {"recall", CLI_NUMBER, &o.recall_target, "R",
         "recall target that the report is made for (default 0.97)", 0.5, 1, false},
        {"hidden", CLI_TEXT, &hidden, "H1,H2",
         "sizes of the hidden layers (default 256,64; published: 1000,500)", 0, 0, false},
        {"validation-share", CLI_NUMBER, &o.validation_share, "S",
         "last share of the time covered: early stopping and recall\ncurves are drawn from it "
         "(default 0.2)",
         0.01, 0.9, false},
        {"no-refit", CLI_FLAG, &no_refit, NULL,
         "keep the network that the curves were drawn from; otherwise it is\ntrained once more, on "
         "the validation slice too",
         0, 0, false},
        {"epochs", CLI_INTEGER, &epochs, "N", "at most so many passes", 1, 1000, false},
        {"dropout", CLI_NUMBER, &dropout, "P", "share of hidden units dropped while training", 0,
         0.9, false},
        {"learning-rate", CLI_NUMBER, &learning_rate, "R", "Adam's step", 1e-6, 1, false},
        {"negative-rate", CLI_NUMBER, &negative_rate, "R",
         "share of no-bids kept in each epoch; 0 chooses; the\nprobabilities are corrected back", 0,
         1, false},
        {"seed", CLI_INTEGER, &seed, "N",
         "same seed, data and threads give the same bytes (default 1)", 0, 9e15, false},
        {"threads", CLI_INTEGER, &threads, "N",
         "more than one: the training on all of the data runs\nbeside the one that is judged "
         "(default 1)",
         1, 256, false},
        {"json", CLI_FLAG, &json, NULL, "report as one JSON document", 0, 0, false},
    };
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
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN) {
        cli_list_dispose(&capture);
        return status;
    }
    o.refit = !no_refit;
    o.train.dropout = (float)dropout;
    o.train.learning_rate = (float)learning_rate;
    o.train.negative_rate = (float)negative_rate;
    o.train.epochs_max = (uint32_t)epochs;
    o.train.seed = (uint64_t)seed;
    o.train.threads = (uint32_t)threads;

    struct error err = {""};
    struct schema *schema = NULL;
    struct geo *geo = NULL;
    struct trainset *set = NULL;
    if (!parse_hidden(hidden, &o.hidden1, &o.hidden2)) {
        fprintf(stderr,
                "bidsieve train: --hidden takes two sizes from 1 to 4096, such as 128,64, not %s\n",
                hidden);
        status = 2;
        goto done;
    }
    schema = schema_path != NULL ? schema_load(schema_path, &err)
                                 : schema_parse(bytes_of(features_default_json),
                                                "config/features.json (built in)", &err);
    if (schema == NULL || (geo_path != NULL && (geo = geo_open(geo_path, &err)) == NULL)) {
        status = cli_fail("train", "%s", err.text);
        goto done;
    }
    set = trainset_create(schema, geo);
    status = set == NULL ? cli_fail("train", "out of memory") : train(set, &capture, &o, out, json);
done:
    trainset_destroy(set);
    geo_close(geo);
    schema_destroy(schema);
    cli_list_dispose(&capture);
    return status;
}
