/* Shape and parameters: one zeroed block of floats, cut into named tensors.
 *
 * The dense tensors stand first and together, so that an optimiser walks them as one run; the
 * tables (embeddings, wide), of which a batch touches few rows, follow. Every tensor starts on a
 * cache line. */
#include "model/network.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/table.h"
#include "prng.h"

/* 16 GB of parameters: far beyond use, and every size computed from a shape stays well in 64 bits.
 */
#define NETWORK_FLOATS_MAX ((uint64_t)1 << 32)

/* ---- shape ---- */

uint32_t network_shape_slots(const struct network_shape *s)
{
    uint32_t slots = 0;
    for (uint32_t f = 0; f < s->n_features; f++)
        if (f != s->dsp_feature)
            slots += s->features[f].slots;
    return slots;
}

uint32_t network_shape_inputs(const struct network_shape *s)
{
    uint32_t inputs = s->n_numeric;
    for (uint32_t f = 0; f < s->n_features; f++)
        inputs += s->features[f].dim;
    return inputs;
}

static int network_shape_copy(struct network_shape *to, const struct network_shape *from)
{
    *to = *from;
    to->features = malloc(from->n_features * sizeof(*to->features) + 1);
    if (to->features == NULL) {
        memset(to, 0, sizeof(*to));
        return -1;
    }
    if (from->n_features > 0)
        memcpy(to->features, from->features, from->n_features * sizeof(*to->features));
    return 0;
}

void network_shape_dispose(struct network_shape *s)
{
    free(s->features);
    memset(s, 0, sizeof(*s));
}

static int check_feature(const struct network_shape *s, uint32_t f, struct error *err)
{
    const struct network_feature *feature = &s->features[f];
    if (memchr(feature->name, '\0', sizeof(feature->name)) == NULL || feature->name[0] == '\0')
        return error_set(err, "network shape: feature %u has no name", f);
    for (uint32_t g = 0; g < f; g++)
        if (strcmp(s->features[g].name, feature->name) == 0)
            return error_set(err, "network shape: two features are named %s", feature->name);
    if (feature->dim < 1 || feature->dim > NETWORK_DIM_MAX)
        return error_set(err, "network shape: feature %s: dim %u is not in 1..%d", feature->name,
                         feature->dim, NETWORK_DIM_MAX);
    if (feature->values < VALUE_FIRST)
        return error_set(err,
                         "network shape: feature %s: %u values, but \"missing\" and "
                         "\"unknown\" are always there",
                         feature->name, feature->values);
    if (feature->slots < 1 || feature->slots > NETWORK_SLOTS_MAX)
        return error_set(err, "network shape: feature %s: %u slots are not in 1..%d", feature->name,
                         feature->slots, NETWORK_SLOTS_MAX);
    return 0;
}

static int check_dsp_feature(const struct network_shape *s, struct error *err)
{
    if (s->dsp_feature >= s->n_features)
        return error_set(err, "network shape: no feature is the DSP");
    const struct network_feature *dsp = &s->features[s->dsp_feature];
    if (s->n_dsps < 1 || s->n_dsps > NETWORK_DSPS_MAX)
        return error_set(err, "network shape: %u DSPs are not in 1..%d", s->n_dsps,
                         NETWORK_DSPS_MAX);
    if (dsp->values != s->n_dsps + VALUE_FIRST)
        return error_set(err, "network shape: feature %s has %u values for %u DSPs", dsp->name,
                         dsp->values, s->n_dsps);
    if (dsp->slots != 1 || dsp->wide)
        return error_set(err, "network shape: the DSP feature %s has one slot and no wide table",
                         dsp->name);
    return 0;
}

static uint64_t table_floats(const struct network_shape *s)
{
    uint64_t floats = 0;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        floats += table_on_line((uint64_t)feature->values * feature->dim);
        if (feature->wide)
            floats += table_on_line((uint64_t)feature->values * s->n_dsps);
    }
    if (s->gated)
        floats += table_on_line((uint64_t)s->n_dsps * s->hidden1);
    return floats;
}

static uint64_t dense_floats(const struct network_shape *s)
{
    uint64_t h1 = s->hidden1, h2 = s->hidden2, in = network_shape_inputs(s);
    return table_on_line(h1 * in) + table_on_line(h1) + table_on_line(h2 * h1) + table_on_line(h2) +
           table_on_line(2 * h2) + table_on_line(2);
}

int network_shape_check(const struct network_shape *s, struct error *err)
{
    if (s->n_features < 1 || s->n_features > NETWORK_FEATURES_MAX)
        return error_set(err, "network shape: %u features are not in 1..%d", s->n_features,
                         NETWORK_FEATURES_MAX);
    for (uint32_t f = 0; f < s->n_features; f++)
        if (check_feature(s, f, err) != 0)
            return -1;
    if (check_dsp_feature(s, err) != 0)
        return -1;
    if (s->n_numeric > NETWORK_HIDDEN_MAX)
        return error_set(err, "network shape: %u numeric inputs are more than %d", s->n_numeric,
                         NETWORK_HIDDEN_MAX);
    if (s->hidden1 < 1 || s->hidden1 > NETWORK_HIDDEN_MAX || s->hidden2 < 1 ||
        s->hidden2 > NETWORK_HIDDEN_MAX)
        return error_set(err, "network shape: hidden layers of %u and %u are not in 1..%d",
                         s->hidden1, s->hidden2, NETWORK_HIDDEN_MAX);
    if (table_floats(s) + dense_floats(s) > NETWORK_FLOATS_MAX)
        return error_set(err, "network shape: more than %llu parameters",
                         (unsigned long long)NETWORK_FLOATS_MAX);
    return 0;
}

/* ---- parameters ---- */

static float *cut(float **at, uint64_t floats)
{
    float *tensor = *at;
    *at += table_on_line(floats);
    return tensor;
}

static void cut_block(struct network *n)
{
    const struct network_shape *s = &n->shape;
    uint64_t h1 = s->hidden1, h2 = s->hidden2;
    float *at = n->block;
    n->hidden1_weight = cut(&at, h1 * network_shape_inputs(s));
    n->hidden1_bias = cut(&at, h1);
    n->hidden2_weight = cut(&at, h2 * h1);
    n->hidden2_bias = cut(&at, h2);
    n->output_weight = cut(&at, 2 * h2);
    n->output_bias = cut(&at, 2);
    assert(at == n->block + n->dense_floats);
    for (uint32_t f = 0; f < s->n_features; f++)
        n->embedding[f] = cut(&at, (uint64_t)s->features[f].values * s->features[f].dim);
    for (uint32_t f = 0; f < s->n_features; f++)
        if (s->features[f].wide)
            n->wide[f] = cut(&at, (uint64_t)s->features[f].values * s->n_dsps);
    if (s->gated)
        n->gate = cut(&at, (uint64_t)s->n_dsps * s->hidden1);
    assert(at == n->block + n->block_floats);
}

static void name_tensors(struct network *n)
{
    for (uint32_t f = 0; f < n->shape.n_features; f++) {
        const char *name = n->shape.features[f].name;
        snprintf(n->tensor_names[2 * f], NETWORK_NAME_BYTES, "embedding.%s", name);
        snprintf(n->tensor_names[2 * f + 1], NETWORK_NAME_BYTES, "wide.%s", name);
        snprintf(n->tensor_names[2 * n->shape.n_features + f], NETWORK_NAME_BYTES, "conjunction.%s",
                 name);
    }
}

static void fill_normal(struct prng *g, float *to, size_t n, double deviation)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)(deviation * prng_normal(g));
}

/* He's initialisation for layers under a ReLU (He et al., ICCV 2015). The embeddings are 0.1 wide:
 * big enough to tell values apart from the first step, small enough that a value seen once or twice
 * stays close to saying nothing. Wide tables and gates start at zero: they correct, they do not
 * guess. */
static void init_random(struct network *n, uint64_t seed)
{
    const struct network_shape *s = &n->shape;
    struct prng g = {seed};
    uint32_t in = network_shape_inputs(s);
    fill_normal(&g, n->hidden1_weight, (size_t)s->hidden1 * in, sqrt(2.0 / in));
    fill_normal(&g, n->hidden2_weight, (size_t)s->hidden2 * s->hidden1, sqrt(2.0 / s->hidden1));
    fill_normal(&g, n->output_weight, 2 * (size_t)s->hidden2, sqrt(0.5 / s->hidden2));
    for (uint32_t f = 0; f < s->n_features; f++)
        fill_normal(&g, n->embedding[f], (size_t)s->features[f].values * s->features[f].dim, 0.1);
}

struct network *network_create_zero(const struct network_shape *shape)
{
    assert(network_shape_check(shape, NULL) == 0);
    struct network *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return NULL;
    if (network_shape_copy(&n->shape, shape) != 0)
        goto fail;
    n->dense_floats = dense_floats(shape);
    n->block_floats = n->dense_floats + table_floats(shape);
    n->block = aligned_alloc(TABLE_LINE_BYTES, n->block_floats * sizeof(float));
    n->embedding = calloc(shape->n_features, sizeof(*n->embedding));
    n->wide = calloc(shape->n_features, sizeof(*n->wide));
    n->tensor_names = calloc(3 * (size_t)shape->n_features, sizeof(*n->tensor_names));
    n->calibration = calloc(shape->n_dsps, sizeof(*n->calibration));
    if (n->block == NULL || n->embedding == NULL || n->wide == NULL || n->tensor_names == NULL ||
        n->calibration == NULL)
        goto fail;
    for (uint32_t d = 0; d < shape->n_dsps; d++)
        n->calibration[d][0] = 1;
    memset(n->block, 0, n->block_floats * sizeof(float));
    cut_block(n);
    name_tensors(n);
    n->negative_rate = 1;
    return n;
fail:
    network_destroy(n);
    return NULL;
}

struct network *network_create(const struct network_shape *shape, uint64_t seed)
{
    struct network *n = network_create_zero(shape);
    if (n != NULL)
        init_random(n, seed);
    return n;
}

void network_destroy(struct network *n)
{
    if (n == NULL)
        return;
    network_shape_dispose(&n->shape);
    free(n->block);
    free(n->embedding);
    free(n->wide);
    free(n->tensor_names);
    free(n->calibration);
    conjunctions_destroy(n->conjunctions);
    free(n);
}
