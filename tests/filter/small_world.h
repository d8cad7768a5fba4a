/* A world small enough to train on in a test: requests whose features decide, with some noise, who
 * bids. "alpha" buys USA on phones, "beta" one domain, "gamma" almost nothing. */
#ifndef TESTS_FILTER_SMALL_WORLD_H
#define TESTS_FILTER_SMALL_WORLD_H

#include "filter/predictor.h"
#include "filter/training.h"
#include "prng.h"
#include "tests/filter/fixture.h"

enum { SMALL_WORLD_REQUESTS = 4000, SMALL_WORLD_BYTES = 1024 };

static const char SMALL_WORLD_SCHEMA[] =
    "{\"features\":["
    "{\"name\":\"dsp\",\"source\":\"dsp\",\"dim\":4},"
    "{\"name\":\"country\",\"source\":\"geo.country\",\"dim\":4,\"wide\":true},"
    "{\"name\":\"domain\",\"source\":\"property.domain\",\"dim\":4,\"min_count\":3,\"wide\":true},"
    "{\"name\":\"os\",\"source\":\"device.os\",\"dim\":3},"
    "{\"name\":\"floor\",\"source\":\"imp.floor\"},"
    "{\"name\":\"size\",\"source\":\"imp.size\",\"dim\":3,\"slots\":3},"
    "{\"name\":\"hour\",\"source\":\"time.hour\",\"dim\":2},"
    "{\"name\":\"deal_floor\",\"source\":\"imp.deal_floor\"}]}";

struct small_request {
    char json[SMALL_WORLD_BYTES];
    int64_t ts_ms;
    bool alpha, beta, gamma; /* who bids */
};

static inline void small_world_request(uint32_t i, struct small_request *out)
{
    static const char *const countries[] = {"USA", "GBR", "DEU", "FRA"};
    static const char *const systems[] = {"iOS", "Android", "Windows"};
    struct prng g = {i * 7919u + 17};
    uint32_t country = (uint32_t)prng_below(&g, 4), os = (uint32_t)prng_below(&g, 3);
    uint32_t domain = (uint32_t)prng_below(&g, 12);
    double floor = prng_unit(&g) * 3;
    out->ts_ms = FIXTURE_TS + (int64_t)i * 60000;
    snprintf(
        out->json, sizeof(out->json),
        "{\"id\":\"auction-%u\",\"imp\":[{\"id\":\"1\",\"banner\":{\"format\":[{\"w\":300,\"h\":"
        "250},{\"w\":%u,\"h\":90}]},\"bidfloor\":%.2f}],\"site\":{\"domain\":\"site%u.example\"},"
        "\"device\":{\"os\":\"%s\",\"geo\":{\"country\":\"%s\"}}}",
        i, prng_unit(&g) < 0.5 ? 728u : 970u, floor, domain, systems[os], countries[country]);
    out->alpha = prng_unit(&g) < (country == 0 && os < 2 ? 0.7 : 0.002);
    out->beta = prng_unit(&g) < (domain == 3 ? 0.8 : 0.004);
    out->gamma = prng_unit(&g) < 0.002;
}

static inline void small_world_fill(struct trainset *t, uint32_t from, uint32_t n)
{
    for (uint32_t i = from; i < from + n; i++) {
        struct small_request q;
        struct bid_request_error e;
        small_world_request(i, &q);
        struct trainset_pair pairs[] = {
            {bytes_of("beta"), q.beta, 1.0, 2.0},
            {bytes_of("alpha"), q.alpha, i % 3 == 0 ? 0.5 : 1.0, 1.0 + i % 4},
            {bytes_of("gamma"), q.gamma, 1.0, 0}};
        if (!trainset_add(t, q.ts_ms, bytes_of(q.json), pairs, 3, &e))
            fail_msg("%s: %s", e.path, e.reason);
    }
}

static inline void small_world_options(struct training_options *o)
{
    training_options_default(o);
    o->hidden1 = 16;
    o->hidden2 = 8;
    o->train.epochs_max = 12;
    o->train.seed = 5;
    o->train.threads = 1;
}

/* Trains on the small world; the caller unlinks and frees the path. */
static inline char *small_world_model(void)
{
    struct error err = {""};
    struct training_options o;
    struct training_report report;
    struct schema *s = schema_parse(bytes_of(SMALL_WORLD_SCHEMA), "small world", &err);
    assert_non_null(s);
    struct trainset *t = trainset_create(s, NULL);
    small_world_fill(t, 0, SMALL_WORLD_REQUESTS);
    small_world_options(&o);
    char *path = fixture_temporary("", 0);
    if (training_run(t, &o, path, &report, &err) != 0)
        fail_msg("%s", err.text);
    trainset_destroy(t);
    schema_destroy(s);
    return path;
}

/* The scores of all of a model's DSPs for request i. */
static inline void small_world_score(const struct predictor *p, uint32_t i, float *scores)
{
    struct small_request q;
    struct bid_request r;
    struct geo_place place;
    struct arena arena = {0};
    uint32_t dsps[8], n = predictor_info(p)->n_dsps;
    assert_true(n <= 8);
    for (uint32_t d = 0; d < n; d++)
        dsps[d] = d;
    struct predictor_scratch *scratch = predictor_scratch_create(p);
    small_world_request(i, &q);
    fixture_scan(&r, q.json, &arena);
    geo_locate(NULL, &r, &place);
    predictor_score(p, scratch, &r, &place, q.ts_ms, &arena, dsps, n, scores);
    predictor_scratch_destroy(scratch);
    arena_dispose(&arena);
}

#endif
