/* The decision for every DSP of one request: rules, then the model in one batch, then threshold,
 * then exploration. Every failure of the filter itself fails open, and says so in `why`. Caps and
 * health come later, in the proxy, and overwrite `why`. */
#ifndef FILTER_DECISION_H
#define FILTER_DECISION_H

#include "filter/predictor.h"
#include "filter/rules.h"

/* The capture record's closed set. */
enum why {
    WHY_SCORE,   /* sent: p >= threshold */
    WHY_EXPLORE, /* sent: below the threshold, drawn with propensity `explore` */
    WHY_FAIL_OPEN_NO_MODEL,
    WHY_FAIL_OPEN_STALE_MODEL,
    WHY_FAIL_OPEN_UNKNOWN_DSP, /* the model has never seen it */
    WHY_FAIL_OPEN_NO_CURVE,    /* no evidence for a threshold at this recall target */
    WHY_FAIL_OPEN_SCORE,       /* not a finite score */
    WHY_OFF,
    WHY_SHADOW,          /* sent, though a filter that is "on" would have withheld it */
    WHY_BELOW_THRESHOLD, /* withheld */
    WHY_QPS,
    WHY_HEALTH,
    WHY_OVERLOAD,
    WHY_SECONDARY,  /* not called: the primaries brought a bid, so that it was not needed */
    WHY_RULE_FIRST, /* WHY_RULE_FIRST + enum rule_result */
    WHY_COUNT = WHY_RULE_FIRST + RULE_COUNT
};
const char *why_name(enum why w); /* "fail_open:no_model", "rule:country", ... */

enum filter_mode { FILTER_ON, FILTER_SHADOW, FILTER_OFF };

/* One DSP's settings, from the config. */
struct filter_settings {
    enum filter_mode mode;
    double recall_target; /* (0, 1] */
    enum recall_of recall_of;
    double threshold; /* NAN = from the recall target */
    double explore;   /* [0, 1] */
    struct dsp_rules rules;
};

struct decision {
    float p;          /* NAN = not scored */
    float threshold;  /* NAN = none */
    float propensity; /* of being sent; 1 unless exploration was in play (then explore, sent or not)
                       */
    bool send;
    uint8_t why; /* enum why */
};

/* Immutable; borrows everything it is given. */
struct filter;
struct filter *filter_create(const struct predictor *model /* or NULL */, const struct geo *geo,
                             const char *const *dsp_names, const struct filter_settings *settings,
                             uint32_t n_dsps, struct error *err);
void filter_destroy(struct filter *f);
/* The threshold in force, NAN when it fails open; for /status. */
float filter_threshold(const struct filter *f, uint32_t dsp);
/* Why a DSP that is to be filtered is sent every call, in a few words; NULL when it is filtered, or
 * switched off. For /status and `check`. */
const char *filter_not_filtered(const struct filter *f, uint32_t dsp);
/* Recall of value is asked for, but the model has only the curve of bids, which is used. */
bool filter_lacks_value(const struct filter *f, uint32_t dsp);

struct filter_scratch; /* per thread and filter */
struct filter_scratch *filter_scratch_create(const struct filter *f);
void filter_scratch_destroy(struct filter_scratch *s);

/* out[n_dsps]. place gets where the request comes from. Exploration draws from a hash of (auction
 * id, DSP name), so that a replay decides alike. model_stale: may become true while serving, hence
 * an argument. */
void filter_decide(const struct filter *f, struct filter_scratch *scratch,
                   const struct bid_request *r, int64_t ts_ms, bool model_stale,
                   struct arena *arena, struct geo_place *place, struct decision *out);

#endif
