/* Scoring all DSPs of one request, from feature ids to probabilities: us a request by kernel, and
 * OpenBLAS's sgemm in the place of the layer-2 product, in the same run. Requests are drawn from
 * vocabularies of realistic size, so that the rows of layer 1 come from beyond the first caches.
 *
 * of_peak: the products of layer 2 over the time of the whole, as a share of what this machine does
 * in a loop of nothing but that kernel's instruction, all in registers; products with activations
 * that are zero count, done or not. About half of them are zero in these networks, of random
 * weights; in trained ones more. One JSON line.
 *
 *   bench_kernel              networks of several sizes, as described
 *   bench_kernel MODEL ROWS   a trained model, all of its DSPs, on what `bidsieve encode --model
 *                             MODEL --out ROWS` wrote of a capture */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "filter/predictor.h"
#include "model/blas.h"
#include "model/kernel.h"
#include "model/scorer.h"
#include "prng.h"

enum {
    DSPS = 64,
    REQUESTS = 256,
    FEATURES = 20,
    FEATURES_DEFAULT = 60, /* about those of config/features.json */
    UNITS_A_DSP = 40,      /* that are left of its conjunctions, usually */
    REPEATS = 15,
    BUDGET_US = 300000
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* ---- what the machine can do ---- */

#if defined(__x86_64__)

/* Ten independent chains of one instruction: enough to hide its latency. */
#define TEN(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9)
#define SSE(n) "mulps %%xmm15, %%xmm" #n "\n"
#define SSE_ADD(n) "addps %%xmm15, %%xmm" #n "\n"
#define FMA256(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n"
#define FMA512(n) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #n "\n"
#define MADD(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n vpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"
#define DOT(n) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #n "\n"
#define TILE(n) "tdpbusd %%tmm7, %%tmm6, %%tmm" #n "\n"
#define LOOP(body)                                                                                 \
    for (int i = 0; i < PEAK_ROUNDS; i++)                                                          \
    __asm__ volatile(body::                                                                        \
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                           "xmm9", "xmm13", "xmm14", "xmm15")

enum { PEAK_ROUNDS = 20000 };

static void peak_sse(void)
{
    LOOP("xorps %%xmm15, %%xmm15\n" TEN(SSE) TEN(SSE_ADD));
}

static void peak_fma256(void)
{
    LOOP("vzeroall\n" TEN(FMA256) TEN(FMA256) "vzeroupper\n");
}

static void peak_fma512(void)
{
    LOOP("vzeroall\n" TEN(FMA512) TEN(FMA512) "vzeroupper\n");
}

static void peak_madd(void)
{
    LOOP("vzeroall\n" TEN(MADD) TEN(MADD) "vzeroupper\n");
}

static void peak_dot(void)
{
    LOOP("vzeroall\n" TEN(DOT) TEN(DOT) "vzeroupper\n");
}

static void peak_tile(void)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(c));
    LOOP(TILE(0) TILE(1) TILE(2) TILE(3) TILE(4) TILE(5));
    __asm__ volatile("tilerelease");
}

static const struct {
    const char *kernel;
    void (*run)(void);
    double products; /* a round */
} peaks[] = {
    {"c", peak_sse, 10 * 4},          {"avx2", peak_fma256, 20 * 8},
    {"avx512", peak_fma512, 20 * 16}, {"int8-avx2", peak_madd, 20 * 16},
    {"int8-vnni", peak_dot, 20 * 64}, {"int8-amx", peak_tile, 6 * 16384},
};

/* Products a us; 0: not known. Only for kernels that this machine has. */
static double peak_of(const char *kernel)
{
    double best = 0;
    for (size_t i = 0; i < sizeof(peaks) / sizeof(peaks[0]); i++)
        for (int repeat = 0; repeat < REPEATS && strcmp(peaks[i].kernel, kernel) == 0; repeat++) {
            double start = now_us();
            peaks[i].run();
            double rate = peaks[i].products * PEAK_ROUNDS / (now_us() - start);
            best = rate > best ? rate : best;
        }
    return best;
}

#else
static double peak_of(const char *kernel)
{
    return 0;
}
#endif

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

static struct network *make_network(uint32_t hidden1, uint32_t hidden2, uint32_t n_features,
                                    uint32_t dsps)
{
    static const uint32_t values[] = {20000, 8000, 2000, 500, 250, 60, 30, 26, 10, 7};
    struct network_feature features[FEATURES_DEFAULT];
    for (uint32_t f = 0; f < n_features; f++) {
        uint32_t size = f < 20 ? values[f % 10] : values[5 + f % 5];
        features[f] = (struct network_feature){"", size, 8, f % 10 == 5 ? 4 : 1, f < 2};
        snprintf(features[f].name, sizeof(features[f].name), "f%u", f);
    }
    features[3].values = dsps + VALUE_FIRST;
    struct network_shape s = {features, n_features, 3, dsps, 6, hidden1, hidden2, true};
    return network_create(&s, 1);
}

static void add_conjunctions(struct network *n)
{
    struct prng g = {3};
    struct conjunctions *c = conjunctions_create(&n->shape, n->shape.n_dsps * UNITS_A_DSP);
    for (uint32_t u = 0; u < c->n_units; u++) {
        c->dsp[u] = (float)(u / UNITS_A_DSP);
        c->rate[u] = 0.01f;
    }
    for (uint32_t f = 0; f < c->n_features; f++)
        for (size_t i = 0; c->factor[f] != NULL && i < (size_t)c->values[f] * c->n_units; i++)
            c->factor[f][i] = prng_unit(&g) < 0.8 ? 1 : (float)prng_unit(&g) * 2;
    conjunctions_index(c);
    n->conjunctions = c;
}

struct request {
    uint32_t slots[FEATURES_DEFAULT + 3 * FEATURES_DEFAULT / 10];
    float numeric[6];
};

static void draw_requests(const struct network_shape *s, struct request *requests)
{
    struct prng g = {2};
    for (int i = 0; i < REQUESTS; i++) {
        uint32_t *at = requests[i].slots;
        for (uint32_t f = 0; f < s->n_features; f++) {
            uint32_t n_slots = s->features[f].slots, used = 1 + (uint32_t)prng_below(&g, n_slots);
            for (uint32_t k = 0; f != 3 && k < n_slots; k++)
                *at++ = k < used ? (uint32_t)prng_below(&g, s->features[f].values) : SLOT_EMPTY;
        }
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
    double begun = now_us();
    for (int repeat = 0; repeat < REPEATS && now_us() - begun < BUDGET_US; repeat++) {
        double start = now_us();
        for (int i = 0; i < REQUESTS; i++)
            scorer_score(s, scratch, requests[i].slots, requests[i].numeric, indices, dsps, p);
        double us = (now_us() - start) / REQUESTS;
        best = us < best ? us : best;
    }
    scorer_scratch_destroy(scratch);
    return best;
}

struct result {
    double us[4];
};

static const uint32_t dsps_of[4] = {8, 16, 32, 64};

/* Takes the scorer. blas: what to compare with, or NULL. */
static struct result run(struct scorer *s, const char *name, const struct network *n,
                         const struct request *requests, const struct result *blas)
{
    struct result r;
    double peak = peak_of(name);
    for (int i = 0; i < 4; i++)
        r.us[i] = measure_us(s, requests, dsps_of[i]);
    printf("%s\"%s\":{\"us\":[%.2f,%.2f,%.2f,%.2f]", blas != NULL ? "," : "", name, r.us[0],
           r.us[1], r.us[2], r.us[3]);
    for (int i = 0; blas != NULL && i < 4; i++)
        printf("%s%.2f", i == 0 ? ",\"times_openblas\":[" : ",", blas->us[i] / r.us[i]);
    for (int i = 0; peak > 0 && i < 4; i++)
        printf("%s%.3f", i == 0 ? "],\"of_peak\":[" : ",",
               (double)n->shape.hidden1 * n->shape.hidden2 * dsps_of[i] / r.us[i] / peak);
    printf(blas != NULL ? "]}" : "}");
    scorer_destroy(s);
    return r;
}

static void bench(uint32_t hidden1, uint32_t hidden2)
{
    static struct request requests[REQUESTS];
    const struct kernel *kernels[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_available(kernels), n_whole = kernel_int8_available(whole);
    struct network *n = make_network(hidden1, hidden2, FEATURES, DSPS);
    struct kernel blas = *kernels[n_kernels - 1]; /* all else as fast as it gets */
    draw_requests(&n->shape, requests);
    n->activation_top = 50;
    blas.layers = blas_layers;
    blas_network = n;
    blas_h2 = malloc(DSPS * hidden2 * sizeof(float));
    printf(",\"%u/%u\":{", hidden1, hidden2);
    struct result of_blas = run(scorer_create_with(n, &blas, NULL), "openblas", n, requests, NULL);
    for (size_t k = 0; k < n_kernels; k++)
        run(scorer_create_with(n, kernels[k], NULL), kernels[k]->name, n, requests, &of_blas);
    for (size_t k = 0; k < n_whole; k++)
        run(scorer_create_int8(n, whole[k], NULL), whole[k]->name, n, requests, &of_blas);
    printf("}");
    free(blas_h2);
    network_destroy(n);
}

/* What `train` makes: the models know as many DSPs as they score. */
static void bench_default(void)
{
    static struct request requests[REQUESTS];
    const struct kernel *kernels[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_available(kernels), n_whole = kernel_int8_available(whole);
    struct network *n[4];
    for (int i = 0; i < 4; i++) {
        n[i] = make_network(256, 64, FEATURES_DEFAULT, dsps_of[i]);
        n[i]->activation_top = 50;
        add_conjunctions(n[i]);
    }
    draw_requests(&n[0]->shape, requests);
    printf(",\"default: 256/64, %d features, conjunctions\":{", FEATURES_DEFAULT);
    for (size_t k = 0; k < n_kernels + n_whole; k++) {
        const char *name = k < n_kernels ? kernels[k]->name : whole[k - n_kernels]->name;
        printf("%s\"%s\":{\"us\":", k > 0 ? "," : "", name);
        for (int i = 0; i < 4; i++) {
            struct scorer *s = k < n_kernels ? scorer_create_with(n[i], kernels[k], NULL)
                                             : scorer_create_int8(n[i], whole[k - n_kernels], NULL);
            printf("%s%.2f", i > 0 ? "," : "[", measure_us(s, requests, dsps_of[i]));
            scorer_destroy(s);
        }
        printf("]}");
    }
    printf("}");
    for (int i = 0; i < 4; i++)
        network_destroy(n[i]);
}

static void print_peaks(void)
{
    const struct kernel *kernels[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_available(kernels), n_whole = kernel_int8_available(whole);
    printf("\"peak_products_per_us\":{");
    for (size_t k = 0; k < n_kernels; k++)
        printf("%s\"%s\":%.0f", k > 0 ? "," : "", kernels[k]->name, peak_of(kernels[k]->name));
    for (size_t k = 1; k < n_whole; k++)
        printf(",\"%s\":%.0f", whole[k]->name, peak_of(whole[k]->name));
    printf("}");
}

/* ---- a trained model ---- */

/* The data of an array that `encode` wrote, version 1.0 of the format. */
static void *read_npy(const char *folder, const char *name, size_t *bytes)
{
    enum { HEAD = 10 };
    char path[4096];
    unsigned char head[HEAD];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL || fread(head, 1, HEAD, f) != HEAD) {
        fprintf(stderr, "bench_kernel: %s cannot be read\n", path);
        exit(1);
    }
    long from = HEAD + head[8] + 256 * head[9];
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)(ftell(f) - from);
    char *data = malloc(*bytes + 1);
    fseek(f, from, SEEK_SET);
    *bytes = fread(data, 1, *bytes, f);
    fclose(f);
    return data;
}

struct rows {
    const uint32_t *slots;
    const float *numeric;
    uint32_t n, n_slots, n_numeric, n_dsps;
};

/* Takes the scorer. */
static double measure_rows(struct scorer *s, const struct rows *rows)
{
    uint32_t *indices = malloc(rows->n_dsps * sizeof(*indices));
    float *p = malloc(rows->n_dsps * sizeof(*p));
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    double best = 1e30, begun = now_us();
    for (uint32_t d = 0; d < rows->n_dsps; d++)
        indices[d] = d;
    for (int repeat = 0; repeat < REPEATS || now_us() - begun < 5 * BUDGET_US; repeat++) {
        double start = now_us();
        for (uint32_t i = 0; i < rows->n; i++)
            scorer_score(s, scratch, rows->slots + (size_t)i * rows->n_slots,
                         rows->numeric + (size_t)i * rows->n_numeric, indices, rows->n_dsps, p);
        double us = (now_us() - start) / rows->n;
        best = us < best ? us : best;
    }
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    free(indices);
    free(p);
    return best;
}

static int bench_model(const char *model, const char *folder)
{
    struct error err;
    struct network *n;
    struct predictor *p = predictor_load_with_network(model, &n, &err);
    if (p == NULL) {
        fprintf(stderr, "bench_kernel: %s\n", err.text);
        return 1;
    }
    size_t slot_bytes, numeric_bytes;
    const struct kernel *kernels[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    size_t n_kernels = kernel_available(kernels), n_whole = kernel_int8_available(whole);
    struct rows rows = {.slots = read_npy(folder, "slots.npy", &slot_bytes),
                        .n_slots = network_shape_slots(&n->shape),
                        .n_numeric = n->shape.n_numeric,
                        .n_dsps = n->shape.n_dsps};
    if (rows.n_numeric > 0)
        rows.numeric = read_npy(folder, "numeric.npy", &numeric_bytes);
    rows.n = (uint32_t)(slot_bytes / sizeof(uint32_t) / rows.n_slots);
    printf("{\"bench\":\"kernel\",\"requests\":%u,\"dsps\":%u,\"us\":{", rows.n, rows.n_dsps);
    for (size_t k = 0; k < n_kernels; k++)
        printf("%s\"%s\":%.2f", k > 0 ? "," : "", kernels[k]->name,
               measure_rows(scorer_create_with(n, kernels[k], &err), &rows));
    for (size_t k = 0; k < n_whole; k++) {
        struct scorer *s = scorer_create_int8(n, whole[k], &err);
        if (s != NULL) /* not every network bears them */
            printf(",\"%s\":%.2f", whole[k]->name, measure_rows(s, &rows));
    }
    printf("}}\n");
    network_destroy(n);
    predictor_destroy(p);
    free((void *)rows.slots);
    free((void *)rows.numeric);
    return 0;
}

int main(int argc, char **argv)
{
    blas_know_processor(argv);
    if (argc == 3)
        return bench_model(argv[1], argv[2]);
    openblas_set_num_threads(1);
    printf("{\"bench\":\"kernel\",\"features\":%d,\"dsps\":[8,16,32,64],", FEATURES);
    print_peaks();
    bench(64, 32);
    bench(128, 64);
    bench(1000, 500);
    bench_default();
    printf("}\n");
    return 0;
}
