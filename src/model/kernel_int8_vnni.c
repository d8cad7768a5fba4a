/* AVX-512 VNNI: vpdpbusd multiplies 16 outputs by 4 inputs and adds them to int32 sums, exactly. A
 * small layer 2 goes row by row and passes over inputs that are zero, four at a time; a large one
 * in blocks: 8 rows against up to 3 panels keep 24 sums of the 32 registers, as in kernel_avx512.c.
 */
#include "model/kernel_int8.h"

#if defined(__x86_64__)

#include <string.h>

#include "model/kernel_int8_zmm.h"

enum { ROWS = 8, PANELS = 3, BATCH = 64 };
enum { QUADS = 64, SPARSE_PANELS = 4, SPARSE_BYTES = 32768 };

/* The instruction is written out: gcc 12 copies and spills the sums around its intrinsic. */
static inline __attribute__((always_inline)) void dot(__m512i *sum, __m512i h, __m512i w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(h), "v"(w));
}

static inline __m512i four_of(const uint8_t *h1)
{
    int four;
    memcpy(&four, h1, sizeof(four));
    return _mm512_set1_epi32(four);
}

/* ---- some rows against some panels ---- */

/* Inlined with constant `rows` and `panels`, so that sum[][] lives in registers. */
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
            __m512i h = four_of(h1 + r * units + k);
#pragma GCC unroll 16
            for (int q = 0; q < panels; q++)
                dot(&sum[r][q], h, w[q]);
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

static inline __attribute__((always_inline)) void all_rows(const struct kernel_int8_layers *l,
                                                           uint32_t panel, int panels,
                                                           const uint8_t *h1, size_t n,
                                                           float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE, i = 0;
    for (; i + ROWS <= n; i += ROWS)
        block(l, panel, panels, h1 + i * units, ROWS, total + i * KERNEL_INT8_PANEL);
    for (; i + 3 <= n; i += 3)
        block(l, panel, panels, h1 + i * units, 3, total + i * KERNEL_INT8_PANEL);
    for (; i < n; i++)
        block(l, panel, panels, h1 + i * units, 1, total + i * KERNEL_INT8_PANEL);
}

static void dense_layers(const struct kernel_int8_layers *l, const uint8_t *h1, size_t n,
                         float *restrict logit)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    for (size_t from = 0; from < n; from += BATCH) {
        size_t count = n - from < BATCH ? n - from : BATCH;
        const uint8_t *rows = h1 + from * units;
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

/* ---- a row, its quads that are not zero ---- */

/* Bit i: quad i of these units is not zero; of at most QUADS quads. */
static inline uint64_t some_active(const uint8_t *h1, size_t units)
{
    uint64_t some = 0;
    for (size_t i = 0; i < units && i < QUADS * KERNEL_QUAD; i += KERNEL_LINE) {
        __m512i h = zmm_load(h1 + i);
        some |= (uint64_t)_mm512_test_epi32_mask(h, h) << i / KERNEL_QUAD;
    }
    return some;
}

static inline __attribute__((always_inline)) void add_quad(__m512i *sum, int panels, size_t quad,
                                                           const uint8_t *h1, const int8_t *weight,
                                                           size_t panel_bytes)
{
    __m512i h = four_of(h1 + quad * KERNEL_QUAD);
    weight += quad * KERNEL_INT8_PANEL * KERNEL_QUAD;
#pragma GCC unroll 4
    for (int q = 0; q < panels; q++)
        dot(&sum[q], h, zmm_load(weight + (size_t)q * panel_bytes));
}

/* Two sets of sums hide the latency. */
static inline __attribute__((always_inline)) __m512 sparse_row(const struct kernel_int8_layers *l,
                                                               uint32_t panel, int panels,
                                                               const uint8_t *h1, __m512 total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE, panel_bytes = units * KERNEL_INT8_PANEL;
    const int8_t *weight = l->weight + panel * panel_bytes;
    __m512i sum[SPARSE_PANELS], more[SPARSE_PANELS];
#pragma GCC unroll 4
    for (int q = 0; q < panels; q++) {
        sum[q] = zmm_load(l->bias + (panel + (uint32_t)q) * KERNEL_INT8_PANEL);
        more[q] = _mm512_setzero_si512();
    }
    for (size_t from = 0; from < units; from += QUADS * KERNEL_QUAD) {
        const int8_t *at = weight + from * KERNEL_INT8_PANEL;
        uint64_t some = some_active(h1 + from, units - from);
        while (some != 0) {
            uint64_t rest = some & (some - 1);
            add_quad(sum, panels, (size_t)__builtin_ctzll(some), h1 + from, at, panel_bytes);
            if (rest == 0)
                break;
            add_quad(more, panels, (size_t)__builtin_ctzll(rest), h1 + from, at, panel_bytes);
            some = rest & (rest - 1);
        }
    }
#pragma GCC unroll 4
    for (int q = 0; q < panels; q++)
        total = zmm_add_panel(total, _mm512_add_epi32(sum[q], more[q]),
                              l->output + (panel + (uint32_t)q) * KERNEL_INT8_PANEL);
    return total;
}

static void sparse_layers(const struct kernel_int8_layers *l, const uint8_t *h1, size_t n,
                          float *restrict logit)
{
    for (size_t i = 0; i < n; i++, h1 += (size_t)l->lines * KERNEL_LINE) {
        __m512 total = _mm512_setzero_ps();
        uint32_t panel = 0;
        for (; l->panels - panel >= SPARSE_PANELS; panel += SPARSE_PANELS)
            total = sparse_row(l, panel, SPARSE_PANELS, h1, total);
        for (; panel < l->panels; panel++)
            total = sparse_row(l, panel, 1, h1, total);
        logit[i] += zmm_folded(total);
    }
}

/* ---- */

/* Where the weights stay in the first cache (of 48 KB here), to read them again for each row costs
 * less than to multiply by zeros. */
static void vnni_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                        float *restrict logit)
{
    if ((size_t)l->lines * KERNEL_LINE * l->panels * KERNEL_INT8_PANEL <= SPARSE_BYTES)
        sparse_layers(l, h1, n, logit);
    else
        dense_layers(l, h1, n, logit);
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
