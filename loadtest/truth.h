/* What the best possible filter would do. It knows the true P(bid | request) of every pair, so it
 * sends the likeliest first: no other order of sending reaches an expected recall with fewer calls
 * (Neyman and Pearson). One thread. */
#ifndef LOADTEST_TRUTH_H
#define LOADTEST_TRUTH_H

#include <stdint.h>

/* The true probabilities of one DSP over some requests. Zero-initialise. */
struct truth {
    float *p;
    uint64_t n, capacity;
    double sum;
};
void truth_add(struct truth *t, double p);
void truth_dispose(struct truth *t);

/* The largest share of calls that can be withheld while the calls sent keep `recall` of the
 * expected bids. Sorts p. 0 when nothing was added; 1 when no bid is to be expected. */
double truth_withheld(struct truth *t, double recall);
/* The same for a filter that sends the calls with the highest score first, whatever the scores
 * mean; score[t->n], no NAN. Among equal scores it cannot choose: it keeps their average. Sorts
 * nothing. */
double truth_withheld_by(const struct truth *t, const float *score, double recall);

#endif
