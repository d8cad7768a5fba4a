#include "loadtest/truth.h"

#include <math.h>
#include <stdlib.h>

void truth_add(struct truth *t, double p)
{
    if (t->n == t->capacity) {
        t->capacity = t->capacity == 0 ? 4096 : t->capacity * 2;
        t->p = realloc(t->p, t->capacity * sizeof(*t->p));
        if (t->p == NULL)
            abort();
    }
    t->p[t->n++] = (float)p;
    t->sum += (double)(float)p;
}

void truth_dispose(struct truth *t)
{
    free(t->p);
}

static int falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

double truth_withheld(struct truth *t, double recall)
{
    if (t->n == 0)
        return 0;
    qsort(t->p, t->n, sizeof(*t->p), falling);
    /* A hair below the goal, so that recall 1 does not hang on how sums round. */
    double kept = 0, goal = recall * t->sum * (1 - 1e-12);
    uint64_t sent = 0;
    while (sent < t->n && kept < goal)
        kept += (double)t->p[sent++];
    return 1 - (double)sent / (double)t->n;
}

struct scored {
    float score, p;
};

static int falling_score(const void *a, const void *b)
{
    float x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x < y) - (x > y);
}

double truth_withheld_by(const struct truth *t, const float *score, double recall)
{
    if (t->n == 0)
        return 0;
    struct scored *calls = malloc(t->n * sizeof(*calls));
    if (calls == NULL)
        abort();
    for (uint64_t i = 0; i < t->n; i++)
        calls[i] = (struct scored){score[i], t->p[i]};
    qsort(calls, t->n, sizeof(*calls), falling_score);
    double kept = 0, goal = recall * t->sum * (1 - 1e-12), sent = 0;
    for (uint64_t from = 0, to; from < t->n && kept < goal; from = to) {
        double sum = 0;
        for (to = from; to < t->n && calls[to].score == calls[from].score; to++)
            sum += (double)calls[to].p;
        double n = (double)(to - from);
        sent += kept + sum > goal ? fmin(n, ceil((goal - kept) / sum * n)) : n;
        kept += sum;
    }
    free(calls);
    return 1 - sent / (double)t->n;
}
