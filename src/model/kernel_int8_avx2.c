/* AVX2: weights are widened to int16 as they are loaded and multiplied in pairs by vpmaddwd, whose
 * int32 sums are exact; vpmaddubsw would be faster and saturates. Activations are kept as int16.
 *
 * Of a trained network's activations four fifths are zero, and two in three pairs of neighbours:
 * those are passed over. So a row goes on its own, a pair of units by 64 outputs at a time. */
#include "model/kernel_int8.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

enum { LANES = 16, FLOATS = 8, PARTS = KERNEL_LINE / LANES };
enum { BLOCK = 64, EIGHTS = BLOCK / FLOATS, PAIRS = 64 };

static inline __m256i load(const void *from)
{
    return _mm256_loadu_si256(from);
}

/* A line of sums stays in registers while the rows pass by. */
static void avx2_add_rows(int16_t *base, const int16_t *const *rows, size_t n_rows, size_t lines)
{
    for (size_t from = 0; from < lines * KERNEL_LINE; from += KERNEL_LINE) {
        __m256i sum[PARTS];
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++)
            sum[part] = load(base + from + part * LANES);
        for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++)
                sum[part] = _mm256_adds_epi16(sum[part], load(rows[r] + from + part * LANES));
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++)
            _mm256_storeu_si256((__m256i *)(base + from + part * LANES), sum[part]);
    }
}

static void avx2_add_share(int16_t *base, const int16_t *row, int16_t share, size_t lines)
{
    __m256i factor = _mm256_set1_epi16(share);
    for (size_t i = 0; i < lines * KERNEL_LINE; i += LANES) {
        __m256i part = _mm256_mulhrs_epi16(load(row + i), factor);
        _mm256_storeu_si256((__m256i *)(base + i), _mm256_adds_epi16(load(base + i), part));
    }
}

static inline __m256i rounded(const float *x)
{
    __m256 high = _mm256_min_ps(_mm256_loadu_ps(x), _mm256_set1_ps((float)INT16_MAX));
    return _mm256_cvtps_epi32(_mm256_max_ps(high, _mm256_set1_ps((float)INT16_MIN)));
}

static void avx2_add_floats(int16_t *base, const float *x, size_t lines)
{
    for (size_t i = 0; i < lines * KERNEL_LINE; i += LANES) {
        __m256i mixed = _mm256_packs_epi32(rounded(x + i), rounded(x + i + FLOATS));
        __m256i whole = _mm256_permute4x64_epi64(mixed, 0xd8); /* packs works within 128 bits */
        _mm256_storeu_si256((__m256i *)(base + i), _mm256_adds_epi16(load(base + i), whole));
    }
}

static void avx2_add_scaled(float *restrict y, const float *restrict x, float scale, size_t lines)
{
    __m256 factor = _mm256_set1_ps(scale);
    for (size_t i = 0; i < lines * KERNEL_LINE; i += FLOATS)
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i),
                                              _mm256_mul_ps(factor, _mm256_loadu_ps(x + i))));
}

static inline __m256 power_of_two(__m256 x)
{
    __m256 high = _mm256_min_ps(x, _mm256_set1_ps(KERNEL_POWER_MAX));
    __m256 bounded = _mm256_max_ps(high, _mm256_set1_ps(KERNEL_POWER_MIN));
    __m256 round = _mm256_set1_ps(KERNEL_POWER_ROUND);
    __m256 whole = _mm256_sub_ps(_mm256_add_ps(bounded, round), round);
    __m256 rest = _mm256_sub_ps(bounded, whole);
    __m256 sum = _mm256_set1_ps(kernel_int8_power[KERNEL_POWER_TERMS - 1]);
#pragma GCC unroll 8
    for (int k = KERNEL_POWER_TERMS - 2; k >= 0; k--)
        sum = _mm256_add_ps(_mm256_mul_ps(sum, rest), _mm256_set1_ps(kernel_int8_power[k]));
    sum = _mm256_add_ps(_mm256_mul_ps(sum, rest), _mm256_set1_ps(1));
    __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), exponent));
}

static inline void power_of_sums(float *y, __m128i sums)
{
    __m256 octaves = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(sums)),
                                   _mm256_set1_ps(1.0f / KERNEL_OCTAVE));
    _mm256_storeu_ps(y, power_of_two(_mm256_add_ps(_mm256_loadu_ps(y), octaves)));
}

/* Likewise. */
static void avx2_power_rows(float *restrict y, const int8_t *const *rows, size_t n_rows,
                            size_t lines)
{
    for (size_t from = 0; from < lines * KERNEL_LINE; from += KERNEL_LINE) {
        __m256i sum[PARTS] = {_mm256_setzero_si256(), _mm256_setzero_si256(),
                              _mm256_setzero_si256(), _mm256_setzero_si256()};
        for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++) {
                __m128i bytes = _mm_loadu_si128((const __m128i *)(rows[r] + from + part * LANES));
                sum[part] = _mm256_add_epi16(sum[part], _mm256_cvtepi8_epi16(bytes));
            }
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++) {
            power_of_sums(y + from + part * LANES, _mm256_castsi256_si128(sum[part]));
            power_of_sums(y + from + part * LANES + FLOATS, _mm256_extracti128_si256(sum[part], 1));
        }
    }
}

static inline __m256i quantised(__m256i z, const int16_t *row)
{
    __m256i h = _mm256_srai_epi16(_mm256_adds_epi16(z, load(row)), KERNEL_UNIT_BITS);
    return _mm256_min_epi16(_mm256_max_epi16(h, _mm256_setzero_si256()),
                            _mm256_set1_epi16(UINT8_MAX));
}

static void avx2_activate(void *restrict h1, const int16_t *base, const struct kernel_int8_own *own,
                          size_t lines)
{
    int16_t *to = h1;
    if (own->gate == NULL) {
        for (size_t i = 0; i < lines * KERNEL_LINE; i += LANES)
            _mm256_storeu_si256((__m256i *)(to + i), quantised(load(base + i), own->row + i));
        return;
    }
    for (size_t i = 0; i < lines * KERNEL_LINE; i += LANES) {
        __m256i z = load(base + i), more = _mm256_mulhrs_epi16(z, load(own->gate + i));
        for (uint32_t k = 0; k < own->doublings; k++)
            more = _mm256_adds_epi16(more, more);
        _mm256_storeu_si256((__m256i *)(to + i),
                            quantised(_mm256_adds_epi16(z, more), own->row + i));
    }
}

/* Bit i: units 2i and 2i + 1 are not both zero; of at most PAIRS pairs: to leave the loop over them
 * is a branch that is guessed wrongly, so one loop takes two lines. */
static inline uint64_t some_active(const int16_t *h1, size_t units)
{
    uint64_t none = 0;
    size_t n = units < 2 * PAIRS ? units : 2 * PAIRS;
    for (size_t i = 0; i < n; i += LANES) {
        __m256i zero = _mm256_cmpeq_epi32(load(h1 + i), _mm256_setzero_si256());
        none |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(zero)) << i / 2;
    }
    return ~none & (n < 2 * PAIRS ? ((uint64_t)1 << n / 2) - 1 : UINT64_MAX);
}

/* What the outputs of a block add to the logit of one row, in 16 parts. */
static inline void add_block(const struct kernel_int8_layers *l, uint32_t block, const int16_t *h1,
                             float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    const int8_t *weight = l->weight + block * units * BLOCK;
    __m256i sum[EIGHTS];
#pragma GCC unroll 8
    for (int e = 0; e < EIGHTS; e++)
        sum[e] = load(l->bias + block * BLOCK + e * FLOATS);
    for (size_t from = 0; from < units; from += 2 * PAIRS)
        for (uint64_t some = some_active(h1 + from, units - from); some != 0; some &= some - 1) {
            size_t pair = from / 2 + (size_t)__builtin_ctzll(some);
            int32_t two;
            memcpy(&two, h1 + 2 * pair, sizeof(two));
            __m256i h = _mm256_set1_epi32(two);
#pragma GCC unroll 8
            for (int e = 0; e < EIGHTS; e++) {
                const int8_t *at = weight + pair * BLOCK * 2 + e * LANES;
                __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)at));
                sum[e] = _mm256_add_epi32(sum[e], _mm256_madd_epi16(h, w));
            }
        }
#pragma GCC unroll 8
    for (int e = 0; e < EIGHTS; e++) {
        __m256 h2 = _mm256_cvtepi32_ps(_mm256_max_epi32(sum[e], _mm256_setzero_si256()));
        __m256 output = _mm256_loadu_ps(l->output + block * BLOCK + e * FLOATS);
        float *to = total + e % 2 * FLOATS;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), _mm256_mul_ps(output, h2)));
    }
}

static inline float folded(const float total[KERNEL_INT8_PANEL])
{
    __m256 eight = _mm256_add_ps(_mm256_loadu_ps(total), _mm256_loadu_ps(total + FLOATS));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static void avx2_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                        float *restrict logit)
{
    const int16_t *row = h1;
    for (size_t i = 0; i < n; i++, row += (size_t)l->lines * KERNEL_LINE) {
        float total[KERNEL_INT8_PANEL] = {0};
        for (uint32_t block = 0; block < l->panels / (BLOCK / KERNEL_INT8_PANEL); block++)
            add_block(l, block, row, total);
        logit[i] += folded(total);
    }
}

const struct kernel_int8 kernel_int8_avx2 = {
    .name = "int8-avx2",
    .unit_bytes = 2,
    .block = BLOCK,
    .group = 2,
    .add_rows = avx2_add_rows,
    .add_share = avx2_add_share,
    .add_floats = avx2_add_floats,
    .add_scaled = avx2_add_scaled,
    .power_rows = avx2_power_rows,
    .activate = avx2_activate,
    .layers = avx2_layers,
};

#else
typedef int kernel_int8_avx2_is_for_x86_64;
#endif
