/* The slice is scored twice: by the network alone and by the conjunctions alone. */
#include "filter/shares.h"

#include <stdlib.h>

#include "filter/judgement.h"
#include "model/share.h"

/* NULL, and err says so. */
static struct judgement *scored_with(struct network *n, float share, const struct examples *e,
                                     struct error *err)
{
    for (uint32_t d = 0; d < n->shape.n_dsps; d++)
        n->conjunctions->share[d] = share;
    return judgement_of_network(n, e, NULL, err);
}

static int fit(float *share, const struct judgement *network, const struct judgement *conjunctions,
               uint32_t n_dsps)
{
    struct scored_pairs *pairs = malloc((2 * (size_t)n_dsps + 1) * sizeof(*pairs));
    int status = -1;
    for (uint32_t d = 0; pairs != NULL && d < n_dsps; d++) {
        pairs[d] = judgement_pairs(network, d);
        pairs[n_dsps + d] = judgement_pairs(conjunctions, d);
    }
    if (pairs != NULL)
        status = share_fit(pairs, pairs + n_dsps, n_dsps, share);
    free(pairs);
    return status;
}

int shares_settle(struct network *n, const struct examples *e, struct error *err)
{
    struct judgement *network, *conjunctions = NULL;
    int status = -1;
    if (n->conjunctions == NULL || n->conjunctions->n_units == 0)
        return 0;
    network = scored_with(n, 0, e, err);
    if (network != NULL)
        conjunctions = scored_with(n, 1, e, err);
    if (conjunctions != NULL &&
        (status = fit(n->conjunctions->share, network, conjunctions, n->shape.n_dsps)) != 0)
        error_set(err, "out of memory");
    judgement_destroy(network);
    judgement_destroy(conjunctions);
    return status;
}
