/* One 64-bit hash for vocabularies, exploration, ties and checksums. Not for adversaries: tables
 * that hold what strangers send are bounded. The same bytes and seed give the same value on every
 * machine; files depend on it, so it never changes. */
#ifndef HASH_H
#define HASH_H

#include <stdint.h>

#include "bytes.h"

/* A bijection that spreads every input bit over the word: two rounds of multiply and shift. */
static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    return x;
}

static inline uint64_t hash_bytes(struct bytes b, uint64_t seed)
{
    uint64_t h = hash_mix(seed ^ (0x9e3779b97f4a7c15u * (b.len + 1)));
    size_t i = 0;
    for (; i + 8 <= b.len; i += 8) {
        uint64_t word;
        memcpy(&word, b.base + i, 8);
        h = hash_mix(h ^ word) + 0x9e3779b97f4a7c15u;
    }
    uint64_t tail = 0;
    for (unsigned shift = 0; i < b.len; i++, shift += 8)
        tail |= (uint64_t)(unsigned char)b.base[i] << shift;
    return hash_mix(h ^ tail);
}

/* Uniform in [0, 1), from a hash: 53 bits. */
static inline double hash_unit(uint64_t h)
{
    return (double)(hash_mix(h) >> 11) * 0x1p-53;
}

#endif
