#include "loadtest/reply.h"

#include "loadtest/sink.h"

static void put_markup(struct sink *o, const struct buyer *b, const struct campaign *c)
{
    const char *kind = c->targeting.media == MEDIA_BANNER  ? ""
                       : c->targeting.media == MEDIA_VIDEO ? "<VAST version=\\\"4.2\\\">"
                                                           : "{\\\"native\\\":{\\\"link\\\":{"
                                                             "\\\"url\\\":\\\"";
    sink_literal(o, ",\"adm\":\"");
    sink_string(o, kind);
    if (c->targeting.media == MEDIA_BANNER)
        sink_literal(o, "<a href=\\\"");
    else if (c->targeting.media == MEDIA_VIDEO)
        sink_literal(o, "<Ad id=\\\"1\\\"><Wrapper><VASTAdTagURI>");
    sink_literal(o, "https://ads.");
    sink_string(o, b->name);
    sink_literal(o, ".example/c");
    sink_uint(o, c->number);
    sink_literal(o, "?p=${AUCTION_PRICE}");
    if (c->targeting.media == MEDIA_BANNER)
        sink_literal(o, "\\\">advertisement</a>\"");
    else if (c->targeting.media == MEDIA_VIDEO)
        sink_literal(o, "</VASTAdTagURI></Wrapper></Ad></VAST>\"");
    else
        sink_literal(o, "\\\"},\\\"assets\\\":[{\\\"id\\\":1,\\\"title\\\":{\\\"text\\\":"
                        "\\\"advertisement\\\"}}]}}\"");
}

/* A size that the imp offers and the campaign has; no size is told when the imp told none. */
static void put_size(struct sink *o, const struct campaign *c, const struct imp *imp)
{
    for (uint32_t i = 0; i < imp->n_banner_sizes; i++) {
        bool has = c->targeting.sizes == 0;
        for (uint32_t k = 0; k < VIEW_SIZES_MAX && !has; k++)
            has = (c->targeting.sizes >> k & 1) != 0 && SIZES_KNOWN[k].w == imp->sizes[i].w &&
                  SIZES_KNOWN[k].h == imp->sizes[i].h;
        if (!has)
            continue;
        sink_literal(o, ",\"w\":");
        sink_int(o, imp->sizes[i].w);
        sink_literal(o, ",\"h\":");
        sink_int(o, imp->sizes[i].h);
        return;
    }
}

static void put_bid(struct sink *o, const struct buyer *b, const struct view *v,
                    const struct buyer_bid *bid)
{
    const struct campaign *c = &b->campaigns[bid->campaign];
    const struct imp *imp = &v->request->imps[bid->imp];
    sink_literal(o, "{\"id\":\"");
    sink_hex(o, v->auction ^ c->key, 16);
    sink_literal(o, "-");
    sink_uint(o, bid->imp);
    sink_literal(o, "\",\"impid\":\"");
    sink_escaped(o, imp->id);
    sink_literal(o, "\",\"price\":");
    sink_fixed(o, bid->price_micros, 6);
    put_markup(o, b, c);
    sink_literal(o, ",\"adomain\":[\"brand");
    sink_uint(o, c->number);
    sink_literal(o, ".");
    sink_string(o, b->name);
    sink_literal(o, ".example\"],\"cid\":\"");
    sink_uint(o, c->number);
    sink_literal(o, "\",\"crid\":\"");
    sink_string(o, b->name);
    sink_literal(o, "-");
    sink_uint(o, c->number);
    sink_literal(o, "\",\"cat\":[\"IAB");
    sink_uint(o, c->category);
    sink_literal(o, "\"],\"mtype\":");
    sink_uint(o, c->targeting.media == MEDIA_BANNER  ? 1
                 : c->targeting.media == MEDIA_VIDEO ? 2
                                                     : 4);
    sink_literal(o, ",\"nurl\":\"https://ads.");
    sink_string(o, b->name);
    sink_literal(o, ".example/win?a=${AUCTION_ID}&p=${AUCTION_PRICE}&b=${AUCTION_BID_ID}\"");
    if (c->targeting.media == MEDIA_BANNER)
        put_size(o, c, imp);
    if (bid->deal >= 0) {
        char deal[TRAFFIC_DEAL_NAME_MAX];
        traffic_deal_name(b->traffic, (uint32_t)bid->deal, deal);
        sink_literal(o, ",\"dealid\":\"");
        sink_string(o, deal);
        sink_literal(o, "\"");
    }
    sink_literal(o, "}");
}

struct bytes reply_compose(const struct buyer *b, const struct view *v,
                           const struct buyer_bid *bids, uint32_t n, char out[REPLY_BYTES_MAX])
{
    struct sink o = {.base = out, .size = REPLY_BYTES_MAX};
    sink_literal(&o, "{\"id\":\"");
    sink_escaped(&o, v->request->id);
    sink_literal(&o, "\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"");
    sink_string(&o, b->seat);
    sink_literal(&o, "\",\"bid\":[");
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            sink_literal(&o, ",");
        put_bid(&o, b, v, &bids[i]);
    }
    sink_literal(&o, "]}]}");
    return o.cut ? (struct bytes){NULL, 0} : (struct bytes){out, o.len};
}
