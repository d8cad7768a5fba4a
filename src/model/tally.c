/* The same evidence as in a recall curve (metrics.c), at one threshold. */
#include "model/tally.h"

#include <math.h>

#include "model/binomial.h"
#include "model/metrics.h"

void tally_add(struct tally *t, float p, bool send, bool bid, float weight, float price)
{
    double w = (double)weight, value = w * (double)price;
    t->calls++;
    t->weight += w;
    if (!send) {
        t->withheld += w;
        t->below += w * (double)p;
        t->below_squares += w * w * (double)p;
    }
    if (!bid || !(price > 0))
        return;
    t->bids++;
    t->bid_weight += w;
    t->price_squares += value * (double)price;
    t->value += value;
    t->value_squares += value * value;
    t->kept += send ? value : 0;
}

void tally_join(struct tally *to, const struct tally *t)
{
    to->calls += t->calls;
    to->bids += t->bids;
    to->weight += t->weight;
    to->withheld += t->withheld;
    to->bid_weight += t->bid_weight;
    to->price_squares += t->price_squares;
    to->value += t->value;
    to->value_squares += t->value_squares;
    to->kept += t->kept;
    to->below += t->below;
    to->below_squares += t->below_squares;
}

struct tally_result tally_result(const struct tally *t, double confidence)
{
    struct tally_result r = {NAN, 0, 1, t->weight > 0 ? t->withheld / t->weight : 0};
    if (t->bids == 0)
        return r;
    double alike = t->value * t->value / (t->bid_weight * t->price_squares);
    double bids = recall_evidence_bids(t->value, t->value_squares, 0, 0);
    if (t->below > 0)
        bids =
            fmin(bids, recall_evidence_bids(t->bid_weight, 0, t->below, t->below_squares / alike));
    r.recall = fmin(1, t->kept / t->value);
    r.recall_low = share_low(r.recall, bids, (1 + confidence) / 2);
    r.recall_high = share_high(r.recall, bids, (1 + confidence) / 2);
    return r;
}
