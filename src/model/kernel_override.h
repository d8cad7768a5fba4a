/* A kernel by name instead of the fastest: for tests, and to find out whether a kernel is at fault.
 * main.c passes BIDSIEVE_KERNEL. */
#ifndef MODEL_KERNEL_OVERRIDE_H
#define MODEL_KERNEL_OVERRIDE_H

#include "error.h"

/* c, avx2, avx512: floats with that kernel, whole numbers never; int8-c, int8-avx2, int8-vnni,
 * int8-amx: whole numbers with that kernel wherever they serve a network, however small it is. NULL
 * or "": no change. -1 when no such kernel is there: the default stays. Once, before any thread. */
int kernel_override(const char *name, struct error *err);

#endif
