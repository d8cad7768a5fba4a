/* A request is read once, when it arrives: its features' texts become numbers (one interner a
 * feature), so that a million requests are some hundred MB and need not be kept. Training then cuts
 * by time, encodes, trains, measures the recall curves on the later slice with the scorer that will
 * serve, and writes the file.
 *
 * The newest traffic is worth most, and it is what the later slice withholds from training. So once
 * it has served its purpose (epochs, calibration, curves), the same recipe is followed again on all
 * of the data, and the result is what the file holds. Both networks give probabilities of the same
 * bids, so the thresholds of the first hold for the second, which has seen more and is a little
 * better than its curves say. */
#include "filter/trainset.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "filter/golden.h"
#include "filter/judgement.h"
#include "filter/model_metadata.h"
#include "filter/slices.h"
#include "model/safetensors.h"

enum { ARENA_KEPT_BYTES = 1 << 20 };

struct trainset {
    const struct schema *schema;
    const struct geo *geo;
    struct arena arena;
    bool borrows;             /* values and dsps are another's */
    struct interner **values; /* [features] */
    struct interner *dsps;
    uint32_t n_requests, room_requests;
    int64_t *ts_ms;
    uint32_t *texts;
    float *numbers;
    uint64_t *first_pair;
    uint64_t n_pairs, room_pairs;
    struct collected_pair *pairs;
    uint64_t *seen; /* hashes of the records, open addressing; 0 = free */
    uint64_t n_seen, room_seen;
    uint64_t pairs_refused; /* by trainset_add */
    struct trainset_counts counts;
};

struct trainset *trainset_create(const struct schema *s, const struct geo *geo)
{
    struct trainset *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->schema = s;
    t->geo = geo;
    t->values = calloc(s->n_features, sizeof(*t->values));
    t->dsps = interner_create();
    if (t->values == NULL || t->dsps == NULL)
        goto fail;
    for (uint32_t i = 0; i < s->n_features; i++)
        if (s->features[i].slots > 0 && (t->values[i] = interner_create()) == NULL)
            goto fail;
    return t;
fail:
    trainset_destroy(t);
    return NULL;
}

void trainset_destroy(struct trainset *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; t->values != NULL && !t->borrows && i < t->schema->n_features; i++)
        interner_destroy(t->values[i]);
    if (!t->borrows) {
        free(t->values);
        interner_destroy(t->dsps);
    }
    arena_dispose(&t->arena);
    free(t->ts_ms);
    free(t->texts);
    free(t->numbers);
    free(t->first_pair);
    free(t->pairs);
    free(t->seen);
    free(t);
}

const struct trainset_counts *trainset_counts(const struct trainset *t)
{
    return &t->counts;
}

/* ---- collecting ---- */

/* Like arena_alloc, no memory ends the program: a training that dropped records silently would be
 * worse. */
static void *grown(void *old, size_t count, size_t size)
{
    void *larger = reallocarray(old, count, size > 0 ? size : 1);
    if (larger == NULL)
        abort();
    return larger;
}

static uint64_t hash_more(uint64_t h, const void *data, size_t len)
{
    const unsigned char *bytes = data; /* FNV-1a, a word at a time, each well mixed */
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, len - i < 8 ? len - i : 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return (h ^ len) * UINT64_C(0xbf58476d1ce4e5b9);
}

static uint64_t record_hash(int64_t ts_ms, struct bytes request, const struct trainset_pair *pairs,
                            uint32_t n_pairs)
{
    uint64_t h = hash_more(UINT64_C(0xcbf29ce484222325), &ts_ms, sizeof(ts_ms));
    h = hash_more(h, request.base, request.len);
    for (uint32_t i = 0; i < n_pairs; i++) {
        h = hash_more(h, pairs[i].dsp.base, pairs[i].dsp.len);
        h = hash_more(h, &pairs[i].propensity, sizeof(pairs[i].propensity)) + pairs[i].bid;
        h = hash_more(h, &pairs[i].price, sizeof(pairs[i].price));
    }
    h ^= h >> 32;
    return h != 0 ? h : 1;
}

/* Exports overlap, and a file is named twice: bids counted twice would prove twice as much. Two
 * requests that differ in nothing, not even their id and millisecond, are one. */
static bool seen_before(struct trainset *t, uint64_t hash)
{
    if (2 * (t->n_seen + 1) > t->room_seen) {
        uint64_t room = t->room_seen == 0 ? 4096 : t->room_seen * 2;
        uint64_t *larger = grown(NULL, room, sizeof(*larger));
        memset(larger, 0, room * sizeof(*larger));
        for (uint64_t i = 0; i < t->room_seen; i++) {
            uint64_t at = t->seen[i] & (room - 1);
            while (t->seen[i] != 0 && larger[at] != 0)
                at = (at + 1) & (room - 1);
            if (t->seen[i] != 0)
                larger[at] = t->seen[i];
        }
        free(t->seen);
        t->seen = larger;
        t->room_seen = room;
    }
    uint64_t at = hash & (t->room_seen - 1);
    for (; t->seen[at] != 0; at = (at + 1) & (t->room_seen - 1))
        if (t->seen[at] == hash)
            return true;
    t->seen[at] = hash;
    t->n_seen++;
    return false;
}

static void reserve_request(struct trainset *t)
{
    if (t->n_requests < t->room_requests)
        return;
    uint32_t room = t->room_requests == 0 ? 1024 : t->room_requests * 2;
    t->ts_ms = grown(t->ts_ms, room, sizeof(*t->ts_ms));
    t->texts = grown(t->texts, room, t->schema->n_slots * sizeof(*t->texts));
    t->numbers = grown(t->numbers, room, t->schema->n_numbers * sizeof(*t->numbers));
    t->first_pair = grown(t->first_pair, (size_t)room + 1, sizeof(*t->first_pair));
    t->room_requests = room;
}

static void add_features(struct trainset *t, const struct bid_request *r, int64_t ts_ms)
{
    const struct schema *s = t->schema;
    struct geo_place place;
    struct raw_features raw;
    geo_locate(t->geo, r, &place);
    features_extract(s, r, &place, ts_ms, &t->arena, &raw);
    uint32_t *texts = t->texts + (size_t)t->n_requests * s->n_slots;
    float *numbers = t->numbers + (size_t)t->n_requests * s->n_numbers;
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        for (uint32_t k = 0; k < f->slots; k++) {
            struct bytes text = raw.texts[f->at + k];
            texts[f->at + k] = text.len > 0 ? interner_add(t->values[i], text) : INTERNER_NONE;
        }
    }
    for (uint32_t i = 0; i < s->n_numbers; i++)
        numbers[i] = (float)raw.numbers[i];
}

/* False: not a label that can be used. */
static bool add_pair(struct trainset *t, const struct trainset_pair *pair)
{
    if (!(pair->propensity > 0 && pair->propensity <= 1) || pair->dsp.len == 0 ||
        pair->dsp.len > MODEL_DSP_NAME_MAX || !vocabulary_may_hold(pair->dsp))
        return false;
    uint32_t dsp = interner_find(t->dsps, pair->dsp);
    if (dsp == INTERNER_NONE && interner_count(t->dsps) < MODEL_DSPS_MAX - 1)
        dsp = interner_add(t->dsps, pair->dsp);
    if (dsp == INTERNER_NONE)
        return false;
    if (t->n_pairs == t->room_pairs) {
        t->room_pairs = t->room_pairs == 0 ? 4096 : t->room_pairs * 2;
        t->pairs = grown(t->pairs, t->room_pairs, sizeof(*t->pairs));
    }
    double weight = 1 / pair->propensity;
    t->pairs[t->n_pairs++] = (struct collected_pair){
        (float)(weight < TRAINSET_WEIGHT_MAX ? weight : TRAINSET_WEIGHT_MAX), (uint16_t)dsp,
        pair->bid,
        pair->bid && pair->price > 0 && pair->price < TRAINSET_PRICE_MAX ? (float)pair->price : 0};
    t->counts.pairs++;
    t->counts.bids += pair->bid;
    return true;
}

bool trainset_add(struct trainset *t, int64_t ts_ms, struct bytes request,
                  const struct trainset_pair *pairs, uint32_t n_pairs, struct bid_request_error *e)
{
    struct bid_request r;
    assert(!t->borrows);
    t->counts.requests++;
    arena_reset(&t->arena, ARENA_KEPT_BYTES);
    if (!bid_request_scan(&r, request, 0, &t->arena, e)) {
        t->counts.requests_unreadable++;
        return false;
    }
    if (t->n_requests == UINT32_MAX - 1)
        return true;
    if (n_pairs > 0 && seen_before(t, record_hash(ts_ms, request, pairs, n_pairs))) {
        t->counts.requests_repeated++;
        return true;
    }
    reserve_request(t);
    t->first_pair[t->n_requests] = t->n_pairs;
    for (uint32_t i = 0; i < n_pairs; i++)
        t->pairs_refused += !add_pair(t, &pairs[i]);
    t->counts.pairs_dropped = t->pairs_refused;
    if (t->n_pairs == t->first_pair[t->n_requests])
        return true; /* nothing to learn from it */
    add_features(t, &r, ts_ms);
    t->ts_ms[t->n_requests++] = ts_ms;
    t->first_pair[t->n_requests] = t->n_pairs;
    return true;
}

/* ---- a part of it ---- */

static void copy_request(struct trainset *to, const struct trainset *from, uint32_t r)
{
    uint32_t slots = from->schema->n_slots, numbers = from->schema->n_numbers, at = to->n_requests;
    uint64_t n = from->first_pair[r + 1] - from->first_pair[r];
    reserve_request(to);
    to->ts_ms[at] = from->ts_ms[r];
    if (slots > 0)
        memcpy(to->texts + (size_t)at * slots, from->texts + (size_t)r * slots,
               slots * sizeof(*to->texts));
    if (numbers > 0)
        memcpy(to->numbers + (size_t)at * numbers, from->numbers + (size_t)r * numbers,
               numbers * sizeof(*to->numbers));
    if (to->n_pairs + n > to->room_pairs) {
        to->room_pairs = 2 * (to->n_pairs + n);
        to->pairs = grown(to->pairs, to->room_pairs, sizeof(*to->pairs));
    }
    memcpy(to->pairs + to->n_pairs, from->pairs + from->first_pair[r], n * sizeof(*to->pairs));
    for (uint64_t i = 0; i < n; i++)
        to->counts.bids += to->pairs[to->n_pairs + i].label;
    to->first_pair[at] = to->n_pairs;
    to->n_pairs += n;
    to->first_pair[at + 1] = to->n_pairs;
    to->n_requests++;
    to->counts.requests++;
    to->counts.pairs += n;
}

struct trainset *trainset_between(const struct trainset *t, int64_t from_ms, int64_t to_ms)
{
    struct trainset *part = calloc(1, sizeof(*part));
    if (part == NULL)
        abort();
    part->schema = t->schema;
    part->geo = t->geo;
    part->borrows = true;
    part->values = t->values;
    part->dsps = t->dsps;
    for (uint32_t r = 0; r < t->n_requests; r++)
        if (t->ts_ms[r] >= from_ms && t->ts_ms[r] < to_ms)
            copy_request(part, t, r);
    return part;
}

bool trainset_span(const struct trainset *t, int64_t *first_ms, int64_t *last_ms)
{
    for (uint32_t r = 0; r < t->n_requests; r++) {
        if (r == 0 || t->ts_ms[r] < *first_ms)
            *first_ms = t->ts_ms[r];
        if (r == 0 || t->ts_ms[r] > *last_ms)
            *last_ms = t->ts_ms[r];
    }
    return t->n_requests > 0;
}

/* ---- the file ---- */

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

static int write_model(const char *path, const struct network *net, const struct slices *s,
                       const struct model_metadata *m, const struct golden *golden,
                       struct error *err)
{
    uint32_t n_features = m->schema->n_features;
    size_t room = 4 * (size_t)n_features + 16 + GOLDEN_TENSORS_MAX, n = 0;
    struct tensor *tensors = calloc(room, sizeof(*tensors));
    struct vocabulary_tensor *kept = calloc(n_features, sizeof(*kept));
    struct safetensors_entry entries[MODEL_METADATA_ENTRIES] = {{0}};
    int status = -1;
    if (tensors == NULL || kept == NULL || network_tensors(net, tensors, room, &n) != 0 ||
        add_vocabularies(s->encoder, kept, tensors, &n) != 0 ||
        model_metadata_write(m, entries) != 0) {
        error_set(err, "%s: out of memory", path);
        goto done;
    }
    n += golden_tensors(golden, &net->shape, tensors + n);
    status = safetensors_write(path, tensors, n, entries, MODEL_METADATA_ENTRIES, err);
    model_metadata_free_entries(entries);
done:
    for (uint32_t i = 0; kept != NULL && i < n_features; i++)
        free(kept[i].text);
    free(kept);
    free(tensors);
    return status;
}

/* ---- training ---- */

void trainset_options_default(struct trainset_options *o)
{
    memset(o, 0, sizeof(*o));
    train_options_default(&o->train);
    o->arch = ARCH_FULL;
    o->baseline = true;
    o->hidden1 = 256;
    o->hidden2 = 64;
    o->validation_share = 0.2;
    o->recall_target = 0.97;
    o->confidence = RECALL_CONFIDENCE;
    o->margin = RECALL_MARGIN;
    o->refit = true;
}

/* ---- one network ---- */

/* A network and all that it was trained from. */
struct trained {
    struct slices slices;
    struct network_shape shape;
    struct network *network;
};

static void trained_dispose(struct trained *t)
{
    network_destroy(t->network);
    network_shape_dispose(&t->shape);
    slices_dispose(&t->slices);
}

static struct collected collected_of(const struct trainset *t)
{
    return (struct collected){
        .n_requests = t->n_requests,
        .ts_ms = t->ts_ms,
        .texts = t->texts,
        .numbers = t->numbers,
        .first_pair = t->first_pair,
        .pairs = t->pairs,
        .values = t->values,
        .dsps = t->dsps,
    };
}

int trainset_learn_encoder(struct trainset *t, struct encoder **encoder, struct interner **dsps,
                           struct error *err)
{
    const struct collected from = collected_of(t);
    struct slices s;
    if (slices_create(&s, t->schema, &from, 0, err) != 0)
        return -1;
    *encoder = s.encoder;
    *dsps = s.dsps;
    s.encoder = NULL;
    s.dsps = NULL;
    slices_dispose(&s);
    return 0;
}

/* A linear model is a network whose hidden layers are one silent unit. */
static void set_arch(struct network_shape *shape, const struct trainset_options *o)
{
    bool linear = o->arch == ARCH_LINEAR;
    shape->hidden1 = linear ? 1 : o->hidden1;
    shape->hidden2 = linear ? 1 : o->hidden2;
    shape->gated = o->arch == ARCH_FULL;
    for (uint32_t f = 0; linear && f < shape->n_features; f++)
        shape->features[f].wide = f != shape->dsp_feature;
}

static int fit_conjunctions(struct trained *to, const struct train_options *train,
                            struct error *err)
{
    struct conjunction_options o;
    conjunction_options_default(&o);
    o.seed = train->seed;
    o.threads = train->threads;
    o.progress = train->conjunction_progress;
    o.progress_ctx = train->progress_ctx;
    to->network->conjunctions = conjunctions_fit(&to->shape, &to->slices.train.examples, &o, err);
    return to->network->conjunctions != NULL ? 0 : -1;
}

/* To be disposed of, whether it succeeds or not. */
static int train_on(struct trained *to, struct trainset *t, const struct trainset_options *o,
                    const struct train_options *train, double validation_share,
                    struct train_report *report, struct error *err)
{
    const struct collected from = collected_of(t);
    struct slices *s = &to->slices;
    if (slices_create(s, t->schema, &from, validation_share, err) != 0)
        return -1;
    if (encoder_shape(s->encoder, interner_count(s->dsps), &to->shape) != 0)
        return error_set(err, "training: out of memory");
    set_arch(&to->shape, o);
    if (network_shape_check(&to->shape, err) != 0 ||
        train_network(&to->shape, &s->train.examples, &s->validation.examples, train, &to->network,
                      report, err) != 0)
        return -1;
    if (slices_settle_unseen_rows(s, to->network) != 0)
        return error_set(err, "training: out of memory");
    return o->arch == ARCH_FULL ? fit_conjunctions(to, train, err) : 0;
}

/* The same recipe on all of the data. Which epoch is the best is known only when the first training
 * ends, so the parameters of all are kept: the second one may run beside the first, and what comes
 * out does not depend on whether it does. */
struct refit {
    struct trainset *trainset;
    const struct trainset_options *o;
    struct trained trained;
    struct train_report report;
    uint32_t epochs_stop; /* 0: all of them */
    float **epochs;       /* [epochs_max] parameters, NULL = not reached */
    int status;
    struct error err;
};

static void keep_epoch(void *ctx, uint32_t epoch, const struct network *n)
{
    struct refit *r = ctx;
    float *kept = malloc(n->block_floats * sizeof(*kept));
    if (kept != NULL)
        memcpy(kept, n->block, n->block_floats * sizeof(*kept));
    r->epochs[epoch - 1] = kept;
}

static void *run_refit(void *arg)
{
    struct refit *r = arg;
    struct train_options train = r->o->train;
    train.progress = NULL;
    train.conjunction_progress = NULL;
    train.epochs_stop = r->epochs_stop;
    train.epoch_done = keep_epoch;
    train.epoch_done_ctx = r;
    r->status = train_on(&r->trained, r->trainset, r->o, &train, 0, &r->report, &r->err);
    return NULL;
}

static int refit_init(struct refit *r, struct trainset *t, const struct trainset_options *o)
{
    *r = (struct refit){.trainset = t, .o = o};
    r->epochs = calloc((size_t)o->train.epochs_max + 1, sizeof(*r->epochs));
    return r->epochs != NULL ? 0 : -1;
}

static void refit_dispose(struct refit *r)
{
    for (uint32_t i = 0; r->epochs != NULL && i < r->o->train.epochs_max; i++)
        free(r->epochs[i]);
    free(r->epochs);
    trained_dispose(&r->trained);
}

/* To the epoch that the first training found. */
static int refit_settle(struct refit *r, const struct train_report *first, struct error *err)
{
    struct network *n = r->trained.network;
    if (r->status != 0)
        return error_set(err, "%s", r->err.text);
    const float *best = r->epochs[first->best_epoch - 1];
    if (best == NULL)
        return error_set(err, "training: out of memory");
    memcpy(n->block, best, n->block_floats * sizeof(*best));
    if (slices_settle_unseen_rows(&r->trained.slices, n) != 0)
        return error_set(err, "training: out of memory");
    return 0;
}

/* ---- measuring on the validation slice ---- */

/* The curves of the slice's DSPs go to the places of the same names. */
static int measure_curves(struct model_metadata *m, const struct slices *s,
                          const struct judgement *j, enum recall_of of,
                          struct recall_curve **places, struct error *err)
{
    uint32_t n_dsps = interner_count(s->dsps);
    struct recall_curve **curves = calloc((size_t)n_dsps + 1, sizeof(*curves));
    if (curves == NULL)
        return error_set(err, "training: out of memory");
    int status = judgement_curves(j, of, m->training.confidence, curves, err);
    for (uint32_t d = 0; d < n_dsps; d++)
        places[interner_find(m->dsps, interner_text(s->dsps, d))] = curves[d];
    free(curves);
    return status;
}

/* A DSP that only the later slice has is calibrated as nobody. */
static int calibrate(const struct model_metadata *m, const struct slices *s, struct judgement *j,
                     struct network *final, struct error *err)
{
    uint32_t n_dsps = interner_count(s->dsps);
    struct calibration *fit = malloc(((size_t)n_dsps + 1) * sizeof(*fit));
    int status =
        fit != NULL ? judgement_calibrate(j, fit, err) : error_set(err, "training: out of memory");
    for (uint32_t d = 0; status == 0 && d < n_dsps; d++) {
        float *to = final->calibration[interner_find(m->dsps, interner_text(s->dsps, d))];
        to[0] = (float)fit[d].slope;
        to[1] = (float)fit[d].intercept;
    }
    free(fit);
    return status;
}

/* Calibration for the final network, curves for the file: from what the judged one makes of the
 * later slice. */
static int measure(struct model_metadata *m, const struct trained *judged, struct network *final,
                   struct error *err)
{
    const struct slices *s = &judged->slices;
    struct scorer *scorer = scorer_create(judged->network, err);
    struct judgement *j = judgement_create(interner_count(s->dsps));
    struct recall_curve *overall = malloc(sizeof(*overall));
    int status = -1;
    if (scorer == NULL)
        goto done;
    if (j == NULL || overall == NULL ||
        judgement_score(j, scorer, &judged->shape, &s->validation.examples, s->validation.price) !=
            0) {
        error_set(err, "training: out of memory");
        goto done;
    }
    if (calibrate(m, s, j, final, err) != 0 || judgement_overall(j, overall, err) != 0 ||
        measure_curves(m, s, j, RECALL_OF_BIDS, m->curves, err) != 0 ||
        measure_curves(m, s, j, RECALL_OF_VALUE, m->value_curves, err) != 0)
        goto done;
    m->training.auc = overall->auc;
    m->training.nll = overall->nll;
    status = 0;
done:
    free(overall);
    judgement_destroy(j);
    scorer_destroy(scorer);
    return status;
}

/* ---- one model ---- */

/* What the file says of itself; the curves are measured on the slices of `judged`, those of a DSP
 * that is new in the later slice are missing. */
static struct model_metadata *describe(const struct trainset *t, const struct trained *judged,
                                       const struct trained *final,
                                       const struct trainset_options *o,
                                       const struct train_report *report)
{
    const struct slices *s = &judged->slices;
    const struct encoder *encoder = final->slices.encoder;
    struct model_metadata *m = model_metadata_create();
    if (m == NULL)
        return NULL;
    uint32_t n = t->schema->n_numbers, n_dsps = interner_count(final->slices.dsps);
    m->dsps = interner_create();
    m->schema = schema_copy(t->schema);
    m->mean = malloc((n + 1) * sizeof(*m->mean));
    m->std = malloc((n + 1) * sizeof(*m->std));
    m->curves = calloc(n_dsps, sizeof(*m->curves));
    m->value_curves = calloc(n_dsps, sizeof(*m->value_curves));
    if (m->dsps == NULL || m->schema == NULL || m->mean == NULL || m->std == NULL ||
        m->curves == NULL || m->value_curves == NULL) {
        model_metadata_destroy(m);
        return NULL;
    }
    encoder_settle_dims(encoder, n_dsps, m->schema);
    for (uint32_t i = 0; o->arch == ARCH_LINEAR && i < m->schema->n_features; i++)
        m->schema->features[i].wide = m->schema->features[i].slots > 0;
    for (uint32_t d = 0; d < n_dsps; d++)
        interner_add(m->dsps, interner_text(final->slices.dsps, d));
    memcpy(m->mean, encoder->mean, n * sizeof(*m->mean));
    memcpy(m->std, encoder->std, n * sizeof(*m->std));
    m->negative_rate = final->network->negative_rate;
    m->training = (struct model_training){
        .from_ms = s->train.from_ms,
        .to_ms = s->train.to_ms,
        .validation_from_ms = s->validation.from_ms,
        .validation_to_ms = s->validation.to_ms,
        .train_pairs = s->train.examples.n_pairs,
        .train_bids = s->train.bids,
        .validation_pairs = s->validation.examples.n_pairs,
        .validation_bids = s->validation.bids,
        .requests = t->counts.requests - t->counts.requests_repeated,
        .requests_unreadable = t->counts.requests_unreadable,
        .pairs_dropped = t->counts.pairs_dropped,
        .seed = o->train.seed,
        .epochs = report->epochs,
        .best_epoch = report->best_epoch,
        .refit = o->refit,
        .learnt_to_ms = o->refit ? s->validation.to_ms : s->train.to_ms,
        .recall_target = o->recall_target,
        .confidence = o->confidence,
        .margin = o->margin,
        .auc = NAN,
        .nll = NAN,
    };
    return m;
}

static int finish(struct trainset *t, const struct trained *judged, const struct trained *final,
                  const struct trainset_options *o, struct train_report *report,
                  const char *out_path, struct error *err)
{
    struct golden golden = {0};
    struct scorer *scorer = NULL;
    struct model_metadata *m = describe(t, judged, final, o, report);
    const struct examples *seen = &final->slices.train.examples;
    int status = -1;
    if (m == NULL) {
        error_set(err, "training: out of memory");
        goto done;
    }
    if (measure(m, judged, final->network, err) != 0)
        goto done;
    scorer = scorer_create(final->network, err);
    if (scorer == NULL)
        goto done;
    m->activation_top = scorer_activation_top(scorer, seen->slots, seen->numeric, seen->n_requests);
    if (golden_create(&golden, scorer, &final->shape, seen->slots, seen->numeric,
                      seen->n_requests) != 0) {
        error_set(err, "training: out of memory");
        goto done;
    }
    report->validation_nll = m->training.nll; /* calibrated */
    status = write_model(out_path, final->network, &final->slices, m, &golden, err);
done:
    golden_dispose(&golden);
    scorer_destroy(scorer);
    model_metadata_destroy(m);
    return status;
}

/* Both trainings, beside each other when there are two threads. */
static int train_both(struct trained *judged, struct refit *again, struct trainset *t,
                      const struct trainset_options *o, struct train_report *report,
                      struct error *err)
{
    struct trainset_options half = *o;
    pthread_t thread;
    bool beside = o->train.threads > 1 && pthread_create(&thread, NULL, run_refit, again) == 0;
    if (beside)
        half.train.threads = o->train.threads / 2;
    int status = train_on(judged, t, &half, &half.train, o->validation_share, report, err);
    if (beside)
        pthread_join(thread, NULL);
    else if (status == 0) {
        again->epochs_stop = report->best_epoch;
        run_refit(again);
    }
    return status == 0 ? refit_settle(again, report, err) : -1;
}

/* ---- how it compares ---- */

static int withheld_at(const struct trained *t, double recall, double *out, struct error *err)
{
    const struct slice *later = &t->slices.validation;
    struct scorer *scorer = scorer_create(t->network, err);
    struct judgement *j = judgement_create(t->shape.n_dsps);
    int status = -1;
    if (scorer == NULL || j == NULL ||
        judgement_score(j, scorer, &t->shape, &later->examples, NULL) != 0)
        error_set(err, "training: out of memory");
    else
        status = judgement_withheld_at(j, recall, out, err);
    judgement_destroy(j);
    scorer_destroy(scorer);
    return status;
}

/* A linear model of the same slices. */
static int compare(struct trainset *t, const struct trainset_options *o,
                   const struct trained *judged, struct trainset_report *report, struct error *err)
{
    struct trainset_options linear = *o;
    struct trained baseline = {0};
    struct train_report ignored;
    if (withheld_at(judged, o->recall_target, &report->withheld, err) != 0)
        return -1;
    if (!o->baseline || o->arch == ARCH_LINEAR)
        return 0;
    linear.arch = ARCH_LINEAR;
    linear.train.linear = true;
    linear.train.progress = NULL;
    int status = train_on(&baseline, t, &linear, &linear.train, o->validation_share, &ignored, err);
    if (status == 0)
        status = withheld_at(&baseline, o->recall_target, &report->withheld_linear, err);
    trained_dispose(&baseline);
    return status;
}

int trainset_train(struct trainset *t, const struct trainset_options *given, const char *out_path,
                   struct trainset_report *report, struct error *err)
{
    struct trainset_options options = *given;
    const struct trainset_options *o = &options;
    struct trained judged = {0};
    struct refit again;
    int status = -1;
    options.train.linear = o->arch == ARCH_LINEAR;
    *report = (struct trainset_report){.withheld = NAN, .withheld_linear = NAN};
    if (!(o->validation_share > 0 && o->validation_share < 1))
        return error_set(err, "training: validation share must be between 0 and 1");
    if (refit_init(&again, t, o) != 0)
        return error_set(err, "training: out of memory");
    if (o->refit)
        status = train_both(&judged, &again, t, o, &report->train, err);
    else
        status = train_on(&judged, t, o, &o->train, o->validation_share, &report->train, err);
    if (status == 0)
        status = compare(t, o, &judged, report, err);
    if (status == 0) {
        t->counts.pairs_dropped = t->pairs_refused + judged.slices.pairs_dropped;
        status = finish(t, &judged, o->refit ? &again.trained : &judged, o, &report->train,
                        out_path, err);
    }
    trained_dispose(&judged);
    refit_dispose(&again);
    return status;
}
