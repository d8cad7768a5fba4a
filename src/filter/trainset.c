/* A request is read once, when it arrives: its features' texts become numbers (one interner a
 * feature), so that a million requests are some hundred MB and need not be kept. */
#include "filter/trainset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "filter/grown.h"
#include "filter/model_metadata.h"

enum { ARENA_KEPT_BYTES = 1 << 20 };

struct trainset {
    const struct schema *schema;
    const struct geo *geo;
    struct arena arena;
    bool borrows;             /* values and dsps are another's */
    struct interner **values; /* [features] */
    struct interner *dsps;
    uint32_t n_requests, room_requests;
    int64_t *ts_ms;
    uint32_t *texts;
    float *numbers;
    uint64_t *first_pair;
    uint64_t n_pairs, room_pairs;
    struct collected_pair *pairs;
    uint64_t *seen; /* hashes of the records, open addressing; 0 = free */
    uint64_t n_seen, room_seen;
    struct trainset_counts counts;
};

struct trainset *trainset_create(const struct schema *s, const struct geo *geo)
{
    struct trainset *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->schema = s;
    t->geo = geo;
    t->values = calloc(s->n_features, sizeof(*t->values));
    t->dsps = interner_create();
    if (t->values == NULL || t->dsps == NULL)
        goto fail;
    for (uint32_t i = 0; i < s->n_features; i++)
        if (s->features[i].slots > 0 && (t->values[i] = interner_create()) == NULL)
            goto fail;
    return t;
fail:
    trainset_destroy(t);
    return NULL;
}

void trainset_destroy(struct trainset *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; t->values != NULL && !t->borrows && i < t->schema->n_features; i++)
        interner_destroy(t->values[i]);
    if (!t->borrows) {
        free(t->values);
        interner_destroy(t->dsps);
    }
    arena_dispose(&t->arena);
    free(t->ts_ms);
    free(t->texts);
    free(t->numbers);
    free(t->first_pair);
    free(t->pairs);
    free(t->seen);
    free(t);
}

const struct trainset_counts *trainset_counts(const struct trainset *t)
{
    return &t->counts;
}

/* ---- collecting ---- */

static uint64_t hash_more(uint64_t h, const void *data, size_t len)
{
    const unsigned char *bytes = data; /* FNV-1a, a word at a time, each well mixed */
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, len - i < 8 ? len - i : 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return (h ^ len) * UINT64_C(0xbf58476d1ce4e5b9);
}

static uint64_t record_hash(int64_t ts_ms, struct bytes request, const struct trainset_pair *pairs,
                            uint32_t n_pairs)
{
    uint64_t h = hash_more(UINT64_C(0xcbf29ce484222325), &ts_ms, sizeof(ts_ms));
    h = hash_more(h, request.base, request.len);
    for (uint32_t i = 0; i < n_pairs; i++) {
        h = hash_more(h, pairs[i].dsp.base, pairs[i].dsp.len);
        h = hash_more(h, &pairs[i].propensity, sizeof(pairs[i].propensity)) + pairs[i].bid;
        h = hash_more(h, &pairs[i].price, sizeof(pairs[i].price));
    }
    h ^= h >> 32;
    return h != 0 ? h : 1;
}

/* Exports overlap, and a file is named twice: bids counted twice would prove twice as much. Two
 * requests that differ in nothing, not even their id and millisecond, are one. */
static bool seen_before(struct trainset *t, uint64_t hash)
{
    if (2 * (t->n_seen + 1) > t->room_seen) {
        uint64_t room = t->room_seen == 0 ? 4096 : t->room_seen * 2;
        uint64_t *larger = grown(NULL, room, sizeof(*larger));
        memset(larger, 0, room * sizeof(*larger));
        for (uint64_t i = 0; i < t->room_seen; i++) {
            uint64_t at = t->seen[i] & (room - 1);
            while (t->seen[i] != 0 && larger[at] != 0)
                at = (at + 1) & (room - 1);
            if (t->seen[i] != 0)
                larger[at] = t->seen[i];
        }
        free(t->seen);
        t->seen = larger;
        t->room_seen = room;
    }
    uint64_t at = hash & (t->room_seen - 1);
    for (; t->seen[at] != 0; at = (at + 1) & (t->room_seen - 1))
        if (t->seen[at] == hash)
            return true;
    t->seen[at] = hash;
    t->n_seen++;
    return false;
}

static void reserve_request(struct trainset *t)
{
    if (t->n_requests < t->room_requests)
        return;
    uint32_t room = t->room_requests == 0 ? 1024 : t->room_requests * 2;
    t->ts_ms = grown(t->ts_ms, room, sizeof(*t->ts_ms));
    t->texts = grown(t->texts, room, t->schema->n_slots * sizeof(*t->texts));
    t->numbers = grown(t->numbers, room, t->schema->n_numbers * sizeof(*t->numbers));
    t->first_pair = grown(t->first_pair, (size_t)room + 1, sizeof(*t->first_pair));
    t->room_requests = room;
}

static void add_features(struct trainset *t, const struct bid_request *r, int64_t ts_ms)
{
    const struct schema *s = t->schema;
    struct geo_place place;
    struct raw_features raw;
    geo_locate(t->geo, r, &place);
    features_extract(s, r, &place, ts_ms, &t->arena, &raw);
    uint32_t *texts = t->texts + (size_t)t->n_requests * s->n_slots;
    float *numbers = t->numbers + (size_t)t->n_requests * s->n_numbers;
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        for (uint32_t k = 0; k < f->slots; k++) {
            struct bytes text = raw.texts[f->at + k];
            texts[f->at + k] = text.len > 0 ? interner_add(t->values[i], text) : INTERNER_NONE;
        }
    }
    for (uint32_t i = 0; i < s->n_numbers; i++)
        numbers[i] = (float)raw.numbers[i];
}

/* False: not a label that can be used. */
static bool add_pair(struct trainset *t, const struct trainset_pair *pair)
{
    if (!(pair->propensity > 0 && pair->propensity <= 1) || pair->dsp.len == 0 ||
        pair->dsp.len > MODEL_DSP_NAME_MAX || !vocabulary_may_hold(pair->dsp))
        return false;
    uint32_t dsp = interner_find(t->dsps, pair->dsp);
    if (dsp == INTERNER_NONE && interner_count(t->dsps) < MODEL_DSPS_MAX - 1)
        dsp = interner_add(t->dsps, pair->dsp);
    if (dsp == INTERNER_NONE)
        return false;
    if (t->n_pairs == t->room_pairs) {
        t->room_pairs = t->room_pairs == 0 ? 4096 : t->room_pairs * 2;
        t->pairs = grown(t->pairs, t->room_pairs, sizeof(*t->pairs));
    }
    double weight = 1 / pair->propensity;
    t->pairs[t->n_pairs++] = (struct collected_pair){
        (float)(weight < TRAINSET_WEIGHT_MAX ? weight : TRAINSET_WEIGHT_MAX), (uint16_t)dsp,
        pair->bid,
        pair->bid && pair->price > 0 && pair->price < TRAINSET_PRICE_MAX ? (float)pair->price : 0};
    t->counts.pairs++;
    t->counts.bids += pair->bid;
    return true;
}

bool trainset_add(struct trainset *t, int64_t ts_ms, struct bytes request,
                  const struct trainset_pair *pairs, uint32_t n_pairs, struct bid_request_error *e)
{
    struct bid_request r;
    assert(!t->borrows);
    t->counts.requests++;
    arena_reset(&t->arena, ARENA_KEPT_BYTES);
    if (!bid_request_scan(&r, request, 0, &t->arena, e)) {
        t->counts.requests_unreadable++;
        return false;
    }
    if (t->n_requests == UINT32_MAX - 1)
        return true;
    if (n_pairs > 0 && seen_before(t, record_hash(ts_ms, request, pairs, n_pairs))) {
        t->counts.requests_repeated++;
        return true;
    }
    reserve_request(t);
    t->first_pair[t->n_requests] = t->n_pairs;
    for (uint32_t i = 0; i < n_pairs; i++)
        t->counts.pairs_dropped += !add_pair(t, &pairs[i]);
    if (t->n_pairs == t->first_pair[t->n_requests])
        return true; /* nothing to learn from it */
    add_features(t, &r, ts_ms);
    t->ts_ms[t->n_requests++] = ts_ms;
    t->first_pair[t->n_requests] = t->n_pairs;
    return true;
}

/* ---- a part of it ---- */

static void copy_request(struct trainset *to, const struct trainset *from, uint32_t r)
{
    uint32_t slots = from->schema->n_slots, numbers = from->schema->n_numbers, at = to->n_requests;
    uint64_t n = from->first_pair[r + 1] - from->first_pair[r];
    reserve_request(to);
    to->ts_ms[at] = from->ts_ms[r];
    if (slots > 0)
        memcpy(to->texts + (size_t)at * slots, from->texts + (size_t)r * slots,
               slots * sizeof(*to->texts));
    if (numbers > 0)
        memcpy(to->numbers + (size_t)at * numbers, from->numbers + (size_t)r * numbers,
               numbers * sizeof(*to->numbers));
    if (to->n_pairs + n > to->room_pairs) {
        to->room_pairs = 2 * (to->n_pairs + n);
        to->pairs = grown(to->pairs, to->room_pairs, sizeof(*to->pairs));
    }
    memcpy(to->pairs + to->n_pairs, from->pairs + from->first_pair[r], n * sizeof(*to->pairs));
    for (uint64_t i = 0; i < n; i++)
        to->counts.bids += to->pairs[to->n_pairs + i].label;
    to->first_pair[at] = to->n_pairs;
    to->n_pairs += n;
    to->first_pair[at + 1] = to->n_pairs;
    to->n_requests++;
    to->counts.requests++;
    to->counts.pairs += n;
}

struct trainset *trainset_between(const struct trainset *t, int64_t from_ms, int64_t to_ms)
{
    struct trainset *part = calloc(1, sizeof(*part));
    if (part == NULL)
        abort();
    part->schema = t->schema;
    part->geo = t->geo;
    part->borrows = true;
    part->values = t->values;
    part->dsps = t->dsps;
    for (uint32_t r = 0; r < t->n_requests; r++)
        if (t->ts_ms[r] >= from_ms && t->ts_ms[r] < to_ms)
            copy_request(part, t, r);
    return part;
}

bool trainset_span(const struct trainset *t, int64_t *first_ms, int64_t *last_ms)
{
    for (uint32_t r = 0; r < t->n_requests; r++) {
        if (r == 0 || t->ts_ms[r] < *first_ms)
            *first_ms = t->ts_ms[r];
        if (r == 0 || t->ts_ms[r] > *last_ms)
            *last_ms = t->ts_ms[r];
    }
    return t->n_requests > 0;
}

/* ---- what is learnt from ---- */

const struct schema *trainset_schema(const struct trainset *t)
{
    return t->schema;
}

struct collected trainset_collected(const struct trainset *t)
{
    return (struct collected){
        .n_requests = t->n_requests,
        .ts_ms = t->ts_ms,
        .texts = t->texts,
        .numbers = t->numbers,
        .first_pair = t->first_pair,
        .pairs = t->pairs,
        .values = t->values,
        .dsps = t->dsps,
    };
}

int trainset_learn_encoder(const struct trainset *t, struct encoder **encoder,
                           struct interner **dsps, struct error *err)
{
    const struct collected from = trainset_collected(t);
    struct slices s;
    if (slices_create(&s, t->schema, &from, 0, err) != 0)
        return -1;
    *encoder = s.encoder;
    *dsps = s.dsps;
    s.encoder = NULL;
    s.dsps = NULL;
    slices_dispose(&s);
    return 0;
}
