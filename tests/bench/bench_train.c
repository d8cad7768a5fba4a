/* Training at 128/64 on one core: examples/s of CPU time over whole runs, and the share of it that
 * the bare BLAS products of the same sizes would take, in the same run. One JSON line. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/blas.h"
#include "tests/model/synthetic.h"

enum { DSPS = 16, REQUESTS = 20000, HIDDEN1 = 128, HIDDEN2 = 64 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Forward and backward products of a batch: 3 of layer 1, 3 of layer 2. */
static double products_per_second(int batch, int inputs)
{
    size_t largest = (size_t)(batch > HIDDEN1 ? batch : HIDDEN1) * (size_t)(inputs + HIDDEN1);
    float *a = calloc(largest, sizeof(float)), *b = calloc(largest, sizeof(float));
    float *c = calloc(largest, sizeof(float));
    const int sizes[6][3] = {{batch, HIDDEN1, inputs},  {HIDDEN1, inputs, batch},
                             {batch, inputs, HIDDEN1},  {batch, HIDDEN2, HIDDEN1},
                             {HIDDEN2, HIDDEN1, batch}, {batch, HIDDEN1, HIDDEN2}};
    double best = 1e30;
    for (int repeat = 0; repeat < 50; repeat++) {
        double start = now_s();
        for (int i = 0; i < 6; i++)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, sizes[i][0], sizes[i][1],
                        sizes[i][2], 1, a, sizes[i][2], b, sizes[i][1], 0, c, sizes[i][1]);
        double s = now_s() - start;
        best = s < best ? s : best;
    }
    free(a);
    free(b);
    free(c);
    return batch / best;
}

int main(int argc, char **argv)
{
    blas_know_processor(argv);
    struct synthetic w;
    struct synthetic_examples train, validation;
    struct train_options o;
    struct train_report r;
    struct network *n;
    struct error err;
    synthetic_init(&w, DSPS, 8, SYNTHETIC_NOISE, HIDDEN1, HIDDEN2, 5);
    synthetic_draw(&w, REQUESTS, 1, &train);
    synthetic_draw(&w, 2000, 2, &validation);
    train_options_default(&o);
    o.epochs_max = 3;
    o.negative_rate = 1; /* every epoch takes every pair */
    double start = now_s();
    if (train_network(&w.shape, &train.e, &validation.e, &o, &n, &r, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    double pairs_per_second = r.epochs * (double)train.e.n_pairs / (now_s() - start);
    uint32_t inputs = network_shape_inputs(&w.shape);
    double bare = products_per_second((int)o.batch, (int)inputs);
    printf("{\"bench\":\"train\",\"hidden\":\"%d/%d\",\"inputs\":%u,\"features\":%u,\"batch\":%u,"
           "\"threads\":%u,\"examples_per_second\":%.0f,\"bare_sgemm_per_second\":%.0f,"
           "\"share_of_sgemm\":%.2f}\n",
           HIDDEN1, HIDDEN2, inputs, w.shape.n_features, o.batch, o.threads, pairs_per_second, bare,
           pairs_per_second / bare);
    network_destroy(n);
    synthetic_examples_dispose(&train);
    synthetic_examples_dispose(&validation);
    synthetic_dispose(&w);
    return 0;
}
