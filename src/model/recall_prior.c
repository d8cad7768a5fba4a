/* The threshold is sought on a grid of logits, which is fine enough: what counts is that expected
 * and lost bids are counted below the same one. */
#include "model/recall_prior.h"

#include <math.h>
#include <stdlib.h>

#include "model/metrics.h"

enum {
    BUCKETS = 4096,
    BUCKETS_PER_LOGIT = 128, /* logits from -16 to 16 */
    DSPS_MIN = 4,
    BIDS_MIN = 50,
};

static const double EXPECTED_LOSS = 0.03;

/* However alike the DSPs were in one slice, the next day may differ. */
static const double STRENGTH_MAX = 300;

/* The network is never believed to lose less than it says. */
static const double LOST_MIN = 1, LOST_MAX = 4;

static uint32_t bucket_of(float p)
{
    double odds = fmax((double)p, 1e-7) / fmax(1 - (double)p, 1e-7);
    double at = (log(odds) + 16) * BUCKETS_PER_LOGIT;
    return at <= 0 ? 0 : at >= BUCKETS - 1 ? BUCKETS - 1 : (uint32_t)at;
}

struct bucket {
    double expected, expected_squares, bids; /* weights */
};

int recall_evidence_gather(struct recall_evidence *e, const float *p, const uint8_t *label,
                           const float *weight, uint64_t n, struct error *err)
{
    struct bucket *buckets = calloc(BUCKETS, sizeof(*buckets)), total = {0}, below = {0};
    double squares = 0;
    *e = (struct recall_evidence){0};
    if (buckets == NULL)
        return error_set(err, "recall: no memory");
    for (uint64_t i = 0; i < n; i++) {
        double w = (double)weight[i], expected = w * (double)p[i];
        struct bucket *b = &buckets[bucket_of(p[i])];
        b->expected += expected;
        b->expected_squares += w * expected;
        total.expected += expected;
        if (label[i] == 0)
            continue;
        b->bids += w;
        total.bids += w;
        squares += w * w;
    }
    for (uint32_t i = 0; i < BUCKETS && below.expected < EXPECTED_LOSS * total.expected; i++) {
        below.expected += buckets[i].expected;
        below.expected_squares += buckets[i].expected_squares;
        below.bids += buckets[i].bids;
    }
    free(buckets);
    if (total.bids > 0 && total.expected > 0)
        *e = (struct recall_evidence){
            recall_evidence_bids(total.bids, squares, below.expected, below.expected_squares),
            below.bids / total.bids, below.expected / total.expected};
    return 0;
}

struct recall_prior recall_prior_fit(const struct recall_evidence *e, uint32_t n)
{
    const struct recall_prior none = {0, 1};
    double bids = 0, lost = 0, expected = 0, spread = 0;
    uint32_t dsps = 0;
    for (uint32_t i = 0; i < n; i++)
        if (e[i].bids >= BIDS_MIN) {
            bids += e[i].bids;
            lost += e[i].bids * e[i].lost;
            expected += e[i].bids * e[i].expected;
            dsps++;
        }
    if (dsps < DSPS_MIN || !(expected > 0))
        return none;
    struct recall_prior prior = {STRENGTH_MAX, fmin(fmax(lost / expected, LOST_MIN), LOST_MAX)};
    /* The sum of squared deviations in units of what chance alone makes: dsps on average, and
     * bids / (strength + 1) more when the DSPs differ. */
    for (uint32_t i = 0; i < n; i++)
        if (e[i].bids >= BIDS_MIN) {
            double share = fmin(prior.lost * e[i].expected, 0.5), off = e[i].lost - share;
            spread += e[i].bids * off * off / (share * (1 - share));
        }
    if (spread > dsps)
        prior.strength = fmin(STRENGTH_MAX, fmax(0, bids / (spread - dsps) - 1));
    return prior;
}
