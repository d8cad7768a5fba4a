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

static void avx2_relu_sum(float *y, const float *a, const float *b, size_t n)
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

static void avx2_relu_gated(float *y, const float *a, const float *gate, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 x = _mm256_loadu_ps(a + i);
        __m256 sum =
            _mm256_fmadd_ps(x, _mm256_loadu_ps(gate + i), _mm256_add_ps(x, _mm256_loadu_ps(b + i)));
        _mm256_storeu_ps(y + i, _mm256_max_ps(sum, _mm256_setzero_ps()));
    }
    for (; i < n; i++) {
        float sum = a[i] * gate[i] + (a[i] + b[i]);
        y[i] = sum > 0 ? sum : 0;
    }
}

static void avx2_add_product(float *restrict y, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i),
                                                _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        y[i] += a[i] * b[i];
}

/* The products of eight vectors stay in registers while the rows pass by. */
static void avx2_multiply_rows(float *restrict y, const float *const *rows, size_t n_rows, size_t n)
{
    enum { BLOCK = 8 };
    const __m256 least = _mm256_set1_ps(KERNEL_PRODUCT_MIN);
    size_t i = 0;
    for (; i + BLOCK * LANES <= n; i += BLOCK * LANES) {
        __m256 product[BLOCK];
#pragma GCC unroll 8
        for (int b = 0; b < BLOCK; b++)
            product[b] = _mm256_loadu_ps(y + i + b * LANES);
        for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 8
            for (int b = 0; b < BLOCK; b++)
                product[b] = _mm256_max_ps(
                    _mm256_mul_ps(product[b], _mm256_loadu_ps(rows[r] + i + b * LANES)), least);
#pragma GCC unroll 8
        for (int b = 0; b < BLOCK; b++)
            _mm256_storeu_ps(y + i + b * LANES, product[b]);
    }
    for (; i + LANES <= n; i += LANES) {
        __m256 product = _mm256_loadu_ps(y + i);
        for (size_t r = 0; r < n_rows; r++)
            product = _mm256_max_ps(_mm256_mul_ps(product, _mm256_loadu_ps(rows[r] + i)), least);
        _mm256_storeu_ps(y + i, product);
    }
    for (; i < n; i++)
        for (size_t r = 0; r < n_rows; r++) {
            float product = y[i] * rows[r][i];
            y[i] = product > KERNEL_PRODUCT_MIN ? product : KERNEL_PRODUCT_MIN;
        }
}

static void avx2_gate(float *y, const float *gate, const float *x, float scale, size_t n)
{
    __m256 factor = _mm256_set1_ps(scale), zero = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 open = _mm256_cmp_ps(_mm256_loadu_ps(gate + i), zero, _CMP_GT_OQ);
        __m256 scaled = _mm256_mul_ps(factor, _mm256_loadu_ps(x + i));
        _mm256_storeu_ps(y + i, _mm256_and_ps(open, scaled));
    }
    for (; i < n; i++)
        y[i] = gate[i] > 0 ? scale * x[i] : 0;
}

static void avx2_drop(float *y, const uint16_t *noise, uint16_t below, float gain, size_t n)
{
    __m256 factor = _mm256_set1_ps(gain);
    __m256i limit = _mm256_set1_epi32(below);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m128i bits = _mm_loadu_si128((const __m128i *)(noise + i));
        __m256i silent = _mm256_cmpgt_epi32(limit, _mm256_cvtepu16_epi32(bits));
        __m256 scaled = _mm256_mul_ps(factor, _mm256_loadu_ps(y + i));
        _mm256_storeu_ps(y + i, _mm256_andnot_ps(_mm256_castsi256_ps(silent), scaled));
    }
    for (; i < n; i++)
        y[i] = noise[i] >= below ? gain * y[i] : 0;
}

static void avx2_adam(float *restrict param, float *restrict mean, float *restrict square,
                      const float *restrict d, const struct kernel_adam *a, size_t n)
{
    __m256 rest1 = _mm256_set1_ps(a->rest1), rest2 = _mm256_set1_ps(a->rest2);
    __m256 keep = _mm256_set1_ps(a->keep), ahead = _mm256_set1_ps(a->ahead);
    __m256 root = _mm256_set1_ps(a->root), epsilon = _mm256_set1_ps(a->epsilon);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 g = _mm256_loadu_ps(d + i), m = _mm256_loadu_ps(mean + i);
        __m256 s = _mm256_loadu_ps(square + i);
        m = _mm256_fmadd_ps(rest1, _mm256_sub_ps(g, m), m);
        s = _mm256_fmadd_ps(rest2, _mm256_fmsub_ps(g, g, s), s);
        _mm256_storeu_ps(mean + i, m);
        _mm256_storeu_ps(square + i, s);
        __m256 size = _mm256_fmadd_ps(_mm256_sqrt_ps(s), root, epsilon);
        __m256 step = _mm256_div_ps(_mm256_mul_ps(ahead, m), size);
        _mm256_storeu_ps(param + i, _mm256_fmsub_ps(keep, _mm256_loadu_ps(param + i), step));
    }
    if (i < n)
        kernel_c.adam(param + i, mean + i, square + i, d + i, a, n - i);
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

/* Rows in blocks as even as can be: 16 are 6, 5 and 5, since a block of 2 or 3 has too few sums to
 * hide the latency. */
static void avx2_layers(const struct kernel_layers *l, const float *restrict h1, size_t stride,
                        size_t n, float *restrict logit)
{
    for (uint32_t panel = 0; panel < l->panels; panel++)
        for (size_t i = 0, blocks = (n + ROWS - 1) / ROWS; blocks > 0; blocks--) {
            size_t rows = (n - i + blocks - 1) / blocks;
            const float *from = h1 + i * stride;
            float *to = logit + i;
            switch (rows) {
            case 6:
                panel_rows(l, panel, from, stride, 6, to);
                break;
            case 5:
                panel_rows(l, panel, from, stride, 5, to);
                break;
            case 4:
                panel_rows(l, panel, from, stride, 4, to);
                break;
            case 3:
                panel_rows(l, panel, from, stride, 3, to);
                break;
            case 2:
                panel_rows(l, panel, from, stride, 2, to);
                break;
            default:
                panel_rows(l, panel, from, stride, 1, to);
            }
            i += rows;
        }
}

const struct kernel kernel_avx2 = {
    .name = "avx2",
    .add_scaled = avx2_add_scaled,
    .relu_sum = avx2_relu_sum,
    .relu_gated = avx2_relu_gated,
    .add_product = avx2_add_product,
    .multiply_rows = avx2_multiply_rows,
    .gate = avx2_gate,
    .drop = avx2_drop,
    .adam = avx2_adam,
    .layers = avx2_layers,
};

#else
typedef int kernel_avx2_is_for_x86_64;
#endif
