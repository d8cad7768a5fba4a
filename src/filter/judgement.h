/* What a model's probabilities are worth on a slice of time: labelled calls with the p that the
 * serving scorer gives them, by DSP. From them come the calibration and the recall curves, for
 * `train`, `recalibrate`, `backtest` and `evaluate` alike. One thread. */
#ifndef FILTER_JUDGEMENT_H
#define FILTER_JUDGEMENT_H

#include "error.h"
#include "model/metrics.h"
#include "model/network.h"
#include "model/train.h"

struct judgement;
struct judgement *judgement_create(uint32_t n_dsps); /* NULL: no memory */
void judgement_destroy(struct judgement *j);

/* No memory ends the program, as in a training set. */
void judgement_add(struct judgement *j, uint32_t dsp, float p, bool bid, float weight);

/* Scores all pairs of e as serving would, a batch a request, and adds them. -1: no memory. */
int judgement_score(struct judgement *j, const struct scorer *scorer,
                    const struct network_shape *shape, const struct examples *e);

/* curves[n_dsps]: a new curve for each DSP that has pairs, NULL for the others; the caller frees
 * them, after -1 (no memory) too. */
int judgement_curves(const struct judgement *j, struct recall_curve **curves, struct error *err);

/* All DSPs as one: of interest are its AUC, NLL and calibration. */
int judgement_overall(const struct judgement *j, struct recall_curve *out, struct error *err);

#endif
