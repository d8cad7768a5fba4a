/* Exchange rates, from a file that is reloaded with the config:
 * {"base":"USD","rates":{"EUR":0.92,...}}: one unit of base buys so many of the other. */
#ifndef PROXY_CURRENCY_H
#define PROXY_CURRENCY_H

#include "bytes.h"
#include "error.h"

#include <stdint.h>

struct currency_rates; /* immutable */
struct currency_rates *currency_load(const char *path, struct error *err);
void currency_destroy(struct currency_rates *c);
/* Three letters each, in either case, and the same ones. */
bool currency_same(struct bytes a, struct bytes b);
/* False if a rate is missing; same currency needs none, and rates may be NULL. Rounds to the
 * nearest micro. */
bool currency_convert(const struct currency_rates *c, int64_t micros, struct bytes from,
                      struct bytes to, int64_t *out);

#endif
