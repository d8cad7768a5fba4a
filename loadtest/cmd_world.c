/* bidsieve-world: the simulated DSPs, and what is known about them. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "loadtest/bidder.h"
#include "loadtest/judge.h"
#include "loadtest/report.h"
#include "proxy/cli.h"
#include "proxy/progress.h"

static const char PROGRAM[] = "bidsieve-world";

static int fail(const char *command, const struct error *err)
{
    fprintf(stderr, "%s %s: %s\n", PROGRAM, command, err->text);
    return 1;
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- serve ---- */

struct serving {
    pthread_t thread;
    struct loop *loop;
    struct bidder *bidder;
};

static void *run_loop(void *arg)
{
    loop_run(((struct serving *)arg)->loop);
    return NULL;
}

static void on_stopped(void *ctx)
{
    loop_stop(((struct serving *)ctx)->loop);
}

static void stop_bidder(void *ctx)
{
    struct serving *s = ctx;
    bidder_stop(s->bidder, on_stopped, s);
}

static void allow_many_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve_with(const struct world *w, const char *host, uint16_t port, uint32_t n,
                      struct error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    allow_many_descriptors();
    struct serving *threads = calloc(n, sizeof(*threads));
    struct bidder_counts *counts = calloc((size_t)n * w->n_buyers, sizeof(*counts));
    if (threads == NULL || counts == NULL)
        abort();
    int status = 0;
    uint32_t created = 0;
    for (; status == 0 && created < n; created++) {
        struct serving *s = &threads[created];
        s->loop = loop_create(err);
        if (s->loop != NULL)
            s->bidder = bidder_create(s->loop, w, host, port, counts, n, created, err);
        if (s->bidder != NULL)
            port = bidder_port(s->bidder); /* 0 became a number: the others share it */
        else
            status = -1;
    }
    if (status == 0) {
        for (uint32_t i = 0; i < n; i++)
            pthread_create(&threads[i].thread, NULL, run_loop, &threads[i]);
        printf("%s: %u DSPs of %s at http://%s:%u/bid/<dsp>\n", PROGRAM, w->n_buyers,
               w->scenario->name, host, port);
        fflush(stdout);
        int signal_number;
        sigwait(&signals, &signal_number);
        for (uint32_t i = 0; i < n; i++)
            loop_post(threads[i].loop, stop_bidder, &threads[i]);
        for (uint32_t i = 0; i < n; i++)
            pthread_join(threads[i].thread, NULL);
    }
    for (uint32_t i = 0; i < created; i++) {
        bidder_destroy(threads[i].bidder);
        loop_destroy(threads[i].loop);
    }
    free(threads);
    free(counts);
    return status;
}

static int cmd_serve(int argc, char **argv)
{
    const char *scenario = NULL, *host = "127.0.0.1";
    long port = 0, threads = 1;
    const struct cli_option options[] = {
        {"scenario", CLI_TEXT, &scenario, "FILE", "the world", 0, 0, true},
        {"host", CLI_TEXT, &host, "HOST", "address to listen on (127.0.0.1)", 0, 0, false},
        {"port", CLI_INTEGER, &port, "PORT", "port to listen on; 0 takes a free one", 0, 65535,
         true},
        {"threads", CLI_INTEGER, &threads, "N", "event loops (1)", 1, 256, false}};
    const struct cli_command command = {
        PROGRAM,
        "serve",
        "The scenario's DSPs as an HTTP server, until SIGTERM.",
        "--scenario FILE --port PORT [--threads N]",
        "POST /bid/<dsp> takes a bid request; GET /stats counts calls and bids. A request's time "
        "is\n"
        "its X-Bidsieve-Time header (ms since the epoch), else the wall clock.",
        options,
        COUNT_OF(options)};
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;
    struct error err;
    struct world *w = world_load(scenario, &err);
    if (w == NULL)
        return fail("serve", &err);
    status = serve_with(w, host, (uint16_t)port, (uint32_t)threads, &err);
    world_destroy(w);
    return status == 0 ? 0 : fail("serve", &err);
}

/* ---- config ---- */

static json_t *dsp_config(const struct scenario_dsp *d, const char *host, long port)
{
    char url[256];
    snprintf(url, sizeof(url), "http://%s:%ld/bid/%s", host, port, d->name);
    return json_pack("{s:s,s:s,s:i}", "name", d->name, "url", url, "connections_max", 1024);
}

static int cmd_config(int argc, char **argv)
{
    const char *scenario = NULL, *model = NULL, *capture = NULL, *filter = "on";
    const char *host = "127.0.0.1";
    long port = 0, listen = 0, admin = 0, threads = 0;
    double recall = 0.97, explore = 0.01;
    const struct cli_option options[] = {
        {"scenario", CLI_TEXT, &scenario, "FILE", "the world", 0, 0, true},
        {"host", CLI_TEXT, &host, "HOST", "where `serve` runs (127.0.0.1)", 0, 0, false},
        {"port", CLI_INTEGER, &port, "PORT", "port of `serve`", 1, 65535, true},
        {"listen", CLI_INTEGER, &listen, "PORT", "port of the proxy", 0, 65535, true},
        {"admin", CLI_INTEGER, &admin, "PORT", "admin port of the proxy", 0, 65535, true},
        {"model", CLI_TEXT, &model, "FILE", "model file; none: every call is made", 0, 0, false},
        {"capture", CLI_TEXT, &capture, "DIR", "where the proxy records auctions", 0, 0, false},
        {"filter", CLI_TEXT, &filter, "MODE", "on, shadow or off (on)", 0, 0, false},
        {"recall", CLI_NUMBER, &recall, "R", "recall target of all DSPs (0.97)", 0, 1, false},
        {"explore", CLI_NUMBER, &explore, "E", "share of withheld calls made anyway (0.01)", 0, 1,
         false},
        {"threads", CLI_INTEGER, &threads, "N", "event loops of the proxy (0: one per core)", 0,
         256, false}};
    const struct cli_command command = {
        PROGRAM,
        "config",
        "Prints a bidsieve configuration for the scenario's DSPs.",
        "--scenario FILE --port PORT --listen PORT --admin PORT [options]",
        NULL,
        options,
        COUNT_OF(options)};
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;
    struct error err;
    struct scenario *s = scenario_load(scenario, &err);
    if (s == NULL)
        return fail("config", &err);
    json_t *dsps = json_array();
    for (uint32_t i = 0; i < s->n_dsps; i++)
        json_array_append_new(dsps, dsp_config(&s->dsps[i], host, port));
    /* A request's time is the scenario's, so a model's age says nothing; and masked user ids would
     * hide from `report` whom the DSPs recognised. */
    json_t *root =
        json_pack("{s:{s:s,s:I,s:I},s:{s:s,s:I},s:{s:s,s:s,s:f,s:i,s:i},s:s,s:{s:s,s:f,s:f,s:i}}",
                  "listen", "host", "127.0.0.1", "port", (json_int_t)listen, "threads",
                  (json_int_t)threads, "admin", "host", "127.0.0.1", "port", (json_int_t)admin,
                  "auction", "type", "second_price", "currency", "USD", "increment", 0.01,
                  "timeout_ms", 300, "network_margin_ms", 10, "clock", "header", "defaults",
                  "filter", filter, "recall_target", recall, "explore", explore, "timeout_ms", 280);
    if (model != NULL)
        json_object_set_new(root, "model",
                            json_pack("{s:s,s:i}", "file", model, "max_age_hours", 0));
    if (capture != NULL)
        json_object_set_new(
            root, "capture",
            json_pack("{s:s,s:f,s:[]}", "directory", capture, "sample", 1.0, "mask"));
    json_object_set_new(root, "dsps", dsps);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
    scenario_destroy(s);
    return 0;
}

/* ---- truth ---- */

struct truth_run {
    struct truth *truths; /* [n_buyers] */
    float **known;        /* [n_buyers][requests] what could be known; NULL: not asked for */
    int32_t known_days;
    uint64_t requests;
    double shown;
};

static void learn_truth(const struct world *w, int32_t day, uint32_t n, struct truth_run *out)
{
    struct arena arena = {0};
    struct progress progress;
    progress_begin(&progress);
    uint32_t total = w->scenario->traffic.requests_per_day;
    for (uint32_t i = 0; i < n; i++) {
        char body[TRAFFIC_BODY_MAX];
        int64_t ts_ms;
        uint32_t index = (uint32_t)((uint64_t)i * total / n);
        struct bytes b = traffic_request(w->traffic, day, index, body, &ts_ms);
        struct bid_request r;
        struct bid_request_error fault;
        arena_reset(&arena, 1 << 20);
        if (!bid_request_scan(&r, b, 0, &arena, &fault))
            continue;
        struct view v;
        view_make(&v, w->traffic, &r, ts_ms);
        double none = 1;
        for (uint32_t d = 0; d < w->n_buyers; d++) {
            double p = buyer_probability(&w->buyers[d], &v);
            if (out->known != NULL)
                out->known[d][out->requests] =
                    (float)buyer_probability_known(&w->buyers[d], &v, out->known_days);
            truth_add(&out->truths[d], p);
            none *= 1 - p;
        }
        out->shown += 1 - none;
        out->requests++;
        if ((i & 1023) == 0 && progress_due(&progress))
            progress_show(&progress, "%u of %u requests", i, n);
    }
    progress_end(&progress);
    arena_dispose(&arena);
}

static json_t *or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static void print_truth_row(const struct buyer *b, double rate, double best, double never,
                            double known)
{
    printf("%-12s %9u %8.2f%% %9.1f%% %9.1f%%", b->name, b->n_campaigns, 100 * rate, 100 * best,
           100 * never);
    if (isfinite(known))
        printf(" %11.1f%%", 100 * known);
    putchar('\n');
}

static void print_truth(const struct world *w, const struct truth_run *run, double recall,
                        bool json)
{
    double rates = 0, withheld = 0, knowable = 0, n = (double)run->requests;
    json_t *rows = json_array();
    if (!json)
        printf("%-12s %9s %9s %10s %10s%s\n", "DSP", "campaigns", "bid rate", "withheld*",
               "no chance", run->known != NULL ? "  knowable**" : "");
    for (uint32_t d = 0; d < w->n_buyers; d++) {
        struct truth *t = &run->truths[d];
        double known = run->known != NULL ? truth_withheld_by(t, run->known[d], recall) : NAN;
        knowable += known / w->n_buyers;
        double best = truth_withheld(t, recall), rate = t->sum / n, never = truth_withheld(t, 1);
        rates += rate / w->n_buyers;
        withheld += best / w->n_buyers;
        if (json)
            json_array_append_new(
                rows, json_pack("{s:s,s:i,s:f,s:f,s:f,s:o}", "dsp", w->buyers[d].name, "campaigns",
                                (int)w->buyers[d].n_campaigns, "bid_rate", rate, "optimal_withheld",
                                best, "impossible", never, "knowable_withheld", or_null(known)));
        else
            print_truth_row(&w->buyers[d], rate, best, never, known);
    }
    if (json) {
        json_t *root =
            json_pack("{s:s,s:I,s:f,s:f,s:f,s:o,s:f,s:o}", "scenario", w->scenario->name,
                      "requests", (json_int_t)run->requests, "recall", recall, "bid_rate", rates,
                      "optimal_withheld", withheld, "knowable_withheld", or_null(knowable), "shown",
                      run->shown / n, "dsps", rows);
        json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(root);
        return;
    }
    json_decref(rows);
    printf("%-12s %9s %8.2f%% %9.1f%%", "mean", "", 100 * rates, 100 * withheld);
    if (run->known != NULL)
        printf(" %10s %11.1f%%", "", 100 * knowable);
    printf("\n\n%llu requests; an ad can be shown on %.1f%% of them\n"
           "* by a filter that knows the true probabilities and keeps %.1f%% of the bids\n",
           (unsigned long long)run->requests, 100 * run->shown / n, 100 * recall);
    if (run->known != NULL)
        printf("** by one that knows all campaigns of the %d days before without an error, but not "
               "which users\n   a DSP recognises, nor what began or ended today\n",
               (int)run->known_days);
}

static int cmd_truth(int argc, char **argv)
{
    const char *scenario = NULL;
    long day = 0, requests = 0, known = 0;
    double recall = 0.97;
    bool json = false;
    const struct cli_option options[] = {
        {"scenario", CLI_TEXT, &scenario, "FILE", "the world", 0, 0, true},
        {"day", CLI_INTEGER, &day, "N", "virtual day (0)", 0, 100000, false},
        {"known-days", CLI_INTEGER, &known, "N",
         "also what a filter withholds that has learnt the N days before by heart, but does not\n"
         "know users, nor what changed today",
         0, 1000, false},
        {"requests", CLI_INTEGER, &requests, "K", "spread over the day (all of the day)", 1, 1e9,
         false},
        {"recall", CLI_NUMBER, &recall, "R", "share of the bids to keep (0.97)", 0, 1, false},
        {"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false}};
    const struct cli_command command = {
        PROGRAM,
        "truth",
        "Each DSP's true bid rate, and what the best possible filter withholds.",
        "--scenario FILE [--day N] [--requests K] [--recall R] [--known-days N] [--json]",
        NULL,
        options,
        COUNT_OF(options)};
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;
    struct error err;
    struct world *w = world_load(scenario, &err);
    if (w == NULL)
        return fail("truth", &err);
    uint32_t all = w->scenario->traffic.requests_per_day;
    struct truth_run run = {.truths = calloc(w->n_buyers, sizeof(struct truth))};
    if (run.truths == NULL)
        abort();
    uint32_t n = requests > 0 && requests < all ? (uint32_t)requests : all;
    if (known > 0)
        run.known = calloc(w->n_buyers, sizeof(*run.known));
    run.known_days = (int32_t)known;
    for (uint32_t d = 0; run.known != NULL && d < w->n_buyers; d++)
        if ((run.known[d] = malloc(n * sizeof(float))) == NULL)
            abort();
    learn_truth(w, (int32_t)day, n, &run);
    print_truth(w, &run, recall, json);
    for (uint32_t d = 0; run.known != NULL && d < w->n_buyers; d++)
        free(run.known[d]);
    free(run.known);
    for (uint32_t d = 0; d < w->n_buyers; d++)
        truth_dispose(&run.truths[d]);
    free(run.truths);
    world_destroy(w);
    return 0;
}

/* ---- capture ---- */

/* One request as an exchange without a filter would have captured it: every DSP called, every call
 * answered. */
static void write_record(const struct world *w, struct bytes body, int64_t ts_ms,
                         struct arena *arena, struct text *line)
{
    struct bid_request r;
    struct bid_request_error fault;
    struct buyer_bid bids[VIEW_IMPS_MAX];
    struct view v;
    if (!bid_request_scan(&r, body, 0, arena, &fault))
        return;
    view_make(&v, w->traffic, &r, ts_ms);
    text_reset(line);
    capture_line_begin(line, ts_ms, r.id, body, NULL, 0, NULL, 0);
    for (uint32_t d = 0; d < w->n_buyers; d++) {
        bool bid = buyer_bids(&w->buyers[d], &v, bids) > 0;
        const struct capture_dsp out = {.dsp = bytes_of(w->buyers[d].name),
                                        .sent = true,
                                        .why = bytes_of("off"),
                                        .p = NAN,
                                        .threshold = NAN,
                                        .propensity = 1,
                                        .outcome = bytes_of(bid ? "bid" : "no_bid"),
                                        .price = bid ? (double)bids[0].price_micros * 1e-6 : NAN,
                                        .paid = NAN,
                                        .latency_us = -1};
        capture_line_dsp(line, &out);
    }
    capture_line_end(line);
    fwrite(line->base, 1, line->len, stdout);
}

static int cmd_capture(int argc, char **argv)
{
    const char *scenario = NULL, *days = "0";
    long requests = 0;
    int32_t first = 0, end = 1;
    const struct cli_option options[] = {
        {"scenario", CLI_TEXT, &scenario, "FILE", "the world", 0, 0, true},
        {"days", CLI_TEXT, &days, "A:B", "its virtual days A to B-1, or one day: A (0)", 0, 0,
         false},
        {"requests", CLI_INTEGER, &requests, "K", "of each day, spread over it (all of the day)", 1,
         1e9, false}};
    const struct cli_command command = {
        PROGRAM,
        "capture",
        "Prints what an exchange without a filter captures on these days: nothing is sent, nothing "
        "fails.",
        "--scenario FILE [--days A:B] [--requests K] > capture.ndjson",
        NULL,
        options,
        COUNT_OF(options)};
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;
    struct error err;
    struct world *w = world_load(scenario, &err);
    if (w == NULL || world_parse_days(days, &first, &end, &err) != 0) {
        world_destroy(w);
        return fail("capture", &err);
    }
    uint32_t total = w->scenario->traffic.requests_per_day;
    uint32_t n = requests > 0 && requests < total ? (uint32_t)requests : total;
    struct arena arena = {0};
    struct text line = {0};
    for (int32_t day = first; day < end; day++)
        for (uint32_t i = 0; i < n; i++) {
            char body[TRAFFIC_BODY_MAX];
            int64_t ts_ms;
            struct bytes b =
                traffic_request(w->traffic, day, (uint32_t)((uint64_t)i * total / n), body, &ts_ms);
            arena_reset(&arena, 1 << 20);
            write_record(w, b, ts_ms, &arena, &line);
        }
    arena_dispose(&arena);
    text_dispose(&line);
    world_destroy(w);
    return 0;
}

/* ---- report ---- */

static int read_captures(struct report *r, const struct cli_list *paths, struct error *err)
{
    struct capture_reader *reader = capture_reader_open(paths->items, paths->n, err);
    if (reader == NULL)
        return -1;
    struct progress progress;
    struct capture_record record;
    int status;
    uint64_t bad = 0;
    progress_begin(&progress);
    while ((status = capture_next(reader, &record, err)) != 0) {
        if (status > 0)
            report_add(r, &record);
        else if (bad++ == 0)
            fprintf(stderr, "%s report: %s\n", PROGRAM, err->text);
        if (progress_due(&progress))
            progress_show(&progress, "reading %.0f%%", 100 * capture_progress(reader));
    }
    progress_end(&progress);
    capture_reader_close(reader);
    if (bad > 1)
        fprintf(stderr, "%s report: %llu further lines are no records\n", PROGRAM,
                (unsigned long long)bad - 1);
    if (r->auctions == 0)
        return error_set(err,
                         "no auction of the days %d to %d among the records (%llu of other days)",
                         r->first_day, r->end_day - 1, (unsigned long long)r->other_days);
    return 0;
}

static int cmd_report(int argc, char **argv)
{
    const char *scenario = NULL, *days = NULL;
    struct cli_list captures = {0};
    bool json = false;
    const struct cli_option options[] = {
        {"scenario", CLI_TEXT, &scenario, "FILE", "the world", 0, 0, true},
        {"capture", CLI_LIST, &captures, "PATH...", "capture files or directories", 0, 0, true},
        {"days", CLI_TEXT, &days, "A:B", "virtual days A to B-1, or one day: A (all)", 0, 0, false},
        {"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false}};
    const struct cli_command command = {
        PROGRAM,
        "report",
        "Captured auctions against the truth: withheld, recall, optimum, revenue per DSP.",
        "--scenario FILE --capture PATH... [--days A:B] [--json]",
        NULL,
        options,
        COUNT_OF(options)};
    int status = cli_parse(&command, argc, argv);
    struct error err;
    int32_t first = -1000000, end = 1000000;
    if (status == CLI_RUN && days != NULL && world_parse_days(days, &first, &end, &err) != 0) {
        fail("report", &err);
        status = 2;
    }
    if (status != CLI_RUN) {
        cli_list_dispose(&captures);
        return status;
    }
    struct world *w = world_load(scenario, &err);
    status = w == NULL ? -1 : 0;
    if (w != NULL) {
        struct report r;
        report_init(&r, w, first, end);
        status = read_captures(&r, &captures, &err);
        if (status == 0 && json)
            report_print_json(&r, stdout);
        else if (status == 0)
            report_print(&r, stdout);
        report_dispose(&r);
    }
    world_destroy(w);
    cli_list_dispose(&captures);
    return status == 0 ? 0 : fail("report", &err);
}

/* ---- judge ---- */

static int judge_files(struct judge *j, const struct cli_list *captures, const char *scores,
                       struct error *err)
{
    bool standard = strcmp(scores, "-") == 0;
    FILE *lines = standard ? stdin : fopen(scores, "r");
    if (lines == NULL)
        return error_set(err, "%s: %s", scores, strerror(errno));
    struct capture_reader *reader = capture_reader_open(captures->items, captures->n, err);
    int status = reader == NULL
                     ? -1
                     : judge_read(j, reader, lines, standard ? "standard input" : scores, err);
    if (reader != NULL)
        capture_reader_close(reader);
    if (!standard)
        fclose(lines);
    return status;
}

static int cmd_judge(int argc, char **argv)
{
    const char *scenario = NULL, *scores = NULL;
    struct cli_list captures = {0};
    double recall = 0.97;
    bool json = false;
    const struct cli_option options[] = {
        {"scenario", CLI_TEXT, &scenario, "FILE", "the world", 0, 0, true},
        {"capture", CLI_LIST, &captures, "PATH...", "the requests that were scored", 0, 0, true},
        {"scores", CLI_TEXT, &scores, "FILE",
         "what `bidsieve score` printed for them, a line each; - is standard input", 0, 0, true},
        {"recall", CLI_NUMBER, &recall, "R", "share of the bids to keep (0.97)", 0, 1, false},
        {"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false}};
    const struct cli_command command = {
        PROGRAM,
        "judge",
        "How much scores withhold at a recall, beside the best possible filter on the same "
        "requests.",
        "--scenario FILE --capture PATH... --scores FILE [--recall R] [--json]",
        "Any scorer can be judged: a line is {\"auction\":..,\"dsps\":[{\"dsp\":..,\"p\":..,"
        "\"send\":..}]};\n"
        "p is any number, higher is sent first. The threshold is put where the true probabilities\n"
        "of the calls that are sent add up to R of all; \"as sent\" is what \"send\" says instead.",
        options,
        COUNT_OF(options)};
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN) {
        cli_list_dispose(&captures);
        return status;
    }
    struct error err;
    struct world *w = world_load(scenario, &err);
    status = w == NULL ? -1 : 0;
    if (w != NULL) {
        struct judge j;
        judge_init(&j, w);
        status = judge_files(&j, &captures, scores, &err);
        if (status == 0 && json)
            judge_print_json(&j, recall, stdout);
        else if (status == 0)
            judge_print(&j, recall, stdout);
        judge_dispose(&j);
    }
    world_destroy(w);
    cli_list_dispose(&captures);
    return status == 0 ? 0 : fail("judge", &err);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
        const char *summary;
    } COMMANDS[] = {
        {"serve", cmd_serve, "the scenario's DSPs as an HTTP server"},
        {"config", cmd_config, "a bidsieve configuration for them"},
        {"truth", cmd_truth, "their true bid rates, and the best possible filter"},
        {"capture", cmd_capture, "what an unfiltered exchange captures, without sending"},
        {"report", cmd_report, "captured auctions against the truth"},
        {"judge", cmd_judge, "scores, of whatever model, against the truth"}};
    for (size_t i = 0; argc > 1 && i < COUNT_OF(COMMANDS); i++) {
        if (strcmp(argv[1], COMMANDS[i].name) == 0)
            return COMMANDS[i].run(argc - 1, argv + 1);
    }
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    FILE *out = help ? stdout : stderr;
    fprintf(out, "usage: %s COMMAND [options]\n\n", PROGRAM);
    for (size_t i = 0; i < COUNT_OF(COMMANDS); i++)
        fprintf(out, "  %-8s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fprintf(out, "\n'%s COMMAND --help' explains one.\n", PROGRAM);
    return help ? 0 : 2;
}
