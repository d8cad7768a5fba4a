/* AVX-512 VNNI: vpdpbusd multiplies 16 outputs by 4 inputs and adds them to int32 sums, exactly.
 * 8 rows against up to 3 panels keep 24 sums of the 32 registers, as in kernel_avx512.c. */
#include "model/kernel_int8.h"

#if defined(__x86_64__)

#include <string.h>

#include "model/kernel_int8_zmm.h"

enum { ROWS = 8, PANELS = 3, BATCH = 64 };

/* Inlined with constant `rows` and `panels`, so that sum[][] lives in registers. The instruction is
 * written out: gcc 12 copies and spills the sums around its intrinsic. */
static inline __attribute__((always_inline)) void block(const struct kernel_int8_layers *l,
                                                        uint32_t panel, int panels,
                                                        const uint8_t *h1, size_t rows,
                                                        float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE, panel_bytes = units * KERNEL_INT8_PANEL;
    const int8_t *weight = l->weight + panel * panel_bytes;
    __m512i sum[ROWS][PANELS], w[PANELS];
#pragma GCC unroll 16
    for (int q = 0; q < panels; q++)
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++)
            sum[r][q] = zmm_load(l->bias + (panel + (uint32_t)q) * KERNEL_INT8_PANEL);
    for (size_t k = 0; k < units; k += KERNEL_QUAD, weight += KERNEL_INT8_PANEL * KERNEL_QUAD) {
#pragma GCC unroll 16
        for (int q = 0; q < panels; q++)
            w[q] = zmm_load(weight + (size_t)q * panel_bytes);
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            int four;
            memcpy(&four, h1 + r * units + k, sizeof(four));
            __m512i h = _mm512_set1_epi32(four);
#pragma GCC unroll 16
            for (int q = 0; q < panels; q++)
                __asm__("vpdpbusd %2, %1, %0" : "+v"(sum[r][q]) : "v"(h), "v"(w[q]));
        }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++) {
        __m512 all = _mm512_loadu_ps(total + r * KERNEL_INT8_PANEL);
#pragma GCC unroll 16
        for (int q = 0; q < panels; q++)
            all = zmm_add_panel(all, sum[r][q],
                                l->output + (panel + (uint32_t)q) * KERNEL_INT8_PANEL);
        _mm512_storeu_ps(total + r * KERNEL_INT8_PANEL, all);
    }
}

/* As even as they go: few rows have too few sums to hide the latency. */
static inline __attribute__((always_inline)) void all_rows(const struct kernel_int8_layers *l,
                                                           uint32_t panel, int panels,
                                                           const uint8_t *h1, size_t n,
                                                           float *total)
{
    for (size_t times = (n + ROWS - 1) / ROWS; times > 0; times--) {
        size_t rows = (n + times - 1) / times;
        switch (rows) {
        case 8:
            block(l, panel, panels, h1, 8, total);
            break;
        case 7:
            block(l, panel, panels, h1, 7, total);
            break;
        case 6:
            block(l, panel, panels, h1, 6, total);
            break;
        case 5:
            block(l, panel, panels, h1, 5, total);
            break;
        case 4:
            block(l, panel, panels, h1, 4, total);
            break;
        case 3:
            block(l, panel, panels, h1, 3, total);
            break;
        case 2:
            block(l, panel, panels, h1, 2, total);
            break;
        default:
            block(l, panel, panels, h1, 1, total);
            break;
        }
        h1 += rows * l->lines * KERNEL_LINE;
        total += rows * KERNEL_INT8_PANEL;
        n -= rows;
    }
}

static void vnni_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                        float *restrict logit)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    for (size_t from = 0; from < n; from += BATCH) {
        size_t count = n - from < BATCH ? n - from : BATCH;
        const uint8_t *rows = (const uint8_t *)h1 + from * units;
        _Alignas(64) float total[BATCH * KERNEL_INT8_PANEL];
        memset(total, 0, count * KERNEL_INT8_PANEL * sizeof(float));
        uint32_t panel = 0;
        /* 4 left are two pairs: 3 and 1 would leave the last too few sums to hide the latency. */
        for (; l->panels - panel >= 3 && l->panels - panel != 4; panel += 3)
            all_rows(l, panel, 3, rows, count, total);
        for (; l->panels - panel >= 2; panel += 2)
            all_rows(l, panel, 2, rows, count, total);
        for (; panel < l->panels; panel++)
            all_rows(l, panel, 1, rows, count, total);
        for (size_t i = 0; i < count; i++)
            logit[from + i] += zmm_folded(_mm512_load_ps(total + i * KERNEL_INT8_PANEL));
    }
}

const struct kernel_int8 kernel_int8_vnni = {
    .name = "int8-vnni",
    .unit_bytes = 1,
    .block = KERNEL_INT8_PANEL,
    .group = KERNEL_QUAD,
    .add_rows = zmm_add_rows,
    .add_share = zmm_add_share,
    .add_floats = zmm_add_floats,
    .add_scaled = zmm_add_scaled,
    .power_rows = zmm_power_rows,
    .activate = zmm_activate,
    .layers = vnni_layers,
};

#else
typedef int kernel_int8_vnni_is_for_x86_64;
#endif
