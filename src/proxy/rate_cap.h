/* A cap on calls a second that all loops share: callers may keep few connections, and then most of
 * the loops have nothing to do with their share of a cap. Any thread; one atomic word. */
#ifndef PROXY_RATE_CAP_H
#define PROXY_RATE_CAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rate_cap {
    _Atomic uint64_t due_ns; /* when the next call would come if all came evenly */
};

/* Takes a place in the rate; false: it is used up. Up to a tenth of a second's worth, at least 1,
 * may come at once. per_second above 0. now_us: monotonic; loops that lag a little are fine. */
bool rate_cap_admit(struct rate_cap *cap, double per_second, uint64_t now_us);

#endif
