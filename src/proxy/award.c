/* A clearing is per imp; groups tie imps together. The rule for groups is simple and ends: clear
 * all imps; of the groups that would win some of their imps but not all, drop the one whose part is
 * worth least; clear again. After a few rounds all groups are dropped, so that no DSP can make us
 * spin. */
#include "proxy/award.h"

#include <assert.h>

enum { GROUP_ROUNDS_MAX = 16 };

struct award_state {
    struct bid *const *bids;
    uint32_t n_bids, n_imps;
    const struct award_terms *terms;
    const struct bid **winners;
    bool *dropped;                 /* [bid] its group was dropped */
    uint32_t *by_imp, *imp_starts; /* bids' indices, sorted by imp: [starts[i], starts[i+1]) */
    struct contender *contenders;  /* scratch of one imp */
    uint32_t *contender_index;
};

static int at_of(const struct award_terms *t, const struct deal *deal)
{
    if (deal != NULL && deal->at >= 1 && deal->at <= 3)
        return deal->at;
    if (t->request->at == 1 || t->request->at == 2)
        return t->request->at;
    return t->second_price ? 2 : 1;
}

static struct contender contender_of(const struct bid *bid, const struct award_terms *t)
{
    int at = at_of(t, bid->deal);
    return (struct contender){.dsp = bid->dsp,
                              .price_micros = bid->value_micros,
                              .floor_micros = bid->floor_micros,
                              .first_price = at == 1,
                              .fixed_price = at == 3,
                              .priority = t->deals_first && bid->deal != NULL,
                              .tie = t->ties[bid->dsp]};
}

/* What the losers of one imp are told: the price that would have tied, where price decided. */
static void mark_loser(struct bid *bid, const struct bid *winner, const struct award_terms *t)
{
    bool to_deal = t->deals_first && winner != NULL && winner->deal != NULL && bid->deal == NULL;
    bid->won = false;
    bid->paid_micros = 0;
    bid->loss_code = to_deal ? 103 : 102;
    bool by_price = winner != NULL && winner->dsp != bid->dsp && !to_deal &&
                    winner->value_micros >= bid->value_micros;
    bid->min_to_win_micros = by_price ? winner->paid_micros : -1;
}

static void clear_imp(struct award_state *s, uint32_t imp)
{
    const struct award_terms *t = s->terms;
    uint32_t n = 0;
    for (uint32_t i = s->imp_starts[imp]; i < s->imp_starts[imp + 1]; i++) {
        if (s->dropped[s->by_imp[i]])
            continue;
        s->contenders[n] = contender_of(s->bids[s->by_imp[i]], t);
        s->contender_index[n++] = s->by_imp[i];
    }
    int64_t paid, rival;
    int best = clearing(s->contenders, n, t->increment_micros, &paid);
    clearing_winner(s->contenders, n, &rival);
    struct bid *winner = best < 0 ? NULL : s->bids[s->contender_index[best]];
    s->winners[imp] = winner;
    if (winner != NULL) {
        winner->won = true;
        winner->paid_micros = paid;
        winner->loss_code = 0;
        winner->min_to_win_micros = rival > winner->floor_micros ? rival : winner->floor_micros;
    }
    for (uint32_t i = s->imp_starts[imp]; i < s->imp_starts[imp + 1]; i++) {
        struct bid *bid = s->bids[s->by_imp[i]];
        if (bid != winner)
            mark_loser(bid, winner, t);
    }
}

static bool same_group(const struct bid *a, const struct bid *b)
{
    return a->response == b->response && a->group == b->group;
}

/* Whether the bid's group wins some of its imps but not all; *worth: what that part pays. A refused
 * bid of the group counts as an imp not won. */
static bool is_partial(const struct award_state *s, const struct bid *of, int64_t *worth)
{
    bool some = false, all = true;
    *worth = 0;
    for (uint32_t i = 0; i < of->response->n_bids; i++) {
        const struct bid *bid = &of->response->bids[i];
        if (bid->group != of->group)
            continue;
        if (bid->refusal != BID_VALID) {
            all = false;
            continue;
        }
        const struct bid *winner = s->winners[bid->imp];
        if (winner == NULL || !same_group(winner, of))
            all = false;
        if (bid->won) {
            some = true;
            *worth += bid->paid_micros;
        }
    }
    return some && !all;
}

/* False when every group has all or nothing. */
static bool drop_a_group(struct award_state *s, bool all_of_them)
{
    const struct bid *least = NULL;
    int64_t least_worth = 0;
    for (uint32_t i = 0; i < s->n_imps; i++) {
        const struct bid *winner = s->winners[i];
        int64_t worth;
        if (winner == NULL || winner->group == 0 || !is_partial(s, winner, &worth))
            continue;
        if (least == NULL || worth < least_worth ||
            (worth == least_worth && s->terms->ties[winner->dsp] < s->terms->ties[least->dsp])) {
            least = winner;
            least_worth = worth;
        }
    }
    for (uint32_t i = 0; least != NULL && i < s->n_bids; i++) {
        if (all_of_them ? s->bids[i]->group != 0 : same_group(s->bids[i], least))
            s->dropped[i] = true;
    }
    return least != NULL;
}

static void sort_by_imp(struct award_state *s, struct arena *arena)
{
    s->imp_starts = arena_alloc(arena, (s->n_imps + 2) * sizeof(*s->imp_starts));
    memset(s->imp_starts, 0, (s->n_imps + 2) * sizeof(*s->imp_starts));
    for (uint32_t i = 0; i < s->n_bids; i++)
        s->imp_starts[s->bids[i]->imp + 2]++;
    for (uint32_t i = 2; i < s->n_imps + 2; i++)
        s->imp_starts[i] += s->imp_starts[i - 1];
    for (uint32_t i = 0; i < s->n_bids; i++)
        s->by_imp[s->imp_starts[s->bids[i]->imp + 1]++] = i;
}

void award(struct bid *const *bids, uint32_t n_bids, const struct award_terms *terms,
           struct arena *arena, const struct bid **winners)
{
    struct award_state s = {.bids = bids,
                            .n_bids = n_bids,
                            .n_imps = terms->request->n_imps,
                            .terms = terms,
                            .winners = winners};
    memset(winners, 0, s.n_imps * sizeof(*winners));
    if (n_bids == 0)
        return;
    s.dropped = arena_alloc(arena, n_bids * sizeof(*s.dropped));
    s.by_imp = arena_alloc(arena, n_bids * sizeof(*s.by_imp));
    s.contenders = arena_alloc(arena, n_bids * sizeof(*s.contenders));
    s.contender_index = arena_alloc(arena, n_bids * sizeof(*s.contender_index));
    memset(s.dropped, 0, n_bids * sizeof(*s.dropped));
    sort_by_imp(&s, arena);
    for (int round = 0;; round++) {
        for (uint32_t i = 0; i < s.n_imps; i++)
            clear_imp(&s, i);
        if (!drop_a_group(&s, round >= GROUP_ROUNDS_MAX))
            break;
        assert(round <= GROUP_ROUNDS_MAX);
    }
}
