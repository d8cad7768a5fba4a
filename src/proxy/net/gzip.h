/* Compresses bodies of requests as gzip, fast rather than small, into its own buffer. One thread;
 * state and buffer are reused from body to body. */
#ifndef PROXY_NET_GZIP_H
#define PROXY_NET_GZIP_H

#include <stdint.h>

#include "bytes.h"

struct gzip;
struct gzip *gzip_create(void);
void gzip_destroy(struct gzip *g);

/* One member that holds the pieces in a row; valid until the next use. */
struct bytes gzip_pieces(struct gzip *g, const struct bytes *pieces, uint32_t n);

#endif
