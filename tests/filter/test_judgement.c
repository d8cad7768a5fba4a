/* Scores of several DSPs: calibrated, drawn as curves, counted; and a model file that is given the
 * outcome. */
#include "tests/filter/small_world.h"

#include "filter/judgement.h"
#include "filter/recalibration.h"

enum { DSPS = 4, PAIRS = 20000 };

/* DSP 0 says the truth, 1 too much, 2 has no price, 3 nothing at all. */
static struct judgement *made(void)
{
    struct judgement *j = judgement_create(DSPS);
    struct prng g = {4};
    for (uint32_t i = 0; i < PAIRS; i++)
        for (uint32_t d = 0; d < 3; d++) {
            double logit = -2.5 + 1.5 * prng_normal(&g), says = logit + (d == 1 ? 0.7 : 0);
            bool bid = prng_unit(&g) < 1 / (1 + exp(-logit));
            judgement_add(j, d, (float)(1 / (1 + exp(-says))), bid, i % 5 == 0 ? 2 : 1,
                          d == 2 || i % 4 == 0 ? 0 : 1 + (float)(i % 3));
        }
    return j;
}

static void free_curves(struct recall_curve **curves)
{
    for (uint32_t d = 0; d < DSPS; d++)
        free(curves[d]);
}

static void test_calibrate_and_curves(void **state)
{
    struct judgement *j = made();
    struct calibration fit[DSPS];
    struct recall_curve *before[DSPS], *after[DSPS], *value[DSPS];
    struct error err;
    assert_int_equal(judgement_curves(j, RECALL_OF_BIDS, 0.7, before, &err), 0);
    assert_int_equal(judgement_calibrate(j, fit, &err), 0);
    assert_true(fabs(fit[0].intercept) < 0.15 && fabs(fit[1].intercept + 0.7) < 0.15);
    assert_int_equal(judgement_curves(j, RECALL_OF_BIDS, 0.7, after, &err), 0);
    for (uint32_t d = 0; d < 3; d++) { /* a monotone map: the same recalls at the same shares */
        assert_true(fabs(after[d]->calibration - 1) < 0.02);
        assert_int_equal(before[d]->n, after[d]->n);
        for (uint32_t i = 0; i < after[d]->n; i++) {
            assert_true(before[d]->points[i].recall == after[d]->points[i].recall);
            assert_true(before[d]->points[i].withheld == after[d]->points[i].withheld);
        }
    }
    assert_null(after[3]);
    /* three quarters of the bids of 0 and 1 have a price */
    assert_int_equal(judgement_curves(j, RECALL_OF_VALUE, 0.7, value, &err), 0);
    assert_true(value[0] != NULL && value[1] != NULL && value[2] == NULL && value[3] == NULL);
    assert_true(value[0]->bids < after[0]->bids && value[0]->bids > after[0]->bids / 2);
    /* a threshold is below the score that it stands for, and keeps what the curve says */
    for (int of = 0; of < 2; of++) {
        struct recall_curve *c = of == RECALL_OF_VALUE ? value[0] : after[0];
        for (uint32_t i = 0; i < c->n; i++) {
            struct tally t = {0};
            judgement_tally(j, 0, c->points[i].threshold, (enum recall_of)of, &t);
            double recall = tally_result(&t, 0.95).recall;
            assert_true(recall > (double)c->points[i].recall - 1e-5 &&
                        recall < (double)c->points[i].recall + 1e-3);
        }
    }
    struct tally all = {0};
    judgement_tally(j, 0, NAN, RECALL_OF_BIDS, &all);
    assert_true(all.calls == PAIRS && all.withheld == 0 && tally_result(&all, 0.95).recall == 1);
    struct recall_curve overall;
    assert_int_equal(judgement_overall(j, &overall, &err), 0);
    assert_int_equal(overall.pairs, 3 * PAIRS);
    free_curves(before);
    free_curves(after);
    free_curves(value);
    judgement_destroy(j);
    judgement_destroy(NULL);
}

/* Where many score alike, another training has them a little higher or lower: all stay on their
 * side. */
static void test_thresholds_stand_between_scores(void **state)
{
    static const float scores[] = {0.3f, 0.1f, 0};
    struct judgement *j = judgement_create(1);
    struct recall_curve *curve;
    struct error err;
    for (int i = 0; i < 3000; i++)
        judgement_add(j, 0, scores[i % 3], i % 3 == 0 && i % 9 < 3, 1, 0);
    assert_int_equal(judgement_curves(j, RECALL_OF_BIDS, 0.7, &curve, &err), 0);
    float threshold = recall_curve_threshold(curve, 0.97, 0);
    assert_true(threshold > 0.1f * 1.3f && threshold < 0.3f / 1.3f);
    for (uint32_t i = 0; i < curve->n; i++)
        assert_true(curve->points[i].threshold > 0);
    free(curve);
    judgement_destroy(j);
}

/* Requests [from, from + n) of the small world, as the model scores them. */
static struct judgement *judged(const struct predictor *p, uint32_t from, uint32_t n)
{
    struct judgement *j = judgement_create(predictor_info(p)->n_dsps);
    for (uint32_t i = from; i < from + n; i++) {
        struct small_request q;
        float scores[8];
        small_world_request(i, &q);
        small_world_score(p, i, scores);
        judgement_add(j, 0, scores[0], q.alpha, 1, q.alpha ? 2 : 0);
        judgement_add(j, 1, scores[1], q.beta, 1, 0);
    }
    return j;
}

static void test_recalibrate_writes_a_model(void **state)
{
    struct error err = {""};
    char *path = small_world_model(), *again = fixture_temporary("", 0);
    struct network *network, *again_network, *same;
    struct predictor *p = predictor_load_with_network(path, &network, &err);
    assert_non_null(p);
    struct judgement *j = judged(p, SMALL_WORLD_REQUESTS, 3000);
    struct recalibration r = {7000000000000, 8000000000000, 0.8, 0.01, predictor_info(p)->checksum};
    if (recalibrate(path, network, j, &r, again, &err) != 0)
        fail_msg("%s", err.text);
    struct predictor *q = predictor_load_with_network(
        again, &again_network, &err); /* its golden inputs score as it says */
    if (q == NULL)
        fail_msg("%s", err.text);
    const struct predictor_info *old = predictor_info(p), *info = predictor_info(q);
    assert_int_equal(info->trained_at_ms, r.to_ms);
    assert_int_equal(info->validation_from_ms, r.from_ms);
    assert_int_equal(info->validation_pairs, 2 * 3000);
    assert_int_equal(info->window_to_ms, old->window_to_ms);
    assert_int_equal(info->learnt_to_ms, old->learnt_to_ms);
    assert_int_equal(info->train_bids, old->train_bids);
    assert_true(fabs(info->recall_confidence - 0.8) < 1e-9 && info->recall_margin == 0.01);
    assert_string_not_equal(info->version, old->version);
    assert_int_equal(predictor_curve(q, 0)->pairs, 3000);
    assert_non_null(predictor_curve_of(q, 0, RECALL_OF_VALUE));
    assert_null(predictor_curve_of(q, 1, RECALL_OF_VALUE));
    assert_true(predictor_threshold_of(q, 1, 0.9, RECALL_OF_VALUE) ==
                predictor_threshold(q, 1, 0.9)); /* falls back to bids */
    assert_null(predictor_curve(q, 2));          /* gamma was not judged */
    assert_string_equal(predictor_not_filtered(q, 2, 0.9, RECALL_OF_BIDS),
                        "the model has no recall curve for it");
    assert_true(isnan(predictor_threshold(q, 2, 0.9)));

    /* what j holds now is what the new model says, and fitting it once more changes next to nothing
     */
    struct judgement *fresh = judged(q, SMALL_WORLD_REQUESTS, 3000);
    struct recall_curve a, b;
    assert_int_equal(judgement_of_dsp(j, 0, &a, &err), 0);
    assert_int_equal(judgement_of_dsp(fresh, 0, &b, &err), 0);
    assert_true(fabs(a.nll - b.nll) < 1e-5 && a.auc == b.auc && fabs(b.calibration - 1) < 0.05);
    assert_int_equal(recalibrate(again, again_network, fresh, &r, again, &err),
                     -1); /* p's scores are not q's */
    assert_non_null(strstr(err.text, "another model"));
    r.checksum = info->checksum;
    assert_int_equal(recalibrate(again, again_network, fresh, &r, again, &err), 0); /* in place */
    struct predictor *third = predictor_load_with_network(again, &same, &err);
    assert_non_null(third);
    assert_true(fabsf(predictor_threshold(third, 0, 0.9) / predictor_threshold(q, 0, 0.9) - 1) <
                0.2f);
    predictor_destroy(third);

    assert_int_equal(recalibrate("/nonexistent/model", same, fresh, &r, again, &err), -1);
    assert_non_null(strstr(err.text, "/nonexistent/model"));
    r.checksum = old->checksum;
    assert_int_equal(recalibrate(path, same, fresh, &r, "/nonexistent/model", &err), -1);
    assert_non_null(strstr(err.text, "/nonexistent/model"));
    judgement_destroy(j);
    judgement_destroy(fresh);
    predictor_destroy(p);
    predictor_destroy(q);
    network_destroy(network);
    network_destroy(again_network);
    network_destroy(same);
    unlink(path);
    unlink(again);
    free(path);
    free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thresholds_stand_between_scores),
        cmocka_unit_test(test_calibrate_and_curves),
        cmocka_unit_test(test_recalibrate_writes_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
