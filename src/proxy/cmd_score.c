/* bidsieve score: capture records on stdin, one line of verdicts each on stdout. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "filter/decision.h"
#include "proxy/capture.h"
#include "proxy/cli.h"
#include "proxy/commands.h"

struct scoring {
    const struct predictor *model;
    const struct geo *geo;
    struct predictor_scratch *scratch;
    struct arena arena;
    double recall;
    uint32_t *dsps; /* [n_dsps of the model] */
    float *p;
};

static json_t *verdict(const struct scoring *s, const char *name, size_t name_len, int32_t dsp,
                       float p)
{
    float threshold = dsp >= 0 ? predictor_threshold(s->model, (uint32_t)dsp, s->recall) : NAN;
    if (isnan(threshold) && dsp >= 0 && predictor_curve(s->model, (uint32_t)dsp) != NULL)
        threshold = 0; /* nothing is proven: everything is sent */
    bool known = dsp >= 0 && isfinite(p) && isfinite(threshold);
    const char *why =
        dsp < 0 ? "the model does not know it"
                : predictor_not_filtered(s->model, (uint32_t)dsp, s->recall, RECALL_OF_BIDS);
    return json_pack("{s:s%,s:o,s:o,s:b,s:o}", "dsp", name, name_len, "p",
                     dsp >= 0 && isfinite(p) ? json_real((double)p) : json_null(), "threshold",
                     isfinite(threshold) ? json_real((double)threshold) : json_null(), "send",
                     !known || p >= threshold, "not_filtered",
                     why != NULL ? json_string(why) : json_null());
}

static json_t *score_record(struct scoring *s, const struct capture_record *record,
                            const struct bid_request *r)
{
    struct geo_place place;
    geo_locate(s->geo, r, &place);
    uint32_t n = predictor_info(s->model)->n_dsps;
    predictor_score(s->model, s->scratch, r, &place, record->ts_ms, &s->arena, s->dsps, n, s->p);
    json_t *list = json_array();
    if (record->n_dsps == 0)
        for (uint32_t d = 0; d < n; d++) {
            const char *name = predictor_dsp_name(s->model, d);
            json_array_append_new(list, verdict(s, name, strlen(name), (int32_t)d, s->p[d]));
        }
    for (uint32_t i = 0; i < record->n_dsps; i++) {
        char name[256];
        snprintf(name, sizeof(name), "%.*s", (int)record->dsps[i].dsp.len,
                 record->dsps[i].dsp.base);
        int32_t d = predictor_find_dsp(s->model, name);
        json_array_append_new(list, verdict(s, name, strlen(name), d, d >= 0 ? s->p[d] : NAN));
    }
    return json_pack("{s:s%,s:o}", "auction", r->id.base, r->id.len, "dsps", list);
}

static int score_stdin(struct scoring *s, struct error *err)
{
    const char *path = "-";
    struct capture_reader *reader = capture_reader_open(&path, 1, err);
    if (reader == NULL)
        return -1;
    struct capture_record record;
    int status, failed = 0;
    while ((status = capture_next(reader, &record, err)) != 0) {
        struct bid_request r;
        struct bid_request_error fault;
        arena_reset(&s->arena, 1 << 20);
        if (status > 0)
            status = capture_check_time(reader, &record, err) == 0 ? 1 : -1;
        if (status > 0 && !bid_request_scan(&r, record.request, 0, &s->arena, &fault))
            status = capture_request_fault(reader, err, fault.path, fault.reason);
        if (status < 0) {
            fprintf(stderr, "bidsieve score: %s\n", err->text);
            failed = -1;
            continue;
        }
        json_t *line = score_record(s, &record, &r);
        json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(line);
    }
    capture_reader_close(reader);
    if (failed)
        error_set(err, "some records could not be scored; the lines above say which");
    return failed;
}

int cmd_score(int argc, char **argv)
{
    const char *model_path = NULL, *geo_path = NULL;
    struct scoring s = {.recall = 0.97};
    const struct cli_option options[] = {
        {"model", CLI_TEXT, &model_path, "FILE", "the model file", 0, 0, true},
        {"recall", CLI_NUMBER, &s.recall, "R",
         "recall target that sets the thresholds (default 0.97)", 0.01, 1, false},
        {"geo", CLI_TEXT, &geo_path, "FILE.mmdb", "geo database for records without device.geo", 0,
         0, false},
    };
    const struct cli_command command = {
        .name = "score",
        .summary =
            "Reads capture records on stdin; prints for each the p, threshold and verdict per DSP.",
        .usage = "--model FILE < records.ndjson",
        .epilogue = "A record that names no DSPs (\"dsps\":[]) is scored for all DSPs of the "
                    "model. A DSP that "
                    "the model does not\n"
                    "know, or that has no provable threshold, is sent: the filter fails open.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;

    struct error err = {""};
    struct geo *geo = NULL;
    struct predictor *model = predictor_load(model_path, &err);
    if (model == NULL || (geo_path != NULL && (geo = geo_open(geo_path, &err)) == NULL)) {
        status = cli_fail("score", "%s", err.text);
        goto done;
    }
    uint32_t n = predictor_info(model)->n_dsps;
    s.model = model;
    s.geo = geo;
    s.scratch = predictor_scratch_create(model);
    s.dsps = calloc(n + 1, sizeof(*s.dsps));
    s.p = calloc(n + 1, sizeof(*s.p));
    for (uint32_t d = 0; d < n; d++)
        s.dsps[d] = d;
    status = score_stdin(&s, &err) != 0 ? cli_fail("score", "%s", err.text) : 0;
done:
    free(s.dsps);
    free(s.p);
    predictor_scratch_destroy(s.scratch);
    arena_dispose(&s.arena);
    predictor_destroy(model);
    geo_close(geo);
    return status;
}
