/* A model file with a new calibration and new recall curves, and nothing else new: every other
 * tensor is copied as it is. */
#ifndef FILTER_RECALIBRATION_H
#define FILTER_RECALIBRATION_H

#include "filter/judgement.h"

struct recalibration {
    int64_t from_ms, to_ms; /* of the traffic that was judged */
    double confidence, margin;
    uint64_t checksum; /* predictor_info's, of the model that scored */
};

/* j: the scores of in_path's model, its DSPs in its order; it is calibrated on the way. A DSP
 * without pairs in j is calibrated as all are, and loses its curve: an old one does not fit new
 * scores. out_path may be in_path. -1 when in_path is another model by now: a retraining may end
 * while traffic is judged. */
int recalibrate(const char *in_path, struct judgement *j, const struct recalibration *r,
                const char *out_path, struct error *err);

#endif
