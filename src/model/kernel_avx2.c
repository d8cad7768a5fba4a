/* AVX2 and FMA: 6 rows against one panel (two registers) keep 12 sums, so that the latency of a
 * multiply-add (4-5 cycles, two a cycle) is covered and 4 registers are left for operands. */
#include "model/kernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { LANES = 8, HALVES = KERNEL_PANEL / LANES, ROWS = 6 };

static void avx2_add_scaled(float *restrict y, const float *restrict x, float scale, size_t n)
{
    __m256 factor = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i,
                         _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        y[i] += scale * x[i];
}

static void avx2_relu_sum(float *restrict y, const float *restrict a, const float *restrict b,
                          size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 sum = _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
        _mm256_storeu_ps(y + i, _mm256_max_ps(sum, _mm256_setzero_ps()));
    }
    for (; i < n; i++) {
        float sum = a[i] + b[i];
        y[i] = sum > 0 ? sum : 0;
    }
}

static inline float sum_lanes(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline __attribute__((always_inline)) void panel_rows(const struct kernel_layers *l,
                                                             uint32_t panel, const float *h1,
                                                             size_t stride, size_t rows,
                                                             float *logit)
{
    const float *weight = l->weight + (size_t)panel * l->hidden1 * KERNEL_PANEL;
    const float *bias = l->bias + panel * KERNEL_PANEL;
    const float *output = l->output + panel * KERNEL_PANEL;
    __m256 sum[ROWS][HALVES];
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int half = 0; half < HALVES; half++)
            sum[r][half] = _mm256_loadu_ps(bias + half * LANES);
    for (uint32_t k = 0; k < l->hidden1; k++, weight += KERNEL_PANEL) {
        __m256 w0 = _mm256_loadu_ps(weight), w1 = _mm256_loadu_ps(weight + LANES);
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            __m256 h = _mm256_broadcast_ss(h1 + r * stride + k);
            sum[r][0] = _mm256_fmadd_ps(h, w0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(h, w1, sum[r][1]);
        }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++) {
        __m256 zero = _mm256_setzero_ps();
        __m256 total = _mm256_mul_ps(_mm256_max_ps(sum[r][0], zero), _mm256_loadu_ps(output));
        total =
            _mm256_fmadd_ps(_mm256_max_ps(sum[r][1], zero), _mm256_loadu_ps(output + LANES), total);
        logit[r] += sum_lanes(total);
    }
}

static void avx2_layers(const struct kernel_layers *l, const float *restrict h1, size_t stride,
                        size_t n, float *restrict logit)
{
    for (uint32_t panel = 0; panel < l->panels; panel++) {
        size_t i = 0;
        for (; i + ROWS <= n; i += ROWS)
            panel_rows(l, panel, h1 + i * stride, stride, ROWS, logit + i);
        for (; i + 2 <= n; i += 2)
            panel_rows(l, panel, h1 + i * stride, stride, 2, logit + i);
        for (; i < n; i++)
            panel_rows(l, panel, h1 + i * stride, stride, 1, logit + i);
    }
}

const struct kernel kernel_avx2 = {"avx2", avx2_add_scaled, avx2_relu_sum, avx2_layers};

#else
typedef int kernel_avx2_is_for_x86_64;
#endif
