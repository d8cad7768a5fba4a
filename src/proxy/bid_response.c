/* Reading and judging are apart because id and cur may stand behind seatbid. The order of the
 * checks is the order in which a DSP's engineer would want to hear of faults: first what the bid is
 * for, then its money, then its creative. */
#include "proxy/bid_response.h"

#include "filter/json.h"
#include "hash.h"

/* ---- reading ---- */

struct reader {
    struct json json;
    struct arena *arena;
    struct bid_response *out;
    uint32_t bids_size;
    uint16_t groups;
    bool wrong_type; /* seatbid is no array */
};

/* A string's text; any other type counts as absent. */
static void take_string(struct reader *r, struct bytes *out)
{
    if (json_peek(&r->json) != JSON_IS_STRING) {
        json_skip(&r->json, NULL);
        return;
    }
    struct bytes raw;
    bool escaped = false;
    if (json_text(&r->json, &raw, &escaped))
        *out = escaped ? json_unescape(raw, r->arena) : raw;
}

static void take_int(struct reader *r, int32_t *out)
{
    if (json_peek(&r->json) != JSON_IS_NUMBER) {
        json_skip(&r->json, NULL);
        return;
    }
    struct bytes raw;
    int64_t n;
    if (json_number(&r->json, &raw) && json_to_int(raw, &n) && n >= 0 && n <= INT32_MAX)
        *out = (int32_t)n;
}

static void take_price(struct reader *r, int64_t *out)
{
    if (json_peek(&r->json) != JSON_IS_NUMBER) {
        json_skip(&r->json, NULL);
        return;
    }
    struct bytes raw;
    int64_t micros;
    if (json_number(&r->json, &raw) && json_to_micros(raw, &micros) && micros > 0)
        *out = micros;
}

static void take_list(struct reader *r, struct bytes *out)
{
    enum json_type type = json_peek(&r->json);
    bool usable = type == JSON_IS_ARRAY || type == JSON_IS_STRING;
    json_skip(&r->json, usable ? out : NULL);
}

static void take_adm(struct reader *r, struct bid *bid)
{
    if (json_peek(&r->json) == JSON_IS_OBJECT)
        bid->markup_object = json_skip(&r->json, NULL);
    else
        take_string(r, &bid->adm);
}

enum bid_member {
    MEMBER_ID,
    MEMBER_IMPID,
    MEMBER_PRICE,
    MEMBER_DEALID,
    MEMBER_ADID,
    MEMBER_ADM,
    MEMBER_NURL,
    MEMBER_BURL,
    MEMBER_LURL,
    MEMBER_ADOMAIN,
    MEMBER_CAT,
    MEMBER_W,
    MEMBER_H,
    MEMBER_MTYPE,
    MEMBER_OTHER
};

static enum bid_member member_of(const struct json *j, struct bytes key)
{
    static const char *const names[MEMBER_OTHER] = {"id",  "impid", "price", "dealid", "adid",
                                                    "adm", "nurl",  "burl",  "lurl",   "adomain",
                                                    "cat", "w",     "h",     "mtype"};
    for (int i = 0; i < MEMBER_OTHER; i++) {
        if (j->key_escaped ? json_key_is(key, names[i]) : bytes_is(key, names[i]))
            return (enum bid_member)i;
    }
    return MEMBER_OTHER;
}

static void read_bid_members(struct reader *r, struct bid *bid)
{
    uint32_t seen = 0;
    struct bytes key;
    json_enter_object(&r->json);
    while (json_next_key(&r->json, &key)) {
        enum bid_member member = member_of(&r->json, key);
        if (member != MEMBER_OTHER && (seen & 1u << member) != 0)
            bid->malformed = true; /* which one would count is anyone's guess */
        seen |= 1u << member;
        switch (member) {
        case MEMBER_ID:
            take_string(r, &bid->id);
            break;
        case MEMBER_IMPID:
            take_string(r, &bid->impid);
            break;
        case MEMBER_PRICE:
            take_price(r, &bid->price_micros);
            break;
        case MEMBER_DEALID:
            take_string(r, &bid->dealid);
            break;
        case MEMBER_ADID:
            take_string(r, &bid->adid);
            break;
        case MEMBER_ADM:
            take_adm(r, bid);
            break;
        case MEMBER_NURL:
            take_string(r, &bid->nurl);
            break;
        case MEMBER_BURL:
            take_string(r, &bid->burl);
            break;
        case MEMBER_LURL:
            take_string(r, &bid->lurl);
            break;
        case MEMBER_ADOMAIN:
            take_list(r, &bid->adomain);
            break;
        case MEMBER_CAT:
            take_list(r, &bid->cat);
            break;
        case MEMBER_W:
            take_int(r, &bid->w);
            break;
        case MEMBER_H:
            take_int(r, &bid->h);
            break;
        case MEMBER_MTYPE:
            take_int(r, &bid->mtype);
            break;
        case MEMBER_OTHER:
            json_skip(&r->json, NULL);
            break;
        }
    }
}

/* NULL when there are too many. */
static struct bid *new_bid(struct reader *r)
{
    struct bid_response *out = r->out;
    if (out->n_bids == BID_RESPONSE_BIDS_MAX) {
        out->n_dropped++;
        return NULL;
    }
    if (out->n_bids == r->bids_size) {
        uint32_t size = r->bids_size == 0 ? 4 : r->bids_size * 2;
        struct bid *grown = arena_alloc(r->arena, size * sizeof(*grown));
        if (out->n_bids > 0)
            memcpy(grown, out->bids, out->n_bids * sizeof(*grown));
        out->bids = grown;
        r->bids_size = size;
    }
    struct bid *bid = &out->bids[out->n_bids++];
    *bid = (struct bid){.w = -1, .h = -1, .mtype = -1, .imp = UINT32_MAX, .min_to_win_micros = -1};
    return bid;
}

static void read_bid(struct reader *r)
{
    struct bid *bid = new_bid(r);
    if (bid == NULL) {
        json_skip(&r->json, NULL);
    } else if (json_peek(&r->json) != JSON_IS_OBJECT) {
        bid->malformed = true;
        json_skip(&r->json, &bid->json);
    } else {
        const char *from = r->json.at;
        read_bid_members(r, bid);
        bid->json = (struct bytes){from, (size_t)(r->json.at - from)};
    }
}

/* Stands for something in the bids' place that is not even an array or an object. */
static void read_odd(struct reader *r)
{
    if (json_peek(&r->json) != JSON_IS_NULL) {
        struct bid *bid = new_bid(r);
        if (bid != NULL)
            bid->malformed = true;
    }
    json_skip(&r->json, NULL);
}

static void read_bids(struct reader *r)
{
    if (json_peek(&r->json) != JSON_IS_ARRAY) {
        read_odd(r);
        return;
    }
    json_enter_array(&r->json);
    while (json_next_element(&r->json))
        read_bid(r);
}

static void read_seatbid(struct reader *r)
{
    if (json_peek(&r->json) != JSON_IS_OBJECT) {
        read_odd(r);
        return;
    }
    uint32_t first = r->out->n_bids;
    struct bytes seat = {NULL, 0}, key;
    int32_t group = 0;
    json_enter_object(&r->json);
    while (json_next_key(&r->json, &key)) {
        if (json_key_is(key, "bid"))
            read_bids(r);
        else if (json_key_is(key, "seat"))
            take_string(r, &seat);
        else if (json_key_is(key, "group"))
            take_int(r, &group);
        else
            json_skip(&r->json, NULL);
    }
    if (group == 1)
        r->groups++;
    for (uint32_t i = first; i < r->out->n_bids; i++) {
        r->out->bids[i].seat = seat;
        r->out->bids[i].group = group == 1 ? r->groups : 0;
    }
}

static void read_seatbids(struct reader *r)
{
    enum json_type type = json_peek(&r->json);
    if (type != JSON_IS_ARRAY) {
        if (type != JSON_IS_NULL)
            r->wrong_type = true;
        json_skip(&r->json, NULL);
        return;
    }
    json_enter_array(&r->json);
    while (json_next_element(&r->json))
        read_seatbid(r);
}

static void read_response(struct reader *r)
{
    struct bytes key;
    int32_t nbr = -1;
    json_enter_object(&r->json);
    while (json_next_key(&r->json, &key)) {
        if (json_key_is(key, "seatbid")) {
            read_seatbids(r);
        } else if (json_key_is(key, "id")) {
            take_string(r, &r->out->id);
        } else if (json_key_is(key, "bidid")) {
            take_string(r, &r->out->bidid);
        } else if (json_key_is(key, "nbr")) {
            take_int(r, &nbr);
        } else if (json_key_is(key, "cur")) {
            enum json_type type = json_peek(&r->json);
            r->out->cur_odd = type != JSON_IS_STRING && type != JSON_IS_NULL;
            take_string(r, &r->out->cur);
        } else {
            json_skip(&r->json, NULL);
        }
    }
    r->out->nbr = nbr;
}

bool bid_response_read(struct bid_response *out, struct bytes body, struct arena *arena)
{
    char *copy = arena_alloc(arena, body.len + 1);
    if (body.len > 0)
        memcpy(copy, body.base, body.len);
    *out = (struct bid_response){.nbr = -1};
    struct reader r = {.arena = arena, .out = out};
    json_begin(&r.json, (struct bytes){copy, body.len});
    if (json_peek(&r.json) == JSON_IS_OBJECT) {
        read_response(&r);
        if (json_finish(&r.json) && !r.wrong_type)
            return true;
    }
    *out = (struct bid_response){.nbr = -1};
    return false;
}

/* ---- judging ---- */

/* Walks an array of strings, or a lone string, in JSON text. */
struct strings {
    struct json json;
    struct arena *arena;
    bool array, done;
};

static void strings_begin(struct strings *s, struct bytes text, struct arena *arena)
{
    *s = (struct strings){.arena = arena, .done = text.len == 0};
    json_begin(&s->json, text);
    s->array = !s->done && text.base[0] == '[';
    if (s->array)
        json_enter_array(&s->json);
}

static bool strings_next(struct strings *s, struct bytes *out)
{
    while (!s->done) {
        if (!s->array)
            s->done = true;
        else if (!json_next_element(&s->json))
            return false;
        if (json_peek(&s->json) == JSON_IS_STRING) {
            struct bytes raw;
            bool escaped;
            if (!json_text(&s->json, &raw, &escaped))
                return false;
            *out = escaped ? json_unescape(raw, s->arena) : raw;
            return true;
        }
        if (!json_skip(&s->json, NULL))
            return false;
    }
    return false;
}

static bool list_has(const struct bytes_list *list, struct bytes item)
{
    for (uint32_t i = 0; i < list->n; i++) {
        if (bytes_equal(list->items[i], item))
            return true;
    }
    return false;
}

static enum bid_refusal check_currency(const struct bid_terms *t, const struct bid_response *r)
{
    if (r->cur_odd)
        return BID_BAD_CURRENCY;
    const struct bytes_list *allowed = &t->request->cur;
    bool found = allowed->n == 0;
    for (uint32_t i = 0; i < allowed->n && !found; i++)
        found = currency_same(allowed->items[i], r->cur);
    int64_t unused;
    return found && currency_convert(t->rates, 0, r->cur, t->currency, &unused) ? BID_VALID
                                                                                : BID_BAD_CURRENCY;
}

static bool find_imp(struct bid *bid, const struct bid_request *request)
{
    for (uint32_t i = 0; i < request->n_imps; i++) {
        if (bid->impid.len > 0 && bytes_equal(request->imps[i].id, bid->impid)) {
            bid->imp = i;
            return true;
        }
    }
    return false;
}

static enum bid_refusal check_deal(struct bid *bid, const struct imp *imp)
{
    if (bid->dealid.len == 0)
        return imp->private_auction ? BID_UNKNOWN_DEAL : BID_VALID;
    for (uint32_t i = 0; i < imp->n_deals; i++) {
        if (bytes_equal(imp->deals[i].id, bid->dealid)) {
            bid->deal = &imp->deals[i];
            return BID_VALID;
        }
    }
    return BID_UNKNOWN_DEAL;
}

/* Price against floor in the bid's own currency, as the DSP sees it; then both in the auction's. */
static enum bid_refusal check_money(struct bid *bid, const struct imp *imp,
                                    const struct bid_terms *t)
{
    struct bytes cur = bid->response->cur, floor_cur = imp->bidfloorcur;
    int64_t floor = imp->bidfloor_micros;
    if (bid->deal != NULL && bid->deal->bidfloor_micros > 0) {
        floor = bid->deal->bidfloor_micros;
        floor_cur = bid->deal->bidfloorcur;
    }
    if (bid->price_micros <= 0)
        return BID_BAD_PRICE;
    if (!currency_convert(t->rates, bid->price_micros, cur, t->currency, &bid->value_micros))
        return BID_BAD_CURRENCY;
    if (bid->value_micros <= 0)
        return BID_BAD_PRICE;
    if (floor <= 0)
        return BID_VALID;
    if (floor_cur.len == 0)
        floor_cur = bytes_of("USD");
    int64_t own_floor;
    if (!currency_convert(t->rates, floor, floor_cur, cur, &own_floor) ||
        !currency_convert(t->rates, floor, floor_cur, t->currency, &bid->floor_micros))
        return BID_BAD_CURRENCY;
    return bid->price_micros < own_floor ? BID_BELOW_FLOOR : BID_VALID;
}

static enum bid_refusal check_seat(const struct bid *bid, const struct bid_terms *t)
{
    struct bytes seat = bid->seat.len > 0 ? bid->seat : t->dsp_name;
    const struct bid_request *r = t->request;
    if ((r->wseat.n > 0 && !list_has(&r->wseat, seat)) || list_has(&r->bseat, seat))
        return BID_SEAT_NOT_ALLOWED;
    if (t->seats.n > 0 && !list_has(&t->seats, seat))
        return BID_SEAT_NOT_ALLOWED;
    if (bid->deal != NULL && bid->deal->wseat.n > 0 && !list_has(&bid->deal->wseat, seat))
        return BID_SEAT_NOT_ALLOWED;
    return BID_VALID;
}

/* OpenRTB 2.6's mtype: 1 banner, 2 video, 3 audio, 4 native. 0 is what some serialisers make of an
 * absent one; 500 and above are agreed on between the parties. */
static enum bid_refusal check_media(const struct bid *bid, const struct imp *imp)
{
    static const uint8_t media[] = {0, MEDIA_BANNER, MEDIA_VIDEO, MEDIA_AUDIO, MEDIA_NATIVE};
    if (bid->mtype <= 0 || bid->mtype >= 500)
        return BID_VALID;
    return bid->mtype <= 4 && (imp->media & media[bid->mtype]) != 0 ? BID_VALID : BID_BAD_MEDIA;
}

/* Only where a size can be wrong: both given, and it is a banner for an imp that has sizes for one.
 * An interstitial's sizes are what there is room for. */
static enum bid_refusal check_size(const struct bid *bid, const struct imp *imp)
{
    bool banner = bid->mtype == 1 || imp->media == MEDIA_BANNER;
    if (bid->w <= 0 || bid->h <= 0 || !banner || imp->n_banner_sizes == 0)
        return BID_VALID;
    for (uint32_t i = 0; i < imp->n_banner_sizes; i++) {
        const struct size *s = &imp->sizes[i];
        if ((bid->w == s->w && bid->h == s->h) || (imp->instl && bid->w <= s->w && bid->h <= s->h))
            return BID_VALID;
    }
    return BID_BAD_SIZE;
}

/* A deal's wadomain are its only advertisers: a bid must name one, and none besides. The bound
 * keeps a long list of theirs times a long list of ours cheap. */
enum { DEAL_DOMAINS_MAX = 16 };

static bool deal_allows(const struct deal *deal, struct bytes adomain, struct arena *arena)
{
    struct strings s;
    struct bytes domain;
    uint32_t n = 0;
    for (strings_begin(&s, adomain, arena); strings_next(&s, &domain); n++) {
        bool found = false;
        for (uint32_t i = 0; i < deal->wadomain.n && !found; i++)
            found = domain_is_within(domain, deal->wadomain.items[i]);
        if (!found || n >= DEAL_DOMAINS_MAX)
            return false;
    }
    return n > 0;
}

static enum bid_refusal check_advertiser(const struct bid *bid, const struct bid_terms *t,
                                         struct arena *arena)
{
    struct strings s;
    struct bytes item;
    if (t->badv != NULL) {
        for (strings_begin(&s, bid->adomain, arena); strings_next(&s, &item);) {
            if (block_list_has_domain(t->badv, item))
                return BID_BLOCKED_DOMAIN;
        }
    }
    if (bid->deal != NULL && bid->deal->wadomain.n > 0 &&
        !deal_allows(bid->deal, bid->adomain, arena))
        return BID_BLOCKED_DOMAIN;
    if (t->bcat != NULL) {
        for (strings_begin(&s, bid->cat, arena); strings_next(&s, &item);) {
            if (block_list_has_category(t->bcat, item))
                return BID_BLOCKED_CATEGORY;
        }
    }
    return BID_VALID;
}

/* A win notice may fetch the markup, but not a native ad's, which the page must have to lay out. */
static enum bid_refusal check_markup(const struct bid *bid, const struct imp *imp)
{
    bool native = bid->mtype == 4 || imp->media == MEDIA_NATIVE;
    if (bid->adm.len > 0 || (bid->markup_object && (imp->media & MEDIA_NATIVE) != 0))
        return BID_VALID;
    return bid->nurl.len > 0 && !native ? BID_VALID : BID_NO_MARKUP;
}

static enum bid_refusal judge(struct bid *bid, const struct bid_terms *t, bool duplicate,
                              struct arena *arena)
{
    enum bid_refusal refusal;
    if (bid->malformed)
        return BID_NOT_JSON;
    bool known = find_imp(bid, t->request); /* also when refused: its imp is named in reports */
    if (!bytes_equal(bid->response->id, t->request->id))
        return BID_WRONG_RESPONSE_ID;
    if (bid->id.len == 0)
        return BID_NO_ID;
    if (duplicate)
        return BID_DUPLICATE_ID;
    if (!known)
        return BID_UNKNOWN_IMP;
    const struct imp *imp = &t->request->imps[bid->imp];
    if ((refusal = check_currency(t, bid->response)) != BID_VALID ||
        (refusal = check_deal(bid, imp)) != BID_VALID ||
        (refusal = check_money(bid, imp, t)) != BID_VALID ||
        (refusal = check_seat(bid, t)) != BID_VALID ||
        (refusal = check_media(bid, imp)) != BID_VALID ||
        (refusal = check_size(bid, imp)) != BID_VALID ||
        (refusal = check_advertiser(bid, t, arena)) != BID_VALID)
        return refusal;
    return check_markup(bid, imp);
}

/* Whether bids[i] has the id of an earlier one; enters it otherwise. slots: indices plus one. */
static bool seen_before(const struct bid *bids, uint32_t i, uint32_t *slots, uint32_t mask)
{
    uint32_t slot = (uint32_t)hash_bytes(bids[i].id, 0) & mask;
    while (slots[slot] != 0) {
        if (bytes_equal(bids[slots[slot] - 1].id, bids[i].id))
            return true;
        slot = (slot + 1) & mask;
    }
    slots[slot] = i + 1;
    return false;
}

uint32_t bid_response_judge(struct bid_response *response, const struct bid_terms *terms,
                            struct arena *arena, uint16_t refused[BID_REFUSALS])
{
    uint32_t valid = 0, size = 4;
    while (size < response->n_bids * 2)
        size *= 2;
    uint32_t *slots = arena_alloc(arena, size * sizeof(*slots));
    memset(slots, 0, size * sizeof(*slots));
    if (response->cur.len == 0)
        response->cur = terms->default_currency.len > 0 ? terms->default_currency : bytes_of("USD");
    for (uint32_t i = 0; i < response->n_bids; i++) {
        struct bid *bid = &response->bids[i];
        bid->response = response;
        bid->dsp = terms->dsp;
        bool duplicate = bid->id.len > 0 && seen_before(response->bids, i, slots, size - 1);
        bid->refusal = judge(bid, terms, duplicate, arena);
        if (bid->refusal == BID_VALID)
            valid++;
        else if (refused[bid->refusal] < UINT16_MAX)
            refused[bid->refusal]++;
    }
    uint32_t room = UINT16_MAX - (uint32_t)refused[BID_TOO_MANY];
    refused[BID_TOO_MANY] += (uint16_t)(response->n_dropped < room ? response->n_dropped : room);
    return valid;
}
