/* Plain C, the definition of what every variant returns; and the choice of variant.
 *
 * Written without intrinsics and without a fused multiply-add (CMakeLists.txt turns contraction off
 * for kernel_int8*.c), so that it gives the same bits on any machine. */
#include "model/kernel_int8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"

static int16_t saturate(int32_t x)
{
    return (int16_t)(x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x);
}

/* a * b / 2^15, rounded half up: vpmulhrsw. */
static int16_t multiply_q15(int16_t a, int16_t b)
{
    return (int16_t)((((int32_t)a * b >> 14) + 1) >> 1);
}

static void c_add_rows(int16_t *base, const int16_t *const *rows, size_t n_rows, size_t lines)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < lines * KERNEL_LINE; i++)
            base[i] = saturate(base[i] + rows[r][i]);
}

static void c_add_share(int16_t *base, const int16_t *row, int16_t share, size_t lines)
{
    for (size_t i = 0; i < lines * KERNEL_LINE; i++)
        base[i] = saturate(base[i] + multiply_q15(row[i], share));
}

static void c_add_floats(int16_t *base, const float *x, size_t lines)
{
    for (size_t i = 0; i < lines * KERNEL_LINE; i++) {
        float high = x[i] < (float)INT16_MAX ? x[i] : (float)INT16_MAX; /* NAN too */
        float both = high > (float)INT16_MIN ? high : (float)INT16_MIN;
        base[i] = saturate(base[i] + (int32_t)lrintf(both));
    }
}

static void c_add_scaled(float *restrict y, const float *restrict x, float scale, size_t lines)
{
    for (size_t i = 0; i < lines * KERNEL_LINE; i++)
        y[i] += scale * x[i];
}

/* ln 2 ^ k / k! */
const float kernel_int8_power[KERNEL_POWER_TERMS] = {
    0.693147181f, 0.240226507f, 0.0555041087f, 0.00961812911f, 0.00133335581f, 0.000154035304f,
};

/* The whole part of x goes to the exponent as it is. */
static float power_of_two(float x)
{
    float high = x < KERNEL_POWER_MAX ? x : KERNEL_POWER_MAX;
    float bounded = high > KERNEL_POWER_MIN ? high : KERNEL_POWER_MIN;
    float whole = (bounded + KERNEL_POWER_ROUND) - KERNEL_POWER_ROUND;
    float rest = bounded - whole, sum = kernel_int8_power[KERNEL_POWER_TERMS - 1];
    int32_t bits;
    for (int k = KERNEL_POWER_TERMS - 2; k >= 0; k--)
        sum = sum * rest + kernel_int8_power[k];
    sum = sum * rest + 1;
    memcpy(&bits, &sum, sizeof(bits));
    bits += (int32_t)whole * (1 << 23);
    memcpy(&sum, &bits, sizeof(sum));
    return sum;
}

static void c_power_rows(float *restrict y, const int8_t *const *rows, size_t n_rows, size_t lines)
{
    for (size_t from = 0; from < lines * KERNEL_LINE; from += KERNEL_LINE) {
        int16_t sum[KERNEL_LINE] = {0};
        for (size_t r = 0; r < n_rows; r++)
            for (int i = 0; i < KERNEL_LINE; i++)
                sum[i] = (int16_t)(sum[i] + rows[r][from + (size_t)i]);
        for (int i = 0; i < KERNEL_LINE; i++)
            y[from + (size_t)i] =
                power_of_two(y[from + (size_t)i] + (float)sum[i] * (1.0f / KERNEL_OCTAVE));
    }
}

static void c_activate(void *restrict h1, const int16_t *base, const struct kernel_int8_own *own,
                       size_t lines)
{
    uint8_t *to = h1;
    for (size_t i = 0; i < lines * KERNEL_LINE; i++) {
        int16_t z = base[i];
        if (own->gate != NULL) {
            int16_t more = multiply_q15(z, own->gate[i]);
            for (uint32_t k = 0; k < own->doublings; k++)
                more = saturate(2 * more);
            z = saturate(z + more);
        }
        int32_t h = saturate(z + own->row[i]) >> KERNEL_UNIT_BITS;
        to[i] = (uint8_t)(h < 0 ? 0 : h > UINT8_MAX ? UINT8_MAX : h);
    }
}

/* The sums of one panel for one row. */
static void c_panel(const struct kernel_int8_layers *l, uint32_t panel, const uint8_t *h1,
                    int32_t sum[KERNEL_INT8_PANEL])
{
    size_t units = (size_t)l->lines * KERNEL_LINE;
    const int8_t *weight = l->weight + panel * units * KERNEL_INT8_PANEL;
    memcpy(sum, l->bias + panel * KERNEL_INT8_PANEL, KERNEL_INT8_PANEL * sizeof(*sum));
    for (size_t k = 0; k < units; k += KERNEL_QUAD, h1 += KERNEL_QUAD)
        for (int j = 0; j < KERNEL_INT8_PANEL; j++, weight += KERNEL_QUAD)
            sum[j] += h1[0] * weight[0] + h1[1] * weight[1] + h1[2] * weight[2] + h1[3] * weight[3];
}

static void c_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                     float *restrict logit)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *row = (const uint8_t *)h1 + i * l->lines * KERNEL_LINE;
        float total[KERNEL_INT8_PANEL] = {0};
        for (uint32_t panel = 0; panel < l->panels; panel++) {
            int32_t sum[KERNEL_INT8_PANEL];
            const float *output = l->output + panel * KERNEL_INT8_PANEL;
            c_panel(l, panel, row, sum);
            for (int j = 0; j < KERNEL_INT8_PANEL; j++)
                total[j] += output[j] * (float)(sum[j] > 0 ? sum[j] : 0);
        }
        for (int half = KERNEL_INT8_PANEL / 2; half > 0; half /= 2)
            for (int j = 0; j < half; j++)
                total[j] += total[j + half];
        logit[i] += total[0];
    }
}

const struct kernel_int8 kernel_int8_c = {
    .name = "int8-c",
    .unit_bytes = 1,
    .block = KERNEL_INT8_PANEL,
    .group = KERNEL_QUAD,
    .add_rows = c_add_rows,
    .add_share = c_add_share,
    .add_floats = c_add_floats,
    .add_scaled = c_add_scaled,
    .power_rows = c_power_rows,
    .activate = c_activate,
    .layers = c_layers,
};

/* ---- choice ---- */

size_t kernel_int8_available(const struct kernel_int8 *out[KERNEL_INT8_MAX])
{
    size_t n = 0;
    out[n++] = &kernel_int8_c;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        out[n++] = &kernel_int8_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni")) {
        out[n++] = &kernel_int8_vnni;
        if (kernel_int8_amx_permitted())
            out[n++] = &kernel_int8_amx;
    }
#endif
    out[n] = NULL;
    return n;
}

/* Odd numbers of panels and rows on purpose: every variant's blocks and its remainders run. */
enum {
    CHECK_LINES = 3,
    CHECK_OUTPUTS = 7 * KERNEL_INT8_PANEL,
    CHECK_ROOM = 2 * KERNEL_LINE, /* for outputs in blocks of any variant */
    CHECK_ROWS = 51,
    CHECK_UNITS = CHECK_LINES * KERNEL_LINE
};

struct check {
    int16_t base[CHECK_UNITS], row[CHECK_UNITS], gate[CHECK_UNITS];
    float x[CHECK_UNITS], y[CHECK_UNITS], power[CHECK_UNITS];
    int8_t step[CHECK_UNITS];
    int8_t weight[CHECK_UNITS * CHECK_ROOM];
    int32_t bias[CHECK_ROOM];
    float output[CHECK_ROOM];
    float logit[CHECK_ROWS];
    _Alignas(64) uint8_t h1[CHECK_ROWS * CHECK_UNITS * 2];
};

static void fill_check(const struct kernel_int8 *k, struct check *x)
{
    struct prng g = {3};
    memset(x, 0, sizeof(*x));
    for (int i = 0; i < CHECK_UNITS; i++) {
        int reach = i % 8 == 0 ? 65536 : 1500; /* some saturate; the others show every bit */
        x->base[i] = (int16_t)((int)prng_below(&g, (uint64_t)reach) - reach / 2);
        x->row[i] = (int16_t)((int)prng_below(&g, (uint64_t)reach) - reach / 2);
        x->gate[i] = (int16_t)((int)prng_below(&g, (uint64_t)reach) - reach / 2);
        x->x[i] = (float)reach * ((float)prng_unit(&g) - 0.5f);
        x->y[i] = (float)prng_unit(&g) - 0.5f;
        x->power[i] = (float)reach / 128 * ((float)prng_unit(&g) - 0.5f); /* some are cut */
        x->step[i] = (int8_t)((int)prng_below(&g, 256) - 128);
    }
    x->base[0] = x->gate[0] = INT16_MIN; /* the one product that leaves 16 bits */
    for (uint32_t j = 0; j < CHECK_OUTPUTS; j++) {
        for (size_t i = 0; i < CHECK_UNITS; i++)
            x->weight[kernel_int8_at(k, CHECK_LINES, j, i)] =
                (int8_t)((int)prng_below(&g, 255) - 127);
        x->bias[j] = (int32_t)prng_below(&g, 2000000) - 1000000;
        x->output[j] = (float)prng_unit(&g) - 0.5f;
    }
}

/* All of it, one on the other's result; each row of h1 from another base, with every gate. */
static void run_check(const struct kernel_int8 *k, struct check *x)
{
    const int16_t *rows[] = {x->row, x->gate, x->row, x->row};
    const int8_t *steps[KERNEL_POWER_ROWS];
    for (int i = 0; i < KERNEL_POWER_ROWS; i++)
        steps[i] = x->step;
    k->power_rows(x->power, steps, 3, CHECK_LINES);
    k->power_rows(x->power, steps, KERNEL_POWER_ROWS, CHECK_LINES);
    k->add_scaled(x->x, x->y, 12.34567f, CHECK_LINES);
    for (uint32_t i = 0; i < CHECK_ROWS; i++) {
        struct kernel_int8_own own = {x->row, i % 4 == 0 ? NULL : x->gate, i % 4};
        k->activate(x->h1 + i * CHECK_UNITS * k->unit_bytes, x->base, &own, CHECK_LINES);
        if (i % 3 == 0)
            k->add_rows(x->base, rows, i % 5, CHECK_LINES);
        else if (i % 3 == 1)
            k->add_share(x->base, x->gate, (int16_t)(32767 / (i + 1)), CHECK_LINES);
        else
            k->add_floats(x->base, x->x, CHECK_LINES);
    }
    struct kernel_int8_layers l = {CHECK_LINES, kernel_int8_panels(k, CHECK_OUTPUTS), x->weight,
                                   x->bias, x->output};
    k->layers(&l, x->h1, CHECK_ROWS, x->logit);
    for (size_t few = 1; few < 8; few++)
        k->layers(&l, x->h1, few, x->logit);
}

bool kernel_int8_agrees(const struct kernel_int8 *k)
{
    struct check *mine = aligned_alloc(64, (sizeof(struct check) + 63) / 64 * 64);
    struct check *plain = aligned_alloc(64, (sizeof(struct check) + 63) / 64 * 64);
    bool agrees = false;
    if (mine != NULL && plain != NULL) {
        fill_check(k, mine);
        fill_check(&kernel_int8_c, plain);
        run_check(k, mine);
        run_check(&kernel_int8_c, plain);
        agrees = memcmp(mine->base, plain->base, sizeof(plain->base)) == 0 &&
                 memcmp(mine->x, plain->x, sizeof(plain->x)) == 0 &&
                 memcmp(mine->power, plain->power, sizeof(plain->power)) == 0 &&
                 memcmp(mine->logit, plain->logit, sizeof(plain->logit)) == 0;
    }
    free(mine);
    free(plain);
    return agrees;
}

static bool is_forced;
static const struct kernel_int8 *forced;

void kernel_int8_force(const struct kernel_int8 *k)
{
    is_forced = true;
    forced = k;
}

bool kernel_int8_forced(void)
{
    return is_forced;
}

const struct kernel_int8 *kernel_int8_choose(void)
{
    if (is_forced)
        return forced;
    const struct kernel_int8 *available[KERNEL_INT8_MAX];
    for (size_t i = kernel_int8_available(available); i-- > 1;)
        if (kernel_int8_agrees(available[i]))
            return available[i];
    return &kernel_int8_c;
}
