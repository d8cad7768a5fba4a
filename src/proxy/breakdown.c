/* The feature is a schema of its own with nothing else in it, so that whatever a model may read can
 * be asked for here. "Surely worst": by the upper bound of the recall, because a value with two
 * bids of which one was lost says next to nothing. */
#include "proxy/breakdown.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter/feature_source.h"
#include "filter/interner.h"

static const double CONFIDENCE = 0.95;

struct breakdown {
    char by[64];
    struct schema *schema;
    bool number;
    struct arena arena;
    struct interner *values;
    struct tally *tallies; /* [count of values] */
    uint32_t room;
};

static const struct feature_source *source_of(const char *by, const struct predictor *model)
{
    static const char *const alias[][2] = {{"country", "geo.country"},
                                           {"size", "imp.size"},
                                           {"domain", "property.domain"},
                                           {"hour", "time.hour"}};
    const char *name = predictor_feature_source(model, by);
    for (size_t i = 0; name == NULL && i < sizeof(alias) / sizeof(alias[0]); i++)
        if (strcmp(by, alias[i][0]) == 0)
            name = alias[i][1];
    return feature_source_find(name != NULL ? name : by);
}

struct breakdown *breakdown_create(const char *by, const struct predictor *model, struct error *err)
{
    const struct feature_source *source = source_of(by, model);
    if (source == NULL || source->kind == SOURCE_DSP ||
        strlen(by) >= sizeof(((struct breakdown *)0)->by)) {
        error_set(err,
                  "--by %s: give country, size, domain, hour, a feature of the model ('bidsieve "
                  "inspect' lists them) or a source of docs/features.md",
                  by);
        return NULL;
    }
    char json[512];
    snprintf(json, sizeof(json),
             "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\",\"dim\":1},{\"name\":\"by\","
             "\"source\":\"%s\"%s}]}",
             source->name, source->kind == SOURCE_TEXTS ? ",\"slots\":4" : "");
    struct breakdown *b = calloc(1, sizeof(*b));
    if (b == NULL || (b->values = interner_create()) == NULL) {
        error_set(err, "--by %s: out of memory", by);
        goto fail;
    }
    snprintf(b->by, sizeof(b->by), "%s", by);
    b->number = source->kind == SOURCE_NUMBER;
    b->schema = schema_parse(bytes_of(json), "--by", err);
    if (b->schema != NULL)
        return b;
fail:
    breakdown_destroy(b);
    return NULL;
}

void breakdown_destroy(struct breakdown *b)
{
    if (b == NULL)
        return;
    schema_destroy(b->schema);
    interner_destroy(b->values);
    arena_dispose(&b->arena);
    free(b->tallies);
    free(b);
}

/* ---- counting ---- */

/* A number's band: its first digit, as in 0.3 or 200. */
static struct bytes band(double x, char to[32])
{
    if (!isfinite(x))
        return (struct bytes){NULL, 0};
    double unit = x != 0 ? pow(10, floor(log10(fabs(x)) + 1e-9)) : 1;
    snprintf(to, 32, "%.6g", trunc(x / unit + (x < 0 ? -1e-9 : 1e-9)) * unit);
    return bytes_of(to);
}

static struct tally *tally_of(struct breakdown *b, struct bytes value)
{
    uint32_t at = interner_add(b->values, value.len > 0 ? value : bytes_of("(missing)"));
    if (at == INTERNER_NONE)
        abort();
    if (at >= b->room) {
        uint32_t room = b->room == 0 ? 64 : b->room * 2;
        b->tallies = reallocarray(b->tallies, room, sizeof(*b->tallies));
        if (b->tallies == NULL)
            abort();
        memset(b->tallies + b->room, 0, (room - b->room) * sizeof(*b->tallies));
        b->room = room;
    }
    return &b->tallies[at];
}

void breakdown_add(struct breakdown *b, const struct labelled_record *record,
                   const struct labelled_score *scores, uint32_t n, const float *thresholds,
                   enum recall_of of)
{
    struct raw_features raw;
    char text[32];
    arena_reset(&b->arena, 1 << 16);
    features_extract(b->schema, &record->request, &record->place, record->ts_ms, &b->arena, &raw);
    struct bytes number = b->number ? band(raw.numbers[0], text) : (struct bytes){NULL, 0};
    const struct bytes *values = b->number ? &number : raw.texts;
    uint32_t n_values = b->number ? 1 : schema_slots(b->schema);
    for (uint32_t v = 0; v < n_values && (v == 0 || values[v].len > 0); v++) {
        struct tally *t = tally_of(b, values[v]);
        for (uint32_t i = 0; i < n; i++)
            tally_add(t, scores[i].p, !(scores[i].p < thresholds[scores[i].dsp]),
                      scores[i].call->bid, scores[i].call->weight,
                      of == RECALL_OF_VALUE ? scores[i].call->price : 1);
    }
}

/* ---- telling ---- */

struct row {
    uint32_t value;
    struct tally_result result;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->result.recall_high != y->result.recall_high)
        return x->result.recall_high < y->result.recall_high ? -1 : 1;
    if (x->result.recall != y->result.recall)
        return x->result.recall < y->result.recall ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* Sorted; the caller frees. */
static struct row *rows(const struct breakdown *b, uint32_t *n)
{
    uint32_t values = interner_count(b->values);
    struct row *all = malloc(((size_t)values + 1) * sizeof(*all));
    *n = 0;
    for (uint32_t v = 0; all != NULL && v < values; v++)
        if (b->tallies[v].bids > 0)
            all[(*n)++] = (struct row){v, tally_result(&b->tallies[v], CONFIDENCE)};
    if (all != NULL)
        qsort(all, *n, sizeof(*all), compare_rows);
    return all;
}

void breakdown_print(const struct breakdown *b, uint32_t top)
{
    uint32_t n;
    struct row *all = rows(b, &n);
    printf("\nby %s: %u values, %u of them with bids; those whose recall is surely the worst\n",
           b->by, interner_count(b->values), n);
    printf("%-24s %9s %7s  %-22s %s\n", b->by, "calls", "bids", "recall [95%]", "withheld");
    for (uint32_t i = 0; all != NULL && i < n && i < top; i++) {
        const struct tally *t = &b->tallies[all[i].value];
        struct bytes value = interner_text(b->values, all[i].value);
        const struct tally_result *r = &all[i].result;
        printf("%-24.*s %9" PRIu64 " %7" PRIu64 "  %.3f [%.3f, %.3f]  %5.1f%%\n", (int)value.len,
               value.base, t->calls, t->bids, r->recall, r->recall_low, r->recall_high,
               100 * r->withheld);
    }
    free(all);
}

json_t *breakdown_json(const struct breakdown *b, uint32_t top)
{
    uint32_t n;
    struct row *all = rows(b, &n);
    json_t *slices = json_array();
    for (uint32_t i = 0; all != NULL && i < n && i < top; i++) {
        const struct tally *t = &b->tallies[all[i].value];
        struct bytes value = interner_text(b->values, all[i].value);
        const struct tally_result *r = &all[i].result;
        json_array_append_new(slices,
                              json_pack("{s:o,s:I,s:I,s:f,s:f,s:f,s:f}", "value",
                                        json_stringn_nocheck(value.base, value.len), "calls",
                                        (json_int_t)t->calls, "bids", (json_int_t)t->bids, "recall",
                                        r->recall, "recall_low", r->recall_low, "recall_high",
                                        r->recall_high, "withheld", r->withheld));
    }
    free(all);
    return json_pack("{s:s,s:I,s:I,s:o}", "by", b->by, "values",
                     (json_int_t)interner_count(b->values), "values_with_bids", (json_int_t)n,
                     "slices", slices);
}
