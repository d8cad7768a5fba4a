/* The property an ad is shown in, by name: rules and features must mean the same domain. */
#ifndef FILTER_PROPERTY_H
#define FILTER_PROPERTY_H

#include "filter/bid_request.h"

enum { PROPERTY_DOMAIN_MAX = 255 };

/* site (or dooh): its domain, else the host of its page; app: its bundle, else its domain. In lower
 * case, "www." and a port or trailing dot removed. Written to buffer; {NULL, 0} when there is none
 * or it is too long to be one. */
struct bytes property_domain(const struct bid_request *r, char buffer[PROPERTY_DOMAIN_MAX]);

/* The first directory of a URL's path ("news" of "https://a.com/news/x.html"), without query;
 * {NULL, 0} when there is none. */
struct bytes url_first_directory(struct bytes url);

#endif
