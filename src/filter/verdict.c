/* The slice is scored once, with the scorer that will serve; everything else is asked of the
 * scores. */
#include "filter/verdict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "filter/shares.h"

static int no_memory(struct error *err)
{
    return error_set(err, "training: out of memory");
}

static struct judgement *scored(const struct network *n, const struct slices *s, struct error *err)
{
    return judgement_of_network(n, &s->validation.examples, s->validation.price, err);
}

int verdict_withheld(const struct network *n, const struct slices *s, double recall, double *out,
                     struct error *err)
{
    struct judgement *j = scored(n, s, err);
    int status = j != NULL ? judgement_withheld_at(j, recall, out, err) : -1;
    judgement_destroy(j);
    return status;
}

static int name_dsps(struct verdict *v, const struct interner *dsps, struct error *err)
{
    uint32_t n = interner_count(dsps);
    v->dsps = interner_create();
    v->share = malloc(((size_t)n + 1) * sizeof(*v->share));
    v->calibration = malloc(((size_t)n + 1) * sizeof(*v->calibration));
    v->curves = calloc((size_t)n + 1, sizeof(struct recall_curve *));
    v->value_curves = calloc((size_t)n + 1, sizeof(struct recall_curve *));
    if (v->dsps == NULL || v->share == NULL || v->calibration == NULL || v->curves == NULL ||
        v->value_curves == NULL)
        return no_memory(err);
    for (uint32_t d = 0; d < n; d++)
        v->share[d] = NAN;
    for (uint32_t d = 0; d < n; d++)
        if (interner_add(v->dsps, interner_text(dsps, d)) != d)
            return no_memory(err);
    return 0;
}

static int settle_shares(struct verdict *v, struct network *n, const struct slices *s,
                         struct error *err)
{
    if (shares_settle(n, &s->validation.examples, err) != 0)
        return -1;
    if (n->conjunctions != NULL && n->conjunctions->n_units > 0)
        memcpy(v->share, n->conjunctions->share, n->shape.n_dsps * sizeof(*v->share));
    return 0;
}

/* Over all DSPs. */
static int sum_up(struct verdict *v, const struct judgement *j, struct error *err)
{
    struct recall_curve *overall = malloc(sizeof(*overall));
    int status = overall != NULL ? judgement_overall(j, overall, err) : no_memory(err);
    if (status == 0) {
        v->auc = overall->auc;
        v->nll = overall->nll;
    }
    free(overall);
    return status;
}

int verdict_reach(struct verdict *v, struct network *n, const struct slices *s, double recall,
                  double confidence, struct error *err)
{
    *v = (struct verdict){.auc = NAN, .nll = NAN, .withheld = NAN};
    if (name_dsps(v, s->dsps, err) != 0 || settle_shares(v, n, s, err) != 0)
        return -1;
    struct judgement *j = scored(n, s, err);
    if (j == NULL)
        return -1;
    int status = judgement_withheld_at(j, recall, &v->withheld, err);
    if (status == 0)
        status = judgement_calibrate(j, v->calibration, err);
    if (status == 0)
        status = sum_up(v, j, err);
    if (status == 0)
        status = judgement_curves(j, RECALL_OF_BIDS, confidence, v->curves, err);
    if (status == 0)
        status = judgement_curves(j, RECALL_OF_VALUE, confidence, v->value_curves, err);
    judgement_destroy(j);
    return status;
}

void verdict_dispose(struct verdict *v)
{
    uint32_t n = v->dsps != NULL ? interner_count(v->dsps) : 0;
    for (uint32_t d = 0; v->curves != NULL && d < n; d++)
        free(v->curves[d]);
    for (uint32_t d = 0; v->value_curves != NULL && d < n; d++)
        free(v->value_curves[d]);
    free(v->curves);
    free(v->value_curves);
    free(v->share);
    free(v->calibration);
    interner_destroy(v->dsps);
    *v = (struct verdict){0};
}

void verdict_calibrate(const struct verdict *v, const struct interner *dsps, struct network *n)
{
    for (uint32_t d = 0; d < interner_count(v->dsps); d++) {
        uint32_t at = interner_find(dsps, interner_text(v->dsps, d));
        float *to = n->calibration[at];
        to[0] = (float)v->calibration[d].slope;
        to[1] = (float)v->calibration[d].intercept;
        if (n->conjunctions != NULL && !isnan(v->share[d]))
            n->conjunctions->share[at] = v->share[d];
    }
}

void verdict_hand_over(struct verdict *v, const struct interner *dsps, struct recall_curve **curves,
                       struct recall_curve **value_curves)
{
    for (uint32_t d = 0; d < interner_count(v->dsps); d++) {
        uint32_t to = interner_find(dsps, interner_text(v->dsps, d));
        curves[to] = v->curves[d];
        value_curves[to] = v->value_curves[d];
        v->curves[d] = v->value_curves[d] = NULL;
    }
}
