/* Counters through to their text: shards add up, slots outlive reloads, the funnel of a DSP comes
 * out, the text is well-formed by our own reading and by promtool's, scrapes beside writers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/metrics.h"

#define LENGTH(array) (sizeof(array) / sizeof(*(array)))

static struct metrics *fresh(uint32_t n_shards)
{
    struct error err = {""};
    struct metrics *m = metrics_create(n_shards, &err);
    if (m == NULL)
        fail_msg("%s", err.text);
    return m;
}

static const struct metrics_facts no_facts = {.model_age_seconds = NAN};

/* The whole text, NUL-terminated. */
static void render(struct metrics *m, const struct metrics_facts *facts, struct text *out)
{
    text_reset(out);
    metrics_render(m, facts, out);
    *text_reserve(out, 1) = '\0';
}

/* The value of one series, NAN if it is not there. */
static double value_in(const struct text *t, const char *series)
{
    size_t len = strlen(series);
    for (const char *line = t->base; line != NULL && *line != '\0';) {
        if (strncmp(line, series, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return NAN;
}

#define assert_series(t, series, expected)          \
    do {                                            \
        double got_ = value_in((t), (series));      \
        if (!(fabs(got_ - (expected)) < 1e-9))      \
            fail_msg("%s is %.9g", (series), got_); \
    } while (0)
#define assert_no_series(t, series) assert_true(isnan(value_in((t), (series))))

static struct auction_dsp ended(enum why why, enum auction_outcome outcome, uint64_t latency_us)
{
    struct auction_dsp d = {
        .decision = {.why = (uint8_t)why, .send = outcome != OUTCOME_NOT_CALLED},
        .outcome = outcome,
        .latency_us = latency_us};
    return d;
}

static void test_metrics_funnel_of_a_dsp(void **state)
{
    (void)state;
    struct metrics *m = fresh(2);
    uint32_t slot = metrics_dsp_slot(m, "alpha"), other = metrics_dsp_slot(m, "beta");
    static const struct {
        enum why why;
        enum auction_outcome outcome;
        uint64_t latency_us;
        int times;
    } steps[] = {
        {WHY_RULE_FIRST + RULE_COUNTRY, OUTCOME_NOT_CALLED, 0, 5},
        {WHY_RULE_FIRST + RULE_FLOOR, OUTCOME_NOT_CALLED, 0, 2},
        {WHY_BELOW_THRESHOLD, OUTCOME_NOT_CALLED, 0, 40},
        {WHY_QPS, OUTCOME_NOT_CALLED, 0, 3},
        {WHY_HEALTH, OUTCOME_NOT_CALLED, 0, 1},
        {WHY_SCORE, OUTCOME_BID, 1000, 4},
        {WHY_SCORE, OUTCOME_NO_BID, 1001, 6},
        {WHY_EXPLORE, OUTCOME_TIMEOUT, 100000, 2},
        {WHY_SHADOW, OUTCOME_ERROR, 0, 1},
        {WHY_SCORE, OUTCOME_INVALID, 3000000, 1},
        {WHY_SCORE, OUTCOME_NOT_CALLED, 0, 1}, /* a secondary that nobody needed */
    };
    for (size_t i = 0; i < LENGTH(steps); i++) {
        struct auction_dsp d = ended(steps[i].why, steps[i].outcome, steps[i].latency_us);
        if (d.outcome == OUTCOME_INVALID) {
            d.refused[BID_VALID] = 9; /* not a reason */
            d.refused[BID_BELOW_FLOOR] = 2;
        }
        for (int k = 0; k < steps[i].times; k++) {
            d.won = steps[i].outcome == OUTCOME_BID && k < 2;
            d.paid_micros = d.won ? 1510000 : 0;
            metrics_auction_dsp(metrics_shard(m, (uint32_t)k % 2), slot, &d);
        }
    }
    struct text t = {0};
    render(m, &no_facts, &t);
#define DECISIONS(why) "bidsieve_dsp_decisions_total{dsp=\"alpha\",why=\"" why "\"}"
#define CALLS(outcome) "bidsieve_dsp_calls_total{dsp=\"alpha\",outcome=\"" outcome "\"}"
#define DURATION "bidsieve_dsp_call_duration_seconds"
    assert_series(&t, DECISIONS("rule:country"), 5);
    assert_series(&t, DECISIONS("rule:floor"), 2);
    assert_series(&t, DECISIONS("below_threshold"), 40);
    assert_series(&t, DECISIONS("qps"), 3);
    assert_series(&t, DECISIONS("health"), 1);
    assert_series(&t, DECISIONS("score"), 12);
    assert_series(&t, DECISIONS("explore"), 2);
    assert_series(&t, DECISIONS("shadow"), 1);
    assert_no_series(&t, DECISIONS("overload"));
    assert_series(&t, CALLS("bid"), 4);
    assert_series(&t, CALLS("no_bid"), 6);
    assert_series(&t, CALLS("timeout"), 2);
    assert_series(&t, CALLS("error"), 1);
    assert_series(&t, CALLS("invalid"), 1);
    assert_series(&t, "bidsieve_dsp_wins_total{dsp=\"alpha\"}", 2);
    assert_series(&t, "bidsieve_dsp_revenue_cpm_total{dsp=\"alpha\"}", 3.02);
    assert_series(&t, DURATION "_bucket{dsp=\"alpha\",le=\"0.001\"}", 4); /* at the bound: below */
    assert_series(&t, DURATION "_bucket{dsp=\"alpha\",le=\"0.0025\"}", 10);
    assert_series(&t, DURATION "_bucket{dsp=\"alpha\",le=\"0.1\"}", 12);
    assert_series(&t, DURATION "_bucket{dsp=\"alpha\",le=\"1\"}", 12);
    assert_series(&t, DURATION "_bucket{dsp=\"alpha\",le=\"+Inf\"}", 13);
    assert_series(&t, DURATION "_count{dsp=\"alpha\"}", 13);
    assert_series(&t, DURATION "_sum{dsp=\"alpha\"}", 0.004 + 0.006006 + 0.2 + 3);
    char refused[128];
    snprintf(refused, sizeof(refused),
             "bidsieve_dsp_bids_refused_total{dsp=\"alpha\",reason=\"%s\"}",
             bid_refusal_name(BID_BELOW_FLOOR));
    assert_series(&t, refused, 2);
    /* A DSP that was never called is there with what rate() needs, and with nothing more. */
    assert_series(&t, "bidsieve_dsp_calls_total{dsp=\"beta\",outcome=\"timeout\"}", 0);
    assert_series(&t, "bidsieve_dsp_decisions_total{dsp=\"beta\",why=\"below_threshold\"}", 0);
    assert_no_series(&t, "bidsieve_dsp_decisions_total{dsp=\"beta\",why=\"qps\"}");
    assert_null(strstr(t.base, "bidsieve_dsp_bids_refused_total{dsp=\"beta\""));
    struct metrics_dsp_totals totals;
    metrics_dsp_totals(m, slot, &totals);
    assert_int_equal(totals.decisions[WHY_BELOW_THRESHOLD], 40);
    assert_int_equal(totals.calls[OUTCOME_NO_BID], 6);
    assert_int_equal(totals.wins, 2);
    assert_int_equal(totals.paid_micros, 3020000);
    metrics_dsp_totals(m, other, &totals);
    assert_int_equal(totals.calls[OUTCOME_NO_BID], 0);
    text_dispose(&t);
    metrics_destroy(m);
}

static void test_metrics_requests(void **state)
{
    (void)state;
    struct metrics *m = fresh(3);
    static const int statuses[] = {200, 200, 204, 400, 418, 503, 999, -1, 413};
    for (size_t i = 0; i < LENGTH(statuses); i++)
        metrics_request(metrics_shard(m, (uint32_t)i % 3), statuses[i], 250 + (uint64_t)i);
    for (uint32_t i = 0; i < 3; i++) {
        struct metrics_shard *s = metrics_shard(m, i);
        metrics_set(&s->in_flight, i);
        metrics_add(&s->auctions[AUCTION_NO_BID], i);
        metrics_filter_time(s, i == 0 ? 2 : 6000);
        metrics_clearing_price(s, i == 0 ? 0 : 1510000);
    }
    struct text t = {0};
    struct metrics_facts facts = no_facts;
    facts.currency = "EUR";
    render(m, &facts, &t);
    assert_series(&t, "bidsieve_requests_total{status=\"200\"}", 2);
    assert_series(&t, "bidsieve_requests_total{status=\"413\"}", 1);
    assert_series(&t, "bidsieve_requests_total{status=\"other\"}", 3);
    assert_series(&t, "bidsieve_requests_total{status=\"503\"}", 1);
    assert_no_series(&t, "bidsieve_requests_total{status=\"405\"}");
    assert_series(&t, "bidsieve_request_duration_seconds_bucket{le=\"0.00025\"}", 1);
    assert_series(&t, "bidsieve_request_duration_seconds_bucket{le=\"0.0005\"}", 9);
    assert_series(&t, "bidsieve_request_duration_seconds_bucket{le=\"+Inf\"}", 9);
    assert_series(&t, "bidsieve_request_duration_seconds_count", 9);
    assert_series(&t, "bidsieve_requests_in_flight", 3);
    assert_series(&t, "bidsieve_auctions_total{result=\"no_bid\"}", 3);
    assert_series(&t, "bidsieve_auctions_total{result=\"bid\"}", 0);
    assert_series(&t, "bidsieve_filter_duration_seconds_bucket{le=\"0.000002\"}", 1);
    assert_series(&t, "bidsieve_filter_duration_seconds_count", 3);
    assert_series(&t, "bidsieve_clearing_price_cpm_bucket{le=\"0.01\"}", 1);
    assert_series(&t, "bidsieve_clearing_price_cpm_bucket{le=\"2\"}", 3);
    assert_series(&t, "bidsieve_clearing_price_cpm_sum", 3.02);
    assert_non_null(strstr(t.base, "CPM in EUR."));
    assert_int_equal(metrics_in_flight(m), 3);
    struct histogram h;
    metrics_request_times(m, &h);
    assert_int_equal(h.n, 9);
    assert_int_equal(histogram_quantile(&h, 1), 258);
    text_dispose(&t);
    metrics_destroy(m);
}

static void test_metrics_facts(void **state)
{
    (void)state;
    struct metrics *m = fresh(1);
    struct text t = {0};
    render(m, &no_facts, &t);
    assert_null(strstr(t.base, "bidsieve_model_info{"));
    assert_null(strstr(t.base, "bidsieve_model_age"));
    assert_null(strstr(t.base, "bidsieve_capture"));
    assert_series(&t, "bidsieve_reloads_total{result=\"failure\"}", 0);
    metrics_count_reload(m, true);
    metrics_count_reload(m, false);
    metrics_count_reload(m, false);
    const struct metrics_facts facts = {.generation = 7,
                                        .dsps = 3,
                                        .model_version = "2026\"a\\b\nc",
                                        .model_age_seconds = 3600.5,
                                        .model_stale = true};
    render(m, &facts, &t);
    assert_series(&t, "bidsieve_reloads_total{result=\"success\"}", 1);
    assert_series(&t, "bidsieve_reloads_total{result=\"failure\"}", 2);
    assert_series(&t, "bidsieve_config_generation", 7);
    assert_series(&t, "bidsieve_dsps", 3);
    assert_series(&t, "bidsieve_model_info{version=\"2026\\\"a\\\\b\\nc\"}", 1);
    assert_series(&t, "bidsieve_model_age_seconds", 3600.5);
    assert_series(&t, "bidsieve_model_stale", 1);
    assert_series(&t, "bidsieve_build_info{version=\"" BIDSIEVE_VERSION "\"}", 1);
    assert_true(value_in(&t, "process_start_time_seconds") > 1.6e9);
    assert_true(value_in(&t, "bidsieve_config_last_reload_success_timestamp_seconds") > 1.6e9);
    assert_true(value_in(&t, "process_resident_memory_bytes") > 100000);
    assert_true(value_in(&t, "process_open_fds") >= 1);
    assert_true(value_in(&t, "process_cpu_seconds_total") >= 0);
    text_dispose(&t);
    metrics_destroy(m);
    metrics_destroy(NULL);
}

static void test_metrics_lag_is_since_the_last_scrape(void **state)
{
    (void)state;
    struct metrics *m = fresh(2);
    struct text t = {0};
    metrics_lag(metrics_shard(m, 0), 1500);
    metrics_lag(metrics_shard(m, 0), 200);
    metrics_lag(metrics_shard(m, 1), 700);
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_event_loop_lag_seconds", 0.0015);
    metrics_lag(metrics_shard(m, 1), 300);
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_event_loop_lag_seconds", 0.0003);
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_event_loop_lag_seconds", 0);
    text_dispose(&t);
    metrics_destroy(m);
}

static void test_metrics_connections_add_up(void **state)
{
    (void)state;
    struct metrics *m = fresh(2);
    uint32_t slot = metrics_dsp_slot(m, "a");
    struct text t = {0};
    const struct dsp_client_stats one = {.open = 10, .idle = 3, .connecting = 2, .draining = 1};
    const struct dsp_client_stats two = {.open = 1, .idle = 1};
    metrics_connections(metrics_shard(m, 0), slot, &one);
    metrics_connections(metrics_shard(m, 1), slot, &two);
    metrics_connections(metrics_shard(m, 1), slot, &two); /* a gauge is set, not added to */
    struct metrics_dsp_totals totals;
    metrics_dsp_totals(m, slot, &totals);
    assert_true(totals.health_share == 1);
    metrics_health(metrics_shard(m, 0), slot, 0.02);
    metrics_dsp_totals(m, slot, &totals);
    assert_float_equal(totals.health_share, (0.02 + 1) / 2, 1e-6);
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_dsp_connections{dsp=\"a\",state=\"busy\"}", 4);
    assert_series(&t, "bidsieve_dsp_connections{dsp=\"a\",state=\"idle\"}", 4);
    assert_series(&t, "bidsieve_dsp_connections{dsp=\"a\",state=\"connecting\"}", 2);
    assert_series(&t, "bidsieve_dsp_connections{dsp=\"a\",state=\"draining\"}", 1);
    text_dispose(&t);
    metrics_destroy(m);
}

static void test_metrics_dsp_slot_is_for_life(void **state)
{
    (void)state;
    struct metrics *m = fresh(2);
    uint32_t a = metrics_dsp_slot(m, "a"), b = metrics_dsp_slot(m, "b");
    struct metrics_dsp *of_a = metrics_dsp(metrics_shard(m, 1), a);
    metrics_add(&of_a->wins, 1);
    assert_true(a != b);
    for (int i = 0; i < 400; i++) {
        char name[32];
        snprintf(name, sizeof(name), "later-%d", i);
        metrics_dsp_slot(m, name);
    }
    assert_int_equal(metrics_dsp_slot(m, "a"), a);
    assert_int_equal(metrics_dsp_slot(m, "b"), b);
    assert_ptr_equal(metrics_dsp(metrics_shard(m, 1), a), of_a);
    metrics_add(&of_a->wins, 1);
    struct text t = {0};
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_dsp_wins_total{dsp=\"a\"}", 2);
    text_dispose(&t);
    metrics_destroy(m);
}

/* Names without end share one series, so that the text is bounded. */
static void test_metrics_dsp_slot_bounded(void **state)
{
    (void)state;
    struct metrics *m = fresh(1);
    struct text t = {0};
    uint32_t last = 0;
    for (int i = 0; i < METRICS_DSPS_MAX + 50; i++) {
        char name[32];
        snprintf(name, sizeof(name), "d%d", i);
        uint32_t slot = metrics_dsp_slot(m, name);
        assert_true(slot < METRICS_DSPS_MAX);
        if (i == METRICS_DSPS_MAX - 2) {
            render(m, &no_facts, &t);
            assert_null(strstr(t.base, "_other"));
        }
        if (i >= METRICS_DSPS_MAX) {
            assert_int_equal(slot, last);
            metrics_add(&metrics_dsp(metrics_shard(m, 0), slot)->wins, 1);
        }
        last = slot;
    }
    assert_int_equal(metrics_dsp_slot(m, "d5"), 5);
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_dsp_wins_total{dsp=\"_other\"}", 50);
    text_dispose(&t);
    metrics_destroy(m);
}

static void test_metrics_capture(void **state)
{
    (void)state;
    char folder[] = "/tmp/bidsieve-metrics-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const struct capture_options o = {.directory = folder,
                                      .segment_bytes_max = 1 << 20,
                                      .segment_seconds_max = 60,
                                      .queue_bytes_max = 100};
    struct error err;
    struct metrics *m = fresh(1);
    struct metrics_facts facts = no_facts;
    facts.capture = capture_writer_create(&o, &err);
    assert_non_null(facts.capture);
    char line[200];
    memset(line, ' ', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    assert_false(capture_append(facts.capture, (struct bytes){line, sizeof(line)}));
    assert_true(capture_append(facts.capture, (struct bytes){line + 150, 50}));
    capture_flush(facts.capture);
    metrics_add(&metrics_shard(m, 0)->capture_skipped, 4);
    struct text t = {0};
    render(m, &facts, &t);
    assert_series(&t, "bidsieve_capture_records_total", 1);
    assert_series(&t, "bidsieve_capture_dropped_total", 1);
    assert_series(&t, "bidsieve_capture_skipped_total", 4);
    assert_series(&t, "bidsieve_capture_written_bytes_total", 50);
    assert_series(&t, "bidsieve_capture_write_errors_total", 0);
    text_dispose(&t);
    metrics_destroy(m);
    capture_writer_destroy(facts.capture);
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---- the text as a whole ---- */

/* Every series of every closed set, awkward names included. */
static struct metrics *with_everything(void)
{
    static const char *const names[] = {"alpha", "a \"quoted\" \\ name\nof two lines", "b\xc3\xa4"};
    struct metrics *m = fresh(2);
    for (size_t n = 0; n < LENGTH(names); n++) {
        uint32_t slot = metrics_dsp_slot(m, names[n]);
        struct metrics_shard *s = metrics_shard(m, n % 2);
        for (int why = 0; why < WHY_COUNT; why++) {
            struct auction_dsp d = ended((enum why)why, OUTCOME_NOT_CALLED, 0);
            metrics_auction_dsp(s, slot, &d);
        }
        for (int outcome = OUTCOME_PENDING; outcome < OUTCOME_COUNT; outcome++) {
            struct auction_dsp d = ended(WHY_SCORE, (enum auction_outcome)outcome, 20000);
            for (int reason = 0; reason < BID_REFUSALS; reason++)
                d.refused[reason] = 1;
            metrics_auction_dsp(s, slot, &d);
        }
        for (int result = 0; result < DSP_CALL_RESULTS; result++)
            metrics_add(&metrics_dsp(s, slot)->transport[result], 1);
    }
    for (int status = 0; status < 1000; status++)
        metrics_request(metrics_shard(m, 0), status, (uint64_t)status * 2000);
    return m;
}

static const struct metrics_facts all_facts = {.generation = 1,
                                               .dsps = 3,
                                               .model_version = "20261122T091500Z-3f9c",
                                               .model_age_seconds = 12.25,
                                               .currency = "USD"};

/* A reason that is added must get its name, where its enum lives. */
static void test_metrics_every_value_has_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < WHY_COUNT; i++)
        if (why_name((enum why)i) == NULL)
            fail_msg("why_name(%d) is NULL; WHY_RULE_FIRST is %d", i, WHY_RULE_FIRST);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        assert_non_null(auction_outcome_name((enum auction_outcome)i));
    for (int i = 0; i < BID_REFUSALS; i++)
        assert_non_null(bid_refusal_name((enum bid_refusal)i));
    for (int i = 0; i < DSP_CALL_RESULTS; i++)
        assert_non_null(dsp_result_name((enum dsp_result)i));
}

/* Each sample belongs to the family announced last, no family comes twice, no series twice. */
static void test_metrics_render_well_formed(void **state)
{
    (void)state;
    struct metrics *m = with_everything();
    struct text t = {0};
    render(m, &all_facts, &t);
    char *copy = strdup(t.base), *rest = copy, *line, family[128] = "";
    size_t n = 0;
    char **series = calloc(10000, sizeof(*series));
    assert_int_equal(t.base[t.len - 1], '\n');
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %127s", family), 1);
            char again[160];
            snprintf(again, sizeof(again), "# HELP %s ", family);
            assert_null(strstr(strstr(t.base, again) + 1, again));
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
            continue;
        }
        size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
        assert_true(line[name] == '{' || line[name] == ' ');
        assert_int_equal(strncmp(line, family, strlen(family)), 0);
        char *value = strrchr(line, ' '), *end;
        strtod(value, &end);
        assert_int_equal(*end, '\0');
        *value = '\0';
        for (size_t i = 0; i < n; i++)
            assert_string_not_equal(series[i], line);
        assert_true(n < 10000);
        series[n++] = line;
    }
    assert_true(n > 200);
    assert_null(strstr(t.base, "(null)"));
    free(series);
    free(copy);
    text_dispose(&t);
    metrics_destroy(m);
}

static void test_metrics_render_promtool(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        print_message("skipped: no promtool (Debian package prometheus)\n");
        skip();
    }
    struct metrics *m = with_everything();
    struct text t = {0};
    render(m, &all_facts, &t);
    FILE *promtool = popen("promtool check metrics", "w");
    assert_non_null(promtool);
    assert_int_equal(fwrite(t.base, 1, t.len, promtool), t.len);
    int status = pclose(promtool);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    text_dispose(&t);
    metrics_destroy(m);
}

/* ---- beside writers ---- */

enum { ROUNDS = 20000 };

struct writer {
    struct metrics *metrics;
    uint32_t shard, slot;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;
    struct metrics_shard *s = metrics_shard(w->metrics, w->shard);
    for (int i = 0; i < ROUNDS; i++) {
        struct auction_dsp d = ended(WHY_SCORE, OUTCOME_BID, (uint64_t)i);
        metrics_auction_dsp(s, w->slot, &d);
        metrics_request(s, 200, (uint64_t)i);
        metrics_lag(s, (uint64_t)i);
    }
    return NULL;
}

/* Two loops count, names are added, a scrape runs: no count is lost, none ever falls. */
static void test_metrics_render_beside_writers(void **state)
{
    (void)state;
    struct metrics *m = fresh(2);
    uint32_t slot = metrics_dsp_slot(m, "a");
    struct writer writers[] = {{m, 0, slot}, {m, 1, slot}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    struct text t = {0};
    double before = 0;
    for (int i = 0; before < 2 * ROUNDS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d", i % 100);
        metrics_dsp_slot(m, name);
        render(m, &no_facts, &t);
        double now = value_in(&t, "bidsieve_dsp_calls_total{dsp=\"a\",outcome=\"bid\"}");
        assert_true(now >= before && now <= 2 * ROUNDS);
        assert_true(value_in(&t, "bidsieve_request_duration_seconds_bucket{le=\"+Inf\"}") ==
                    value_in(&t, "bidsieve_request_duration_seconds_count"));
        before = now;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    render(m, &no_facts, &t);
    assert_series(&t, "bidsieve_requests_total{status=\"200\"}", 2 * ROUNDS);
    text_dispose(&t);
    metrics_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_funnel_of_a_dsp),
        cmocka_unit_test(test_metrics_requests),
        cmocka_unit_test(test_metrics_facts),
        cmocka_unit_test(test_metrics_lag_is_since_the_last_scrape),
        cmocka_unit_test(test_metrics_connections_add_up),
        cmocka_unit_test(test_metrics_dsp_slot_is_for_life),
        cmocka_unit_test(test_metrics_dsp_slot_bounded),
        cmocka_unit_test(test_metrics_capture),
        cmocka_unit_test(test_metrics_every_value_has_a_name),
        cmocka_unit_test(test_metrics_render_well_formed),
        cmocka_unit_test(test_metrics_render_promtool),
        cmocka_unit_test(test_metrics_render_beside_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
