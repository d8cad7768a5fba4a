/* The JSON header of a safetensors file: a parser of just that form, nothing else.
 *
 *   {"__metadata__": {"key": "value", ...},
 *    "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}   then only spaces
 *
 * Every nesting level is fixed by the form, so there is no recursion to exhaust. */
#ifndef MODEL_SAFETENSORS_HEADER_H
#define MODEL_SAFETENSORS_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"
#include "model/safetensors.h"

enum { HEADER_TENSORS_MAX = 4096, HEADER_METADATA_MAX = 4096, HEADER_BYTES_MAX = 64 << 20 };

struct header_tensor {
    struct tensor tensor; /* without data and bytes */
    uint32_t item_bytes;
    uint64_t begin, end; /* into the data, as the file says: begin <= end, and they fit the shape */
};

struct header_entry {
    const char *key; /* NUL-terminated */
    struct bytes value;
};

struct header {
    struct header_tensor
        *tensors; /* in the file's order of data_offsets after header_check_layout */
    size_t n_tensors;
    struct header_entry *metadata;
    size_t n_metadata;
    char *texts; /* all names, keys and values, unescaped */
};

/* `where` is the path, for the error line. On -1 there is nothing to dispose. */
int header_parse(struct header *h, struct bytes text, const char *where, struct error *err);
void header_dispose(struct header *h);

/* Sorts the tensors by offset: they must cover exactly data_bytes, without holes or overlaps, each
 * aligned to its dtype when the data starts at data_start of a page-aligned map. */
int header_check_layout(struct header *h, uint64_t data_start, uint64_t data_bytes,
                        const char *where, struct error *err);

/* The length of one UTF-8 sequence at the front of b, checked (no surrogates, no overlongs); 0 =
 * invalid. */
size_t header_utf8_length(struct bytes b);

#endif
