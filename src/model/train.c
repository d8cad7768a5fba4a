/* The training loop: each epoch draws the negatives anew, shuffles, and walks the mini-batches;
 * then the folded scorer judges the parameters on the validation pairs, all of them, corrected for
 * the downsampling. The best epoch's parameters are the result.
 *
 * Everything random comes from one generator, everything runs in one order, and BLAS splits its
 * products by output: the same seed, data and thread count give the same bytes. */
#include "model/train.h"

#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/adam.h"
#include "model/metrics.h"
#include "model/pass.h"
#include "prng.h"

/* Points of the network that its mean is taken of, over the end of an epoch from here on. */
static const double MEAN_FROM = 0.5;
enum {
    MEAN_POINTS = 16,
    BATCH_MIN = 64,
    STEPS_MIN = 200,            /* steps an epoch should have before batches get larger */
    NEGATIVES_PER_BID = 4,      /* by weight, when the caller leaves the choice to us ... */
    NEGATIVES_MIN = 3000000,    /* ... and all while they are no more */
    WARMUP_STEPS_MAX = 200,     /* the learning rate rises over so many */
    RUN_MAX = 256,              /* DSPs of one request scored at a time */
    BLAS_THREADS_FROM = 100000, /* weights of the second layer */
};

#define PROGRESS_INTERVAL_S 0.25

/* A row of an embedding is touched more rarely than a weight of a layer, a cell of a wide table
 * more rarely still: their steps are so many times longer. */
#define EMBEDDING_PACE 2
#define WIDE_PACE 5

void train_options_default(struct train_options *o)
{
    *o = (struct train_options){.learning_rate = 2e-3f,
                                .weight_decay = 1e-2f,
                                .dropout = 0.05f,
                                .bid_odds = 1,
                                .batch = 512,
                                .epochs_max = 6,
                                .patience = 3,
                                .negative_rate = 0,
                                .seed = 1,
                                .threads = 1};
}

struct trainer {
    const struct train_options *o;
    const struct examples *train, *validation;
    struct network *network;
    struct gradient *gradient;
    struct adam *adam;
    struct pass *pass;
    struct prng random;
    uint32_t *runs;    /* [n_runs + 1] where the pairs of one request begin */
    uint32_t *shuffle; /* [n_runs] this epoch's order of the runs */
    uint32_t *order;   /* pairs of this epoch */
    uint32_t n_runs, n_order, batch;
    float *mean; /* the block's mean over points of the epoch's end */
    uint32_t n_mean;
    float *stepping;     /* the block as the steps left it, while the network is that mean */
    float *best;         /* the block of the best epoch */
    float *validation_p; /* [validation->n_pairs] */
    uint64_t step;
    double mean_weight;
    double started_s, shown_s, busy_s;
    uint64_t busy_pairs;
    struct train_progress progress;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what comes in ---- */

static int check_examples(const struct network_shape *s, const struct examples *e, const char *what,
                          struct error *err)
{
    if (e->n_pairs > UINT32_MAX)
        return error_set(err, "training: more than %u %s pairs", UINT32_MAX, what);
    for (uint64_t i = 0; i < e->n_pairs; i++) {
        if (e->request[i] >= e->n_requests || e->dsp[i] >= s->n_dsps)
            return error_set(err, "training: %s pair %llu names a request or DSP that is not there",
                             what, (unsigned long long)i);
        if (!(e->weight[i] > 0) || !isfinite(e->weight[i]))
            return error_set(err, "training: %s pair %llu has weight %g", what,
                             (unsigned long long)i, e->weight[i]);
    }
    for (size_t i = 0; i < (size_t)e->n_requests * s->n_numeric; i++)
        if (!isfinite(e->numeric[i]))
            return error_set(err, "training: number %zu of %s request %zu is not finite",
                             i % s->n_numeric, what, i / s->n_numeric);
    return 0;
}

static int check_options(const struct train_options *o, struct error *err)
{
    if (!(o->learning_rate > 0 && o->learning_rate <= 1))
        return error_set(err, "training: learning rate %g is not in (0, 1]", o->learning_rate);
    if (!(o->weight_decay >= 0 && o->weight_decay <= 100))
        return error_set(err, "training: weight decay %g is not in [0, 100]", o->weight_decay);
    if (!(o->dropout >= 0 && o->dropout <= 0.9f))
        return error_set(err, "training: dropout %g is not in [0, 0.9]", o->dropout);
    if (!(o->bid_odds > 0 && o->bid_odds <= 1000))
        return error_set(err, "training: bid odds %g are not in (0, 1000]", o->bid_odds);
    if (!(o->negative_rate >= 0 && o->negative_rate <= 1))
        return error_set(err, "training: negative rate %g is not in [0, 1]", o->negative_rate);
    if (o->batch < 1 || o->batch > 1 << 20)
        return error_set(err, "training: batch %u is not in 1..%d", o->batch, 1 << 20);
    if (o->epochs_max < 1 || o->threads < 1 || o->threads > 1024)
        return error_set(err, "training: at least one epoch and 1..1024 threads are needed");
    return 0;
}

struct class_weights {
    double bids, others;
    uint64_t n_bids, n_others;
};

static struct class_weights weigh_classes(const struct examples *e)
{
    struct class_weights c = {0};
    for (uint64_t i = 0; i < e->n_pairs; i++)
        if (e->label[i]) {
            c.bids += e->weight[i];
            c.n_bids++;
        } else {
            c.others += e->weight[i];
            c.n_others++;
        }
    return c;
}

static int init_network(struct trainer *t, const struct network_shape *shape, struct error *err)
{
    struct class_weights c = weigh_classes(t->train);
    if (c.n_bids == 0)
        return error_set(err, "training: no bids among %llu pairs",
                         (unsigned long long)t->train->n_pairs);
    if (c.n_others == 0)
        return error_set(err, "training: nothing but bids among %llu pairs",
                         (unsigned long long)t->train->n_pairs);
    double rate = t->o->negative_rate;
    double least = t->o->linear ? 0 : NEGATIVES_MIN; /* a linear model learns by heart sooner */
    if (rate == 0)
        rate = fmin(1, fmax(NEGATIVES_PER_BID * c.bids / c.others, least / (double)c.n_others));
    t->network = network_create(shape, t->o->seed);
    if (t->network == NULL)
        return error_set(err, "training: no memory for the network");
    t->network->negative_rate = (float)rate;
    if (t->o->linear)
        memset(t->network->output_weight, 0, 2 * (size_t)shape->hidden2 * sizeof(float));
    double drawn_pairs = (double)c.n_bids + rate * (double)c.n_others;
    t->mean_weight = (t->o->bid_odds * c.bids + rate * c.others) / drawn_pairs;
    /* The first logit is the base rate of what will be drawn: no step is spent on finding it. */
    float log_odds = (float)log(c.bids / (rate * c.others));
    t->network->output_bias[1] = log_odds / 2;
    t->network->output_bias[0] = -log_odds / 2;
    if (t->o->init != NULL && t->o->init(t->o->init_ctx, t->network) != 0)
        return error_set(err, "training: no memory for the network");
    double batch = fmin(t->o->batch, fmax(BATCH_MIN, drawn_pairs / STEPS_MIN));
    t->batch = batch < t->o->batch ? (uint32_t)batch : t->o->batch;
    return 0;
}

static int find_runs(struct trainer *t)
{
    const struct examples *e = t->train;
    t->runs = malloc((e->n_pairs + 1) * sizeof(*t->runs));
    t->shuffle = malloc((e->n_pairs + 1) * sizeof(*t->shuffle));
    if (t->runs == NULL || t->shuffle == NULL)
        return -1;
    for (uint32_t i = 0; i < e->n_pairs; i++)
        if (i == 0 || e->request[i] != e->request[i - 1]) {
            t->shuffle[t->n_runs] = t->n_runs;
            t->runs[t->n_runs++] = i;
        }
    t->runs[t->n_runs] = (uint32_t)e->n_pairs;
    return 0;
}

static int init_trainer(struct trainer *t, const struct network_shape *shape, struct error *err)
{
    if (init_network(t, shape, err) != 0)
        return -1;
    t->random = (struct prng){t->o->seed ^ 0x747261696e657221u};
    t->gradient = gradient_create(t->network, t->batch);
    if (t->gradient != NULL)
        t->adam = adam_create(t->network, t->gradient);
    t->pass = pass_create(t->network, t->batch);
    t->order = malloc(t->train->n_pairs * sizeof(*t->order));
    t->mean = malloc(t->network->block_floats * sizeof(*t->mean));
    t->stepping = malloc(t->network->block_floats * sizeof(*t->stepping));
    t->best = malloc(t->network->block_floats * sizeof(*t->best));
    t->validation_p = malloc(t->validation->n_pairs * sizeof(*t->validation_p) + 1);
    if (t->gradient == NULL || t->adam == NULL || t->pass == NULL || t->order == NULL ||
        t->mean == NULL || t->stepping == NULL || t->best == NULL || t->validation_p == NULL ||
        find_runs(t) != 0)
        return error_set(err, "training: no memory");
    memcpy(t->best, t->network->block, t->network->block_floats * sizeof(*t->best));
    return 0;
}

static void dispose_trainer(struct trainer *t)
{
    pass_destroy(t->pass);
    adam_destroy(t->adam);
    gradient_destroy(t->gradient);
    network_destroy(t->network);
    free(t->order);
    free(t->runs);
    free(t->shuffle);
    free(t->mean);
    free(t->stepping);
    free(t->best);
    free(t->validation_p);
}

/* ---- an epoch ---- */

/* What a request costs, it costs once for all its pairs in a batch: requests are shuffled, not
 * pairs. */
static void draw_order(struct trainer *t)
{
    const struct examples *e = t->train;
    double rate = t->network->negative_rate;
    for (uint32_t i = t->n_runs; i > 1; i--) {
        uint32_t other = (uint32_t)prng_below(&t->random, i), swap = t->shuffle[i - 1];
        t->shuffle[i - 1] = t->shuffle[other];
        t->shuffle[other] = swap;
    }
    t->n_order = 0;
    for (uint32_t k = 0; k < t->n_runs; k++)
        for (uint32_t i = t->runs[t->shuffle[k]]; i < t->runs[t->shuffle[k] + 1]; i++)
            if (e->label[i] || rate >= 1 || prng_unit(&t->random) < rate)
                t->order[t->n_order++] = i;
}

static void show_progress(struct trainer *t, bool always)
{
    double now = now_s();
    if (t->o->progress == NULL || (!always && now - t->shown_s < PROGRESS_INTERVAL_S))
        return;
    t->shown_s = now;
    t->o->progress(t->o->progress_ctx, &t->progress);
}

/* Rises over the first steps, then falls along a cosine to nothing at the last epoch. */
static float learning_rate(const struct trainer *t, double epoch)
{
    double rate = t->o->learning_rate;
    rate *= 0.5 * (1 + cos(3.14159265358979 * epoch / t->o->epochs_max));
    if (t->step < WARMUP_STEPS_MAX)
        rate *= (double)(t->step + 1) / WARMUP_STEPS_MAX;
    return (float)rate;
}

/* Steps at a rate that learns also jump about the minimum. The mean of where they have been is
 * nearer to it (Polyak and Juditsky 1992), and it is the mean that is validated and kept, while the
 * steps go on from where they are. `share`: of the epoch that is done. */
static void note_mean(struct trainer *t, double share)
{
    double next = MEAN_FROM + (1 - MEAN_FROM) * (t->n_mean + 1) / MEAN_POINTS;
    if (share < next)
        return;
    const float *now = t->network->block;
    t->n_mean++;
    for (size_t i = 0; i < t->network->block_floats; i++)
        t->mean[i] += (now[i] - t->mean[i]) / (float)t->n_mean;
}

static void begin_mean(struct trainer *t)
{
    t->n_mean = 0;
    memset(t->mean, 0, t->network->block_floats * sizeof(*t->mean));
}

static void take_mean(struct trainer *t)
{
    size_t bytes = t->network->block_floats * sizeof(*t->mean);
    memcpy(t->stepping, t->network->block, bytes);
    if (t->n_mean > 0)
        memcpy(t->network->block, t->mean, bytes);
}

static void step_on(struct trainer *t)
{
    memcpy(t->network->block, t->stepping, t->network->block_floats * sizeof(*t->stepping));
}

static void train_epoch(struct trainer *t, uint32_t epoch)
{
    double nll = 0, weight = 0, begun_s = now_s();
    draw_order(t);
    begin_mean(t);
    for (uint32_t from = 0; from < t->n_order; from += t->batch) {
        uint32_t n = t->n_order - from < t->batch ? t->n_order - from : t->batch;
        double share = (double)from / t->n_order;
        struct pass_terms terms = {(float)(1 / (t->mean_weight * t->batch)), t->o->dropout,
                                   t->o->bid_odds};
        float rate = learning_rate(t, epoch + share);
        float of_layers = t->o->linear ? 0 : rate;
        struct adam_rates rates = {of_layers, EMBEDDING_PACE * of_layers, WIDE_PACE * rate,
                                   t->o->weight_decay};
        struct pass_loss loss = pass_run(t->pass, t->network, t->train, t->order + from, n, &terms,
                                         &t->random, t->gradient);
        adam_step(t->adam, t->network, t->gradient, &rates);
        gradient_clear(t->gradient);
        t->step++;
        nll += loss.nll;
        weight += loss.weight;
        t->progress.epoch_share = (double)(from + n) / t->n_order;
        note_mean(t, t->progress.epoch_share);
        t->progress.train_nll = nll / weight;
        t->progress.examples_per_second =
            (double)(t->busy_pairs + from + n) / (t->busy_s + now_s() - begun_s + 1e-9);
        show_progress(t, false);
    }
    t->busy_pairs += t->n_order;
    t->busy_s += now_s() - begun_s;
}

/* ---- validation ---- */

/* All pairs of one request that stand together are one batch of the scorer, as in serving. */
static int score_all(const struct network *n, const struct examples *e, float *p, struct error *err)
{
    uint32_t dsps[RUN_MAX], slots = network_shape_slots(&n->shape);
    struct scorer *s = scorer_create(n, err);
    if (s == NULL)
        return -1;
    struct scorer_scratch *scratch = scorer_scratch_create(s);
    if (scratch == NULL) {
        scorer_destroy(s);
        return error_set(err, "training: no memory");
    }
    for (uint64_t i = 0; i < e->n_pairs;) {
        uint32_t request = e->request[i], run = 0;
        uint64_t first = i;
        for (; i < e->n_pairs && e->request[i] == request && run < RUN_MAX; i++)
            dsps[run++] = e->dsp[i];
        const float *numeric =
            n->shape.n_numeric > 0 ? e->numeric + (size_t)request * n->shape.n_numeric : NULL;
        scorer_score(s, scratch, e->slots + (size_t)request * slots, numeric, dsps, run, p + first);
    }
    scorer_scratch_destroy(scratch);
    scorer_destroy(s);
    return 0;
}

static double weighted_nll(const struct examples *e, const float *p)
{
    double nll = 0, weight = 0;
    for (uint64_t i = 0; i < e->n_pairs; i++) {
        double sure = e->label[i] ? p[i] : 1 - (double)p[i];
        nll -= e->weight[i] * log(sure > 1e-12 ? sure : 1e-12);
        weight += e->weight[i];
    }
    return nll / weight;
}

/* Without validation pairs every epoch is as good as the next: the last one wins. */
static int train_epochs(struct trainer *t, struct train_report *report, struct error *err)
{
    double best = INFINITY;
    t->progress.epochs_max = t->o->epochs_max;
    t->progress.validation_nll = NAN;
    uint32_t end = t->o->epochs_max;
    if (t->o->epochs_stop > 0 && t->o->epochs_stop < end)
        end = t->o->epochs_stop;
    for (uint32_t epoch = 0; epoch < end; epoch++) {
        t->progress.epoch = epoch + 1;
        train_epoch(t, epoch);
        take_mean(t);
        report->epochs = epoch + 1;
        if (t->o->epoch_done != NULL)
            t->o->epoch_done(t->o->epoch_done_ctx, epoch + 1, t->network);
        double nll = NAN;
        if (t->validation->n_pairs > 0) {
            if (score_all(t->network, t->validation, t->validation_p, err) != 0)
                return -1;
            nll = weighted_nll(t->validation, t->validation_p);
        }
        t->progress.validation_nll = nll;
        show_progress(t, true);
        if (nll < best || t->validation->n_pairs == 0) {
            best = nll;
            report->best_epoch = epoch + 1;
            memcpy(t->best, t->network->block, t->network->block_floats * sizeof(*t->best));
        } else if (epoch + 1 - report->best_epoch >= t->o->patience) {
            break;
        }
        step_on(t);
    }
    if (report->best_epoch == 0)
        return error_set(err, "training: diverged; try a lower learning rate than %g",
                         t->o->learning_rate);
    memcpy(t->network->block, t->best, t->network->block_floats * sizeof(*t->best));
    return 0;
}

static int fill_report(struct trainer *t, struct train_report *report, struct error *err)
{
    const struct examples *e = t->validation;
    report->validation_nll = report->validation_auc = NAN;
    if (e->n_pairs > 0) {
        struct recall_curve *curve = calloc(1, sizeof(*curve));
        if (curve == NULL)
            return error_set(err, "training: no memory");
        int status = score_all(t->network, e, t->validation_p, err);
        if (status == 0)
            status =
                recall_curve_build(curve, t->validation_p, e->label, e->weight, e->n_pairs, err);
        report->validation_nll = curve->nll;
        report->validation_auc = curve->auc;
        free(curve);
        if (status != 0)
            return -1;
    }
    report->seconds = now_s() - t->started_s;
    report->examples_per_second = (double)t->busy_pairs / (t->busy_s + 1e-9);
    return 0;
}

/* The products of a batch at 256/64 take less time than to wake a thread and wait for it: on a busy
 * machine two threads are slower than one. */
static int blas_threads(const struct network_shape *s, const struct train_options *o)
{
    return (uint64_t)s->hidden1 * s->hidden2 >= BLAS_THREADS_FROM ? (int)o->threads : 1;
}

int train_network(const struct network_shape *shape, const struct examples *train,
                  const struct examples *validation, const struct train_options *options,
                  struct network **out, struct train_report *report, struct error *err)
{
    struct trainer t = {
        .o = options, .train = train, .validation = validation, .started_s = now_s()};
    *out = NULL;
    memset(report, 0, sizeof(*report));
    if (network_shape_check(shape, err) != 0 || check_options(options, err) != 0 ||
        check_examples(shape, train, "training", err) != 0 ||
        check_examples(shape, validation, "validation", err) != 0)
        return -1;
    openblas_set_num_threads(blas_threads(shape, options));
    int status = init_trainer(&t, shape, err);
    if (status == 0)
        status = train_epochs(&t, report, err);
    if (status == 0)
        status = fill_report(&t, report, err);
    if (status == 0) {
        *out = t.network;
        t.network = NULL;
    }
    dispose_trainer(&t);
    return status;
}
