/* Days are taken one after the other; what is forecast of each is kept to be judged by it. */
#include "model/activity.h"

#include <math.h>

/* However many bids were expected of a day, it says no more than so many: the next is not like it.
 */
static const double DAY_WORTH_MAX = 8;
/* How many bids the mean of all days counts for beside them. */
static const double MEAN_WORTH = 1;
/* Of the negative binomial law by which forecasts are judged. */
static const double LAW_SHAPE = 4;
/* A campaign is judged from when it has once been as active as this: until then it cannot be told
 * from one that is yet to begin, and of those the fit knows only the ones that did. */
static const double BEGUN = 0.3;

static const double PERSISTENCES[] = {1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0};

/* Days are taken one after the other. */
struct smoothing {
    double found, expected;         /* smoothed */
    double all_found, all_expected; /* plain sums */
};

static double forecast(const struct smoothing *s)
{
    double mean = s->all_expected > 0 ? s->all_found / s->all_expected : 1;
    return (s->found + MEAN_WORTH * mean) / (s->expected + MEAN_WORTH);
}

static void take_day(struct smoothing *s, double found, double expected, double persistence)
{
    double worth = DAY_WORTH_MAX / (DAY_WORTH_MAX + expected);
    s->found = persistence * s->found + worth * found;
    s->expected = persistence * s->expected + worth * expected;
    s->all_found += found;
    s->all_expected += expected;
}

static double log_likelihood(double found, double expected)
{
    return found * log(expected / (expected + LAW_SHAPE)) -
           LAW_SHAPE * log(expected + LAW_SHAPE); /* but for what expected is not in */
}

/* Sets *s to after the last day; how likely each day was by the ones before. */
static double walk(const struct activity *a, double persistence, struct smoothing *s)
{
    double sum = 0, most = 0;
    *s = (struct smoothing){0};
    for (size_t i = 0; i < a->n; i++) {
        double found = (double)a->found[i * a->stride] / a->lump;
        double expected = (double)a->expected[i * a->stride] / a->lump;
        if (expected > 0 && most >= BEGUN && i >= 2)
            sum += log_likelihood(found, fmax(forecast(s) * expected, 1e-3));
        if (expected > 0)
            most = fmax(most, found / expected);
        take_day(s, found, expected, persistence);
    }
    return sum;
}

double activity_forecast(const struct activity *a, double persistence)
{
    struct smoothing s;
    walk(a, persistence, &s);
    return forecast(&s);
}

double activity_persistence(const struct activity *campaigns, size_t n)
{
    double best = -INFINITY, found = 1;
    for (size_t k = 0; k < sizeof(PERSISTENCES) / sizeof(*PERSISTENCES); k++) {
        struct smoothing ignored;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += walk(&campaigns[i], PERSISTENCES[k], &ignored);
        if (sum > best) {
            best = sum;
            found = PERSISTENCES[k];
        }
    }
    return found;
}
