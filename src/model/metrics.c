/* One sort by score, then one walk down: every estimate falls out of the running sums. Scores that
 * are equal form one group, because a threshold cannot part them. */
#include "model/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "model/binomial.h"

struct scored {
    uint32_t key; /* falls as p rises */
    float p, weight;
    float value; /* weight times price, or weight; 0 = no bid */
};

/* The bits of a float, flipped so that unsigned order is numeric order, then turned over. */
static uint32_t descending_key(float p)
{
    uint32_t bits;
    memcpy(&bits, &p, sizeof(bits));
    return ~(bits >> 31 != 0 ? ~bits : bits | 0x80000000u);
}

/* Stable radix sort, 11 bits a round; the result ends up in `items`. */
static int sort_scored(struct scored **items, uint64_t n)
{
    struct scored *from = *items, *to = malloc(n * sizeof(*to) + 1);
    if (to == NULL)
        return -1;
    for (unsigned shift = 0; shift < 32; shift += 11) {
        uint64_t starts[2049] = {0};
        for (uint64_t i = 0; i < n; i++)
            starts[(from[i].key >> shift & 2047) + 1]++;
        for (int i = 0; i < 2048; i++)
            starts[i + 1] += starts[i];
        for (uint64_t i = 0; i < n; i++)
            to[starts[from[i].key >> shift & 2047]++] = from[i];
        struct scored *other = from;
        from = to;
        to = other;
    }
    free(to);
    *items = from;
    return 0;
}

double recall_evidence_bids(double bids, double squares, double below, double below_squares)
{
    if (!(bids > 0))
        return 0;
    double n = squares > 0 ? bids * bids / squares : INFINITY;
    return below > 0 ? fmin(n, bids * below / below_squares) : n;
}

struct totals {
    double weight, p_sum, p_sum_squares, nll_sum;
    double bid_weight, value, value_squares; /* of the bids */
    double alike; /* (mean price)^2 / mean square of the prices: 1 when all are the same */
    uint64_t bids;
};

static struct totals sum_up(const struct scored *items, uint64_t n)
{
    struct totals t = {.alike = 1};
    double price_squares = 0;
    for (uint64_t i = 0; i < n; i++) {
        double w = items[i].weight, p = items[i].p, value = items[i].value;
        bool bid = value > 0;
        t.weight += w;
        t.p_sum += w * p;
        t.p_sum_squares += w * w * p;
        double sure = bid ? p : 1 - p;
        t.nll_sum -= w * log(sure > 1e-12 ? sure : 1e-12); /* one certain miss is not infinite */
        if (bid) {
            t.bids++;
            t.bid_weight += w;
            t.value += value;
            t.value_squares += value * value;
            price_squares += value * value / w;
        }
    }
    if (t.bids > 0)
        t.alike = t.value * t.value / (t.bid_weight * price_squares);
    return t;
}

/* The recalls worth a point: steps of 0.1% down to 95%, where operating points lie, then wider. */
static double candidate_recall(uint32_t i)
{
    if (i == 0)
        return 1;
    if (i == 1)
        return 0.9995;
    if (i < 52)
        return 1 - 0.001 * (i - 1);
    if (i < 62)
        return 0.95 - 0.005 * (i - 51);
    return 0.9 - 0.01 * (i - 61);
}

enum { CANDIDATES = 102 }; /* the last one is 0.5 */

/* Points come while walking down from the highest score, so candidates are met from the last one to
 * the first and thresholds fall; build turns the order around at the end. */
struct walk {
    struct recall_curve *c;
    const struct totals *t;
    double confidence;
    double expected_sent;                   /* sum of weight * p */
    double expected_sent_squares;           /* sum of weight^2 * p */
    double sent, value_sent, pairs_ordered; /* weights; the last one is AUC's numerator */
    int candidate;                          /* the highest one not yet reached */
};

static void add_point(struct walk *w, float threshold)
{
    const struct totals *t = w->t;
    struct recall_point *point = &w->c->points[w->c->n++];
    double recall = fmin(1, w->value_sent / t->value);
    /* What rounding leaves of the sums when nothing is below is no evidence. */
    double below = t->p_sum - w->expected_sent;
    double below_squares = (t->p_sum_squares - w->expected_sent_squares) / t->alike;
    double bids = recall_evidence_bids(t->value, t->value_squares, 0, 0);
    if (below > 1e-9 * t->p_sum)
        bids = fmin(bids, recall_evidence_bids(t->bid_weight, 0, below, below_squares));
    point->threshold = threshold;
    point->recall = (float)recall;
    point->recall_low = (float)share_low(recall, bids, w->confidence);
    point->recall_high = (float)share_high(recall, bids, w->confidence);
    point->withheld = (float)fmax(0, 1 - w->sent / t->weight);
}

/* One group of equal scores. Recall 1 is told by the count of bids, not by a sum of weights that
 * may have rounded. */
static void walk_group(struct walk *w, float p, double value, double bids, double others,
                       double squares, bool all_bids_sent)
{
    w->pairs_ordered += others * (w->value_sent + value / 2);
    w->sent += bids + others;
    w->expected_sent += (double)p * (bids + others);
    w->expected_sent_squares += (double)p * squares;
    w->value_sent += value;
    if (all_bids_sent)
        w->value_sent = w->t->value;
    if (bids == 0)
        return;
    bool reached = false;
    while (w->candidate >= 0 &&
           (all_bids_sent ||
            (w->candidate > 0 && w->value_sent >= candidate_recall((uint32_t)w->candidate) *
                                                      w->t->value * (1 - 1e-12)))) {
        w->candidate--;
        reached = true;
    }
    if (reached)
        add_point(w, p);
}

static void walk_down(struct walk *w, const struct scored *items, uint64_t n)
{
    uint64_t bids_left = w->t->bids;
    for (uint64_t i = 0; i < n;) {
        double value = 0, bids = 0, others = 0, squares = 0;
        float p = items[i].p;
        uint64_t first = i;
        for (; i < n && items[i].key == items[first].key; i++) {
            squares += (double)items[i].weight * (double)items[i].weight;
            if (items[i].value > 0) {
                value += (double)items[i].value;
                bids += (double)items[i].weight;
                bids_left--;
            } else {
                others += (double)items[i].weight;
            }
        }
        walk_group(w, p, value, bids, others, squares, bids > 0 && bids_left == 0);
    }
}

static void reverse_points(struct recall_curve *c)
{
    for (uint32_t i = 0; i < c->n / 2; i++) {
        struct recall_point point = c->points[i];
        c->points[i] = c->points[c->n - 1 - i];
        c->points[c->n - 1 - i] = point;
    }
}

int recall_curve_build(struct recall_curve *c, const float *p, const uint8_t *label,
                       const float *weight, uint64_t n, struct error *err)
{
    const struct scored_pairs pairs = {n, p, label, weight, NULL};
    return recall_curve_build_with(c, &pairs, RECALL_CONFIDENCE, err);
}

/* By score, the highest first; the caller frees. */
static struct scored *sorted(const struct scored_pairs *pairs)
{
    struct scored *items = malloc(pairs->n * sizeof(*items) + 1);
    if (items == NULL)
        return NULL;
    for (uint64_t i = 0; i < pairs->n; i++) {
        float p = pairs->p[i] + 0.0f, w = pairs->weight[i]; /* -0 is 0 */
        assert(w > 0 && p == p);
        bool bid = pairs->label[i] != 0;
        float price = bid && pairs->price != NULL ? pairs->price[i] : 1;
        assert(price > 0);
        items[i] = (struct scored){descending_key(p), p, w, bid ? w * price : 0};
    }
    if (sort_scored(&items, pairs->n) == 0)
        return items;
    free(items);
    return NULL;
}

int recall_curve_build_with(struct recall_curve *c, const struct scored_pairs *pairs,
                            double confidence, struct error *err)
{
    uint64_t n = pairs->n;
    struct scored *items = sorted(pairs);
    memset(c, 0, sizeof(*c));
    if (items == NULL)
        return error_set(err, "recall curve: no memory for %llu pairs", (unsigned long long)n);
    struct totals t = sum_up(items, n);
    struct walk w = {.c = c, .t = &t, .confidence = confidence, .candidate = CANDIDATES - 1};
    walk_down(&w, items, n);
    free(items);
    reverse_points(c);
    double other_weight = t.weight - t.bid_weight;
    c->pairs = n;
    c->bids = t.bids;
    c->bid_rate = n > 0 ? t.bid_weight / t.weight : 0;
    c->auc = t.bids > 0 && t.bids < n ? w.pairs_ordered / (t.value * other_weight) : NAN;
    c->nll = n > 0 ? t.nll_sum / t.weight : NAN;
    c->calibration = t.bids > 0 ? t.p_sum / t.bid_weight : NAN;
    return 0;
}

double recall_with_margin(double target, double margin)
{
    return target + fmin(margin, (1 - target) / 2);
}

float recall_curve_threshold(const struct recall_curve *c, double recall_target, double recall)
{
    /* As the points are: 0.95 is not above itself. */
    float target = (float)recall_target, measured = (float)recall;
    for (uint32_t i = c->n; i-- > 0;)
        if (c->points[i].recall_low >= target && c->points[i].recall >= measured)
            return c->points[i].threshold;
    return 0;
}
