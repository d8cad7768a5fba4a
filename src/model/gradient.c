/* Which rows were touched is a list and, for each row, its place in it: touching costs one look-up,
 * clearing as much as was touched, and the order of the list is the order of the batch. */
#include "model/gradient.h"

#include <stdlib.h>
#include <string.h>

static int table_init(struct gradient_table *t, float *param, size_t rows, uint32_t dim,
                      size_t touched_max)
{
    t->param = param;
    t->rows = rows;
    t->dim = dim;
    t->touched_max = touched_max < rows ? touched_max : rows;
    t->place = calloc(rows, sizeof(*t->place));
    t->touched = malloc(t->touched_max * sizeof(*t->touched));
    t->sum = malloc(t->touched_max * dim * sizeof(*t->sum));
    return t->place != NULL && t->touched != NULL && t->sum != NULL ? 0 : -1;
}

struct gradient *gradient_create(struct network *n, uint32_t batch)
{
    const struct network_shape *s = &n->shape;
    struct gradient *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return NULL;
    g->dense_floats = n->dense_floats;
    g->dense = calloc(n->dense_floats, sizeof(*g->dense));
    g->n_tables = 2 * (size_t)s->n_features + 1;
    g->tables = calloc(g->n_tables, sizeof(*g->tables));
    if (g->dense == NULL || g->tables == NULL)
        goto fail;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        size_t touched_max = (size_t)batch * feature->slots;
        if (table_init(&g->tables[f], n->embedding[f], feature->values, feature->dim,
                       touched_max) != 0)
            goto fail;
        if (feature->wide && table_init(&g->tables[s->n_features + f], n->wide[f],
                                        (size_t)feature->values * s->n_dsps, 1, touched_max) != 0)
            goto fail;
    }
    if (s->gated &&
        table_init(&g->tables[g->n_tables - 1], n->gate, s->n_dsps, s->hidden1, batch) != 0)
        goto fail;
    return g;
fail:
    gradient_destroy(g);
    return NULL;
}

void gradient_destroy(struct gradient *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; g->tables != NULL && i < g->n_tables; i++) {
        free(g->tables[i].place);
        free(g->tables[i].touched);
        free(g->tables[i].sum);
    }
    free(g->tables);
    free(g->dense);
    free(g);
}

void gradient_clear(struct gradient *g)
{
    for (size_t i = 0; i < g->n_tables; i++) {
        struct gradient_table *t = &g->tables[i];
        for (size_t k = 0; k < t->n_touched; k++)
            t->place[t->touched[k]] = 0;
        t->n_touched = 0;
    }
}
