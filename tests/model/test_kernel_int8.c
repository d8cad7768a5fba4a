/* Every variant in whole numbers against the contract of kernel_int8.h written down in 64 bits, to
 * the bit: every length, every alignment, nothing written beyond the end. */
#include "tests/model/fixture.h"

#include "model/kernel.h"
#include "model/kernel_int8.h"
#include "model/kernel_override.h"

enum { LINES_MAX = 5, ROOM = LINES_MAX * KERNEL_LINE + 96, OFFSETS = 33, ROWS_MAX = 67 };

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static int64_t saturated(int64_t x)
{
    return clamp(x, INT16_MIN, INT16_MAX);
}

/* Half up, in 16 bits: the one product that leaves them wraps, as the instruction does. */
static int64_t multiplied(int64_t a, int64_t b)
{
    return (int16_t)((a * b + (1 << 14)) >> 15);
}

static void fill_shorts(int16_t *to, size_t n, uint64_t seed)
{
    struct prng g = {seed};
    for (size_t i = 0; i < n; i++)
        to[i] = (int16_t)(prng_below(&g, 8) == 0 ? (int)prng_next(&g) : (int)prng_below(&g, 4000));
    to[n / 2] = INT16_MIN;
}

static void check(const char *what, const struct kernel_int8 *k, const int16_t *mine,
                  const int16_t *expected, size_t lines, size_t offset)
{
    for (size_t i = 0; i < ROOM; i++)
        if (mine[i] != expected[i])
            fail_msg("%s %s, %zu lines, offset %zu: [%zu] is %d, expected %d", k->name, what, lines,
                     offset, i, mine[i], expected[i]);
}

static void check_sums(const struct kernel_int8 *k, size_t lines, size_t offset)
{
    int16_t mine[ROOM], expected[ROOM], row[ROOM];
    float x[ROOM];
    size_t n = lines * KERNEL_LINE, other = (offset * 7 + 3) % OFFSETS;
    fill_shorts(mine, ROOM, 1 + offset);
    fill_shorts(row, ROOM, 2 + lines);
    memcpy(expected, mine, sizeof(mine));
    for (size_t i = 0; i < ROOM; i++)
        x[i] = i % 7 == 0    ? 1e30f
               : i % 11 == 0 ? -INFINITY
               : i % 13 == 0 ? NAN
                             : (float)i * 0.5f - 60;
    const int16_t *rows[] = {row + other, row + offset, row + other};
    for (size_t n_rows = 0; n_rows <= 3; n_rows++) {
        k->add_rows(mine + offset, rows, n_rows, lines);
        for (size_t r = 0; r < n_rows; r++)
            for (size_t i = 0; i < n; i++)
                expected[offset + i] =
                    (int16_t)saturated((int64_t)expected[offset + i] + rows[r][i]);
        check("add_rows", k, mine, expected, lines, offset);
    }
    k->add_share(mine + offset, row + other, 10923, lines);
    for (size_t i = 0; i < n; i++)
        expected[offset + i] =
            (int16_t)saturated(expected[offset + i] + multiplied(row[other + i], 10923));
    check("add_share", k, mine, expected, lines, offset);
    k->add_floats(mine + offset, x + other, lines);
    for (size_t i = 0; i < n; i++) {
        float from = x[other + i];
        int64_t whole = from != from || from > 32767 ? 32767
                        : from < -32768              ? -32768
                                                     : lrint((double)from);
        expected[offset + i] = (int16_t)saturated(expected[offset + i] + whole);
    }
    check("add_floats", k, mine, expected, lines, offset);
    float y[ROOM] = {0}, z[ROOM] = {0};
    for (size_t i = 0; i < ROOM; i++)
        y[i] = z[i] = 0.1f * (float)i;
    k->add_scaled(y + offset, x + other, 0.3f, lines);
    for (size_t i = 0; i < n; i++) {
        volatile float product = 0.3f * x[other + i]; /* rounded on its own */
        z[offset + i] += product;
    }
    assert_memory_equal(y, z, sizeof(y));
}

static int unit(const struct kernel_int8 *k, const uint8_t *h1, size_t i)
{
    int16_t wide;
    if (k->unit_bytes == 1)
        return h1[i];
    memcpy(&wide, h1 + 2 * i, sizeof(wide));
    return wide;
}

static void check_activate(const struct kernel_int8 *k, size_t lines, size_t offset)
{
    int16_t base[ROOM], row[ROOM], gate[ROOM];
    uint8_t h1[2 * ROOM];
    size_t n = lines * KERNEL_LINE, other = (offset * 5 + 1) % OFFSETS;
    fill_shorts(base, ROOM, 1 + offset);
    fill_shorts(row, ROOM, 2);
    fill_shorts(gate, ROOM, 3);
    for (uint32_t doublings = 0; doublings <= 4; doublings++) {
        bool gated = doublings < 4;
        struct kernel_int8_own own = {row + other, gated ? gate + offset : NULL, doublings};
        memset(h1, 7, sizeof(h1));
        k->activate(h1 + offset, base + offset, &own, lines);
        for (size_t i = 0; i < n; i++) {
            int64_t z = base[offset + i];
            int64_t more = gated ? multiplied(z, gate[offset + i]) : 0;
            for (uint32_t d = 0; gated && d < doublings; d++)
                more = saturated(2 * more);
            z = saturated(saturated(z + more) + row[other + i]) >> KERNEL_UNIT_BITS;
            if (unit(k, h1 + offset, i) != clamp(z, 0, 255))
                fail_msg("%s activate, %zu lines, offset %zu, %u doublings: [%zu] is %d, not %d",
                         k->name, lines, offset, doublings, i, unit(k, h1 + offset, i),
                         (int)clamp(z, 0, 255));
        }
        assert_int_equal(h1[offset + n * k->unit_bytes], 7);
    }
}

/* Near the power, and for each variant the same bits. */
static void check_powers(const struct kernel_int8 *k, size_t lines, size_t offset)
{
    float mine[ROOM], plain[ROOM], from[ROOM];
    int8_t steps[2][ROOM];
    const int8_t *rows[KERNEL_POWER_ROWS];
    struct prng g = {11 + lines};
    size_t n = lines * KERNEL_LINE, n_rows = offset % 5 == 0 ? KERNEL_POWER_ROWS : offset % 5 - 1;
    for (size_t i = 0; i < ROOM; i++) {
        from[i] = (float)(prng_below(&g, 4) == 0 ? 300 : 20) * ((float)prng_unit(&g) - 0.5f);
        steps[0][i] = (int8_t)((int)prng_below(&g, 256) - 128);
        steps[1][i] = i % 3 == 0 ? INT8_MIN : INT8_MAX;
    }
    for (size_t r = 0; r < KERNEL_POWER_ROWS; r++)
        rows[r] = steps[r % 2] + (offset + r / 2) % OFFSETS;
    memcpy(mine, from, sizeof(mine));
    memcpy(plain, from, sizeof(plain));
    k->power_rows(mine + offset, rows, n_rows, lines);
    kernel_int8_c.power_rows(plain + offset, rows, n_rows, lines);
    assert_memory_equal(mine, plain, sizeof(mine));
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t r = 0; r < n_rows; r++)
            sum += rows[r][i];
        float x = from[offset + i] + (float)(sum / KERNEL_OCTAVE);
        double power = exp2(fmin(fmax((double)x, -99), 126));
        if (fabs((double)mine[offset + i] - power) > 1e-6 * power)
            fail_msg("%s power_rows, %zu rows: 2^%g is %g, not %g", k->name, n_rows, (double)x,
                     power, (double)mine[offset + i]);
    }
    for (size_t i = 0; i < ROOM; i++)
        if (i < offset || i >= offset + n)
            assert_true(mine[i] == from[i]);
}

static void test_vectors_equal_the_contract(void **state)
{
    const struct kernel_int8 *kernels[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_int8_available(kernels);
    for (size_t k = 0; k < n_kernels; k++)
        for (size_t lines = 0; lines <= LINES_MAX; lines++)
            for (size_t offset = 0; offset < OFFSETS; offset++) {
                check_sums(kernels[k], lines, offset);
                check_powers(kernels[k], lines, offset);
                check_activate(kernels[k], lines, offset);
            }
}

/* Every weight has a place of its own, and the places are those that the header draws. */
static void test_every_weight_has_its_place(void **state)
{
    enum { LINES = 3, OUTPUTS = 2 * KERNEL_LINE, WEIGHTS = LINES * KERNEL_LINE * OUTPUTS };
    const struct kernel_int8 *kernels[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_int8_available(kernels);
    for (size_t k = 0; k < n_kernels; k++) {
        const struct kernel_int8 *x = kernels[k];
        static bool taken[WEIGHTS];
        memset(taken, 0, sizeof(taken));
        for (uint32_t j = 0; j < OUTPUTS; j++)
            for (size_t i = 0; i < LINES * KERNEL_LINE; i++) {
                size_t at = kernel_int8_at(x, LINES, j, i);
                assert_true(at < WEIGHTS && !taken[at]);
                taken[at] = true;
            }
        assert_int_equal(kernel_int8_at(x, LINES, 1, 0), x->group);
        assert_int_equal(kernel_int8_at(x, LINES, 0, 1), 1);
        assert_int_equal(kernel_int8_at(x, LINES, 0, x->group), x->group * x->block);
        assert_int_equal(kernel_int8_at(x, LINES, x->block, 0), LINES * KERNEL_LINE * x->block);
        assert_int_equal(kernel_int8_panels(x, 1) * KERNEL_INT8_PANEL, x->block);
        assert_int_equal(kernel_int8_panels(x, x->block + 1) * KERNEL_INT8_PANEL, 2 * x->block);
    }
}

/* The sums in 64 bits, the floats in the contract's order. */
static float expected_logit(const struct kernel_int8 *k, const struct kernel_int8_layers *l,
                            const uint8_t *h1)
{
    float total[KERNEL_INT8_PANEL] = {0};
    size_t units = l->lines * (size_t)KERNEL_LINE;
    for (uint32_t j = 0; j < l->panels * KERNEL_INT8_PANEL; j++) {
        int64_t sum = l->bias[j];
        for (size_t i = 0; i < units; i++)
            sum += h1[i] * l->weight[kernel_int8_at(k, l->lines, j, i)];
        volatile float part = l->output[j] * (float)(sum > 0 ? sum : 0);
        total[j % 16] += part;
    }
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            total[j] += total[j + half];
    return total[0];
}

/* sparse: of 16 units how many are zero. */
static void check_layers(const struct kernel_int8 *k, uint32_t lines, uint32_t hidden2, size_t rows,
                         size_t offset, uint32_t sparse)
{
    uint32_t panels = kernel_int8_panels(k, hidden2);
    size_t units = lines * (size_t)KERNEL_LINE, outputs = panels * (size_t)KERNEL_INT8_PANEL;
    int8_t *weight = malloc(units * outputs + 64);
    uint8_t *h1 = malloc(units + 1), *all = malloc(rows * units * 2 + 64);
    int32_t *bias = malloc(outputs * 4 + 64);
    float *output = malloc(outputs * 4 + 64), mine[ROWS_MAX + 1], expected[ROWS_MAX + 1];
    struct prng g = {7 + rows};
    for (size_t i = 0; i < units * outputs; i++)
        weight[offset + i] = (int8_t)((int)prng_below(&g, 255) - 127);
    for (size_t j = 0; j < outputs; j++) {
        bias[j + 1] = (int32_t)prng_below(&g, 200000) - 100000;
        output[j + 1] = (float)prng_unit(&g) - 0.5f;
    }
    struct kernel_int8_layers l = {lines, panels, weight + offset, bias + 1, output + 1};
    for (size_t r = 0; r < rows; r++) {
        mine[r] = expected[r] = (float)r;
        for (size_t i = 0; i < units; i++) {
            uint64_t value = i % 9 == 0 ? 255 : prng_below(&g, 256);
            int16_t wide = h1[i] = (uint8_t)(prng_below(&g, 16) < sparse ? 0 : value);
            uint8_t *to = all + offset + (r * units + i) * k->unit_bytes;
            memcpy(to, k->unit_bytes == 1 ? (void *)&h1[i] : (void *)&wide, k->unit_bytes);
        }
        expected[r] += expected_logit(k, &l, h1);
    }
    mine[rows] = expected[rows] = 0.5f;
    k->layers(&l, all + offset, rows, mine);
    for (size_t r = 0; r <= rows; r++)
        if (mine[r] != expected[r])
            fail_msg("%s layers: %u lines, %u panels, row %zu of %zu: %.9g, expected %.9g", k->name,
                     lines, panels, r, rows, (double)mine[r], (double)expected[r]);
    free(weight);
    free(h1);
    free(all);
    free(bias);
    free(output);
}

static void test_layers_equal_the_contract(void **state)
{
    const struct kernel_int8 *kernels[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_int8_available(kernels);
    for (size_t k = 0; k < n_kernels; k++) {
        for (size_t rows = 0; rows <= ROWS_MAX; rows++)
            check_layers(kernels[k], 1 + rows % 3, 16 + 16 * (rows % 9), rows, rows % 16,
                         rows % 17);
        for (uint32_t hidden2 = 16; hidden2 <= 192; hidden2 += 16)
            check_layers(kernels[k], 3, hidden2, 19, 1, 0);
        for (uint32_t lines = 5; lines <= 9; lines += 4)
            for (uint32_t hidden2 = 16; hidden2 <= 160; hidden2 += 48)
                for (size_t rows = 1; rows <= ROWS_MAX; rows += 33)
                    check_layers(kernels[k], lines, hidden2, rows, 3, 10);
    }
}

static void wrong_add(int16_t *base, const int16_t *const *rows, size_t n_rows, size_t lines)
{
    kernel_int8_c.add_rows(base, rows, n_rows, lines);
    base[lines * KERNEL_LINE - 1] ^= 1;
}

static void wrong_power(float *restrict y, const int8_t *const *rows, size_t n_rows, size_t lines)
{
    kernel_int8_c.power_rows(y, rows, n_rows, lines);
    y[0] = nextafterf(y[0], INFINITY);
}

static void wrong_layers(const struct kernel_int8_layers *l, const void *h1, size_t n,
                         float *restrict logit)
{
    kernel_int8_c.layers(l, h1, n, logit);
    logit[n - 1] = nextafterf(logit[n - 1], INFINITY);
}

static void test_kernel_that_differs_in_one_bit_is_not_used(void **state)
{
    struct kernel_int8 k = kernel_int8_c;
    assert_true(kernel_int8_agrees(&k));
    k.add_rows = wrong_add;
    assert_false(kernel_int8_agrees(&k));
    k = kernel_int8_c;
    k.power_rows = wrong_power;
    assert_false(kernel_int8_agrees(&k));
    k = kernel_int8_c;
    k.layers = wrong_layers;
    assert_false(kernel_int8_agrees(&k));
    const struct kernel_int8 *kernels[KERNEL_INT8_MAX];
    size_t n = kernel_int8_available(kernels);
    assert_ptr_equal(kernels[0], &kernel_int8_c);
    for (size_t i = 0; i < n; i++)
        assert_true(kernel_int8_agrees(kernels[i]));
    assert_ptr_equal(kernel_int8_choose(), kernels[n - 1]);
}

/* Last: what is forced stays so. */
static void test_override_by_name(void **state)
{
    struct error err = {""};
    assert_int_equal(kernel_override(NULL, &err), 0);
    assert_int_equal(kernel_override("", &err), 0);
    assert_false(kernel_int8_forced());
    assert_int_equal(kernel_override("int9-c", &err), -1);
    assert_non_null(strstr(err.text, "int9-c"));
    assert_non_null(strstr(err.text, "int8-c"));
    assert_false(kernel_int8_forced());
    assert_int_equal(kernel_override("int8-c", &err), 0);
    assert_ptr_equal(kernel_int8_choose(), &kernel_int8_c);
    assert_int_equal(kernel_override("c", &err), 0);
    assert_ptr_equal(kernel_choose(), &kernel_c);
    assert_null(kernel_int8_choose());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_equal_the_contract),
        cmocka_unit_test(test_every_weight_has_its_place),
        cmocka_unit_test(test_layers_equal_the_contract),
        cmocka_unit_test(test_kernel_that_differs_in_one_bit_is_not_used),
        cmocka_unit_test(test_override_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
