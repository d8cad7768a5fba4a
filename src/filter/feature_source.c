/* The sources. Each says in one line of the table what it means; a text is lower-cased where case
 * carries nothing, bounded, and borrowed from the request, the arena or static storage. Values that
 * depend on where they occur say so in their text ("USA/ca", "ios 17"), because a vocabulary knows
 * no context. */
#include "filter/feature_source.h"

#include <math.h>
#include <string.h>

#include "filter/digits.h"
#include "filter/features.h"
#include "filter/property.h"

enum { TEXT_BYTES_MAX = 128, MINUTES_OF_WEEK = 7 * 24 * 60 };

static const struct bytes NONE = {NULL, 0};

/* ---- texts ---- */

static struct bytes bounded(struct bytes b)
{
    return (struct bytes){b.base, b.len < TEXT_BYTES_MAX ? b.len : TEXT_BYTES_MAX};
}

static struct bytes lower(const struct source_input *in, struct bytes b)
{
    b = bounded(b);
    size_t i = 0;
    while (i < b.len && !(b.base[i] >= 'A' && b.base[i] <= 'Z'))
        i++;
    if (i == b.len)
        return b;
    char *copy = arena_alloc(in->arena, b.len);
    for (i = 0; i < b.len; i++) {
        char c = b.base[i];
        copy[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return (struct bytes){copy, b.len};
}

static struct bytes join(const struct source_input *in, struct bytes a, char between,
                         struct bytes b)
{
    char *text = arena_alloc(in->arena, a.len + 1 + b.len);
    if (a.len > 0)
        memcpy(text, a.base, a.len);
    text[a.len] = between;
    if (b.len > 0)
        memcpy(text + a.len + 1, b.base, b.len);
    return (struct bytes){text, a.len + 1 + b.len};
}

static struct bytes or_dash(struct bytes b)
{
    return b.len > 0 ? b : bytes_of("-");
}

static struct bytes flag(int value)
{
    return value < 0 ? NONE : bytes_of(value > 0 ? "1" : "0");
}

/* A code of some OpenRTB list; negative = absent. */
static struct bytes code(int32_t value)
{
    return value >= 0 && value <= DIGITS_STATIC_MAX ? digits((uint32_t)value) : NONE;
}

/* "<=6", "<=15", ... by upper bounds, ">60" beyond the last. */
static struct bytes seconds_band(int32_t seconds)
{
    return seconds < 0      ? NONE
           : seconds <= 6   ? bytes_of("<=6")
           : seconds <= 15  ? bytes_of("<=15")
           : seconds <= 20  ? bytes_of("<=20")
           : seconds <= 30  ? bytes_of("<=30")
           : seconds <= 60  ? bytes_of("<=60")
           : seconds <= 120 ? bytes_of("<=120")
                            : bytes_of(">120");
}

static struct bytes size_text(const struct source_input *in, int32_t w, int32_t h)
{
    if (w < 0 || h < 0)
        return NONE;
    return join(in, digits_any(w, in->arena), 'x', digits_any(h, in->arena));
}

/* Values beyond max, empty ones and repetitions are left out. */
static void add_value(struct bytes *out, uint32_t *n, uint32_t max, struct bytes value)
{
    if (value.len == 0 || *n == max)
        return;
    for (uint32_t i = 0; i < *n; i++)
        if (bytes_equal(out[i], value))
            return;
    out[(*n)++] = value;
}

static uint32_t add_list(struct bytes *out, uint32_t max, const struct bytes_list *list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n && n < max; i++)
        add_value(out, &n, max, bounded(list->items[i]));
    return n;
}

static uint32_t add_list_lower(const struct source_input *in, struct bytes *out, uint32_t max,
                               const struct bytes_list *list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n && n < max; i++)
        add_value(out, &n, max, lower(in, list->items[i]));
    return n;
}

/* ---- geo ---- */

static struct bytes geo_country(const struct source_input *in)
{
    return in->place->country;
}

static struct bytes geo_region(const struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->country.len == 0 || p->region.len == 0)
        return NONE;
    return join(in, p->country, '/', lower(in, p->region));
}

static struct bytes geo_city(const struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->country.len == 0 || p->city.len == 0)
        return NONE;
    return join(in, p->country, '/', lower(in, p->city));
}

static struct bytes geo_code(const struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->country.len == 0 || (p->region.len == 0 && p->city.len == 0))
        return p->country;
    struct bytes region = join(in, p->country, '/', lower(in, or_dash(p->region)));
    return p->city.len == 0 ? region : join(in, region, '/', lower(in, p->city));
}

static struct bytes geo_zip3(const struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->country.len == 0 || p->zip.len == 0)
        return NONE;
    struct bytes start = {p->zip.base, p->zip.len < 3 ? p->zip.len : 3};
    return join(in, p->country, '/', lower(in, start));
}

static struct bytes geo_metro(const struct source_input *in)
{
    const struct geo_place *p = in->place;
    return p->metro.len == 0 ? NONE : join(in, or_dash(p->country), '/', bounded(p->metro));
}

static struct bytes geo_type(const struct source_input *in)
{
    return in->place->from_database ? bytes_of("database") : code(in->r->geo.type);
}

static double geo_lat(const struct source_input *in)
{
    return in->place->lat;
}

static double geo_lon(const struct source_input *in)
{
    return in->place->lon;
}

/* ---- time ---- */

static struct bytes time_hour(const struct source_input *in)
{
    return digits((uint32_t)(in->local_minute / 60 % 24));
}

static struct bytes time_weekday(const struct source_input *in)
{
    return digits((uint32_t)(in->local_minute / (24 * 60)));
}

static struct bytes time_hour_of_week(const struct source_input *in)
{
    return digits((uint32_t)(in->local_minute / 60));
}

static struct bytes time_hour_utc(const struct source_input *in)
{
    return digits((uint32_t)(in->utc_minute / 60 % 24));
}

static struct bytes time_half_hour_utc(const struct source_input *in)
{
    return digits((uint32_t)(in->utc_minute / 30 % 48));
}

/* ---- property ---- */

static struct bytes channel(const struct source_input *in)
{
    static const char *const names[] = {NULL, "site", "app", "dooh"};
    return bytes_of(names[in->r->channel]);
}

static struct bytes property_domain_text(const struct source_input *in)
{
    return bounded(in->domain);
}

static struct bytes property_id(const struct source_input *in)
{
    return bounded(in->r->property.id);
}

static struct bytes property_publisher(const struct source_input *in)
{
    struct bytes id = in->r->property.publisher_id;
    return id.len > 0 ? bounded(id) : lower(in, in->r->property.publisher_name);
}

static struct bytes property_section(const struct source_input *in)
{
    struct bytes directory = url_first_directory(in->r->property.page);
    if (in->domain.len == 0 || directory.len == 0)
        return NONE;
    return join(in, bounded(in->domain), '/', lower(in, directory));
}

static uint32_t property_cat(const struct source_input *in, struct bytes *out, uint32_t max)
{
    return add_list(out, max, &in->r->property.cat);
}

static uint32_t property_cat_top(const struct source_input *in, struct bytes *out, uint32_t max)
{
    const struct bytes_list *cat = &in->r->property.cat;
    uint32_t n = 0;
    for (uint32_t i = 0; i < cat->n && n < max; i++) {
        struct bytes c = bounded(cat->items[i]);
        const char *dash = memchr(c.base, '-', c.len);
        if (dash != NULL)
            c.len = (size_t)(dash - c.base);
        add_value(out, &n, max, c);
    }
    return n;
}

static uint32_t property_sectioncat(const struct source_input *in, struct bytes *out, uint32_t max)
{
    return add_list(out, max, &in->r->property.sectioncat);
}

static uint32_t property_pagecat(const struct source_input *in, struct bytes *out, uint32_t max)
{
    return add_list(out, max, &in->r->property.pagecat);
}

static struct bytes property_mobile(const struct source_input *in)
{
    return in->r->channel == CHANNEL_SITE ? flag(in->r->property.mobile) : NONE;
}

static struct bytes content_id(const struct source_input *in)
{
    return bounded(in->r->property.content_id);
}

static struct bytes content_genre(const struct source_input *in)
{
    return lower(in, in->r->property.content_genre);
}

static struct bytes content_language(const struct source_input *in)
{
    return lower(in, in->r->property.content_language);
}

/* ---- impressions ---- */

static struct bytes imp_media(const struct source_input *in)
{
    static const char *const names[16] = {
        NULL,
        "banner",
        "video",
        "banner+video",
        "audio",
        "banner+audio",
        "video+audio",
        "banner+video+audio",
        "native",
        "banner+native",
        "video+native",
        "banner+video+native",
        "audio+native",
        "banner+audio+native",
        "video+audio+native",
        "all",
    };
    unsigned media = 0;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        media |= in->r->imps[i].media;
    return bytes_of(names[media & 15]);
}

static uint32_t imp_size(const struct source_input *in, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->r->n_imps && n < max; i++)
        for (uint32_t k = 0; k < in->r->imps[i].n_sizes && n < max; k++)
            add_value(out, &n, max,
                      size_text(in, in->r->imps[i].sizes[k].w, in->r->imps[i].sizes[k].h));
    return n;
}

static struct bytes imp_first_size(const struct source_input *in)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (in->r->imps[i].n_sizes > 0)
            return size_text(in, in->r->imps[i].sizes[0].w, in->r->imps[i].sizes[0].h);
    return NONE;
}

static struct bytes imp_pos(const struct source_input *in)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++) {
        const struct imp *imp = &in->r->imps[i];
        int32_t pos = imp->banner_pos >= 0 ? imp->banner_pos : imp->video.pos;
        if ((imp->media & (MEDIA_BANNER | MEDIA_VIDEO)) != 0 && pos >= 0)
            return code(pos);
    }
    return NONE;
}

static struct bytes imp_tagid(const struct source_input *in)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (in->r->imps[i].tagid.len > 0)
            return bounded(in->r->imps[i].tagid);
    return NONE;
}

static struct bytes imp_count(const struct source_input *in)
{
    uint32_t n = in->r->n_imps;
    return n < 5 ? digits(n) : n < 10 ? bytes_of("5-9") : bytes_of("10+");
}

static struct bytes imp_instl(const struct source_input *in)
{
    int any = 0;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        any |= in->r->imps[i].instl;
    return flag(any);
}

static struct bytes imp_secure(const struct source_input *in)
{
    int secure = -1;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (in->r->imps[i].secure > secure)
            secure = in->r->imps[i].secure;
    return flag(secure);
}

static struct bytes imp_rewarded(const struct source_input *in)
{
    int any = 0;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        any |= in->r->imps[i].rewarded;
    return flag(any);
}

static uint32_t imp_deal(const struct source_input *in, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->r->n_imps && n < max; i++)
        for (uint32_t k = 0; k < in->r->imps[i].n_deals && n < max; k++)
            add_value(out, &n, max, bounded(in->r->imps[i].deals[k].id));
    return n;
}

static struct bytes imp_deals(const struct source_input *in)
{
    bool open = false, private = false, any = false;
    for (uint32_t i = 0; i < in->r->n_imps; i++) {
        const struct imp *imp = &in->r->imps[i];
        any |= imp->n_deals > 0;
        open |= !imp->private_auction;
        private |= imp->private_auction;
    }
    return bytes_of(!any       ? (private ? "private-none" : "none")
                    : !private ? "open"
                    : open     ? "mixed"
                               : "private");
}

static uint32_t imp_mime(const struct source_input *in, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->r->n_imps; i++) {
        const struct imp *imp = &in->r->imps[i];
        const struct bytes_list *lists[] = {&imp->banner_mimes, &imp->video.mimes,
                                            &imp->audio.mimes};
        for (size_t l = 0; l < 3; l++)
            for (uint32_t k = 0; k < lists[l]->n && n < max; k++)
                add_value(out, &n, max, lower(in, lists[l]->items[k]));
    }
    return n;
}

/* The imp with the lowest floor; NULL without any. */
static const struct imp *cheapest_imp(const struct source_input *in)
{
    const struct imp *cheapest = NULL;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (cheapest == NULL || in->r->imps[i].bidfloor_micros < cheapest->bidfloor_micros)
            cheapest = &in->r->imps[i];
    return cheapest;
}

static double imp_floor(const struct source_input *in)
{
    const struct imp *imp = cheapest_imp(in);
    return imp == NULL || imp->bidfloor_micros < 0 ? NAN
                                                   : log1p((double)imp->bidfloor_micros / 1e6);
}

static struct bytes imp_floor_currency(const struct source_input *in)
{
    const struct imp *imp = cheapest_imp(in);
    return imp == NULL || imp->bidfloorcur.len == 0 ? bytes_of("USD") : bounded(imp->bidfloorcur);
}

/* Half octaves: a step is a factor of 1.41. */
static struct bytes imp_floor_band(const struct source_input *in)
{
    const struct imp *imp = cheapest_imp(in);
    if (imp == NULL || imp->bidfloor_micros < 0)
        return NONE;
    struct bytes band = bytes_of("0");
    if (imp->bidfloor_micros > 0) {
        double octaves = log2((double)imp->bidfloor_micros / 1e6);
        band = join(in, NONE, '^', digits_any((int64_t)lround(2 * octaves), in->arena));
    }
    struct bytes currency = imp_floor_currency(in);
    return bytes_is(currency, "USD") ? band : join(in, currency, ' ', band);
}

static double imp_deal_floor(const struct source_input *in)
{
    double lowest = NAN;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        for (uint32_t k = 0; k < in->r->imps[i].n_deals; k++) {
            double floor = (double)in->r->imps[i].deals[k].bidfloor_micros / 1e6;
            if (floor >= 0 && !(floor >= lowest))
                lowest = floor;
        }
    return log1p(lowest);
}

/* ---- video and audio: of the first imp that has it ---- */

static const struct imp *first_imp_with(const struct source_input *in, enum media media)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if ((in->r->imps[i].media & media) != 0)
            return &in->r->imps[i];
    return NULL;
}

static struct bytes video_placement(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    if (imp == NULL)
        return NONE;
    return imp->video.plcmt >= 0 ? join(in, NONE, 'p', code(imp->video.plcmt))
                                 : code(imp->video.placement);
}

static struct bytes video_duration(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    return imp == NULL ? NONE : seconds_band(imp->video.maxduration);
}

static struct bytes video_min_duration(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    return imp == NULL ? NONE : seconds_band(imp->video.minduration);
}

static struct bytes video_linearity(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    return imp == NULL ? NONE : code(imp->video.linearity);
}

static struct bytes video_skip(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    return imp == NULL ? NONE : flag(imp->video.skip);
}

static struct bytes video_start(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    if (imp == NULL || imp->video.startdelay == INT32_MIN)
        return NONE;
    int32_t delay = imp->video.startdelay;
    return bytes_of(delay == 0 ? "pre" : delay > 0 || delay == -1 ? "mid" : "post");
}

static uint32_t video_protocol(const struct source_input *in, struct bytes *out, uint32_t max)
{
    const struct imp *imp = first_imp_with(in, MEDIA_VIDEO);
    uint32_t n = 0;
    for (uint32_t bit = 0; imp != NULL && bit < 32 && n < max; bit++)
        if ((imp->video.protocols >> bit & 1) != 0)
            out[n++] = digits(bit);
    return n;
}

static struct bytes audio_duration(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_AUDIO);
    return imp == NULL ? NONE : seconds_band(imp->audio.maxduration);
}

static struct bytes audio_feed(const struct source_input *in)
{
    const struct imp *imp = first_imp_with(in, MEDIA_AUDIO);
    return imp == NULL ? NONE : code(imp->audio.feed);
}

/* ---- device ---- */

static struct bytes device_type(const struct source_input *in)
{
    int32_t type = in->r->device.devicetype;
    return type >= 0 ? code(type) : in->ua.device;
}

static struct bytes device_os(const struct source_input *in)
{
    return in->os;
}

static struct bytes device_os_major(const struct source_input *in)
{
    struct bytes os = in->os, version = in->r->device.osv;
    size_t n = 0;
    while (n < version.len && n < 8 && version.base[n] >= '0' && version.base[n] <= '9')
        n++;
    return os.len == 0 || n == 0 ? NONE : join(in, os, ' ', (struct bytes){version.base, n});
}

static struct bytes device_make(const struct source_input *in)
{
    return lower(in, in->r->device.make);
}

static struct bytes device_model(const struct source_input *in)
{
    return lower(in, in->r->device.model);
}

static struct bytes device_browser(const struct source_input *in)
{
    return in->ua.browser;
}

static struct bytes device_language(const struct source_input *in)
{
    struct bytes language = in->r->device.language;
    size_t n = 0;
    while (n < language.len && language.base[n] != '-' && language.base[n] != '_')
        n++;
    return lower(in, (struct bytes){language.base, n});
}

static struct bytes device_carrier(const struct source_input *in)
{
    struct bytes carrier = in->r->device.carrier;
    return carrier.len > 0 ? lower(in, carrier) : bounded(in->r->device.mccmnc);
}

static struct bytes device_connectiontype(const struct source_input *in)
{
    return code(in->r->device.connectiontype);
}

static struct bytes device_screen(const struct source_input *in)
{
    if (in->r->device.w <= 0 || in->r->device.h <= 0)
        return NONE;
    return size_text(in, in->r->device.w, in->r->device.h);
}

static struct bytes device_ip_version(const struct source_input *in)
{
    bool v4 = in->r->device.ip.len > 0, v6 = in->r->device.ipv6.len > 0;
    return bytes_of(v4 && v6 ? "both" : v4 ? "4" : v6 ? "6" : "none");
}

static struct bytes device_tracking(const struct source_input *in)
{
    int8_t dnt = in->r->device.dnt, lmt = in->r->device.lmt;
    if (dnt < 0 && lmt < 0)
        return NONE;
    return bytes_of(dnt > 0 || lmt > 0 ? "limited" : "allowed");
}

static struct bytes device_hints(const struct source_input *in)
{
    return flag(in->r->device.sua);
}

/* ---- user ---- */

static bool id_is_set(struct bytes id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.base[i] != '0' && id.base[i] != '-')
            return true;
    return false;
}

static struct bytes user_has_id(const struct source_input *in)
{
    return flag(id_is_set(in->r->user.id));
}

static struct bytes user_has_buyeruid(const struct source_input *in)
{
    return flag(id_is_set(in->r->user.buyeruid));
}

static struct bytes user_identity(const struct source_input *in)
{
    static const char *const names[16] = {
        "none",    "id",         "buyeruid",         "id+buyeruid",
        "ifa",     "id+ifa",     "buyeruid+ifa",     "id+buyeruid+ifa",
        "eid",     "id+eid",     "buyeruid+eid",     "id+buyeruid+eid",
        "ifa+eid", "id+ifa+eid", "buyeruid+ifa+eid", "all",
    };
    const struct bid_request *r = in->r;
    unsigned bits = (id_is_set(r->user.id) ? 1u : 0) | (id_is_set(r->user.buyeruid) ? 2u : 0) |
                    (id_is_set(r->device.ifa) ? 4u : 0) | (r->user.eid_sources.n > 0 ? 8u : 0);
    return bytes_of(names[bits]);
}

static struct bytes user_gender(const struct source_input *in)
{
    struct bytes gender = in->r->user.gender;
    return lower(in, (struct bytes){gender.base, gender.len < 1 ? gender.len : 1});
}

static struct bytes user_age_band(const struct source_input *in)
{
    int64_t age = (int64_t)in->year - in->r->user.yob;
    if (in->r->user.yob < 1900 || age < 0)
        return NONE;
    return bytes_of(age < 13   ? "<13"
                    : age < 18 ? "13-17"
                    : age < 25 ? "18-24"
                    : age < 35 ? "25-34"
                    : age < 45 ? "35-44"
                    : age < 55 ? "45-54"
                    : age < 65 ? "55-64"
                               : "65+");
}

static uint32_t user_eid(const struct source_input *in, struct bytes *out, uint32_t max)
{
    return add_list_lower(in, out, max, &in->r->user.eid_sources);
}

static double user_segments(const struct source_input *in)
{
    return log1p((double)in->r->user.n_segments);
}

/* ---- regulation and the request itself ---- */

static struct bytes regs_gdpr(const struct source_input *in)
{
    return flag(in->r->regs.gdpr);
}

static struct bytes regs_coppa(const struct source_input *in)
{
    return flag(in->r->regs.coppa);
}

static struct bytes regs_consent(const struct source_input *in)
{
    bool consent = in->r->user.consent.len > 0;
    return bytes_of(in->r->regs.gdpr == 1 ? (consent ? "gdpr+consent" : "gdpr")
                    : consent             ? "consent"
                                          : "none");
}

static struct bytes regs_us_privacy(const struct source_input *in)
{
    return lower(in, in->r->regs.us_privacy);
}

static struct bytes regs_gpp(const struct source_input *in)
{
    return flag(in->r->regs.gpp.len > 0);
}

static struct bytes request_at(const struct source_input *in)
{
    return code(in->r->at > 0 ? in->r->at : -1);
}

static double request_tmax(const struct source_input *in)
{
    return in->r->tmax_ms <= 0 ? NAN : log1p((double)in->r->tmax_ms);
}

static uint32_t request_cur(const struct source_input *in, struct bytes *out, uint32_t max)
{
    return add_list(out, max, &in->r->cur);
}

static uint32_t request_wseat(const struct source_input *in, struct bytes *out, uint32_t max)
{
    return add_list(out, max, &in->r->wseat);
}

static double request_bcat(const struct source_input *in)
{
    return log1p((double)in->r->bcat.n);
}

static double request_badv(const struct source_input *in)
{
    return log1p((double)in->r->badv.n);
}

static struct bytes schain_length(const struct source_input *in)
{
    uint32_t n = in->r->n_schain_nodes;
    return n == 0 ? NONE : n < 6 ? digits(n) : bytes_of("6+");
}

static struct bytes schain_asi(const struct source_input *in)
{
    return lower(in, in->r->schain_asi);
}

/* ---- the table: kind, name, function, what it says ---- */

// clang-format off
#define SOURCES(ROW) \
    ROW(DSP, "dsp", NULL, "the DSP that is asked; exactly one feature has it") \
    ROW(TEXT, "geo.code", geo_code, \
        "country/region/city, as far as they are known: USA/ca/oakland") \
    ROW(TEXT, "geo.country", geo_country, "ISO 3166-1 alpha-3") \
    ROW(TEXT, "geo.region", geo_region, "country/region") \
    ROW(TEXT, "geo.city", geo_city, "country/city") \
    ROW(TEXT, "geo.zip3", geo_zip3, "country/first three characters of the postal code") \
    ROW(TEXT, "geo.metro", geo_metro, "country/metro code (Nielsen DMA in the USA)") \
    ROW(TEXT, "geo.type", geo_type, \
        "how the place is known: geo.type of the request, or database") \
    ROW(NUMBER, "geo.lat", geo_lat, "degrees north") \
    ROW(NUMBER, "geo.lon", geo_lon, "degrees east") \
    ROW(TEXT, "time.hour", time_hour, "hour of the day, local time, 0..23") \
    ROW(TEXT, "time.weekday", time_weekday, "day of the week, local time, 0 = Monday") \
    ROW(TEXT, "time.hour_of_week", time_hour_of_week, "hour of the week, local time, 0..167") \
    ROW(TEXT, "time.hour_utc", time_hour_utc, \
        "hour of the day, UTC (when daily budgets begin and end)") \
    ROW(TEXT, "time.half_hour_utc", time_half_hour_utc, "half hour of the day, UTC, 0..47") \
    ROW(TEXT, "channel", channel, "site, app or dooh") \
    ROW(TEXT, "property.domain", property_domain_text, \
        "site's domain (else its page's host) or app's bundle, without www.") \
    ROW(TEXT, "property.id", property_id, "site.id, app.id or dooh.id") \
    ROW(TEXT, "property.publisher", property_publisher, "publisher.id, else publisher.name") \
    ROW(TEXT, "property.section", property_section, "domain/first directory of the page's path") \
    ROW(TEXTS, "property.cat", property_cat, "content categories") \
    ROW(TEXTS, "property.cat_top", property_cat_top, \
        "content categories, their first tier: IAB1 of IAB1-3") \
    ROW(TEXTS, "property.sectioncat", property_sectioncat, "categories of the section") \
    ROW(TEXTS, "property.pagecat", property_pagecat, "categories of the page or view") \
    ROW(TEXT, "property.mobile", property_mobile, "site.mobile") \
    ROW(TEXT, "content.id", content_id, "content.id") \
    ROW(TEXT, "content.genre", content_genre, "content.genre") \
    ROW(TEXT, "content.language", content_language, "content.language") \
    ROW(TEXT, "imp.media", imp_media, \
        "what the imps offer together: banner, video, banner+video, ...") \
    ROW(TEXTS, "imp.size", imp_size, "sizes over all imps: 300x250") \
    ROW(TEXT, "imp.first_size", imp_first_size, "the first size of the first imp that has one") \
    ROW(TEXT, "imp.pos", imp_pos, "position on the page, of the first imp that says it") \
    ROW(TEXT, "imp.tagid", imp_tagid, "placement, of the first imp that names one") \
    ROW(TEXT, "imp.count", imp_count, "number of imps: 1..4, 5-9, 10+") \
    ROW(TEXT, "imp.instl", imp_instl, "1 if an imp is interstitial") \
    ROW(TEXT, "imp.secure", imp_secure, "1 if an imp requires HTTPS markup") \
    ROW(TEXT, "imp.rewarded", imp_rewarded, "1 if an imp rewards the user") \
    ROW(TEXTS, "imp.deal", imp_deal, "ids of the deals that are offered") \
    ROW(TEXT, "imp.deals", imp_deals, "none, open (deals beside the auction), private, mixed") \
    ROW(TEXTS, "imp.mime", imp_mime, "MIME types over all imps") \
    ROW(NUMBER, "imp.floor", imp_floor, \
        "log(1 + lowest floor of the imps), in the floor's currency") \
    ROW(TEXT, "imp.floor_band", imp_floor_band, \
        "lowest floor in half octaves: 0; ^-2 is 0.50, ^0 is 1.00, ^2 is 2.00; with its currency if not USD") \
    ROW(TEXT, "imp.floor_currency", imp_floor_currency, "currency of the lowest floor") \
    ROW(NUMBER, "imp.deal_floor", imp_deal_floor, "log(1 + lowest floor of the deals)") \
    ROW(TEXT, "video.placement", video_placement, "p and video.plcmt, else video.placement") \
    ROW(TEXT, "video.duration", video_duration, "longest video, in bands of seconds") \
    ROW(TEXT, "video.min_duration", video_min_duration, "shortest video, in bands of seconds") \
    ROW(TEXTS, "video.protocol", video_protocol, "protocols of the first video imp") \
    ROW(TEXT, "video.linearity", video_linearity, "1 in-stream, 2 overlay") \
    ROW(TEXT, "video.skip", video_skip, "whether the video may be skipped") \
    ROW(TEXT, "video.start", video_start, "pre, mid or post roll") \
    ROW(TEXT, "audio.duration", audio_duration, "longest audio, in bands of seconds") \
    ROW(TEXT, "audio.feed", audio_feed, "audio.feed") \
    ROW(TEXT, "device.type", device_type, \
        "device.devicetype, else phone, tablet, ... by the user agent") \
    ROW(TEXT, "device.os", device_os, \
        "operating system's family; by the user agent when device.os is absent") \
    ROW(TEXT, "device.os_major", device_os_major, \
        "operating system and its major version: ios 17") \
    ROW(TEXT, "device.make", device_make, "maker") \
    ROW(TEXT, "device.model", device_model, "model") \
    ROW(TEXT, "device.browser", device_browser, "browser's family, by the user agent") \
    ROW(TEXT, "device.language", device_language, "language, without its region: en") \
    ROW(TEXT, "device.carrier", device_carrier, "carrier, else mccmnc") \
    ROW(TEXT, "device.connectiontype", device_connectiontype, \
        "OpenRTB's list of connection types") \
    ROW(TEXT, "device.screen", device_screen, "screen size: 390x844") \
    ROW(TEXT, "device.ip_version", device_ip_version, \
        "4, 6, both or none (the address itself is never read)") \
    ROW(TEXT, "device.tracking", device_tracking, "limited if dnt or lmt is set, else allowed") \
    ROW(TEXT, "device.hints", device_hints, "1 if the request has structured user agent data") \
    ROW(TEXT, "user.has_id", user_has_id, "1 if there is a user.id") \
    ROW(TEXT, "user.has_buyeruid", user_has_buyeruid, "1 if there is a user.buyeruid") \
    ROW(TEXT, "user.identity", user_identity, "which of id, buyeruid, ifa, eid there are: id+ifa") \
    ROW(TEXT, "user.gender", user_gender, "m, f or o") \
    ROW(TEXT, "user.age_band", user_age_band, "by the year of birth: 18-24, 25-34, ...") \
    ROW(TEXTS, "user.eid", user_eid, "sources of extended ids (never the ids)") \
    ROW(NUMBER, "user.segments", user_segments, "log(1 + number of data segments)") \
    ROW(TEXT, "regs.gdpr", regs_gdpr, "regs.gdpr") \
    ROW(TEXT, "regs.coppa", regs_coppa, "regs.coppa") \
    ROW(TEXT, "regs.consent", regs_consent, "whether GDPR applies and a consent string is there") \
    ROW(TEXT, "regs.us_privacy", regs_us_privacy, "the US privacy string") \
    ROW(TEXT, "regs.gpp", regs_gpp, "1 if there is a GPP string") \
    ROW(TEXT, "request.at", request_at, "auction type: 1 first price, 2 second price") \
    ROW(NUMBER, "request.tmax", request_tmax, "log(1 + tmax in ms)") \
    ROW(TEXTS, "request.cur", request_cur, "allowed currencies") \
    ROW(TEXTS, "request.wseat", request_wseat, "seats that may bid") \
    ROW(NUMBER, "request.bcat", request_bcat, "log(1 + number of blocked categories)") \
    ROW(NUMBER, "request.badv", request_badv, "log(1 + number of blocked advertisers)") \
    ROW(TEXT, "schain.length", schain_length, "nodes of the supply chain") \
    ROW(TEXT, "schain.asi", schain_asi, "the supply chain's last seller system")
// clang-format on

#define MEMBER_DSP(function) .kind = SOURCE_DSP
#define MEMBER_TEXT(function) .kind = SOURCE_TEXT, .text = function
#define MEMBER_TEXTS(function) .kind = SOURCE_TEXTS, .texts = function
#define MEMBER_NUMBER(function) .kind = SOURCE_NUMBER, .number = function
#define TABLE_ROW(of_kind, source_name, function, line) \
    {.name = source_name, .doc = line, MEMBER_##of_kind(function)},

static const struct feature_source TABLE[] = {SOURCES(TABLE_ROW)};

enum { SOURCES_N = sizeof(TABLE) / sizeof(TABLE[0]) };

#define KIND_DSP "dsp"
#define KIND_TEXT "text"
#define KIND_TEXTS "texts"
#define KIND_NUMBER "number"
#define MARKDOWN_ROW(of_kind, source_name, function, line) \
    "| `" source_name "` | " KIND_##of_kind " | " line " |",

const char *const *feature_sources(void)
{
    static const char *const lines[] = {SOURCES(MARKDOWN_ROW) NULL};
    return lines;
}

const struct feature_source *feature_source_table(size_t *n)
{
    *n = SOURCES_N;
    return TABLE;
}

const struct feature_source *feature_source_find(const char *name)
{
    for (size_t i = 0; i < SOURCES_N; i++)
        if (strcmp(TABLE[i].name, name) == 0)
            return &TABLE[i];
    return NULL;
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t rest = a % b;
    return rest < 0 ? rest + b : rest;
}

static struct bytes system_family(const struct source_input *in,
                                  const struct user_agent_rules *rules)
{
    struct bytes os = in->r->device.os;
    if (os.len == 0)
        return in->ua.os;
    struct bytes family = os_family(rules, os);
    return family.len > 0 ? family : lower(in, os);
}

void source_input_init(struct source_input *in, const struct bid_request *r,
                       const struct geo_place *place, int64_t ts_ms,
                       const struct user_agent_rules *rules, struct arena *arena)
{
    enum { THURSDAY_MINUTE = 3 * 24 * 60 }; /* 1970-01-01 */
    const int64_t minute_ms = 60000;
    int64_t minute = ts_ms / minute_ms - (ts_ms % minute_ms < 0);
    in->r = r;
    in->place = place;
    in->arena = arena;
    in->utc_minute = floor_mod(minute + THURSDAY_MINUTE, MINUTES_OF_WEEK);
    in->local_minute = floor_mod(in->utc_minute + place->utcoffset_min, MINUTES_OF_WEEK);
    in->year = (int32_t)(1970 + floor((double)minute / (365.2425 * 24 * 60)));
    in->domain = property_domain(r, arena_alloc(arena, PROPERTY_DOMAIN_MAX));
    user_agent_read(rules, r->device.ua, &in->ua);
    in->os = system_family(in, rules);
}
