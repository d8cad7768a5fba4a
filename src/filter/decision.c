/* The order of the reasons is the order in which a call is settled: a hard rule, the filter
 * switched off, everything that makes the filter blind (then it fails open), and only then the
 * score. What must be scored is gathered first, so that the model sees one batch a request. */
#include "filter/decision.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Of the exploration draw; recorded decisions depend on it, so it never changes. */
#define EXPLORE_SEED 0x6269647369657665u

struct filter_dsp {
    const struct filter_settings *settings;
    uint64_t name_hash;
    int32_t model_dsp; /* -1: the model does not know it, or there is no model */
    float threshold;   /* NAN: none */
};

struct filter {
    const struct predictor *model;
    const struct geo *geo;
    uint32_t n_dsps;
    struct filter_dsp dsps[];
};

struct filter_scratch {
    struct predictor_scratch *predictor; /* NULL without a model */
    uint32_t *position;                  /* [n_dsps] which DSP a batch's entry is */
    uint32_t *model_dsp;                 /* [n_dsps] the batch */
    float *p;                            /* [n_dsps] */
};

const char *why_name(enum why w)
{
    static const char *const NAMES[WHY_COUNT] = {
        [WHY_SCORE] = "score",
        [WHY_EXPLORE] = "explore",
        [WHY_FAIL_OPEN_NO_MODEL] = "fail_open:no_model",
        [WHY_FAIL_OPEN_STALE_MODEL] = "fail_open:stale_model",
        [WHY_FAIL_OPEN_UNKNOWN_DSP] = "fail_open:unknown_dsp",
        [WHY_FAIL_OPEN_NO_CURVE] = "fail_open:no_curve",
        [WHY_FAIL_OPEN_SCORE] = "fail_open:score",
        [WHY_OFF] = "off",
        [WHY_SHADOW] = "shadow",
        [WHY_BELOW_THRESHOLD] = "below_threshold",
        [WHY_QPS] = "qps",
        [WHY_HEALTH] = "health",
        [WHY_OVERLOAD] = "overload",
        [WHY_SECONDARY] = "secondary",
        [WHY_RULE_FIRST + RULE_PASS] = "rule:pass", /* never a reason */
        [WHY_RULE_FIRST + RULE_COUNTRY] = "rule:country",
        [WHY_RULE_FIRST + RULE_MEDIA] = "rule:media",
        [WHY_RULE_FIRST + RULE_SIZE] = "rule:size",
        [WHY_RULE_FIRST + RULE_USER_ID] = "rule:user_id",
        [WHY_RULE_FIRST + RULE_CONSENT] = "rule:consent",
        [WHY_RULE_FIRST + RULE_CHANNEL] = "rule:channel",
        [WHY_RULE_FIRST + RULE_DEALS] = "rule:deals",
        [WHY_RULE_FIRST + RULE_FLOOR] = "rule:floor",
        [WHY_RULE_FIRST + RULE_DOMAIN] = "rule:domain",
        [WHY_RULE_FIRST + RULE_SEAT] = "rule:seat",
        [WHY_RULE_FIRST + RULE_CURRENCY] = "rule:currency",
        [WHY_RULE_FIRST + RULE_TMAX] = "rule:tmax",
    };
    assert((unsigned)w < WHY_COUNT);
    return NAMES[w];
}

/* A configured threshold is taken as it is, 0 too. */
static float threshold_of(const struct predictor *model, int32_t model_dsp,
                          const struct filter_settings *settings)
{
    if (model_dsp < 0)
        return NAN;
    if (!isnan(settings->threshold))
        return (float)settings->threshold;
    return predictor_threshold_of(model, (uint32_t)model_dsp, settings->recall_target,
                                  settings->recall_of);
}

struct filter *filter_create(const struct predictor *model, const struct geo *geo,
                             const char *const *dsp_names, const struct filter_settings *settings,
                             uint32_t n_dsps, struct error *err)
{
    struct filter *f = calloc(1, sizeof(*f) + n_dsps * sizeof(f->dsps[0]));
    if (f == NULL) {
        error_set(err, "filter: out of memory");
        return NULL;
    }
    f->model = model;
    f->geo = geo;
    f->n_dsps = n_dsps;
    for (uint32_t i = 0; i < n_dsps; i++) {
        struct filter_dsp *d = &f->dsps[i];
        d->settings = &settings[i];
        d->name_hash = hash_bytes(bytes_of(dsp_names[i]), EXPLORE_SEED);
        d->model_dsp = model != NULL ? predictor_find_dsp(model, dsp_names[i]) : -1;
        d->threshold = threshold_of(model, d->model_dsp, &settings[i]);
    }
    return f;
}

void filter_destroy(struct filter *f)
{
    free(f);
}

float filter_threshold(const struct filter *f, uint32_t dsp)
{
    assert(dsp < f->n_dsps);
    return f->dsps[dsp].settings->mode == FILTER_OFF ? NAN : f->dsps[dsp].threshold;
}

const char *filter_not_filtered(const struct filter *f, uint32_t dsp)
{
    const struct filter_dsp *d = &f->dsps[dsp];
    if (d->settings->mode == FILTER_OFF || !isnan(d->threshold))
        return NULL;
    if (f->model == NULL)
        return "no model";
    if (d->model_dsp < 0)
        return "the model does not know it";
    return predictor_not_filtered(f->model, (uint32_t)d->model_dsp, d->settings->recall_target,
                                  d->settings->recall_of);
}

bool filter_lacks_value(const struct filter *f, uint32_t dsp)
{
    const struct filter_dsp *d = &f->dsps[dsp];
    return d->settings->mode != FILTER_OFF && d->settings->recall_of == RECALL_OF_VALUE &&
           isnan(d->settings->threshold) && d->model_dsp >= 0 &&
           predictor_curve(f->model, (uint32_t)d->model_dsp) != NULL &&
           predictor_curve_of(f->model, (uint32_t)d->model_dsp, RECALL_OF_VALUE) == NULL;
}

struct filter_scratch *filter_scratch_create(const struct filter *f)
{
    struct filter_scratch *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->position = malloc((f->n_dsps + 1) * sizeof(*s->position));
    s->model_dsp = malloc((f->n_dsps + 1) * sizeof(*s->model_dsp));
    s->p = malloc((f->n_dsps + 1) * sizeof(*s->p));
    if (f->model != NULL)
        s->predictor = predictor_scratch_create(f->model);
    if (s->position == NULL || s->model_dsp == NULL || s->p == NULL ||
        (f->model != NULL && s->predictor == NULL)) {
        filter_scratch_destroy(s);
        return NULL;
    }
    return s;
}

void filter_scratch_destroy(struct filter_scratch *s)
{
    if (s == NULL)
        return;
    predictor_scratch_destroy(s->predictor);
    free(s->position);
    free(s->model_dsp);
    free(s->p);
    free(s);
}

/* What can be said without a score. True when the model is to be asked. */
static bool settle_without_score(const struct filter *f, const struct filter_dsp *d,
                                 const struct bid_request *r, const struct geo_place *place,
                                 bool model_stale, struct decision *out)
{
    *out = (struct decision){.p = NAN, .threshold = NAN, .propensity = 1, .send = true};
    enum rule_result rule = dsp_rules_check(&d->settings->rules, r, place);
    if (rule != RULE_PASS) {
        out->send = false;
        out->why = (uint8_t)(WHY_RULE_FIRST + rule);
    } else if (d->settings->mode == FILTER_OFF) {
        out->why = WHY_OFF;
    } else if (f->model == NULL) {
        out->why = WHY_FAIL_OPEN_NO_MODEL;
    } else if (model_stale) {
        out->why = WHY_FAIL_OPEN_STALE_MODEL;
    } else if (d->model_dsp < 0) {
        out->why = WHY_FAIL_OPEN_UNKNOWN_DSP;
    } else {
        return true; /* without a threshold too: its score is worth recording */
    }
    return false;
}

static void settle_by_score(const struct filter_dsp *d, const struct bid_request *r, float p,
                            struct decision *out)
{
    out->p = p;
    out->threshold = d->threshold;
    if (isnan(d->threshold)) {
        out->why = WHY_FAIL_OPEN_NO_CURVE;
    } else if (!isfinite(p)) {
        out->p = NAN;
        out->why = WHY_FAIL_OPEN_SCORE;
    } else if (p >= d->threshold) {
        out->why = WHY_SCORE;
    } else if (d->settings->mode == FILTER_SHADOW) {
        out->why = WHY_SHADOW; /* all is sent, so there is nothing to explore */
    } else {
        double draw = hash_unit(hash_bytes(r->id, d->name_hash));
        out->send = draw < d->settings->explore;
        out->propensity = (float)d->settings->explore;
        out->why = out->send ? WHY_EXPLORE : WHY_BELOW_THRESHOLD;
    }
}

void filter_decide(const struct filter *f, struct filter_scratch *scratch,
                   const struct bid_request *r, int64_t ts_ms, bool model_stale,
                   struct arena *arena, struct geo_place *place, struct decision *out)
{
    uint32_t n = 0;
    geo_locate(f->geo, r, place);
    for (uint32_t i = 0; i < f->n_dsps; i++) {
        const struct filter_dsp *d = &f->dsps[i];
        if (!settle_without_score(f, d, r, place, model_stale, &out[i]))
            continue;
        scratch->position[n] = i;
        scratch->model_dsp[n] = (uint32_t)d->model_dsp;
        n++;
    }
    if (n == 0)
        return;
    predictor_score(f->model, scratch->predictor, r, place, ts_ms, arena, scratch->model_dsp, n,
                    scratch->p);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = scratch->position[k];
        settle_by_score(&f->dsps[i], r, scratch->p[k], &out[i]);
    }
}
