/* The scores in j are those of the calibrated model, so what is fitted comes after the calibration
 * that the model has. Golden scores are bent likewise: that the weights still compute them is
 * checked when the new file is loaded. */
#include "filter/recalibration.h"

#include <stdlib.h>
#include <string.h>

#include "filter/model_metadata.h"
#include "model/safetensors.h"

struct work {
    const char *path;
    struct safetensors *file;
    struct model_metadata *metadata;
    uint32_t n_dsps;
    struct calibration *fit; /* [n_dsps] */
    float (*calibration)[2]; /* [n_dsps] */
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
    free(w->calibration);
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
    w->calibration = calloc(w->n_dsps, sizeof(*w->calibration));
    w->tensors = calloc(safetensors_count(w->file) + 1, sizeof(*w->tensors));
    return w->fit != NULL && w->calibration != NULL && w->tensors != NULL ? 0 : no_memory(w, err);
}

static struct tensor *add(struct work *w, struct tensor t)
{
    w->tensors[w->n_tensors] = t;
    return &w->tensors[w->n_tensors++];
}

static void set_calibration(struct work *w)
{
    const struct tensor *old = safetensors_find(w->file, "calibration.dsp");
    for (uint32_t d = 0; d < w->n_dsps; d++) {
        struct calibration first = {1, 0};
        if (old != NULL)
            first = (struct calibration){(double)((const float *)old->data)[2 * d],
                                         (double)((const float *)old->data)[2 * d + 1]};
        struct calibration both = calibration_after(w->fit[d], first);
        w->calibration[d][0] = (float)both.slope;
        w->calibration[d][1] = (float)both.intercept;
    }
    add(w, (struct tensor){"calibration.dsp",
                           TENSOR_F32,
                           2,
                           {w->n_dsps, 2},
                           w->calibration,
                           w->n_dsps * sizeof(*w->calibration)});
}

/* A model that has been loaded: its tensors are of the right shape. */
static int copy_tensors(struct work *w, struct error *err)
{
    for (size_t i = 0; i < safetensors_count(w->file); i++) {
        const struct tensor *t = safetensors_at(w->file, i);
        if (t->dtype == TENSOR_OTHER)
            return error_set(err, "%s: tensor %s: of a dtype that cannot be written again", w->path,
                             t->name);
        if (strcmp(t->name, "calibration.dsp") == 0)
            continue;
        struct tensor *copy = add(w, *t);
        if (strcmp(t->name, "golden.p") != 0)
            continue;
        size_t n = t->bytes / sizeof(float);
        w->golden = malloc(t->bytes + 1);
        if (w->golden == NULL)
            return no_memory(w, err);
        for (size_t k = 0; k < n; k++)
            w->golden[k] = calibration_apply(w->fit[k % w->n_dsps], ((const float *)t->data)[k]);
        copy->data = w->golden;
    }
    set_calibration(w);
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

int recalibrate(const char *in_path, struct judgement *j, const struct recalibration *r,
                const char *out_path, struct error *err)
{
    struct work w;
    struct safetensors_entry entries[MODEL_METADATA_ENTRIES] = {{0}};
    int status = work_init(&w, in_path, r->checksum, err);
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
