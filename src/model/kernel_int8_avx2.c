/* AVX2: weights are widened to int16 as they are loaded and multiplied in pairs by vpmaddwd, whose
 * int32 sums are exact; vpmaddubsw would be faster and saturates. Activations are kept as int16.
 *
 * A panel is four registers of 4 outputs by 4 inputs; each lane pair of the sums holds two halves
 * of an output, which meet at the end. 3 rows keep 12 sums of the 16 registers. */
#include "model/kernel_int8.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

enum { LANES = 16, FLOATS = 8, ROWS = 3, QUARTERS = 4, PARTS = KERNEL_LINE / LANES };

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

/* Sums of 16 outputs of one row: the pairs meet, the bias comes in, and the part of the logit is
 * added to total[2], 8 outputs each. */
static inline __attribute__((always_inline)) void
finish(const __m256i sum[QUARTERS], const int32_t *bias, const float *output, float *total)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        __m256i mixed = _mm256_hadd_epi32(sum[2 * half], sum[2 * half + 1]);
        __m256i eight = _mm256_permute4x64_epi64(mixed, 0xd8);
        eight = _mm256_add_epi32(eight, load(bias + half * FLOATS));
        __m256 h2 = _mm256_cvtepi32_ps(_mm256_max_epi32(eight, _mm256_setzero_si256()));
        __m256 part = _mm256_mul_ps(_mm256_loadu_ps(output + half * FLOATS), h2);
        float *to = total + half * FLOATS;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), part));
    }
}

/* Inlined with constant `rows`, so that sum[][] lives in registers. The addition is written out:
 * gcc 12 would take all products first, and spill the sums. */
static inline __attribute__((always_inline)) void panel_rows(const struct kernel_int8_layers *l,
                                                             uint32_t panel, const int16_t *h1,
                                                             size_t rows, float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    const int8_t *weight = l->weight + panel * units * KERNEL_INT8_PANEL;
    __m256i sum[ROWS][QUARTERS];
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int q = 0; q < QUARTERS; q++)
            sum[r][q] = _mm256_setzero_si256();
    for (size_t k = 0; k < units; k += KERNEL_QUAD, weight += KERNEL_INT8_PANEL * KERNEL_QUAD) {
        __m256i h[ROWS];
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            long long four;
            memcpy(&four, h1 + r * units + k, sizeof(four));
            h[r] = _mm256_set1_epi64x(four);
        }
#pragma GCC unroll 16
        for (int q = 0; q < QUARTERS; q++) {
            __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(weight + 16 * q)));
#pragma GCC unroll 16
            for (size_t r = 0; r < rows; r++) {
                __m256i product = _mm256_madd_epi16(h[r], w);
                __asm__ volatile("vpaddd %1, %0, %0" : "+x"(sum[r][q]) : "x"(product));
            }
        }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++)
        finish(sum[r], l->bias + panel * KERNEL_INT8_PANEL, l->output + panel * KERNEL_INT8_PANEL,
               total + r * KERNEL_INT8_PANEL);
}

static inline float folded(const float total[KERNEL_INT8_PANEL])
{
    __m256 eight = _mm256_add_ps(_mm256_loadu_ps(total), _mm256_loadu_ps(total + FLOATS));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

enum { BATCH = 48 }; /* rows that go through a panel while its weights are in the L1 cache */

static void avx2_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                        float *restrict logit)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    for (size_t from = 0; from < n; from += BATCH) {
        size_t count = n - from < BATCH ? n - from : BATCH;
        const int16_t *rows = (const int16_t *)h1 + from * units;
        float total[BATCH * KERNEL_INT8_PANEL] = {0};
        for (uint32_t panel = 0; panel < l->panels; panel++) {
            size_t i = 0;
            for (; i + ROWS <= count; i += ROWS)
                panel_rows(l, panel, rows + i * units, ROWS, total + i * KERNEL_INT8_PANEL);
            if (count - i == 2)
                panel_rows(l, panel, rows + i * units, 2, total + i * KERNEL_INT8_PANEL);
            else if (count - i == 1)
                panel_rows(l, panel, rows + i * units, 1, total + i * KERNEL_INT8_PANEL);
        }
        for (size_t i = 0; i < count; i++)
            logit[from + i] += folded(total + i * KERNEL_INT8_PANEL);
    }
}

const struct kernel_int8 kernel_int8_avx2 = {
    .name = "int8-avx2",
    .unit_bytes = 2,
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
