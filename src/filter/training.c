/* Cuts by time, trains on the earlier slice, hears the verdict of the later one, and writes the
 * file.
 *
 * The newest traffic is worth most, and it is what the later slice withholds from training. So once
 * it has served its purpose (epochs, calibration, curves), the same recipe is followed again on all
 * of the data, and the result is what the file holds. Both networks give probabilities of the same
 * bids, so the thresholds of the first hold for the second, which has seen more and is a little
 * better than its curves say.
 *
 * Encoded slices are most of the memory. What is to be known of the first training's is found out
 * before the second one begins, and they go; with two threads the trainings run beside each other,
 * and both have theirs. */
#include "filter/training.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "filter/model_file.h"
#include "filter/verdict.h"
#include "filter/warm.h"

struct training {
    const struct trainset *set;
    const struct schema *schema; /* the set's, or what an older model settles of it */
    const struct warm *warm;     /* an older model; NULL */
    const struct training_options *o;
    struct training_report *report;
};

/* How many times a bid weighs in the loss: thresholds lie far below p = 1/2, where plain NLL hardly
 * looks. */
static const float BID_ODDS = 4;

/* Passes over the pairs where none are asked for: many see them less often. */
enum { EPOCHS_MIN = 6, EPOCHS_MAX = 10, EPOCHS_PAIRS = 20000000 };

static uint32_t choose_epochs(uint64_t pairs, enum training_arch arch)
{
    uint64_t n = arch == ARCH_LINEAR ? EPOCHS_MIN : EPOCHS_PAIRS / (pairs + 1);
    return n < EPOCHS_MIN ? EPOCHS_MIN : n > EPOCHS_MAX ? EPOCHS_MAX : (uint32_t)n;
}

void training_options_default(struct training_options *o)
{
    memset(o, 0, sizeof(*o));
    train_options_default(&o->train);
    o->train.epochs_max = 0;
    o->arch = ARCH_FULL;
    o->baseline = true;
    o->hidden1 = 256;
    o->hidden2 = 64;
    o->validation_share = 0.2;
    o->recall_target = 0.97;
    o->confidence = RECALL_CONFIDENCE;
    o->margin = RECALL_MARGIN;
    o->refit = true;
}

static int no_memory(struct error *err)
{
    return error_set(err, "training: out of memory");
}

/* ---- one network ---- */

static int slice(struct slices *s, const struct training *t, double validation_share,
                 struct error *err)
{
    struct collected from = trainset_collected(t->set);
    from.normalisation = t->warm != NULL ? warm_encoder(t->warm) : NULL;
    return slices_create(s, t->schema, &from, validation_share, err);
}

/* A linear model is a network whose hidden layers are one silent unit. */
static void set_arch(struct network_shape *shape, const struct training_options *o,
                     enum training_arch arch)
{
    bool linear = arch == ARCH_LINEAR;
    shape->hidden1 = linear ? 1 : o->hidden1;
    shape->hidden2 = linear ? 1 : o->hidden2;
    shape->gated = arch == ARCH_FULL;
    for (uint32_t f = 0; linear && f < shape->n_features; f++)
        shape->features[f].wide = f != shape->dsp_feature;
}

/* Also sets weight, of all pairs, to what they count for where tomorrow is to be learnt. */
static struct conjunctions *fit_conjunctions(const struct network_shape *shape,
                                             const struct examples *e,
                                             const struct train_options *train, float *weight,
                                             struct error *err)
{
    struct conjunction_options o;
    conjunction_options_default(&o);
    o.seed = train->seed;
    o.threads = train->threads;
    o.progress = train->conjunction_progress;
    o.progress_ctx = train->progress_ctx;
    struct conjunctions *c = conjunctions_fit(shape, e, &o, weight, err);
    for (uint64_t i = 0; i < e->n_pairs; i++)
        weight[i] *= e->weight[i];
    return c;
}

struct start {
    const struct warm *warm;
    const struct slices *slices;
};

static int start_warm(void *ctx, struct network *n)
{
    const struct start *s = ctx;
    return warm_init(s->warm, s->slices->encoder, s->slices->dsps, n);
}

/* On the slices' earlier one. *out is to be destroyed, whether it succeeds or not. */
static int train_on(struct network **out, const struct slices *s, const struct training *t,
                    enum training_arch arch, const struct warm *warm,
                    const struct train_options *given, struct train_report *report,
                    struct error *err)
{
    struct train_options train = *given;
    struct start start = {warm, s};
    struct network_shape shape;
    struct examples examples = s->train.examples;
    struct conjunctions *conjunctions = NULL;
    float *weight = NULL;
    int status = -1;
    if (encoder_shape(s->encoder, interner_count(s->dsps), &shape) != 0)
        return no_memory(err);
    set_arch(&shape, t->o, arch);
    if (warm != NULL) {
        train.init = start_warm;
        train.init_ctx = &start;
        if (warm_check_shape(warm, &shape, err) != 0)
            goto done;
    }
    if (arch == ARCH_FULL) {
        train.bid_odds = BID_ODDS;
        examples.weight = weight = malloc((examples.n_pairs + 1) * sizeof(*weight));
        if (weight == NULL) {
            no_memory(err);
            goto done;
        }
        conjunctions = fit_conjunctions(&shape, &s->train.examples, &train, weight, err);
        if (conjunctions == NULL)
            goto done;
    }
    if (train_network(&shape, &examples, &s->validation.examples, &train, out, report, err) != 0)
        goto done;
    (*out)->conjunctions = conjunctions;
    conjunctions = NULL;
    status = slices_settle_unseen_rows(s, *out) == 0 ? 0 : no_memory(err);
done:
    free(weight);
    conjunctions_destroy(conjunctions);
    network_shape_dispose(&shape);
    return status;
}

/* ---- the network that is judged ---- */

struct judged {
    struct slices slices; /* gone after judge, when there is a second training */
    struct network *network;
    struct verdict verdict;
    struct model_training facts;
};

static void judged_dispose(struct judged *j)
{
    network_destroy(j->network);
    slices_dispose(&j->slices);
    verdict_dispose(&j->verdict);
}

static int train_judged(struct judged *j, const struct training *t, uint32_t threads,
                        struct error *err)
{
    struct train_options train = t->o->train;
    train.threads = threads;
    if (slice(&j->slices, t, t->o->validation_share, err) != 0)
        return -1;
    return train_on(&j->network, &j->slices, t, t->o->arch, t->warm, &train, &t->report->train,
                    err);
}

static void note_facts(struct judged *j, const struct training *t)
{
    const struct slice *train = &j->slices.train, *later = &j->slices.validation;
    const struct trainset_counts *counts = trainset_counts(t->set);
    const struct training_options *o = t->o;
    t->report->pairs_dropped = counts->pairs_dropped + j->slices.pairs_dropped;
    j->facts = (struct model_training){
        .from_ms = train->from_ms,
        .to_ms = train->to_ms,
        .validation_from_ms = later->from_ms,
        .validation_to_ms = later->to_ms,
        .train_pairs = train->examples.n_pairs,
        .train_bids = train->bids,
        .validation_pairs = later->examples.n_pairs,
        .validation_bids = later->bids,
        .requests = counts->requests - counts->requests_repeated,
        .requests_unreadable = counts->requests_unreadable,
        .pairs_dropped = t->report->pairs_dropped,
        .seed = o->train.seed,
        .epochs = t->report->train.epochs,
        .best_epoch = t->report->train.best_epoch,
        .refit = o->refit,
        .learnt_to_ms = o->refit ? later->to_ms : train->to_ms,
        .recall_target = o->recall_target,
        .confidence = o->confidence,
        .margin = o->margin,
    };
}

/* A linear model of the same slices, to compare with. */
static int judge_baseline(const struct judged *j, const struct training *t, struct error *err)
{
    const struct training_options *o = t->o;
    struct train_options train = o->train;
    struct network *linear = NULL;
    struct train_report ignored;
    if (!o->baseline || o->arch == ARCH_LINEAR)
        return 0;
    train.linear = true;
    train.progress = NULL;
    if (train.epochs_max > EPOCHS_MIN)
        train.epochs_max = EPOCHS_MIN;
    int status = train_on(&linear, &j->slices, t, ARCH_LINEAR, NULL, &train, &ignored, err);
    if (status == 0)
        status = verdict_withheld(linear, &j->slices, o->recall_target, &t->report->withheld_linear,
                                  err);
    network_destroy(linear);
    return status;
}

/* Of the judged network, calibrated: the other one has seen the later slice. */
static int ablate(const struct judged *j, const struct training *t, struct error *err)
{
    const struct training_options *o = t->o;
    const struct importance_options options = {.recall = o->recall_target,
                                               .seed = o->train.seed,
                                               .progress = o->ablate_progress,
                                               .progress_ctx = o->train.progress_ctx};
    return importance_measure(&t->report->importance, j->network, t->schema,
                              &j->slices.validation.examples, &options, err);
}

/* All that is asked of the later slice. */
static int judge(struct judged *j, const struct training *t, struct error *err)
{
    note_facts(j, t);
    if (verdict_reach(&j->verdict, j->network, &j->slices, t->o->recall_target, t->o->confidence,
                      err) != 0)
        return -1;
    t->report->withheld = j->verdict.withheld;
    t->report->train.validation_nll = j->verdict.nll; /* calibrated */
    verdict_calibrate(&j->verdict, j->slices.dsps, j->network);
    if (judge_baseline(j, t, err) != 0 || (t->o->ablate && ablate(j, t, err) != 0))
        return -1;
    if (t->o->refit)
        slices_dispose(&j->slices);
    return 0;
}

/* ---- the second training ---- */

/* The same recipe on all of the data. Which epoch is the best is known only when the first training
 * ends, so the parameters of all are kept: the second one may run beside the first, and what comes
 * out does not depend on whether it does. */
struct refit {
    const struct training *training;
    struct slices slices;
    struct network *network;
    uint32_t epochs_stop; /* 0: all of them */
    float **epochs;       /* [epochs_max] parameters, NULL = not reached */
    int status;
    struct error err;
};

static void keep_epoch(void *ctx, uint32_t epoch, const struct network *n)
{
    struct refit *r = ctx;
    float *kept = malloc(n->block_floats * sizeof(*kept));
    if (kept != NULL)
        memcpy(kept, n->block, n->block_floats * sizeof(*kept));
    r->epochs[epoch - 1] = kept;
}

static void *run_refit(void *arg)
{
    struct refit *r = arg;
    const struct training *t = r->training;
    struct train_options train = t->o->train;
    struct train_report ignored;
    train.progress = NULL;
    train.conjunction_progress = NULL;
    train.epochs_stop = r->epochs_stop;
    train.epoch_done = keep_epoch;
    train.epoch_done_ctx = r;
    r->status = slice(&r->slices, t, 0, &r->err);
    if (r->status == 0)
        r->status =
            train_on(&r->network, &r->slices, t, t->o->arch, t->warm, &train, &ignored, &r->err);
    return NULL;
}

static int refit_init(struct refit *r, const struct training *t)
{
    *r = (struct refit){.training = t};
    r->epochs = calloc((size_t)t->o->train.epochs_max + 1, sizeof(*r->epochs));
    return r->epochs != NULL ? 0 : -1;
}

static void refit_dispose(struct refit *r)
{
    for (uint32_t i = 0; r->epochs != NULL && i < r->training->o->train.epochs_max; i++)
        free(r->epochs[i]);
    free(r->epochs);
    network_destroy(r->network);
    slices_dispose(&r->slices);
}

/* To the epoch that the first training found. */
static int refit_settle(struct refit *r, uint32_t best_epoch, struct error *err)
{
    struct network *n = r->network;
    if (r->status != 0)
        return error_set(err, "%s", r->err.text);
    const float *best = r->epochs[best_epoch - 1];
    if (best == NULL)
        return no_memory(err);
    memcpy(n->block, best, n->block_floats * sizeof(*best));
    return slices_settle_unseen_rows(&r->slices, n) == 0 ? 0 : no_memory(err);
}

/* Both trainings, beside each other when there are two threads. */
static int train_both(struct judged *judged, struct refit *again, const struct training *t,
                      struct error *err)
{
    uint32_t threads = t->o->train.threads, best_epoch = 0;
    pthread_t thread;
    bool beside = threads > 1 && pthread_create(&thread, NULL, run_refit, again) == 0;
    int status = train_judged(judged, t, beside ? threads / 2 : threads, err);
    best_epoch = t->report->train.best_epoch;
    if (beside)
        pthread_join(thread, NULL);
    if (status == 0)
        status = judge(judged, t, err);
    if (status == 0 && !beside) {
        again->epochs_stop = best_epoch;
        run_refit(again);
    }
    return status == 0 ? refit_settle(again, best_epoch, err) : -1;
}

/* ---- from end to end ---- */

static int train_and_write(struct training *t, const char *out_path, struct error *err)
{
    struct judged judged = {0};
    struct refit again;
    int status = -1;
    if (refit_init(&again, t) != 0)
        return no_memory(err);
    if (t->o->refit)
        status = train_both(&judged, &again, t, err);
    else if (train_judged(&judged, t, t->o->train.threads, err) == 0)
        status = judge(&judged, t, err);
    if (status == 0) {
        const struct model_file file = {
            .schema = t->schema,
            .wide = t->o->arch == ARCH_LINEAR,
            .network = t->o->refit ? again.network : judged.network,
            .slices = t->o->refit ? &again.slices : &judged.slices,
            .verdict = &judged.verdict,
            .training = judged.facts,
        };
        status = model_file_write(&file, out_path, err);
    }
    judged_dispose(&judged);
    refit_dispose(&again);
    return status;
}

/* A network is judged on what it has not seen, and the older model hands down what it has seen. */
static int check_unseen(const struct training *t, const struct warm *warm, struct error *err)
{
    const struct training_options *o = t->o;
    int64_t first = 0, last = 0, learnt_to = warm_learnt_to_ms(warm);
    if (!trainset_span(t->set, &first, &last))
        return 0; /* refused for that */
    double span = (double)last - (double)first;
    double since = (double)last - (double)learnt_to;
    if (learnt_to < 0 || since > span * o->validation_share)
        return 0;
    if (since <= 0)
        return error_set(err,
                         "warm start: %s has learnt from traffic as new as the newest here: "
                         "nothing is left to judge by; add later captures",
                         o->warm);
    return error_set(err,
                     "warm start: %s has learnt from traffic of the last %g of the time covered, "
                     "which the result would be judged by; a validation share below %.4f leaves "
                     "that out",
                     o->warm, o->validation_share, since / span);
}

static int train_warm(struct training *t, const char *out_path, struct error *err)
{
    struct warm *warm = warm_open(t->o->warm, err);
    struct schema *settled = NULL;
    int status = -1;
    if (warm != NULL && check_unseen(t, warm, err) == 0)
        settled = warm_schema(warm, t->schema, err);
    if (settled != NULL) {
        t->schema = settled;
        t->warm = warm;
        status = train_and_write(t, out_path, err);
    }
    schema_destroy(settled);
    warm_destroy(warm);
    return status;
}

int training_run(const struct trainset *set, const struct training_options *given,
                 const char *out_path, struct training_report *report, struct error *err)
{
    struct training_options o = *given;
    struct training t = {.set = set, .schema = trainset_schema(set), .o = &o, .report = report};
    o.train.linear = o.arch == ARCH_LINEAR;
    if (o.train.epochs_max == 0)
        o.train.epochs_max = choose_epochs(trainset_counts(set)->pairs, o.arch);
    *report = (struct training_report){.withheld = NAN, .withheld_linear = NAN};
    if (!(o.validation_share > 0 && o.validation_share < 1))
        return error_set(err, "training: validation share must be between 0 and 1");
    return (o.warm != NULL ? train_warm : train_and_write)(&t, out_path, err);
}
