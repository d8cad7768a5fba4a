/* Examples of which days are not told apart. */
#ifndef TESTS_MODEL_EXAMPLES_H
#define TESTS_MODEL_EXAMPLES_H

#include "model/train.h"

static inline struct examples examples_of(uint32_t n_requests, const uint32_t *slots,
                                          const float *numeric, uint64_t n_pairs,
                                          const uint32_t *request, const uint16_t *dsp,
                                          const uint8_t *label, const float *weight)
{
    return (struct examples){.n_requests = n_requests,
                             .slots = slots,
                             .numeric = numeric,
                             .n_pairs = n_pairs,
                             .request = request,
                             .dsp = dsp,
                             .label = label,
                             .weight = weight};
}

#endif
