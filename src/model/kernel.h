/* The inner loops of scoring and of training outside BLAS, one table of functions per instruction
 * set.
 *
 * kernel.c holds the plain C one and the choice; kernel_avx2.c and kernel_avx512.c hold one table
 * each. All functions are pure, take unaligned pointers and any length, and round alike within a
 * few ulp: fused or not, and in the order of k alone. */
#ifndef MODEL_KERNEL_H
#define MODEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Layer 2's weights are stored in panels of so many outputs, so that every variant streams them:
 * panel[j / 16][k][j % 16] = hidden2.weight[j][k]; outputs beyond hidden2 are zero. */
enum { KERNEL_PANEL = 16 };

/* Products of many factors stay clear of the denormal numbers, which are slow. */
#define KERNEL_PRODUCT_MIN 1e-30f

/* Layer 2 and the output, folded: logit = output . relu(weight . h1 + bias). */
struct kernel_layers {
    uint32_t hidden1, panels;
    const float *weight; /* [panels][hidden1][KERNEL_PANEL] */
    const float *bias;   /* [panels * KERNEL_PANEL] */
    const float *output; /* [panels * KERNEL_PANEL]: output.weight[1] - output.weight[0] */
};

/* One step of Adam over a run of parameters. */
struct kernel_adam {
    float rest1, rest2; /* 1 - beta1, 1 - beta2 */
    float keep;         /* 1 - rate * decay */
    float ahead;        /* rate / (1 - beta1^t) */
    float root;         /* 1 / sqrt(1 - beta2^t) */
    float epsilon;
};

/* Runs of floats may be the same run (y = a), but not overlap otherwise. */
struct kernel {
    const char *name;
    /* y += scale * x */
    void (*add_scaled)(float *restrict y, const float *restrict x, float scale, size_t n);
    /* y = relu(a + b) */
    void (*relu_sum)(float *y, const float *a, const float *b, size_t n);
    /* y = relu(a + a * gate + b) */
    void (*relu_gated)(float *y, const float *a, const float *gate, const float *b, size_t n);
    /* y += a * b */
    void (*add_product)(float *restrict y, const float *a, const float *b, size_t n);
    /* For each of n_rows rows x: y = max(y * x, KERNEL_PRODUCT_MIN) */
    void (*multiply_rows)(float *restrict y, const float *const *rows, size_t n_rows, size_t n);
    /* y = gate > 0 ? scale * x : 0 */
    void (*gate)(float *y, const float *gate, const float *x, float scale, size_t n);
    /* y = noise >= below ? gain * y : 0 */
    void (*drop)(float *y, const uint16_t *noise, uint16_t below, float gain, size_t n);
    /* mean += rest1 * (d - mean); square += rest2 * (d * d - square);
     * param = keep * param - ahead * mean / (sqrt(square) * root + epsilon) */
    void (*adam)(float *restrict param, float *restrict mean, float *restrict square,
                 const float *restrict d, const struct kernel_adam *a, size_t n);
    /* logit[i] += output . relu(weight . h1[i] + bias) for i below n; h1: [n][stride] */
    void (*layers)(const struct kernel_layers *l, const float *restrict h1, size_t stride, size_t n,
                   float *restrict logit);
};

extern const struct kernel kernel_c;
#if defined(__x86_64__)
extern const struct kernel kernel_avx2, kernel_avx512;
#endif

/* The variants this machine can run, plain C first, NULL behind the last. */
size_t kernel_available(const struct kernel *out[4]);

/* Whether `k` computes what plain C does, within rounding, on a fixed random input. */
bool kernel_agrees(const struct kernel *k);

/* The fastest variant that this machine can run and that agrees with plain C. */
const struct kernel *kernel_choose(void);

/* For kernel_override: from now on this one is chosen. */
void kernel_force(const struct kernel *k);

#endif
