/* The continued fraction of DLMF 8.17.22 by Lentz's method, and a bisection for its inverse: a
 * curve asks some hundred times, which is nothing. */
#include "model/binomial.h"

#include <math.h>

enum { TERMS_MAX = 2000, HALVINGS = 60 };

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

double beta_incomplete(double a, double b, double x)
{
    if (x <= 0)
        return 0;
    if (x >= 1)
        return 1;
    double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * continued_fraction(a, b, x) / a;
    return 1 - front * continued_fraction(b, a, 1 - x) / b;
}

/* The x at which I_x(a, b) is q. */
static double beta_quantile(double a, double b, double q)
{
    double low = 0, high = 1;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (beta_incomplete(a, b, middle) < q)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
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
