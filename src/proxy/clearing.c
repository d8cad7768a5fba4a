/* The price of one imp. The winner is the best by (priority, price, tie). In a second-price auction
 * it pays just enough to have won: its own floor, or an increment more than the best bid that
 * *another DSP* made at the same priority, never more than it bid. A bid that lost only because a
 * deal goes first does not set the deal's price. */
#include "proxy/auction.h"

static bool beats(const struct contender *a, const struct contender *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->price_micros != b->price_micros)
        return a->price_micros > b->price_micros;
    return a->tie > b->tie;
}

int clearing_winner(const struct contender *c, uint32_t n, int64_t *rival_micros)
{
    *rival_micros = 0;
    if (n == 0)
        return -1;
    uint32_t winner = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (beats(&c[i], &c[winner]))
            winner = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].dsp != c[winner].dsp && c[i].priority == c[winner].priority &&
            c[i].price_micros > *rival_micros)
            *rival_micros = c[i].price_micros;
    }
    return (int)winner;
}

int clearing(const struct contender *c, uint32_t n, int64_t increment_micros, int64_t *paid_micros)
{
    int64_t rival;
    int winner = clearing_winner(c, n, &rival);
    *paid_micros = 0;
    if (winner < 0)
        return -1;
    const struct contender *w = &c[winner];
    int64_t paid = w->price_micros;
    if (w->fixed_price && w->floor_micros > 0) {
        paid = w->floor_micros;
    } else if (!w->first_price && !w->fixed_price) {
        paid = w->floor_micros;
        if (rival > 0 && rival + increment_micros > paid)
            paid = rival + increment_micros;
        if (paid <= 0) /* alone and no floor: nothing but the increment asks for a price */
            paid = increment_micros > 0 ? increment_micros : 1;
    }
    *paid_micros = paid < w->price_micros ? paid : w->price_micros;
    return winner;
}
