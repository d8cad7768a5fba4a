/* EM in rounds: each walks over all pairs with the rates of the one before. */
#include "model/follow.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/conjunction_rows.h"
#include "model/network.h"
#include "model/table.h"
#include "model/train.h"

enum { ROUNDS = 4 };

/* Bids in sums of weights; squares: of the found ones, to tell how many a bid stands for. */
struct unit {
    double change, found, expected, squares;
};

static void add_pair(struct unit *units, const struct conjunctions *c, const float *rates,
                     uint32_t dsp, bool bid, double weight)
{
    double sum = 0;
    for (uint32_t u = c->first[dsp]; u < c->first[dsp + 1]; u++)
        sum += (double)rates[u] * units[u].change;
    double stands_for = bid ? weight / -expm1(-fmax(sum, 1e-12)) : 0;
    for (uint32_t u = c->first[dsp]; u < c->first[dsp + 1]; u++) {
        double own = (double)rates[u] * units[u].change, found = own * stands_for;
        units[u].expected += own * weight;
        units[u].found += found;
        units[u].squares += found * weight;
    }
}

static void add_examples(struct unit *units, const struct conjunctions *c,
                         const struct conjunction_rows *rows, float *scratch, uint32_t n_slots,
                         const struct examples *e)
{
    for (uint64_t i = 0; i < e->n_pairs; i++) {
        if (i == 0 || e->request[i] != e->request[i - 1])
            conjunction_rows_begin(rows, scratch, e->slots + (size_t)e->request[i] * n_slots);
        add_pair(units, c, scratch, e->dsp[i], e->label[i] != 0, (double)e->weight[i]);
    }
}

static void take_step(struct unit *u)
{
    double lump = u->found > 0 ? u->squares / u->found : 1;
    u->change *= (u->found + lump) / (u->expected + lump);
    u->found = u->expected = u->squares = 0;
}

int follow_rates(const struct conjunctions *c, const struct network_shape *shape,
                 const struct examples *e, float *rate)
{
    memcpy(rate, c->rate, c->n_units * sizeof(*rate));
    if (c->n_units == 0)
        return 0;
    struct conjunction_rows *rows = conjunction_rows_create(c, shape, kernel_choose(), NULL);
    struct unit *units = calloc(c->n_units, sizeof(*units));
    float *scratch =
        rows != NULL ? table_alloc(conjunction_rows_scratch(rows) * sizeof(float)) : NULL;
    int status = units != NULL && scratch != NULL ? 0 : -1;
    for (uint32_t u = 0; status == 0 && u < c->n_units; u++)
        units[u].change = 1;
    for (int round = 0; status == 0 && round < ROUNDS; round++) {
        add_examples(units, c, rows, scratch, network_shape_slots(shape), e);
        for (uint32_t u = 0; u < c->n_units; u++)
            take_step(&units[u]);
    }
    for (uint32_t u = 0; status == 0 && u < c->n_units; u++)
        rate[u] =
            fminf(fmaxf((float)((double)c->rate[u] * units[u].change), FLT_MIN), CONJUNCTION_MAX);
    conjunction_rows_destroy(rows);
    free(units);
    free(scratch);
    return status;
}
