/* A model file with a new calibration, new recall curves and new rates and shares of its
 * conjunctions, and nothing else new: every other tensor is copied as it is. */
#ifndef FILTER_RECALIBRATION_H
#define FILTER_RECALIBRATION_H

#include "filter/fresh.h"
#include "filter/judgement.h"

/* Of the units of conjunctions: all, those whose rate is less than a third of what it was, and more
 * than three times. */
struct followed {
    uint32_t units, quieter, busier;
};

/* Adds to j what the scorer that would serve the network says of the traffic. */
int recalibration_score(const struct network *n, const struct fresh *f, struct judgement *j,
                        struct error *err);

/* Sets the rates of n's conjunctions to what fresh traffic shows (model/follow.h), their shares to
 * what suits it then, and adds to j what the network says of it. That it is judged by what it
 * followed flatters: each DSP's recall by some 0.0005 with 20,000 calls. A network without
 * conjunctions stays as it is. */
int recalibration_follow(struct network *n, const struct fresh *f, struct judgement *j,
                         struct followed *out, struct error *err);

struct recalibration {
    int64_t from_ms, to_ms; /* of the traffic that was judged */
    double confidence, margin;
    uint64_t checksum; /* predictor_info's, of the model that scored */
};

/* network: in_path's, its rates as they shall be; it gets the new calibration. j: its scores, its
 * DSPs in its order; it is calibrated on the way. A DSP without pairs in j is calibrated as all
 * are, and loses its curve: an old one does not fit new scores. out_path may be in_path. -1 when
 * in_path is another model by now: a retraining may end while traffic is judged. */
int recalibrate(const char *in_path, struct network *network, struct judgement *j,
                const struct recalibration *r, const char *out_path, struct error *err);

#endif
