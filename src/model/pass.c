/* Notation: a batch has `pairs` pairs, `rows` runs of pairs of the same request, and `dsps`
 * distinct DSPs. Matrices are row-major, one row a pair, request or DSP.
 *
 *   x  [rows, in]  inputs of the requests, zero where the DSP's embedding goes
 *   z  [rows, h1]  x . hidden1.weight^T
 *   e  [dsps, dim] embeddings of the DSPs;  u [dsps, h1]  e . (their columns of hidden1.weight)^T
 *   h1 [pairs, h1] dropout(relu(z (1 + gate) + u + bias));  h2 [pairs, h2]  likewise
 *
 * Backward reuses the same matrices for their gradients where the values are no longer needed. A
 * unit that relu or dropout silenced is zero, and that is all backward has to know of either. */
#include "model/pass.h"

#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/kernel.h"

struct pass {
    const struct kernel *kernel;
    uint32_t batch, inputs, h1, h2, dsp_dim, dsp_offset;
    float *x, *dx, *z, *dz, *e, *u, *a1, *d1, *a2;
    float *logit, *output; /* [batch]; [h2] output.weight[1] - output.weight[0] */
    uint32_t *pair_row, *pair_dsp, *row_request;
    uint16_t *noise; /* [batch][max(h1, h2)] */
};

void pass_destroy(struct pass *p)
{
    if (p == NULL)
        return;
    free(p->x);
    free(p->dx);
    free(p->z);
    free(p->dz);
    free(p->e);
    free(p->u);
    free(p->a1);
    free(p->d1);
    free(p->a2);
    free(p->logit);
    free(p->output);
    free(p->pair_row);
    free(p->pair_dsp);
    free(p->row_request);
    free(p->noise);
    free(p);
}

static bool alloc_matrix(float **to, size_t rows, size_t columns)
{
    size_t bytes = (rows * columns * sizeof(float) + 63) / 64 * 64;
    *to = aligned_alloc(64, bytes);
    if (*to != NULL)
        memset(*to, 0, bytes);
    return *to != NULL;
}

struct pass *pass_create(const struct network *n, uint32_t batch)
{
    const struct network_shape *s = &n->shape;
    struct pass *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->kernel = kernel_choose();
    p->batch = batch;
    p->inputs = network_shape_inputs(s);
    p->h1 = s->hidden1;
    p->h2 = s->hidden2;
    p->dsp_dim = s->features[s->dsp_feature].dim;
    for (uint32_t f = 0; f < s->dsp_feature; f++)
        p->dsp_offset += s->features[f].dim;
    size_t dsps = s->n_dsps < batch ? s->n_dsps : batch, widest = p->h1 > p->h2 ? p->h1 : p->h2;
    bool ok = alloc_matrix(&p->x, batch, p->inputs) && alloc_matrix(&p->dx, batch, p->inputs) &&
              alloc_matrix(&p->z, batch, p->h1) && alloc_matrix(&p->dz, batch, p->h1) &&
              alloc_matrix(&p->e, dsps, p->dsp_dim) && alloc_matrix(&p->u, dsps, p->h1) &&
              alloc_matrix(&p->a1, batch, p->h1) && alloc_matrix(&p->d1, batch, p->h1) &&
              alloc_matrix(&p->a2, batch, p->h2) && alloc_matrix(&p->logit, batch, 1) &&
              alloc_matrix(&p->output, p->h2, 1);
    p->pair_row = malloc(batch * sizeof(*p->pair_row));
    p->pair_dsp = malloc(batch * sizeof(*p->pair_dsp));
    p->row_request = malloc(batch * sizeof(*p->row_request));
    p->noise = malloc((batch * widest + 4) * sizeof(*p->noise));
    if (!ok || p->pair_row == NULL || p->pair_dsp == NULL || p->row_request == NULL ||
        p->noise == NULL) {
        pass_destroy(p);
        return NULL;
    }
    return p;
}

/* ---- requests: inputs and wide cells ---- */

static uint32_t count_slots(const uint32_t *slots, uint32_t n)
{
    uint32_t count = 0;
    while (count < n && slots[count] != SLOT_EMPTY)
        count++;
    for (uint32_t i = count; i < n; i++)
        count += slots[i] != SLOT_EMPTY;
    return count;
}

static size_t value_of(const struct network_feature *f, uint32_t slot)
{
    return slot < f->values ? slot : VALUE_UNKNOWN;
}

static void load_inputs(const struct kernel *kernel, const struct network *n, const uint32_t *slots,
                        const float *numeric, float *x)
{
    const struct network_shape *s = &n->shape;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        uint32_t dim = feature->dim;
        memset(x, 0, dim * sizeof(float));
        if (f != s->dsp_feature) {
            float share = 1.0f / (float)count_slots(slots, feature->slots);
            for (uint32_t i = 0; i < feature->slots; i++) {
                if (slots[i] == SLOT_EMPTY)
                    continue;
                const float *row = n->embedding[f] + value_of(feature, slots[i]) * dim;
                kernel->add_scaled(x, row, share, dim);
            }
            slots += feature->slots;
        }
        x += dim;
    }
    if (s->n_numeric > 0)
        memcpy(x, numeric, s->n_numeric * sizeof(float));
}

static void scatter_inputs(const struct kernel *kernel, const struct network *n,
                           const uint32_t *slots, const float *dx, struct gradient *gradient)
{
    const struct network_shape *s = &n->shape;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        if (f != s->dsp_feature) {
            float share = 1.0f / (float)count_slots(slots, feature->slots);
            for (uint32_t i = 0; i < feature->slots; i++) {
                if (slots[i] == SLOT_EMPTY)
                    continue;
                float *row = gradient_row(&gradient->tables[f], value_of(feature, slots[i]));
                kernel->add_scaled(row, dx, share, feature->dim);
            }
            slots += feature->slots;
        }
        dx += feature->dim;
    }
}

/* The cells of the wide tables that speak for one pair: their sum, or (gradient not NULL) d to
 * each.
 */
static float wide_cells(const struct network *n, const uint32_t *slots, uint32_t dsp, float d,
                        struct gradient *gradient)
{
    const struct network_shape *s = &n->shape;
    float sum = 0;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        if (f == s->dsp_feature)
            continue;
        if (feature->wide) {
            float share = 1.0f / (float)count_slots(slots, feature->slots);
            for (uint32_t i = 0; i < feature->slots; i++) {
                if (slots[i] == SLOT_EMPTY)
                    continue;
                size_t cell = value_of(feature, slots[i]) * s->n_dsps + dsp;
                if (gradient != NULL)
                    *gradient_row(&gradient->tables[s->n_features + f], cell) += share * d;
                else
                    sum += share * n->wide[f][cell];
            }
        }
        slots += feature->slots;
    }
    return sum;
}

/* ---- hidden layers ---- */

/* 16 random bits a unit, four units a draw. */
static void draw_noise(uint16_t *noise, size_t n, struct prng *g)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t bits = prng_next(g);
        memcpy(noise + i, &bits, sizeof(bits));
    }
}

struct dropout {
    uint16_t silent_below; /* of 65536 */
    float gain;            /* of the units that stay */
};

static struct dropout dropout_of(float rate)
{
    struct dropout d;
    d.silent_below = (uint16_t)(rate * 65536.0f);
    d.gain = 65536.0f / (65536.0f - (float)d.silent_below);
    return d;
}

static void drop(struct pass *p, float *a, size_t n, struct dropout d, struct prng *g)
{
    if (d.silent_below == 0)
        return;
    draw_noise(p->noise, n, g);
    p->kernel->drop(a, p->noise, d.silent_below, d.gain, n);
}

static void multiply(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, uint32_t m, uint32_t n, uint32_t k,
                     const float *a, uint32_t lda, const float *b, uint32_t ldb, float beta,
                     float *c, uint32_t ldc)
{
    cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb, beta, c,
                (int)ldc);
}

/* ---- the batch ---- */

struct batch {
    const struct examples *e;
    const uint32_t *pairs;
    uint32_t n_pairs, n_rows, n_dsps;
    size_t slots; /* of a request */
    struct gradient_table *dsp_table;
};

static const uint32_t *slots_of(const struct batch *b, uint32_t request)
{
    return b->e->slots + request * b->slots;
}

/* Finds the runs of one request and the distinct DSPs, and loads their inputs. */
static void load(struct pass *p, const struct network *n, struct batch *b)
{
    const struct examples *e = b->e;
    uint32_t n_numeric = n->shape.n_numeric;
    for (uint32_t i = 0; i < b->n_pairs; i++) {
        uint32_t request = e->request[b->pairs[i]];
        if (b->n_rows == 0 || p->row_request[b->n_rows - 1] != request) {
            const float *numeric = n_numeric > 0 ? e->numeric + (size_t)request * n_numeric : NULL;
            load_inputs(p->kernel, n, slots_of(b, request), numeric,
                        p->x + (size_t)b->n_rows * p->inputs);
            p->row_request[b->n_rows++] = request;
        }
        p->pair_row[i] = b->n_rows - 1;
        p->pair_dsp[i] = gradient_touch(b->dsp_table, VALUE_FIRST + e->dsp[b->pairs[i]]);
    }
    b->n_dsps = (uint32_t)b->dsp_table->n_touched;
    for (uint32_t d = 0; d < b->n_dsps; d++)
        memcpy(p->e + (size_t)d * p->dsp_dim,
               b->dsp_table->param + (size_t)b->dsp_table->touched[d] * p->dsp_dim,
               p->dsp_dim * sizeof(float));
}

static void hidden1_of(struct pass *p, const struct network *n, const struct batch *b, uint32_t i)
{
    uint32_t h1 = p->h1;
    float *a = p->a1 + (size_t)i * h1;
    const float *z = p->z + (size_t)p->pair_row[i] * h1, *u = p->u + (size_t)p->pair_dsp[i] * h1;
    if (n->gate != NULL)
        p->kernel->relu_gated(a, z, n->gate + (size_t)b->e->dsp[b->pairs[i]] * h1, u, h1);
    else
        p->kernel->relu_sum(a, z, u, h1);
}

static void forward(struct pass *p, const struct network *n, const struct batch *b,
                    struct dropout dropout, struct prng *g)
{
    uint32_t h1 = p->h1, h2 = p->h2;
    multiply(CblasNoTrans, CblasTrans, b->n_rows, h1, p->inputs, p->x, p->inputs, n->hidden1_weight,
             p->inputs, 0, p->z, h1);
    multiply(CblasNoTrans, CblasTrans, b->n_dsps, h1, p->dsp_dim, p->e, p->dsp_dim,
             n->hidden1_weight + p->dsp_offset, p->inputs, 0, p->u, h1);
    for (uint32_t d = 0; d < b->n_dsps; d++)
        p->kernel->add_scaled(p->u + (size_t)d * h1, n->hidden1_bias, 1, h1);
    for (uint32_t i = 0; i < b->n_pairs; i++)
        hidden1_of(p, n, b, i);
    drop(p, p->a1, (size_t)b->n_pairs * h1, dropout, g);
    multiply(CblasNoTrans, CblasTrans, b->n_pairs, h2, h1, p->a1, h1, n->hidden2_weight, h1, 0,
             p->a2, h2);
    for (uint32_t i = 0; i < b->n_pairs; i++) {
        float *a = p->a2 + (size_t)i * h2;
        p->kernel->relu_sum(a, a, n->hidden2_bias, h2);
    }
    drop(p, p->a2, (size_t)b->n_pairs * h2, dropout, g);
    for (uint32_t j = 0; j < h2; j++)
        p->output[j] = n->output_weight[h2 + j] - n->output_weight[j];
    cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)b->n_pairs, (int)h2, 1, p->a2, (int)h2, p->output,
                1, 0, p->logit, 1);
    for (uint32_t i = 0; i < b->n_pairs; i++)
        p->logit[i] += n->output_bias[1] - n->output_bias[0] +
                       wide_cells(n, slots_of(b, p->row_request[p->pair_row[i]]),
                                  b->e->dsp[b->pairs[i]], 0, NULL);
}

/* Turns logits into their gradients. log(1 + exp(-x)) without overflow. */
static struct pass_loss lose(struct pass *p, const struct batch *b, const struct pass_terms *terms)
{
    struct pass_loss loss = {0, 0};
    float shift = logf(terms->bid_odds);
    for (uint32_t i = 0; i < b->n_pairs; i++) {
        bool bid = b->e->label[b->pairs[i]] != 0;
        float weight = b->e->weight[b->pairs[i]] * (bid ? terms->bid_odds : 1);
        float logit = p->logit[i] + shift;
        float toward = bid ? logit : -logit, small = expf(-fabsf(logit));
        loss.nll += (double)weight * (log1pf(small) + (toward < 0 ? -toward : 0));
        loss.weight += weight;
        float probability = (logit >= 0 ? 1.0f : small) / (1.0f + small);
        p->logit[i] = terms->scale * weight * (probability - (bid ? 1.0f : 0.0f));
    }
    return loss;
}

static float *gradient_of(const struct network *n, const struct gradient *gradient,
                          const float *tensor)
{
    return gradient->dense + (tensor - n->block);
}

static void backward_output(struct pass *p, const struct network *n, const struct batch *b,
                            struct gradient *gradient)
{
    uint32_t h2 = p->h2;
    float *weight = gradient_of(n, gradient, n->output_weight);
    float *bias = gradient_of(n, gradient, n->output_bias), total = 0;
    cblas_sgemv(CblasRowMajor, CblasTrans, (int)b->n_pairs, (int)h2, 1, p->a2, (int)h2, p->logit, 1,
                0, weight + h2, 1);
    for (uint32_t j = 0; j < h2; j++)
        weight[j] = -weight[h2 + j];
    for (uint32_t i = 0; i < b->n_pairs; i++) {
        total += p->logit[i];
        wide_cells(n, slots_of(b, p->row_request[p->pair_row[i]]), b->e->dsp[b->pairs[i]],
                   p->logit[i], gradient);
    }
    bias[1] = total;
    bias[0] = -total;
}

/* From a2 (activations) to their gradient in place, then to d1, the gradient of a1. */
static void backward_hidden2(struct pass *p, const struct network *n, const struct batch *b,
                             float gain, struct gradient *gradient)
{
    uint32_t h1 = p->h1, h2 = p->h2;
    float *bias = gradient_of(n, gradient, n->hidden2_bias);
    memset(bias, 0, h2 * sizeof(float));
    for (uint32_t i = 0; i < b->n_pairs; i++) {
        float *a = p->a2 + (size_t)i * h2;
        p->kernel->gate(a, a, p->output, p->logit[i] * gain, h2);
        p->kernel->add_scaled(bias, a, 1, h2);
    }
    multiply(CblasTrans, CblasNoTrans, h2, h1, b->n_pairs, p->a2, h2, p->a1, h1, 0,
             gradient_of(n, gradient, n->hidden2_weight), h1);
    multiply(CblasNoTrans, CblasNoTrans, b->n_pairs, h1, h2, p->a2, h2, n->hidden2_weight, h1, 0,
             p->d1, h1);
}

/* From d1, the gradient of what relu saw, to those of its parts: z, u and the gate. */
static void split_hidden1(struct pass *p, const struct network *n, const struct batch *b,
                          struct gradient *gradient)
{
    uint32_t h1 = p->h1;
    memset(p->dz, 0, (size_t)b->n_rows * h1 * sizeof(float));
    memset(p->u, 0, (size_t)b->n_dsps * h1 * sizeof(float));
    for (uint32_t i = 0; i < b->n_pairs; i++) {
        const float *d = p->d1 + (size_t)i * h1;
        float *dz = p->dz + (size_t)p->pair_row[i] * h1;
        p->kernel->add_scaled(dz, d, 1, h1);
        p->kernel->add_scaled(p->u + (size_t)p->pair_dsp[i] * h1, d, 1, h1);
        if (n->gate == NULL)
            continue;
        uint32_t dsp = b->e->dsp[b->pairs[i]];
        p->kernel->add_product(dz, d, n->gate + (size_t)dsp * h1, h1);
        p->kernel->add_product(gradient_row(&gradient->tables[gradient->n_tables - 1], dsp), d,
                               p->z + (size_t)p->pair_row[i] * h1, h1);
    }
}

static void backward_hidden1(struct pass *p, const struct network *n, const struct batch *b,
                             float gain, struct gradient *gradient)
{
    uint32_t h1 = p->h1, in = p->inputs, dim = p->dsp_dim;
    float *weight = gradient_of(n, gradient, n->hidden1_weight);
    float *bias = gradient_of(n, gradient, n->hidden1_bias);
    p->kernel->gate(p->d1, p->a1, p->d1, gain, (size_t)b->n_pairs * h1);
    memset(bias, 0, h1 * sizeof(float));
    split_hidden1(p, n, b, gradient);
    for (uint32_t d = 0; d < b->n_dsps; d++)
        p->kernel->add_scaled(bias, p->u + (size_t)d * h1, 1, h1);
    multiply(CblasTrans, CblasNoTrans, h1, in, b->n_rows, p->dz, h1, p->x, in, 0, weight, in);
    multiply(CblasTrans, CblasNoTrans, h1, dim, b->n_dsps, p->u, h1, p->e, dim, 1,
             weight + p->dsp_offset, in);
    multiply(CblasNoTrans, CblasNoTrans, b->n_rows, in, h1, p->dz, h1, n->hidden1_weight, in, 0,
             p->dx, in);
    multiply(CblasNoTrans, CblasNoTrans, b->n_dsps, dim, h1, p->u, h1,
             n->hidden1_weight + p->dsp_offset, in, 0, b->dsp_table->sum, dim);
}

struct pass_loss pass_run(struct pass *p, const struct network *n, const struct examples *e,
                          const uint32_t *pairs, uint32_t n_pairs, const struct pass_terms *terms,
                          struct prng *g, struct gradient *gradient)
{
    assert(n_pairs > 0 && n_pairs <= p->batch && terms->dropout >= 0 && terms->dropout < 1);
    assert(terms->bid_odds > 0);
    struct batch b = {.e = e,
                      .pairs = pairs,
                      .n_pairs = n_pairs,
                      .slots = network_shape_slots(&n->shape),
                      .dsp_table = &gradient->tables[n->shape.dsp_feature]};
    struct dropout drops = dropout_of(terms->dropout);
    load(p, n, &b);
    forward(p, n, &b, drops, g);
    struct pass_loss loss = lose(p, &b, terms);
    backward_output(p, n, &b, gradient);
    backward_hidden2(p, n, &b, drops.gain, gradient);
    backward_hidden1(p, n, &b, drops.gain, gradient);
    for (uint32_t r = 0; r < b.n_rows; r++)
        scatter_inputs(p->kernel, n, slots_of(&b, p->row_request[r]), p->dx + (size_t)r * p->inputs,
                       gradient);
    return loss;
}
