/* A few shares are tried. Each is judged after a calibration, since that is how it will serve: what
 * a mean of logits gets wrong about the level is no reason against it. */
#include "model/share.h"

#include <math.h>
#include <stdlib.h>

#include "model/calibration.h"

enum { TRIED = 11 };

/* A DSP is believed to differ by some 0.2 from all. */
static const double SHARE_DEVIATION = 0.2;

static double logit_of(float p)
{
    double bounded = fmin(fmax((double)p, 1e-9), 1 - 1e-7);
    return log(bounded / (1 - bounded));
}

static void mix(const struct scored_pairs *a, const struct scored_pairs *b, double share, float *p)
{
    for (uint64_t i = 0; i < a->n; i++) {
        double logit = (1 - share) * logit_of(a->p[i]) + share * logit_of(b->p[i]);
        p[i] = (float)(1 / (1 + exp(-logit)));
    }
}

/* loss[n][TRIED]. mixed: what `network` says, with room for other p. */
static int try_shares(const struct scored_pairs *network, const struct scored_pairs *conjunctions,
                      uint32_t n, struct scored_pairs *mixed, float *const *p,
                      double (*loss)[TRIED])
{
    struct calibration *c = malloc(((size_t)n + 1) * sizeof(*c));
    int status = c != NULL ? 0 : -1;
    for (int k = 0; status == 0 && k < TRIED; k++) {
        for (uint32_t d = 0; d < n; d++) {
            mix(&network[d], &conjunctions[d], (double)k / (TRIED - 1), p[d]);
            mixed[d].p = p[d];
        }
        status = calibration_fit(mixed, n, c);
        for (uint32_t d = 0; status == 0 && d < n; d++)
            status = calibration_loss(&mixed[d], c[d], &loss[d][k]);
    }
    free(c);
    return status;
}

static int least(const double *loss)
{
    int at = 0;
    for (int k = 1; k < TRIED; k++)
        at = loss[k] < loss[at] ? k : at;
    return at;
}

static void choose(const double (*loss)[TRIED], uint32_t n, float *share)
{
    double all[TRIED] = {0};
    for (uint32_t d = 0; d < n; d++)
        for (int k = 0; k < TRIED; k++)
            all[k] += loss[d][k];
    int common = least(all);
    for (uint32_t d = 0; d < n; d++) {
        double own[TRIED];
        for (int k = 0; k < TRIED; k++) {
            double off = (double)(k - common) / (TRIED - 1) / SHARE_DEVIATION;
            own[k] = loss[d][k] + off * off / 2;
        }
        share[d] = (float)least(own) / (TRIED - 1);
    }
}

int share_fit(const struct scored_pairs *network, const struct scored_pairs *conjunctions,
              uint32_t n, float *share)
{
    struct scored_pairs *mixed = malloc(((size_t)n + 1) * sizeof(*mixed));
    float **p = calloc((size_t)n + 1, sizeof(*p));
    double(*loss)[TRIED] = calloc((size_t)n + 1, sizeof(*loss));
    int status = mixed != NULL && p != NULL && loss != NULL ? 0 : -1;
    for (uint32_t d = 0; status == 0 && d < n; d++) {
        mixed[d] = network[d];
        p[d] = malloc((network[d].n + 1) * sizeof(*p[d]));
        status = p[d] != NULL ? 0 : -1;
    }
    if (status == 0)
        status = try_shares(network, conjunctions, n, mixed, p, loss);
    if (status == 0)
        choose(loss, n, share);
    for (uint32_t d = 0; p != NULL && d < n; d++)
        free(p[d]);
    free(p);
    free(mixed);
    free(loss);
    return status;
}
