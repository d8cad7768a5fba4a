/* A network as named tensors, in PyTorch's names and orientation, and back. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "model/network.h"
#include "model/safetensors.h"

/* The one tensor that a file may lack: then no DSP's logit is bent. */
#define CALIBRATION "calibration.dsp"
/* Those of the conjunctions, which a file may lack, but as a whole; then a table each feature. */
#define RATE "conjunctions.rate"
#define RATE_DSP "conjunctions.dsp"
/* Halves without it. */
#define SHARE "conjunctions.share"

static void add(struct tensor *out, size_t out_max, size_t *n, const char *name, uint64_t rows,
                uint64_t columns, const float *data)
{
    if (*n < out_max)
        out[*n] = (struct tensor){.name = name,
                                  .dtype = TENSOR_F32,
                                  .rank = columns > 0 ? 2 : 1,
                                  .shape = {rows, columns},
                                  .data = data,
                                  .bytes = rows * (columns > 0 ? columns : 1) * sizeof(float)};
    (*n)++;
}

static void add_conjunctions(const struct network *n, struct tensor *out, size_t out_max,
                             size_t *n_out)
{
    const struct conjunctions *c = n->conjunctions;
    if (c == NULL || c->n_units == 0)
        return;
    add(out, out_max, n_out, RATE, c->n_units, 0, c->rate);
    add(out, out_max, n_out, RATE_DSP, c->n_units, 0, c->dsp);
    add(out, out_max, n_out, SHARE, c->n_dsps, 0, c->share);
    for (uint32_t f = 0; f < c->n_features; f++)
        if (c->factor[f] != NULL)
            add(out, out_max, n_out, n->tensor_names[2 * c->n_features + f], c->values[f],
                c->n_units, c->factor[f]);
}

int network_tensors(const struct network *n, struct tensor *out, size_t out_max, size_t *n_out)
{
    const struct network_shape *s = &n->shape;
    *n_out = 0;
    for (uint32_t f = 0; f < s->n_features; f++)
        add(out, out_max, n_out, n->tensor_names[2 * f], s->features[f].values, s->features[f].dim,
            n->embedding[f]);
    for (uint32_t f = 0; f < s->n_features; f++)
        if (s->features[f].wide)
            add(out, out_max, n_out, n->tensor_names[2 * f + 1], s->features[f].values, s->n_dsps,
                n->wide[f]);
    uint32_t h1 = s->hidden1, h2 = s->hidden2;
    add(out, out_max, n_out, "hidden1.weight", h1, network_shape_inputs(s), n->hidden1_weight);
    add(out, out_max, n_out, "hidden1.bias", h1, 0, n->hidden1_bias);
    add(out, out_max, n_out, "hidden2.weight", h2, h1, n->hidden2_weight);
    add(out, out_max, n_out, "hidden2.bias", h2, 0, n->hidden2_bias);
    if (s->gated)
        add(out, out_max, n_out, "gate.dsp", s->n_dsps, h1, n->gate);
    add(out, out_max, n_out, "output.weight", 2, h2, n->output_weight);
    add(out, out_max, n_out, "output.bias", 2, 0, n->output_bias);
    add(out, out_max, n_out, CALIBRATION, s->n_dsps, 2, n->calibration[0]);
    add_conjunctions(n, out, out_max, n_out);
    return *n_out <= out_max ? 0 : -1;
}

static void print_shape(char *to, size_t room, const struct tensor *t)
{
    size_t len = (size_t)snprintf(to, room, "[");
    for (uint32_t i = 0; i < t->rank && len < room; i++)
        len += (size_t)snprintf(to + len, room - len, "%s%llu", i > 0 ? ", " : "",
                                (unsigned long long)t->shape[i]);
    if (len < room)
        snprintf(to + len, room - len, "]");
}

/* One tensor of the file into the place that `want` describes. */
static int take(const struct safetensors *f, const struct tensor *want, struct error *err)
{
    const struct tensor *t = safetensors_find(f, want->name);
    if (t == NULL)
        return error_set(err, "tensor %s is missing", want->name);
    if (t->dtype != TENSOR_F32)
        return error_set(err, "tensor %s is not F32", want->name);
    if (t->rank != want->rank || memcmp(t->shape, want->shape, sizeof(t->shape)) != 0) {
        char has[96], needs[96];
        print_shape(has, sizeof(has), t);
        print_shape(needs, sizeof(needs), want);
        return error_set(err, "tensor %s is %s, but the schema says %s", want->name, has, needs);
    }
    const float *from = t->data;
    for (size_t i = 0; i < t->bytes / sizeof(float); i++)
        if (!isfinite(from[i]))
            return error_set(err, "tensor %s: element %zu is not finite", want->name, i);
    memcpy((void *)want->data, from, t->bytes);
    return 0;
}

/* Before anything is allocated after the schema's word: the tables must be in the file. */
static int check_room(const struct safetensors *f, const struct network_shape *shape,
                      struct error *err)
{
    uint64_t needed = 0, present = 0;
    for (size_t i = 0; i < safetensors_count(f); i++)
        present += safetensors_at(f, i)->bytes;
    for (uint32_t i = 0; i < shape->n_features; i++)
        needed += (uint64_t)shape->features[i].values * shape->features[i].dim * sizeof(float);
    needed += (uint64_t)shape->hidden1 * network_shape_inputs(shape) * sizeof(float);
    needed += (uint64_t)shape->hidden1 * shape->hidden2 * sizeof(float);
    if (needed > present)
        return error_set(err, "the schema needs tensors of %llu bytes, the file has %llu",
                         (unsigned long long)needed, (unsigned long long)present);
    return 0;
}

/* A slope of 0 or less would turn a DSP's scores over. */
static int check_calibration(const struct network *n, struct error *err)
{
    for (uint32_t d = 0; d < n->shape.n_dsps; d++)
        if (!(n->calibration[d][0] > 0))
            return error_set(err, "tensor " CALIBRATION ": row %u: a slope must be above 0", d);
    return 0;
}

/* By its tensor's name and its number in there. */
static int check_positive(const char *name, const float *x, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] > 0 && x[i] <= CONJUNCTION_MAX))
            return error_set(err, "tensor %s: element %zu: must be above 0 and at most %g, not %g",
                             name, i, (double)CONJUNCTION_MAX, (double)x[i]);
    return 0;
}

static int check_units(const struct network *n, struct error *err)
{
    struct conjunctions *c = n->conjunctions;
    if (conjunctions_index(c) != 0)
        return error_set(err,
                         "tensor " RATE_DSP ": must hold numbers of DSPs, 0 to %u, none below the "
                         "one before it",
                         c->n_dsps - 1);
    for (uint32_t d = 0; d < c->n_dsps; d++)
        if (!(c->share[d] >= 0 && c->share[d] <= 1))
            return error_set(err, "tensor " SHARE ": element %u: must be 0 to 1, not %g", d,
                             (double)c->share[d]);
    if (check_positive(RATE, c->rate, c->n_units, err) != 0)
        return -1;
    for (uint32_t f = 0; f < c->n_features; f++)
        if (c->factor[f] != NULL &&
            check_positive(n->tensor_names[2 * c->n_features + f], c->factor[f],
                           (size_t)c->values[f] * c->n_units, err) != 0)
            return -1;
    return 0;
}

static int check_no_conjunctions(const struct safetensors *f, const struct network *n,
                                 struct error *err)
{
    const uint32_t n_features = n->shape.n_features;
    for (uint32_t i = 0; i < n_features + 2; i++) {
        const char *name = i < n_features    ? n->tensor_names[2 * n_features + i]
                           : i == n_features ? RATE_DSP
                                             : SHARE;
        if (safetensors_find(f, name) != NULL)
            return error_set(err, "tensor %s is there, but " RATE " is missing", name);
    }
    return 0;
}

static int take_conjunctions(const struct safetensors *f, struct network *n, struct error *err)
{
    const struct tensor *rate = safetensors_find(f, RATE);
    struct tensor want[NETWORK_FEATURES_MAX + 3];
    size_t n_want = 0;
    uint64_t needed = 0;
    if (rate == NULL)
        return check_no_conjunctions(f, n, err);
    if (rate->rank != 1 || rate->shape[0] < 1 || rate->shape[0] > CONJUNCTION_UNITS_MAX)
        return error_set(err, "tensor " RATE ": must be of rank 1 and 1..%d long",
                         CONJUNCTION_UNITS_MAX);
    uint64_t present = 0;
    for (size_t i = 0; i < safetensors_count(f); i++)
        present += safetensors_at(f, i)->bytes;
    for (uint32_t i = 0; i < n->shape.n_features; i++)
        needed += i == n->shape.dsp_feature
                      ? 0
                      : n->shape.features[i].values * rate->shape[0] * sizeof(float);
    if (needed > present)
        return error_set(err, "conjunctions of %llu units need %llu bytes, the file has %llu",
                         (unsigned long long)rate->shape[0], (unsigned long long)needed,
                         (unsigned long long)present);
    struct conjunctions *c = conjunctions_create(&n->shape, (uint32_t)rate->shape[0]);
    if (c == NULL)
        return error_set(err, "no memory for the network");
    n->conjunctions = c;
    add_conjunctions(n, want, sizeof(want) / sizeof(want[0]), &n_want);
    for (size_t i = 0; i < n_want; i++)
        if ((strcmp(want[i].name, SHARE) != 0 || safetensors_find(f, SHARE) != NULL) &&
            take(f, &want[i], err) != 0)
            return -1;
    return check_units(n, err);
}

struct network *network_from_tensors(const struct safetensors *f, const struct network_shape *shape,
                                     struct error *err)
{
    struct tensor want[2 * NETWORK_FEATURES_MAX + 8];
    size_t n_want;
    if (network_shape_check(shape, err) != 0 || check_room(f, shape, err) != 0)
        return NULL;
    struct network *n = network_create_zero(shape);
    if (n == NULL) {
        error_set(err, "no memory for the network");
        return NULL;
    }
    int status = network_tensors(n, want, sizeof(want) / sizeof(want[0]), &n_want);
    assert(status == 0);
    for (size_t i = 0; status == 0 && i < n_want; i++)
        if (strcmp(want[i].name, CALIBRATION) != 0 || safetensors_find(f, CALIBRATION) != NULL)
            status = take(f, &want[i], err);
    if (status == 0 && check_calibration(n, err) == 0 && take_conjunctions(f, n, err) == 0)
        return n;
    network_destroy(n);
    return NULL;
}
