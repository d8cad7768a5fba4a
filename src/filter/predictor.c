/* Loading is where a model earns its trust: every part is checked against every other, then the
 * golden inputs must score as they did when they were written. After that, scoring is extraction,
 * lookup, and the scorer's sum of rows. */
#include "filter/predictor.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "filter/encoder.h"
#include "filter/golden.h"
#include "filter/model_metadata.h"
#include "model/safetensors.h"

struct predictor {
    struct model_metadata *metadata;
    struct encoder *encoder;
    struct network_shape shape;
    uint32_t conjunction_units;
    struct scorer *scorer;
    char *description;
    char **names; /* [n_dsps], NUL-terminated */
    char version[64];
    struct predictor_info info;
};

struct predictor_scratch {
    struct scorer_scratch *scorer;
    float *numeric;
    uint32_t slots[];
};

/* ---- loading, step by step ---- */

static int read_vocabularies(struct predictor *p, const struct safetensors *f, const char *path,
                             struct error *err)
{
    const struct schema *s = p->metadata->schema;
    p->encoder = encoder_create(s);
    if (p->encoder == NULL)
        return error_set(err, "%s: out of memory", path);
    memcpy(p->encoder->mean, p->metadata->mean, s->n_numbers * sizeof(double));
    memcpy(p->encoder->std, p->metadata->std, s->n_numbers * sizeof(double));
    for (uint32_t i = 0; i < s->n_features; i++) {
        if (p->encoder->vocabularies[i] == NULL)
            continue;
        char name[96];
        snprintf(name, sizeof(name), "vocabulary.%s", s->features[i].name);
        const struct tensor *t = safetensors_find(f, name);
        if (t == NULL)
            continue; /* an empty vocabulary; the table's rows must agree */
        if (t->dtype != TENSOR_U8 || t->rank != 1)
            return error_set(err, "%s: tensor %s: must be U8 of rank 1", path, name);
        if (vocabulary_read(p->encoder->vocabularies[i], (struct bytes){t->data, t->bytes}) != 0)
            return error_set(err, "%s: tensor %s: must hold different texts, a NUL behind each",
                             path, name);
    }
    return 0;
}

static int width_of(const struct safetensors *f, const char *name, uint32_t *out, const char *path,
                    struct error *err)
{
    const struct tensor *t = safetensors_find(f, name);
    if (t == NULL)
        return error_set(err, "%s: no tensor %s", path, name);
    if (t->rank != 1 || t->shape[0] == 0 || t->shape[0] > NETWORK_HIDDEN_MAX)
        return error_set(err, "%s: tensor %s: must be of rank 1 and 1..%d long", path, name,
                         NETWORK_HIDDEN_MAX);
    *out = (uint32_t)t->shape[0];
    return 0;
}

/* The model is what it says, in floats; where whole numbers are faster and say the same, they
 * serve.
 */
static void take_fast(struct predictor *p, const struct safetensors *f, const struct network *n)
{
    struct scorer *fast = scorer_create_fast(n, NULL);
    if (fast == NULL)
        return;
    struct scorer *other = p->scorer;
    if (golden_near(f, p->scorer, fast, &p->shape))
        p->scorer = fast;
    else
        other = fast;
    scorer_destroy(other);
}

/* keep: where to leave the network once it is folded; NULL: it is not needed. */
static int read_network(struct predictor *p, const struct safetensors *f, const char *path,
                        struct network **keep, struct error *err)
{
    if (encoder_shape(p->encoder, interner_count(p->metadata->dsps), &p->shape) != 0)
        return error_set(err, "%s: out of memory", path);
    if (width_of(f, "hidden1.bias", &p->shape.hidden1, path, err) != 0 ||
        width_of(f, "hidden2.bias", &p->shape.hidden2, path, err) != 0)
        return -1;
    p->shape.gated = safetensors_find(f, "gate.dsp") != NULL;
    struct error why = {""};
    struct network *n = network_from_tensors(f, &p->shape, &why);
    if (n == NULL)
        return error_set(err, "%s: %.700s", path, why.text);
    n->negative_rate = p->metadata->negative_rate;
    n->activation_top = p->metadata->activation_top;
    if (n->conjunctions != NULL)
        p->conjunction_units = n->conjunctions->n_units;
    int status = 0;
    for (size_t i = 0; status == 0 && i < n->block_floats; i++)
        if (!isfinite(n->block[i]))
            status = error_set(err, "%s: a weight is not a finite number", path);
    if (status == 0 && (p->scorer = scorer_create(n, &why)) == NULL)
        status = error_set(err, "%s: %.700s", path, why.text);
    if (status == 0 && (status = golden_check(f, p->scorer, &p->shape, path, err)) == 0)
        take_fast(p, f, n);
    if (status == 0 && keep != NULL)
        *keep = n;
    else
        network_destroy(n);
    return status;
}

static int read_names(struct predictor *p)
{
    uint32_t n = interner_count(p->metadata->dsps);
    p->names = calloc(n, sizeof(*p->names));
    for (uint32_t i = 0; p->names != NULL && i < n; i++) {
        struct bytes name = interner_text(p->metadata->dsps, i);
        p->names[i] = strndup(name.base, name.len);
        if (p->names[i] == NULL)
            return -1;
    }
    return p->names != NULL ? 0 : -1;
}

static void set_info(struct predictor *p, uint64_t checksum)
{
    const struct model_training *t = &p->metadata->training;
    int64_t trained_ms = t->validation_to_ms >= 0 ? t->validation_to_ms : t->to_ms;
    char when[32] = "undated";
    time_t seconds = (time_t)(trained_ms / 1000);
    struct tm tm;
    if (trained_ms >= 0 && gmtime_r(&seconds, &tm) != NULL)
        strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
    snprintf(p->version, sizeof(p->version), "%s-%016" PRIx64, when, checksum);
    p->info = (struct predictor_info){
        .version = p->version,
        .trained_at_ms = trained_ms,
        .window_from_ms = t->from_ms,
        .window_to_ms = t->to_ms,
        .validation_from_ms = t->validation_from_ms,
        .validation_to_ms = t->validation_to_ms,
        .learnt_to_ms = t->learnt_to_ms,
        .recall_confidence = t->confidence,
        .recall_margin = t->margin,
        .train_pairs = t->train_pairs,
        .train_bids = t->train_bids,
        .validation_pairs = t->validation_pairs,
        .validation_bids = t->validation_bids,
        .negative_rate = p->metadata->negative_rate,
        .n_dsps = p->shape.n_dsps,
        .checksum = checksum,
        .kernel = scorer_kernel_name(p->scorer),
        .memory = scorer_memory(p->scorer),
        .shape = &p->shape,
        .conjunction_units = p->conjunction_units,
    };
}

static struct predictor *load(const char *path, struct network **keep, struct error *err)
{
    struct safetensors *f = safetensors_open(path, err);
    if (f == NULL)
        return NULL;
    struct predictor *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        error_set(err, "%s: out of memory", path);
        goto fail;
    }
    if (safetensors_check(f, path, err) != 0 ||
        (p->metadata = model_metadata_read(f, path, err)) == NULL ||
        read_vocabularies(p, f, path, err) != 0 || read_network(p, f, path, keep, err) != 0)
        goto fail;
    p->description = model_metadata_describe(f);
    if (p->description == NULL || read_names(p) != 0) {
        error_set(err, "%s: out of memory", path);
        goto fail;
    }
    set_info(p, safetensors_checksum(f));
    safetensors_close(f);
    return p;
fail:
    safetensors_close(f);
    predictor_destroy(p);
    return NULL;
}

struct predictor *predictor_load(const char *path, struct error *err)
{
    return load(path, NULL, err);
}

struct predictor *predictor_load_with_network(const char *path, struct network **network,
                                              struct error *err)
{
    *network = NULL;
    struct predictor *p = load(path, network, err);
    if (p == NULL) {
        network_destroy(*network);
        *network = NULL;
    }
    return p;
}

void predictor_destroy(struct predictor *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; p->names != NULL && i < interner_count(p->metadata->dsps); i++)
        free(p->names[i]);
    free(p->names);
    free(p->description);
    scorer_destroy(p->scorer);
    network_shape_dispose(&p->shape);
    encoder_destroy(p->encoder);
    model_metadata_destroy(p->metadata);
    free(p);
}

/* ---- what it is ---- */

const struct predictor_info *predictor_info(const struct predictor *p)
{
    return &p->info;
}

const char *predictor_dsp_name(const struct predictor *p, uint32_t dsp)
{
    return p->names[dsp];
}

int32_t predictor_find_dsp(const struct predictor *p, const char *name)
{
    uint32_t dsp = interner_find(p->metadata->dsps, bytes_of(name));
    return dsp == INTERNER_NONE ? -1 : (int32_t)dsp;
}

const struct recall_curve *predictor_curve(const struct predictor *p, uint32_t dsp)
{
    return p->metadata->curves[dsp];
}

const struct recall_curve *predictor_curve_of(const struct predictor *p, uint32_t dsp,
                                              enum recall_of of)
{
    return of == RECALL_OF_VALUE ? p->metadata->value_curves[dsp] : p->metadata->curves[dsp];
}

static const struct recall_curve *curve_in_force(const struct predictor *p, uint32_t dsp,
                                                 enum recall_of of)
{
    const struct recall_curve *curve = predictor_curve_of(p, dsp, of);
    return curve != NULL ? curve : predictor_curve(p, dsp);
}

/* A curve's 0 means that nothing is proven at this target: a score is never 0, so that a threshold
 * of 0 would send everything anyway. */
static float threshold_of(const struct predictor *p, uint32_t dsp, enum recall_of of,
                          double recall_target, double recall)
{
    const struct recall_curve *curve = curve_in_force(p, dsp, of);
    float threshold = curve != NULL ? recall_curve_threshold(curve, recall_target, recall) : 0;
    return threshold > 0 ? threshold : NAN;
}

float predictor_threshold_bare(const struct predictor *p, uint32_t dsp, double recall_target,
                               enum recall_of of)
{
    return threshold_of(p, dsp, of, recall_target, recall_target);
}

float predictor_threshold_of(const struct predictor *p, uint32_t dsp, double recall_target,
                             enum recall_of of)
{
    double once = recall_with_margin(recall_target, p->info.recall_margin);
    return threshold_of(p, dsp, of, once, recall_with_margin(once, p->info.recall_margin));
}

float predictor_threshold(const struct predictor *p, uint32_t dsp, double recall_target)
{
    return predictor_threshold_of(p, dsp, recall_target, RECALL_OF_BIDS);
}

const char *predictor_not_filtered(const struct predictor *p, uint32_t dsp, double recall_target,
                                   enum recall_of of)
{
    if (!isnan(predictor_threshold_of(p, dsp, recall_target, of)))
        return NULL;
    return curve_in_force(p, dsp, of) == NULL ? "the model has no recall curve for it"
                                              : "too few bids to prove a threshold";
}

double predictor_withheld(const struct predictor *p, uint32_t dsp, float threshold,
                          enum recall_of of)
{
    const struct recall_curve *c = curve_in_force(p, dsp, of);
    for (uint32_t k = 0; c != NULL && k < c->n; k++)
        if (c->points[k].threshold == threshold)
            return (double)c->points[k].withheld;
    return 0;
}

const char *predictor_feature_source(const struct predictor *p, const char *feature)
{
    const struct schema *s = p->metadata->schema;
    for (uint32_t i = 0; i < s->n_features; i++)
        if (strcmp(s->features[i].name, feature) == 0)
            return s->features[i].source->name;
    return NULL;
}

const struct encoder *predictor_encoder(const struct predictor *p)
{
    return p->encoder;
}

char *predictor_describe(const struct predictor *p)
{
    const struct scorer_memory *m = &p->info.memory;
    json_t *all = json_loads(p->description, 0, NULL);
    json_t *served = json_pack("{s:s,s:{s:I,s:I,s:I,s:I}}", "kernel", p->info.kernel, "bytes",
                               "rows", (json_int_t)m->rows, "layers", (json_int_t)m->layers, "wide",
                               (json_int_t)m->wide, "scratch", (json_int_t)m->scratch);
    char *out = NULL;
    if (all != NULL && json_object_set_new(all, "served", served) == 0)
        out = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(all);
    return out;
}

/* ---- scoring ---- */

struct predictor_scratch *predictor_scratch_create(const struct predictor *p)
{
    const struct schema *s = p->metadata->schema;
    struct predictor_scratch *scratch =
        calloc(1, sizeof(*scratch) + (s->n_slots + 1) * sizeof(uint32_t));
    if (scratch == NULL)
        return NULL;
    scratch->numeric = calloc(2 * s->n_numbers + 1, sizeof(float));
    scratch->scorer = scorer_scratch_create(p->scorer);
    if (scratch->numeric == NULL || scratch->scorer == NULL) {
        predictor_scratch_destroy(scratch);
        return NULL;
    }
    return scratch;
}

void predictor_scratch_destroy(struct predictor_scratch *s)
{
    if (s == NULL)
        return;
    scorer_scratch_destroy(s->scorer);
    free(s->numeric);
    free(s);
}

void predictor_score(const struct predictor *p, struct predictor_scratch *scratch,
                     const struct bid_request *r, const struct geo_place *place, int64_t ts_ms,
                     struct arena *arena, const uint32_t *dsps, uint32_t n, float *p_out)
{
    struct raw_features raw;
    features_extract(p->metadata->schema, r, place, ts_ms, arena, &raw);
    encoder_encode(p->encoder, &raw, scratch->slots, scratch->numeric);
    scorer_score(p->scorer, scratch->scorer, scratch->slots, scratch->numeric, dsps, n, p_out);
}

void predictor_scored(const struct predictor_scratch *scratch, const uint32_t **slots,
                      const float **numeric)
{
    *slots = scratch->slots;
    *numeric = scratch->numeric;
}

uint32_t predictor_inputs(const struct predictor *p, const struct bid_request *r,
                          const struct geo_place *place, int64_t ts_ms, struct arena *arena,
                          const struct predictor_input **out)
{
    const struct schema *s = p->metadata->schema;
    struct raw_features raw;
    features_extract(s, r, place, ts_ms, arena, &raw);
    struct predictor_input *inputs = arena_alloc(arena, s->n_features * sizeof(*inputs));
    bool *known = arena_alloc(arena, s->n_slots * sizeof(*known));
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        struct predictor_input *in = &inputs[n];
        if (i == s->dsp_feature)
            continue;
        *in = (struct predictor_input){.feature = f->name, .number = NAN};
        n++;
        if (f->source->kind == SOURCE_NUMBER) {
            in->is_number = true;
            in->number = raw.numbers[f->at];
            continue;
        }
        in->texts = &raw.texts[f->at];
        in->known = &known[f->at];
        for (uint32_t k = 0; k < f->slots && (k == 0 || in->texts[k].len > 0); k++) {
            known[f->at + k] = encoder_row(p->encoder, i, in->texts[k]) >= VALUE_FIRST;
            in->n_texts++;
        }
    }
    *out = inputs;
    return n;
}
