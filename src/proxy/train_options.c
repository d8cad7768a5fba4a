/* The table of options, and reading captures into a training set. */
#include "proxy/train_options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/capture.h"
#include "proxy/features_default.h"
#include "proxy/labelled.h"
#include "proxy/progress.h"
#include "proxy/recall_options.h"

/* ---- options ---- */

size_t train_options_rows(struct train_options_line *line, struct cli_option *rows)
{
    struct training_options o;
    training_options_default(&o);
    *line = (struct train_options_line){.hidden = "256,64",
                                        .arch = "full",
                                        .recall = o.recall_target,
                                        .confidence = o.confidence,
                                        .margin = o.margin,
                                        .dropout = (double)o.train.dropout,
                                        .learning_rate = (double)o.train.learning_rate,
                                        .negative_rate = (double)o.train.negative_rate,
                                        .seed = 1,
                                        .threads = 1,
                                        .epochs = o.train.epochs_max};
    const struct cli_option all[] = {
        {"capture", CLI_LIST, &line->capture, "PATH...", CAPTURE_HELP, 0, 0, true},
        {"schema", CLI_TEXT, &line->schema, "FILE",
         "which features to use (default: config/features.json, built in)", 0, 0, false},
        {"geo", CLI_TEXT, &line->geo, "FILE.mmdb", GEO_HELP, 0, 0, false},
        {"recall", CLI_NUMBER, &line->recall, "R",
         "recall target that the report is made for (default 0.97)", 0.5, 1, false},
        {"confidence", CLI_NUMBER, &line->confidence, "C", CONFIDENCE_HELP, 0.5, 0.999, false},
        {"margin", CLI_NUMBER, &line->margin, "M", MARGIN_HELP, 0, 0.5, false},
        {"hidden", CLI_TEXT, &line->hidden, "H1,H2",
         "sizes of the hidden layers (default 256,64; published: 1000,500)", 0, 0, false},
        {"arch", CLI_TEXT, &line->arch, "full|mlp|linear",
         "full (default): a gated network and conjunctions; mlp: the published\nnetwork; linear: a "
         "logistic regression a DSP",
         0, 0, false},
        {"linear", CLI_FLAG, &line->linear, NULL, "the same as --arch linear", 0, 0, false},
        {"no-refit", CLI_FLAG, &line->no_refit, NULL,
         "keep the network that the curves were drawn from; otherwise it is\ntrained once more, on "
         "the validation slice too",
         0, 0, false},
        {"epochs", CLI_INTEGER, &line->epochs, "N",
         "at most so many passes; 0 chooses: 10, and 6 of 3 million\ncalls and more", 0, 1000,
         false},
        {"dropout", CLI_NUMBER, &line->dropout, "P", "share of hidden units dropped while training",
         0, 0.9, false},
        {"learning-rate", CLI_NUMBER, &line->learning_rate, "R", "Adam's step", 1e-6, 1, false},
        {"negative-rate", CLI_NUMBER, &line->negative_rate, "R",
         "share of no-bids kept in each epoch; 0 chooses; the\nprobabilities are corrected back", 0,
         1, false},
        {"seed", CLI_INTEGER, &line->seed, "N",
         "same seed, data and threads give the same bytes (default 1)", 0, 9e15, false},
        {"threads", CLI_INTEGER, &line->threads, "N",
         "more than one: the training on all of the data runs\nbeside the one that is judged "
         "(default 1)",
         1, 256, false},
    };
    _Static_assert(sizeof(all) / sizeof(all[0]) <= TRAIN_OPTIONS_MAX, "room for the caller's own");
    memcpy(rows, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

static bool parse_hidden(const char *text, uint32_t *hidden1, uint32_t *hidden2)
{
    char end;
    return sscanf(text, "%" SCNu32 ",%" SCNu32 "%c", hidden1, hidden2, &end) == 2 &&
           *hidden1 >= 1 && *hidden1 <= 4096 && *hidden2 >= 1 && *hidden2 <= 4096;
}

bool train_options_take(const struct train_options_line *line, const char *command,
                        struct training_options *out)
{
    training_options_default(out);
    if (!parse_hidden(line->hidden, &out->hidden1, &out->hidden2)) {
        fprintf(stderr,
                "bidsieve %s: --hidden takes two sizes from 1 to 4096, such as 256,64, not %s\n",
                command, line->hidden);
        return false;
    }
    static const char *const archs[] = {
        [ARCH_FULL] = "full", [ARCH_MLP] = "mlp", [ARCH_LINEAR] = "linear"};
    size_t arch = 0, n_archs = sizeof(archs) / sizeof(archs[0]);
    while (arch < n_archs && strcmp(archs[arch], line->arch) != 0)
        arch++;
    if (arch == n_archs) {
        fprintf(stderr, "bidsieve %s: --arch takes full, mlp or linear, not %s\n", command,
                line->arch);
        return false;
    }
    out->arch = line->linear ? ARCH_LINEAR : (enum training_arch)arch;
    out->recall_target = line->recall;
    out->confidence = line->confidence;
    out->margin = line->margin;
    out->refit = !line->no_refit;
    out->train.dropout = (float)line->dropout;
    out->train.learning_rate = (float)line->learning_rate;
    out->train.negative_rate = (float)line->negative_rate;
    out->train.epochs_max = (uint32_t)line->epochs;
    out->train.seed = (uint64_t)line->seed;
    out->train.threads = (uint32_t)line->threads;
    return true;
}

/* ---- captures ---- */

struct read_counts {
    uint64_t records, calls, not_sent, pairs, bad_records, bad_requests;
    int64_t first_ms, last_ms;
    char first_fault[1200];
};

static void note_fault(struct read_counts *n, const char *text)
{
    if (n->first_fault[0] == '\0')
        snprintf(n->first_fault, sizeof(n->first_fault), "%s", text);
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

static void say_left_out(const char *command, const struct read_counts *n,
                         const struct trainset_counts *taken)
{
    if (n->bad_records + n->bad_requests > 0)
        fprintf(stderr,
                "bidsieve %s: left out %" PRIu64 " records and %" PRIu64
                " requests that are not sound; first: %s\n",
                command, n->bad_records, n->bad_requests, n->first_fault);
    if (taken->pairs_dropped > 0)
        fprintf(stderr,
                "bidsieve %s: left out %" PRIu64
                " calls with a propensity of 0 or a DSP that is one too many or has too long a "
                "name\n",
                command, taken->pairs_dropped);
    if (taken->requests_repeated > 0)
        fprintf(stderr,
                "bidsieve %s: left out %" PRIu64
                " records that repeat another to the letter (ts, request, DSPs, outcomes)\n",
                command, taken->requests_repeated);
}

static int check_labels(const char *command, const struct read_counts *n,
                        const struct trainset_counts *taken)
{
    if (n->records == 0)
        return cli_fail(command, "no %srecord to learn from", n->bad_records > 0 ? "sound " : "");
    if (taken->pairs == 0)
        return cli_fail(command,
                        "no call to learn from: %" PRIu64 " records with %" PRIu64
                        " calls, of which %" PRIu64 " were not sent and %" PRIu64
                        " have no outcome of bid or no_bid",
                        n->records, n->calls, n->not_sent, n->calls - n->not_sent);
    return 0;
}

int train_input_read(struct train_input *in, const struct train_options_line *line,
                     const char *command)
{
    struct error err = {""};
    struct read_counts n = {0};
    *in = (struct train_input){0};
    in->schema = line->schema != NULL ? schema_load(line->schema, &err)
                                      : schema_parse(bytes_of(features_default_json),
                                                     "config/features.json (built in)", &err);
    if (in->schema == NULL || (line->geo != NULL && (in->geo = geo_open(line->geo, &err)) == NULL))
        return cli_fail(command, "%s", err.text);
    in->set = trainset_create(in->schema, in->geo);
    if (in->set == NULL)
        return cli_fail(command, "out of memory");
    if (read_captures(in->set, &line->capture, &n, &err) != 0)
        return cli_fail(command, "%s", err.text);
    const struct trainset_counts *taken = trainset_counts(in->set);
    say_left_out(command, &n, taken);
    in->records = n.records;
    in->repeated = taken->requests_repeated;
    in->pairs = taken->pairs;
    in->bids = taken->bids;
    in->first_ms = n.first_ms;
    in->last_ms = n.last_ms;
    return check_labels(command, &n, taken);
}

void train_input_dispose(struct train_input *in)
{
    trainset_destroy(in->set);
    geo_close(in->geo);
    schema_destroy(in->schema);
}
