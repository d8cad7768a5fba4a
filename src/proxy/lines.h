/* The lines of one file: plain text, zstd or gzip, told apart by their first bytes. Made for files
 * that a crash cut: everything that can be decoded is handed out, and what was cut is said. One
 * thread. */
#ifndef PROXY_LINES_H
#define PROXY_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"

enum { LINES_BYTES_MAX = 16 << 20 }; /* of one line */

struct lines;
struct lines *lines_open(const char *path /* "-" = standard input */, struct error *err);
void lines_close(struct lines *l);

/* 1 = a line without its '\n', valid until the next call; *ended says whether it had one (the last
 * may not). 0 = the end. -1 = *err names file and line: a line that is too long (reading may go on
 * behind it), or a fault of the disk or the compression (then the end follows). */
int lines_next(struct lines *l, struct bytes *line, bool *ended, struct error *err);
uint64_t lines_number(const struct lines *l);     /* of the line last handed out; from 1 */
uint64_t lines_bytes_read(const struct lines *l); /* of the file, before decompression */
bool lines_cut(const struct lines *l);            /* at the end: the compressed data stops midway */

#endif
