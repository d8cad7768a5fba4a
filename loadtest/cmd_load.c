/* bidsieve-load: posts bid requests at a fixed rate and measures from when each was due. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "loadtest/source.h"
#include "proxy/cli.h"
#include "proxy/open_loop_report.h"
#include "proxy/progress.h"

static const char PROGRAM[] = "bidsieve-load";

struct load {
    struct source *source;
    double rate; /* a second; 0 = a closed loop */
    bool poisson, time_header;
    uint64_t requests_max; /* 0 = all */
    uint64_t n, total;     /* total: 0 = not known */
    double due_us;
    struct prng g;
    char header[64];
    struct error err;
    bool failed;
    struct progress progress;
};

static bool next_job(void *ctx, struct open_loop_job *out)
{
    struct load *l = ctx;
    struct source_item item;
    if (l->requests_max > 0 && l->n >= l->requests_max)
        return false;
    int status = source_next(l->source, &item, &l->err);
    l->failed = status < 0;
    if (status <= 0)
        return false;
    l->n++;
    out->body = item.body;
    out->headers = (struct bytes){NULL, 0};
    if (l->time_header && item.ts_ms >= 0) {
        int len = snprintf(l->header, sizeof(l->header), "X-Bidsieve-Time: %lld\r\n",
                           (long long)item.ts_ms);
        out->headers = (struct bytes){l->header, (size_t)len};
    }
    out->due_us = (uint64_t)l->due_us;
    if (l->rate > 0)
        l->due_us += 1e6 / l->rate * (l->poisson ? -log(1.0 - prng_unit(&l->g)) : 1.0);
    return true;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
}

static bool on_progress(void *ctx, const struct open_loop_result *r)
{
    struct load *l = ctx;
    if (progress_due(&l->progress)) {
        char of[32] = "";
        if (l->total > 0)
            snprintf(of, sizeof(of), " of %llu", (unsigned long long)l->total);
        progress_show(&l->progress, "%llu%s sent, %.0f/s, p99 %.1f ms, %llu failed",
                      (unsigned long long)r->sent, of, (double)r->answered / r->seconds,
                      (double)histogram_quantile(&r->latency, 0.99) * 1e-3,
                      (unsigned long long)open_loop_failures(r));
    }
    return interrupted == 0;
}

/* ---- the command ---- */

struct arguments {
    const char *to, *rate, *file, *scenario, *days, *arrivals;
    bool repeat, json, time_header;
    long requests, connections, timeout_ms, seed;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    const struct cli_option options[] = {
        {"to", CLI_TEXT, &a->to, "URL", "where to post", 0, 0, true},
        {"rate", CLI_TEXT, &a->rate, "R",
         "requests a second; \"max\": a closed loop, each connection\nsends again when it has its "
         "answer",
         0, 0, true},
        {"file", CLI_TEXT, &a->file, "FILE",
         "lines: a BidRequest, {\"src\":..,\"body\":..}, or a capture record;\nplain or gzip", 0, 0,
         false},
        {"repeat", CLI_FLAG, &a->repeat, NULL, "begin the file again at its end", 0, 0, false},
        {"scenario", CLI_TEXT, &a->scenario, "FILE", "the traffic of a simulated world", 0, 0,
         false},
        {"days", CLI_TEXT, &a->days, "A:B", "its virtual days A to B-1, or one day: A (0)", 0, 0,
         false},
        {"requests", CLI_INTEGER, &a->requests, "N",
         "at most so many; of a scenario's days, spread evenly (all)", 1, 1e12, false},
        {"connections", CLI_INTEGER, &a->connections, "C",
         "connections at most (256; with max: 64)", 1, 50000, false},
        {"arrivals", CLI_TEXT, &a->arrivals, "KIND",
         "poisson (as independent users come) or constant (poisson)", 0, 0, false},
        {"timeout", CLI_INTEGER, &a->timeout_ms, "MS", "give an answer up after it (10000)", 1,
         3600000, false},
        {"time-header", CLI_FLAG, &a->time_header, NULL,
         "send X-Bidsieve-Time: the request's virtual or captured time", 0, 0, false},
        {"seed", CLI_INTEGER, &a->seed, "N", "of the arrivals (1)", 0, 1e15, false},
        {"json", CLI_FLAG, &a->json, NULL, "one JSON document", 0, 0, false}};
    const struct cli_command command = {
        PROGRAM,
        "",
        "Posts bid requests, open loop: the rate does not depend on the answers.",
        "--to URL --rate R (--file FILE | --scenario FILE) [options]",
        "Latency counts from when a request was due, so a server that stalls cannot hide it. Exit "
        "status 1\nwhen nobody answers at all.",
        options,
        sizeof(options) / sizeof(options[0])};
    int status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN && (a->file == NULL) == (a->scenario == NULL)) {
        fprintf(stderr, "%s: one of --file and --scenario is wanted\n", PROGRAM);
        return 2;
    }
    return status;
}

static int configure(struct load *l, const struct arguments *a)
{
    char *end = NULL;
    if (strcmp(a->rate, "max") != 0) {
        l->rate = strtod(a->rate, &end);
        if (*end != '\0' || !(l->rate > 0 && l->rate <= 1e7)) {
            fprintf(stderr, "%s: --rate takes a number above 0, or max, not %s\n", PROGRAM,
                    a->rate);
            return 2;
        }
    }
    l->poisson = strcmp(a->arrivals, "poisson") == 0;
    if (!l->poisson && strcmp(a->arrivals, "constant") != 0) {
        fprintf(stderr, "%s: --arrivals is poisson or constant, not %s\n", PROGRAM, a->arrivals);
        return 2;
    }
    int32_t first = 0, end_day = 1;
    if (a->days != NULL && world_parse_days(a->days, &first, &end_day, &l->err) != 0) {
        fprintf(stderr, "%s: --days: %s\n", PROGRAM, l->err.text);
        return 2;
    }
    l->time_header = a->time_header;
    l->requests_max = (uint64_t)a->requests;
    l->g.state = (uint64_t)a->seed;
    if (a->file != NULL)
        l->source = source_open_file(a->file, a->repeat, &l->err);
    else
        l->source = source_open_scenario(a->scenario, first, end_day, l->requests_max, &l->err);
    if (l->source == NULL) {
        fprintf(stderr, "%s: %s\n", PROGRAM, l->err.text);
        return 1;
    }
    l->total = source_total(l->source);
    if (l->requests_max > 0 && (l->total == 0 || l->total > l->requests_max))
        l->total = l->requests_max;
    return CLI_RUN;
}

static int run(struct load *l, const struct arguments *a)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGINT, on_interrupt); /* ends early, with figures */
    struct open_loop_options o;
    open_loop_options_default(&o);
    o.url = a->to;
    o.closed = l->rate <= 0;
    o.connections_max = a->connections > 0 ? (uint32_t)a->connections : o.closed ? 64 : 256;
    o.timeout_ms = (uint32_t)a->timeout_ms;
    o.progress = on_progress;
    struct open_loop_result *result = malloc(sizeof(*result));
    if (result == NULL)
        abort();
    progress_begin(&l->progress);
    int status = open_loop_run(&o, next_job, l, result, &l->err);
    progress_end(&l->progress);
    if (status == 0)
        open_loop_report(stdout, result, l->rate, a->json);
    free(result);
    if (status != 0 || l->failed) {
        fprintf(stderr, "%s: %s\n", PROGRAM, l->err.text);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments a = {.arrivals = "poisson", .timeout_ms = 10000, .seed = 1};
    int status = parse(&a, argc, argv);
    if (status != CLI_RUN)
        return status;
    struct load l = {.due_us = 0};
    status = configure(&l, &a);
    if (status == CLI_RUN)
        status = run(&l, &a);
    source_close(l.source);
    return status;
}
