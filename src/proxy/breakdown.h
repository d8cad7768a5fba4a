/* Where a filter loses bids: recall by the values of one feature, over all DSPs, the surely worst
 * first. One thread. */
#ifndef PROXY_BREAKDOWN_H
#define PROXY_BREAKDOWN_H

#include <jansson.h>

#include "proxy/labelled.h"

struct breakdown;
/* by: country, size, domain, hour, the name of a feature of the model, or of a source that features
 * are made of. -1 in *err names what there is. */
struct breakdown *breakdown_create(const char *by, const struct predictor *model,
                                   struct error *err);
void breakdown_destroy(struct breakdown *b);

/* thresholds: [the model's DSPs], NAN = everything is sent. A call counts under each value of a
 * feature that has several. */
void breakdown_add(struct breakdown *b, const struct labelled_record *record,
                   const struct labelled_score *scores, uint32_t n, const float *thresholds,
                   enum recall_of of);

/* The first `top` values; those without a bid are never among them. */
void breakdown_print(const struct breakdown *b, uint32_t top);
json_t *breakdown_json(const struct breakdown *b, uint32_t top);

#endif
