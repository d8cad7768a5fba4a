/* Plain C, written so that gcc vectorises it for whatever it may assume; and the choice of variant.
 *
 * The product of layer 2 is blocked: ROWS rows of h1 against one panel of 16 outputs, the sums in
 * registers, so that a weight is loaded once for ROWS multiplications. */
#include "model/kernel.h"

#include <math.h>
#include <string.h>

#include "prng.h"

enum { ROWS = 2 }; /* 2 x 16 sums fill half the registers of SSE2 and leave room for the operands */

static void c_add_scaled(float *restrict y, const float *restrict x, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += scale * x[i];
}

static void c_relu_sum(float *restrict y, const float *restrict a, const float *restrict b,
                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float sum = a[i] + b[i];
        y[i] = sum > 0 ? sum : 0;
    }
}

/* Four floats: what every target of gcc and clang has as one register. */
typedef float float4 __attribute__((vector_size(16)));

enum { QUARTERS = KERNEL_PANEL / 4 };

static inline float4 load4(const float *from)
{
    float4 v;
    memcpy(&v, from, sizeof(v));
    return v;
}

/* `rows` (1 or ROWS) rows against one panel: adds to logit[r] the panel's share. Inlined with
 * constant `rows`, so that sum[][] lives in registers. */
static inline __attribute__((always_inline)) void c_panel(const struct kernel_layers *l,
                                                          uint32_t panel, const float *h1,
                                                          size_t stride, size_t rows, float *logit)
{
    const float *weight = l->weight + (size_t)panel * l->hidden1 * KERNEL_PANEL;
    const float *bias = l->bias + panel * KERNEL_PANEL;
    const float *output = l->output + panel * KERNEL_PANEL;
    float4 sum[ROWS][QUARTERS];
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int q = 0; q < QUARTERS; q++)
            sum[r][q] = load4(bias + 4 * q);
    for (uint32_t k = 0; k < l->hidden1; k++, weight += KERNEL_PANEL)
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            float h = h1[r * stride + k];
            float4 hhhh = {h, h, h, h};
#pragma GCC unroll 16
            for (int q = 0; q < QUARTERS; q++)
                sum[r][q] += hhhh * load4(weight + 4 * q);
        }
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++) {
        float total = 0;
#pragma GCC unroll 16
        for (int j = 0; j < KERNEL_PANEL; j++) {
            float h2 = sum[r][j / 4][j % 4];
            total += output[j] * (h2 > 0 ? h2 : 0);
        }
        logit[r] += total;
    }
}

static void c_layers(const struct kernel_layers *l, const float *restrict h1, size_t stride,
                     size_t n, float *restrict logit)
{
    for (uint32_t panel = 0; panel < l->panels; panel++) {
        size_t i = 0;
        for (; i + ROWS <= n; i += ROWS)
            c_panel(l, panel, h1 + i * stride, stride, ROWS, logit + i);
        for (; i < n; i++)
            c_panel(l, panel, h1 + i * stride, stride, 1, logit + i);
    }
}

const struct kernel kernel_c = {"c", c_add_scaled, c_relu_sum, c_layers};

/* ---- choice ---- */

size_t kernel_available(const struct kernel *out[4])
{
    size_t n = 0;
    out[n++] = &kernel_c;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        out[n++] = &kernel_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma"))
        out[n++] = &kernel_avx512;
#endif
    out[n] = NULL;
    return n;
}

static bool close_to(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-5f + 1e-5f * fabsf(b[i])))
            return false;
    return true;
}

/* Odd sizes on purpose: every variant's blocks and its remainders run. */
bool kernel_agrees(const struct kernel *k)
{
    enum { HIDDEN1 = 53, PANELS = 5, N = 27, H2 = PANELS * KERNEL_PANEL };
    static const float scale = 0.75f;
    float weight[HIDDEN1 * H2], bias[H2], output[H2], h1[N * HIDDEN1];
    float mine[N * HIDDEN1], plain[N * HIDDEN1], logits_mine[N] = {0}, logits_plain[N] = {0};
    struct prng g = {1};
    for (int i = 0; i < HIDDEN1 * H2; i++)
        weight[i] = (float)prng_unit(&g) - 0.5f;
    for (int i = 0; i < H2; i++) {
        bias[i] = (float)prng_unit(&g) - 0.5f;
        output[i] = (float)prng_unit(&g) - 0.5f;
    }
    for (int i = 0; i < N * HIDDEN1; i++) {
        h1[i] = (float)prng_unit(&g) - 0.5f;
        mine[i] = plain[i] = (float)prng_unit(&g) - 0.5f;
    }
    kernel_c.add_scaled(plain, h1, scale, N * HIDDEN1);
    k->add_scaled(mine, h1, scale, N * HIDDEN1);
    if (!close_to(mine, plain, N * HIDDEN1))
        return false;
    kernel_c.relu_sum(plain, h1, weight, N * HIDDEN1);
    k->relu_sum(mine, h1, weight, N * HIDDEN1);
    if (!close_to(mine, plain, N * HIDDEN1))
        return false;
    struct kernel_layers l = {HIDDEN1, PANELS, weight, bias, output};
    kernel_c.layers(&l, h1, HIDDEN1, N, logits_plain);
    k->layers(&l, h1, HIDDEN1, N, logits_mine);
    return close_to(logits_mine, logits_plain, N);
}

const struct kernel *kernel_choose(void)
{
    const struct kernel *available[4];
    for (size_t i = kernel_available(available); i-- > 1;)
        if (kernel_agrees(available[i]))
            return available[i];
    return &kernel_c;
}
