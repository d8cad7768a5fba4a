/* What sending some calls and withholding others kept of the bids: counted call by call, over a
 * DSP, a slice of the traffic, or all. */
#ifndef MODEL_TALLY_H
#define MODEL_TALLY_H

#include <stdbool.h>
#include <stdint.h>

struct tally { /* zero = empty */
    uint64_t calls, bids;
    double weight, withheld;           /* of calls, by 1 / propensity */
    double bid_weight, price_squares;  /* sums of w, of w price^2 */
    double value, value_squares, kept; /* of the bids: sums of w price, its square */
    double below, below_squares;       /* of the calls withheld: sums of w p, w^2 p */
};

struct tally_result {
    double recall, recall_low, recall_high; /* NAN, 0, 1 without bids */
    double withheld;                        /* share of the calls; 0 without */
};

/* price: 1 for the recall of bids; for that of value, a bid whose price is not known (NAN, 0) is
 * not counted as a bid. weight: 1 / propensity. */
void tally_add(struct tally *t, float p, bool send, bool bid, float weight, float price);

/* Adds what t has counted. */
void tally_join(struct tally *to, const struct tally *t);

/* Both bounds at once hold with `confidence`: Clopper-Pearson at recall_evidence_bids. */
struct tally_result tally_result(const struct tally *t, double confidence);

#endif
