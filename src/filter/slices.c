/* In steps: order by time and find the cut; choose the DSPs; count texts and numbers of the earlier
 * slice; encode everything. */
#include "filter/slices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "filter/model_metadata.h"
#include "filter/vocabulary.h"

enum {
    DSP_DROPPED = UINT16_MAX,
    DAY_MS = 24 * 3600 * 1000,
    TWO_WEEKS_MS = 14 * DAY_MS,
    DAYS_MAX = 100, /* that are told apart; older ones are one */
};

struct builder {
    struct slices *out;
    const struct schema *schema;
    const struct collected *from;
    uint32_t *order;   /* requests by time */
    uint32_t n_train;  /* of them in the earlier slice */
    uint16_t *dsp_map; /* collected DSP -> the model's, or DSP_DROPPED */
    struct error *err;
};

static int no_memory(struct error *err)
{
    return error_set(err, "training: out of memory");
}

/* ---- time ---- */

static int compare_time(const void *a, const void *b, void *ctx)
{
    const int64_t *ts = ctx;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (ts[x] != ts[y])
        return ts[x] < ts[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int order_by_time(struct builder *b)
{
    uint32_t n = b->from->n_requests;
    const int64_t *ts = b->from->ts_ms;
    b->order = malloc((n + 1) * sizeof(*b->order));
    if (b->order == NULL)
        return no_memory(b->err);
    bool sorted = true;
    for (uint32_t i = 0; i < n; i++) {
        b->order[i] = i;
        sorted &= i == 0 || ts[i - 1] <= ts[i];
    }
    if (!sorted)
        qsort_r(b->order, n, sizeof(*b->order), compare_time, (void *)ts);
    return 0;
}

static int cut(struct builder *b, double validation_share)
{
    uint32_t n = b->from->n_requests;
    const int64_t *ts = b->from->ts_ms;
    int64_t first = ts[b->order[0]], last = ts[b->order[n - 1]];
    if (first == last)
        return error_set(b->err,
                         "training: all %u requests are of one moment; a model is validated "
                         "on later ones than it is trained on",
                         n);
    double span = (double)last - (double)first;
    double validation_from = (double)last - span * validation_share;
    uint32_t at = 0;
    while (at < n && (double)ts[b->order[at]] < validation_from)
        at++;
    if (validation_share == 0)
        at = n;
    else if (at == 0 || at == n)
        return error_set(b->err, "training: no request is in the %s slice of the time covered",
                         at == 0 ? "training" : "validation");
    b->n_train = at;
    b->out->train.from_ms = first;
    b->out->train.to_ms = ts[b->order[at - 1]];
    b->out->validation.from_ms = at < n ? ts[b->order[at]] : last;
    b->out->validation.to_ms = last;
    return 0;
}

/* ---- DSPs ---- */

static int compare_dsps(const void *a, const void *b, void *ctx)
{
    const struct interner *dsps = ctx;
    return bytes_compare(interner_text(dsps, *(const uint32_t *)a),
                         interner_text(dsps, *(const uint32_t *)b));
}

static int choose_dsps(struct builder *b)
{
    uint32_t n = interner_count(b->from->dsps), kept = 0;
    uint32_t *chosen = malloc((n + 1) * sizeof(*chosen));
    bool *seen = calloc(n + 1, sizeof(*seen));
    b->dsp_map = malloc((n + 1) * sizeof(*b->dsp_map));
    b->out->dsps = interner_create();
    int status = -1;
    if (chosen == NULL || seen == NULL || b->dsp_map == NULL || b->out->dsps == NULL)
        goto done;
    for (uint32_t i = 0; i < b->n_train; i++) {
        uint32_t r = b->order[i];
        for (uint64_t k = b->from->first_pair[r]; k < b->from->first_pair[r + 1]; k++)
            seen[b->from->pairs[k].dsp] = true;
    }
    for (uint32_t d = 0; d < n; d++) {
        b->dsp_map[d] = DSP_DROPPED;
        if (seen[d])
            chosen[kept++] = d;
    }
    qsort_r(chosen, kept, sizeof(*chosen), compare_dsps, (void *)b->from->dsps);
    for (uint32_t i = 0; i < kept; i++) {
        if (interner_add(b->out->dsps, interner_text(b->from->dsps, chosen[i])) != i)
            goto done;
        b->dsp_map[chosen[i]] = (uint16_t)i;
    }
    status = 0;
done:
    free(chosen);
    free(seen);
    return status == 0 ? 0 : no_memory(b->err);
}

/* ---- what the earlier slice knows ---- */

/* A day of the week that was seen once is a date: what happened then says nothing of the next one.
 * Until each was seen twice, none is told from another. */
static bool too_short_for(const struct builder *b, const struct schema_feature *f)
{
    const char *source = f->source->name;
    return (strcmp(source, "time.weekday") == 0 || strcmp(source, "time.hour_of_week") == 0) &&
           b->out->train.to_ms - b->out->train.from_ms < TWO_WEEKS_MS;
}

static int build_vocabulary(struct builder *b, uint32_t feature)
{
    const struct schema_feature *f = &b->schema->features[feature];
    const struct interner *values = b->from->values[feature];
    if (too_short_for(b, f))
        return 0;
    uint64_t *counts = calloc((size_t)interner_count(values) + 1, sizeof(*counts));
    if (counts == NULL)
        return no_memory(b->err);
    for (uint32_t i = 0; i < b->n_train; i++) {
        const uint32_t *slots = b->from->texts + (size_t)b->order[i] * b->schema->n_slots + f->at;
        for (uint32_t k = 0; k < f->slots; k++)
            if (slots[k] != INTERNER_NONE)
                counts[slots[k]]++;
    }
    int status = vocabulary_build(b->out->encoder->vocabularies[feature], f, values, counts);
    free(counts);
    return status == 0 ? 0 : no_memory(b->err);
}

static void measure_number(struct builder *b, uint32_t number)
{
    double mean = 0, squares = 0; /* Welford's recurrence */
    uint64_t n = 0;
    for (uint32_t i = 0; i < b->n_train; i++) {
        double x = b->from->numbers[(size_t)b->order[i] * b->schema->n_numbers + number];
        if (!isfinite(x))
            continue;
        double delta = x - mean;
        mean += delta / (double)++n;
        squares += delta * (x - mean);
    }
    double std = n > 0 ? sqrt(squares / (double)n) : 0;
    b->out->encoder->mean[number] = mean;
    b->out->encoder->std[number] = std > 1e-6 ? std : 1;
}

static int learn_encoder(struct builder *b)
{
    b->out->encoder = encoder_create(b->schema);
    if (b->out->encoder == NULL)
        return no_memory(b->err);
    for (uint32_t i = 0; i < b->schema->n_features; i++)
        if (b->schema->features[i].slots > 0 && build_vocabulary(b, i) != 0)
            return -1;
    const struct encoder *old = b->from->normalisation;
    for (uint32_t i = 0; i < b->schema->n_numbers; i++) {
        measure_number(b, i);
        if (old != NULL && old->std[i] != 1) {
            b->out->encoder->mean[i] = old->mean[i];
            b->out->encoder->std[i] = old->std[i];
        }
    }
    return 0;
}

/* ---- encoding ---- */

/* The rows of all texts that a feature has seen; looked up once each. */
static uint32_t *rows_of(struct builder *b, uint32_t feature)
{
    const struct interner *values = b->from->values[feature];
    uint32_t n = interner_count(values);
    uint32_t *rows = malloc(((size_t)n + 1) * sizeof(*rows));
    for (uint32_t i = 0; rows != NULL && i < n; i++)
        rows[i] = encoder_row(b->out->encoder, feature, interner_text(values, i));
    return rows;
}

static int encode_texts(struct builder *b)
{
    const struct schema *schema = b->schema;
    for (uint32_t i = 0; i < schema->n_features; i++) {
        const struct schema_feature *f = &schema->features[i];
        if (f->slots == 0)
            continue;
        uint32_t *rows = rows_of(b, i);
        if (rows == NULL)
            return no_memory(b->err);
        for (uint32_t to = 0; to < b->from->n_requests; to++) {
            const uint32_t *texts = b->from->texts + (size_t)b->order[to] * schema->n_slots + f->at;
            uint32_t *slots = b->out->slots + (size_t)to * schema->n_slots + f->at;
            for (uint32_t k = 0; k < f->slots; k++)
                slots[k] = texts[k] != INTERNER_NONE ? rows[texts[k]]
                           : k == 0                  ? VALUE_MISSING
                                                     : SLOT_EMPTY;
        }
        free(rows);
    }
    return 0;
}

static void encode_numbers(struct builder *b)
{
    uint32_t n = b->schema->n_numbers;
    for (uint32_t to = 0; to < b->from->n_requests; to++) {
        const float *numbers = b->from->numbers + (size_t)b->order[to] * n;
        float *numeric = b->out->numeric + (size_t)to * 2 * n;
        for (uint32_t i = 0; i < n; i++)
            encoder_number(b->out->encoder, i, numbers[i], &numeric[i], &numeric[n + i]);
    }
}

static int encode_pairs(struct builder *b, struct slice *slice, uint32_t first, uint32_t n)
{
    const struct collected *from = b->from;
    uint64_t n_pairs = 0;
    for (uint32_t i = first; i < first + n; i++)
        n_pairs += from->first_pair[b->order[i] + 1] - from->first_pair[b->order[i]];
    uint32_t *request = malloc((n_pairs + 1) * sizeof(*request));
    uint16_t *dsp = malloc((n_pairs + 1) * sizeof(*dsp));
    uint8_t *label = malloc((n_pairs + 1) * sizeof(*label));
    float *weight = malloc((n_pairs + 1) * sizeof(*weight)), *price = NULL;
    struct examples *e = &slice->examples;
    *e = (struct examples){
        .n_requests = n,
        .slots = b->out->slots + (size_t)first * b->schema->n_slots,
        .numeric = b->out->numeric + (size_t)first * 2 * b->schema->n_numbers,
        .request = request,
        .dsp = dsp,
        .label = label,
        .weight = weight,
    };
    if (slice == &b->out->validation)
        slice->price = price = malloc((n_pairs + 1) * sizeof(*price));
    if (request == NULL || dsp == NULL || label == NULL || weight == NULL ||
        (price == NULL && slice == &b->out->validation))
        return no_memory(b->err);
    uint64_t at = 0;
    for (uint32_t i = first; i < first + n; i++) {
        uint32_t r = b->order[i];
        for (uint64_t k = from->first_pair[r]; k < from->first_pair[r + 1]; k++) {
            const struct collected_pair *pair = &from->pairs[k];
            if (b->dsp_map[pair->dsp] == DSP_DROPPED) {
                b->out->pairs_dropped++;
                continue;
            }
            request[at] = i - first;
            dsp[at] = b->dsp_map[pair->dsp];
            label[at] = pair->label;
            weight[at] = pair->weight;
            if (price != NULL)
                price[at] = pair->price;
            slice->bids += pair->label;
            at++;
        }
    }
    e->n_pairs = at;
    return 0;
}

/* Days of the earlier slice, counted back from its end. Fewer than two are none. */
static int number_days(struct builder *b)
{
    struct slice *train = &b->out->train;
    int64_t n = 1 + (train->to_ms - train->from_ms) / DAY_MS;
    n = n < DAYS_MAX ? n : DAYS_MAX;
    if (n < 2)
        return 0;
    uint16_t *day = malloc((size_t)b->n_train * sizeof(*day));
    if (day == NULL)
        return no_memory(b->err);
    for (uint32_t i = 0; i < b->n_train; i++) {
        int64_t age = (train->to_ms - b->from->ts_ms[b->order[i]]) / DAY_MS;
        day[i] = (uint16_t)(age < n ? n - 1 - age : 0);
    }
    train->examples.day = day;
    train->examples.n_days = (uint32_t)n;
    return 0;
}

static int check_labels(const struct slices *s, struct error *err)
{
    const struct slice *train = &s->train;
    if (train->bids == 0 || train->bids == train->examples.n_pairs)
        return error_set(err, "training: the training slice has %llu labels and %s among them",
                         (unsigned long long)train->examples.n_pairs,
                         train->bids == 0 ? "no bid" : "nothing but bids");
    if (s->validation.examples.n_requests > 0 && s->validation.examples.n_pairs == 0)
        return error_set(err, "training: the validation slice has no label of a DSP that was "
                              "trained");
    return 0;
}

int slices_create(struct slices *s, const struct schema *schema, const struct collected *from,
                  double validation_share, struct error *err)
{
    *s = (struct slices){0};
    struct builder b = {.out = s, .schema = schema, .from = from, .err = err};
    int status = -1;
    if (from->n_requests == 0)
        return error_set(err, "training: no request with a label (an outcome of bid or no_bid)");
    if (order_by_time(&b) != 0 || cut(&b, validation_share) != 0 || choose_dsps(&b) != 0 ||
        learn_encoder(&b) != 0)
        goto done;
    size_t n = from->n_requests;
    s->slots = malloc((n * schema->n_slots + 1) * sizeof(*s->slots));
    s->numeric = malloc((n * 2 * schema->n_numbers + 1) * sizeof(*s->numeric));
    if (s->slots == NULL || s->numeric == NULL) {
        no_memory(err);
        goto done;
    }
    encode_numbers(&b);
    if (encode_texts(&b) != 0 || encode_pairs(&b, &s->train, 0, b.n_train) != 0 ||
        encode_pairs(&b, &s->validation, b.n_train, from->n_requests - b.n_train) != 0 ||
        number_days(&b) != 0)
        goto done;
    status = check_labels(s, err);
done:
    free(b.order);
    free(b.dsp_map);
    if (status != 0)
        slices_dispose(s);
    return status;
}

static void slice_dispose(struct slice *slice)
{
    free((void *)slice->examples.request);
    free((void *)slice->examples.dsp);
    free((void *)slice->examples.label);
    free((void *)slice->examples.weight);
    free((void *)slice->examples.day);
    free(slice->price);
}

void slices_dispose(struct slices *s)
{
    slice_dispose(&s->train);
    slice_dispose(&s->validation);
    free(s->slots);
    free(s->numeric);
    interner_destroy(s->dsps);
    encoder_destroy(s->encoder);
    *s = (struct slices){0};
}

/* ---- rows without evidence ---- */

static void average_rows(float *table, const uint64_t *uses, uint32_t values, uint32_t width)
{
    uint64_t total = 0;
    for (uint32_t v = 0; v < values; v++)
        total += uses[v];
    if (total == 0)
        return;
    for (uint32_t k = 0; k < width; k++) {
        double sum = 0;
        for (uint32_t v = 0; v < values; v++)
            sum += (double)uses[v] * (double)table[(size_t)v * width + k];
        for (uint32_t v = 0; v < values; v++)
            if (uses[v] == 0)
                table[(size_t)v * width + k] = (float)(sum / (double)total);
    }
}

int slices_settle_unseen_rows(const struct slices *s, struct network *n)
{
    const struct examples *e = &s->train.examples;
    uint32_t row = network_shape_slots(&n->shape), at = 0;
    for (uint32_t f = 0; f < n->shape.n_features; f++) {
        const struct network_feature *feature = &n->shape.features[f];
        if (f == n->shape.dsp_feature)
            continue;
        uint64_t *uses = calloc(feature->values, sizeof(*uses));
        if (uses == NULL)
            return -1;
        for (uint32_t r = 0; r < e->n_requests; r++)
            for (uint32_t k = 0; k < feature->slots; k++) {
                uint32_t value = e->slots[(size_t)r * row + at + k];
                if (value != SLOT_EMPTY)
                    uses[value]++;
            }
        average_rows(n->embedding[f], uses, feature->values, feature->dim);
        if (n->wide[f] != NULL)
            average_rows(n->wide[f], uses, feature->values, n->shape.n_dsps);
        free(uses);
        at += feature->slots;
    }
    return 0;
}
