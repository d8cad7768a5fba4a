/* Models are written and loaded as any other, and score the captures through the same code as
 * `evaluate` and serving: what is tested is the file. Thresholds are known before the test, so that
 * counting suffices and no score is kept. */
#include "proxy/backtest.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proxy/progress.h"
#include "proxy/recall_options.h"

#define DAY_MS INT64_C(86400000)

static const double CONFIDENCE = 0.95;

/* A model on one day. */
struct track {
    struct tally *dsps;   /* [the model's] */
    struct tally unknown; /* calls to DSPs that it does not know: they are sent */
};

struct step {
    struct predictor *model; /* NULL: why says so */
    struct predictor_scratch *scratch;
    float *thresholds;        /* [the model's DSPs] */
    struct track fresh, aged; /* this model on its day; the first model on this day */
    struct error why;
};

struct backtest {
    struct backtest_options o;
    int64_t first_day; /* of the data, since the epoch; the first test is train_days + 1 later */
    uint32_t n;
    struct step steps[];
};

static int64_t day_of(int64_t ts_ms)
{
    return ts_ms / DAY_MS;
}

static int64_t test_day(const struct backtest *b, uint32_t step)
{
    return b->first_day + b->o.train_days + 1 + step;
}

/* ---- training ---- */

struct training_progress {
    struct progress line;
    uint32_t step, steps;
};

static void show_training(void *ctx, const struct train_progress *p)
{
    struct training_progress *t = ctx;
    if (progress_due(&t->line))
        progress_show(&t->line, "model %u of %u: epoch %u of at most %u, %3.0f%%, %.0fk examples/s",
                      t->step + 1, t->steps, p->epoch, p->epochs_max, 100 * p->epoch_share,
                      p->examples_per_second / 1000);
}

/* The cut between training and calibration lies at a midnight. */
static int train_file(struct backtest *b, uint32_t step, struct trainset *set, const char *path,
                      struct training_progress *progress, struct error *err)
{
    int64_t from_ms = (b->first_day + step) * DAY_MS;
    int64_t cut_ms = from_ms + b->o.train_days * DAY_MS, first_ms = INT64_MAX, last_ms = 0;
    struct training_options o = b->o.training;
    struct training_report report;
    struct trainset *part = trainset_between(set, from_ms, cut_ms + DAY_MS);
    int status = -1;
    if (!trainset_span(part, &first_ms, &last_ms) || first_ms >= cut_ms || last_ms < cut_ms) {
        error_set(err, "no labelled call on %s",
                  first_ms >= cut_ms ? "the days to train on" : "the day to calibrate on");
        goto done;
    }
    o.validation_share = ((double)(last_ms - cut_ms) + 0.5) / (double)(last_ms - first_ms);
    o.baseline = false;
    progress->step = step;
    o.train.progress = show_training;
    o.train.progress_ctx = progress;
    status = training_run(part, &o, path, &report, err);
done:
    trainset_destroy(part);
    return status;
}

static int take_model(struct step *s, const struct backtest *b, const char *path)
{
    s->model = predictor_load(path, &s->why);
    if (s->model == NULL)
        return -1;
    uint32_t n = predictor_info(s->model)->n_dsps;
    s->scratch = predictor_scratch_create(s->model);
    s->thresholds = malloc((n + 1) * sizeof(*s->thresholds));
    s->fresh.dsps = calloc(n + 1, sizeof(*s->fresh.dsps));
    if (s->scratch == NULL || s->thresholds == NULL || s->fresh.dsps == NULL)
        abort();
    for (uint32_t d = 0; d < n; d++)
        s->thresholds[d] =
            predictor_threshold_of(s->model, d, b->o.training.recall_target, b->o.of);
    return 0;
}

/* The first model meets every day. */
static int ready_aged(struct backtest *b)
{
    if (b->steps[0].model == NULL)
        return 0;
    for (uint32_t i = 0; i < b->n; i++) {
        b->steps[i].aged.dsps =
            calloc(predictor_info(b->steps[0].model)->n_dsps + 1, sizeof(*b->steps[i].aged.dsps));
        if (b->steps[i].aged.dsps == NULL)
            return -1;
    }
    return 0;
}

static char *temporary_path(struct error *err)
{
    char *path;
    const char *folder = getenv("TMPDIR");
    if (asprintf(&path, "%s/bidsieve-backtest-XXXXXX", folder != NULL ? folder : "/tmp") < 0) {
        error_set(err, "out of memory");
        return NULL;
    }
    int fd = mkstemp(path);
    if (fd < 0) {
        error_set(err, "%s: cannot create a file for the models: %m", path);
        free(path);
        return NULL;
    }
    close(fd);
    return path;
}

struct backtest *backtest_train(struct trainset *set, int64_t first_ms, int64_t last_ms,
                                const struct backtest_options *o, struct error *err)
{
    int64_t days = day_of(last_ms) - day_of(first_ms) + 1, n = days - o->train_days - 1;
    if (n < 1) {
        error_set(err,
                  "the captures touch %" PRId64 " days (UTC), but %u to train on, one to calibrate "
                  "on and one to test on are %u",
                  days, o->train_days, o->train_days + 2);
        return NULL;
    }
    if (n > 1000) {
        error_set(err, "the captures span %" PRId64 " days; at most 1000 models are trained", days);
        return NULL;
    }
    struct backtest *b = calloc(1, sizeof(*b) + (size_t)n * sizeof(b->steps[0]));
    char *path = b != NULL ? temporary_path(err) : NULL;
    if (path == NULL) {
        free(b);
        return NULL;
    }
    b->o = *o;
    b->first_day = day_of(first_ms);
    b->n = (uint32_t)n;
    struct training_progress progress = {.steps = b->n};
    progress_begin(&progress.line);
    for (uint32_t i = 0; i < b->n; i++)
        if (train_file(b, i, set, path, &progress, &b->steps[i].why) == 0)
            take_model(&b->steps[i], b, path);
    progress_end(&progress.line);
    unlink(path);
    free(path);
    if (ready_aged(b) == 0)
        return b;
    error_set(err, "out of memory");
    backtest_destroy(b);
    return NULL;
}

void backtest_destroy(struct backtest *b)
{
    for (uint32_t i = 0; b != NULL && i < b->n; i++) {
        struct step *s = &b->steps[i];
        predictor_scratch_destroy(s->scratch);
        predictor_destroy(s->model);
        free(s->thresholds);
        free(s->fresh.dsps);
        free(s->aged.dsps);
    }
    free(b);
}

/* ---- testing ---- */

/* What the model of `by` makes of the record. */
static void count(const struct backtest *b, struct labelled_reader *reader,
                  const struct labelled_record *record, const struct step *by, struct track *t)
{
    const struct labelled_score *scores;
    uint32_t n = labelled_score(reader, record, by->model, by->scratch, &scores);
    for (uint32_t i = 0; i < n; i++) {
        const struct labelled_score *s = &scores[i];
        tally_add(&t->dsps[s->dsp], s->p, !(s->p < by->thresholds[s->dsp]), s->call->bid,
                  s->call->weight, b->o.of == RECALL_OF_VALUE ? s->call->price : 1);
    }
    for (uint32_t i = 0, k = 0; i < record->n_calls; i++) {
        const struct labelled_call *c = &record->calls[i];
        if (k < n && scores[k].call == c)
            k++;
        else
            tally_add(&t->unknown, 1, true, c->bid, c->weight,
                      b->o.of == RECALL_OF_VALUE ? c->price : 1);
    }
}

int backtest_run(struct backtest *b, const struct cli_list *capture, const struct geo *geo,
                 struct error *err)
{
    struct labelled_reader *reader = labelled_open(capture, geo, err);
    struct labelled_record record;
    if (reader == NULL)
        return -1;
    while (labelled_next(reader, &record)) {
        int64_t at = day_of(record.ts_ms) - test_day(b, 0);
        if (at < 0 || at >= b->n)
            continue;
        struct step *s = &b->steps[at];
        if (s->model != NULL)
            count(b, reader, &record, s, &s->fresh);
        if (b->steps[0].model != NULL)
            count(b, reader, &record, &b->steps[0], &s->aged);
    }
    labelled_close(reader);
    return 0;
}

/* ---- telling ---- */

static struct tally track_total(const struct track *t, const struct predictor *model)
{
    struct tally total = t->unknown;
    for (uint32_t d = 0; d < predictor_info(model)->n_dsps; d++)
        tally_join(&total, &t->dsps[d]);
    return total;
}

static const char *day_name(int64_t day, char text[16])
{
    time_t seconds = (time_t)(day * (DAY_MS / 1000));
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || strftime(text, 16, "%Y-%m-%d", &tm) == 0)
        snprintf(text, 16, "-");
    return text;
}

static void print_row(const char *first, const char *second, const struct tally *t)
{
    struct tally_result r = tally_result(t, CONFIDENCE);
    printf("%-10s  %-16s %9" PRIu64 " %8" PRIu64, first, second, t->calls, t->bids);
    recall_print(t, &r);
    printf("  %5.1f%%", 100 * r.withheld);
}

static void print_step(const struct backtest *b, uint32_t i)
{
    char day[16];
    const struct step *s = &b->steps[i];
    day_name(test_day(b, i), day);
    if (s->model == NULL) {
        printf("%-10s  no model: %s\n", day, s->why.text);
        return;
    }
    struct tally total = track_total(&s->fresh, s->model);
    print_row(day, "all", &total);
    putchar('\n');
    for (uint32_t d = 0; d < predictor_info(s->model)->n_dsps; d++) {
        const char *not_filtered =
            predictor_not_filtered(s->model, d, b->o.training.recall_target, b->o.of);
        print_row("", predictor_dsp_name(s->model, d), &s->fresh.dsps[d]);
        if (not_filtered != NULL)
            printf("  not filtered: %s", not_filtered);
        putchar('\n');
    }
    if (s->fresh.unknown.calls > 0) {
        print_row("", "(unknown DSPs)", &s->fresh.unknown);
        printf("  not filtered: the model does not know them\n");
    }
}

void backtest_print(const struct backtest *b)
{
    char day[16];
    printf("each day by a model of its own: trained on the %u days up to two before, calibrated on "
           "the "
           "day before;\nrecall target %g of the %s\n",
           b->o.train_days, b->o.training.recall_target, recall_of_name(b->o.of));
    printf("%-10s  %-16s %9s %8s  %-20s %s\n", "day", "dsp", "calls", "bids", "recall [95%]",
           "withheld");
    for (uint32_t i = 0; i < b->n; i++)
        print_step(b, i);
    const struct predictor *first = b->steps[0].model;
    if (first == NULL)
        return;
    printf("\nthe first of these models on each later day, without retraining\n");
    printf("%-10s  %-16s %9s %8s  %-20s %s\n", "day", "days since", "calls", "bids", "recall [95%]",
           "withheld");
    for (uint32_t i = 0; i < b->n; i++) {
        char age[16];
        struct tally total = track_total(&b->steps[i].aged, first);
        snprintf(age, sizeof(age), "%u", i + 1);
        print_row(day_name(test_day(b, i), day), age, &total);
        putchar('\n');
    }
}

static json_t *tally_json(const struct tally *t)
{
    struct tally_result r = tally_result(t, CONFIDENCE);
    bool bids = t->bids > 0;
    return json_pack("{s:I,s:I,s:o,s:o,s:o,s:f}", "calls", (json_int_t)t->calls, "bids",
                     (json_int_t)t->bids, "recall", bids ? json_real(r.recall) : json_null(),
                     "recall_low", bids ? json_real(r.recall_low) : json_null(), "recall_high",
                     bids ? json_real(r.recall_high) : json_null(), "withheld", r.withheld);
}

static json_t *track_json(const struct backtest *b, const struct track *t, const struct step *by,
                          int64_t day)
{
    char text[16];
    struct tally total = track_total(t, by->model);
    json_t *object = tally_json(&total), *dsps = json_array();
    for (uint32_t d = 0; d < predictor_info(by->model)->n_dsps; d++) {
        const char *not_filtered =
            predictor_not_filtered(by->model, d, b->o.training.recall_target, b->o.of);
        json_t *dsp = tally_json(&t->dsps[d]);
        json_object_set_new(dsp, "dsp", json_string(predictor_dsp_name(by->model, d)));
        json_object_set_new(dsp, "threshold",
                            isfinite(by->thresholds[d]) ? json_real((double)by->thresholds[d])
                                                        : json_null());
        json_object_set_new(dsp, "not_filtered",
                            not_filtered != NULL ? json_string(not_filtered) : json_null());
        json_array_append_new(dsps, dsp);
    }
    json_object_set_new(object, "day", json_string(day_name(day, text)));
    json_object_set_new(object, "unknown_dsp_calls", json_integer((json_int_t)t->unknown.calls));
    json_object_set_new(object, "dsps", dsps);
    return object;
}

json_t *backtest_json(const struct backtest *b)
{
    char text[16];
    json_t *days = json_array(), *ageing = json_array();
    for (uint32_t i = 0; i < b->n; i++) {
        const struct step *s = &b->steps[i];
        json_array_append_new(days, s->model != NULL ? track_json(b, &s->fresh, s, test_day(b, i))
                                                     : json_pack("{s:s,s:s}", "day",
                                                                 day_name(test_day(b, i), text),
                                                                 "no_model", s->why.text));
        if (b->steps[0].model == NULL)
            continue;
        json_t *aged = track_json(b, &s->aged, &b->steps[0], test_day(b, i));
        json_object_set_new(aged, "days_since", json_integer((json_int_t)i + 1));
        json_array_append_new(ageing, aged);
    }
    return json_pack("{s:i,s:f,s:s,s:f,s:f,s:o,s:o}", "train_days", (int)b->o.train_days,
                     "recall_target", b->o.training.recall_target, "recall_of",
                     recall_of_name(b->o.of), "confidence", b->o.training.confidence, "margin",
                     b->o.training.margin, "days", days, "ageing", ageing);
}
