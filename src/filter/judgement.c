/* Pairs are kept by DSP, because everything that is asked of them is asked a DSP at a time. */
#include "filter/judgement.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct pairs { /* of one DSP */
    float *p, *weight;
    uint8_t *label;
    uint64_t n, room;
};

struct judgement {
    uint32_t n_dsps;
    struct pairs dsps[];
};

struct judgement *judgement_create(uint32_t n_dsps)
{
    struct judgement *j = calloc(1, sizeof(*j) + n_dsps * sizeof(j->dsps[0]));
    if (j != NULL)
        j->n_dsps = n_dsps;
    return j;
}

void judgement_destroy(struct judgement *j)
{
    for (uint32_t d = 0; j != NULL && d < j->n_dsps; d++) {
        free(j->dsps[d].p);
        free(j->dsps[d].weight);
        free(j->dsps[d].label);
    }
    free(j);
}

static void *grown(void *old, size_t count, size_t size)
{
    void *larger = reallocarray(old, count, size);
    if (larger == NULL)
        abort();
    return larger;
}

void judgement_add(struct judgement *j, uint32_t dsp, float p, bool bid, float weight)
{
    assert(dsp < j->n_dsps);
    struct pairs *s = &j->dsps[dsp];
    if (s->n == s->room) {
        s->room = s->room == 0 ? 1024 : s->room * 2;
        s->p = grown(s->p, s->room, sizeof(*s->p));
        s->weight = grown(s->weight, s->room, sizeof(*s->weight));
        s->label = grown(s->label, s->room, sizeof(*s->label));
    }
    s->p[s->n] = p;
    s->weight[s->n] = weight;
    s->label[s->n++] = bid;
}

int judgement_score(struct judgement *j, const struct scorer *scorer,
                    const struct network_shape *shape, const struct examples *e)
{
    uint32_t n_slots = network_shape_slots(shape), room = 0;
    uint32_t *dsps = NULL;
    float *p = NULL;
    struct scorer_scratch *scratch = scorer_scratch_create(scorer);
    if (scratch == NULL)
        return -1;
    for (uint64_t from = 0, to; from < e->n_pairs; from = to) {
        uint32_t r = e->request[from], n = 0;
        for (to = from; to < e->n_pairs && e->request[to] == r; to++)
            ;
        if (to - from > room) {
            room = (uint32_t)(to - from) * 2;
            dsps = grown(dsps, room, sizeof(*dsps));
            p = grown(p, room, sizeof(*p));
        }
        for (uint64_t i = from; i < to; i++)
            dsps[n++] = e->dsp[i];
        scorer_score(scorer, scratch, e->slots + (size_t)r * n_slots,
                     e->numeric + (size_t)r * shape->n_numeric, dsps, n, p);
        for (uint64_t i = from; i < to; i++)
            judgement_add(j, e->dsp[i], p[i - from], e->label[i] != 0, e->weight[i]);
    }
    scorer_scratch_destroy(scratch);
    free(dsps);
    free(p);
    return 0;
}

/* All DSPs are looked at twice: what they have in common is known before one is judged. */
int judgement_curves(const struct judgement *j, struct recall_curve **curves, struct error *err)
{
    struct recall_evidence *evidence = calloc((size_t)j->n_dsps + 1, sizeof(*evidence));
    int status = evidence != NULL ? 0 : error_set(err, "recall curves: out of memory");
    memset(curves, 0, j->n_dsps * sizeof(*curves));
    for (uint32_t d = 0; status == 0 && d < j->n_dsps; d++) {
        const struct pairs *s = &j->dsps[d];
        status = recall_evidence_gather(&evidence[d], s->p, s->label, s->weight, s->n, err);
    }
    struct recall_prior prior = {0, 1};
    if (status == 0)
        prior = recall_prior_fit(evidence, j->n_dsps);
    for (uint32_t d = 0; status == 0 && d < j->n_dsps; d++) {
        const struct pairs *s = &j->dsps[d];
        if (s->n == 0)
            continue;
        curves[d] = malloc(sizeof(*curves[d]));
        status = curves[d] != NULL ? recall_curve_build_with(curves[d], s->p, s->label, s->weight,
                                                             s->n, &prior, err)
                                   : error_set(err, "recall curves: out of memory");
    }
    free(evidence);
    return status;
}

int judgement_overall(const struct judgement *j, struct recall_curve *out, struct error *err)
{
    struct judgement *all = judgement_create(1);
    if (all == NULL)
        return error_set(err, "recall curves: out of memory");
    for (uint32_t d = 0; d < j->n_dsps; d++)
        for (uint64_t i = 0; i < j->dsps[d].n; i++)
            judgement_add(all, 0, j->dsps[d].p[i], j->dsps[d].label[i] != 0, j->dsps[d].weight[i]);
    const struct pairs *s = &all->dsps[0];
    int status = recall_curve_build(out, s->p, s->label, s->weight, s->n, err);
    judgement_destroy(all);
    return status;
}
