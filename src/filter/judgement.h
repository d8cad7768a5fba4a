/* What a model's probabilities are worth on a slice of time: labelled calls with the p that the
 * serving scorer gives them, by DSP. From them come the calibration and the recall curves, for
 * `train`, `recalibrate`, `backtest` and `evaluate` alike. One thread. */
#ifndef FILTER_JUDGEMENT_H
#define FILTER_JUDGEMENT_H

#include "error.h"
#include "model/calibration.h"
#include "model/metrics.h"
#include "model/network.h"
#include "model/tally.h"
#include "model/train.h"

struct judgement;
struct judgement *judgement_create(uint32_t n_dsps); /* NULL: no memory */
void judgement_destroy(struct judgement *j);

/* price: of a bid, NAN or 0 when it is not known. No memory ends the program, as in a training
 * set. */
void judgement_add(struct judgement *j, uint32_t dsp, float p, bool bid, float weight, float price);

/* Scores all pairs of e as serving would, a batch a request, and adds them; price: [e->n_pairs], or
 * NULL. -1: no memory. */
int judgement_score(struct judgement *j, const struct scorer *scorer,
                    const struct network_shape *shape, const struct examples *e,
                    const float *price);

/* What a network's exact scorer says of them. NULL: no memory, and err says so. */
struct judgement *judgement_of_network(const struct network *n, const struct examples *e,
                                       const float *price, struct error *err);

/* A DSP's, without prices; until more are added. */
struct scored_pairs judgement_pairs(const struct judgement *j, uint32_t dsp);

/* Fits out[n_dsps], and gives its own pairs the p that come of it. */
int judgement_calibrate(struct judgement *j, struct calibration *out, struct error *err);

/* curves[n_dsps]: a new curve for each DSP that has pairs, NULL for the others; the caller frees
 * them, after -1 (no memory) too. Of value: for each DSP most of whose bids have a price; those
 * that have none are left out. Thresholds stand half way to the next score below (a hair
 * below at least), so that neither a machine that rounds otherwise nor a network that was trained
 * again parts what is equal. */
int judgement_curves(const struct judgement *j, enum recall_of of, double confidence,
                     struct recall_curve **curves, struct error *err);

/* Sending p >= threshold, or everything when it is NAN. */
void judgement_tally(const struct judgement *j, uint32_t dsp, float threshold, enum recall_of of,
                     struct tally *to);
/* The share of all calls that is withheld where each DSP keeps exactly that recall of these pairs
 * (at least, where scores are equal). */
int judgement_withheld_at(const struct judgement *j, double recall, double *out, struct error *err);

/* One DSP's AUC, NLL, calibration, and so on. */
int judgement_of_dsp(const struct judgement *j, uint32_t dsp, struct recall_curve *out,
                     struct error *err);

/* All DSPs as one: of interest are its AUC, NLL and calibration. */
int judgement_overall(const struct judgement *j, struct recall_curve *out, struct error *err);

#endif
