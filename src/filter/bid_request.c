/* A bid request is read in one pass, member by member, straight into the struct: no tree is built.
 * A key is found by a switch over its length and first letter; what nobody asked for is skipped,
 * but validated.
 *
 * What is refused, besides text that is no JSON object: what OpenRTB requires and is not there (id,
 * imp, imp.id, a medium, video.mimes, native.request, deals.id, ...), what contradicts itself (two
 * of site, app and dooh; two imps of one id), numbers that cannot be (negative sizes, times, bit
 * rates), money and currencies that cannot be read, and privacy signals that cannot be read (gdpr,
 * consent), since the wrong guess would be somebody's harm. All else passes: an odd value counts as
 * absent.
 *
 * Of a member that comes twice the last one counts, as in most parsers. Not so for members that we
 * replace or mask in the body (tmax, ext, wseat, user.id, user.ext, device.ip, ...) or that say
 * what is being sold: a buyer's parser might take the other one, so they are refused. */
#include "filter/bid_request.h"

#include <math.h>
#include <stdio.h>

#include "filter/bid_request_scan.h"

static const char duplicate[] = "duplicate member";
static const char not_negative[] = "must not be negative";

/* True if this is the first of its kind; else a fault. */
static bool first_time(struct scan *s, uint32_t *seen, uint32_t bit, const char *path)
{
    if ((*seen & bit) != 0)
        scan_fault(s, duplicate, "%s", path);
    bool first = (*seen & bit) == 0;
    *seen |= bit;
    return first;
}

static struct body_span span_of(const struct scan *s, struct bytes raw)
{
    return (struct body_span){(uint32_t)(raw.base - s->j.base), (uint32_t)raw.len};
}

/* Where the next value begins, and what it takes once it is read. */
static uint32_t value_at(struct scan *s)
{
    json_peek(&s->j);
    return (uint32_t)(s->j.at - s->j.base);
}

static struct body_span value_since(const struct scan *s, uint32_t at)
{
    return (struct body_span){at, (uint32_t)(s->j.at - s->j.base) - at};
}

/* A string that says who somebody is: its place is kept, so that it can be masked. Were another
 * type let through, it would be passed on unmasked. */
static void scan_personal(struct scan *s, struct bytes *out, struct body_span *span,
                          const char *path)
{
    enum json_type type = json_peek(&s->j);
    if (type == JSON_IS_NULL) {
        scan_skip(s);
    } else if (type != JSON_IS_STRING) {
        scan_fault(s, "must be a string", "%s", path);
    } else {
        bool escaped = false;
        if (!json_text(&s->j, out, &escaped))
            return;
        *span = span_of(s, *out);
        if (escaped)
            *out = json_unescape(*out, s->arena);
    }
}

/* ---- geo, device ----------------------------------------------------------------------------- */

static void geo_clear(struct bid_request_geo *g)
{
    *g = (struct bid_request_geo){.lat = NAN, .lon = NAN, .type = -1, .utcoffset = INT32_MIN};
}

static void scan_geo(struct scan *s, struct bid_request_geo *g, const char *path)
{
    struct bytes key;
    int32_t accuracy;
    geo_clear(g);
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "country"))
            scan_text(s, &g->country);
        else if (KEY_IS(key, "region"))
            scan_text(s, &g->region);
        else if (KEY_IS(key, "city"))
            scan_text(s, &g->city);
        else if (KEY_IS(key, "zip"))
            scan_text(s, &g->zip);
        else if (KEY_IS(key, "metro"))
            scan_text(s, &g->metro);
        else if (KEY_IS(key, "lat"))
            scan_double(s, &g->lat);
        else if (KEY_IS(key, "lon"))
            scan_double(s, &g->lon);
        else if (KEY_IS(key, "type"))
            scan_int(s, &g->type, -1);
        else if (KEY_IS(key, "utcoffset"))
            scan_int(s, &g->utcoffset, INT32_MIN);
        else if (!KEY_IS(key, "accuracy"))
            scan_skip(s);
        else if (!scan_count(s, &accuracy, -1))
            scan_fault(s, not_negative, "%s.accuracy", path);
    }
    if (!(g->lat >= -90 && g->lat <= 90))
        g->lat = NAN;
    if (!(g->lon >= -180 && g->lon <= 180))
        g->lon = NAN;
}

static struct bytes either(struct bytes first, struct bytes second)
{
    return first.len > 0 ? first : second;
}

/* What the device does not say of its place, the user's may. Coordinates only make sense as a pair.
 */
static void merge_geo(struct bid_request_geo *g, const struct bid_request_geo *user)
{
    g->country = either(g->country, user->country);
    g->region = either(g->region, user->region);
    g->city = either(g->city, user->city);
    g->zip = either(g->zip, user->zip);
    g->metro = either(g->metro, user->metro);
    if (isnan(g->lat) || isnan(g->lon)) {
        g->lat = isnan(user->lat) || isnan(user->lon) ? NAN : user->lat;
        g->lon = isnan(g->lat) ? NAN : user->lon;
    }
    if (g->type == -1)
        g->type = user->type;
    if (g->utcoffset == INT32_MIN)
        g->utcoffset = user->utcoffset;
}

static void device_count(struct scan *s, int32_t *out, const char *field)
{
    if (!scan_count(s, out, -1))
        scan_fault(s, not_negative, "device.%s", field);
}

enum { SEEN_IP = 1, SEEN_IPV6 = 2, SEEN_IFA = 4 };

/* The members whose place in the body matters. True if the key was one. */
static bool scan_device_personal(struct scan *s, struct bytes key, uint32_t *seen)
{
    struct bid_request *r = s->r;
    if (KEY_IS(key, "ip")) {
        if (first_time(s, seen, SEEN_IP, "device.ip"))
            scan_personal(s, &r->device.ip, &r->ip, "device.ip");
    } else if (KEY_IS(key, "ipv6")) {
        if (first_time(s, seen, SEEN_IPV6, "device.ipv6"))
            scan_personal(s, &r->device.ipv6, &r->ipv6, "device.ipv6");
    } else if (KEY_IS(key, "ifa")) {
        if (first_time(s, seen, SEEN_IFA, "device.ifa"))
            scan_personal(s, &r->device.ifa, &r->ifa, "device.ifa");
    } else {
        return false;
    }
    return true;
}

/* True if the key is a plain member of device, which is then read. */
static bool scan_device_member(struct scan *s, struct bytes key, struct bid_request_geo *geo)
{
    struct bid_request *r = s->r;
    int32_t ppi;
    switch (scan_key_code(key)) {
#define MEMBER(len, letter, name, read) \
    case KEY(len, letter):              \
        if (!KEY_IS(key, name))         \
            return false;               \
        read;                           \
        return true
        MEMBER(1, 'w', "w", device_count(s, &r->device.w, "w"));
        MEMBER(1, 'h', "h", device_count(s, &r->device.h, "h"));
        MEMBER(2, 'u', "ua", scan_text(s, &r->device.ua));
        MEMBER(2, 'o', "os", scan_text(s, &r->device.os));
        MEMBER(2, 'j', "js", scan_flag(s, &r->device.js));
        MEMBER(3, 'o', "osv", scan_text(s, &r->device.osv));
        MEMBER(3, 'd', "dnt", scan_flag(s, &r->device.dnt));
        MEMBER(3, 'l', "lmt", scan_flag(s, &r->device.lmt));
        MEMBER(3, 'g', "geo", scan_geo(s, geo, "device.geo"));
        MEMBER(3, 's', "sua", scan_sua(s));
        MEMBER(3, 'p', "ppi", device_count(s, &ppi, "ppi"));
        MEMBER(4, 'm', "make", scan_text(s, &r->device.make));
        MEMBER(5, 'm', "model", scan_text(s, &r->device.model));
        MEMBER(6, 'm', "mccmnc", scan_text(s, &r->device.mccmnc));
        MEMBER(7, 'c', "carrier", scan_text(s, &r->device.carrier));
        MEMBER(8, 'l', "language", scan_text(s, &r->device.language));
        MEMBER(10, 'd', "devicetype", scan_int(s, &r->device.devicetype, -1));
        MEMBER(14, 'c', "connectiontype", scan_int(s, &r->device.connectiontype, -1));
    default:
        return false;
    }
}

static void scan_device(struct scan *s, struct bid_request_geo *geo)
{
    struct bytes key;
    uint32_t seen = 0;
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (!scan_device_member(s, key, geo) && !scan_device_personal(s, key, &seen))
            scan_skip(s);
    }
}

/* ---- user ------------------------------------------------------------------------------------ */

static void scan_eids(struct scan *s, struct bytes_list *out, const char *path)
{
    struct bytes *sources = NULL;
    uint32_t n = 0, capacity = 0;
    struct bytes key;
    *out = (struct bytes_list){NULL, 0};
    if (!scan_enter_array(s))
        return;
    for (uint32_t i = 0; json_next_element(&s->j); i++) {
        struct bytes source = {NULL, 0};
        if (scan_enter_object(s)) {
            while (scan_key(s, &key)) {
                if (KEY_IS(key, "source"))
                    scan_text(s, &source);
                else
                    scan_skip(s);
            }
        }
        if (source.len == 0)
            scan_fault(s, "must be a non-empty string", "%s[%u].source", path, i);
        if (n < BID_REQUEST_LIST_MAX) {
            sources = scan_grow(s, sources, n, &capacity, sizeof(*sources));
            sources[n++] = source;
        }
    }
    *out = (struct bytes_list){sources, n};
}

static uint32_t scan_data_segments(struct scan *s)
{
    uint32_t n = 0;
    struct bytes key;
    if (!scan_enter_array(s))
        return 0;
    while (json_next_element(&s->j)) {
        if (!scan_enter_object(s))
            continue;
        while (scan_key(s, &key)) {
            if (!KEY_IS(key, "segment")) {
                scan_skip(s);
            } else if (scan_enter_array(s)) {
                for (; json_next_element(&s->j); n++)
                    scan_skip(s);
            }
        }
    }
    return n;
}

static void scan_consent(struct scan *s, struct bytes *out, const char *path)
{
    if (!scan_text(s, out))
        scan_fault(s, "must be a string", "%s", path);
}

static void scan_user_ext(struct scan *s, struct bytes *consent, struct bytes_list *eids)
{
    struct bytes key;
    *consent = (struct bytes){NULL, 0};
    *eids = (struct bytes_list){NULL, 0};
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "consent"))
            scan_consent(s, consent, "user.ext.consent");
        else if (KEY_IS(key, "eids"))
            scan_eids(s, eids, "user.ext.eids");
        else
            scan_skip(s);
    }
}

static void scan_buyeruid(struct scan *s)
{
    uint32_t at = value_at(s);
    scan_personal(s, &s->r->user.buyeruid, &s->r->buyeruid, "user.buyeruid");
    s->r->buyeruid_value = value_since(s, at);
}

enum { SEEN_USER_ID = 1, SEEN_BUYERUID = 2, SEEN_USER_EXT = 4 };

static void scan_user(struct scan *s, struct bid_request_geo *geo)
{
    struct bid_request *r = s->r;
    struct bytes key, ext_consent = {NULL, 0};
    struct bytes_list ext_eids = {NULL, 0};
    uint32_t seen = 0;
    if (!scan_enter_object(s))
        return;
    r->user.present = true;
    r->user_members_at = (uint32_t)(s->j.at - s->j.base);
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "id")) {
            if (first_time(s, &seen, SEEN_USER_ID, "user.id"))
                scan_personal(s, &r->user.id, &r->user_id, "user.id");
        } else if (KEY_IS(key, "buyeruid")) {
            if (first_time(s, &seen, SEEN_BUYERUID, "user.buyeruid"))
                scan_buyeruid(s);
        } else if (KEY_IS(key, "gender")) {
            scan_text(s, &r->user.gender);
        } else if (KEY_IS(key, "yob")) {
            scan_int(s, &r->user.yob, -1);
        } else if (KEY_IS(key, "consent")) {
            scan_consent(s, &r->user.consent, "user.consent");
        } else if (KEY_IS(key, "eids")) {
            scan_eids(s, &r->user.eid_sources, "user.eids");
        } else if (KEY_IS(key, "data")) {
            r->user.n_segments = scan_data_segments(s);
        } else if (KEY_IS(key, "geo")) {
            scan_geo(s, geo, "user.geo");
        } else if (KEY_IS(key, "ext")) {
            if (!first_time(s, &seen, SEEN_USER_EXT, "user.ext"))
                continue;
            uint32_t at = value_at(s);
            scan_user_ext(s, &ext_consent, &ext_eids);
            r->user_ext = value_since(s, at);
        } else {
            scan_skip(s);
        }
    }
    r->user.consent = either(r->user.consent, ext_consent);
    if (r->user.eid_sources.n == 0)
        r->user.eid_sources = ext_eids;
}

/* ---- site, app, dooh ------------------------------------------------------------------------- */

static void scan_publisher(struct scan *s)
{
    struct bytes key;
    s->r->property.publisher_id = s->r->property.publisher_name = (struct bytes){NULL, 0};
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "id"))
            scan_text(s, &s->r->property.publisher_id);
        else if (KEY_IS(key, "name"))
            scan_text(s, &s->r->property.publisher_name);
        else
            scan_skip(s);
    }
}

static void scan_content(struct scan *s)
{
    struct bid_request *r = s->r;
    struct bytes key;
    r->property.content_id = r->property.content_genre = r->property.content_language =
        (struct bytes){NULL, 0};
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "id"))
            scan_text(s, &r->property.content_id);
        else if (KEY_IS(key, "genre"))
            scan_text(s, &r->property.content_genre);
        else if (KEY_IS(key, "language"))
            scan_text(s, &r->property.content_language);
        else
            scan_skip(s);
    }
}

static void scan_mobile(struct scan *s)
{
    int8_t flag;
    scan_flag(s, &flag);
    s->r->property.mobile = flag == 1;
}

/* True if the key is one that is read. */
static bool scan_property_member(struct scan *s, struct bytes key)
{
    struct bid_request *r = s->r;
    switch (scan_key_code(key)) {
        MEMBER(2, 'i', "id", scan_text(s, &r->property.id));
        MEMBER(3, 'c', "cat", scan_list(s, &r->property.cat));
        MEMBER(4, 'n', "name", scan_text(s, &r->property.name));
        MEMBER(4, 'p', "page", scan_text(s, &r->property.page));
        MEMBER(6, 'd', "domain", scan_text(s, &r->property.domain));
        MEMBER(6, 'b', "bundle", scan_text(s, &r->property.bundle));
        MEMBER(6, 'm', "mobile", scan_mobile(s));
        MEMBER(7, 'p', "pagecat", scan_list(s, &r->property.pagecat));
        MEMBER(7, 'c', "content", scan_content(s));
        MEMBER(8, 's', "storeurl", scan_text(s, &r->property.storeurl));
        MEMBER(9, 'p', "publisher", scan_publisher(s));
        MEMBER(9, 'v', "venuetype", scan_list(s, &r->property.venuetype));
        MEMBER(10, 's', "sectioncat", scan_list(s, &r->property.sectioncat));
    default:
        return false;
    }
}

static void scan_property(struct scan *s, enum channel channel, const char *name)
{
    struct bytes key;
    if (json_peek(&s->j) == JSON_IS_OBJECT && s->r->channel != CHANNEL_NONE)
        scan_fault(s, "at most one of site, app and dooh may be present", "%s", name);
    if (!scan_enter_object(s))
        return;
    s->r->channel = channel;
    while (scan_key(s, &key)) {
        if (!scan_property_member(s, key))
            scan_skip(s);
    }
}

/* ---- regs, source ---------------------------------------------------------------------------- */

static void scan_gdpr(struct scan *s, int8_t *out, const char *path)
{
    if (!scan_flag(s, out))
        scan_fault(s, "must be 0 or 1", "%s", path);
}

struct regs_ext {
    int8_t gdpr;
    struct bytes us_privacy, gpp;
};

static void scan_regs_ext(struct scan *s, struct regs_ext *ext)
{
    struct bytes key;
    *ext = (struct regs_ext){.gdpr = -1};
    enum json_type type = json_peek(&s->j);
    if (type != JSON_IS_OBJECT && type != JSON_IS_NULL && type != JSON_IS_INVALID)
        scan_fault(s, "must be an object", "regs.ext");
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "gdpr"))
            scan_gdpr(s, &ext->gdpr, "regs.ext.gdpr");
        else if (KEY_IS(key, "us_privacy"))
            scan_text(s, &ext->us_privacy);
        else if (KEY_IS(key, "gpp"))
            scan_text(s, &ext->gpp);
        else
            scan_skip(s);
    }
}

static void scan_regs(struct scan *s)
{
    struct bid_request *r = s->r;
    struct regs_ext ext = {.gdpr = -1};
    struct bytes key;
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "coppa"))
            scan_flag(s, &r->regs.coppa);
        else if (KEY_IS(key, "gdpr"))
            scan_gdpr(s, &r->regs.gdpr, "regs.gdpr");
        else if (KEY_IS(key, "us_privacy"))
            scan_text(s, &r->regs.us_privacy);
        else if (KEY_IS(key, "gpp"))
            scan_text(s, &r->regs.gpp);
        else if (KEY_IS(key, "ext"))
            scan_regs_ext(s, &ext);
        else
            scan_skip(s);
    }
    if (r->regs.gdpr == -1)
        r->regs.gdpr = ext.gdpr;
    r->regs.us_privacy = either(r->regs.us_privacy, ext.us_privacy);
    r->regs.gpp = either(r->regs.gpp, ext.gpp);
}

struct schain {
    struct bytes asi;
    uint32_t n;
};

static void scan_schain_nodes(struct scan *s, struct schain *chain)
{
    struct bytes key;
    *chain = (struct schain){{NULL, 0}, 0};
    if (!scan_enter_array(s))
        return;
    for (; json_next_element(&s->j); chain->n++) {
        chain->asi = (struct bytes){NULL, 0};
        if (!scan_enter_object(s))
            continue;
        while (scan_key(s, &key)) {
            if (KEY_IS(key, "asi"))
                scan_text(s, &chain->asi);
            else
                scan_skip(s);
        }
    }
}

/* An object whose member `nodes` is the chain. */
static void scan_schain(struct scan *s, struct schain *chain)
{
    struct bytes key;
    *chain = (struct schain){{NULL, 0}, 0};
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "nodes"))
            scan_schain_nodes(s, chain);
        else
            scan_skip(s);
    }
}

static void scan_source(struct scan *s)
{
    struct schain chain = {{NULL, 0}, 0}, ext_chain = {{NULL, 0}, 0};
    struct bytes key;
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "schain")) {
            scan_schain(s, &chain);
        } else if (KEY_IS(key, "ext")) {
            ext_chain = (struct schain){{NULL, 0}, 0};
            if (!scan_enter_object(s))
                continue;
            while (scan_key(s, &key)) {
                if (KEY_IS(key, "schain"))
                    scan_schain(s, &ext_chain);
                else
                    scan_skip(s);
            }
        } else {
            scan_skip(s);
        }
    }
    if (chain.n == 0)
        chain = ext_chain;
    s->r->schain_asi = chain.asi;
    s->r->n_schain_nodes = chain.n;
}

/* ---- the request ----------------------------------------------------------------------------- */

/* Its text is kept even when it is null, since it is to be replaced and not to be doubled. */
static void scan_tmax(struct scan *s)
{
    struct bytes raw;
    enum json_type type = json_peek(&s->j);
    if (!json_skip(&s->j, &raw))
        return;
    s->r->tmax = span_of(s, raw);
    if (type == JSON_IS_NULL)
        return;
    int64_t value;
    if (type != JSON_IS_NUMBER || !json_to_int(raw, &value) || value < 0)
        scan_fault(s, "must be a whole number of milliseconds, 0 or more", "tmax");
    else
        s->r->tmax_ms = value;
}

static void scan_id(struct scan *s)
{
    scan_text(s, &s->r->id);
    if (s->r->id.len == 0)
        scan_fault(s, "must be a non-empty string", "id");
}

static void scan_cur(struct scan *s)
{
    struct bytes_list *cur = &s->r->cur;
    scan_list(s, cur);
    struct bytes *codes = (struct bytes *)cur->items; /* the arena's, and only just filled */
    for (uint32_t i = 0; i < cur->n; i++) {
        if (!scan_is_currency(codes[i]))
            scan_fault(s, "must be a currency code of three letters", "cur[%u]", i);
        codes[i] = scan_upper(s, codes[i]);
    }
}

static void scan_test(struct scan *s)
{
    int8_t flag;
    scan_flag(s, &flag);
    s->r->test = flag == 1;
}

static void scan_ext(struct scan *s)
{
    struct bytes raw;
    if (json_skip(&s->j, &raw))
        s->r->ext = span_of(s, raw);
}

static void scan_wseat(struct scan *s)
{
    uint32_t at = value_at(s);
    scan_list(s, &s->r->wseat);
    s->r->wseat_value = value_since(s, at);
}

enum {
    SEEN_ID = 1,
    SEEN_IMP = 2,
    SEEN_SITE = 4,
    SEEN_APP = 8,
    SEEN_DOOH = 16,
    SEEN_DEVICE = 32,
    SEEN_USER = 64,
    SEEN_REGS = 128,
    SEEN_TMAX = 256,
    SEEN_EXT = 512,
    SEEN_WSEAT = 1024
};

static bool scan_member(struct scan *s, struct bytes key, uint32_t *seen,
                        struct bid_request_geo *device_geo, struct bid_request_geo *user_geo)
{
    struct bid_request *r = s->r;
    switch (scan_key_code(key)) {
#define MEMBER_ONCE(len, letter, name, bit, read) \
    MEMBER(len, letter, name, if (first_time(s, seen, bit, name)) read)
        MEMBER_ONCE(2, 'i', "id", SEEN_ID, scan_id(s));
        MEMBER_ONCE(3, 'i', "imp", SEEN_IMP, scan_imps(s));
        MEMBER_ONCE(4, 's', "site", SEEN_SITE, scan_property(s, CHANNEL_SITE, "site"));
        MEMBER_ONCE(3, 'a', "app", SEEN_APP, scan_property(s, CHANNEL_APP, "app"));
        MEMBER_ONCE(4, 'd', "dooh", SEEN_DOOH, scan_property(s, CHANNEL_DOOH, "dooh"));
        MEMBER_ONCE(6, 'd', "device", SEEN_DEVICE, scan_device(s, device_geo));
        MEMBER_ONCE(4, 'u', "user", SEEN_USER, scan_user(s, user_geo));
        MEMBER_ONCE(4, 'r', "regs", SEEN_REGS, scan_regs(s));
    case KEY(4, 't'):
        if (KEY_IS(key, "test"))
            scan_test(s);
        else if (!KEY_IS(key, "tmax"))
            return false;
        else if (first_time(s, seen, SEEN_TMAX, "tmax"))
            scan_tmax(s);
        return true;
        MEMBER(2, 'a', "at", scan_int(s, &r->at, 0));
        MEMBER(3, 'c', "cur", scan_cur(s));
        MEMBER_ONCE(3, 'e', "ext", SEEN_EXT, scan_ext(s));
        MEMBER_ONCE(5, 'w', "wseat", SEEN_WSEAT, scan_wseat(s));
        MEMBER(5, 'b', "bseat", scan_list(s, &r->bseat));
        MEMBER(6, 's', "source", scan_source(s));
    case KEY(4, 'b'):
        if (KEY_IS(key, "bcat"))
            scan_list(s, &r->bcat);
        else if (KEY_IS(key, "badv"))
            scan_list(s, &r->badv);
        else if (KEY_IS(key, "bapp"))
            scan_list(s, &r->bapp);
        else
            return false;
        return true;
    default:
        return false;
    }
}

static void bid_request_clear(struct bid_request *r, struct bytes body)
{
    memset(r, 0, sizeof(*r));
    r->body = body;
    r->tmax_ms = -1;
    r->device.devicetype = r->device.connectiontype = r->device.w = r->device.h = -1;
    r->device.dnt = r->device.lmt = r->device.js = -1;
    r->user.yob = -1;
    r->regs.coppa = r->regs.gdpr = -1;
    geo_clear(&r->geo);
}

static void scan_request(struct scan *s)
{
    struct bid_request *r = s->r;
    struct bid_request_geo user_geo;
    struct bytes key;
    uint32_t seen = 0;
    enum json_type type = json_peek(&s->j);
    if (type != JSON_IS_OBJECT && type != JSON_IS_INVALID)
        scan_fault(s, "must be a JSON object", "%s", "");
    if (!json_enter_object(&s->j))
        return;
    r->members_at = (uint32_t)(s->j.at - s->j.base);
    geo_clear(&user_geo);
    while (scan_key(s, &key)) {
        if (!scan_member(s, key, &seen, &r->geo, &user_geo))
            scan_skip(s);
    }
    json_finish(&s->j);
    if ((seen & SEEN_ID) == 0)
        scan_fault(s, "is required: a non-empty string", "id");
    if ((seen & SEEN_IMP) == 0)
        scan_fault(s, "is required: a non-empty array", "imp");
    if (r->at < 0)
        r->at = 0;
    merge_geo(&r->geo, &user_geo);
}

bool bid_request_scan(struct bid_request *r, struct bytes body, uint32_t imps_max,
                      struct arena *arena, struct bid_request_error *e)
{
    struct scan s = {.arena = arena,
                     .r = r,
                     .e = e,
                     .imps_max = imps_max != 0 ? imps_max : BID_REQUEST_IMPS_MAX_DEFAULT};
    bid_request_clear(r, body);
    e->path[0] = e->reason[0] = '\0';
    json_begin(&s.j, body);
    if (body.len > UINT32_MAX)
        scan_fault(&s, "is larger than 4 GB", "%s", "");
    scan_request(&s);
    if (s.j.error == NULL)
        return true;
    if (e->reason[0] == '\0')
        snprintf(e->reason, sizeof(e->reason), "not JSON: %s at byte %zu", s.j.error,
                 (size_t)(s.j.at - s.j.base));
    return false;
}
