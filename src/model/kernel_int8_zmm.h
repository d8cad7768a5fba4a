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

/* A line of sums stays in registers while the rows pass by. */
static inline void zmm_add_rows(int16_t *base, const int16_t *const *rows, size_t n_rows,
                                size_t lines)
{
    for (size_t from = 0; from < lines * KERNEL_LINE; from += KERNEL_LINE) {
        __m512i low = zmm_load(base + from), high = zmm_load(base + from + ZMM_SHORTS);
        for (size_t r = 0; r < n_rows; r++) {
            low = _mm512_adds_epi16(low, zmm_load(rows[r] + from));
            high = _mm512_adds_epi16(high, zmm_load(rows[r] + from + ZMM_SHORTS));
        }
        _mm512_storeu_si512(base + from, low);
        _mm512_storeu_si512(base + from + ZMM_SHORTS, high);
    }
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

static inline __m512 zmm_power_of_two(__m512 x)
{
    __m512 high = _mm512_min_ps(x, _mm512_set1_ps(KERNEL_POWER_MAX));
    __m512 bounded = _mm512_max_ps(high, _mm512_set1_ps(KERNEL_POWER_MIN));
    __m512 round = _mm512_set1_ps(KERNEL_POWER_ROUND);
    __m512 whole = _mm512_sub_ps(_mm512_add_ps(bounded, round), round);
    __m512 rest = _mm512_sub_ps(bounded, whole);
    __m512 sum = _mm512_set1_ps(kernel_int8_power[KERNEL_POWER_TERMS - 1]);
#pragma GCC unroll 8
    for (int k = KERNEL_POWER_TERMS - 2; k >= 0; k--)
        sum = _mm512_add_ps(_mm512_mul_ps(sum, rest), _mm512_set1_ps(kernel_int8_power[k]));
    sum = _mm512_add_ps(_mm512_mul_ps(sum, rest), _mm512_set1_ps(1));
    __m512i exponent = _mm512_slli_epi32(_mm512_cvtps_epi32(whole), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sum), exponent));
}

static inline void zmm_power_of_sums(float *y, __m256i sums)
{
    __m512 octaves = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(sums)),
                                   _mm512_set1_ps(1.0f / KERNEL_OCTAVE));
    _mm512_storeu_ps(y, zmm_power_of_two(_mm512_add_ps(_mm512_loadu_ps(y), octaves)));
}

/* Bytes of two rows, side by side, are added up in pairs: of each 16 units, low gets the first 8.
 */
static inline void zmm_add_two(__m512i *low, __m512i *high, __m512i a, __m512i b)
{
    const __m512i ones = _mm512_set1_epi8(1);
    *low = _mm512_add_epi16(*low, _mm512_maddubs_epi16(ones, _mm512_unpacklo_epi8(a, b)));
    *high = _mm512_add_epi16(*high, _mm512_maddubs_epi16(ones, _mm512_unpackhi_epi8(a, b)));
}

/* A line of sums stays in registers while the rows pass by. */
static inline void zmm_power_rows(float *restrict y, const int8_t *const *rows, size_t n_rows,
                                  size_t lines)
{
    for (size_t from = 0; from < lines * KERNEL_LINE; from += KERNEL_LINE) {
        __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
        size_t r = 0;
        for (; r + 2 <= n_rows; r += 2)
            zmm_add_two(&low, &high, zmm_load(rows[r] + from), zmm_load(rows[r + 1] + from));
        if (r < n_rows)
            zmm_add_two(&low, &high, zmm_load(rows[r] + from), _mm512_setzero_si512());
        const __m512i firsts = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i lasts = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        __m512i first = _mm512_permutex2var_epi64(low, firsts, high);
        __m512i last = _mm512_permutex2var_epi64(low, lasts, high);
        zmm_power_of_sums(y + from, _mm512_castsi512_si256(first));
        zmm_power_of_sums(y + from + ZMM_FLOATS, _mm512_extracti64x4_epi64(first, 1));
        zmm_power_of_sums(y + from + ZMM_SHORTS, _mm512_castsi512_si256(last));
        zmm_power_of_sums(y + from + ZMM_SHORTS + ZMM_FLOATS, _mm512_extracti64x4_epi64(last, 1));
    }
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
