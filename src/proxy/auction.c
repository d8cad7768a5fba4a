/* One auction as a state machine: created -> running -> ended (or aborted).
 *
 * While it runs, each call is pending until its answer, its failure or its own deadline; whichever
 * comes first counts and the others are ignored. The timer stands at the earliest deadline that
 * was open when it was set; it may fire too early, which only sets it again. When nothing is
 * pending, the secondaries get their turn if no bid has come; when nothing is pending after that,
 * the auction ends: imps are awarded, then io.finished is called, the last thing that touches the
 * auction. No deadline of a call is behind the auction's own, so that the auction ends in time
 * without a timer of its own. */
#include "proxy/auction_state.h"

#include "hash.h"

#include <assert.h>

static void end(struct auction *a);

/* The answer's currency: ours if the request takes it, else the first it takes that we can convert,
 * else its first. */
static void choose_currency(struct auction *a)
{
    const struct bytes_list *cur = &a->request->cur;
    struct bytes ours = bytes_of(a->settings->currency), chosen = {NULL, 0};
    int64_t unused;
    for (uint32_t i = 0; i < cur->n; i++) {
        if (currency_same(cur->items[i], ours))
            chosen = ours;
    }
    for (uint32_t i = 0; i < cur->n && chosen.len == 0; i++) {
        if (currency_convert(a->settings->rates, 0, cur->items[i], ours, &unused))
            chosen = cur->items[i];
    }
    for (uint32_t i = 0; i < cur->n && chosen.len == 0; i++) {
        if (currency_same(cur->items[i], cur->items[i]))
            chosen = cur->items[i];
    }
    if (chosen.len == 0)
        chosen = ours;
    for (size_t i = 0; i < 3 && i < chosen.len; i++)
        a->currency[i] = (char)(chosen.base[i] & ~0x20); /* upper case: they are letters */
}

struct auction *auction_create(const struct bid_request *r, const struct auction_settings *settings,
                               const struct auction_dsp_settings *dsps, uint32_t n_dsps,
                               const struct decision *decisions, const struct auction_io *io,
                               void *ctx, uint64_t received_us, struct arena *arena)
{
    struct auction *a = arena_alloc(arena, sizeof(*a));
    *a = (struct auction){.request = r,
                          .settings = settings,
                          .dsps = dsps,
                          .io = io,
                          .ctx = ctx,
                          .arena = arena,
                          .received_us = received_us,
                          .n_dsps = n_dsps};
    a->calls = arena_alloc(arena, n_dsps * sizeof(*a->calls));
    memset(a->calls, 0, n_dsps * sizeof(*a->calls));
    for (uint32_t i = 0; i < n_dsps; i++) {
        a->calls[i].dsp.decision = decisions[i];
        a->calls[i].dsp.nbr = -1;
    }
    a->winners = arena_alloc(arena, r->n_imps * sizeof(*a->winners));
    memset(a->winners, 0, r->n_imps * sizeof(*a->winners));

    int64_t ms = settings->timeout_ms;
    if (r->tmax_ms > 0 && r->tmax_ms < ms)
        ms = r->tmax_ms;
    ms -= settings->network_margin_ms;
    a->deadline_us = received_us + (uint64_t)(ms < 1 ? 1 : ms) * 1000;
    choose_currency(a);
    return a;
}

static void skip(struct auction_call *call, enum auction_skip skip, uint8_t why)
{
    call->dsp.decision.send = false;
    call->dsp.decision.why = why;
    call->dsp.skip = skip;
}

static void start_call(struct auction *a, uint32_t dsp, uint64_t now)
{
    struct auction_call *call = &a->calls[dsp];
    uint64_t timeout_us = (uint64_t)a->dsps[dsp].timeout_ms * 1000;
    uint64_t left_us = now < a->deadline_us ? a->deadline_us - now : 0;
    bool fits = timeout_us <= left_us;
    if (left_us == 0 || (a->dsps[dsp].secondary && !fits)) {
        skip(call, SKIP_NO_TIME, WHY_RULE_FIRST + RULE_TMAX);
        return;
    }
    if (fits)
        left_us = timeout_us;
    uint32_t tmax_ms = left_us < 1000 ? 1 : (uint32_t)(left_us / 1000);
    int refused = a->io->call(a->ctx, dsp, tmax_ms);
    assert(a->phase == PHASE_RUNNING);
    if (refused != 0) {
        skip(call, SKIP_REFUSED, (uint8_t)refused);
        return;
    }
    call->dsp.outcome = OUTCOME_PENDING;
    call->started_us = now;
    call->deadline_us = now + left_us;
    a->n_pending++;
}

static void start_calls(struct auction *a, bool secondary, uint64_t now)
{
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        if (a->calls[i].dsp.decision.send && a->dsps[i].secondary == secondary)
            start_call(a, i, now);
    }
}

static void set_timer(struct auction *a)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        const struct auction_call *call = &a->calls[i];
        if (call->dsp.outcome == OUTCOME_PENDING && call->deadline_us < first)
            first = call->deadline_us;
    }
    a->io->timer(a->ctx, first);
}

/* Called when nothing is pending: the next stage, or the end. Touches the auction no more after
 * that. */
static void next_stage(struct auction *a, uint64_t now)
{
    if (!a->secondaries_started && a->n_valid_bids == 0) {
        a->secondaries_started = true;
        start_calls(a, true, now);
    }
    if (a->n_pending > 0)
        set_timer(a);
    else
        end(a);
}

void auction_start(struct auction *a)
{
    assert(a->phase == PHASE_CREATED);
    a->phase = PHASE_RUNNING;
    uint64_t now = a->io->now_us(a->ctx);
    start_calls(a, false, now);
    if (a->n_pending > 0)
        set_timer(a);
    else
        next_stage(a, now);
}

static void settle(struct auction *a, struct auction_call *call, enum auction_outcome outcome)
{
    call->dsp.outcome = outcome;
    a->n_pending--;
}

static bool is_blank(struct bytes body)
{
    for (size_t i = 0; i < body.len; i++) {
        if (strchr(" \t\r\n", body.base[i]) == NULL || body.base[i] == '\0')
            return false;
    }
    return true;
}

static enum auction_outcome read_bids(struct auction *a, uint32_t dsp, struct bytes body)
{
    struct auction_call *call = &a->calls[dsp];
    if (!bid_response_read(&call->response, body, a->arena)) {
        call->dsp.refused[BID_NOT_JSON]++;
        return OUTCOME_INVALID;
    }
    call->dsp.nbr = call->response.nbr;
    if (call->response.n_bids == 0)
        return OUTCOME_NO_BID;
    if (!a->lists_made) {
        a->badv = block_list_domains(&a->request->badv, a->arena);
        a->bcat = block_list_categories(&a->request->bcat, a->arena);
        a->lists_made = true;
    }
    const struct auction_dsp_settings *settings = &a->dsps[dsp];
    struct bid_terms terms = {.request = a->request,
                              .badv = a->badv,
                              .bcat = a->bcat,
                              .rates = a->settings->rates,
                              .currency = bytes_of(a->currency),
                              .dsp = dsp,
                              .dsp_name = bytes_of(settings->name),
                              .default_currency = bytes_of(settings->default_currency),
                              .seats = settings->seats};
    call->dsp.n_bids = bid_response_judge(&call->response, &terms, a->arena, call->dsp.refused);
    a->n_valid_bids += call->dsp.n_bids;
    for (uint32_t i = 0; i < call->response.n_bids; i++) {
        const struct bid *bid = &call->response.bids[i];
        if (bid->refusal == BID_VALID && bid->value_micros > call->dsp.price_micros)
            call->dsp.price_micros = bid->value_micros;
    }
    return call->dsp.n_bids > 0 ? OUTCOME_BID : OUTCOME_INVALID;
}

void auction_on_answer(struct auction *a, uint32_t dsp, bool transport_ok, int status,
                       struct bytes body)
{
    assert(dsp < a->n_dsps);
    struct auction_call *call = &a->calls[dsp];
    if (a->phase != PHASE_RUNNING || call->dsp.outcome != OUTCOME_PENDING)
        return;
    uint64_t now = a->io->now_us(a->ctx);
    call->dsp.latency_us = now - call->started_us;
    if (now > call->deadline_us) {
        /* The call is over, so there is nothing to cancel. */
        settle(a, call, OUTCOME_TIMEOUT);
    } else if (!transport_ok) {
        call->dsp.latency_us = 0;
        settle(a, call, OUTCOME_ERROR);
    } else {
        call->dsp.http_status = status;
        if (status == 204 || (status == 200 && is_blank(body)))
            settle(a, call, OUTCOME_NO_BID);
        else if (status != 200)
            settle(a, call, OUTCOME_ERROR);
        else
            settle(a, call, read_bids(a, dsp, body));
    }
    if (a->n_pending == 0)
        next_stage(a, now);
}

void auction_on_timer(struct auction *a)
{
    if (a->phase != PHASE_RUNNING)
        return;
    uint64_t now = a->io->now_us(a->ctx);
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        struct auction_call *call = &a->calls[i];
        if (call->dsp.outcome != OUTCOME_PENDING || call->deadline_us > now)
            continue;
        call->dsp.latency_us = now - call->started_us;
        settle(a, call, OUTCOME_TIMEOUT);
        a->io->cancel(a->ctx, i);
    }
    if (a->n_pending > 0)
        set_timer(a);
    else
        next_stage(a, now);
}

void auction_abort(struct auction *a)
{
    if (a->phase == PHASE_RUNNING) {
        a->io->timer(a->ctx, 0);
        for (uint32_t i = 0; i < a->n_dsps; i++) {
            if (a->calls[i].dsp.outcome == OUTCOME_PENDING)
                a->io->cancel(a->ctx, i);
        }
    }
    if (a->phase != PHASE_ENDED)
        a->phase = PHASE_ABORTED;
}

void auction_destroy(struct auction *a)
{
    if (a != NULL)
        auction_abort(a); /* nothing else is held outside of the arena */
}

/* The increment is configured in our currency; the auction's may be another. */
static int64_t increment(const struct auction *a)
{
    int64_t micros = a->settings->increment_micros, converted;
    if (currency_convert(a->settings->rates, micros, bytes_of(a->settings->currency),
                         bytes_of(a->currency), &converted))
        return converted;
    return micros;
}

static void award_imps(struct auction *a)
{
    struct bid **bids = arena_alloc(a->arena, a->n_valid_bids * sizeof(*bids));
    uint64_t *ties = arena_alloc(a->arena, a->n_dsps * sizeof(*ties));
    uint64_t seed = hash_bytes(a->request->id, 0);
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        struct bid_response *response = &a->calls[i].response;
        for (uint32_t j = 0; j < response->n_bids; j++) {
            if (response->bids[j].refusal == BID_VALID)
                bids[n++] = &response->bids[j];
        }
        ties[i] = hash_bytes(bytes_of(a->dsps[i].name), seed);
    }
    assert(n == a->n_valid_bids);
    struct award_terms terms = {.request = a->request,
                                .second_price = a->settings->second_price,
                                .deals_first = a->settings->deals_first,
                                .increment_micros = increment(a),
                                .ties = ties};
    award(bids, n, &terms, a->arena, a->winners);
    for (uint32_t i = 0; i < a->request->n_imps; i++) {
        if (a->winners[i] == NULL)
            continue;
        struct auction_dsp *dsp = &a->calls[a->winners[i]->dsp].dsp;
        dsp->won = true;
        dsp->paid_micros += a->winners[i]->paid_micros;
    }
}

static void end(struct auction *a)
{
    a->phase = PHASE_ENDED;
    a->io->timer(a->ctx, 0);
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        struct auction_call *call = &a->calls[i];
        if (call->dsp.decision.send && call->dsp.outcome == OUTCOME_NOT_CALLED)
            skip(call, SKIP_NOT_NEEDED, WHY_SECONDARY);
    }
    if (a->n_valid_bids > 0)
        award_imps(a);
    a->io->finished(a->ctx);
}

const struct auction_dsp *auction_dsp(const struct auction *a, uint32_t dsp)
{
    assert(dsp < a->n_dsps);
    return &a->calls[dsp].dsp;
}

struct bytes auction_currency(const struct auction *a)
{
    return bytes_of(a->currency);
}

int64_t auction_paid(const struct auction *a, uint32_t imp)
{
    assert(imp < a->request->n_imps);
    return a->winners[imp] != NULL ? a->winners[imp]->paid_micros : -1;
}

const char *auction_outcome_name(enum auction_outcome o)
{
    static const char *const names[OUTCOME_COUNT] = {"not_called", "pending", "bid",    "no_bid",
                                                     "timeout",    "error",   "invalid"};
    assert(o < OUTCOME_COUNT);
    return names[o];
}
