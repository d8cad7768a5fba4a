/* Hard rules: what a DSP's contract excludes, whatever the model thinks. They run before the model.
 */
#ifndef FILTER_RULES_H
#define FILTER_RULES_H

#include "error.h"
#include "filter/bid_request.h"
#include "filter/geo.h"

enum rule_result {
    RULE_PASS,
    RULE_COUNTRY,
    RULE_MEDIA,
    RULE_SIZE,
    RULE_USER_ID, /* the DSP wants one; the request has none */
    RULE_CONSENT, /* GDPR applies and there is no consent string, or coppa is set and the DSP
                     refuses it */
    RULE_CHANNEL,
    RULE_DEALS,
    RULE_FLOOR,
    RULE_DOMAIN,
    RULE_SEAT,     /* wseat/bseat of the request exclude all of the DSP's seats */
    RULE_CURRENCY, /* cur of the request has none of the DSP's currencies */
    RULE_TMAX, /* the time that is left is less than it ever needs; found by the proxy, not here */
    RULE_COUNT
};
const char *rule_name(enum rule_result r); /* "country", ... */

enum deals_rule { DEALS_ANY, DEALS_REQUIRED, DEALS_EXCLUDED };

struct string_set; /* sorted or hashed, immutable */
struct string_set *string_set_create(const char *const *strings, size_t n);
/* One a line; '#' starts a comment; lower-cased. */
struct string_set *string_set_load(const char *path, struct error *err);
bool string_set_has(const struct string_set *s, struct bytes b);
void string_set_destroy(struct string_set *s);

/* Empty or NULL = no such rule. Owned by whoever filled it. */
struct dsp_rules {
    struct string_set *countries; /* alpha-3; the request's country must be among them */
    uint8_t media;                /* bits; an imp must offer one of them; 0 = any */
    uint8_t channels;             /* bit 1 << enum channel; 0 = any */
    struct size *sizes;           /* an imp must offer one of them, or no size at all */
    size_t n_sizes;
    bool needs_user_id, needs_consent, refuses_coppa;
    enum deals_rule deals;
    int64_t floor_min_micros,
        floor_max_micros; /* of the lowest imp floor, request currency; max 0 = none */
    struct string_set *domains,
        *domains_blocked;          /* site domain or app bundle; a parent domain matches too */
    struct string_set *seats;      /* seats the DSP buys with */
    struct string_set *currencies; /* upper-case ISO 4217 */
};
void dsp_rules_dispose(struct dsp_rules *rules);

enum rule_result dsp_rules_check(const struct dsp_rules *rules, const struct bid_request *r,
                                 const struct geo_place *place);

#endif
