/* imp[]: what is for sale. */
#include <stdio.h>

#include "filter/bid_request_scan.h"
#include "hash.h"

static const char not_negative[] = "must not be negative";

/* What must be seen whole before it can be judged or stored. */
struct draft {
    struct imp *imp;
    struct size formats[BID_REQUEST_SIZES_MAX]; /* banner.format[], without duplicates */
    uint32_t n_formats;
    bool any_format;    /* an entry, be it of a flexible size */
    struct size banner; /* banner.w/h; -1 */
    bool id_seen;
};

static void imp_count(struct scan *s, int32_t *out, const char *field)
{
    if (!scan_count(s, out, -1))
        scan_fault(s, not_negative, "imp[%u].%s", s->imp, field);
}

/* ---- banner ---------------------------------------------------------------------------------- */

static uint32_t size_add(struct size *sizes, uint32_t n, uint32_t max, struct size size)
{
    if (size.w <= 0 || size.h <= 0 || n == max)
        return n;
    for (uint32_t i = 0; i < n; i++) {
        if (sizes[i].w == size.w && sizes[i].h == size.h)
            return n;
    }
    sizes[n] = size;
    return n + 1;
}

static void format_count(struct scan *s, int32_t *out, uint32_t index, const char *field)
{
    if (!scan_count(s, out, 0))
        scan_fault(s, not_negative, "imp[%u].banner.format[%u].%s", s->imp, index, field);
}

/* One entry: a size, or the bounds of a flexible one. */
static struct size scan_format(struct scan *s, uint32_t i)
{
    struct size size = {0, 0};
    int32_t wmin = 0, wratio = 0, hratio = 0;
    struct bytes key;
    if (!scan_enter_object(s)) {
        scan_fault(s, "must be an object", "imp[%u].banner.format[%u]", s->imp, i);
        return size;
    }
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "w"))
            format_count(s, &size.w, i, "w");
        else if (KEY_IS(key, "h"))
            format_count(s, &size.h, i, "h");
        else if (KEY_IS(key, "wmin"))
            format_count(s, &wmin, i, "wmin");
        else if (KEY_IS(key, "wratio"))
            format_count(s, &wratio, i, "wratio");
        else if (KEY_IS(key, "hratio"))
            format_count(s, &hratio, i, "hratio");
        else
            scan_skip(s);
    }
    bool flexible = wmin != 0 || wratio != 0 || hratio != 0, fixed = size.w != 0 || size.h != 0;
    bool whole =
        flexible ? !fixed && wmin != 0 && wratio != 0 && hratio != 0 : size.w != 0 && size.h != 0;
    if (!whole)
        scan_fault(s, "must define either w and h, or wmin, wratio and hratio, none of them 0",
                   "imp[%u].banner.format[%u]", s->imp, i);
    return size;
}

static void scan_formats(struct scan *s, struct draft *d)
{
    d->n_formats = 0;
    d->any_format = false;
    if (!scan_enter_array(s))
        return;
    for (uint32_t i = 0; json_next_element(&s->j); i++) {
        struct size size = scan_format(s, i);
        d->any_format = true;
        d->n_formats = size_add(d->formats, d->n_formats, BID_REQUEST_SIZES_MAX, size);
    }
}

static void banner_clear(struct draft *d)
{
    d->n_formats = 0;
    d->any_format = false;
    d->banner = (struct size){-1, -1};
    d->imp->banner_pos = -1;
    d->imp->banner_mimes = (struct bytes_list){NULL, 0};
}

static void scan_banner(struct scan *s, struct draft *d)
{
    struct bytes key;
    banner_clear(d);
    d->imp->media &= (uint8_t)~MEDIA_BANNER;
    if (!scan_enter_object(s))
        return;
    d->imp->media |= MEDIA_BANNER;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "w"))
            imp_count(s, &d->banner.w, "banner.w");
        else if (KEY_IS(key, "h"))
            imp_count(s, &d->banner.h, "banner.h");
        else if (KEY_IS(key, "format"))
            scan_formats(s, d);
        else if (KEY_IS(key, "pos"))
            scan_int(s, &d->imp->banner_pos, -1);
        else if (KEY_IS(key, "mimes"))
            scan_list(s, &d->imp->banner_mimes);
        else
            scan_skip(s);
    }
}

/* ---- video, audio ---------------------------------------------------------------------------- */

static void video_clear(struct imp *imp)
{
    memset(&imp->video, 0, sizeof(imp->video));
    imp->video.w = imp->video.h = imp->video.minduration = imp->video.maxduration = -1;
    imp->video.placement = imp->video.plcmt = imp->video.linearity = imp->video.skip = -1;
    imp->video.startdelay = INT32_MIN;
    imp->video.pos = -1;
}

/* True if the key is one that is read. */
static bool scan_video_number(struct scan *s, struct bytes key, struct imp *imp)
{
    int32_t unused;
    if (KEY_IS(key, "w"))
        imp_count(s, &imp->video.w, "video.w");
    else if (KEY_IS(key, "h"))
        imp_count(s, &imp->video.h, "video.h");
    else if (KEY_IS(key, "minduration"))
        scan_count(s, &imp->video.minduration, -1);
    else if (KEY_IS(key, "maxduration"))
        scan_count(s, &imp->video.maxduration, -1);
    else if (KEY_IS(key, "placement"))
        scan_int(s, &imp->video.placement, -1);
    else if (KEY_IS(key, "plcmt"))
        scan_int(s, &imp->video.plcmt, -1);
    else if (KEY_IS(key, "linearity"))
        scan_int(s, &imp->video.linearity, -1);
    else if (KEY_IS(key, "skip"))
        scan_int(s, &imp->video.skip, -1);
    else if (KEY_IS(key, "startdelay"))
        scan_int(s, &imp->video.startdelay, INT32_MIN);
    else if (KEY_IS(key, "pos"))
        scan_int(s, &imp->video.pos, -1);
    else if (KEY_IS(key, "minbitrate"))
        imp_count(s, &unused, "video.minbitrate");
    else if (KEY_IS(key, "maxbitrate"))
        imp_count(s, &unused, "video.maxbitrate");
    else
        return false;
    return true;
}

static void scan_video(struct scan *s, struct draft *d)
{
    struct imp *imp = d->imp;
    struct bytes key;
    int32_t protocol = -1; /* OpenRTB 2.0's, before there were several */
    video_clear(imp);
    imp->media &= (uint8_t)~MEDIA_VIDEO;
    if (!scan_enter_object(s))
        return;
    imp->media |= MEDIA_VIDEO;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "mimes"))
            scan_list(s, &imp->video.mimes);
        else if (KEY_IS(key, "protocols"))
            scan_bits(s, &imp->video.protocols);
        else if (KEY_IS(key, "protocol"))
            scan_int(s, &protocol, -1);
        else if (!scan_video_number(s, key, imp))
            scan_skip(s);
    }
    if (imp->video.protocols == 0 && protocol >= 0 && protocol < 32)
        imp->video.protocols = (uint32_t)1 << protocol;
}

static void audio_clear(struct imp *imp)
{
    memset(&imp->audio, 0, sizeof(imp->audio));
    imp->audio.minduration = imp->audio.maxduration = imp->audio.feed = -1;
    imp->audio.startdelay = INT32_MIN;
}

static void scan_audio(struct scan *s, struct draft *d)
{
    struct imp *imp = d->imp;
    struct bytes key;
    int32_t unused;
    audio_clear(imp);
    imp->media &= (uint8_t)~MEDIA_AUDIO;
    if (!scan_enter_object(s))
        return;
    imp->media |= MEDIA_AUDIO;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "mimes"))
            scan_list(s, &imp->audio.mimes);
        else if (KEY_IS(key, "minduration"))
            scan_count(s, &imp->audio.minduration, -1);
        else if (KEY_IS(key, "maxduration"))
            scan_count(s, &imp->audio.maxduration, -1);
        else if (KEY_IS(key, "startdelay"))
            scan_int(s, &imp->audio.startdelay, INT32_MIN);
        else if (KEY_IS(key, "feed"))
            scan_int(s, &imp->audio.feed, -1);
        else if (KEY_IS(key, "sequence"))
            imp_count(s, &unused, "audio.sequence");
        else if (KEY_IS(key, "maxseq"))
            imp_count(s, &unused, "audio.maxseq");
        else if (KEY_IS(key, "minbitrate"))
            imp_count(s, &unused, "audio.minbitrate");
        else if (KEY_IS(key, "maxbitrate"))
            imp_count(s, &unused, "audio.maxbitrate");
        else
            scan_skip(s);
    }
}

/* ---- native ---------------------------------------------------------------------------------- */

static void scan_native(struct scan *s, struct draft *d)
{
    struct bytes key;
    d->imp->native_request = (struct bytes){NULL, 0};
    d->imp->media &= (uint8_t)~MEDIA_NATIVE;
    if (!scan_enter_object(s))
        return;
    d->imp->media |= MEDIA_NATIVE;
    while (scan_key(s, &key)) {
        if (!KEY_IS(key, "request"))
            scan_skip(s);
        else if (json_peek(&s->j) == JSON_IS_OBJECT)
            json_skip(&s->j, &d->imp->native_request);
        else
            scan_text(s, &d->imp->native_request);
    }
}

/* ---- pmp ------------------------------------------------------------------------------------- */

static const char not_money[] = "must be a number, at most 9000000";
static const char not_currency[] = "must be a currency code of three letters";

static void scan_deal(struct scan *s, struct deal *deal, uint32_t i)
{
    struct bytes key;
    memset(deal, 0, sizeof(*deal));
    if (scan_enter_object(s)) {
        while (scan_key(s, &key)) {
            if (KEY_IS(key, "id"))
                scan_text(s, &deal->id);
            else if (KEY_IS(key, "at"))
                scan_int(s, &deal->at, 0);
            else if (KEY_IS(key, "wseat"))
                scan_list(s, &deal->wseat);
            else if (KEY_IS(key, "wadomain"))
                scan_list(s, &deal->wadomain);
            else if (KEY_IS(key, "bidfloor")) {
                if (!scan_micros(s, &deal->bidfloor_micros))
                    scan_fault(s, not_money, "imp[%u].pmp.deals[%u].bidfloor", s->imp, i);
            } else if (KEY_IS(key, "bidfloorcur")) {
                if (!scan_currency(s, &deal->bidfloorcur))
                    scan_fault(s, not_currency, "imp[%u].pmp.deals[%u].bidfloorcur", s->imp, i);
            } else {
                scan_skip(s);
            }
        }
    }
    if (deal->id.len == 0)
        scan_fault(s, "must be a non-empty string", "imp[%u].pmp.deals[%u].id", s->imp, i);
    if (deal->at < 0)
        deal->at = 0;
}

static void scan_deals(struct scan *s, struct imp *imp)
{
    struct deal *deals = NULL;
    uint32_t n = 0, capacity = 0;
    imp->deals = NULL;
    imp->n_deals = 0;
    if (!scan_enter_array(s))
        return;
    for (uint32_t i = 0; json_next_element(&s->j); i++) {
        struct deal deal;
        scan_deal(s, &deal, i);
        if (n == BID_REQUEST_LIST_MAX)
            continue;
        deals = scan_grow(s, deals, n, &capacity, sizeof(*deals));
        deals[n++] = deal;
    }
    imp->deals = deals;
    imp->n_deals = n;
}

static void scan_pmp(struct scan *s, struct draft *d)
{
    struct bytes key;
    int8_t flag;
    d->imp->private_auction = false;
    d->imp->deals = NULL;
    d->imp->n_deals = 0;
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "private_auction")) {
            scan_flag(s, &flag);
            d->imp->private_auction = flag == 1;
        } else if (KEY_IS(key, "deals")) {
            scan_deals(s, d->imp);
        } else {
            scan_skip(s);
        }
    }
}

/* ---- one imp --------------------------------------------------------------------------------- */

static void scan_imp_id(struct scan *s, struct draft *d)
{
    if (d->id_seen)
        scan_fault(s, "duplicate member", "imp[%u].id", s->imp);
    d->id_seen = true;
    scan_text(s, &d->imp->id);
}

static void scan_imp_flag(struct scan *s, bool *out)
{
    int8_t flag;
    scan_flag(s, &flag);
    *out = flag == 1;
}

static void scan_imp_member(struct scan *s, struct bytes key, struct draft *d)
{
    struct imp *imp = d->imp;
    if (KEY_IS(key, "id"))
        scan_imp_id(s, d);
    else if (KEY_IS(key, "banner"))
        scan_banner(s, d);
    else if (KEY_IS(key, "video"))
        scan_video(s, d);
    else if (KEY_IS(key, "audio"))
        scan_audio(s, d);
    else if (KEY_IS(key, "native"))
        scan_native(s, d);
    else if (KEY_IS(key, "pmp"))
        scan_pmp(s, d);
    else if (KEY_IS(key, "tagid"))
        scan_text(s, &imp->tagid);
    else if (KEY_IS(key, "secure"))
        scan_flag(s, &imp->secure);
    else if (KEY_IS(key, "instl"))
        scan_imp_flag(s, &imp->instl);
    else if (KEY_IS(key, "rwdd"))
        scan_imp_flag(s, &imp->rewarded);
    else if (KEY_IS(key, "bidfloor")) {
        if (!scan_micros(s, &imp->bidfloor_micros))
            scan_fault(s, not_money, "imp[%u].bidfloor", s->imp);
    } else if (KEY_IS(key, "bidfloorcur")) {
        if (!scan_currency(s, &imp->bidfloorcur))
            scan_fault(s, not_currency, "imp[%u].bidfloorcur", s->imp);
    } else {
        scan_skip(s);
    }
}

/* What only the whole imp can tell. */
static void imp_check(struct scan *s, const struct draft *d)
{
    const struct imp *imp = d->imp;
    bool sized = d->any_format || (d->banner.w > 0 && d->banner.h > 0) || imp->instl;
    if (imp->id.len == 0)
        scan_fault(s, "must be a non-empty string", "imp[%u].id", s->imp);
    if (imp->media == 0)
        scan_fault(s, "must offer at least one of banner, video, audio and native", "imp[%u]",
                   s->imp);
    if ((imp->media & MEDIA_BANNER) != 0 && !sized)
        scan_fault(s, "has no size: give w and h, or format", "imp[%u].banner", s->imp);
    if ((imp->media & MEDIA_VIDEO) != 0 && imp->video.mimes.n == 0)
        scan_fault(s, "must be a non-empty array of strings", "imp[%u].video.mimes", s->imp);
    if ((imp->media & MEDIA_AUDIO) != 0 && imp->audio.mimes.n == 0)
        scan_fault(s, "must be a non-empty array of strings", "imp[%u].audio.mimes", s->imp);
    if ((imp->media & MEDIA_NATIVE) != 0)
        scan_native_markup(s, imp->native_request);
}

static void imp_store_sizes(struct scan *s, const struct draft *d)
{
    struct imp *imp = d->imp;
    uint32_t max = d->n_formats + 2;
    struct size *sizes = arena_alloc(s->arena, max * sizeof(*sizes));
    if (d->n_formats > 0)
        memcpy(sizes, d->formats, d->n_formats * sizeof(*sizes));
    uint32_t n = size_add(sizes, d->n_formats, max, d->banner);
    imp->n_banner_sizes = n;
    n = size_add(sizes, n, max, (struct size){imp->video.w, imp->video.h});
    imp->n_sizes = n;
    imp->sizes = n > 0 ? sizes : NULL;
}

static void scan_imp(struct scan *s, struct imp *imp)
{
    struct draft d; /* large: only what is read is set */
    struct bytes key;
    memset(imp, 0, sizeof(*imp));
    imp->secure = -1;
    d.imp = imp;
    d.id_seen = false;
    banner_clear(&d);
    video_clear(imp);
    audio_clear(imp);
    if (!scan_enter_object(s)) {
        scan_fault(s, "must be an object", "imp[%u]", s->imp);
        return;
    }
    while (scan_key(s, &key))
        scan_imp_member(s, key, &d);
    imp_check(s, &d);
    imp_store_sizes(s, &d);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void fault_same_id(struct scan *s, uint32_t i, uint32_t earlier)
{
    char reason[64];
    snprintf(reason, sizeof(reason), "must be unique: imp[%u] has the same", earlier);
    scan_fault(s, reason, "imp[%u].id", i);
}

/* A few are compared each with each; many by an open-addressed table of indexes. Its seed is an
 * address, so that nobody can prepare ids that fall into one place. */
static void check_unique(struct scan *s, const struct imp *imps, uint32_t n)
{
    if (n <= 16) {
        for (uint32_t i = 1; i < n; i++) {
            for (uint32_t k = 0; k < i; k++) {
                if (bytes_equal(imps[i].id, imps[k].id))
                    fault_same_id(s, i, k);
            }
        }
        return;
    }
    uint32_t slots = 64;
    while (slots < 2 * (uint64_t)n)
        slots *= 2;
    uint32_t *table = arena_alloc(s->arena, slots * sizeof(*table)); /* 0 = free, else index + 1 */
    memset(table, 0, slots * sizeof(*table));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = hash_bytes(imps[i].id, (uint64_t)(uintptr_t)table) & (slots - 1);
        for (; table[at] != 0; at = (at + 1) & (slots - 1)) {
            if (bytes_equal(imps[i].id, imps[table[at] - 1].id)) {
                fault_same_id(s, i, table[at] - 1);
                return;
            }
        }
        table[at] = i + 1;
    }
}

void scan_imps(struct scan *s)
{
    struct imp *imps = NULL;
    uint32_t n = 0, capacity = 0;
    if (!scan_enter_array(s)) {
        scan_fault(s, "must be a non-empty array", "imp");
        return;
    }
    while (json_next_element(&s->j)) {
        if (n == s->imps_max) {
            char reason[64];
            snprintf(reason, sizeof(reason), "holds more than %u entries", s->imps_max);
            scan_fault(s, reason, "imp");
            return;
        }
        imps = scan_grow(s, imps, n, &capacity, sizeof(*imps));
        s->imp = n;
        scan_imp(s, &imps[n++]);
    }
    if (n == 0)
        scan_fault(s, "must be a non-empty array", "imp");
    check_unique(s, imps, n);
    s->r->imps = imps;
    s->r->n_imps = n;
}
