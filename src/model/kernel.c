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

static void c_relu_sum(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float sum = a[i] + b[i];
        y[i] = sum > 0 ? sum : 0;
    }
}

static void c_relu_gated(float *y, const float *a, const float *gate, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float sum = a[i] * gate[i] + (a[i] + b[i]);
        y[i] = sum > 0 ? sum : 0;
    }
}

static void c_add_product(float *restrict y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a[i] * b[i];
}

static void c_multiply_rows(float *restrict y, const float *const *rows, size_t n_rows, size_t n)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < n; i++) {
            float product = y[i] * rows[r][i];
            y[i] = product > KERNEL_PRODUCT_MIN ? product : KERNEL_PRODUCT_MIN;
        }
}

static void c_gate(float *y, const float *gate, const float *x, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float scaled = scale * x[i];
        y[i] = gate[i] > 0 ? scaled : 0;
    }
}

static void c_drop(float *y, const uint16_t *noise, uint16_t below, float gain, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float scaled = gain * y[i];
        y[i] = noise[i] >= below ? scaled : 0;
    }
}

static void c_adam(float *restrict param, float *restrict mean, float *restrict square,
                   const float *restrict d, const struct kernel_adam *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float m = mean[i] + a->rest1 * (d[i] - mean[i]);
        float s = square[i] + a->rest2 * (d[i] * d[i] - square[i]);
        mean[i] = m;
        square[i] = s;
        param[i] = a->keep * param[i] - a->ahead * m / (sqrtf(s) * a->root + a->epsilon);
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

const struct kernel kernel_c = {
    .name = "c",
    .add_scaled = c_add_scaled,
    .relu_sum = c_relu_sum,
    .relu_gated = c_relu_gated,
    .add_product = c_add_product,
    .multiply_rows = c_multiply_rows,
    .gate = c_gate,
    .drop = c_drop,
    .adam = c_adam,
    .layers = c_layers,
};

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

enum { CHECK_UNITS = 53, CHECK_PANELS = 5, CHECK_ROWS = 27, CHECK_FLOATS = 1024 + 13 };

struct check {
    float a[CHECK_FLOATS], b[CHECK_FLOATS], c[CHECK_FLOATS], d[CHECK_FLOATS];
    uint16_t noise[CHECK_FLOATS];
};

static void fill_check(struct check *x)
{
    struct prng g = {1};
    for (int i = 0; i < CHECK_FLOATS; i++) {
        x->a[i] = (float)prng_unit(&g) - 0.5f;
        x->b[i] = (float)prng_unit(&g) - 0.5f;
        x->c[i] = (float)prng_unit(&g);
        x->d[i] = (float)prng_unit(&g) - 0.5f;
        x->noise[i] = (uint16_t)prng_next(&g);
    }
}

/* All that works on runs of floats, one on the other's result. */
static void run_vectors(const struct kernel *k, struct check *x)
{
    static const struct kernel_adam adam = {0.1f, 0.001f, 0.99f, 0.01f, 2, 1e-8f};
    k->add_scaled(x->a, x->b, 0.75f, CHECK_FLOATS);
    k->adam(x->a, x->b, x->c, x->d, &adam, CHECK_FLOATS);
    k->gate(x->d, x->a, x->b, 1.25f, CHECK_FLOATS);
    k->drop(x->b, x->noise, 20000, 1.5f, CHECK_FLOATS);
    k->relu_sum(x->a, x->a, x->b, CHECK_FLOATS);
    k->add_product(x->c, x->a, x->b, CHECK_FLOATS);
    k->relu_gated(x->d, x->c, x->b, x->d, CHECK_FLOATS);
    const float *rows[] = {x->c, x->a, x->c};
    k->multiply_rows(x->b, rows, 3, CHECK_FLOATS);
}

static bool vectors_agree(const struct kernel *k)
{
    struct check mine, plain;
    fill_check(&mine);
    fill_check(&plain);
    run_vectors(k, &mine);
    run_vectors(&kernel_c, &plain);
    return close_to(mine.a, plain.a, CHECK_FLOATS) && close_to(mine.b, plain.b, CHECK_FLOATS) &&
           close_to(mine.c, plain.c, CHECK_FLOATS) && close_to(mine.d, plain.d, CHECK_FLOATS);
}

static bool layers_agree(const struct kernel *k)
{
    float weight[CHECK_UNITS * CHECK_PANELS * KERNEL_PANEL], h1[CHECK_ROWS * CHECK_UNITS];
    float bias[CHECK_PANELS * KERNEL_PANEL], output[CHECK_PANELS * KERNEL_PANEL];
    float mine[CHECK_ROWS] = {0}, plain[CHECK_ROWS] = {0};
    struct prng g = {2};
    for (size_t i = 0; i < sizeof(weight) / sizeof(float); i++)
        weight[i] = (float)prng_unit(&g) - 0.5f;
    for (size_t i = 0; i < sizeof(h1) / sizeof(float); i++)
        h1[i] = (float)prng_unit(&g) - 0.25f;
    for (size_t i = 0; i < sizeof(bias) / sizeof(float); i++) {
        bias[i] = (float)prng_unit(&g) - 0.5f;
        output[i] = (float)prng_unit(&g) - 0.5f;
    }
    struct kernel_layers l = {CHECK_UNITS, CHECK_PANELS, weight, bias, output};
    kernel_c.layers(&l, h1, CHECK_UNITS, CHECK_ROWS, plain);
    k->layers(&l, h1, CHECK_UNITS, CHECK_ROWS, mine);
    return close_to(mine, plain, CHECK_ROWS);
}

/* Odd sizes on purpose: every variant's blocks and its remainders run. */
bool kernel_agrees(const struct kernel *k)
{
    return vectors_agree(k) && layers_agree(k);
}

static const struct kernel *forced;

void kernel_force(const struct kernel *k)
{
    forced = k;
}

const struct kernel *kernel_choose(void)
{
    if (forced != NULL)
        return forced;
    const struct kernel *available[4];
    for (size_t i = kernel_available(available); i-- > 1;)
        if (kernel_agrees(available[i]))
            return available[i];
    return &kernel_c;
}
