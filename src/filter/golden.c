/* Another kernel may round otherwise, and an error of the logit shows in p in proportion to p;
 * hence a bound with an absolute and a relative part. It is far below what moves a decision, far
 * above rounding. */
#include "filter/golden.h"

#include <math.h>
#include <stdlib.h>

#define P_ABSOLUTE_MAX 1e-4f
#define P_RELATIVE_MAX 1e-3f

/* Of whole numbers against floats. They differ by 2e-4 on average and rarely by 5e-3. */
#define FAST_MEAN_MAX 1e-3f
#define FAST_MAX 2e-2f

/* The scores of all DSPs of one request. */
static int score_all(const struct scorer *s, const struct network_shape *shape,
                     const uint32_t *slots, const float *numeric, uint32_t n, float *p)
{
    uint32_t n_slots = network_shape_slots(shape);
    uint32_t *dsps = malloc(shape->n_dsps * sizeof(*dsps));
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    int status = dsps != NULL && scratch != NULL ? 0 : -1;
    for (uint32_t d = 0; status == 0 && d < shape->n_dsps; d++)
        dsps[d] = d;
    for (uint32_t i = 0; status == 0 && i < n; i++)
        scorer_score(s, scratch, slots + (size_t)i * n_slots,
                     numeric + (size_t)i * shape->n_numeric, dsps, shape->n_dsps,
                     p + (size_t)i * shape->n_dsps);
    scorer_scratch_destroy(scratch);
    free(dsps);
    return status;
}

int golden_create(struct golden *g, const struct scorer *s, const struct network_shape *shape,
                  const uint32_t *slots, const float *numeric, uint32_t n_requests)
{
    uint32_t n_slots = network_shape_slots(shape), n_numeric = shape->n_numeric;
    uint32_t n = n_requests < GOLDEN_MAX ? n_requests : GOLDEN_MAX;
    g->n = n;
    g->slots = malloc(((size_t)n * n_slots + 1) * sizeof(*g->slots));
    g->numeric = malloc(((size_t)n * n_numeric + 1) * sizeof(*g->numeric));
    g->p = malloc(((size_t)n * shape->n_dsps + 1) * sizeof(*g->p));
    if (g->slots == NULL || g->numeric == NULL || g->p == NULL)
        goto fail;
    for (uint32_t i = 0; i < n; i++) {
        size_t from = (size_t)((uint64_t)i * n_requests / n);
        memcpy(g->slots + (size_t)i * n_slots, slots + from * n_slots, n_slots * sizeof(*slots));
        memcpy(g->numeric + (size_t)i * n_numeric, numeric + from * n_numeric,
               n_numeric * sizeof(*numeric));
    }
    if (score_all(s, shape, (const uint32_t *)g->slots, g->numeric, n, g->p) != 0)
        goto fail;
    return 0;
fail:
    golden_dispose(g);
    return -1;
}

void golden_dispose(struct golden *g)
{
    free(g->slots);
    free(g->numeric);
    free(g->p);
    *g = (struct golden){0};
}

size_t golden_tensors(const struct golden *g, const struct network_shape *shape,
                      struct tensor out[GOLDEN_TENSORS_MAX])
{
    uint32_t n_slots = network_shape_slots(shape);
    size_t n = 0;
    if (g->n == 0)
        return 0;
    if (n_slots > 0)
        out[n++] = (struct tensor){"golden.slots",  TENSOR_I32, 2,
                                   {g->n, n_slots}, g->slots,   (size_t)g->n * n_slots * 4};
    if (shape->n_numeric > 0)
        out[n++] = (struct tensor){
            "golden.numeric",         TENSOR_F32, 2,
            {g->n, shape->n_numeric}, g->numeric, (size_t)g->n * shape->n_numeric * 4};
    out[n++] = (struct tensor){
        "golden.p", TENSOR_F32, 2, {g->n, shape->n_dsps}, g->p, (size_t)g->n * shape->n_dsps * 4};
    return n;
}

/* A [n, columns] tensor; *data stays NULL when columns is 0, which needs no tensor. */
static int matrix(const struct safetensors *f, const char *name, enum tensor_dtype dtype,
                  uint64_t n, uint64_t columns, const void **data, const char *path,
                  struct error *err)
{
    *data = NULL;
    if (columns == 0)
        return 0;
    const struct tensor *t = safetensors_find(f, name);
    if (t == NULL || t->dtype != dtype || t->rank != 2 || t->shape[0] != n ||
        t->shape[1] != columns)
        return error_set(err, "%s: tensor %s: must be %s [%llu, %llu]", path, name,
                         dtype == TENSOR_I32 ? "I32" : "F32", (unsigned long long)n,
                         (unsigned long long)columns);
    *data = t->data;
    return 0;
}

static int compare(const float *expected, const float *p, const float *numeric, size_t n_p,
                   size_t n_numeric, const char *path, struct error *err)
{
    for (size_t i = 0; i < n_numeric; i++)
        if (!isfinite(numeric[i]))
            return error_set(err, "%s: golden.numeric holds what is no finite number", path);
    for (size_t i = 0; i < n_p; i++)
        if (!(fabsf(p[i] - expected[i]) <= P_ABSOLUTE_MAX + P_RELATIVE_MAX * fabsf(expected[i])))
            return error_set(err,
                             "%s: golden input %zu scores %.6g, not %.6g: the model does not "
                             "compute what was trained",
                             path, i, (double)p[i], (double)expected[i]);
    return 0;
}

int golden_score(const struct safetensors *f, const struct scorer *s,
                 const struct network_shape *shape, float *p)
{
    const struct tensor *slots = safetensors_find(f, "golden.slots");
    const struct tensor *numeric = safetensors_find(f, "golden.numeric");
    uint32_t n = (uint32_t)safetensors_find(f, "golden.p")->shape[0];
    return score_all(s, shape, slots != NULL ? slots->data : NULL,
                     numeric != NULL ? numeric->data : NULL, n, p);
}

int golden_check(const struct safetensors *f, const struct scorer *s,
                 const struct network_shape *shape, const char *path, struct error *err)
{
    const struct tensor *of_p = safetensors_find(f, "golden.p");
    if (of_p == NULL)
        return 0;
    if (of_p->rank != 2 || of_p->shape[0] > 1024)
        return error_set(err, "%s: tensor golden.p: must be of rank 2 with at most 1024 rows",
                         path);
    uint64_t n = of_p->shape[0];
    const void *slots, *numeric, *expected;
    if (matrix(f, "golden.slots", TENSOR_I32, n, network_shape_slots(shape), &slots, path, err) ||
        matrix(f, "golden.numeric", TENSOR_F32, n, shape->n_numeric, &numeric, path, err) ||
        matrix(f, "golden.p", TENSOR_F32, n, shape->n_dsps, &expected, path, err))
        return -1;
    size_t n_p = (size_t)n * shape->n_dsps;
    float *p = malloc((n_p + 1) * sizeof(*p));
    int status = p != NULL && score_all(s, shape, slots, numeric, (uint32_t)n, p) == 0
                     ? compare(expected, p, numeric, n_p, (size_t)n * shape->n_numeric, path, err)
                     : error_set(err, "%s: out of memory", path);
    free(p);
    return status;
}

bool golden_near(const struct safetensors *f, const struct scorer *exact, const struct scorer *fast,
                 const struct network_shape *shape)
{
    const struct tensor *of_p = safetensors_find(f, "golden.p");
    if (of_p == NULL || of_p->shape[0] == 0)
        return false;
    size_t n_p = (size_t)of_p->shape[0] * shape->n_dsps;
    float *p = malloc(n_p * sizeof(*p)), *q = malloc(n_p * sizeof(*q)), sum = 0, largest = 0;
    bool near = p != NULL && q != NULL && golden_score(f, exact, shape, p) == 0 &&
                golden_score(f, fast, shape, q) == 0;
    for (size_t i = 0; near && i < n_p; i++) {
        float difference = fabsf(p[i] - q[i]);
        sum += difference;
        largest = difference > largest ? difference : largest;
    }
    free(p);
    free(q);
    return near && largest <= FAST_MAX && sum <= FAST_MEAN_MAX * (float)n_p;
}
