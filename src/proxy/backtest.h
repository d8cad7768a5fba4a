/* Rolling days: a model for each day, trained on the days before, and what it would have kept and
 * withheld on that day; and the first of them on every later day, left alone and recalibrated every
 * night. Days are UTC, by ts. */
#ifndef PROXY_BACKTEST_H
#define PROXY_BACKTEST_H

#include <jansson.h>

#include "filter/predictor.h"
#include "filter/training.h"
#include "proxy/labelled.h"

struct backtest_options {
    uint32_t train_days; /* then one to calibrate on, then one to test on */
    struct training_options training;
    enum recall_of of;
};

struct backtest;
/* Trains one model after the other, with a progress line. -1 in *err: too few days. A day whose
 * training fails has no model; backtest_print says why. */
struct backtest *backtest_train(struct trainset *set, int64_t first_ms, int64_t last_ms,
                                const struct backtest_options *o, struct error *err);
/* One pass over the same captures: each record by the model of its day, and by the first one; the
 * calls of all test days are kept meanwhile, encoded. */
int backtest_run(struct backtest *b, const struct cli_list *capture, const struct geo *geo,
                 struct error *err);
void backtest_destroy(struct backtest *b);

void backtest_print(const struct backtest *b);
json_t *backtest_json(const struct backtest *b);

#endif
