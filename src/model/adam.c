/* The moments lie as the parameters do; the kernel walks a run of them: all dense parameters at
 * once, or one row of a table. The bias corrections are looked up: rows have counts of their own.
 */
#include "model/adam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/kernel.h"

/* After so many steps the correction of the bias is below a float's resolution. */
enum { STEPS_MAX = 20000 };

static const float BETA1 = 0.9f, BETA2 = 0.999f, EPSILON = 1e-8f;

struct correction {
    float mean, root; /* 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
};

struct adam {
    const struct kernel *kernel;
    float *mean, *square; /* moments, laid out as the network's block */
    uint32_t dense_steps;
    uint32_t **steps; /* [n_tables] -> [rows] */
    size_t n_tables;
    struct correction corrections[STEPS_MAX + 1];
};

struct adam *adam_create(const struct network *n, const struct gradient *g)
{
    struct adam *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->kernel = kernel_choose();
    a->mean = calloc(n->block_floats, sizeof(*a->mean));
    a->square = calloc(n->block_floats, sizeof(*a->square));
    a->n_tables = g->n_tables;
    a->steps = calloc(g->n_tables, sizeof(*a->steps));
    if (a->mean == NULL || a->square == NULL || a->steps == NULL)
        goto fail;
    for (size_t i = 0; i < g->n_tables; i++)
        if (g->tables[i].rows > 0 &&
            (a->steps[i] = calloc(g->tables[i].rows, sizeof(**a->steps))) == NULL)
            goto fail;
    double power1 = 1, power2 = 1;
    for (int t = 1; t <= STEPS_MAX; t++) {
        power1 *= BETA1;
        power2 *= BETA2;
        a->corrections[t].mean = (float)(1 / (1 - power1));
        a->corrections[t].root = (float)(1 / sqrt(1 - power2));
    }
    return a;
fail:
    adam_destroy(a);
    return NULL;
}

void adam_destroy(struct adam *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; a->steps != NULL && i < a->n_tables; i++)
        free(a->steps[i]);
    free(a->steps);
    free(a->mean);
    free(a->square);
    free(a);
}

static struct correction next_correction(const struct adam *a, uint32_t *steps)
{
    if (*steps < STEPS_MAX)
        (*steps)++;
    return a->corrections[*steps];
}

static void step(struct adam *a, struct network *n, size_t at, const float *gradient, size_t count,
                 struct correction c, float rate, float decay)
{
    struct kernel_adam k = {1 - BETA1, 1 - BETA2, 1 - rate * decay, rate * c.mean, c.root, EPSILON};
    a->kernel->adam(n->block + at, a->mean + at, a->square + at, gradient, &k, count);
}

static void step_table(struct adam *a, struct network *n, const struct gradient_table *t,
                       uint32_t *steps, float rate, float decay)
{
    size_t base = (size_t)(t->param - n->block);
    for (size_t i = 0; i < t->n_touched; i++) {
        size_t row = t->touched[i], at = base + row * t->dim;
        struct correction c = next_correction(a, &steps[row]);
        step(a, n, at, t->sum + i * t->dim, t->dim, c, rate, decay);
    }
}

void adam_step(struct adam *a, struct network *n, const struct gradient *g,
               const struct adam_rates *rates)
{
    struct correction c = next_correction(a, &a->dense_steps);
    step(a, n, 0, g->dense, n->dense_floats, c, rates->dense, rates->decay);
    size_t wide_from = n->shape.n_features, wide_to = 2 * wide_from;
    for (size_t i = 0; i < g->n_tables; i++) {
        bool wide = i >= wide_from && i < wide_to;
        step_table(a, n, &g->tables[i], a->steps[i], wide ? rates->wide : rates->embedding,
                   rates->decay);
    }
}
