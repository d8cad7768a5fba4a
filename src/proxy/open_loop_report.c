/* The report of an open-loop run. */
#include "proxy/open_loop_report.h"

#include <math.h>

#include <jansson.h>

/* Whether the sender itself held the rate: the figures are about the server only then. */
static bool kept_up(const struct open_loop_result *r, double rate)
{
    return rate == 0 || ((double)r->late <= 0.01 * (double)r->sent &&
                         r->send_seconds <= r->due_seconds * 1.02 + 0.05);
}

static double achieved(const struct open_loop_result *r)
{
    return r->seconds > 0 ? (double)r->answered / r->seconds : 0;
}

static const struct {
    const char *name;
    double q;
} QUANTILES[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99.9", .999}};

static void print_latency(FILE *out, const char *name, const struct histogram *h)
{
    fprintf(out, "%-10s", name);
    for (size_t i = 0; i < sizeof(QUANTILES) / sizeof(QUANTILES[0]); i++)
        fprintf(out, " %s %.2f ms ", QUANTILES[i].name,
                (double)histogram_quantile(h, QUANTILES[i].q) * 1e-3);
    fprintf(out, " max %.2f ms\n", (double)h->max * 1e-3);
}

static void print_text(FILE *out, const struct open_loop_result *r, double rate)
{
    fprintf(out, "sent       %llu in %.2f s, %.1f answered a second", (unsigned long long)r->sent,
            r->seconds, achieved(r));
    if (rate > 0)
        fprintf(out, " (%g asked)", rate);
    fprintf(out, "\nstatus    ");
    for (int i = 0; i < OPEN_LOOP_STATUS_MAX; i++) {
        if (r->statuses[i] > 0)
            fprintf(out, " %d: %llu", i, (unsigned long long)r->statuses[i]);
    }
    fprintf(out, "\nfailed     %llu", (unsigned long long)open_loop_failures(r));
    if (r->timeouts > 0)
        fprintf(out, "  timeout: %llu", (unsigned long long)r->timeouts);
    for (int i = 0; i < DSP_CALL_RESULTS; i++) {
        if (r->errors[i] > 0)
            fprintf(out, "  %s: %llu", dsp_result_name((enum dsp_result)i),
                    (unsigned long long)r->errors[i]);
    }
    fputc('\n', out);
    if (rate != 0)
        print_latency(out, "latency", &r->latency);
    print_latency(out, rate != 0 ? "service" : "latency", &r->service);
    if (rate != 0)
        fprintf(out,
                "\nlatency: from when a request was due; service: from when it was sent; late: "
                "%llu\n",
                (unsigned long long)r->late);
    if (!kept_up(r, rate))
        fprintf(
            out,
            "The rate was NOT kept up: %.1f a second were sent, %.1f%% of them late. Either this "
            "generator\nor the server is at its limit.\n",
            (double)r->sent / fmax(r->send_seconds, 1e-9),
            100.0 * (double)r->late / (double)r->sent);
}

static json_t *latency_json(const struct histogram *h)
{
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof(QUANTILES) / sizeof(QUANTILES[0]); i++)
        json_object_set_new(o, QUANTILES[i].name,
                            json_integer((json_int_t)histogram_quantile(h, QUANTILES[i].q)));
    json_object_set_new(o, "max", json_integer((json_int_t)h->max));
    json_object_set_new(o, "mean", json_real(h->n > 0 ? (double)h->sum / (double)h->n : 0));
    return o;
}

static void print_json(FILE *out, const struct open_loop_result *r, double rate)
{
    json_t *root = json_object(), *statuses = json_object(), *errors = json_object();
    for (int i = 0; i < OPEN_LOOP_STATUS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        if (r->statuses[i] > 0)
            json_object_set_new(statuses, name, json_integer((json_int_t)r->statuses[i]));
    }
    if (r->timeouts > 0)
        json_object_set_new(errors, "timeout", json_integer((json_int_t)r->timeouts));
    for (int i = 0; i < DSP_CALL_RESULTS; i++) {
        if (r->errors[i] > 0)
            json_object_set_new(errors, dsp_result_name((enum dsp_result)i),
                                json_integer((json_int_t)r->errors[i]));
    }
    json_object_set_new(root, "sent", json_integer((json_int_t)r->sent));
    json_object_set_new(root, "answered", json_integer((json_int_t)r->answered));
    json_object_set_new(root, "failed", json_integer((json_int_t)open_loop_failures(r)));
    json_object_set_new(root, "status", statuses);
    json_object_set_new(root, "errors", errors);
    json_object_set_new(root, "seconds", json_real(r->seconds));
    json_object_set_new(root, "rate_asked", rate > 0 ? json_real(rate) : json_null());
    json_object_set_new(root, "rate_achieved", json_real(achieved(r)));
    json_object_set_new(root, "latency_us", latency_json(&r->latency));
    json_object_set_new(root, "service_us", latency_json(&r->service));
    json_object_set_new(root, "late", json_integer((json_int_t)r->late));
    json_object_set_new(root, "kept_up", json_boolean(kept_up(r, rate)));
    json_dumpf(root, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', out);
    json_decref(root);
}

void open_loop_report(FILE *out, const struct open_loop_result *r, double rate, bool json)
{
    if (json)
        print_json(out, r, rate);
    else
        print_text(out, r, rate);
}
