/* A log-linear histogram of microseconds: 32 buckets an octave, so quantiles err below 3.2%; 1 us
 * to 2^32 us. Counting is one increment. One writer; readers on other threads may see a count late,
 * never torn. */
#ifndef PROXY_HISTOGRAM_H
#define PROXY_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 32 * 29 };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t n, sum;
    uint64_t max;
};
void histogram_add(struct histogram *h,
                   uint64_t us); /* a value beyond 2^33 counts in the last bucket */
/* `from` may be in use by its writer. */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Nearest rank: the last value of the bucket that holds it, or the maximum if that is smaller; 0
 * when empty. q in [0, 1]. */
uint64_t histogram_quantile(const struct histogram *h, double q);
/* How many values lie in buckets that end at or below us: exact when us is the last value of its
 * bucket (any us below 64, 2^k - 1, ...), else up to 3.2% of the value short. */
uint64_t histogram_count_below(const struct histogram *h, uint64_t us);

#endif
