/* A sample of the slice is copied once. For each feature its columns are filled from the slice in
 * another order, everything is scored again, and the columns are put back. */
#include "filter/importance.h"

#include <stdlib.h>
#include <string.h>

#include "filter/judgement.h"
#include "prng.h"

struct work {
    const struct network_shape *shape;
    const struct schema *schema;
    const struct examples *from;
    const struct importance_options *o;
    struct scorer *scorer;
    struct recall_curve *overall;
    uint32_t *place;       /* [from->n_requests] in the sample, or UINT32_MAX */
    uint32_t *chosen;      /* [n] the requests of the sample */
    uint32_t *order;       /* [n] who gets whose values */
    struct examples taken; /* the sample; its arrays belong to it */
};

static int no_memory(struct error *err)
{
    return error_set(err, "importance of features: out of memory");
}

/* ---- the sample ---- */

static uint32_t choose(struct work *w)
{
    uint32_t n = w->from->n_requests, wanted = n, kept = 0;
    if (wanted > IMPORTANCE_REQUESTS_MAX)
        wanted = IMPORTANCE_REQUESTS_MAX;
    for (uint32_t r = 0; r < n; r++) {
        bool take = (uint64_t)(r + 1) * wanted / n > (uint64_t)r * wanted / n;
        w->place[r] = take ? kept : UINT32_MAX;
        if (take)
            w->chosen[kept++] = r;
    }
    return kept;
}

static int copy_pairs(struct work *w)
{
    const struct examples *from = w->from;
    size_t room = from->n_pairs + 1;
    uint32_t *request = malloc(room * sizeof(*request));
    uint16_t *dsp = malloc(room * sizeof(*dsp));
    uint8_t *label = malloc(room * sizeof(*label));
    float *weight = malloc(room * sizeof(*weight));
    struct examples *to = &w->taken;
    to->request = request;
    to->dsp = dsp;
    to->label = label;
    to->weight = weight;
    if (request == NULL || dsp == NULL || label == NULL || weight == NULL)
        return -1;
    for (uint64_t i = 0; i < from->n_pairs; i++) {
        uint32_t place = w->place[from->request[i]];
        if (place == UINT32_MAX)
            continue;
        request[to->n_pairs] = place;
        dsp[to->n_pairs] = from->dsp[i];
        label[to->n_pairs] = from->label[i];
        weight[to->n_pairs++] = from->weight[i];
    }
    return 0;
}

/* Columns [at, at + n) of the sample's request i become those of the sample's request order[i]. */
static void fill_slots(struct work *w, const uint32_t *order, uint32_t at, uint32_t n)
{
    uint32_t width = network_shape_slots(w->shape), *to = (uint32_t *)w->taken.slots;
    for (uint32_t i = 0; n > 0 && i < w->taken.n_requests; i++)
        memcpy(to + (size_t)i * width + at,
               w->from->slots + (size_t)w->chosen[order[i]] * width + at, n * sizeof(*to));
}

static void fill_numbers(struct work *w, const uint32_t *order, uint32_t at, uint32_t n)
{
    uint32_t width = w->shape->n_numeric;
    float *to = (float *)w->taken.numeric;
    for (uint32_t i = 0; n > 0 && i < w->taken.n_requests; i++)
        memcpy(to + (size_t)i * width + at,
               w->from->numeric + (size_t)w->chosen[order[i]] * width + at, n * sizeof(*to));
}

static void set_own_order(struct work *w)
{
    for (uint32_t i = 0; i < w->taken.n_requests; i++)
        w->order[i] = i;
}

static int take_sample(struct work *w, struct error *err)
{
    size_t n = w->from->n_requests;
    w->place = malloc((n + 1) * sizeof(*w->place));
    w->chosen = malloc((n + 1) * sizeof(*w->chosen));
    if (w->place == NULL || w->chosen == NULL)
        return no_memory(err);
    n = w->taken.n_requests = choose(w);
    w->order = malloc((n + 1) * sizeof(*w->order));
    w->taken.slots = malloc((n * network_shape_slots(w->shape) + 1) * sizeof(uint32_t));
    w->taken.numeric = malloc((n * w->shape->n_numeric + 1) * sizeof(float));
    if (w->order == NULL || w->taken.slots == NULL || w->taken.numeric == NULL ||
        copy_pairs(w) != 0)
        return no_memory(err);
    set_own_order(w);
    fill_slots(w, w->order, 0, network_shape_slots(w->shape));
    fill_numbers(w, w->order, 0, w->shape->n_numeric);
    return 0;
}

static void work_dispose(struct work *w)
{
    scorer_destroy(w->scorer);
    free(w->overall);
    free(w->place);
    free(w->chosen);
    free(w->order);
    free((void *)w->taken.slots);
    free((void *)w->taken.numeric);
    free((void *)w->taken.request);
    free((void *)w->taken.dsp);
    free((void *)w->taken.label);
    free((void *)w->taken.weight);
}

/* ---- judging ---- */

static int judge(const struct work *w, double *nll, double *withheld, struct error *err)
{
    struct judgement *j = judgement_create(w->shape->n_dsps);
    int status = -1;
    if (j == NULL || judgement_score(j, w->scorer, w->shape, &w->taken, NULL) != 0)
        no_memory(err);
    else if (judgement_withheld_at(j, w->o->recall, withheld, err) == 0)
        status = judgement_overall(j, w->overall, err);
    *nll = w->overall->nll;
    judgement_destroy(j);
    return status;
}

/* A feature's values move together; a number with its word of being missing. */
static void fill_feature(struct work *w, const struct schema_feature *f)
{
    if (f->source->kind != SOURCE_NUMBER) {
        fill_slots(w, w->order, f->at, f->slots);
        return;
    }
    fill_numbers(w, w->order, f->at, 1);
    fill_numbers(w, w->order, w->schema->n_numbers + f->at, 1);
}

/* The same numbers for a feature wherever it stands in the schema. */
static void shuffle(struct work *w, const struct schema_feature *f)
{
    struct prng g = {w->o->seed};
    for (const char *c = f->name; *c != '\0'; c++)
        g.state = prng_next(&g) ^ (unsigned char)*c;
    set_own_order(w);
    for (uint32_t i = w->taken.n_requests; i > 1; i--) {
        uint32_t other = (uint32_t)prng_below(&g, i), swap = w->order[i - 1];
        w->order[i - 1] = w->order[other];
        w->order[other] = swap;
    }
}

static int measure_feature(struct work *w, const struct schema_feature *f, struct importance *out,
                           struct error *err)
{
    struct importance_feature *to = &out->features[out->n_features++];
    double nll, withheld;
    memcpy(to->name, f->name, sizeof(to->name));
    shuffle(w, f);
    fill_feature(w, f);
    int status = judge(w, &nll, &withheld, err);
    set_own_order(w);
    fill_feature(w, f);
    to->nll_loss = nll - out->nll;
    to->withheld_loss = out->withheld - withheld;
    return status;
}

static int compare_features(const void *a, const void *b)
{
    const struct importance_feature *x = a, *y = b;
    if (x->withheld_loss != y->withheld_loss)
        return x->withheld_loss > y->withheld_loss ? -1 : 1;
    if (x->nll_loss != y->nll_loss)
        return x->nll_loss > y->nll_loss ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int measure_all(struct work *w, struct importance *out, struct error *err)
{
    const struct schema *s = w->schema;
    out->n_requests = w->taken.n_requests;
    if (judge(w, &out->nll, &out->withheld, err) != 0)
        return -1;
    for (uint32_t i = 0; i < s->n_features; i++) {
        if (w->o->progress != NULL)
            w->o->progress(w->o->progress_ctx, i, s->n_features);
        if (i != s->dsp_feature && measure_feature(w, &s->features[i], out, err) != 0)
            return -1;
    }
    qsort(out->features, out->n_features, sizeof(*out->features), compare_features);
    return 0;
}

int importance_measure(struct importance *out, const struct network *n, const struct schema *schema,
                       const struct examples *e, const struct importance_options *o,
                       struct error *err)
{
    struct work w = {.shape = &n->shape, .schema = schema, .from = e, .o = o};
    int status = -1;
    *out = (struct importance){0};
    out->features = calloc(schema->n_features, sizeof(*out->features));
    w.overall = calloc(1, sizeof(*w.overall));
    w.scorer = scorer_create(n, err);
    if (out->features == NULL || w.overall == NULL)
        no_memory(err);
    else if (w.scorer != NULL && take_sample(&w, err) == 0)
        status = measure_all(&w, out, err);
    work_dispose(&w);
    if (status != 0)
        importance_dispose(out);
    return status;
}

void importance_dispose(struct importance *i)
{
    free(i->features);
    *i = (struct importance){0};
}
