/* One array in numpy's own file format (.npy, version 1.0), written row by row: the number of rows
 * is known only at the end, and is put into the header then. One thread.
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#ifndef FILTER_NPY_H
#define FILTER_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum npy_type { NPY_U8, NPY_U16, NPY_U32, NPY_I64, NPY_F32 };

struct npy;
/* columns 0: an array of one dimension, [rows]; else [rows, columns]. Replaces a file that is
 * there. */
struct npy *npy_create(const char *path, enum npy_type type, uint32_t columns, struct error *err);
/* -1: the disk is full, or broken. */
int npy_append(struct npy *a, const void *rows, size_t n_rows, struct error *err);
/* The file is whole only when this gave 0. Frees it either way; NULL is a no-op. */
int npy_close(struct npy *a, struct error *err);

/* A whole array of one dimension at once. */
int npy_write(const char *path, enum npy_type type, const void *items, size_t n, struct error *err);

#endif
