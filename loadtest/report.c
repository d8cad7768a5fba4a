/* For each captured request the world says what every DSP would have bid. The auction is run twice
 * over these bids: with all of them, and with those of the DSPs that were asked. The difference is
 * what withholding cost. Late and failed answers count in neither, nor do calls that were left out
 * for other reasons than the filter's, so that the filter alone is judged; they are told beside. */
#include "loadtest/report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "hash.h"
#include "proxy/auction.h"

enum { DAY_MS = 86400000, INCREMENT_MICROS = 10000 };

void report_init(struct report *r, const struct world *w, int32_t first_day, int32_t end_day)
{
    *r = (struct report){.world = w, .first_day = first_day, .end_day = end_day};
    r->dsps = calloc(w->n_buyers + 1, sizeof(*r->dsps));
    if (r->dsps == NULL)
        abort();
}

void report_dispose(struct report *r)
{
    for (uint32_t i = 0; i < r->world->n_buyers; i++)
        truth_dispose(&r->dsps[i].truth);
    free(r->dsps);
    arena_dispose(&r->arena);
}

struct offer {
    struct buyer_bid bid;
    uint32_t dsp;
    bool asked;
};

static void observe(struct report_dsp *d, const struct capture_dsp *seen, bool bids)
{
    if (bytes_is(seen->outcome, "timeout"))
        d->timeouts++;
    else if (bytes_is(seen->outcome, "error"))
        d->errors++;
    else if (bytes_is(seen->outcome, "invalid"))
        d->invalid++;
    else if (bytes_is(seen->outcome, bids ? "no_bid" : "bid"))
        d->disagreements++;
}

/* Whether it was the filter (or a rule) that decided not to call. */
static bool filter_decided(const struct capture_dsp *seen)
{
    static const char RULE[] = "rule:";
    return seen->sent || seen->why.len == 0 || bytes_is(seen->why, "below_threshold") ||
           (seen->why.len > 5 && memcmp(seen->why.base, RULE, 5) == 0);
}

static uint32_t judge_dsp(struct report *r, const struct view *v, const struct capture_dsp *seen,
                          struct offer out[VIEW_IMPS_MAX])
{
    int32_t dsp = world_find_buyer(r->world, seen->dsp);
    if (dsp < 0)
        return 0;
    const struct buyer *buyer = &r->world->buyers[dsp];
    struct report_dsp *d = &r->dsps[dsp];
    if (!filter_decided(seen)) {
        d->skipped++;
        return 0;
    }
    double p = buyer_probability(buyer, v);
    struct buyer_bid bids[VIEW_IMPS_MAX];
    uint32_t n = buyer_bids(buyer, v, bids);
    truth_add(&d->truth, p);
    d->requests++;
    d->expected += p;
    d->bids += n > 0;
    if (seen->sent) {
        d->sent++;
        d->explored += bytes_is(seen->why, "explore");
        d->expected_sent += p;
        d->bids_sent += n > 0;
        observe(d, seen, n > 0);
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct offer){bids[i], (uint32_t)dsp, seen->sent};
    return n;
}

/* The winner of the imp among those asked, or among all; what it pays goes to its account. */
static bool settle(struct report *r, const struct view *v, const struct offer *offers, uint32_t n,
                   uint32_t imp, bool only_asked)
{
    struct contender *c = arena_alloc(&r->arena, (n + 1) * sizeof(*c));
    uint32_t n_contenders = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (offers[i].bid.imp != imp || (only_asked && !offers[i].asked))
            continue;
        const struct buyer *b = &r->world->buyers[offers[i].dsp];
        c[n_contenders++] = (struct contender){.dsp = offers[i].dsp,
                                               .price_micros = offers[i].bid.price_micros,
                                               .floor_micros = offers[i].bid.floor_micros,
                                               .first_price = v->request->at == 1,
                                               .tie = hash_mix(v->auction ^ b->key)};
    }
    int64_t paid = 0;
    int winner = n_contenders > 0 ? clearing(c, n_contenders, INCREMENT_MICROS, &paid) : -1;
    if (winner < 0)
        return false;
    struct report_dsp *d = &r->dsps[c[winner].dsp];
    if (only_asked)
        d->revenue_kept_micros += paid;
    else
        d->revenue_micros += paid;
    return true;
}

void report_add(struct report *r, const struct capture_record *record)
{
    int64_t since = record->ts_ms - r->world->scenario->start_ms;
    if (since < r->first_day * (int64_t)DAY_MS || since >= r->end_day * (int64_t)DAY_MS) {
        r->other_days++;
        return;
    }
    arena_reset(&r->arena, 1 << 22);
    struct bid_request request;
    struct bid_request_error fault;
    if (!bid_request_scan(&request, record->request, 0, &r->arena, &fault)) {
        r->unreadable++;
        return;
    }
    struct view v;
    view_make(&v, r->world->traffic, &request, record->ts_ms);
    struct offer *offers =
        arena_alloc(&r->arena, ((size_t)record->n_dsps * VIEW_IMPS_MAX + 1) * sizeof(*offers));
    uint32_t n = 0;
    for (uint32_t i = 0; i < record->n_dsps; i++)
        n += judge_dsp(r, &v, &record->dsps[i], offers + n);
    bool shown = false, shown_kept = false;
    for (uint32_t imp = 0; imp < v.n_imps; imp++) {
        shown = settle(r, &v, offers, n, imp, false) || shown;
        shown_kept = settle(r, &v, offers, n, imp, true) || shown_kept;
    }
    r->auctions++;
    r->shown += shown;
    r->shown_kept += shown_kept;
}

/* ---- printing ---- */

struct figures {
    double withheld, recall, recall_counted, optimal, revenue_kept; /* shares; NAN = undefined */
};

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

static struct figures figures_of(struct report_dsp *d)
{
    struct figures f;
    f.withheld = share((double)(d->requests - d->sent), (double)d->requests);
    f.recall = share(d->expected_sent, d->expected);
    f.recall_counted = share((double)d->bids_sent, (double)d->bids);
    f.optimal = isnan(f.recall) ? NAN : truth_withheld(&d->truth, f.recall);
    f.revenue_kept = share((double)d->revenue_kept_micros, (double)d->revenue_micros);
    return f;
}

static void add_up(const struct report *r, struct report_dsp *total)
{
    *total = (struct report_dsp){0};
    for (uint32_t i = 0; i < r->world->n_buyers; i++) {
        const struct report_dsp *d = &r->dsps[i];
        total->requests += d->requests;
        total->sent += d->sent;
        total->explored += d->explored;
        total->skipped += d->skipped;
        total->bids += d->bids;
        total->bids_sent += d->bids_sent;
        total->expected += d->expected;
        total->expected_sent += d->expected_sent;
        total->timeouts += d->timeouts;
        total->errors += d->errors;
        total->invalid += d->invalid;
        total->disagreements += d->disagreements;
        total->revenue_micros += d->revenue_micros;
        total->revenue_kept_micros += d->revenue_kept_micros;
    }
}

/* Calls that an optimal filter withholds when it keeps each DSP's own recall. */
static double optimal_in_total(struct report *r)
{
    double withheld = 0, requests = 0;
    for (uint32_t i = 0; i < r->world->n_buyers; i++) {
        struct figures f = figures_of(&r->dsps[i]);
        withheld += isnan(f.optimal) ? 0 : f.optimal * (double)r->dsps[i].requests;
        requests += (double)r->dsps[i].requests;
    }
    return share(withheld, requests);
}

static void print_percent(FILE *out, int width, double x)
{
    if (isnan(x))
        fprintf(out, "%*s", width, "-");
    else
        fprintf(out, "%*.1f%%", width - 1, 100 * x);
}

static void print_row(FILE *out, const char *name, const struct report_dsp *d,
                      const struct figures *f)
{
    char counted[48];
    snprintf(counted, sizeof(counted), "%llu/%llu", (unsigned long long)d->bids_sent,
             (unsigned long long)d->bids);
    fprintf(out, "%-10.10s %9llu %9llu", name, (unsigned long long)d->requests,
            (unsigned long long)d->sent);
    print_percent(out, 9, f->withheld);
    print_percent(out, 9, f->optimal);
    print_percent(out, 8, f->recall);
    fprintf(out, " %14s", counted);
    print_percent(out, 9, f->revenue_kept);
    fprintf(out, " %7llu %6llu\n", (unsigned long long)d->timeouts,
            (unsigned long long)(d->errors + d->invalid));
}

void report_print(struct report *r, FILE *out)
{
    fprintf(out, "%-10s %9s %9s %8s %8s %7s %14s %8s %7s %6s\n", "DSP", "requests", "sent",
            "withheld", "optimal", "recall", "bids kept", "revenue", "timeout", "errors");
    for (uint32_t i = 0; i < r->world->n_buyers; i++) {
        struct figures f = figures_of(&r->dsps[i]);
        if (r->dsps[i].requests > 0)
            print_row(out, r->world->buyers[i].name, &r->dsps[i], &f);
    }
    struct report_dsp total;
    add_up(r, &total);
    struct figures f = figures_of(&total);
    f.optimal = optimal_in_total(r);
    print_row(out, "all", &total, &f);
    fprintf(out, "\n%llu auctions; an ad shown on ", (unsigned long long)r->auctions);
    print_percent(out, 1, share((double)r->shown_kept, (double)r->auctions));
    fprintf(out, ", without the filter on ");
    print_percent(out, 1, share((double)r->shown, (double)r->auctions));
    fprintf(out,
            "\nwithheld: calls not made; optimal: what a filter that knows the truth withholds "
            "at the same recall;\nrecall: expected bids on calls made / on all; revenue: kept, of "
            "auctions re-run over the true bids\n");
    if (r->unreadable > 0)
        fprintf(out, "%llu records hold a request that cannot be read\n",
                (unsigned long long)r->unreadable);
    if (total.skipped > 0)
        fprintf(
            out,
            "%llu calls were left out by something else than the filter (health, caps, overload) "
            "and do not\ncount above\n",
            (unsigned long long)total.skipped);
    if (total.disagreements > 0)
        fprintf(out,
                "%llu answers differ from what the world says: another scenario, another clock, or "
                "masked ids\n",
                (unsigned long long)total.disagreements);
}

static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static json_t *row_json(const char *name, const struct report_dsp *d, const struct figures *f)
{
    json_t *row = json_object();
    json_object_set_new(row, "dsp", json_string(name));
    json_object_set_new(row, "requests", json_integer((json_int_t)d->requests));
    json_object_set_new(row, "sent", json_integer((json_int_t)d->sent));
    json_object_set_new(row, "explored", json_integer((json_int_t)d->explored));
    json_object_set_new(row, "skipped", json_integer((json_int_t)d->skipped));
    json_object_set_new(row, "withheld", number(f->withheld));
    json_object_set_new(row, "optimal_withheld", number(f->optimal));
    json_object_set_new(row, "true_bids", json_integer((json_int_t)d->bids));
    json_object_set_new(row, "true_bids_sent", json_integer((json_int_t)d->bids_sent));
    json_object_set_new(row, "expected_bids", number(d->expected));
    json_object_set_new(row, "recall", number(f->recall));
    json_object_set_new(row, "recall_counted", number(f->recall_counted));
    json_object_set_new(row, "revenue", number((double)d->revenue_micros * 1e-9));
    json_object_set_new(row, "revenue_after", number((double)d->revenue_kept_micros * 1e-9));
    json_object_set_new(row, "revenue_kept", number(f->revenue_kept));
    json_object_set_new(row, "timeouts", json_integer((json_int_t)d->timeouts));
    json_object_set_new(row, "errors", json_integer((json_int_t)d->errors));
    json_object_set_new(row, "invalid", json_integer((json_int_t)d->invalid));
    json_object_set_new(row, "disagreements", json_integer((json_int_t)d->disagreements));
    return row;
}

void report_print_json(struct report *r, FILE *out)
{
    json_t *root = json_object(), *rows = json_array();
    for (uint32_t i = 0; i < r->world->n_buyers; i++) {
        struct figures f = figures_of(&r->dsps[i]);
        json_array_append_new(rows, row_json(r->world->buyers[i].name, &r->dsps[i], &f));
    }
    struct report_dsp total;
    add_up(r, &total);
    struct figures f = figures_of(&total);
    f.optimal = optimal_in_total(r);
    json_object_set_new(root, "scenario", json_string(r->world->scenario->name));
    json_object_set_new(root, "days", json_pack("[i,i]", r->first_day, r->end_day));
    json_object_set_new(root, "auctions", json_integer((json_int_t)r->auctions));
    json_object_set_new(root, "unreadable", json_integer((json_int_t)r->unreadable));
    json_object_set_new(root, "shown", json_integer((json_int_t)r->shown));
    json_object_set_new(root, "shown_after", json_integer((json_int_t)r->shown_kept));
    json_object_set_new(root, "dsps", rows);
    json_object_set_new(root, "total", row_json("all", &total, &f));
    json_dumpf(root, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', out);
    json_decref(root);
}
