/* Pairs are kept by DSP, because everything that is asked of them is asked a DSP at a time. */
#include "filter/judgement.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "filter/grown.h"

/* Kernels agree to about 1e-5 of p. */
#define HAIR_LESS 0.99998f

struct pairs { /* of one DSP */
    float *p, *weight, *price;
    uint8_t *label;
    uint64_t n, room;
};

struct judgement {
    uint32_t n_dsps;
    struct pairs dsps[];
};

struct judgement *judgement_create(uint32_t n_dsps)
{
    struct judgement *j = calloc(1, sizeof(*j) + n_dsps * sizeof(j->dsps[0]));
    if (j != NULL)
        j->n_dsps = n_dsps;
    return j;
}

void judgement_destroy(struct judgement *j)
{
    for (uint32_t d = 0; j != NULL && d < j->n_dsps; d++) {
        free(j->dsps[d].p);
        free(j->dsps[d].weight);
        free(j->dsps[d].price);
        free(j->dsps[d].label);
    }
    free(j);
}

void judgement_add(struct judgement *j, uint32_t dsp, float p, bool bid, float weight, float price)
{
    assert(dsp < j->n_dsps);
    struct pairs *s = &j->dsps[dsp];
    if (s->n == s->room) {
        s->room = s->room == 0 ? 1024 : s->room * 2;
        s->p = grown(s->p, s->room, sizeof(*s->p));
        s->weight = grown(s->weight, s->room, sizeof(*s->weight));
        s->price = grown(s->price, s->room, sizeof(*s->price));
        s->label = grown(s->label, s->room, sizeof(*s->label));
    }
    s->p[s->n] = p;
    s->weight[s->n] = weight;
    s->price[s->n] = price;
    s->label[s->n++] = bid;
}

int judgement_score(struct judgement *j, const struct scorer *scorer,
                    const struct network_shape *shape, const struct examples *e, const float *price)
{
    uint32_t n_slots = network_shape_slots(shape), room = 0;
    uint32_t *dsps = NULL;
    float *p = NULL;
    struct scorer_scratch *scratch = scorer_scratch_create(scorer);
    if (scratch == NULL)
        return -1;
    for (uint64_t from = 0, to; from < e->n_pairs; from = to) {
        uint32_t r = e->request[from], n = 0;
        for (to = from; to < e->n_pairs && e->request[to] == r; to++)
            ;
        if (to - from > room) {
            room = (uint32_t)(to - from) * 2;
            dsps = grown(dsps, room, sizeof(*dsps));
            p = grown(p, room, sizeof(*p));
        }
        for (uint64_t i = from; i < to; i++)
            dsps[n++] = e->dsp[i];
        scorer_score(scorer, scratch, e->slots + (size_t)r * n_slots,
                     e->numeric + (size_t)r * shape->n_numeric, dsps, n, p);
        for (uint64_t i = from; i < to; i++)
            judgement_add(j, e->dsp[i], p[i - from], e->label[i] != 0, e->weight[i],
                          price != NULL ? price[i] : 0);
    }
    scorer_scratch_destroy(scratch);
    free(dsps);
    free(p);
    return 0;
}

struct judgement *judgement_of_network(const struct network *n, const struct examples *e,
                                       const float *price, struct error *err)
{
    struct scorer *scorer = scorer_create(n, err);
    if (scorer == NULL)
        return NULL;
    struct judgement *j = judgement_create(n->shape.n_dsps);
    if (j == NULL || judgement_score(j, scorer, &n->shape, e, price) != 0) {
        error_set(err, "out of memory");
        judgement_destroy(j);
        j = NULL;
    }
    scorer_destroy(scorer);
    return j;
}

static struct scored_pairs as_scored(const struct pairs *s)
{
    return (struct scored_pairs){s->n, s->p, s->label, s->weight, NULL};
}

struct scored_pairs judgement_pairs(const struct judgement *j, uint32_t dsp)
{
    return as_scored(&j->dsps[dsp]);
}

int judgement_calibrate(struct judgement *j, struct calibration *out, struct error *err)
{
    struct scored_pairs *groups = malloc(((size_t)j->n_dsps + 1) * sizeof(*groups));
    int status = groups != NULL ? 0 : -1;
    for (uint32_t d = 0; status == 0 && d < j->n_dsps; d++)
        groups[d] = as_scored(&j->dsps[d]);
    if (status == 0)
        status = calibration_fit(groups, j->n_dsps, out);
    free(groups);
    if (status != 0)
        return error_set(err, "calibration: out of memory");
    for (uint32_t d = 0; d < j->n_dsps; d++)
        for (uint64_t i = 0; i < j->dsps[d].n; i++)
            j->dsps[d].p[i] = calibration_apply(out[d], j->dsps[d].p[i]);
    return 0;
}

/* ---- curves ---- */

static int no_memory(struct error *err)
{
    return error_set(err, "recall curves: out of memory");
}

static bool counts_as_bid(const struct pairs *s, uint64_t i)
{
    return s->label[i] && s->price[i] > 0;
}

static bool has_prices(const struct pairs *s)
{
    uint64_t bids = 0, known = 0;
    for (uint64_t i = 0; i < s->n; i++) {
        bids += s->label[i];
        known += counts_as_bid(s, i);
    }
    return known > 0 && 2 * known >= bids;
}

static int curve_of_value(struct recall_curve *to, const struct pairs *s, double confidence,
                          struct error *err)
{
    struct judgement *kept = judgement_create(1);
    if (kept == NULL)
        return no_memory(err);
    for (uint64_t i = 0; i < s->n; i++)
        if (!s->label[i] || counts_as_bid(s, i))
            judgement_add(kept, 0, s->p[i], s->label[i] != 0, s->weight[i], s->price[i]);
    struct scored_pairs pairs = as_scored(&kept->dsps[0]);
    pairs.price = kept->dsps[0].price;
    int status = recall_curve_build_with(to, &pairs, confidence, err);
    judgement_destroy(kept);
    return status;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The largest score below x. When there is none, all are sent: it is far below, then. */
static float next_below(const float *sorted, uint64_t n, float x)
{
    uint64_t from = 0, to = n; /* all before `from` are below x, none from `to` on is */
    while (from < to) {
        uint64_t middle = from + (to - from) / 2;
        if (sorted[middle] < x)
            from = middle + 1;
        else
            to = middle;
    }
    return from > 0 && sorted[from - 1] > 0 ? sorted[from - 1] : x / 4;
}

/* Half way, as a ratio, to the next score below: it parts the same calls. Where many score alike,
 * the network that is trained once more has them a little higher or lower, and they must not all
 * fall on the other side. */
static int lower_thresholds(struct recall_curve *c, const struct pairs *s)
{
    float *sorted = malloc((s->n + 1) * sizeof(*sorted));
    if (sorted == NULL)
        return -1;
    memcpy(sorted, s->p, s->n * sizeof(*sorted));
    qsort(sorted, s->n, sizeof(*sorted), by_size);
    for (uint32_t i = 0; i < c->n; i++) {
        float at = c->points[i].threshold, between = sqrtf(at * next_below(sorted, s->n, at));
        c->points[i].threshold = fminf(at * HAIR_LESS, between);
    }
    free(sorted);
    return 0;
}

static struct recall_curve *curve_of(const struct pairs *s, enum recall_of of, double confidence,
                                     struct error *err)
{
    struct recall_curve *c = malloc(sizeof(*c));
    struct scored_pairs pairs = as_scored(s);
    int status = c == NULL               ? no_memory(err)
                 : of == RECALL_OF_VALUE ? curve_of_value(c, s, confidence, err)
                                         : recall_curve_build_with(c, &pairs, confidence, err);
    if (status != 0) {
        free(c);
        return NULL;
    }
    if (lower_thresholds(c, s) == 0)
        return c;
    no_memory(err);
    free(c);
    return NULL;
}

int judgement_curves(const struct judgement *j, enum recall_of of, double confidence,
                     struct recall_curve **curves, struct error *err)
{
    memset(curves, 0, j->n_dsps * sizeof(*curves));
    for (uint32_t d = 0; d < j->n_dsps; d++) {
        const struct pairs *s = &j->dsps[d];
        if (s->n == 0 || (of == RECALL_OF_VALUE && !has_prices(s)))
            continue;
        if ((curves[d] = curve_of(s, of, confidence, err)) == NULL)
            return -1;
    }
    return 0;
}

/* ---- figures ---- */

void judgement_tally(const struct judgement *j, uint32_t dsp, float threshold, enum recall_of of,
                     struct tally *to)
{
    const struct pairs *s = &j->dsps[dsp];
    for (uint64_t i = 0; i < s->n; i++)
        tally_add(to, s->p[i], !(s->p[i] < threshold), s->label[i] != 0, s->weight[i],
                  of == RECALL_OF_VALUE ? s->price[i] : 1);
}

int judgement_withheld_at(const struct judgement *j, double recall, double *out, struct error *err)
{
    struct recall_curve *c = malloc(sizeof(*c));
    double withheld = 0, calls = 0;
    int status = c != NULL ? 0 : no_memory(err);
    for (uint32_t d = 0; status == 0 && d < j->n_dsps; d++) {
        status = judgement_of_dsp(j, d, c, err);
        calls += (double)c->pairs;
        for (uint32_t i = c->n; status == 0 && i-- > 0;)
            if ((double)c->points[i].recall >= recall - 1e-6) {
                withheld += (double)c->points[i].withheld * (double)c->pairs;
                break;
            }
    }
    free(c);
    *out = calls > 0 ? withheld / calls : 0;
    return status;
}

int judgement_of_dsp(const struct judgement *j, uint32_t dsp, struct recall_curve *out,
                     struct error *err)
{
    const struct scored_pairs pairs = as_scored(&j->dsps[dsp]);
    return recall_curve_build_with(out, &pairs, RECALL_CONFIDENCE, err);
}

int judgement_overall(const struct judgement *j, struct recall_curve *out, struct error *err)
{
    struct judgement *all = judgement_create(1);
    if (all == NULL)
        return no_memory(err);
    for (uint32_t d = 0; d < j->n_dsps; d++)
        for (uint64_t i = 0; i < j->dsps[d].n; i++)
            judgement_add(all, 0, j->dsps[d].p[i], j->dsps[d].label[i] != 0, j->dsps[d].weight[i],
                          j->dsps[d].price[i]);
    int status = judgement_of_dsp(all, 0, out, err);
    judgement_destroy(all);
    return status;
}
