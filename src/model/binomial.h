/* Clopper-Pearson bounds of a share (Clopper and Pearson, Biometrika 1934): exact for counts, and
 * by the incomplete beta function for effective numbers too, which need not be whole. */
#ifndef MODEL_BINOMIAL_H
#define MODEL_BINOMIAL_H

/* I_x(a, b), the regularised incomplete beta function; a, b > 0, 0 <= x <= 1. */
double beta_incomplete(double a, double b, double x);

/* The true share is below it with a probability of at most 1 - confidence, given `share` of n
 * trials; 0 without trials. */
double share_low(double share, double n, double confidence);
/* Likewise above it; 1 without trials. */
double share_high(double share, double n, double confidence);

#endif
