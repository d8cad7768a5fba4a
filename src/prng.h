/* A small seeded generator (SplitMix64: Steele, Lea, Flood, OOPSLA 2014). One per thread or
 * purpose; the same seed gives the same stream everywhere. */
#ifndef PRNG_H
#define PRNG_H

#include <math.h>
#include <stdint.h>

struct prng {
    uint64_t state;
};

static inline uint64_t prng_next(struct prng *g)
{
    uint64_t z = (g->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1). */
static inline double prng_unit(struct prng *g)
{
    return (double)(prng_next(g) >> 11) * 0x1p-53;
}

/* Uniform in [0, n), n > 0; the bias is below n / 2^64. */
static inline uint64_t prng_below(struct prng *g, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)prng_next(g) * n) >> 64);
}

/* Standard normal, Box-Muller; two draws a call. */
static inline double prng_normal(struct prng *g)
{
    double u = 1.0 - prng_unit(g), v = prng_unit(g);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

#endif
