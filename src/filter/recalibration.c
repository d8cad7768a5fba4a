/* The scores in j are those of the calibrated model, so what is fitted comes after the calibration
 * that the model has. Golden inputs are scored by the new model: that the weights are the old ones
 * was checked when it was loaded. */
#include "filter/recalibration.h"

#include <stdlib.h>
#include <string.h>

#include "filter/golden.h"
#include "filter/model_metadata.h"
#include "filter/shares.h"
#include "model/follow.h"
#include "model/safetensors.h"

/* ---- rates ---- */

static int follow(struct network *n, const struct examples *e, struct followed *out)
{
    struct conjunctions *c = n->conjunctions;
    *out = (struct followed){.units = c != NULL ? c->n_units : 0};
    if (c == NULL)
        return 0;
    float *rate = malloc(((size_t)c->n_units + 1) * sizeof(*rate));
    int status = rate != NULL ? follow_rates(c, &n->shape, e, rate) : -1;
    for (uint32_t u = 0; status == 0 && u < c->n_units; u++) {
        out->quieter += rate[u] * 3 < c->rate[u];
        out->busier += rate[u] > c->rate[u] * 3;
        c->rate[u] = rate[u];
    }
    free(rate);
    return status;
}

int recalibration_score(const struct network *n, const struct fresh *f, struct judgement *j,
                        struct error *err)
{
    const struct examples e = fresh_examples(f);
    struct error ignored;
    struct scorer *s = scorer_create_fast(n, &ignored);
    if (s == NULL)
        s = scorer_create(n, &ignored);
    int status = s != NULL ? judgement_score(j, s, &n->shape, &e, fresh_prices(f)) : -1;
    scorer_destroy(s);
    return status == 0 ? 0 : error_set(err, "out of memory");
}

int recalibration_follow(struct network *n, const struct fresh *f, struct judgement *j,
                         struct followed *out, struct error *err)
{
    const struct examples e = fresh_examples(f);
    if (follow(n, &e, out) != 0)
        return error_set(err, "out of memory");
    if (shares_settle(n, &e, err) != 0)
        return -1;
    return recalibration_score(n, f, j, err);
}

/* ---- the file ---- */

struct work {
    const char *path;
    struct network *network;
    struct safetensors *file;
    struct model_metadata *metadata;
    uint32_t n_dsps;
    struct calibration *fit; /* [n_dsps] */
    float *golden;           /* the new golden.p, or NULL */
    struct tensor *tensors;
    size_t n_tensors;
};

static int no_memory(const struct work *w, struct error *err)
{
    return error_set(err, "%s: out of memory", w->path);
}

static void work_dispose(struct work *w)
{
    model_metadata_destroy(w->metadata);
    safetensors_close(w->file);
    free(w->fit);
    free(w->golden);
    free(w->tensors);
}

static int work_init(struct work *w, const char *path, uint64_t checksum, struct error *err)
{
    *w = (struct work){.path = path, .file = safetensors_open(path, err)};
    if (w->file == NULL || (w->metadata = model_metadata_read(w->file, path, err)) == NULL)
        return -1;
    if (safetensors_checksum(w->file) != checksum)
        return error_set(err,
                         "%s: is another model than the one that was judged: it was replaced "
                         "meanwhile; recalibrate it again",
                         path);
    w->n_dsps = interner_count(w->metadata->dsps);
    w->fit = calloc(w->n_dsps, sizeof(*w->fit));
    w->tensors = calloc(safetensors_count(w->file) + 2, sizeof(*w->tensors));
    return w->fit != NULL && w->tensors != NULL ? 0 : no_memory(w, err);
}

static struct tensor *add(struct work *w, struct tensor t)
{
    w->tensors[w->n_tensors] = t;
    return &w->tensors[w->n_tensors++];
}

static void set_calibration(struct work *w)
{
    float(*all)[2] = w->network->calibration;
    for (uint32_t d = 0; d < w->n_dsps; d++) {
        struct calibration first = {(double)all[d][0], (double)all[d][1]};
        struct calibration both = calibration_after(w->fit[d], first);
        all[d][0] = (float)both.slope;
        all[d][1] = (float)both.intercept;
    }
    add(w, (struct tensor){
               "calibration.dsp", TENSOR_F32, 2, {w->n_dsps, 2}, all, w->n_dsps * sizeof(*all)});
}

/* What golden inputs score now. */
static int score_golden(struct work *w, struct tensor *golden, struct error *err)
{
    struct scorer *s = scorer_create(w->network, err);
    int status = -1;
    if (s == NULL)
        return -1;
    w->golden = malloc(golden->bytes + 1);
    if (w->golden == NULL || golden_score(w->file, s, &w->network->shape, w->golden) != 0)
        no_memory(w, err);
    else
        status = 0;
    scorer_destroy(s);
    golden->data = w->golden;
    return status;
}

static void set_shares(struct work *w)
{
    const struct conjunctions *c = w->network->conjunctions;
    if (c != NULL && c->n_units > 0)
        add(w, (struct tensor){"conjunctions.share",
                               TENSOR_F32,
                               1,
                               {w->n_dsps},
                               c->share,
                               w->n_dsps * sizeof(*c->share)});
}

/* A model that has been loaded: its tensors are of the right shape. */
static int copy_tensors(struct work *w, struct error *err)
{
    set_calibration(w);
    set_shares(w);
    for (size_t i = 0; i < safetensors_count(w->file); i++) {
        const struct tensor *t = safetensors_at(w->file, i);
        if (t->dtype == TENSOR_OTHER)
            return error_set(err, "%s: tensor %s: of a dtype that cannot be written again", w->path,
                             t->name);
        if (strcmp(t->name, "calibration.dsp") == 0 || strcmp(t->name, "conjunctions.share") == 0)
            continue;
        struct tensor *copy = add(w, *t);
        if (strcmp(t->name, "conjunctions.rate") == 0)
            copy->data = w->network->conjunctions->rate;
        if (strcmp(t->name, "golden.p") == 0 && score_golden(w, copy, err) != 0)
            return -1;
    }
    return 0;
}

static int set_curves(struct work *w, const struct judgement *j, double confidence,
                      struct error *err)
{
    struct model_metadata *m = w->metadata;
    for (uint32_t d = 0; d < w->n_dsps; d++) {
        free(m->curves[d]);
        free(m->value_curves[d]);
        m->curves[d] = m->value_curves[d] = NULL;
    }
    if (judgement_curves(j, RECALL_OF_BIDS, confidence, m->curves, err) != 0)
        return -1;
    return judgement_curves(j, RECALL_OF_VALUE, confidence, m->value_curves, err);
}

static int set_metadata(struct work *w, const struct judgement *j, const struct recalibration *r,
                        struct error *err)
{
    struct model_training *t = &w->metadata->training;
    struct recall_curve *overall = malloc(sizeof(*overall));
    if (overall == NULL)
        return no_memory(w, err);
    int status = judgement_overall(j, overall, err);
    t->validation_from_ms = r->from_ms;
    t->validation_to_ms = r->to_ms;
    t->validation_pairs = overall->pairs;
    t->validation_bids = overall->bids;
    t->confidence = r->confidence;
    t->margin = r->margin;
    t->auc = overall->auc;
    t->nll = overall->nll;
    free(overall);
    return status == 0 ? set_curves(w, j, r->confidence, err) : -1;
}

int recalibrate(const char *in_path, struct network *network, struct judgement *j,
                const struct recalibration *r, const char *out_path, struct error *err)
{
    struct work w;
    struct safetensors_entry entries[MODEL_METADATA_ENTRIES] = {{0}};
    int status = work_init(&w, in_path, r->checksum, err);
    w.network = network;
    if (status == 0)
        status = judgement_calibrate(j, w.fit, err);
    if (status == 0)
        status = copy_tensors(&w, err);
    if (status == 0)
        status = set_metadata(&w, j, r, err);
    if (status == 0) {
        size_t n = model_metadata_rewrite(w.file, w.metadata, entries);
        status = n > 0 ? safetensors_write(out_path, w.tensors, w.n_tensors, entries, n, err)
                       : no_memory(&w, err);
        model_metadata_free_entries(entries);
    }
    work_dispose(&w);
    return status;
}
