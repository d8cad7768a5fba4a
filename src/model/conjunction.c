/* One DSP at a time, one member at a time: all of its bids and a sample of the other calls, a
 * column a slot, are given to a fit (conjunction_fit.h). The units of all fits become a table a
 * feature. */
#include "model/conjunction.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model/conjunction_fit.h"
#include "model/network.h"
#include "model/train.h"
#include "prng.h"

enum {
    BIDS_MIN = 20,
    CALLS_PER_BID = 10,    /* of those without one, in the sample */
    CALLS_MIN = 20000,     /* likewise, however few the bids */
    CALLS_ENOUGH = 300000, /* beyond them, CALLS_PER_BID_MIN a bid will do */
    CALLS_PER_BID_MIN = 3,
    BIDS_MAX = 500000,
};

/* While they are fitted, all members of all DSPs together: 2 GiB. */
static const uint64_t FITTED_FACTORS_MAX = 1 << 29;
/* A unit that answers for fewer bids is left out. */
static const double UNIT_BIDS_MIN = 0.5;

/* ---- the parts ---- */

void conjunctions_destroy(struct conjunctions *c)
{
    if (c == NULL)
        return;
    for (uint32_t f = 0; c->factor != NULL && f < c->n_features; f++)
        free(c->factor[f]);
    free(c->factor);
    free(c->values);
    free(c->first);
    free(c->share);
    free(c->rate);
    free(c->dsp);
    free(c);
}

struct conjunctions *conjunctions_create(const struct network_shape *shape, uint32_t n_units)
{
    struct conjunctions *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->n_features = shape->n_features;
    c->n_dsps = shape->n_dsps;
    c->n_units = n_units;
    c->first = calloc((size_t)shape->n_dsps + 1, sizeof(*c->first));
    c->share = malloc(((size_t)shape->n_dsps + 1) * sizeof(*c->share));
    c->rate = calloc((size_t)n_units + 1, sizeof(*c->rate));
    c->dsp = calloc((size_t)n_units + 1, sizeof(*c->dsp));
    c->factor = calloc(shape->n_features, sizeof(*c->factor));
    c->values = calloc(shape->n_features, sizeof(*c->values));
    bool ok = c->first != NULL && c->share != NULL && c->rate != NULL && c->dsp != NULL &&
              c->factor != NULL && c->values != NULL;
    for (uint32_t d = 0; ok && d < shape->n_dsps; d++)
        c->share[d] = 0.5f;
    for (uint32_t f = 0; ok && f < shape->n_features; f++) {
        c->values[f] = shape->features[f].values;
        if (f == shape->dsp_feature)
            continue;
        size_t n = (size_t)c->values[f] * n_units;
        c->factor[f] = malloc((n + 1) * sizeof(*c->factor[f]));
        ok = c->factor[f] != NULL;
        for (size_t i = 0; ok && i < n; i++)
            c->factor[f][i] = 1;
    }
    if (ok)
        return c;
    conjunctions_destroy(c);
    return NULL;
}

int conjunctions_index(struct conjunctions *c)
{
    uint32_t u = 0;
    for (uint32_t d = 0; d < c->n_dsps; d++) {
        c->first[d] = u;
        while (u < c->n_units && c->dsp[u] == (float)d)
            u++;
    }
    c->first[c->n_dsps] = u;
    return u == c->n_units ? 0 : -1;
}

void conjunction_options_default(struct conjunction_options *o)
{
    *o = (struct conjunction_options){
        .members = 4, .sweeps = 12, .bids_many = 10000, .seed = 1, .threads = 1};
}

/* ---- the sample of one DSP ---- */

struct job {
    const struct network_shape *shape;
    const struct examples *e;
    const struct conjunction_options *o;
    uint32_t members;           /* of each DSP */
    struct fit_column *columns; /* the day behind them, if days are told apart */
    uint32_t n_columns, n_rows, n_slots;
    bool days;
    float *outlook;        /* [pairs] of all members so far; or NULL */
    struct fitted *fitted; /* [dsps][members], factor NULL: no fit */
    pthread_mutex_t lock;
    uint32_t next, done;
    bool failed;
};

/* Which pairs: all bids, then the others with the same chance each; their weights say what they
 * stand for. */
static uint32_t choose_pairs(const struct job *j, uint32_t dsp, struct prng *g, uint64_t **pairs,
                             float **weights, uint32_t *n_bids)
{
    const struct examples *e = j->e;
    uint64_t bids = 0, others = 0, n = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++)
        if (e->dsp[i] == dsp) {
            bids += e->label[i] != 0;
            others += e->label[i] == 0;
        }
    double keep_bid = fmin(1, BIDS_MAX / fmax(1, (double)bids)), kept = keep_bid * (double)bids;
    double wanted =
        fmin(fmax(CALLS_MIN, CALLS_PER_BID * kept), fmax(CALLS_ENOUGH, CALLS_PER_BID_MIN * kept));
    double keep = fmin(1, wanted / fmax(1, (double)others));
    uint64_t room = (uint64_t)((double)bids * keep_bid + (double)others * keep) + 10000;
    room = room < bids + others ? room : bids + others;
    *pairs = malloc((room + 1) * sizeof(**pairs));
    *weights = malloc((room + 1) * sizeof(**weights));
    if (*pairs == NULL || *weights == NULL)
        return 0;
    for (int bid = 1; bid >= 0; bid--) {
        double chance = bid ? keep_bid : keep;
        for (uint64_t i = 0; i < e->n_pairs && n < room; i++)
            if (e->dsp[i] == dsp && (e->label[i] != 0) == bid &&
                (chance >= 1 || prng_unit(g) < chance)) {
                (*pairs)[n] = i;
                (*weights)[n++] = (float)((double)e->weight[i] / chance);
            }
        if (bid)
            *n_bids = (uint32_t)n;
    }
    return (uint32_t)n;
}

/* The sample's calls, a column a slot, as rows of the tables. */
static uint32_t *load_rows(const struct job *j, const uint64_t *pairs, uint32_t n)
{
    uint32_t *rows = malloc(((size_t)j->n_slots * n + 1) * sizeof(*rows));
    uint32_t n_all = network_shape_slots(j->shape);
    if (rows == NULL)
        return NULL;
    uint32_t at = 0, column = 0;
    for (uint32_t f = 0; f < j->shape->n_features; f++) {
        const struct network_feature *feature = &j->shape->features[f];
        if (f == j->shape->dsp_feature)
            continue;
        if (column < j->n_columns && j->columns[column].feature == f) {
            const struct fit_column *c = &j->columns[column++];
            for (uint32_t k = 0; k < c->slots; k++)
                for (uint32_t i = 0; i < n; i++) {
                    uint32_t v = j->e->slots[(size_t)j->e->request[pairs[i]] * n_all + at + k];
                    rows[(size_t)(c->at + k) * n + i] =
                        v == SLOT_EMPTY ? SLOT_EMPTY : c->row + (v < c->values ? v : VALUE_UNKNOWN);
                }
        }
        at += feature->slots;
    }
    const struct fit_column *day = &j->columns[j->n_columns];
    for (uint32_t i = 0; i < n && j->days; i++)
        rows[(size_t)day->at * n + i] = day->row + j->e->day[j->e->request[pairs[i]]];
    return rows;
}

/* Each of the members has its share in the outlook. */
static void add_outlook(const struct job *j, const uint64_t *pairs, uint32_t n, const float *of)
{
    for (uint32_t i = 0; i < n; i++)
        j->outlook[pairs[i]] += (of[i] - 1) / (float)j->members;
}

static int fit_dsp_member(struct job *j, uint32_t dsp, uint32_t member)
{
    struct prng g = {j->o->seed + UINT64_C(0x9e3779b97f4a7c15) * (dsp * 64 + member + 1)};
    struct fit_sample s = {.columns = j->columns,
                           .n_columns = j->n_columns + j->days,
                           .n_rows = j->n_rows,
                           .n_slots = j->n_slots};
    uint64_t *pairs = NULL;
    float *weights = NULL, *outlook = NULL;
    uint32_t *rows = NULL;
    int status = -1;
    s.n = choose_pairs(j, dsp, &g, &pairs, &weights, &s.n_bids);
    if (pairs == NULL || weights == NULL)
        goto done;
    if (s.n_bids < BIDS_MIN || s.n_bids == s.n) {
        status = 0;
        goto done;
    }
    s.weight = weights;
    s.rows = rows = load_rows(j, pairs, s.n);
    outlook = malloc(s.n_bids * sizeof(*outlook));
    if (rows == NULL || outlook == NULL)
        goto done;
    status = fit_units(&j->fitted[(size_t)dsp * j->members + member], &s, j->o, &g, outlook);
    if (status == 0 && j->days && j->outlook != NULL)
        add_outlook(j, pairs, s.n_bids, outlook);
done:
    free(pairs);
    free(weights);
    free(rows);
    free(outlook);
    return status;
}

static void *work(void *arg)
{
    struct job *j = arg;
    pthread_mutex_lock(&j->lock);
    while (j->next < j->shape->n_dsps && !j->failed) {
        uint32_t mine = j->next++;
        int status = 0;
        pthread_mutex_unlock(&j->lock);
        for (uint32_t member = 0; member < j->members && status == 0; member++)
            status = fit_dsp_member(j, mine, member);
        pthread_mutex_lock(&j->lock);
        j->failed |= status != 0;
        j->done++;
        if (j->o->progress != NULL)
            j->o->progress(j->o->progress_ctx, j->done, j->shape->n_dsps);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- all of them ---- */

/* A feature with one value for all requests says nothing. */
static int choose_columns(struct job *j)
{
    const struct network_shape *s = j->shape;
    uint32_t n_all = network_shape_slots(s), at = 0;
    j->columns = calloc((size_t)s->n_features + 1, sizeof(*j->columns));
    if (j->columns == NULL)
        return -1;
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct network_feature *feature = &s->features[f];
        if (f == s->dsp_feature)
            continue;
        bool differs = false;
        for (uint32_t r = 1; r < j->e->n_requests && !differs; r++)
            differs = memcmp(j->e->slots + at, j->e->slots + (size_t)r * n_all + at,
                             feature->slots * sizeof(uint32_t)) != 0;
        if (differs) {
            j->columns[j->n_columns++] =
                (struct fit_column){f, feature->slots, j->n_slots, feature->values, j->n_rows};
            j->n_slots += feature->slots;
            j->n_rows += feature->values;
        }
        at += feature->slots;
    }
    j->days = j->e->n_days > 1;
    if (j->days) {
        j->columns[j->n_columns] =
            (struct fit_column){FIT_DAY, 1, j->n_slots++, j->e->n_days, j->n_rows};
        j->n_rows += j->e->n_days;
    }
    return 0;
}

static uint32_t members_that_fit(const struct job *j)
{
    uint64_t each = ((uint64_t)j->n_rows + 1) * j->shape->n_dsps * FIT_UNITS;
    uint64_t n = FITTED_FACTORS_MAX / each;
    return n < 1 ? 1 : n < j->o->members ? (uint32_t)n : j->o->members;
}

static bool worth_keeping(const struct fitted *m, uint32_t u, double bids_min)
{
    return (double)m->bids[u] >= bids_min && m->base[u] > 0 && m->base[u] <= CONJUNCTION_MAX;
}

static uint64_t units_with(const struct job *j, double bids_min)
{
    uint64_t n = 0;
    for (uint32_t m = 0; m < j->shape->n_dsps * j->members; m++)
        for (uint32_t u = 0; u < j->fitted[m].width; u++)
            n += worth_keeping(&j->fitted[m], u, bids_min);
    return n;
}

/* What the units that stay are to be multiplied by, to answer for those that do not. */
static float makes_up(const struct fitted *m, double bids_min)
{
    double all = 0, kept = 0;
    for (uint32_t u = 0; u < m->width; u++) {
        all += (double)m->bids[u];
        kept += worth_keeping(m, u, bids_min) ? (double)m->bids[u] : 0;
    }
    return kept > 0 ? (float)(all / kept) : 1;
}

static void copy_unit(const struct job *j, struct conjunctions *c, const struct fitted *m,
                      uint32_t u, float rate, uint32_t to)
{
    c->dsp[to] = (float)((m - j->fitted) / j->members);
    c->rate[to] = fminf(rate, CONJUNCTION_MAX);
    for (uint32_t k = 0; k < j->n_columns; k++) {
        const struct fit_column *column = &j->columns[k];
        float *table = c->factor[column->feature];
        for (uint32_t v = 0; v < column->values; v++) {
            float factor =
                fminf(m->factor[(size_t)(column->row + v) * m->width + u], CONJUNCTION_MAX);
            table[(size_t)v * c->n_units + to] =
                factor >= CONJUNCTION_FACTOR_MIN ? factor : CONJUNCTION_FACTOR_MIN;
        }
    }
}

/* The fewest bids with which a unit is kept, so that all that are have room. */
static double least_bids(const struct job *j)
{
    uint64_t room = CONJUNCTION_FACTORS_MAX / ((uint64_t)j->n_rows + 1);
    double low = UNIT_BIDS_MIN, high = UNIT_BIDS_MIN;
    room = room < CONJUNCTION_UNITS_MAX ? room : CONJUNCTION_UNITS_MAX;
    while (units_with(j, high) > room)
        high *= 2;
    for (int i = 0; i < 30 && high > UNIT_BIDS_MIN; i++) {
        double middle = (low + high) / 2;
        *(units_with(j, middle) > room ? &low : &high) = middle;
    }
    return high;
}

static struct conjunctions *assemble(const struct job *j)
{
    double bids_min = least_bids(j);
    struct conjunctions *c = conjunctions_create(j->shape, (uint32_t)units_with(j, bids_min));
    uint32_t to = 0;
    for (uint32_t m = 0; c != NULL && m < j->shape->n_dsps * j->members; m++) {
        const struct fitted *f = &j->fitted[m];
        float scale = makes_up(f, bids_min) / (float)j->members;
        for (uint32_t u = 0; u < f->width; u++)
            if (worth_keeping(f, u, bids_min))
                copy_unit(j, c, f, u, f->base[u] * scale, to++);
    }
    if (c != NULL)
        conjunctions_index(c);
    return c;
}

static void run_workers(struct job *j)
{
    uint32_t n = j->o->threads < j->shape->n_dsps ? j->o->threads : j->shape->n_dsps, started = 0;
    pthread_t threads[64];
    pthread_mutex_init(&j->lock, NULL);
    while (started + 1 < n && started < 64 && pthread_create(&threads[started], NULL, work, j) == 0)
        started++;
    work(j);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&j->lock);
}

struct conjunctions *conjunctions_fit(const struct network_shape *shape, const struct examples *e,
                                      const struct conjunction_options *o, float *outlook,
                                      struct error *err)
{
    assert(o->members >= 1 && o->threads >= 1);
    struct job j = {.shape = shape, .e = e, .o = o, .outlook = outlook};
    struct conjunctions *c = NULL;
    uint32_t n_members = 0;
    for (uint64_t i = 0; i < e->n_pairs && outlook != NULL; i++)
        outlook[i] = 1;
    if (choose_columns(&j) == 0) {
        j.members = members_that_fit(&j);
        n_members = shape->n_dsps * j.members;
        j.fitted = calloc((size_t)n_members + 1, sizeof(*j.fitted));
    }
    if (j.fitted != NULL) {
        run_workers(&j);
        c = j.failed ? NULL : assemble(&j);
    }
    for (uint32_t m = 0; j.fitted != NULL && m < n_members; m++)
        free(j.fitted[m].factor);
    free(j.fitted);
    free(j.columns);
    if (c == NULL)
        error_set(err, "training: out of memory");
    return c;
}
