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
void histogram_add(struct histogram *h, uint64_t us);
void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_quantile(const struct histogram *h,
                            double q); /* upper edge of its bucket; 0 when empty */
uint64_t histogram_count_below(const struct histogram *h,
                               uint64_t us); /* for Prometheus le buckets */

#endif
