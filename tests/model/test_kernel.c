/* SIMD against scalar: every length 0-67, every alignment, nothing written beyond the end. */
#include "tests/model/fixture.h"

#include "model/kernel.h"

enum { LENGTHS = 68, OFFSETS = 16, ROOM = LENGTHS + OFFSETS + 16 };

static void fill(float *to, size_t n, uint64_t seed)
{
    struct prng g = {seed};
    for (size_t i = 0; i < n; i++)
        to[i] = (float)prng_normal(&g);
}

static void check(const char *what, const struct kernel *k, size_t n, size_t offset,
                  const float *mine, const float *plain, size_t room)
{
    for (size_t i = 0; i < room; i++)
        if (!(fabsf(mine[i] - plain[i]) <= 1e-5f * (1 + fabsf(plain[i]))))
            fail_msg("%s %s: n %zu, offset %zu: [%zu] is %.9g, scalar %.9g", k->name, what, n,
                     offset, i, mine[i], plain[i]);
}

static void test_vectors_equal_scalar(void **state)
{
    const struct kernel *kernels[4];
    size_t n_kernels = kernel_available(kernels);
    _Alignas(64) float a[ROOM], b[ROOM], mine[ROOM], plain[ROOM];
    uint16_t noise[ROOM];
    fill(a, ROOM, 1);
    fill(b, ROOM, 2);
    for (size_t i = 0; i < ROOM; i++)
        noise[i] = i % 5 == 0 ? 30000 : i % 7 == 0 ? 65535 : (uint16_t)(i * 9973);
    for (size_t k = 0; k < n_kernels; k++)
        for (size_t n = 0; n < LENGTHS; n++)
            for (size_t offset = 0; offset < OFFSETS; offset++) {
                size_t other = (offset * 7 + 3) % OFFSETS;
                fill(mine, ROOM, 3);
                memcpy(plain, mine, sizeof(mine));
                kernels[k]->add_scaled(mine + offset, a + other, -1.75f, n);
                for (size_t i = 0; i < n; i++)
                    plain[offset + i] += -1.75f * a[other + i];
                check("add_scaled", kernels[k], n, offset, mine, plain, ROOM);
                kernels[k]->relu_sum(mine + offset, a + other, b + offset, n);
                for (size_t i = 0; i < n; i++)
                    plain[offset + i] = fmaxf(0, a[other + i] + b[offset + i]);
                check("relu_sum", kernels[k], n, offset, mine, plain, ROOM);
                kernels[k]->add_product(mine + offset, a + other, b + offset, n);
                for (size_t i = 0; i < n; i++)
                    plain[offset + i] += a[other + i] * b[offset + i];
                check("add_product", kernels[k], n, offset, mine, plain, ROOM);
                kernels[k]->relu_gated(mine + offset, mine + offset, a + other, b + offset, n);
                for (size_t i = 0; i < n; i++)
                    plain[offset + i] =
                        fmaxf(0, plain[offset + i] * (1 + a[other + i]) + b[offset + i]);
                check("relu_gated", kernels[k], n, offset, mine, plain, ROOM);
                kernels[k]->gate(mine + offset, mine + offset, b + other, 1.5f, n);
                for (size_t i = 0; i < n; i++)
                    plain[offset + i] = plain[offset + i] > 0 ? 1.5f * b[other + i] : 0;
                check("gate", kernels[k], n, offset, mine, plain, ROOM);
                kernels[k]->drop(mine + offset, noise + other, 30000, 2, n);
                for (size_t i = 0; i < n; i++)
                    plain[offset + i] = noise[other + i] < 30000 ? 0 : 2 * plain[offset + i];
                check("drop", kernels[k], n, offset, mine, plain, ROOM);
            }
}

static void test_adam_equals_scalar(void **state)
{
    static const struct kernel_adam adam = {0.1f, 0.001f, 0.9f, 0.05f, 3, 1e-8f};
    const struct kernel *kernels[4];
    size_t n_kernels = kernel_available(kernels);
    float d[ROOM], mine[3][ROOM], plain[3][ROOM];
    fill(d, ROOM, 1);
    for (size_t k = 0; k < n_kernels; k++)
        for (size_t n = 0; n < LENGTHS; n++) {
            size_t offset = n % OFFSETS, other = (offset * 7 + 3) % OFFSETS;
            for (int i = 0; i < 3; i++) {
                fill(mine[i], ROOM, 2 + (uint64_t)i);
                for (size_t j = 0; j < ROOM && i == 2; j++)
                    mine[2][j] = fabsf(mine[2][j]); /* a sum of squares */
                memcpy(plain[i], mine[i], sizeof(plain[i]));
            }
            kernels[k]->adam(mine[0] + offset, mine[1] + other, mine[2] + offset, d + other, &adam,
                             n);
            for (size_t i = 0; i < n; i++) {
                float *m = &plain[1][other + i], *s = &plain[2][offset + i];
                float *p = &plain[0][offset + i], g = d[other + i];
                *m = (1 - adam.rest1) * *m + adam.rest1 * g;
                *s = (1 - adam.rest2) * *s + adam.rest2 * g * g;
                *p = adam.keep * *p - adam.ahead * *m / (sqrtf(*s) * adam.root + adam.epsilon);
            }
            for (int i = 0; i < 3; i++)
                check("adam", kernels[k], n, offset, mine[i], plain[i], ROOM);
        }
}

/* So many rows, so many units, panels and strides that every block and remainder runs. */
static void check_layers(const struct kernel *k, uint32_t hidden1, uint32_t panels, size_t rows,
                         size_t offset)
{
    size_t stride = hidden1 + offset % 3, width = panels * KERNEL_PANEL;
    float *weight = malloc(hidden1 * width * sizeof(float) + 64), *bias = malloc(width * 4 + 64);
    float *output = malloc(width * 4 + 64), *h1 = malloc((rows * stride + 17) * sizeof(float));
    fill(weight + offset, hidden1 * width, 1);
    fill(bias + offset, width, 2);
    fill(output + offset, width, 3);
    fill(h1, rows * stride + 17, 4);
    float mine[LENGTHS + 1], plain[LENGTHS + 1];
    fill(mine, LENGTHS + 1, 5);
    memcpy(plain, mine, sizeof(mine));
    struct kernel_layers l = {hidden1, panels, weight + offset, bias + offset, output + offset};
    k->layers(&l, h1 + offset, stride, rows, mine);
    for (size_t r = 0; r < rows; r++) {
        double logit = plain[r], size = 0;
        for (size_t j = 0; j < width; j++) {
            double sum = l.bias[j];
            for (size_t i = 0; i < hidden1; i++)
                sum += (double)l.weight[(j / KERNEL_PANEL * hidden1 + i) * KERNEL_PANEL +
                                        j % KERNEL_PANEL] *
                       h1[offset + r * stride + i];
            logit += l.output[j] * fmax(0, sum);
            size += fabs(l.output[j] * sum);
        }
        if (!(fabs(mine[r] - logit) <= 1e-6 * (size + 1)))
            fail_msg("%s layers: %u units, %u panels, row %zu of %zu: %.9g, expected %.9g", k->name,
                     hidden1, panels, r, rows, mine[r], logit);
    }
    assert_true(mine[rows] == plain[rows]);
    free(weight);
    free(bias);
    free(output);
    free(h1);
}

static void test_layers_equal_scalar(void **state)
{
    const struct kernel *kernels[4];
    size_t n_kernels = kernel_available(kernels);
    for (size_t k = 0; k < n_kernels; k++) {
        for (uint32_t length = 0; length < LENGTHS; length++) {
            check_layers(kernels[k], 5, 1 + length % 5, length, length % 16);
            check_layers(kernels[k], length, 1 + length % 7, 1 + length % 17, (length + 5) % 16);
        }
        for (uint32_t panels = 1; panels < 12; panels++)
            check_layers(kernels[k], 3, panels, 19, 1);
    }
}

static void wrong_add_scaled(float *restrict y, const float *restrict x, float scale, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) /* forgets the last one */
        y[i] += scale * x[i];
}

static void wrong_layers(const struct kernel_layers *l, const float *restrict h1, size_t stride,
                         size_t n, float *restrict logit)
{
    kernel_c.layers(l, h1, stride, n, logit);
    logit[n - 1] *= 1.001f;
}

static void test_kernel_that_differs_is_not_used(void **state)
{
    struct kernel k = kernel_c;
    assert_true(kernel_agrees(&k));
    k.add_scaled = wrong_add_scaled;
    assert_false(kernel_agrees(&k));
    k = kernel_c;
    k.layers = wrong_layers;
    assert_false(kernel_agrees(&k));
    const struct kernel *kernels[4];
    size_t n = kernel_available(kernels);
    assert_ptr_equal(kernels[0], &kernel_c);
    for (size_t i = 0; i < n; i++)
        assert_true(kernel_agrees(kernels[i]));
    assert_ptr_equal(kernel_choose(), kernels[n - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_equal_scalar),
        cmocka_unit_test(test_adam_equals_scalar),
        cmocka_unit_test(test_layers_equal_scalar),
        cmocka_unit_test(test_kernel_that_differs_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
