/* The variable is the only way in that all releases have; it is read when the library is loaded. */
#include "model/blas.h"

#include <cblas.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "model/kernel.h"

static const char CORE_TYPE[] = "OPENBLAS_CORETYPE";

const char *blas_better_core(const char *core, const char *kernel)
{
    if (strcasecmp(core, "Prescott") != 0)
        return NULL;
    if (strcmp(kernel, "avx512") == 0)
        return "SkylakeX";
    return strcmp(kernel, "avx2") == 0 ? "Haswell" : NULL;
}

void blas_know_processor(char **argv)
{
    const struct kernel *kernels[4];
    const char *kernel = kernels[kernel_available(kernels) - 1]->name;
    const char *core = blas_better_core(openblas_get_corename(), kernel);
    char path[PATH_MAX] = "";
    if (core == NULL || getenv(CORE_TYPE) != NULL)
        return;
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
    if (length <= 0 || (size_t)length >= sizeof(path) || setenv(CORE_TYPE, core, 1) != 0)
        return;
    path[length] = '\0';
    execv(path, argv);
    unsetenv(CORE_TYPE);
}
