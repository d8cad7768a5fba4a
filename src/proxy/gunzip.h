/* Inflates gzip bodies under an output cap. One thread; the state is kept, so that a call allocates
 * only from the arena. */
#ifndef PROXY_GUNZIP_H
#define PROXY_GUNZIP_H

#include "arena.h"
#include "bytes.h"

struct gunzip;
struct gunzip *gunzip_create(void); /* NULL: no memory */
void gunzip_destroy(struct gunzip *g);

enum gunzip_result { GUNZIP_OK, GUNZIP_BROKEN, GUNZIP_TOO_LARGE };
/* The whole of one gzip member and nothing behind it. */
enum gunzip_result gunzip_run(struct gunzip *g, struct bytes in, size_t bytes_max,
                              struct arena *arena, struct bytes *out);

#endif
