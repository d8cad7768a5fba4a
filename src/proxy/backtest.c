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

#include "filter/recalibration.h"
#include "proxy/progress.h"
#include "proxy/recall_options.h"

#define DAY_MS INT64_C(86400000)

static const double CONFIDENCE = 0.95;

struct sieve {
    struct predictor *model; /* NULL: there is none */
    float *thresholds;       /* [the model's DSPs] */
};

/* A sieve on one day. */
struct track {
    struct tally *dsps;   /* [the model's]; NULL: nothing to tell */
    struct tally unknown; /* calls to DSPs that it does not know: they are sent */
};

/* The day's own model; the first one; the first one recalibrated by all days between, from the
 * second day on. */
struct step {
    struct sieve own, followed;
    struct predictor_scratch *scratch; /* own's */
    struct error why;                  /* there is no own model */
    struct track fresh, aged, recalibrated;
    struct fresh *calls; /* of the day, as the first model takes them */
    int64_t from_ms, to_ms;
};

struct backtest {
    struct backtest_options o;
    int64_t first_day; /* of the data, since the epoch; the first test is train_days + 1 later */
    char *first_path;  /* the first model's file, which recalibration rewrites */
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

static uint32_t dsps_of(const struct sieve *s)
{
    return predictor_info(s->model)->n_dsps;
}

/* Takes the model. */
static void set_up(struct sieve *s, const struct backtest *b, struct predictor *model)
{
    uint32_t n = predictor_info(model)->n_dsps;
    s->model = model;
    s->thresholds = malloc((n + 1) * sizeof(*s->thresholds));
    if (s->thresholds == NULL)
        abort();
    for (uint32_t d = 0; d < n; d++)
        s->thresholds[d] = predictor_threshold_of(model, d, b->o.training.recall_target, b->o.of);
}

static void ready(struct track *t, const struct sieve *by)
{
    t->dsps = calloc(dsps_of(by) + 1, sizeof(*t->dsps));
    if (t->dsps == NULL)
        abort();
}

static void take_model(struct step *s, const struct backtest *b, const char *path)
{
    struct predictor *model = predictor_load(path, &s->why);
    if (model == NULL)
        return;
    set_up(&s->own, b, model);
    ready(&s->fresh, &s->own);
    s->scratch = predictor_scratch_create(model);
    if (s->scratch == NULL)
        abort();
}

/* The first model meets every day. */
static void ready_first(struct backtest *b)
{
    const struct sieve *first = &b->steps[0].own;
    for (uint32_t i = 0; first->model != NULL && i < b->n; i++) {
        ready(&b->steps[i].aged, first);
        b->steps[i].calls = fresh_create(predictor_info(first->model)->shape);
        if (b->steps[i].calls == NULL)
            abort();
    }
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
    char *path = NULL;
    if (b == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    b->o = *o;
    b->first_day = day_of(first_ms);
    b->n = (uint32_t)n;
    if ((b->first_path = temporary_path(err)) == NULL || (path = temporary_path(err)) == NULL) {
        backtest_destroy(b);
        return NULL;
    }
    struct training_progress progress = {.steps = b->n};
    progress_begin(&progress.line);
    for (uint32_t i = 0; i < b->n; i++) {
        const char *to = i == 0 ? b->first_path : path;
        if (train_file(b, i, set, to, &progress, &b->steps[i].why) == 0)
            take_model(&b->steps[i], b, to);
    }
    progress_end(&progress.line);
    unlink(path);
    free(path);
    ready_first(b);
    return b;
}

static void sieve_dispose(struct sieve *s)
{
    predictor_destroy(s->model);
    free(s->thresholds);
}

void backtest_destroy(struct backtest *b)
{
    if (b == NULL)
        return;
    for (uint32_t i = 0; i < b->n; i++) {
        struct step *s = &b->steps[i];
        predictor_scratch_destroy(s->scratch);
        sieve_dispose(&s->own);
        sieve_dispose(&s->followed);
        free(s->fresh.dsps);
        free(s->aged.dsps);
        free(s->recalibrated.dsps);
        fresh_destroy(s->calls);
    }
    if (b->first_path != NULL)
        unlink(b->first_path);
    free(b->first_path);
    free(b);
}

/* ---- testing ---- */

/* What the model of `by` makes of the record. calls: also kept there; or NULL. */
static void count(const struct backtest *b, struct labelled_reader *reader,
                  const struct labelled_record *record, const struct step *by, struct track *t,
                  struct fresh *calls)
{
    const struct labelled_score *scores;
    uint32_t n = labelled_score(reader, record, by->own.model, by->scratch, &scores);
    for (uint32_t i = 0; i < n; i++) {
        const struct labelled_score *s = &scores[i];
        tally_add(&t->dsps[s->dsp], s->p, !(s->p < by->own.thresholds[s->dsp]), s->call->bid,
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
    if (calls != NULL)
        labelled_keep(calls, by->scratch, scores, n);
}

static void note_time(struct step *s, int64_t ts_ms)
{
    s->from_ms = s->to_ms == 0 || ts_ms < s->from_ms ? ts_ms : s->from_ms;
    s->to_ms = ts_ms > s->to_ms ? ts_ms : s->to_ms;
}

static int read_captures(struct backtest *b, const struct cli_list *capture, const struct geo *geo,
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
        if (s->own.model != NULL)
            count(b, reader, &record, s, &s->fresh, NULL);
        if (b->steps[0].own.model == NULL)
            continue;
        count(b, reader, &record, &b->steps[0], &s->aged, s->calls);
        note_time(s, record.ts_ms);
    }
    labelled_close(reader);
    return 0;
}

/* ---- the first model, recalibrated each night ---- */

static bool has_bid(const struct fresh *calls)
{
    const struct examples e = fresh_examples(calls);
    uint64_t i = 0;
    while (i < e.n_pairs && e.label[i] == 0)
        i++;
    return i < e.n_pairs;
}

/* As `recalibrate` would: the first model's file, by the day of `s`. old: what the file holds;
 * network: its, and then the new one's. */
static int recalibrate_file(const struct backtest *b, const struct step *s, struct network *network,
                            const struct predictor *old, struct error *err)
{
    const struct predictor_info *info = predictor_info(old);
    const struct recalibration r = {s->from_ms, s->to_ms, info->recall_confidence,
                                    info->recall_margin, info->checksum};
    struct followed followed;
    struct judgement *j = judgement_create(info->n_dsps);
    int status = j != NULL ? recalibration_follow(network, s->calls, j, &followed, err)
                           : error_set(err, "out of memory");
    if (status == 0)
        status = recalibrate(b->first_path, network, j, &r, b->first_path, err);
    judgement_destroy(j);
    return status;
}

static int count_followed(const struct backtest *b, struct step *s, const struct network *network,
                          struct error *err)
{
    struct judgement *j = judgement_create(dsps_of(&s->followed));
    int status = j != NULL ? recalibration_score(network, s->calls, j, err)
                           : error_set(err, "out of memory");
    ready(&s->recalibrated, &s->followed);
    s->recalibrated.unknown = s->aged.unknown;
    for (uint32_t d = 0; status == 0 && d < dsps_of(&s->followed); d++)
        judgement_tally(j, d, s->followed.thresholds[d], b->o.of, &s->recalibrated.dsps[d]);
    judgement_destroy(j);
    return status;
}

/* A day without a bid teaches nothing: the model stays as it was. */
static int follow_days(struct backtest *b, struct error *err)
{
    struct network *network = NULL;
    const struct predictor *old = b->steps[0].own.model;
    if (old == NULL)
        return 0;
    struct predictor *first = predictor_load_with_network(b->first_path, &network, err);
    int status = first != NULL ? 0 : -1;
    predictor_destroy(first);
    for (uint32_t i = 1; status == 0 && i < b->n; i++) {
        const struct step *night = &b->steps[i - 1];
        struct predictor *model = NULL;
        if (has_bid(night->calls))
            status = recalibrate_file(b, night, network, old, err);
        if (status == 0 && (model = predictor_load(b->first_path, err)) == NULL)
            status = -1;
        if (status != 0)
            break;
        set_up(&b->steps[i].followed, b, model);
        status = count_followed(b, &b->steps[i], network, err);
        old = model;
    }
    network_destroy(network);
    return status;
}

int backtest_run(struct backtest *b, const struct cli_list *capture, const struct geo *geo,
                 struct error *err)
{
    return read_captures(b, capture, geo, err) == 0 ? follow_days(b, err) : -1;
}

/* ---- telling ---- */

static struct tally track_total(const struct track *t, const struct sieve *by)
{
    struct tally total = t->unknown;
    for (uint32_t d = 0; d < dsps_of(by); d++)
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
    if (s->own.model == NULL) {
        printf("%-10s  no model: %s\n", day, s->why.text);
        return;
    }
    struct tally total = track_total(&s->fresh, &s->own);
    print_row(day, "all", &total);
    putchar('\n');
    for (uint32_t d = 0; d < dsps_of(&s->own); d++) {
        const char *not_filtered =
            predictor_not_filtered(s->own.model, d, b->o.training.recall_target, b->o.of);
        print_row("", predictor_dsp_name(s->own.model, d), &s->fresh.dsps[d]);
        if (not_filtered != NULL)
            printf("  not filtered: %s", not_filtered);
        putchar('\n');
    }
    if (s->fresh.unknown.calls > 0) {
        print_row("", "(unknown DSPs)", &s->fresh.unknown);
        printf("  not filtered: the model does not know them\n");
    }
}

static void print_age(const struct backtest *b, uint32_t i, const struct track *t,
                      const struct sieve *by)
{
    char age[16], day[16];
    struct tally total = track_total(t, by);
    snprintf(age, sizeof(age), "%u", i + 1);
    print_row(day_name(test_day(b, i), day), age, &total);
    putchar('\n');
}

static void print_head(const char *second)
{
    printf("%-10s  %-16s %9s %8s  %-20s %s\n", "day", second, "calls", "bids", "recall [95%]",
           "withheld");
}

void backtest_print(const struct backtest *b)
{
    printf("each day by a model of its own: trained on the %u days up to two before, calibrated on "
           "the "
           "day before;\nrecall target %g of the %s\n",
           b->o.train_days, b->o.training.recall_target, recall_of_name(b->o.of));
    print_head("dsp");
    for (uint32_t i = 0; i < b->n; i++)
        print_step(b, i);
    if (b->steps[0].own.model == NULL)
        return;
    printf("\nthe first of these models on each later day, without retraining\n");
    print_head("days since");
    for (uint32_t i = 0; i < b->n; i++)
        print_age(b, i, &b->steps[i].aged, &b->steps[0].own);
    if (b->n < 2)
        return;
    printf("\nthe same, recalibrated every night by the day that ended (bidsieve recalibrate)\n");
    print_head("days since");
    for (uint32_t i = 1; i < b->n; i++)
        print_age(b, i, &b->steps[i].recalibrated, &b->steps[i].followed);
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

static json_t *track_json(const struct backtest *b, const struct track *t, const struct sieve *by,
                          uint32_t step)
{
    char text[16];
    struct tally total = track_total(t, by);
    json_t *object = tally_json(&total), *dsps = json_array();
    for (uint32_t d = 0; d < dsps_of(by); d++) {
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
    json_object_set_new(object, "day", json_string(day_name(test_day(b, step), text)));
    json_object_set_new(object, "unknown_dsp_calls", json_integer((json_int_t)t->unknown.calls));
    json_object_set_new(object, "dsps", dsps);
    return object;
}

static void append_age(json_t *to, const struct backtest *b, const struct track *t,
                       const struct sieve *by, uint32_t step)
{
    json_t *aged = track_json(b, t, by, step);
    json_object_set_new(aged, "days_since", json_integer((json_int_t)step + 1));
    json_array_append_new(to, aged);
}

json_t *backtest_json(const struct backtest *b)
{
    char text[16];
    json_t *days = json_array(), *ageing = json_array(), *recalibrated = json_array();
    bool first = b->steps[0].own.model != NULL;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct step *s = &b->steps[i];
        json_array_append_new(days, s->own.model != NULL ? track_json(b, &s->fresh, &s->own, i)
                                                         : json_pack("{s:s,s:s}", "day",
                                                                     day_name(test_day(b, i), text),
                                                                     "no_model", s->why.text));
        if (first)
            append_age(ageing, b, &s->aged, &b->steps[0].own, i);
        if (first && i > 0)
            append_age(recalibrated, b, &s->recalibrated, &s->followed, i);
    }
    return json_pack("{s:i,s:f,s:s,s:f,s:f,s:o,s:o,s:o}", "train_days", (int)b->o.train_days,
                     "recall_target", b->o.training.recall_target, "recall_of",
                     recall_of_name(b->o.of), "confidence", b->o.training.confidence, "margin",
                     b->o.training.margin, "days", days, "ageing", ageing, "recalibrated",
                     recalibrated);
}
