/* Small networks and requests for the tests of this layer, and the forward pass written down as
 * network.h says it, in double, with nothing folded. */
#ifndef TESTS_MODEL_FIXTURE_H
#define TESTS_MODEL_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/network.h"
#include "prng.h"

enum { FIXTURE_FEATURES = 5, FIXTURE_DSP = 1 };

/* Mixed on purpose: the DSP in the middle, wide and not, one and several slots, odd sizes. */
static inline struct network_shape fixture_shape(struct network_feature features[FIXTURE_FEATURES],
                                                 uint32_t n_dsps, uint32_t hidden1,
                                                 uint32_t hidden2)
{
    static const struct network_feature some[FIXTURE_FEATURES] = {
        {"geocode", 11, 5, 1, true}, {"dsp", 0, 3, 1, false},   {"category", 9, 4, 3, false},
        {"segment", 7, 2, 4, true},  {"hour", 26, 1, 1, false},
    };
    memcpy(features, some, sizeof(some));
    features[FIXTURE_DSP].values = n_dsps + VALUE_FIRST;
    return (struct network_shape){.features = features,
                                  .n_features = FIXTURE_FEATURES,
                                  .dsp_feature = FIXTURE_DSP,
                                  .n_dsps = n_dsps,
                                  .n_numeric = 3,
                                  .hidden1 = hidden1,
                                  .hidden2 = hidden2,
                                  .gated = true};
}

/* Every parameter random, the biases and wide tables too. */
static inline struct network *fixture_network_of(const struct network_shape *shape, uint64_t seed)
{
    const struct network_feature *features = shape->features;
    uint32_t n_dsps = shape->n_dsps, hidden1 = shape->hidden1, hidden2 = shape->hidden2;
    struct network *n = network_create(shape, seed);
    assert_non_null(n);
    struct prng g = {seed + 1};
    for (uint32_t f = 0; f < FIXTURE_FEATURES; f++) {
        for (uint32_t i = 0; i < features[f].values * features[f].dim; i++)
            n->embedding[f][i] = (float)prng_normal(&g);
        for (uint32_t i = 0; n->wide[f] != NULL && i < features[f].values * n_dsps; i++)
            n->wide[f][i] = (float)(0.3 * prng_normal(&g));
    }
    for (uint32_t i = 0; shape->gated && i < n_dsps * hidden1; i++)
        n->gate[i] = (float)(0.5 * prng_normal(&g));
    for (uint32_t i = 0; i < hidden1; i++)
        n->hidden1_bias[i] = (float)(0.2 * prng_normal(&g));
    for (uint32_t i = 0; i < hidden2; i++)
        n->hidden2_bias[i] = (float)(0.2 * prng_normal(&g));
    n->output_bias[0] = 0.25f;
    n->output_bias[1] = -0.5f;
    n->negative_rate = 0.2f;
    return n;
}

static inline struct network *fixture_network(uint32_t n_dsps, uint32_t hidden1, uint32_t hidden2,
                                              uint64_t seed)
{
    struct network_feature features[FIXTURE_FEATURES];
    struct network_shape shape = fixture_shape(features, n_dsps, hidden1, hidden2);
    return fixture_network_of(&shape, seed);
}

/* Missing and unknown values, indices out of range, and features with some slots empty occur. */
static inline void fixture_request(const struct network_shape *s, struct prng *g, uint32_t *slots,
                                   float *numeric)
{
    for (uint32_t f = 0; f < s->n_features; f++) {
        if (f == s->dsp_feature)
            continue;
        uint32_t used = 1 + (uint32_t)prng_below(g, s->features[f].slots);
        for (uint32_t i = 0; i < s->features[f].slots; i++)
            *slots++ = i < used ? (uint32_t)prng_below(g, s->features[f].values) : SLOT_EMPTY;
    }
    for (uint32_t i = 0; i < s->n_numeric; i++)
        numeric[i] = i == 0 ? (float)prng_below(g, 2) : (float)prng_normal(g);
}

/* The logit before the correction by negative_rate. */
static inline double fixture_logit(const struct network *n, const uint32_t *slots,
                                   const float *numeric, uint32_t dsp)
{
    const struct network_shape *s = &n->shape;
    uint32_t inputs = network_shape_inputs(s);
    double *input = calloc(inputs + s->hidden1 + s->hidden2, sizeof(double));
    double *h1 = input + inputs, *h2 = h1 + s->hidden1, *at = input, wide = 0;
    uint32_t dsp_row = VALUE_FIRST + dsp, own_from = 0, own_to;
    for (uint32_t f = 0; f < s->dsp_feature; f++)
        own_from += s->features[f].dim;
    own_to = own_from + s->features[s->dsp_feature].dim;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        const uint32_t *values = f == s->dsp_feature ? &dsp_row : slots;
        uint32_t count = 0;
        for (uint32_t i = 0; i < feature->slots; i++)
            count += values[i] != SLOT_EMPTY;
        for (uint32_t i = 0; i < feature->slots; i++) {
            if (values[i] == SLOT_EMPTY)
                continue;
            uint32_t v = values[i] < feature->values ? values[i] : VALUE_UNKNOWN;
            for (uint32_t k = 0; k < feature->dim; k++)
                at[k] += n->embedding[f][v * feature->dim + k] / (double)count;
            if (feature->wide)
                wide += n->wide[f][v * s->n_dsps + dsp] / (double)count;
        }
        at += feature->dim;
        slots += f == s->dsp_feature ? 0 : feature->slots;
    }
    for (uint32_t i = 0; i < s->n_numeric; i++)
        at[i] = numeric[i];
    for (uint32_t j = 0; j < s->hidden1; j++) {
        double base = 0, own = n->hidden1_bias[j];
        for (uint32_t i = 0; i < inputs; i++) {
            double part = (double)n->hidden1_weight[j * inputs + i] * input[i];
            *(i >= own_from && i < own_to ? &own : &base) += part;
        }
        h1[j] = base * (1 + (n->gate != NULL ? (double)n->gate[dsp * s->hidden1 + j] : 0)) + own;
        h1[j] = h1[j] > 0 ? h1[j] : 0;
    }
    double o[2] = {n->output_bias[0], n->output_bias[1]};
    for (uint32_t j = 0; j < s->hidden2; j++) {
        h2[j] = n->hidden2_bias[j];
        for (uint32_t k = 0; k < s->hidden1; k++)
            h2[j] += (double)n->hidden2_weight[j * s->hidden1 + k] * h1[k];
        h2[j] = h2[j] > 0 ? h2[j] : 0;
        o[0] += n->output_weight[j] * h2[j];
        o[1] += n->output_weight[s->hidden2 + j] * h2[j];
    }
    free(input);
    return o[1] - o[0] + wide;
}

/* Some units for each DSP but the first, which has none; one feature without a table; shares of all
 * kinds. */
static inline void fixture_conjunctions(struct network *n, uint64_t seed)
{
    struct prng g = {seed};
    uint32_t n_dsps = n->shape.n_dsps, n_units = 0, u = 0;
    for (uint32_t d = 1; d < n_dsps; d++)
        n_units += 1 + d % 3;
    struct conjunctions *c = conjunctions_create(&n->shape, n_units);
    assert_non_null(c);
    for (uint32_t d = 1; d < n_dsps; d++)
        for (uint32_t i = 0; i < 1 + d % 3; i++, u++) {
            c->dsp[u] = (float)d;
            c->rate[u] = (float)(0.01 + 0.3 * prng_unit(&g));
        }
    assert_int_equal(conjunctions_index(c), 0);
    for (uint32_t d = 0; d < n_dsps; d++)
        c->share[d] = (float)(d % 5) / 4;
    for (uint32_t f = 0; f + 1 < c->n_features; f++) {
        if (f == n->shape.dsp_feature)
            continue;
        for (uint32_t i = 0; i < c->values[f] * n_units; i++)
            c->factor[f][i] = (float)exp(prng_normal(&g));
    }
    n->conjunctions = c;
}

/* The DSP's rate of bids, as conjunction.h says it. */
static inline double fixture_rate(const struct network *n, const uint32_t *slots, uint32_t dsp)
{
    const struct conjunctions *c = n->conjunctions;
    double sum = 0;
    for (uint32_t u = 0; u < c->n_units; u++) {
        double product = c->dsp[u] == (float)dsp ? (double)c->rate[u] : 0;
        const uint32_t *at = slots;
        for (uint32_t f = 0; f < c->n_features; f++) {
            if (f == n->shape.dsp_feature)
                continue;
            double mean = 0, count = 0;
            for (uint32_t i = 0; i < n->shape.features[f].slots; i++, at++)
                if (*at != SLOT_EMPTY) {
                    uint32_t v = *at < c->values[f] ? *at : VALUE_UNKNOWN;
                    mean += (double)c->factor[f][v * c->n_units + u];
                    count++;
                }
            product *= mean / count;
        }
        sum += product;
    }
    return sum;
}

static inline double fixture_p(const struct network *n, const uint32_t *slots, const float *numeric,
                               uint32_t dsp)
{
    double logit = fixture_logit(n, slots, numeric, dsp) + log(n->negative_rate);
    if (n->conjunctions != NULL && n->conjunctions->first[dsp] < n->conjunctions->first[dsp + 1]) {
        double rate = fmin(fixture_rate(n, slots, dsp), 20);
        double share = (double)n->conjunctions->share[dsp];
        logit = (1 - share) * logit + share * log(expm1(rate));
    }
    return 1 / (1 + exp(-logit));
}

#endif
