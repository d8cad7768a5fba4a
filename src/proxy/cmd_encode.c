/* bidsieve encode: capture records in, arrays out, for who trains elsewhere. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter/predictor.h"
#include "filter/rows.h"
#include "proxy/capture.h"
#include "proxy/cli.h"
#include "proxy/commands.h"
#include "proxy/features_default.h"
#include "proxy/labelled.h"
#include "proxy/progress.h"

/* ---- reading, once to learn vocabularies and once to encode ---- */

struct reading {
    const struct cli_list *paths;
    struct trainset *learn; /* one of the two */
    struct rows *write;
    uint64_t records, refused;
    char first_fault[1200];
};

static void refuse(struct reading *in, const char *why)
{
    if (in->refused++ == 0)
        snprintf(in->first_fault, sizeof(in->first_fault), "%s", why);
}

/* -1: what was read cannot be written. */
static int take(struct reading *in, struct capture_reader *reader,
                const struct capture_record *record, const struct trainset_pair *pairs, uint32_t n,
                struct error *err)
{
    struct bid_request_error fault = {"", ""};
    int taken;
    if (in->write != NULL)
        taken = rows_add(in->write, record->ts_ms, record->request, pairs, n, &fault, err);
    else
        taken = n == 0 || trainset_add(in->learn, record->ts_ms, record->request, pairs, n, &fault);
    if (taken == 0) {
        capture_request_fault(reader, err, fault.path, fault.reason);
        refuse(in, err->text);
    }
    return taken < 0 ? -1 : 0;
}

static int read_all(struct reading *in, struct error *err)
{
    struct capture_reader *reader = capture_reader_open(in->paths->items, in->paths->n, err);
    if (reader == NULL)
        return -1;
    struct trainset_pair *pairs = NULL;
    uint32_t room = 0;
    struct capture_record record;
    struct progress progress;
    int result = 0;
    in->records = in->refused = 0;
    progress_begin(&progress);
    for (int status; result == 0 && (status = capture_next(reader, &record, err)) != 0;) {
        if (status < 0 || capture_check_time(reader, &record, err) != 0) {
            refuse(in, err->text);
            continue;
        }
        in->records++;
        uint32_t n = labelled_pairs(&record, &pairs, &room);
        result = take(in, reader, &record, pairs, n, err);
        if (progress_due(&progress))
            progress_show(&progress, "%s: %3.0f%%, %" PRIu64 " requests",
                          in->write != NULL ? "encoding" : "learning vocabularies",
                          100 * capture_progress(reader), in->records);
    }
    progress_end(&progress);
    free(pairs);
    capture_reader_close(reader);
    return result;
}

/* ---- where the vocabularies come from ---- */

struct source {
    struct predictor *model; /* owns the encoder, or NULL */
    struct schema *schema;
    struct encoder *learnt;
    const struct encoder *encoder;
    struct interner *dsps;
};

static void source_dispose(struct source *s)
{
    predictor_destroy(s->model);
    encoder_destroy(s->learnt);
    interner_destroy(s->dsps);
    schema_destroy(s->schema);
}

static int from_model(struct source *s, const char *path, struct error *err)
{
    s->model = predictor_load(path, err);
    s->dsps = interner_create();
    if (s->model == NULL)
        return -1;
    s->encoder = predictor_encoder(s->model);
    for (uint32_t d = 0; d < predictor_info(s->model)->n_dsps; d++)
        if (s->dsps == NULL ||
            interner_add(s->dsps, bytes_of(predictor_dsp_name(s->model, d))) != d)
            return error_set(err, "%s: out of memory", path);
    return 0;
}

static int from_capture(struct source *s, const char *schema, const struct cli_list *paths,
                        const struct geo *geo, struct error *err)
{
    for (size_t i = 0; i < paths->n; i++)
        if (strcmp(paths->items[i], "-") == 0)
            return error_set(err, "standard input cannot be read twice, first for vocabularies: "
                                  "name a file, or --model");
    s->schema = schema != NULL ? schema_load(schema, err)
                               : schema_parse(bytes_of(features_default_json),
                                              "config/features.json (built in)", err);
    if (s->schema == NULL)
        return -1;
    struct reading in = {.paths = paths, .learn = trainset_create(s->schema, geo)};
    if (in.learn == NULL)
        return error_set(err, "out of memory");
    int status = read_all(&in, err);
    if (status == 0)
        status = trainset_learn_encoder(in.learn, &s->learnt, &s->dsps, err);
    s->encoder = s->learnt;
    trainset_destroy(in.learn);
    return status;
}

/* ---- the command ---- */

static void print_done(const char *out, const struct rows_counts *n, uint64_t refused, bool json)
{
    if (json) {
        fputs("{\"out\":", stdout);
        cli_print_json(out);
        printf(",\"requests\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"bids\":%" PRIu64
               ",\"calls_dropped\":%" PRIu64 ",\"refused\":%" PRIu64 "}\n",
               n->requests, n->pairs, n->bids, n->pairs_dropped, refused);
    } else {
        printf("%s: %" PRIu64 " requests, %" PRIu64 " calls, %" PRIu64
               " bids; meta.json says how to read them\n",
               out, n->requests, n->pairs, n->bids);
    }
}

static int encode(const struct source *s, const struct cli_list *paths, const struct geo *geo,
                  const char *out, bool json, struct error *err)
{
    struct reading in = {.paths = paths, .write = rows_create(out, s->encoder, s->dsps, geo, err)};
    if (in.write == NULL)
        return -1;
    int status = read_all(&in, err);
    const struct rows_counts *n = rows_counts(in.write);
    if (in.refused > 0)
        fprintf(stderr,
                "bidsieve encode: left out %" PRIu64 " records that are not sound; first: %s\n",
                in.refused, in.first_fault);
    if (status == 0 && n->pairs_dropped > 0)
        fprintf(stderr,
                "bidsieve encode: left out %" PRIu64
                " calls of DSPs that the vocabularies do not have, or with a propensity of 0\n",
                n->pairs_dropped);
    if (status == 0 && n->requests == 0)
        status = error_set(err, "no %srecord to encode", in.refused > 0 ? "sound " : "");
    if (status == 0)
        status = rows_finish(in.write, err);
    if (status == 0)
        print_done(out, n, in.refused, json);
    rows_destroy(in.write);
    return status;
}

int cmd_encode(int argc, char **argv)
{
    struct cli_list capture = {0};
    const char *model = NULL, *schema = NULL, *out = NULL, *geo_path = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"capture", CLI_LIST, &capture, "PATH...",
         "files or directories of capture segments, plain or .zst", 0, 0, true},
        {"out", CLI_TEXT, &out, "DIR", "the folder to write; created if absent", 0, 0, true},
        {"model", CLI_TEXT, &model, "MODEL",
         "encode with this model's vocabularies: later days of the same", 0, 0, false},
        {"schema", CLI_TEXT, &schema, "FILE",
         "build vocabularies from this capture, for these features\n(default: "
         "config/features.json, built in)",
         0, 0, false},
        {"geo", CLI_TEXT, &geo_path, "FILE.mmdb", "geo database for records without device.geo", 0,
         0, false},
        {"json", CLI_FLAG, &json, NULL, "report as one JSON document", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "encode",
        .summary = "Writes captured traffic as the rows that training sees, for other trainers.",
        .usage = "--capture PATH... (--model MODEL | [--schema FILE]) --out DIR [options]",
        .epilogue = "  bidsieve encode --capture days/ --out rows && python3 "
                    "docs/pytorch_train.py rows model.safetensors\n"
                    "A row a record, in the order of reading, as numpy arrays; docs/pytorch.md has "
                    "the format.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN && model != NULL && schema != NULL) {
        fprintf(stderr, "bidsieve encode: --model has its schema: give one of --model and "
                        "--schema, not both\n");
        status = 2;
    }
    if (status != CLI_RUN) {
        cli_list_dispose(&capture);
        return status;
    }
    struct error err = {""};
    struct geo *geo = NULL;
    struct source source = {0};
    status = geo_path != NULL && (geo = geo_open(geo_path, &err)) == NULL ? -1 : 0;
    if (status == 0)
        status = model != NULL ? from_model(&source, model, &err)
                               : from_capture(&source, schema, &capture, geo, &err);
    if (status == 0)
        status = encode(&source, &capture, geo, out, json, &err);
    source_dispose(&source);
    geo_close(geo);
    cli_list_dispose(&capture);
    return status == 0 ? 0 : cli_fail("encode", "%s", err.text);
}
