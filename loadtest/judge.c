/* The truth of every call is known, so recall is an expectation, not a count: no noise of the draw
 * is in it, and a scorer's threshold can be put exactly where the goal is reached. A score that is
 * missing is a call that is made, as in the filter itself. */
#include "loadtest/judge.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "proxy/progress.h"

void judge_init(struct judge *j, const struct world *w)
{
    *j = (struct judge){.world = w};
    j->dsps = calloc(w->n_buyers + 1, sizeof(*j->dsps));
    if (j->dsps == NULL)
        abort();
}

void judge_dispose(struct judge *j)
{
    for (uint32_t d = 0; d < j->world->n_buyers; d++) {
        truth_dispose(&j->dsps[d].truth);
        free(j->dsps[d].score);
    }
    free(j->dsps);
    arena_dispose(&j->arena);
}

/* ---- reading ---- */

static void add_call(struct judge_dsp *d, double p, bool bids, const json_t *verdict)
{
    const json_t *score = json_object_get(verdict, "p");
    uint64_t room = d->truth.capacity;
    truth_add(&d->truth, p);
    if (d->truth.capacity != room) {
        d->score = realloc(d->score, d->truth.capacity * sizeof(*d->score));
        if (d->score == NULL)
            abort();
    }
    bool scored = json_is_number(score), sent = !json_is_false(json_object_get(verdict, "send"));
    d->score[d->truth.n - 1] = scored ? (float)json_number_value(score) : INFINITY;
    d->unscored += !scored;
    d->sent += sent;
    d->bids += bids;
    d->bids_sent += bids && sent;
    d->expected_sent += sent ? (double)(float)p : 0;
}

/* verdicts[n_buyers]: the line's element for each DSP, NULL = none. */
static int read_verdicts(struct judge *j, const json_t *line, const struct bid_request *r,
                         const json_t **verdicts, struct error *err)
{
    const json_t *auction = json_object_get(line, "auction");
    const json_t *list = json_object_get(line, "dsps");
    if (!json_is_array(list))
        return error_set(err, "has no array \"dsps\"");
    if (json_is_string(auction) && !bytes_equal(r->id, (struct bytes){json_string_value(auction),
                                                                      json_string_length(auction)}))
        return error_set(err, "is of auction \"%.80s\", the record of \"%.*s\"",
                         json_string_value(auction), (int)(r->id.len < 80 ? r->id.len : 80),
                         r->id.base);
    size_t i;
    const json_t *element;
    json_array_foreach(list, i, element)
    {
        const json_t *name = json_object_get(element, "dsp");
        const json_t *p = json_object_get(element, "p");
        if (!json_is_string(name))
            return error_set(err, "dsps[%zu].dsp must be a name", i);
        if (p != NULL && !json_is_number(p) && !json_is_null(p))
            return error_set(err, "dsps[%zu].p must be a number or null", i);
        int32_t d = world_find_buyer(
            j->world, (struct bytes){json_string_value(name), json_string_length(name)});
        if (d >= 0 && verdicts[d] != NULL)
            return error_set(err, "dsps[%zu]: \"%.80s\" is there twice", i,
                             json_string_value(name));
        if (d >= 0)
            verdicts[d] = element;
        else
            j->strangers++;
    }
    return 0;
}

int judge_add(struct judge *j, const struct bid_request *r, int64_t ts_ms, struct bytes line,
              struct error *err)
{
    json_error_t fault;
    json_t *root = json_loadb(line.base, line.len, JSON_REJECT_DUPLICATES, &fault);
    if (root == NULL)
        return error_set(err, "is not JSON: %s", fault.text);
    uint32_t n = j->world->n_buyers;
    const json_t **verdicts = calloc(n + 1, sizeof(*verdicts));
    if (verdicts == NULL)
        abort();
    int status = read_verdicts(j, root, r, verdicts, err);
    if (status == 0) {
        struct view v;
        struct buyer_bid bids[VIEW_IMPS_MAX];
        view_make(&v, j->world->traffic, r, ts_ms);
        for (uint32_t d = 0; d < n; d++) {
            const struct buyer *b = &j->world->buyers[d];
            add_call(&j->dsps[d], buyer_probability(b, &v), buyer_bids(b, &v, bids) > 0,
                     verdicts[d]);
        }
        j->requests++;
    }
    free(verdicts);
    json_decref(root);
    return status;
}

int judge_read(struct judge *j, struct capture_reader *reader, FILE *lines, const char *where,
               struct error *err)
{
    char *line = NULL;
    size_t room = 0;
    uint64_t number = 0, refused = 0;
    struct capture_record record;
    struct progress progress;
    int status, result = 0;
    progress_begin(&progress);
    while (result == 0 && (status = capture_next(reader, &record, err)) != 0) {
        struct bid_request r;
        struct bid_request_error fault;
        arena_reset(&j->arena, 1 << 20);
        if (status < 0 || capture_check_time(reader, &record, err) != 0 ||
            !bid_request_scan(&r, record.request, 0, &j->arena, &fault)) {
            refused++;
            continue;
        }
        ssize_t len = getline(&line, &room, lines);
        struct error why = {""};
        number++;
        if (len < 0)
            result = error_set(err, "%s: ends after %llu lines, but the capture has more records",
                               where, (unsigned long long)number - 1);
        else if (judge_add(j, &r, record.ts_ms, (struct bytes){line, (size_t)len}, &why) != 0)
            result = error_set(err, "%s:%llu: %.900s", where, (unsigned long long)number, why.text);
        if (progress_due(&progress))
            progress_show(&progress, "reading %.0f%%", 100 * capture_progress(reader));
    }
    progress_end(&progress);
    if (result == 0 && number == 0)
        result = error_set(err, "no record to judge by (%llu that are not sound)",
                           (unsigned long long)refused);
    else if (result == 0 && getline(&line, &room, lines) >= 0)
        result = error_set(err, "%s: has more lines than the capture has records (%llu)", where,
                           (unsigned long long)number);
    free(line);
    return result;
}

/* ---- figures ---- */

struct figures {
    uint64_t calls, unscored;
    double expected;                          /* bids, all called */
    double withheld, optimal;                 /* calls, at the recall asked for */
    double sent, expected_sent, sent_optimal; /* calls made as "send" says; expected bids on them;
                                                 calls that the optimum withholds at that recall */
    uint64_t bids, bids_sent;
};

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

static struct figures figures_of(struct judge_dsp *d, double recall)
{
    double n = (double)d->truth.n;
    struct figures f = {.calls = d->truth.n,
                        .unscored = d->unscored,
                        .expected = d->truth.sum,
                        .sent = (double)d->sent,
                        .expected_sent = d->expected_sent,
                        .bids = d->bids,
                        .bids_sent = d->bids_sent};
    struct truth copy = {0}; /* truth_withheld sorts */
    for (uint64_t i = 0; i < d->truth.n; i++)
        truth_add(&copy, (double)d->truth.p[i]);
    f.withheld = n * truth_withheld_by(&d->truth, d->score, recall);
    f.optimal = n * truth_withheld(&copy, recall);
    f.sent_optimal = n * truth_withheld(&copy, fmin(1, share(d->expected_sent, d->truth.sum)));
    truth_dispose(&copy);
    return f;
}

static void add_up(struct figures *total, const struct figures *f)
{
    total->calls += f->calls;
    total->unscored += f->unscored;
    total->expected += f->expected;
    total->withheld += f->withheld;
    total->optimal += f->optimal;
    total->sent += f->sent;
    total->expected_sent += f->expected_sent;
    total->sent_optimal += f->sent_optimal;
    total->bids += f->bids;
    total->bids_sent += f->bids_sent;
}

/* All calls in one order, one threshold for all DSPs. */
static struct figures pooled(const struct judge *j, double recall)
{
    struct judge_dsp all = {0};
    for (uint32_t d = 0; d < j->world->n_buyers; d++) {
        const struct judge_dsp *one = &j->dsps[d];
        all.score = realloc(all.score, (all.truth.n + one->truth.n + 1) * sizeof(*all.score));
        if (all.score == NULL)
            abort();
        for (uint64_t i = 0; i < one->truth.n; i++) {
            all.score[all.truth.n] = one->score[i];
            truth_add(&all.truth, (double)one->truth.p[i]);
        }
    }
    struct figures f = figures_of(&all, recall);
    truth_dispose(&all.truth);
    free(all.score);
    return f;
}

/* ---- printing ---- */

static void print_percent(FILE *out, int width, double x)
{
    if (isnan(x))
        fprintf(out, " %*s", width - 1, "-");
    else
        fprintf(out, " %*.1f%%", width - 2, 100 * x);
}

static void print_row(FILE *out, const char *name, const struct figures *f)
{
    double calls = (double)f->calls;
    fprintf(out, "%-12.12s %9llu", name, (unsigned long long)f->calls);
    print_percent(out, 9, share(f->withheld, calls));
    print_percent(out, 9, share(f->optimal, calls));
    if (f->optimal > 0)
        fprintf(out, " %7.4f", f->withheld / f->optimal);
    else
        fprintf(out, " %7s", "-");
    print_percent(out, 9, share(calls - f->sent, calls));
    print_percent(out, 9, share(f->sent_optimal, calls));
    print_percent(out, 8, share(f->expected_sent, f->expected));
    fprintf(out, "  %llu/%llu\n", (unsigned long long)f->bids_sent, (unsigned long long)f->bids);
}

void judge_print(struct judge *j, double recall, FILE *out)
{
    struct figures total = {0};
    fprintf(out, "%22s   at recall %-14g as \"send\" says\n", "", recall);
    fprintf(out, "%-12s %9s %8s %8s %7s %8s %8s %7s  %s\n", "DSP", "calls", "withheld", "optimal",
            "ratio", "withheld", "optimal", "recall", "bids kept");
    for (uint32_t d = 0; d < j->world->n_buyers; d++) {
        struct figures f = figures_of(&j->dsps[d], recall);
        print_row(out, j->world->buyers[d].name, &f);
        add_up(&total, &f);
    }
    print_row(out, "all", &total);
    struct figures one = pooled(j, recall);
    fprintf(out, "\n%llu requests. all: every DSP at that recall. With one threshold for all DSPs:",
            (unsigned long long)j->requests);
    print_percent(out, 7, share(one.withheld, (double)one.calls));
    fprintf(out, " of");
    print_percent(out, 7, share(one.optimal, (double)one.calls));
    fprintf(out,
            "\noptimal: what a filter that knows the truth withholds at the same recall; recall: "
            "of expected bids\n");
    if (total.unscored > 0)
        fprintf(out, "%llu calls have no score: they are sent first\n",
                (unsigned long long)total.unscored);
    if (j->strangers > 0)
        fprintf(out, "%llu scores are of DSPs that the world has not\n",
                (unsigned long long)j->strangers);
}

static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static json_t *row_json(const char *name, const struct figures *f)
{
    double calls = (double)f->calls;
    json_t *sent = json_pack("{s:o,s:o,s:o,s:o}", "withheld", number(share(calls - f->sent, calls)),
                             "optimal_withheld", number(share(f->sent_optimal, calls)), "recall",
                             number(share(f->expected_sent, f->expected)), "recall_counted",
                             number(share((double)f->bids_sent, (double)f->bids)));
    return json_pack("{s:s,s:I,s:I,s:f,s:I,s:o,s:o,s:o,s:o}", "dsp", name, "calls",
                     (json_int_t)f->calls, "unscored", (json_int_t)f->unscored, "expected_bids",
                     f->expected, "bids", (json_int_t)f->bids, "withheld",
                     number(share(f->withheld, calls)), "optimal_withheld",
                     number(share(f->optimal, calls)), "ratio",
                     number(share(f->withheld, f->optimal)), "as_sent", sent);
}

void judge_print_json(struct judge *j, double recall, FILE *out)
{
    struct figures total = {0};
    json_t *rows = json_array();
    for (uint32_t d = 0; d < j->world->n_buyers; d++) {
        struct figures f = figures_of(&j->dsps[d], recall);
        json_array_append_new(rows, row_json(j->world->buyers[d].name, &f));
        add_up(&total, &f);
    }
    struct figures one = pooled(j, recall);
    json_t *root =
        json_pack("{s:s,s:I,s:f,s:I,s:o,s:o,s:{s:o,s:o,s:o}}", "scenario", j->world->scenario->name,
                  "requests", (json_int_t)j->requests, "recall", recall, "strangers",
                  (json_int_t)j->strangers, "dsps", rows, "total", row_json("all", &total),
                  "pooled", "withheld", number(share(one.withheld, (double)one.calls)),
                  "optimal_withheld", number(share(one.optimal, (double)one.calls)), "ratio",
                  number(share(one.withheld, one.optimal)));
    json_dumpf(root, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', out);
    json_decref(root);
}
