/* The generic cell rate algorithm: a token bucket in one word. Each call moves the time at which
 * the next one is due by one interval; a call may come ahead of its time by the burst, no more. */
#include "proxy/rate_cap.h"

bool rate_cap_admit(struct rate_cap *cap, double per_second, uint64_t now_us)
{
    double burst = per_second / 10 > 1 ? per_second / 10 : 1;
    double interval_ns = 1e9 / per_second;
    uint64_t now = now_us * 1000, ahead_ns = (uint64_t)((burst - 1) * interval_ns);
    uint64_t due = atomic_load_explicit(&cap->due_ns, memory_order_relaxed), at;
    do {
        at = due > now ? due : now;
        if (at - now > ahead_ns)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&cap->due_ns, &due, at + (uint64_t)interval_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
