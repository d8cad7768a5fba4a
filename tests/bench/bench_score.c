/* Scoring all DSPs of one request: us a request by kernel, and OpenBLAS's sgemm in the place of the
 * layer-2 product, in the same run. Requests are drawn from vocabularies of realistic size, so that
 * the rows of layer 1 come from beyond the first caches. One JSON line. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/kernel.h"
#include "model/scorer.h"
#include "prng.h"

enum { DSPS = 64, REQUESTS = 256, FEATURES = 20, REPEATS = 7 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* ---- sgemm as a kernel ---- */

static const struct network *blas_network; /* a bench is one run: its weights may stand here */
static float *blas_h2;

static void blas_layers(const struct kernel_layers *l, const float *restrict h1, size_t stride,
                        size_t n, float *restrict logit)
{
    const struct network *net = blas_network;
    int hidden1 = (int)net->shape.hidden1, hidden2 = (int)net->shape.hidden2;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, hidden2, hidden1, 1, h1,
                (int)stride, net->hidden2_weight, hidden1, 0, blas_h2, hidden2);
    for (size_t i = 0; i < n; i++)
        for (int j = 0; j < hidden2; j++) {
            float sum = blas_h2[i * (size_t)hidden2 + (size_t)j] + l->bias[j];
            logit[i] += sum > 0 ? l->output[j] * sum : 0;
        }
}

/* ---- the network ---- */

static struct network *make_network(uint32_t hidden1, uint32_t hidden2)
{
    static const uint32_t values[] = {20000, 8000, 2000, 500, 250, 60, 30, 26, 10, 7};
    struct network_feature features[FEATURES];
    for (uint32_t f = 0; f < FEATURES; f++) {
        features[f] = (struct network_feature){"", values[f % 10], 8, f == 5 ? 4 : 1, f < 2};
        snprintf(features[f].name, sizeof(features[f].name), "f%u", f);
    }
    features[3].values = DSPS + VALUE_FIRST;
    struct network_shape s = {features, FEATURES, 3, DSPS, 6, hidden1, hidden2, true};
    return network_create(&s, 1);
}

struct request {
    uint32_t slots[FEATURES + 3];
    float numeric[6];
};

static void draw_requests(const struct network_shape *s, struct request *requests)
{
    struct prng g = {2};
    for (int i = 0; i < REQUESTS; i++) {
        uint32_t *at = requests[i].slots;
        for (uint32_t f = 0; f < FEATURES; f++)
            for (uint32_t k = 0; f != 3 && k < s->features[f].slots; k++)
                *at++ = (uint32_t)prng_below(&g, s->features[f].values);
        for (int k = 0; k < 6; k++)
            requests[i].numeric[k] = k % 2 == 0 ? (float)prng_normal(&g) : 0;
    }
}

/* The best of some repeats: what the machine can do, not what else it was doing. */
static double measure_us(const struct scorer *s, const struct request *requests, uint32_t dsps)
{
    uint32_t indices[DSPS];
    float p[DSPS];
    double best = 1e30;
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    for (uint32_t i = 0; i < DSPS; i++)
        indices[i] = i;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double start = now_us();
        for (int i = 0; i < REQUESTS; i++)
            scorer_score(s, scratch, requests[i].slots, requests[i].numeric, indices, dsps, p);
        double us = (now_us() - start) / REQUESTS;
        best = us < best ? us : best;
    }
    scorer_scratch_destroy(scratch);
    return best;
}

static void print_kernel(const struct network *n, const struct kernel *k,
                         const struct request *requests, const double *blas_us, double *us)
{
    static const uint32_t dsps[] = {8, 16, 32, 64};
    struct scorer *s = scorer_create_with(n, k, NULL);
    for (int i = 0; i < 4; i++)
        us[i] = measure_us(s, requests, dsps[i]);
    printf("\"%s\":{\"us\":[%.2f,%.2f,%.2f,%.2f]", k->name, us[0], us[1], us[2], us[3]);
    if (blas_us != us)
        printf(",\"times_openblas\":[%.2f,%.2f,%.2f,%.2f]", blas_us[0] / us[0], blas_us[1] / us[1],
               blas_us[2] / us[2], blas_us[3] / us[3]);
    printf("}");
    scorer_destroy(s);
}

static void bench(uint32_t hidden1, uint32_t hidden2)
{
    static struct request requests[REQUESTS];
    const struct kernel *kernels[4];
    size_t n_kernels = kernel_available(kernels);
    struct network *n = make_network(hidden1, hidden2);
    struct kernel blas = *kernels[n_kernels - 1]; /* all else as fast as it gets */
    double blas_us[4] = {0}, us[4];
    draw_requests(&n->shape, requests);
    blas.name = "openblas";
    blas.layers = blas_layers;
    blas_network = n;
    blas_h2 = malloc(DSPS * hidden2 * sizeof(float));
    printf("\"%u/%u\":{", hidden1, hidden2);
    print_kernel(n, &blas, requests, blas_us, blas_us);
    for (size_t k = 0; k < n_kernels; k++) {
        printf(",");
        print_kernel(n, kernels[k], requests, blas_us, us);
    }
    printf("}");
    free(blas_h2);
    network_destroy(n);
}

int main(void)
{
    openblas_set_num_threads(1);
    printf("{\"bench\":\"score\",\"features\":%d,\"dsps\":[8,16,32,64],", FEATURES);
    bench(128, 64);
    printf(",");
    bench(1000, 500);
    printf("}\n");
    return 0;
}
