#include "loadtest/truth.h"

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
