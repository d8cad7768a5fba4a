/* How an auction came out, in writing: the BidResponse, seatnonbid, notices. A winning bid is
 * passed on as its DSP wrote it, member by member; only the price and what holds macros is written
 * anew. */
#include "proxy/auction_state.h"

#include "filter/json.h"
#include "proxy/arena_text.h"
#include "proxy/loss.h"
#include "proxy/macros.h"

/* ---- macros ---- */

/* Numbers of one bid as text; macro_values borrows them. */
struct macro_texts {
    char price[MICROS_TEXT_MAX], mbr[MICROS_TEXT_MAX], min_to_win[MICROS_TEXT_MAX],
        loss[MICROS_TEXT_MAX];
};

/* An amount of the auction's currency in the bid's own; -1 if there is no rate (there was one when
 * the bid was judged, so there is). */
static int64_t in_bid_currency(const struct auction *a, const struct bid *bid, int64_t micros)
{
    int64_t out;
    return currency_convert(a->settings->rates, micros, bytes_of(a->currency), bid->response->cur,
                            &out)
               ? out
               : -1;
}

static struct bytes present(struct bytes b)
{
    return b.base != NULL ? b : (struct bytes){"", 0};
}

static struct bytes micros_text(char out[MICROS_TEXT_MAX], int64_t micros)
{
    return micros < 0 ? (struct bytes){"", 0} : (struct bytes){out, micros_format(out, micros)};
}

/* What the bid paid, in its own currency: never above what it offered, whatever rounding does. */
static int64_t paid_by(const struct auction *a, const struct bid *bid)
{
    int64_t paid = in_bid_currency(a, bid, bid->paid_micros);
    return paid < bid->price_micros ? paid : bid->price_micros;
}

static void fill_macros(const struct auction *a, const struct bid *bid, int loss,
                        struct macro_values *v, struct macro_texts *t)
{
    const struct bytes none = {"", 0};
    int64_t paid = bid->won ? paid_by(a, bid) : -1, min_to_win = -1;
    if (bid->min_to_win_micros >= 0)
        min_to_win = in_bid_currency(a, bid, bid->min_to_win_micros);
    int64_t mbr = -1;
    if (bid->won)
        mbr = (int64_t)((double)paid * 1e6 / (double)bid->price_micros + 0.5);
    *v = (struct macro_values){
        .id = a->request->id,
        .bid_id = present(bid->response->bidid),
        .imp_id = present(bid->impid),
        .seat_id = present(bid->seat),
        .ad_id = present(bid->adid),
        .price = micros_text(t->price, paid),
        .currency = bid->response->cur,
        .mbr = micros_text(t->mbr, mbr),
        .loss = micros_text(t->loss, (int64_t)loss * 1000000),
        .min_to_win = micros_text(t->min_to_win, min_to_win),
        /* Out of home, one play may count many times over; who plays it knows. */
        .multiplier = a->request->channel == CHANNEL_DOOH ? (struct bytes){NULL, 0} : bytes_of("1"),
        .imp_ts = none,
    };
}

/* ---- BidResponse ---- */

/* The new text of a member, or {NULL, 0} when it is passed on as it is. */
static struct bytes substituted(struct bytes text, const struct macro_values *v,
                                struct arena *arena)
{
    struct bytes out = macros_substitute(text, v, arena);
    return out.base != text.base ? out : (struct bytes){NULL, 0};
}

static void add_value(struct arena_text *t, struct bytes raw, struct bytes text,
                      const struct macro_values *v)
{
    struct bytes changed = text.len > 0 ? substituted(text, v, t->arena) : text;
    if (changed.base != NULL && text.len > 0)
        arena_text_add_json(t, changed);
    else
        arena_text_add(t, raw);
}

static void add_bid(const struct auction *a, const struct bid *bid, struct arena_text *t)
{
    struct macro_texts texts;
    struct macro_values v;
    fill_macros(a, bid, LOSS_WON, &v, &texts);
    v.imp_ts.base = NULL; /* whoever shows the ad will know when */
    bool fired = a->settings->fire_notices;
    struct json j;
    struct bytes key, raw;
    bool first = true;
    json_begin(&j, bid->json);
    json_enter_object(&j);
    while (json_next_key(&j, &key) && json_skip(&j, &raw)) {
        bool burl = json_key_is(key, "burl"), nurl = json_key_is(key, "nurl");
        if (fired && (burl || (nurl && bid->adm.len > 0)))
            continue;
        arena_text_add_string(t, first ? "{\"" : ",\"");
        first = false;
        arena_text_add(t, key);
        arena_text_add_string(t, "\":");
        if (json_key_is(key, "price"))
            arena_text_add_micros(t, bid->paid_micros);
        else if (json_key_is(key, "adm"))
            add_value(t, raw, bid->adm, &v);
        else if (nurl)
            add_value(t, raw, bid->nurl, &v);
        else if (burl)
            add_value(t, raw, bid->burl, &v);
        else
            arena_text_add(t, raw);
    }
    arena_text_add_string(t, "}");
}

static struct bytes seat_of(const struct auction *a, const struct bid *bid)
{
    return bid->seat.len > 0 ? bid->seat : bytes_of(a->dsps[bid->dsp].name);
}

static bool same_seat(const struct auction *a, const struct bid *x, const struct bid *y)
{
    return x->dsp == y->dsp && bytes_equal(seat_of(a, x), seat_of(a, y));
}

/* One SeatBid with all that (DSP, seat) won from imp `from` on. */
static void add_seatbid(const struct auction *a, uint32_t from, struct arena_text *t)
{
    const struct bid *first = a->winners[from];
    arena_text_add_string(t, "{\"seat\":");
    arena_text_add_json(t, seat_of(a, first));
    arena_text_add_string(t, ",\"bid\":[");
    for (uint32_t i = from; i < a->request->n_imps; i++) {
        if (a->winners[i] == NULL || !same_seat(a, a->winners[i], first))
            continue;
        if (i > from)
            arena_text_add_string(t, ",");
        add_bid(a, a->winners[i], t);
    }
    arena_text_add_string(t, "]}");
}

static bool is_first_of_seat(const struct auction *a, uint32_t imp)
{
    for (uint32_t i = 0; i < imp; i++) {
        if (a->winners[i] != NULL && same_seat(a, a->winners[i], a->winners[imp]))
            return false;
    }
    return true;
}

int auction_nbr(const struct auction *a)
{
    bool no_time = false;
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        if (a->calls[i].dsp.outcome != OUTCOME_NOT_CALLED)
            return NBR_NO_BID;
        no_time |= a->calls[i].dsp.skip == SKIP_NO_TIME;
    }
    return no_time ? NBR_NO_TIME : NBR_NONE_CALLED;
}

struct bytes auction_response_ext(const struct auction *a, struct bytes ext, struct arena *arena)
{
    size_t size = 256 + ext.len;
    uint32_t won = 0;
    for (uint32_t i = 0; i < a->request->n_imps; i++) {
        if (a->winners[i] != NULL) {
            won++;
            size += a->winners[i]->json.len + 256;
        }
    }
    if (won == 0 && ext.len == 0)
        return (struct bytes){NULL, 0};
    struct arena_text t;
    arena_text_begin(&t, arena, size);
    arena_text_add_string(&t, "{\"id\":");
    arena_text_add_json(&t, a->request->id);
    arena_text_add_string(&t, ",\"cur\":");
    arena_text_add_json(&t, bytes_of(a->currency));
    const char *between = ",\"seatbid\":[";
    for (uint32_t i = 0; i < a->request->n_imps; i++) {
        if (a->winners[i] == NULL || !is_first_of_seat(a, i))
            continue;
        arena_text_add_string(&t, between);
        between = ",";
        add_seatbid(a, i, &t);
    }
    if (won > 0) {
        arena_text_add_string(&t, "]");
    } else {
        arena_text_add_string(&t, ",\"nbr\":");
        arena_text_add_int(&t, auction_nbr(a));
    }
    if (ext.len > 0) {
        arena_text_add_string(&t, ",\"ext\":");
        arena_text_add(&t, ext);
    }
    arena_text_add_string(&t, "}");
    return arena_text_bytes(&t);
}

struct bytes auction_response(const struct auction *a, struct arena *arena)
{
    return auction_response_ext(a, (struct bytes){NULL, 0}, arena);
}

/* ---- seatnonbid ---- */

struct nonbids {
    struct arena_text *text;
    const char *dsp_name;
    bool any_seat, any; /* something was written: at all, of this DSP */
};

static void add_nonbid(struct nonbids *n, struct bytes imp_id, int code)
{
    if (n->any) {
        arena_text_add_string(n->text, ",");
    } else {
        arena_text_add_string(n->text, n->any_seat ? ",{\"seat\":" : "{\"seat\":");
        arena_text_add_json(n->text, bytes_of(n->dsp_name));
        arena_text_add_string(n->text, ",\"nonbid\":[");
    }
    n->any = n->any_seat = true;
    arena_text_add_string(n->text, "{\"impid\":");
    arena_text_add_json(n->text, imp_id);
    arena_text_add_string(n->text, ",\"statuscode\":");
    arena_text_add_int(n->text, code);
    arena_text_add_string(n->text, "}");
}

/* Every bid that brought nothing has its reason; so has an imp without any bid. */
static void add_nonbids_of(const struct auction *a, uint32_t dsp, struct nonbids *n)
{
    const struct auction_call *call = &a->calls[dsp];
    bool *bid_for = arena_alloc(a->arena, a->request->n_imps * sizeof(*bid_for));
    memset(bid_for, 0, a->request->n_imps * sizeof(*bid_for));
    for (uint32_t i = 0; i < call->response.n_bids; i++) {
        const struct bid *bid = &call->response.bids[i];
        if (bid->imp == UINT32_MAX)
            continue;
        bid_for[bid->imp] = true;
        if (bid->won)
            continue;
        int code = bid->loss_code == LOSS_DEAL
                       ? NONBID_LOST_TO_DEAL
                       : loss_nonbid_refused(bid->refusal, bid->deal != NULL);
        add_nonbid(n, a->request->imps[bid->imp].id, code);
    }
    for (uint32_t i = 0; i < a->request->n_imps; i++) {
        if (!bid_for[i])
            add_nonbid(n, a->request->imps[i].id, loss_nonbid_dsp(&call->dsp));
    }
}

struct bytes auction_seatnonbid(const struct auction *a, struct arena *arena)
{
    struct arena_text t;
    arena_text_begin(&t, arena, 64 * (size_t)a->n_dsps);
    struct nonbids n = {.text = &t};
    arena_text_add_string(&t, "[");
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        if (a->dsps[i].disabled)
            continue;
        n.dsp_name = a->dsps[i].name;
        n.any = false;
        add_nonbids_of(a, i, &n);
        if (n.any)
            arena_text_add_string(&t, "]}");
    }
    arena_text_add_string(&t, "]");
    return arena_text_bytes(&t);
}

/* ---- notices ---- */

void auction_notices(const struct auction *a, struct arena *arena, auction_notice_cb cb, void *ctx)
{
    for (uint32_t i = 0; i < a->request->n_imps; i++) {
        const struct bid *bid = a->winners[i];
        if (bid == NULL)
            continue;
        struct macro_texts texts;
        struct macro_values v;
        fill_macros(a, bid, LOSS_WON, &v, &texts);
        struct auction_notice n = {.dsp = bid->dsp, .imp_id = bid->impid, .bid_id = bid->id};
        if (bid->nurl.len > 0 && bid->adm.len > 0)
            n.nurl = macros_substitute(bid->nurl, &v, arena);
        if (bid->burl.len > 0)
            n.burl = macros_substitute(bid->burl, &v, arena);
        if (n.nurl.len > 0 || n.burl.len > 0)
            cb(ctx, &n);
    }
}

void auction_losses(const struct auction *a, struct arena *arena, auction_loss_cb cb, void *ctx)
{
    for (uint32_t i = 0; i < a->n_dsps; i++) {
        const struct bid_response *response = &a->calls[i].response;
        for (uint32_t j = 0; j < response->n_bids; j++) {
            const struct bid *bid = &response->bids[j];
            if (bid->won)
                continue;
            struct auction_loss l = {.dsp = i,
                                     .imp_id = bid->impid,
                                     .bid_id = bid->id,
                                     .refusal = bid->refusal,
                                     .loss_code = bid->loss_code};
            if (bid->refusal != BID_VALID)
                l.loss_code = loss_code(bid->refusal, bid->deal != NULL);
            struct macro_texts texts;
            struct macro_values v;
            fill_macros(a, bid, l.loss_code, &v, &texts);
            if (bid->lurl.len > 0)
                l.lurl = macros_substitute(bid->lurl, &v, arena);
            cb(ctx, &l);
        }
    }
}
