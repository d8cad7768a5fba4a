/* The index of a value is its exponent and its five bits below the leading one: below 64 each value
 * has a bucket of its own, above that an octave is cut into 32 equal buckets. So finding the bucket
 * is a count of leading zeros, a shift and an add, and no table of bounds is needed.
 *
 * There is one writer. It adds with plain reads and relaxed stores, which cost what plain stores
 * cost, and readers load relaxed: a scrape never sees half a number. What a reader needs to agree
 * with itself (quantiles) it derives from the counts alone, not from `n`, which may be a step
 * ahead. */
#include "proxy/histogram.h"

#include <assert.h>
#include <math.h>

enum { SUB_BITS = 5, SUB = 1 << SUB_BITS };

static uint32_t bucket_of(uint64_t us)
{
    if (us < 2 * SUB)
        return (uint32_t)us;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(us) - SUB_BITS;
    uint64_t bucket = (uint64_t)shift * SUB + (us >> shift);
    return bucket < HISTOGRAM_BUCKETS ? (uint32_t)bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_last(uint32_t bucket)
{
    if (bucket < 2 * SUB)
        return bucket;
    uint32_t shift = bucket / SUB - 1;
    return (((uint64_t)(bucket % SUB + SUB) + 1) << shift) - 1;
}

static uint64_t load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void store(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

void histogram_add(struct histogram *h, uint64_t us)
{
    uint64_t *count = &h->counts[bucket_of(us)];
    store(count, *count + 1);
    store(&h->n, h->n + 1);
    store(&h->sum, h->sum + us);
    if (us > h->max)
        store(&h->max, us);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = load(&from->counts[i]);
        if (count == 0)
            continue;
        store(&into->counts[i], into->counts[i] + count);
        n += count;
    }
    store(&into->n, into->n + n);
    store(&into->sum, into->sum + load(&from->sum));
    uint64_t max = load(&from->max);
    if (max > into->max)
        store(&into->max, max);
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    assert(q >= 0 && q <= 1);
    uint64_t n = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        n += load(&h->counts[i]);
    if (n == 0)
        return 0;
    /* The nearest-rank definition; the counts only grow, so the second walk reaches the rank. */
    uint64_t rank = (uint64_t)ceil(q * (double)n), seen = 0, max = load(&h->max);
    rank = rank < 1 ? 1 : rank > n ? n : rank;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += load(&h->counts[i]);
        if (seen >= rank) {
            uint64_t last = bucket_last(i);
            return last < max ? last : max;
        }
    }
    return max; /* the last bucket has no upper edge */
}

uint64_t histogram_count_below(const struct histogram *h, uint64_t us)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS - 1 && bucket_last(i) <= us; i++)
        count += load(&h->counts[i]);
    if (us >= load(&h->max))
        count += load(&h->counts[HISTOGRAM_BUCKETS - 1]);
    return count;
}
