/* safetensors files (https://github.com/huggingface/safetensors): 8 bytes little-endian header
 * length, a JSON header, raw tensors. Mapped read-only; every offset, shape and dtype is checked
 * before use, so a hostile file is refused with one clear line. The header's JSON is read by a
 * small parser of just that form. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "error.h"
#include "model/network.h"

enum tensor_dtype { TENSOR_F32, TENSOR_U8, TENSOR_I32, TENSOR_OTHER };

struct tensor {
    const char *name; /* NUL-terminated */
    enum tensor_dtype dtype;
    uint32_t rank; /* 0..4 */
    uint64_t shape[4];
    const void *data; /* into the map, aligned to the dtype */
    size_t bytes;
};

struct safetensors;
struct safetensors *safetensors_open(const char *path, struct error *err);
void safetensors_close(struct safetensors *f);
size_t safetensors_count(const struct safetensors *f);
const struct tensor *safetensors_at(const struct safetensors *f, size_t i);
const struct tensor *safetensors_find(const struct safetensors *f,
                                      const char *name); /* NULL if absent */
/* A value of __metadata__, unescaped; {NULL, 0} if absent. Lives as long as f. */
struct bytes safetensors_metadata(const struct safetensors *f, const char *key);
/* hash_bytes over all tensor data in file order. */
uint64_t safetensors_checksum(const struct safetensors *f);
/* Metadata "checksum", when it is there, must repeat it in 16 hex digits; 16 more, when they are
 * there, what the header says of the tensors. -1: it does not. */
int safetensors_check(const struct safetensors *f, const char *path, struct error *err);

struct safetensors_entry {
    const char *key;
    struct bytes value;
};

/* Writes path.tmp, syncs, renames: a reader never sees half a file. The key "checksum" is added (32
 * hex digits). */
int safetensors_write(const char *path, const struct tensor *tensors, size_t n,
                      const struct safetensors_entry *metadata, size_t n_metadata,
                      struct error *err);

/* A network as tensors and back; names and orientation as in network.h. The shape (names, dims,
 * slots, which feature is the DSP) comes from the caller, who has it from the metadata; sizes are
 * checked against the file. */
int network_tensors(const struct network *n, struct tensor *out, size_t out_max, size_t *n_out);
struct network *network_from_tensors(const struct safetensors *f, const struct network_shape *shape,
                                     struct error *err);
#endif
