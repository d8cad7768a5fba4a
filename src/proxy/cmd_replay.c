/* bidsieve replay: captured requests, sent again. Open loop: when a request is due does not depend
 * on the answers. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "proxy/capture.h"
#include "proxy/cli.h"
#include "proxy/commands.h"
#include "proxy/open_loop_report.h"
#include "proxy/progress.h"

struct replay {
    struct capture_reader *reader;
    double rate, speed; /* rate 0 = by the records' times, speed times as fast */
    uint64_t n, skipped;
    int64_t first_ts_ms;
    uint64_t due_us;
    char header[64];
    struct error err;
    struct progress progress;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
}

static bool next_job(void *ctx, struct open_loop_job *out)
{
    struct replay *r = ctx;
    struct capture_record record;
    int status;
    while ((status = capture_next(r->reader, &record, &r->err)) < 0)
        if (r->skipped++ == 0)
            fprintf(stderr, "bidsieve replay: left out: %s\n", r->err.text);
    if (status == 0)
        return false;
    if (r->n == 0)
        r->first_ts_ms = record.ts_ms;
    double due_us = r->rate > 0 ? (double)r->n * 1e6 / r->rate
                                : (double)(record.ts_ms - r->first_ts_ms) * 1e3 / r->speed;
    if (due_us > (double)r->due_us) /* loops write side by side: neighbours may be out of order */
        r->due_us = (uint64_t)due_us;
    r->n++;
    int len =
        snprintf(r->header, sizeof(r->header), "X-Bidsieve-Time: %" PRId64 "\r\n", record.ts_ms);
    *out = (struct open_loop_job){
        .body = record.request, .headers = {r->header, (size_t)len}, .due_us = r->due_us};
    return true;
}

static bool on_progress(void *ctx, const struct open_loop_result *so_far)
{
    struct replay *r = ctx;
    if (progress_due(&r->progress))
        progress_show(&r->progress,
                      "%3.0f%% of the capture, %" PRIu64 " sent, p99 %.1f ms, %" PRIu64 " failed",
                      100 * capture_progress(r->reader), so_far->sent,
                      (double)histogram_quantile(&so_far->latency, 0.99) / 1000,
                      open_loop_failures(so_far));
    return interrupted == 0;
}

static int replay(struct replay *r, const struct cli_list *paths, const struct open_loop_options *o,
                  bool json)
{
    r->reader = capture_reader_open(paths->items, paths->n, &r->err);
    if (r->reader == NULL)
        return cli_fail("replay", "%s", r->err.text);
    struct open_loop_result *result = malloc(sizeof(*result));
    if (result == NULL)
        abort();
    progress_begin(&r->progress);
    int failed = open_loop_run(o, next_job, r, result, &r->err);
    progress_end(&r->progress);
    if (failed)
        cli_fail("replay", "%s", r->err.text);
    else
        open_loop_report(stdout, result, r->rate > 0 ? r->rate : -1, json);
    if (!failed && result->sent > 0 && result->answered == 0)
        failed = cli_fail("replay", "%s: none of %" PRIu64 " requests was answered", o->url,
                          result->sent);
    free(result);
    capture_reader_close(r->reader);
    return failed ? 1 : 0;
}

int cmd_replay(int argc, char **argv)
{
    struct cli_list capture = {0};
    struct replay r = {.speed = 1};
    const char *url = NULL;
    bool json = false;
    long connections = 256;
    const struct cli_option options[] = {
        {"capture", CLI_LIST, &capture, "PATH...",
         "files or directories of capture segments, plain or .zst", 0, 0, true},
        {"to", CLI_TEXT, &url, "URL", "where to post, e.g. http://127.0.0.1:8080/openrtb2/auction",
         0, 0, true},
        {"speed", CLI_NUMBER, &r.speed, "X",
         "as the records' times say, X times as fast (default 1)", 1e-3, 1e6, false},
        {"rate", CLI_NUMBER, &r.rate, "R", "instead: R requests a second", 1e-3, 1e7, false},
        {"connections", CLI_INTEGER, &connections, "N", "at most so many (default 256)", 1, 50000,
         false},
        {"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "replay",
        .summary = "Sends captured requests again, open loop, and reports statuses and latency.",
        .usage = "--capture PATH... --to URL [--speed X | --rate R]",
        .epilogue = "Each carries its captured time in X-Bidsieve-Time; a proxy with \"clock\": "
                    "\"header\" decides by it, and\n"
                    "so decides as it did then.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status == CLI_RUN && r.speed != 1 && r.rate > 0) {
        cli_fail("replay", "takes --speed or --rate, not both; see 'bidsieve replay --help'");
        status = 2;
    }
    if (status == CLI_RUN) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_NOFILE, &limit);
        }
        signal(SIGINT, on_interrupt); /* ends early, with figures */
        struct open_loop_options o;
        open_loop_options_default(&o);
        o.url = url;
        o.connections_max = (uint32_t)connections;
        o.progress = on_progress;
        status = replay(&r, &capture, &o, json);
    }
    cli_list_dispose(&capture);
    return status;
}
