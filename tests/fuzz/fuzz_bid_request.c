/* Any bytes as a bid request. What is accepted must keep the header's promises: required fields are
 * there, and every span lies inside the body, where it can be replaced. */
#include <stddef.h>
#include <stdint.h>

#include "filter/bid_request.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct bid_request r;
    struct bid_request_error e;
    if (bid_request_scan(&r, (struct bytes){(const char *)data, size}, 0, &arena, &e))
        check_request(&r);
    else
        check(e.reason[0] != '\0');
    arena_dispose(&arena);
    return 0;
}
