/* AVX-512: a panel is one register. 8 rows against up to 3 panels keep 24 sums of the 32 registers;
 * remainders of rows and panels take smaller blocks of the same code. */
#include "model/kernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { LANES = 16, ROWS = 8, PANELS = 3 };

static inline __mmask16 tail_mask(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline __mmask16 lanes_mask(size_t left)
{
    return left >= LANES ? (__mmask16)0xffff : tail_mask(left);
}

static void avx512_add_scaled(float *restrict y, const float *restrict x, float scale, size_t n)
{
    __m512 factor = _mm512_set1_ps(scale);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(y + i,
                         _mm512_fmadd_ps(factor, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
    if (i < n) {
        __mmask16 mask = tail_mask(n - i);
        __m512 sum = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(mask, x + i),
                                     _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

static void avx512_relu_sum(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_max_ps(sum, _mm512_setzero_ps()));
    }
}

static void avx512_relu_gated(float *y, const float *a, const float *gate, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __m512 x = _mm512_maskz_loadu_ps(mask, a + i);
        __m512 sum = _mm512_fmadd_ps(x, _mm512_maskz_loadu_ps(mask, gate + i),
                                     _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, b + i)));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_max_ps(sum, _mm512_setzero_ps()));
    }
}

static void avx512_add_product(float *restrict y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __m512 sum =
            _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i),
                            _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

/* The products of four vectors stay in registers while the rows pass by. */
static void avx512_multiply_rows(float *restrict y, const float *const *rows, size_t n_rows,
                                 size_t n)
{
    enum { BLOCK = 4 };
    const __m512 least = _mm512_set1_ps(KERNEL_PRODUCT_MIN);
    size_t i = 0;
    for (; i + BLOCK * LANES <= n; i += BLOCK * LANES) {
        __m512 product[BLOCK];
#pragma GCC unroll 4
        for (int b = 0; b < BLOCK; b++)
            product[b] = _mm512_loadu_ps(y + i + b * LANES);
        for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
            for (int b = 0; b < BLOCK; b++)
                product[b] = _mm512_max_ps(
                    _mm512_mul_ps(product[b], _mm512_loadu_ps(rows[r] + i + b * LANES)), least);
#pragma GCC unroll 4
        for (int b = 0; b < BLOCK; b++)
            _mm512_storeu_ps(y + i + b * LANES, product[b]);
    }
    for (; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __m512 product = _mm512_maskz_loadu_ps(mask, y + i);
        for (size_t r = 0; r < n_rows; r++)
            product = _mm512_max_ps(
                _mm512_mul_ps(product, _mm512_maskz_loadu_ps(mask, rows[r] + i)), least);
        _mm512_mask_storeu_ps(y + i, mask, product);
    }
}

static void avx512_gate(float *y, const float *gate, const float *x, float scale, size_t n)
{
    __m512 factor = _mm512_set1_ps(scale);
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __mmask16 open = _mm512_mask_cmp_ps_mask(mask, _mm512_maskz_loadu_ps(mask, gate + i),
                                                 _mm512_setzero_ps(), _CMP_GT_OQ);
        __m512 scaled = _mm512_maskz_mul_ps(open, factor, _mm512_maskz_loadu_ps(mask, x + i));
        _mm512_mask_storeu_ps(y + i, mask, scaled);
    }
}

static void avx512_drop(float *y, const uint16_t *noise, uint16_t below, float gain, size_t n)
{
    __m512 factor = _mm512_set1_ps(gain);
    __m256i limit = _mm256_set1_epi16((short)below);
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __mmask16 stays =
            _mm256_mask_cmpge_epu16_mask(mask, _mm256_maskz_loadu_epi16(mask, noise + i), limit);
        __m512 scaled = _mm512_maskz_mul_ps(stays, factor, _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(y + i, mask, scaled);
    }
}

static void avx512_adam(float *restrict param, float *restrict mean, float *restrict square,
                        const float *restrict d, const struct kernel_adam *a, size_t n)
{
    __m512 rest1 = _mm512_set1_ps(a->rest1), rest2 = _mm512_set1_ps(a->rest2);
    __m512 keep = _mm512_set1_ps(a->keep), ahead = _mm512_set1_ps(a->ahead);
    __m512 root = _mm512_set1_ps(a->root), epsilon = _mm512_set1_ps(a->epsilon);
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lanes_mask(n - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, d + i), m = _mm512_maskz_loadu_ps(mask, mean + i);
        __m512 s = _mm512_maskz_loadu_ps(mask, square + i);
        m = _mm512_fmadd_ps(rest1, _mm512_sub_ps(g, m), m);
        s = _mm512_fmadd_ps(rest2, _mm512_fmsub_ps(g, g, s), s);
        _mm512_mask_storeu_ps(mean + i, mask, m);
        _mm512_mask_storeu_ps(square + i, mask, s);
        __m512 size = _mm512_fmadd_ps(_mm512_sqrt_ps(s), root, epsilon);
        __m512 step = _mm512_div_ps(_mm512_mul_ps(ahead, m), size);
        __m512 was = _mm512_maskz_loadu_ps(mask, param + i);
        _mm512_mask_storeu_ps(param + i, mask, _mm512_fmsub_ps(keep, was, step));
    }
}

/* Inlined with constant `rows` and `panels`, so that sum[][] lives in registers. */
static inline __attribute__((always_inline)) void block(const struct kernel_layers *l,
                                                        uint32_t panel, int panels, const float *h1,
                                                        size_t stride, size_t rows, float *logit)
{
    size_t panel_floats = (size_t)l->hidden1 * KERNEL_PANEL;
    const float *weight = l->weight + panel * panel_floats;
    __m512 sum[ROWS][PANELS], w[PANELS];
#pragma GCC unroll 16
    for (int q = 0; q < panels; q++)
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++)
            sum[r][q] = _mm512_loadu_ps(l->bias + (panel + (uint32_t)q) * KERNEL_PANEL);
    for (uint32_t k = 0; k < l->hidden1; k++, weight += KERNEL_PANEL) {
#pragma GCC unroll 16
        for (int q = 0; q < panels; q++)
            w[q] = _mm512_loadu_ps(weight + (size_t)q * panel_floats);
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            __m512 h = _mm512_set1_ps(h1[r * stride + k]);
#pragma GCC unroll 16
            for (int q = 0; q < panels; q++)
                sum[r][q] = _mm512_fmadd_ps(h, w[q], sum[r][q]);
        }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++) {
        __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 16
        for (int q = 0; q < panels; q++)
            total = _mm512_fmadd_ps(
                _mm512_max_ps(sum[r][q], _mm512_setzero_ps()),
                _mm512_loadu_ps(l->output + (panel + (uint32_t)q) * KERNEL_PANEL), total);
        logit[r] += _mm512_reduce_add_ps(total);
    }
}

static inline __attribute__((always_inline)) void all_rows(const struct kernel_layers *l,
                                                           uint32_t panel, int panels,
                                                           const float *h1, size_t stride, size_t n,
                                                           float *logit)
{
    size_t i = 0;
    for (; i + ROWS <= n; i += ROWS)
        block(l, panel, panels, h1 + i * stride, stride, ROWS, logit + i);
    for (; i + 3 <= n; i += 3)
        block(l, panel, panels, h1 + i * stride, stride, 3, logit + i);
    for (; i < n; i++)
        block(l, panel, panels, h1 + i * stride, stride, 1, logit + i);
}

static void avx512_layers(const struct kernel_layers *l, const float *restrict h1, size_t stride,
                          size_t n, float *restrict logit)
{
    uint32_t panel = 0;
    /* 4 left are two pairs: 3 and 1 would leave the last panel too few sums to hide the latency. */
    for (; l->panels - panel >= 3 && l->panels - panel != 4; panel += 3)
        all_rows(l, panel, 3, h1, stride, n, logit);
    for (; l->panels - panel >= 2; panel += 2)
        all_rows(l, panel, 2, h1, stride, n, logit);
    for (; panel < l->panels; panel++)
        all_rows(l, panel, 1, h1, stride, n, logit);
}

const struct kernel kernel_avx512 = {
    .name = "avx512",
    .add_scaled = avx512_add_scaled,
    .relu_sum = avx512_relu_sum,
    .relu_gated = avx512_relu_gated,
    .add_product = avx512_add_product,
    .multiply_rows = avx512_multiply_rows,
    .gate = avx512_gate,
    .drop = avx512_drop,
    .adam = avx512_adam,
    .layers = avx512_layers,
};

#else
typedef int kernel_avx512_is_for_x86_64;
#endif
