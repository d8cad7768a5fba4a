/* AMX int8: tdpbusd multiplies 16 rows by 16 outputs over 64 inputs. Up to 16 rows take a strip of
 * one tile of rows by 4 panels, more take 2 by 2, so that 4 tiles of sums hide the latency; each
 * weight is loaded once a strip. Everything around it is AVX-512.
 *
 * Tiles are the process's to ask for and the thread's to configure. Each call configures and
 * releases them: a thread that left them in use would carry 8 KB more through every switch.
 *
 * gcc 12's _tile_loadd says nothing of the memory that it reads; the clobber in `settle` keeps the
 * compiler from moving a store behind it. */
#include "model/kernel_int8.h"

#if defined(__x86_64__)

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "model/kernel_int8_zmm.h"

enum { TILE_ROWS = 16, BATCH = 64 };
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* Linux 5.16 */

static bool cpu_has_tiles(void)
{
    uint32_t a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    if (a < 7)
        return false;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    return (d >> 24 & 1) != 0 && (d >> 25 & 1) != 0; /* amx-tile, amx-int8 */
}

bool kernel_int8_amx_permitted(void)
{
    return cpu_has_tiles() && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Tiles 0-3 are sums, 4 and 5 rows of h1, 6 and 7 weights. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as ldtilecfg reads it");

static inline void settle(void)
{
    __asm__ volatile("" ::: "memory");
}

static void configure(size_t rows)
{
    struct tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = i < 6 ? (uint8_t)rows : TILE_ROWS;
    }
    settle();
    _tile_loadconfig(&c);
}

/* The sums of one panel for some rows, with the bias, join total. */
static void finish(const struct kernel_int8_layers *l, uint32_t panel,
                   const int32_t sums[TILE_ROWS * KERNEL_INT8_PANEL], size_t rows, float *total)
{
    __m512i bias = zmm_load(l->bias + panel * KERNEL_INT8_PANEL);
    const float *output = l->output + panel * KERNEL_INT8_PANEL;
    for (size_t r = 0; r < rows; r++, total += KERNEL_INT8_PANEL) {
        __m512i sum = _mm512_add_epi32(bias, zmm_load(sums + r * KERNEL_INT8_PANEL));
        _mm512_storeu_ps(total, zmm_add_panel(_mm512_loadu_ps(total), sum, output));
    }
}

/* One tile of rows by 4 panels; panels beyond the last stand for the last one again, and their sums
 * are not used. */
static void strip(const struct kernel_int8_layers *l, uint32_t panel, const uint8_t *h1,
                  size_t rows, float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    _Alignas(64) int32_t sums[4][TILE_ROWS * KERNEL_INT8_PANEL];
    const int8_t *w[4];
    for (uint32_t q = 0; q < 4; q++) {
        uint32_t p = panel + q < l->panels ? panel + q : l->panels - 1;
        w[q] = l->weight + p * units * KERNEL_INT8_PANEL;
    }
    settle();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t k = 0; k < units; k += KERNEL_LINE) {
        size_t at = k * KERNEL_INT8_PANEL;
        _tile_loadd(4, h1 + k, units);
        _tile_loadd(6, w[0] + at, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, w[1] + at, 64);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(6, w[2] + at, 64);
        _tile_dpbusd(2, 4, 6);
        _tile_loadd(7, w[3] + at, 64);
        _tile_dpbusd(3, 4, 7);
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    settle();
    for (uint32_t q = 0; q < 4 && panel + q < l->panels; q++)
        finish(l, panel + q, sums[q], rows, total);
}

/* Two tiles of rows by 2 panels. */
static void square(const struct kernel_int8_layers *l, uint32_t panel, const uint8_t *h1,
                   float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    _Alignas(64) int32_t sums[4][TILE_ROWS * KERNEL_INT8_PANEL];
    const int8_t *w0 = l->weight + panel * units * KERNEL_INT8_PANEL;
    const int8_t *w1 = panel + 1 < l->panels ? w0 + units * KERNEL_INT8_PANEL : w0;
    settle();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t k = 0; k < units; k += KERNEL_LINE) {
        _tile_loadd(4, h1 + k, units);
        _tile_loadd(6, w0 + k * KERNEL_INT8_PANEL, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, w1 + k * KERNEL_INT8_PANEL, 64);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(5, h1 + TILE_ROWS * units + k, units);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    settle();
    for (uint32_t q = 0; q < 2 && panel + q < l->panels; q++) {
        finish(l, panel + q, sums[q], TILE_ROWS, total);
        finish(l, panel + q, sums[2 + q], TILE_ROWS, total + TILE_ROWS * KERNEL_INT8_PANEL);
    }
}

/* Up to BATCH rows: pairs of whole tiles panel by panel, so that a panel's weights come from the L1
 * cache the second time; then what is left, tile by tile. */
static void batch(const struct kernel_int8_layers *l, const uint8_t *h1, size_t n, float *total)
{
    size_t units = (size_t)l->lines * KERNEL_LINE, whole = n / (2 * TILE_ROWS) * (2 * TILE_ROWS);
    if (whole > 0) {
        configure(TILE_ROWS);
        for (uint32_t panel = 0; panel < l->panels; panel += 2)
            for (size_t i = 0; i < whole; i += 2 * TILE_ROWS)
                square(l, panel, h1 + i * units, total + i * KERNEL_INT8_PANEL);
    }
    for (size_t i = whole; i < n; i += TILE_ROWS) {
        size_t rows = n - i < TILE_ROWS ? n - i : TILE_ROWS;
        configure(rows);
        for (uint32_t panel = 0; panel < l->panels; panel += 4)
            strip(l, panel, h1 + i * units, rows, total + i * KERNEL_INT8_PANEL);
    }
    _tile_release();
}

static void amx_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                       float *restrict logit)
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    for (size_t from = 0; from < n; from += BATCH) {
        size_t count = n - from < BATCH ? n - from : BATCH;
        _Alignas(64) float total[BATCH * KERNEL_INT8_PANEL];
        memset(total, 0, count * KERNEL_INT8_PANEL * sizeof(float));
        batch(l, (const uint8_t *)h1 + from * units, count, total);
        for (size_t i = 0; i < count; i++)
            logit[from + i] += zmm_folded(_mm512_load_ps(total + i * KERNEL_INT8_PANEL));
    }
}

const struct kernel_int8 kernel_int8_amx = {
    .name = "int8-amx",
    .unit_bytes = 1,
    .block = KERNEL_INT8_PANEL,
    .group = KERNEL_QUAD,
    .add_rows = zmm_add_rows,
    .add_share = zmm_add_share,
    .add_floats = zmm_add_floats,
    .add_scaled = zmm_add_scaled,
    .power_rows = zmm_power_rows,
    .activate = zmm_activate,
    .layers = amx_layers,
};

#else
typedef int kernel_int8_amx_is_for_x86_64;
#endif
