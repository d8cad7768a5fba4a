/* Conjunctions: do they find campaigns that were planted, and nothing where there is nothing? */
#include "tests/model/fixture.h"
#include "tests/model/synthetic.h"

#include "model/conjunction.h"
#include "model/metrics.h"

static double auc_of(const struct examples *e, const double *score, uint32_t dsp)
{
    struct recall_curve *c = malloc(sizeof(*c));
    float *p = malloc((e->n_pairs + 1) * sizeof(*p));
    float *weight = malloc((e->n_pairs + 1) * sizeof(*weight));
    uint8_t *label = malloc(e->n_pairs + 1);
    uint64_t n = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++)
        if (e->dsp[i] == dsp) {
            p[n] = (float)score[i];
            weight[n] = 1;
            label[n++] = e->label[i];
        }
    assert_int_equal(recall_curve_build(c, p, label, weight, n, NULL), 0);
    double auc = c->auc;
    free(c);
    free(p);
    free(weight);
    free(label);
    return auc;
}

/* The rate that c gives pair i. */
static double rate_of(const struct network_shape *shape, struct conjunctions *c,
                      const struct examples *e, uint64_t i)
{
    struct network n = {.shape = *shape, .conjunctions = c};
    return fixture_rate(&n, e->slots + (size_t)e->request[i] * network_shape_slots(shape),
                        e->dsp[i]);
}

/* Both the usual fit and the longer one of a DSP of many bids; returns the rates' log-likelihood.
 */
static double check_planted(uint32_t bids_many)
{
    struct synthetic w;
    struct synthetic_examples train, later;
    struct conjunction_options o;
    synthetic_init(&w, 3, 6, 4, 8, 8, 5);
    synthetic_draw(&w, 40000, 6, &train);
    synthetic_draw(&w, 10000, 7, &later);
    conjunction_options_default(&o);
    o.bids_many = bids_many;
    struct conjunctions *c = conjunctions_fit(&w.shape, &train.e, &o, NULL, NULL);
    assert_non_null(c);
    double likelihood = 0;
    for (uint64_t i = 0; i < train.e.n_pairs; i++) {
        double rate = rate_of(&w.shape, c, &train.e, i);
        likelihood += train.e.label[i] ? log(-expm1(-rate)) : -rate;
    }
    double *mine = malloc(later.e.n_pairs * sizeof(*mine));
    double *truth = malloc(later.e.n_pairs * sizeof(*truth)), expected = 0, found = 0;
    for (uint64_t i = 0; i < later.e.n_pairs; i++) {
        mine[i] = rate_of(&w.shape, c, &later.e, i);
        truth[i] = (double)later.truth[i];
        expected += 1 - exp(-mine[i]);
        found += later.e.label[i];
    }
    for (uint32_t d = 0; d < 3; d++) {
        double a = auc_of(&later.e, mine, d), best = auc_of(&later.e, truth, d);
        if (!(a > best - 0.05))
            fail_msg("DSP %u: AUC %.4f, the truth has %.4f", d, a, best);
    }
    assert_true(fabs(expected / found - 1) < 0.1);
    free(mine);
    free(truth);
    conjunctions_destroy(c);
    synthetic_examples_dispose(&train);
    synthetic_examples_dispose(&later);
    synthetic_dispose(&w);
    return likelihood;
}

static void test_fit_finds_planted_campaigns(void **state)
{
    double usual = check_planted(UINT32_MAX), longer = check_planted(1);
    if (!(longer > usual + 10))
        fail_msg("log-likelihood of the examples: %.1f, by the longer fit %.1f", usual, longer);
}

/* A value that a DSP never bids on, a feature that says nothing, and a DSP that hardly bids. */
static void test_fit_knows_what_matters(void **state)
{
    enum { REQUESTS = 30000 };
    struct network_feature features[] = {
        {"dsp", 2 + VALUE_FIRST, 2, 1, false}, {"a", 6, 2, 1, false}, {"noise", 12, 2, 1, false}};
    struct network_shape shape = {features, 3, 0, 2, 0, 4, 4, false};
    uint32_t *slots = malloc(REQUESTS * 2 * sizeof(*slots)), *request;
    request = malloc(REQUESTS * 2 * sizeof(*request));
    uint16_t *dsp = malloc(REQUESTS * 2 * sizeof(*dsp));
    uint8_t *label = malloc(REQUESTS * 2);
    float *weight = malloc(REQUESTS * 2 * sizeof(*weight));
    struct prng g = {3};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        slots[2 * i] = VALUE_FIRST + (uint32_t)prng_below(&g, 4);
        slots[2 * i + 1] = VALUE_FIRST + (uint32_t)prng_below(&g, 10);
        for (uint32_t d = 0; d < 2; d++) {
            request[2 * i + d] = i;
            dsp[2 * i + d] = (uint16_t)d;
            weight[2 * i + d] = 1;
            bool targeted = d == 0 && slots[2 * i] == VALUE_FIRST + 1;
            label[2 * i + d] = targeted ? prng_unit(&g) < 0.4 : d == 1 && i < 5;
        }
    }
    struct examples e =
        examples_of(REQUESTS, slots, NULL, REQUESTS * 2, request, dsp, label, weight);
    struct conjunction_options o;
    conjunction_options_default(&o);
    struct conjunctions *c = conjunctions_fit(&shape, &e, &o, NULL, NULL);
    assert_non_null(c);
    assert_int_equal(c->first[0], 0);
    assert_true(c->first[1] > 0);
    assert_int_equal(c->first[2], c->first[1]); /* five bids are no evidence */
    uint32_t row[2] = {VALUE_FIRST + 1, VALUE_FIRST};
    struct network n = {.shape = shape, .conjunctions = c};
    assert_true(fabs(1 - exp(-fixture_rate(&n, row, 0)) - 0.4) < 0.03);
    row[0] = VALUE_FIRST + 2;
    assert_true(fixture_rate(&n, row, 0) < 0.002);
    for (uint32_t v = 0; v < 10; v++) {
        row[0] = VALUE_FIRST + 1;
        row[1] = VALUE_FIRST + v;
        double p = 1 - exp(-fixture_rate(&n, row, 0));
        if (fabs(p - 0.4) > 0.06)
            fail_msg("noise %u moves p to %.3f", v, p);
    }
    conjunctions_destroy(c);
    free(slots);
    free(request);
    free(dsp);
    free(label);
    free(weight);
}

/* A log of which one call in fifty was kept, and weighs fifty, says as much as its calls, not as
 * what they stand for: noise must not become opinion. */
static void test_fit_weights_are_no_evidence(void **state)
{
    enum { REQUESTS = 20000, VALUES = 30 };
    struct network_feature features[] = {{"dsp", 1 + VALUE_FIRST, 2, 1, false},
                                         {"noise", VALUES + VALUE_FIRST, 2, 1, false}};
    struct network_shape shape = {features, 2, 0, 1, 0, 4, 4, false};
    uint32_t *slots = malloc(REQUESTS * sizeof(*slots)), *request;
    request = malloc(REQUESTS * sizeof(*request));
    uint16_t *dsp = calloc(REQUESTS, sizeof(*dsp));
    uint8_t *label = malloc(REQUESTS);
    float *weight = malloc(REQUESTS * sizeof(*weight));
    struct prng g = {9};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        request[i] = i;
        slots[i] = VALUE_FIRST + (uint32_t)prng_below(&g, VALUES);
        label[i] = prng_unit(&g) < 0.02;
        weight[i] = 50;
    }
    struct examples e = examples_of(REQUESTS, slots, NULL, REQUESTS, request, dsp, label, weight);
    struct conjunction_options o;
    conjunction_options_default(&o);
    struct conjunctions *c = conjunctions_fit(&shape, &e, &o, NULL, NULL);
    assert_non_null(c);
    struct network n = {.shape = shape, .conjunctions = c};
    double low = 1, high = 0;
    for (uint32_t v = 0; v < VALUES; v++) {
        uint32_t row = VALUE_FIRST + v;
        double p = 1 - exp(-fixture_rate(&n, &row, 0));
        low = fmin(low, p);
        high = fmax(high, p);
    }
    if (low < 0.01 || high > 0.03)
        fail_msg("p goes from %.4f to %.4f, the truth is 0.02", low, high);
    conjunctions_destroy(c);
    free(slots);
    free(request);
    free(dsp);
    free(label);
    free(weight);
}

/* Seven days; of values 0, 1 and 2 of a feature bids come at 0.3: always, until the fourth day,
 * from the sixth day on. `told`: whether the fit is told of days. */
struct flights {
    double p[3], outlook[3]; /* after the last day; of the bids, on average */
    bool others_stay;        /* calls without a bid count for what they are */
};

static struct flights fit_flights(bool told, uint32_t bids_many)
{
    enum { DAY = 6000, DAYS = 7, REQUESTS = DAY * DAYS };
    static const uint32_t from[3] = {0, 0, 5}, to[3] = {DAYS, 4, DAYS};
    struct network_feature features[] = {
        {"dsp", 1 + VALUE_FIRST, 2, 1, false}, {"a", 8, 2, 1, false}, {"noise", 12, 2, 1, false}};
    struct network_shape shape = {features, 3, 0, 1, 0, 4, 4, false};
    uint32_t *slots = malloc(REQUESTS * 2 * sizeof(*slots)), *request;
    request = malloc(REQUESTS * sizeof(*request));
    uint16_t *dsp = calloc(REQUESTS, sizeof(*dsp)), *day = malloc(REQUESTS * sizeof(*day));
    uint8_t *label = malloc(REQUESTS);
    float *weight = malloc(REQUESTS * sizeof(*weight)), *outlook = malloc(REQUESTS * sizeof(float));
    struct prng g = {11};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t value = (uint32_t)prng_below(&g, 6), today = i / DAY;
        slots[2 * i] = VALUE_FIRST + value;
        slots[2 * i + 1] = VALUE_FIRST + (uint32_t)prng_below(&g, 10);
        request[i] = i;
        day[i] = (uint16_t)today;
        weight[i] = 1;
        label[i] = value < 3 && today >= from[value] && today < to[value] && prng_unit(&g) < 0.3;
    }
    struct examples e = {.n_requests = REQUESTS,
                         .slots = slots,
                         .n_pairs = REQUESTS,
                         .request = request,
                         .dsp = dsp,
                         .label = label,
                         .weight = weight,
                         .n_days = told ? DAYS : 0,
                         .day = told ? day : NULL};
    struct conjunction_options o;
    conjunction_options_default(&o);
    o.bids_many = bids_many;
    struct conjunctions *c = conjunctions_fit(&shape, &e, &o, outlook, NULL);
    assert_non_null(c);
    struct network n = {.shape = shape, .conjunctions = c};
    struct flights found = {.others_stay = true};
    double bids[3] = {0};
    for (uint32_t v = 0; v < 3; v++)
        for (uint32_t k = 0; k < 10; k++) {
            uint32_t row[2] = {VALUE_FIRST + v, VALUE_FIRST + k};
            found.p[v] += (1 - exp(-fixture_rate(&n, row, 0))) / 10;
        }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if (label[i]) {
            bids[slots[2 * i] - VALUE_FIRST]++;
            found.outlook[slots[2 * i] - VALUE_FIRST] += (double)outlook[i];
        } else {
            found.others_stay &= outlook[i] == 1;
        }
    }
    for (uint32_t v = 0; v < 3; v++)
        found.outlook[v] /= bids[v];
    conjunctions_destroy(c);
    free(slots);
    free(request);
    free(dsp);
    free(day);
    free(label);
    free(weight);
    free(outlook);
    return found;
}

static void check_flights(uint32_t bids_many)
{
    struct flights blind = fit_flights(false, bids_many), told = fit_flights(true, bids_many);
    for (int v = 0; v < 3; v++)
        assert_true(blind.outlook[v] == 1);
    assert_true(fabs(blind.p[0] - 0.3) < 0.03 && blind.p[1] > 0.13 && blind.p[2] < 0.12);
    if (fabs(told.p[0] - 0.3) > 0.06 || told.p[1] > 0.06 || told.p[2] < 0.2)
        fail_msg("p of a steady campaign %.3f, an ended one %.3f, a new one %.3f", told.p[0],
                 told.p[1], told.p[2]);
    if (fabs(told.outlook[0] - 1) > 0.15 || told.outlook[1] > 0.3 || told.outlook[2] < 0.7)
        fail_msg("outlook of a steady campaign %.3f, an ended one %.3f, a new one %.3f",
                 told.outlook[0], told.outlook[1], told.outlook[2]);
    assert_true(told.others_stay);
}

static void test_fit_looks_ahead(void **state)
{
    check_flights(UINT32_MAX);
    check_flights(1);
}

static void assert_same(const struct conjunctions *a, const struct conjunctions *b)
{
    assert_int_equal(a->n_units, b->n_units);
    assert_memory_equal(a->rate, b->rate, a->n_units * sizeof(float));
    for (uint32_t f = 0; f < a->n_features; f++) {
        assert_int_equal(a->factor[f] != NULL, b->factor[f] != NULL);
        if (a->factor[f] != NULL)
            assert_memory_equal(a->factor[f], b->factor[f],
                                (size_t)a->values[f] * a->n_units * sizeof(float));
    }
}

static void test_fit_is_the_same_for_any_number_of_threads(void **state)
{
    struct synthetic w;
    struct synthetic_examples train;
    struct conjunction_options o;
    synthetic_init(&w, 3, 4, 0, 8, 8, 5);
    synthetic_draw(&w, 3000, 6, &train);
    conjunction_options_default(&o);
    o.sweeps = 6;
    o.bids_many = 1000;
    struct conjunctions *one = conjunctions_fit(&w.shape, &train.e, &o, NULL, NULL);
    o.threads = 3;
    struct conjunctions *three = conjunctions_fit(&w.shape, &train.e, &o, NULL, NULL);
    o.seed = 2;
    struct conjunctions *other = conjunctions_fit(&w.shape, &train.e, &o, NULL, NULL);
    assert_same(one, three);
    assert_true(other->n_units != one->n_units ||
                memcmp(other->rate, one->rate, one->n_units * sizeof(float)) != 0);
    conjunctions_destroy(one);
    conjunctions_destroy(three);
    conjunctions_destroy(other);
    synthetic_examples_dispose(&train);
    synthetic_dispose(&w);
}

/* Odd data: one feature of 16 slots, some of them empty, and one of one; any labels and weights. */
enum { ODD_SLOTS = 17 };

struct odd {
    struct network_feature features[3];
    struct network_shape shape;
    struct examples e;
    uint32_t *slots, *request;
    uint16_t *dsp;
    uint8_t *label;
    float *weight;
};

/* Every DSP is asked about every request; nobody bids, each call stands for `weight`. */
static void odd_init(struct odd *o, uint32_t n_dsps, uint32_t n_requests, float weight)
{
    static const struct network_feature some[3] = {
        {"dsp", 0, 1, 1, false}, {"many", 20, 1, ODD_SLOTS - 1, false}, {"one", 6, 1, 1, false}};
    struct prng g = {7};
    uint64_t n_pairs = (uint64_t)n_dsps * n_requests;
    memcpy(o->features, some, sizeof(some));
    o->features[0].values = n_dsps + VALUE_FIRST;
    o->shape = (struct network_shape){o->features, 3, 0, n_dsps, 0, 1, 1, false};
    o->slots = calloc((size_t)n_requests * ODD_SLOTS, sizeof(*o->slots));
    o->request = calloc(n_pairs, sizeof(*o->request));
    o->dsp = calloc(n_pairs, sizeof(*o->dsp));
    o->label = calloc(n_pairs, 1);
    o->weight = calloc(n_pairs, sizeof(*o->weight));
    for (uint32_t r = 0; r < n_requests; r++) {
        uint32_t used = 1 + (uint32_t)prng_below(&g, ODD_SLOTS - 1), *slots = o->slots;
        for (uint32_t k = 0; k < ODD_SLOTS; k++)
            slots[r * ODD_SLOTS + k] = k == ODD_SLOTS - 1 ? (uint32_t)prng_below(&g, 6)
                                       : k < used         ? (uint32_t)prng_below(&g, 20)
                                                          : SLOT_EMPTY;
        for (uint32_t d = 0; d < n_dsps; d++) {
            uint64_t i = (uint64_t)r * n_dsps + d;
            o->request[i] = r;
            o->dsp[i] = (uint16_t)d;
            o->weight[i] = weight;
        }
    }
    o->e =
        examples_of(n_requests, o->slots, NULL, n_pairs, o->request, o->dsp, o->label, o->weight);
}

static void odd_dispose(struct odd *o)
{
    free(o->slots);
    free(o->request);
    free(o->dsp);
    free(o->label);
    free(o->weight);
}

/* The DSP's first calls are bids. */
static void odd_bid(struct odd *o, uint32_t dsp, uint32_t n, float weight)
{
    for (uint32_t i = 0; i < n; i++) {
        o->label[(uint64_t)i * o->shape.n_dsps + dsp] = 1;
        o->weight[(uint64_t)i * o->shape.n_dsps + dsp] = weight;
    }
}

/* What a model file may hold, each DSP's units behind those of the one before. */
static struct conjunctions *odd_fit(struct odd *o, uint32_t sweeps)
{
    struct conjunction_options options;
    struct error err = {""};
    conjunction_options_default(&options);
    options.sweeps = sweeps;
    struct conjunctions *c = conjunctions_fit(&o->shape, &o->e, &options, NULL, &err);
    assert_non_null(c);
    assert_true(c->n_units <= CONJUNCTION_UNITS_MAX);
    assert_int_equal(c->first[c->n_dsps], c->n_units);
    for (uint32_t u = 0; u < c->n_units; u++)
        assert_true(c->rate[u] > 0 && c->rate[u] <= CONJUNCTION_MAX);
    for (uint32_t f = 1; f < c->n_features; f++)
        for (size_t i = 0; i < (size_t)c->values[f] * c->n_units; i++)
            assert_true(c->factor[f][i] >= CONJUNCTION_FACTOR_MIN &&
                        c->factor[f][i] <= CONJUNCTION_MAX);
    return c;
}

/* Sum of weights times p of the DSP: to be compared with its bids. */
static double odd_expected(const struct odd *o, struct conjunctions *c, uint32_t dsp)
{
    double sum = 0;
    for (uint64_t i = dsp; i < o->e.n_pairs; i += o->shape.n_dsps)
        sum -= (double)o->weight[i] * expm1(-rate_of(&o->shape, c, &o->e, i));
    return sum;
}

/* Explored calls stand for a thousand each, so that a bid is rarer than a float's digits are fine:
 * once in ten million. */
static void test_fit_of_rare_bids_under_heavy_weights(void **state)
{
    static const struct {
        uint32_t requests, bids;
        float weight, bid_weight;
    } cases[] = {
        {200000, 20, 1000, 1}, {50000, 40, 1000, 1}, {3000, 30, 1, 1000}, {3000, 2900, 1000, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct odd o;
        odd_init(&o, 1, cases[i].requests, cases[i].weight);
        odd_bid(&o, 0, cases[i].bids, cases[i].bid_weight);
        struct conjunctions *c = odd_fit(&o, 12);
        double bids = cases[i].bids * (double)cases[i].bid_weight, found = odd_expected(&o, c, 0);
        if (!(fabs(found / bids - 1) < 0.25))
            fail_msg("case %zu: %g bids expected, there are %g", i, found, bids);
        conjunctions_destroy(c);
        odd_dispose(&o);
    }
}

/* The first DSP does nothing but bid, the second never does, the third is like others. */
static void test_fit_of_one_kind_of_label(void **state)
{
    struct odd o;
    odd_init(&o, 3, 500, 1);
    odd_bid(&o, 0, 500, 1);
    odd_bid(&o, 2, 100, 1);
    struct conjunctions *c = odd_fit(&o, 12);
    assert_int_equal(c->first[2], 0);
    assert_true(c->first[3] > 0);
    conjunctions_destroy(c);
    odd_dispose(&o);
}

/* Then a DSP's rate is all that there is to know. */
static void test_fit_of_requests_that_say_nothing(void **state)
{
    struct odd o;
    odd_init(&o, 2, 2000, 1);
    for (uint32_t r = 0; r < 2000; r++)
        for (uint32_t k = 0; k < ODD_SLOTS; k++)
            o.slots[r * ODD_SLOTS + k] = k % (ODD_SLOTS - 1) == 0 ? VALUE_MISSING : SLOT_EMPTY;
    odd_bid(&o, 0, 200, 1);
    odd_bid(&o, 1, 30, 1);
    struct conjunctions *c = odd_fit(&o, 12);
    for (uint32_t d = 0; d < 2; d++)
        assert_true(fabs(odd_expected(&o, c, d) / (d == 0 ? 200 : 30) - 1) < 0.05);
    conjunctions_destroy(c);
    o.e.n_requests = 1;
    o.e.n_pairs = 2;
    c = odd_fit(&o, 12);
    assert_int_equal(c->n_units, 0);
    conjunctions_destroy(c);
    odd_dispose(&o);
}

/* More DSPs than there is room for: each gives up its least units, and the others make up for them.
 */
static void test_fit_of_more_dsps_than_there_is_room_for(void **state)
{
    enum { DSPS = 1200, BIDS = 40 };
    struct odd o;
    odd_init(&o, DSPS, 2 * BIDS, 1);
    for (uint32_t d = 0; d < DSPS; d++)
        odd_bid(&o, d, BIDS, 1);
    struct conjunctions *c = odd_fit(&o, 1);
    assert_true(c->n_units <= CONJUNCTION_UNITS_MAX && c->n_units > CONJUNCTION_UNITS_MAX - 64);
    for (uint32_t d = 0; d < DSPS; d += 97)
        assert_true(fabs(odd_expected(&o, c, d) / BIDS - 1) < 0.25);
    conjunctions_destroy(c);
    odd_dispose(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_finds_planted_campaigns),
        cmocka_unit_test(test_fit_knows_what_matters),
        cmocka_unit_test(test_fit_weights_are_no_evidence),
        cmocka_unit_test(test_fit_looks_ahead),
        cmocka_unit_test(test_fit_is_the_same_for_any_number_of_threads),
        cmocka_unit_test(test_fit_of_rare_bids_under_heavy_weights),
        cmocka_unit_test(test_fit_of_one_kind_of_label),
        cmocka_unit_test(test_fit_of_requests_that_say_nothing),
        cmocka_unit_test(test_fit_of_more_dsps_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
