/* How a DSP is doing, on one loop: which share of its calls it may have, and how soon it answers. A
 * DSP that fails is cut back by halves, keeps a few calls as probes, and is restored by doubling.
 * Clock passed in; one thread. */
#ifndef PROXY_HEALTH_H
#define PROXY_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct health {
    double share;            /* of the calls that it may have, HEALTH_SHARE_MIN..1 */
    uint64_t window_from_us; /* outcomes since then */
    uint32_t answered, failed;
    double quick_us; /* about the 5th percentile of its answers' latency; 0 = not known yet */
    uint64_t answers;
};

#define HEALTH_SHARE_MIN 0.02

void health_init(struct health *h, uint64_t now_us);
/* One call has ended. failed: timeout, no connection, HTTP error, a body that is no BidResponse.
 * latency_us counts only when it did not fail. */
void health_observe(struct health *h, uint64_t now_us, bool failed, uint64_t latency_us);
/* Whether it can be expected to answer within left_us; true while too little is known. */
bool health_in_time(const struct health *h, uint64_t left_us);

#endif
