/* Arrays side by side, as the trainer and the scorer take them. */
#include "filter/fresh.h"

#include <stdlib.h>
#include <string.h>

#include "filter/grown.h"

struct fresh {
    uint32_t n_slots, n_numeric;
    uint32_t *slots, *request;
    float *numeric, *weight, *price;
    uint16_t *dsp;
    uint8_t *label;
    uint32_t n_requests, requests_room;
    uint64_t n_pairs, pairs_room;
};

struct fresh *fresh_create(const struct network_shape *shape)
{
    struct fresh *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->n_slots = network_shape_slots(shape);
    f->n_numeric = shape->n_numeric;
    return f;
}

void fresh_destroy(struct fresh *f)
{
    if (f == NULL)
        return;
    free(f->slots);
    free(f->request);
    free(f->numeric);
    free(f->weight);
    free(f->price);
    free(f->dsp);
    free(f->label);
    free(f);
}

void fresh_add_request(struct fresh *f, const uint32_t *slots, const float *numeric)
{
    if (f->n_requests == f->requests_room) {
        f->requests_room = f->requests_room == 0 ? 1024 : f->requests_room * 2;
        f->slots = grown(f->slots, f->requests_room, f->n_slots * sizeof(*slots));
        f->numeric = grown(f->numeric, f->requests_room, f->n_numeric * sizeof(*numeric));
    }
    size_t at = f->n_requests++;
    memcpy(f->slots + at * f->n_slots, slots, f->n_slots * sizeof(*slots));
    memcpy(f->numeric + at * f->n_numeric, numeric, f->n_numeric * sizeof(*numeric));
}

void fresh_add_call(struct fresh *f, uint32_t dsp, bool bid, float weight, float price)
{
    if (f->n_pairs == f->pairs_room) {
        f->pairs_room = f->pairs_room == 0 ? 4096 : f->pairs_room * 2;
        f->request = grown(f->request, f->pairs_room, sizeof(*f->request));
        f->weight = grown(f->weight, f->pairs_room, sizeof(*f->weight));
        f->price = grown(f->price, f->pairs_room, sizeof(*f->price));
        f->dsp = grown(f->dsp, f->pairs_room, sizeof(*f->dsp));
        f->label = grown(f->label, f->pairs_room, sizeof(*f->label));
    }
    uint64_t i = f->n_pairs++;
    f->request[i] = f->n_requests - 1;
    f->dsp[i] = (uint16_t)dsp;
    f->label[i] = bid;
    f->weight[i] = weight;
    f->price[i] = price;
}

struct examples fresh_examples(const struct fresh *f)
{
    return (struct examples){.n_requests = f->n_requests,
                             .slots = f->slots,
                             .numeric = f->numeric,
                             .n_pairs = f->n_pairs,
                             .request = f->request,
                             .dsp = f->dsp,
                             .label = f->label,
                             .weight = f->weight};
}

const float *fresh_prices(const struct fresh *f)
{
    return f->price;
}
