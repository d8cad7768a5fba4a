/* The continued fraction of DLMF 8.17.22 by Lentz's method; its inverse by Newton's, which halves
 * where a step would leave what is known to hold the answer. */
#include "model/binomial.h"

#include <math.h>

enum { TERMS_MAX = 2000, ROUNDS = 100 };

static double not_zero(double x)
{
    return fabs(x) < 1e-300 ? 1e-300 : x;
}

/* Converges fast for x < (a + 1) / (a + b + 2). */
static double continued_fraction(double a, double b, double x)
{
    double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), product = d;
    for (int m = 1; m <= TERMS_MAX; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        product *= d * c;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        product *= d * c;
        if (fabs(d * c - 1) < 1e-14)
            break;
    }
    return product;
}

static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

static double log_beta(double a, double b)
{
    return log_gamma(a) + log_gamma(b) - log_gamma(a + b);
}

/* *density gets the derivative by x. 0 < x < 1 */
static double incomplete(double a, double b, double x, double log_beta_ab, double *density)
{
    double front = exp(a * log(x) + b * log1p(-x) - log_beta_ab);
    *density = front / (x * (1 - x));
    if (x < (a + 1) / (a + b + 2))
        return front * continued_fraction(a, b, x) / a;
    return 1 - front * continued_fraction(b, a, 1 - x) / b;
}

double beta_incomplete(double a, double b, double x)
{
    double density;
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    return incomplete(a, b, x, log_beta(a, b), &density);
}

/* The x at which I_x(a, b) is q. */
static double beta_quantile(double a, double b, double q)
{
    double low = 0, high = 1, x = a / (a + b), density, known = log_beta(a, b);
    for (int i = 0; i < ROUNDS && high - low > 1e-13; i++) {
        double off = incomplete(a, b, x, known, &density) - q;
        if (off < 0)
            low = x;
        else
            high = x;
        double next = x - off / density;
        if (fabs(next - x) < 1e-13)
            break;
        x = next > low && next < high ? next : (low + high) / 2;
    }
    return x;
}

double share_low(double share, double n, double confidence)
{
    if (!(n > 0) || !(share > 0))
        return 0;
    if (share >= 1)
        return pow(1 - confidence, 1 / n); /* the closed form of b = 1 */
    return beta_quantile(share * n, n * (1 - share) + 1, 1 - confidence);
}

double share_high(double share, double n, double confidence)
{
    return 1 - share_low(1 - share, n, confidence);
}
