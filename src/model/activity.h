/* How active a campaign is from day to day, and what that says of the next one: campaigns begin,
 * pause and end while their targeting stays what it is.
 *
 *   forecast = (sum over days, age = 0 of the last:  persistence^age . w . activity + mean
 * activity) / (sum over days: persistence^age . w + 1) activity = bids found / bids expected of an
 * even campaign,  w = 8 expected / (8 + expected)
 *
 * that is exponential smoothing of counts that are more unequal than chance alone makes them, drawn
 * towards the mean of all days. */
#ifndef MODEL_ACTIVITY_H
#define MODEL_ACTIVITY_H

#include <stddef.h>

/* Of days i < n at [i * stride]. lump: how many a count comes in at once, 1 where each bid stands
 * for itself. */
struct activity {
    const float *found, *expected;
    size_t n, stride;
    double lump;
};

/* Of the day after the last; 1 where nothing was ever expected. */
double activity_forecast(const struct activity *a, double persistence);

/* 0..1: the persistence with which the forecasts of past days from those before them, of all n
 * campaigns, come nearest to what happened. 1 when there is nothing to judge by. */
double activity_persistence(const struct activity *campaigns, size_t n);

#endif
