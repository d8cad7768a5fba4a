/* Text becomes numbers here and nowhere else. What this world does not know (a country, a size, a
 * domain) becomes "unknown", which only untargeted campaigns take. */
#include "loadtest/view.h"

#include <math.h>
#include <strings.h>

#include "hash.h"
#include "loadtest/traffic.h"

const struct size_known SIZES_KNOWN[VIEW_SIZES_MAX] = {
    {300, 250, 1.0}, {320, 50, 0.8},  {728, 90, 0.8},   {300, 600, 0.5},
    {160, 600, 0.4}, {970, 250, 0.3}, {320, 100, 0.3},  {336, 280, 0.25},
    {320, 480, 0.3}, {970, 90, 0.15}, {768, 1024, 0.1}, {468, 60, 0.05},
};

static uint32_t category_bit(struct bytes cat)
{
    if (cat.len < 4 || memcmp(cat.base, "IAB", 3) != 0)
        return 0;
    uint32_t n = 0;
    for (size_t i = 3; i < cat.len && i < 6 && cat.base[i] >= '0' && cat.base[i] <= '9'; i++)
        n = n * 10 + (uint32_t)(cat.base[i] - '0');
    return n >= 1 && n <= CATEGORIES_COUNT ? 1u << (n - 1) : 0;
}

static uint32_t category_bits(struct bytes_list list, bool whole_only)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < list.n; i++) {
        if (!whole_only || memchr(list.items[i].base, '-', list.items[i].len) == NULL)
            bits |= category_bit(list.items[i]);
    }
    return bits;
}

static enum system system_of(struct bytes os)
{
    static const struct {
        const char *name;
        enum system os;
    } NAMES[] = {{"android", OS_ANDROID}, {"ios", OS_IOS},      {"windows", OS_WINDOWS},
                 {"macos", OS_MACOS},     {"mac os", OS_MACOS}, {"os x", OS_MACOS},
                 {"linux", OS_LINUX},     {"chrome", OS_LINUX}, {"tizen", OS_TV},
                 {"roku", OS_TV},         {"tvos", OS_TV},      {"webos", OS_TV},
                 {"fire", OS_TV}};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        size_t len = strlen(NAMES[i].name);
        if (os.len >= len && strncasecmp(os.base, NAMES[i].name, len) == 0)
            return NAMES[i].os;
    }
    return OS_UNKNOWN;
}

static uint64_t user_of(const struct bid_request *r)
{
    struct body_span span = r->user_id.len > 0 ? r->user_id : r->ifa;
    if (span.len == 0)
        return 0;
    uint64_t h = hash_bytes((struct bytes){r->body.base + span.at, span.len}, 0x75736572);
    return h + (h == 0);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static void set_time(struct view *v, const struct atlas_node *place, const struct bid_request *r,
                     int64_t ts_ms, int64_t start_ms)
{
    enum { DAY_MS = 86400000, HOUR_MS = 3600000 };
    int64_t since = ts_ms - start_ms;
    v->day = (int32_t)floor_div(since, DAY_MS);
    v->ms_of_day = (int32_t)(since - (int64_t)v->day * DAY_MS);
    bool told = r->geo.utcoffset >= -1440 && r->geo.utcoffset <= 1440;
    int64_t offset = told ? r->geo.utcoffset : place->utcoffset_min;
    int64_t local = ts_ms + offset * 60000;
    int64_t local_day = floor_div(local, DAY_MS);
    v->hour = (uint8_t)((local - local_day * DAY_MS) / HOUR_MS);
    int64_t since_monday = local_day - 4; /* 1970-01-05 was one */
    v->weekday = (uint8_t)(since_monday - floor_div(since_monday, 7) * 7);
}

static void view_imp(struct view_imp *out, const struct traffic *t, const struct imp *imp)
{
    out->media = imp->media;
    out->sizes = 0;
    out->any_size = imp->n_banner_sizes == 0;
    out->private_auction = imp->private_auction;
    out->floor_micros = imp->bidfloor_micros;
    out->n_deals = 0;
    for (uint32_t i = 0; i < imp->n_banner_sizes; i++) {
        for (uint32_t k = 0; k < VIEW_SIZES_MAX && SIZES_KNOWN[k].w != 0; k++) {
            if (SIZES_KNOWN[k].w == imp->sizes[i].w && SIZES_KNOWN[k].h == imp->sizes[i].h)
                out->sizes |= 1u << k;
        }
    }
    for (uint32_t i = 0; i < imp->n_deals && out->n_deals < VIEW_DEALS_MAX; i++) {
        int32_t deal = traffic_find_deal(t, imp->deals[i].id);
        if (deal >= 0)
            out->deals[out->n_deals++] =
                (struct view_deal){(uint16_t)deal, imp->deals[i].bidfloor_micros};
    }
}

void view_make(struct view *v, const struct traffic *t, const struct bid_request *r, int64_t ts_ms)
{
    const struct atlas *atlas = traffic_atlas(t);
    v->request = r;
    v->auction = hash_bytes(r->id, traffic_scenario(t)->seed);
    v->user = user_of(r);
    v->place = atlas_find(atlas, r->geo.country, r->geo.region, r->geo.city);
    v->cats = category_bits(r->property.cat, false);
    v->blocked_cats = category_bits(r->bcat, true);
    struct bytes name = r->channel == CHANNEL_APP ? r->property.bundle : r->property.domain;
    v->property = traffic_find_property(t, name);
    v->device =
        r->device.devicetype >= 0 && r->device.devicetype <= 7 ? (uint8_t)r->device.devicetype : 0;
    v->os = (uint8_t)system_of(r->device.os);
    v->channel = (uint8_t)r->channel;
    v->coppa = r->regs.coppa == 1;
    v->dollars = r->cur.n == 0;
    for (uint32_t i = 0; i < r->cur.n; i++)
        v->dollars = v->dollars || bytes_is(r->cur.items[i], "USD");
    set_time(v, &atlas->nodes[v->place], r, ts_ms, traffic_scenario(t)->start_ms);
    v->n_imps = r->n_imps < VIEW_IMPS_MAX ? r->n_imps : VIEW_IMPS_MAX;
    for (uint32_t i = 0; i < v->n_imps; i++)
        view_imp(&v->imps[i], t, &r->imps[i]);
}
