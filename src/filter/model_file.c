/* The network's tensors, the vocabularies' and the golden inputs', and the metadata that describe
 * them. */
#include "filter/model_file.h"

#include <stdlib.h>
#include <string.h>

#include "filter/golden.h"
#include "model/safetensors.h"

/* The vocabularies' tensors behind those already in `tensors`; texts and names are kept for the
 * caller to free. */
struct vocabulary_tensor {
    char name[96];
    char *text;
};

static int add_vocabularies(const struct encoder *e, struct vocabulary_tensor *kept,
                            struct tensor *tensors, size_t *n)
{
    for (uint32_t i = 0; i < e->schema->n_features; i++) {
        size_t size;
        if (e->vocabularies[i] == NULL)
            continue;
        if (vocabulary_write(e->vocabularies[i], &kept[i].text, &size) != 0)
            return -1;
        if (size == 0)
            continue;
        snprintf(kept[i].name, sizeof(kept[i].name), "vocabulary.%s", e->schema->features[i].name);
        tensors[(*n)++] = (struct tensor){kept[i].name, TENSOR_U8, 1, {size}, kept[i].text, size};
    }
    return 0;
}

static int write_tensors(const struct model_file *f, const struct model_metadata *m,
                         const struct golden *golden, const char *path, struct error *err)
{
    uint32_t n_features = m->schema->n_features;
    size_t room = 4 * (size_t)n_features + 16 + GOLDEN_TENSORS_MAX, n = 0;
    struct tensor *tensors = calloc(room, sizeof(*tensors));
    struct vocabulary_tensor *kept = calloc(n_features, sizeof(*kept));
    struct safetensors_entry entries[MODEL_METADATA_ENTRIES] = {{0}};
    int status = -1;
    if (tensors == NULL || kept == NULL || network_tensors(f->network, tensors, room, &n) != 0 ||
        add_vocabularies(f->slices->encoder, kept, tensors, &n) != 0 ||
        model_metadata_write(m, entries) != 0) {
        error_set(err, "%s: out of memory", path);
        goto done;
    }
    n += golden_tensors(golden, &f->network->shape, tensors + n);
    status = safetensors_write(path, tensors, n, entries, MODEL_METADATA_ENTRIES, err);
    model_metadata_free_entries(entries);
done:
    for (uint32_t i = 0; kept != NULL && i < n_features; i++)
        free(kept[i].text);
    free(kept);
    free(tensors);
    return status;
}

/* What the file says of itself. A DSP that is new in the later slice has no curves. NULL: no
 * memory. */
static struct model_metadata *describe(const struct model_file *f)
{
    const struct encoder *encoder = f->slices->encoder;
    uint32_t n = f->schema->n_numbers, n_dsps = interner_count(f->slices->dsps);
    struct model_metadata *m = model_metadata_create();
    if (m == NULL)
        return NULL;
    m->dsps = interner_create();
    m->schema = schema_copy(f->schema);
    m->mean = malloc((n + 1) * sizeof(*m->mean));
    m->std = malloc((n + 1) * sizeof(*m->std));
    m->curves = calloc(n_dsps, sizeof(struct recall_curve *));
    m->value_curves = calloc(n_dsps, sizeof(struct recall_curve *));
    if (m->dsps == NULL || m->schema == NULL || m->mean == NULL || m->std == NULL ||
        m->curves == NULL || m->value_curves == NULL) {
        model_metadata_destroy(m);
        return NULL;
    }
    encoder_settle_dims(encoder, n_dsps, m->schema);
    for (uint32_t i = 0; f->wide && i < m->schema->n_features; i++)
        m->schema->features[i].wide = m->schema->features[i].slots > 0;
    for (uint32_t d = 0; d < n_dsps; d++)
        interner_add(m->dsps, interner_text(f->slices->dsps, d));
    memcpy(m->mean, encoder->mean, n * sizeof(*m->mean));
    memcpy(m->std, encoder->std, n * sizeof(*m->std));
    m->negative_rate = f->network->negative_rate;
    m->training = f->training;
    m->training.auc = f->verdict->auc;
    m->training.nll = f->verdict->nll;
    verdict_hand_over(f->verdict, m->dsps, m->curves, m->value_curves);
    return m;
}

int model_file_write(const struct model_file *f, const char *path, struct error *err)
{
    const struct examples *seen = &f->slices->train.examples;
    struct golden golden = {0};
    struct scorer *scorer = NULL;
    int status = -1;
    struct model_metadata *m = describe(f);
    if (m == NULL) {
        error_set(err, "training: out of memory");
        goto done;
    }
    verdict_calibrate(f->verdict, m->dsps, f->network);
    scorer = scorer_create(f->network, err);
    if (scorer == NULL)
        goto done;
    m->activation_top = scorer_activation_top(scorer, seen->slots, seen->numeric, seen->n_requests);
    if (golden_create(&golden, scorer, &f->network->shape, seen->slots, seen->numeric,
                      seen->n_requests) != 0) {
        error_set(err, "training: out of memory");
        goto done;
    }
    status = write_tensors(f, m, &golden, path, err);
done:
    golden_dispose(&golden);
    scorer_destroy(scorer);
    model_metadata_destroy(m);
    return status;
}
