/* Any bytes as a bid request. What is accepted must keep the header's promises: required fields are
 * there, and every span lies inside the body, where it can be replaced: with a DSP's edits it is a
 * sound request still, and brings nobody else's id. */
#include <stddef.h>
#include <stdint.h>

#include "filter/bid_request.h"
#include "proxy/request_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

/* Reads every byte, so that a sanitizer sees a wrong one. */
static uint8_t sum(struct bytes b)
{
    uint8_t total = 0;
    for (size_t i = 0; i < b.len; i++)
        total += (uint8_t)b.base[i];
    return total;
}

static void check_list(struct bytes_list list)
{
    check(list.n <= BID_REQUEST_LIST_MAX);
    for (uint32_t i = 0; i < list.n; i++)
        sum(list.items[i]);
}

static void check_imp(const struct imp *imp)
{
    check(imp->id.len > 0 && imp->media != 0 && imp->bidfloor_micros >= 0);
    check(imp->n_banner_sizes <= imp->n_sizes);
    for (uint32_t i = 0; i < imp->n_sizes; i++)
        check(imp->sizes[i].w > 0 && imp->sizes[i].h > 0);
    for (uint32_t i = 0; i < imp->n_deals; i++) {
        check(imp->deals[i].id.len > 0 && imp->deals[i].bidfloor_micros >= 0);
        check_list(imp->deals[i].wseat);
    }
    check((imp->media & MEDIA_VIDEO) == 0 || imp->video.mimes.n > 0);
    check((imp->media & MEDIA_NATIVE) == 0 || imp->native_request.len > 0);
    check(imp->bidfloorcur.len == 0 || imp->bidfloorcur.len == 3);
    check_list(imp->video.mimes);
    sum(imp->native_request);
    sum(imp->tagid);
}

static void check_span(const struct bid_request *r, struct body_span span)
{
    check(span.at <= r->body.len && span.len <= r->body.len - span.at);
}

static void check_request(const struct bid_request *r)
{
    check(r->id.len > 0 && r->n_imps > 0 && r->tmax_ms >= -1);
    check(r->members_at > 0 && r->body.base[r->members_at - 1] == '{');
    check_span(r, r->tmax);
    check_span(r, r->user_id);
    check_span(r, r->buyeruid);
    check_span(r, r->buyeruid_value);
    check_span(r, r->user_ext);
    check_span(r, r->ext);
    check_span(r, r->wseat_value);
    check_span(r, r->ifa);
    check_span(r, r->ip);
    check_span(r, r->ipv6);
    for (uint32_t i = 0; i < r->n_imps; i++)
        check_imp(&r->imps[i]);
    check_list(r->cur);
    check_list(r->badv);
    check_list(r->property.cat);
    check_list(r->user.eid_sources);
    sum(r->id);
    sum(r->device.ua);
    sum(r->property.page);
    sum(r->geo.city);
    sum(r->schain_asi);
}

static void check_edited(const struct bid_request *r, struct arena *arena)
{
    static struct request_member members[] = {{"prebid", "{}"}, {"x", "1"}};
    static const struct bytes seats[] = {{"1", 1}, {"seat", 4}};
    struct request_edit edit = {.ext = members, .n_ext = 2, .buyeruid_key = "a"};
    struct request_body b;
    char tmax[REQUEST_TMAX_SIZE];
    edit.seats = (struct bytes_list){seats, 2};
    if (!request_edit_allows(&edit, r))
        edit.seats.n = 0;
    check(request_edit_body(&edit, r, arena, &b));
    size_t tmax_len = request_tmax(r, 5, tmax), len = b.before.len + tmax_len + b.after.len;
    char *text = arena_alloc(arena, len);
    memcpy(text, b.before.base, b.before.len);
    memcpy(text + b.before.len, tmax, tmax_len);
    memcpy(text + b.before.len + tmax_len, b.after.base, b.after.len);
    struct bid_request again;
    struct bid_request_error e;
    check(bid_request_scan(&again, (struct bytes){text, len}, 0, arena, &e));
    check(again.tmax_ms == 5 && again.n_imps == r->n_imps && bytes_equal(again.id, r->id));
    check(edit.seats.n == 0 || (again.wseat.n > 0 && again.wseat.n <= 2));
    check(r->user.buyeruid.len == 0 || bytes_equal(r->user.buyeruid, again.user.buyeruid));
    edit = (struct request_edit){.buyeruid_key = "a"};
    check(!request_edit_body(&edit, &again, arena, &b)); /* no map is left */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct bid_request r;
    struct bid_request_error e;
    if (bid_request_scan(&r, (struct bytes){(const char *)data, size}, 0, &arena, &e)) {
        check_request(&r);
        check_edited(&r, &arena);
    } else {
        check(e.reason[0] != '\0');
    }
    arena_dispose(&arena);
    return 0;
}
