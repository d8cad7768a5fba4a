/* What only this layer needs of the scorer: a chosen kernel, for tests and benches that compare. */
#ifndef MODEL_SCORER_H
#define MODEL_SCORER_H

#include "model/kernel.h"
#include "model/kernel_int8.h"
#include "model/network.h"

struct scorer *scorer_create_with(const struct network *n, const struct kernel *k,
                                  struct error *err);
/* NULL also where whole numbers do not serve the network. */
struct scorer *scorer_create_int8(const struct network *n, const struct kernel_int8 *k,
                                  struct error *err);

#endif
