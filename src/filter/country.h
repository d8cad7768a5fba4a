/* Country codes: OpenRTB writes ISO 3166-1 alpha-3, databases write alpha-2, strangers write either
 * in any case. Any thread. */
#ifndef FILTER_COUNTRY_H
#define FILTER_COUNTRY_H

#include "bytes.h"

/* code: alpha-2 or alpha-3, any case; "UK" counts as GB. Static, upper-case text; {NULL, 0} when it
 * is no country. */
struct bytes country_alpha3(struct bytes code);
struct bytes country_alpha2(struct bytes code);

#endif
