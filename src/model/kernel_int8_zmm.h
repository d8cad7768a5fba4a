/* What kernel_int8_vnni.c and kernel_int8_amx.c share: layer 1 in AVX-512, and the sums of a panel
 * as one register. Only those two include it: it needs their compiler flags. */
#ifndef MODEL_KERNEL_INT8_ZMM_H
#define MODEL_KERNEL_INT8_ZMM_H

#include <immintrin.h>

#include "model/kernel_int8.h"

enum { ZMM_SHORTS = 32, ZMM_FLOATS = 16 };

static inline __m512i zmm_load(const void *from)
{
    return _mm512_loadu_si512(from);
}

/* 8 bytes at a time, each register's halves of packs in the order of memory: packs works within
 * 128 bits. */
static inline __m512i zmm_in_order(__m512i packed)
{
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
}

static inline void zmm_add(int16_t *base, const int16_t *row, size_t lines)
{
    for (size_t i = 0; i < lines * KERNEL_LINE; i += ZMM_SHORTS)
        _mm512_storeu_si512(base + i, _mm512_adds_epi16(zmm_load(base + i), zmm_load(row + i)));
}

static inline void zmm_add_share(int16_t *base, const int16_t *row, int16_t share, size_t lines)
{
    __m512i factor = _mm512_set1_epi16(share);
    for (size_t i = 0; i < lines * KERNEL_LINE; i += ZMM_SHORTS) {
        __m512i part = _mm512_mulhrs_epi16(zmm_load(row + i), factor);
        _mm512_storeu_si512(base + i, _mm512_adds_epi16(zmm_load(base + i), part));
    }
}

static inline __m512i zmm_rounded(const float *x)
{
    __m512 high = _mm512_min_ps(_mm512_loadu_ps(x), _mm512_set1_ps((float)INT16_MAX));
    return _mm512_cvtps_epi32(_mm512_max_ps(high, _mm512_set1_ps((float)INT16_MIN)));
}

static inline void zmm_add_floats(int16_t *base, const float *x, size_t lines)
{
    for (size_t i = 0; i < lines * KERNEL_LINE; i += ZMM_SHORTS) {
        __m512i whole =
            zmm_in_order(_mm512_packs_epi32(zmm_rounded(x + i), zmm_rounded(x + i + ZMM_FLOATS)));
        _mm512_storeu_si512(base + i, _mm512_adds_epi16(zmm_load(base + i), whole));
    }
}

static inline void zmm_add_scaled(float *restrict y, const float *restrict x, float scale,
                                  size_t lines)
{
    __m512 factor = _mm512_set1_ps(scale);
    for (size_t i = 0; i < lines * KERNEL_LINE; i += ZMM_FLOATS)
        _mm512_storeu_ps(y + i, _mm512_add_ps(_mm512_loadu_ps(y + i),
                                              _mm512_mul_ps(factor, _mm512_loadu_ps(x + i))));
}

static inline __m512i zmm_gated(const int16_t *base, const struct kernel_int8_own *own, size_t i)
{
    __m512i z = zmm_load(base + i), more = _mm512_mulhrs_epi16(z, zmm_load(own->gate + i));
    for (uint32_t k = 0; k < own->doublings; k++)
        more = _mm512_adds_epi16(more, more);
    return _mm512_adds_epi16(z, more);
}

static inline __m512i zmm_shifted(__m512i z, const int16_t *row)
{
    return _mm512_srai_epi16(_mm512_adds_epi16(z, zmm_load(row)), KERNEL_UNIT_BITS);
}

static inline void zmm_activate(void *restrict h1, const int16_t *base,
                                const struct kernel_int8_own *own, size_t lines)
{
    uint8_t *to = h1;
    for (size_t i = 0; i < lines * KERNEL_LINE; i += KERNEL_LINE) {
        __m512i a, b;
        if (own->gate == NULL) {
            a = zmm_load(base + i);
            b = zmm_load(base + i + ZMM_SHORTS);
        } else {
            a = zmm_gated(base, own, i);
            b = zmm_gated(base, own, i + ZMM_SHORTS);
        }
        a = zmm_shifted(a, own->row + i);
        b = zmm_shifted(b, own->row + i + ZMM_SHORTS);
        _mm512_storeu_si512(to + i, zmm_in_order(_mm512_packus_epi16(a, b)));
    }
}

/* total + output . max(sum, 0), 16 outputs side by side. */
static inline __m512 zmm_add_panel(__m512 total, __m512i sum, const float *output)
{
    __m512 h2 = _mm512_cvtepi32_ps(_mm512_max_epi32(sum, _mm512_setzero_si512()));
    return _mm512_add_ps(total, _mm512_mul_ps(_mm512_loadu_ps(output), h2));
}

/* In the order that plain C folds in. */
static inline float zmm_folded(__m512 total)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(total), _mm512_extractf32x8_ps(total, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#endif
