/* Inflates gzip bodies into its own buffer, never beyond a limit. One thread; reused from body to
 * body. */
#ifndef PROXY_NET_GUNZIP_H
#define PROXY_NET_GUNZIP_H

#include "bytes.h"

struct gunzip;
struct gunzip *gunzip_create(void);
void gunzip_destroy(struct gunzip *g);

enum gunzip_result { GUNZIP_OK, GUNZIP_MALFORMED, GUNZIP_TOO_LARGE };
/* Several members in a row are one body. *out is valid until the next use. */
enum gunzip_result gunzip_body(struct gunzip *g, struct bytes in, size_t bytes_max,
                               struct bytes *out);

#endif
