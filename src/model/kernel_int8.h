/* The inner loops of scoring in whole numbers, one table of functions per instruction set.
 *
 *   layer 1   int16 fixed point: rows are added with saturation; UNIT steps are one step of an
 *             activation
 *   h1        clamp(z >> UNIT_BITS, 0, 255): the shift quantises, the clamp is the ReLU
 *   layer 2   int8 weights, int32 sums: exact, whatever the order
 *   output    floats, 16 partial sums that are folded in a fixed order, no multiply-add fused
 *   factors   int8 logarithms, KERNEL_OCTAVE steps to a doubling; their sums are exact, the power
 * of two is a polynomial in a fixed order
 *
 * So every variant returns the same bits as plain C: the check at start is equality, and a decision
 * can be replayed on another machine. kernel_int8.c holds plain C and the choice; the others are
 * kernel_int8_avx2.c, kernel_int8_vnni.c and kernel_int8_amx.c. Pointers need not be aligned; runs
 * are whole lines of KERNEL_LINE values. */
#ifndef MODEL_KERNEL_INT8_H
#define MODEL_KERNEL_INT8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum {
    KERNEL_LINE = 64, /* hidden1 is padded with zeros to whole lines: a tile of AMX is that deep */
    KERNEL_QUAD = 4,  /* activations that one instruction multiplies and sums */
    KERNEL_INT8_PANEL = 16,
    KERNEL_UNIT_BITS = 4, /* int16 reaches 8 times the largest activation: room for what cancels */
    KERNEL_OCTAVE = 16,
    KERNEL_POWER_ROWS = 255, /* sums of so many int8 fit int16 */
};

/* Powers of two are cut to those of exponents between these: floats far from both ends. */
#define KERNEL_POWER_MIN (-99.0f)
#define KERNEL_POWER_MAX 126.0f

/* 2^x = 1 + x c[0] + x^2 c[1] + ...: the Taylor series, good to 2e-7 for x within a half. */
enum { KERNEL_POWER_TERMS = 6 };
extern const float kernel_int8_power[KERNEL_POWER_TERMS];
/* A float and this have no room for a fraction: adding it rounds, half to even. */
#define KERNEL_POWER_ROUND 12582912.0f

/* Layer 2 and the output: logit = output . max(weight . h1 + bias, 0). Weights lie as the kernel
 * reads them, see kernel_int8_at. */
struct kernel_int8_layers {
    uint32_t lines, panels; /* hidden1 in lines, hidden2 in panels, whole blocks of the kernel;
                               what is beyond them is zero */
    const int8_t *weight;   /* [outputs / block][units / group][block][group] */
    const int32_t *bias;    /* [panels * KERNEL_INT8_PANEL] */
    const float *output;    /* likewise; holds the scales of weights and activations too */
};

/* A DSP's own part of layer 1. */
struct kernel_int8_own {
    const int16_t *row;  /* with the bias, and half a step that makes the shift round */
    const int16_t *gate; /* Q15, halved `doublings` times to fit; NULL: no gate */
    uint32_t doublings;
};

struct kernel_int8 {
    const char *name;
    size_t unit_bytes; /* of an activation in h1, 1 or 2: as `layers` wants them */
    uint32_t block;    /* outputs whose weights lie together, whole panels */
    uint32_t group;    /* units whose weights for an output are neighbours */
    /* base += row for each of n_rows rows in turn, saturating each time */
    void (*add_rows)(int16_t *base, const int16_t *const *rows, size_t n_rows, size_t lines);
    /* base += row * share / 2^15, rounded (half up), saturating; share > 0 */
    void (*add_share)(int16_t *base, const int16_t *row, int16_t share, size_t lines);
    /* base += x, rounded (half to even), saturating; NAN counts as the largest */
    void (*add_floats)(int16_t *base, const float *x, size_t lines);
    /* y += scale * x, rounded twice: not fused */
    void (*add_scaled)(float *restrict y, const float *restrict x, float scale, size_t lines);
    /* y = 2^(y + the sum of the rows / KERNEL_OCTAVE); at most KERNEL_POWER_ROWS rows */
    void (*power_rows)(float *restrict y, const int8_t *const *rows, size_t n_rows, size_t lines);
    /* h1 = clamp((base + base * gate + row) >> KERNEL_UNIT_BITS, 0, 255) */
    void (*activate)(void *restrict h1, const int16_t *base, const struct kernel_int8_own *own,
                     size_t lines);
    /* logit[i] += output . max(weight . h1[i] + bias, 0) for i below n; h1: [n][lines * 64] */
    void (*layers)(const struct kernel_int8_layers *l, const void *h1, size_t n,
                   float *restrict logit);
};

/* Where the weight from a unit to an output is. */
static inline size_t kernel_int8_at(const struct kernel_int8 *k, size_t lines, uint32_t output,
                                    size_t unit)
{
    size_t groups = lines * KERNEL_LINE / k->group;
    size_t before = output / k->block * groups + unit / k->group;
    return (before * k->block + output % k->block) * k->group + unit % k->group;
}

/* hidden2 in panels, up to a whole block. */
static inline uint32_t kernel_int8_panels(const struct kernel_int8 *k, uint32_t hidden2)
{
    return (hidden2 + k->block - 1) / k->block * (k->block / KERNEL_INT8_PANEL);
}

extern const struct kernel_int8 kernel_int8_c;
#if defined(__x86_64__)
extern const struct kernel_int8 kernel_int8_avx2, kernel_int8_vnni, kernel_int8_amx;
/* Asks the kernel for the tiles, for the whole process; once is enough. */
bool kernel_int8_amx_permitted(void);
#endif

enum { KERNEL_INT8_MAX = 5 };

/* The variants this machine can run, plain C first, NULL behind the last. */
size_t kernel_int8_available(const struct kernel_int8 *out[KERNEL_INT8_MAX]);

/* Whether `k` returns the bits of plain C on a fixed random input. */
bool kernel_int8_agrees(const struct kernel_int8 *k);

/* The fastest variant that this machine can run and that agrees with plain C; plain C if none. NULL
 * where kernel_override chose floats. */
const struct kernel_int8 *kernel_int8_choose(void);

/* For kernel_override: from now on this one is chosen; NULL: none is. */
void kernel_int8_force(const struct kernel_int8 *k);
bool kernel_int8_forced(void);

#endif
