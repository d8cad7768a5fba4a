/* OpenBLAS on a processor that is newer than it. */
#ifndef MODEL_BLAS_H
#define MODEL_BLAS_H

/* OpenBLAS knows processors by their numbers. Releases up to 0.3.24 take one that they have never
 * heard of for a Prescott of 2004 (OpenBLAS issue 4267), whose products take three times as long as
 * they need. It can be told only before it is loaded, by OPENBLAS_CORETYPE: where that is not set
 * and the processor can do more, this program is run again with it set, and does not return from
 * here. Otherwise, or when that fails, nothing happens. `argv` is main's; call it before anything
 * else was done. */
void blas_know_processor(char **argv);

/* The core type to set where OpenBLAS says that it runs on `core` and `kernel` is the best of
 * kernel.h here; NULL when it is right, or nothing better is known. */
const char *blas_better_core(const char *core, const char *kernel);

#endif
