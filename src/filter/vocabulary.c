/* Counting is done by others; this is who stays. A rare text is longer than the coarser one that it
 * falls back to, so that going from the longest to the shortest settles each before it is needed.
 */
#include "filter/vocabulary.h"

#include <stdlib.h>

struct counted {
    struct bytes text;
    uint64_t count;
};

static int compare_frequency(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return bytes_compare(x->text, y->text);
}

static int compare_length(const void *a, const void *b, void *ctx)
{
    const struct interner *texts = ctx;
    size_t x = interner_text(texts, *(const uint32_t *)a).len;
    size_t y = interner_text(texts, *(const uint32_t *)b).len;
    return x != y ? (x > y ? -1 : 1) : 0;
}

bool vocabulary_may_hold(struct bytes text)
{
    return text.len > 0 && memchr(text.base, '\0', text.len) == NULL;
}

struct bytes vocabulary_coarser(const struct feature_source *source, struct bytes text)
{
    while (text.len > 0)
        if (text.base[--text.len] == source->level)
            return text;
    return (struct bytes){NULL, 0};
}

/* ---- with back-off ---- */

/* The values under the same numbers, then the coarser texts of all of them. NULL: no memory. */
static struct interner *with_coarser(const struct schema_feature *f, const struct interner *values)
{
    struct interner *all = interner_create();
    bool complete = all != NULL;
    uint32_t n = interner_count(values);
    for (uint32_t i = 0; complete && i < n; i++)
        complete = interner_add(all, interner_text(values, i)) == i;
    for (uint32_t i = 0; complete && i < n; i++) {
        struct bytes text = interner_text(values, i);
        while (complete && (text = vocabulary_coarser(f->source, text)).len > 0)
            complete = interner_add(all, text) != INTERNER_NONE;
    }
    if (complete)
        return all;
    interner_destroy(all);
    return NULL;
}

/* -1: no memory. */
static int pass_rare_counts_on(const struct schema_feature *f, const struct interner *all,
                               uint64_t *counts)
{
    uint32_t n = interner_count(all);
    uint32_t *order = malloc(((size_t)n + 1) * sizeof(*order));
    if (order == NULL)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, n, sizeof(*order), compare_length, (void *)all);
    for (uint32_t i = 0; i < n; i++) {
        struct bytes coarser = vocabulary_coarser(f->source, interner_text(all, order[i]));
        if (counts[order[i]] < f->min_count && coarser.len > 0)
            counts[interner_find(all, coarser)] += counts[order[i]];
    }
    free(order);
    return 0;
}

/* ---- the choice ---- */

static int keep_frequent(struct interner *out, const struct schema_feature *f,
                         const struct interner *values, const uint64_t *counts)
{
    uint32_t n = interner_count(values), kept = 0;
    struct counted *counted = calloc((size_t)n + 1, sizeof(*counted));
    int status = counted != NULL ? 0 : -1;
    for (uint32_t i = 0; status == 0 && i < n; i++) {
        struct bytes text = interner_text(values, i);
        if (counts[i] >= f->min_count && vocabulary_may_hold(text))
            counted[kept++] = (struct counted){text, counts[i]};
    }
    if (kept > 0)
        qsort(counted, kept, sizeof(*counted), compare_frequency);
    for (uint32_t i = 0; status == 0 && i < kept && i < f->values_max; i++)
        if (interner_add(out, counted[i].text) != i)
            status = -1;
    free(counted);
    return status;
}

int vocabulary_build(struct interner *out, const struct schema_feature *f,
                     const struct interner *values, const uint64_t *counts)
{
    if (f->hash_bits > 0)
        return 0;
    if (!f->backoff)
        return keep_frequent(out, f, values, counts);
    struct interner *all = with_coarser(f, values);
    uint64_t *passed =
        all != NULL ? calloc((size_t)interner_count(all) + 1, sizeof(*passed)) : NULL;
    int status = -1;
    if (passed != NULL) {
        memcpy(passed, counts, interner_count(values) * sizeof(*passed));
        status = pass_rare_counts_on(f, all, passed);
    }
    if (status == 0)
        status = keep_frequent(out, f, all, passed);
    free(passed);
    interner_destroy(all);
    return status;
}

/* ---- in a model file ---- */

int vocabulary_write(const struct interner *vocabulary, char **text, size_t *size)
{
    uint32_t n = interner_count(vocabulary);
    *text = NULL;
    *size = 0;
    for (uint32_t i = 0; i < n; i++)
        *size += interner_text(vocabulary, i).len + 1;
    if (*size == 0)
        return 0;
    char *at = *text = malloc(*size);
    if (at == NULL)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        struct bytes b = interner_text(vocabulary, i);
        memcpy(at, b.base, b.len);
        at[b.len] = '\0';
        at += b.len + 1;
    }
    return 0;
}

int vocabulary_read(struct interner *vocabulary, struct bytes text)
{
    while (text.len > 0) {
        const char *end = memchr(text.base, '\0', text.len);
        if (end == NULL || end == text.base)
            return -1;
        struct bytes value = {text.base, (size_t)(end - text.base)};
        uint32_t n = interner_count(vocabulary);
        if (interner_add(vocabulary, value) != n)
            return -1;
        text.base += value.len + 1;
        text.len -= value.len + 1;
    }
    return 0;
}
