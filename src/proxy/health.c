/* Health is judged window by window: a window ends after a second with enough calls in it, or after
 * ten seconds with any. More than half failed: the share is halved; fewer than a quarter: it is
 * doubled. Each window starts from nothing, so that a recovery is not held up by what lies behind
 * it.
 *
 * The quick latency is a running quantile: each answer moves the estimate by a small step, up by q
 * for a slower one, down by 1 - q for a quicker one, which balances at the q-quantile (stochastic
 * approximation, Robbins and Monro 1951). */
#include "proxy/health.h"

enum { WINDOW_US = 1000000, WINDOW_LONG_US = 10000000, WINDOW_CALLS_MIN = 10, ANSWERS_MIN = 50 };

static const double quick_quantile = 0.05, quick_step = 0.05;

void health_init(struct health *h, uint64_t now_us)
{
    *h = (struct health){.share = 1, .window_from_us = now_us};
}

static void end_window(struct health *h, uint64_t now_us)
{
    uint32_t n = h->answered + h->failed;
    if (h->failed * 2 > n)
        h->share = h->share / 2 > HEALTH_SHARE_MIN ? h->share / 2 : HEALTH_SHARE_MIN;
    else if (h->failed * 4 < n)
        h->share = h->share * 2 < 1 ? h->share * 2 : 1;
    h->window_from_us = now_us;
    h->answered = h->failed = 0;
}

static void observe_latency(struct health *h, double us)
{
    h->answers++;
    if (h->quick_us <= 0)
        h->quick_us = us;
    else
        h->quick_us +=
            h->quick_us * quick_step * (us > h->quick_us ? quick_quantile : quick_quantile - 1);
}

void health_observe(struct health *h, uint64_t now_us, bool failed, uint64_t latency_us)
{
    if (failed) {
        h->failed++;
    } else {
        h->answered++;
        observe_latency(h, (double)latency_us + 1);
    }
    uint64_t age = now_us - h->window_from_us;
    if ((age >= WINDOW_US && h->answered + h->failed >= WINDOW_CALLS_MIN) || age >= WINDOW_LONG_US)
        end_window(h, now_us);
}

bool health_in_time(const struct health *h, uint64_t left_us)
{
    return h->answers < ANSWERS_MIN || h->quick_us <= (double)left_us;
}
