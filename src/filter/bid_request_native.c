/* The native ad request: a JSON text inside a string (OpenRTB Dynamic Native Ads 1.0-1.2). Buyers
 * fail on a broken one after we have paid for the call, so it is looked at here: it must be an
 * object, some hosts wrapping it in {"native": ...}; its assets must be there and each be one of
 * title, img, video and data, with the members that these require; enumerated values must be from
 * the specification's lists, or 500 and above, which exchanges may define. */
#include "filter/bid_request_scan.h"

#include <stdio.h>

enum { ASSET_TITLE = 1, ASSET_IMG = 2, ASSET_VIDEO = 4, ASSET_DATA = 8 };

/* The outer scan takes the faults; the inner one walks the markup. */
struct native {
    struct scan inner;
    uint32_t asset;
};

/* Written with the path in the markup; the caller puts the imp's in front. */
#define ASSET_FAULT(n, reason, member) \
    scan_fault(&(n)->inner, reason, "assets[%u].%s", (n)->asset, member)

static const char not_negative[] = "must not be negative";

/* 1..last of a list, or the exchange's own; absent (0) is fine too. */
static bool is_listed(int32_t value, int32_t last)
{
    return (value >= 0 && value <= last) || value >= 500;
}

static void asset_count(struct native *n, int32_t *out, const char *member)
{
    if (!scan_count(&n->inner, out, 0))
        ASSET_FAULT(n, not_negative, member);
}

static void native_title(struct native *n)
{
    struct bytes key;
    int32_t len = 0;
    while (scan_key(&n->inner, &key)) {
        if (KEY_IS(key, "len"))
            scan_int(&n->inner, &len, 0);
        else
            scan_skip(&n->inner);
    }
    if (len < 1)
        ASSET_FAULT(n, "must be a positive number", "title.len");
}

static void native_img(struct native *n)
{
    struct bytes key;
    int32_t unused;
    while (scan_key(&n->inner, &key)) {
        if (KEY_IS(key, "w"))
            asset_count(n, &unused, "img.w");
        else if (KEY_IS(key, "h"))
            asset_count(n, &unused, "img.h");
        else if (KEY_IS(key, "wmin"))
            asset_count(n, &unused, "img.wmin");
        else if (KEY_IS(key, "hmin"))
            asset_count(n, &unused, "img.hmin");
        else
            scan_skip(&n->inner);
    }
}

static void native_video(struct native *n)
{
    struct bytes key;
    struct bytes_list mimes = {NULL, 0};
    int32_t minduration = 0, maxduration = 0;
    while (scan_key(&n->inner, &key)) {
        if (KEY_IS(key, "mimes"))
            scan_list(&n->inner, &mimes);
        else if (KEY_IS(key, "minduration"))
            scan_int(&n->inner, &minduration, 0);
        else if (KEY_IS(key, "maxduration"))
            scan_int(&n->inner, &maxduration, 0);
        else
            scan_skip(&n->inner);
    }
    if (mimes.n == 0)
        ASSET_FAULT(n, "must be a non-empty array of strings", "video.mimes");
    if (minduration < 1)
        ASSET_FAULT(n, "must be a positive number", "video.minduration");
    if (maxduration < 1)
        ASSET_FAULT(n, "must be a positive number", "video.maxduration");
}

static void native_data(struct native *n)
{
    struct bytes key;
    int32_t type = 0;
    while (scan_key(&n->inner, &key)) {
        if (KEY_IS(key, "type"))
            scan_int(&n->inner, &type, 0);
        else
            scan_skip(&n->inner);
    }
    if (type == 0 || !is_listed(type, 12))
        ASSET_FAULT(n, "must be 1 to 12, or 500 and above", "data.type");
}

static void native_asset(struct native *n)
{
    struct scan *in = &n->inner;
    struct bytes key;
    uint32_t kinds = 0;
    if (!scan_enter_object(in)) {
        scan_fault(in, "must be an object", "assets[%u]", n->asset);
        return;
    }
    while (scan_key(in, &key)) {
        uint32_t kind = KEY_IS(key, "title")   ? ASSET_TITLE
                        : KEY_IS(key, "img")   ? ASSET_IMG
                        : KEY_IS(key, "video") ? ASSET_VIDEO
                        : KEY_IS(key, "data")  ? ASSET_DATA
                                               : 0;
        if (kind == 0) {
            scan_skip(in);
            continue;
        }
        if (!scan_enter_object(in))
            continue;
        kinds |= kind;
        if (kind == ASSET_TITLE)
            native_title(n);
        else if (kind == ASSET_IMG)
            native_img(n);
        else if (kind == ASSET_VIDEO)
            native_video(n);
        else
            native_data(n);
    }
    if ((kinds & (kinds - 1)) != 0)
        scan_fault(in, "must be only one of title, img, video and data", "assets[%u]", n->asset);
}

/* A context's subtypes are its tens: content-centric 10-15, social 20-22, product 30-32; an
 * exchange's own context may have any of them. Without a context there is nothing to belong to. */
static bool is_subtype_of(int32_t subtype, int32_t context)
{
    static const int32_t last[] = {0, 15, 22, 32};
    if (subtype == 0 || subtype >= 500 || context == 0)
        return true;
    int32_t tens = subtype / 10;
    return tens >= 1 && tens <= 3 && subtype <= last[tens] && (context >= 500 || context == tens);
}

static void native_top_member(struct native *n, struct bytes key, int32_t *context,
                              int32_t *subtype, uint32_t *assets)
{
    struct scan *in = &n->inner;
    int32_t plcmttype;
    if (KEY_IS(key, "context")) {
        scan_int(in, context, 0);
        if (!is_listed(*context, 3))
            scan_fault(in, "must be 1 to 3, or 500 and above", "context");
    } else if (KEY_IS(key, "contextsubtype")) {
        scan_int(in, subtype, 0);
    } else if (KEY_IS(key, "plcmttype")) {
        scan_int(in, &plcmttype, 0);
        if (!is_listed(plcmttype, 4))
            scan_fault(in, "must be 1 to 4, or 500 and above", "plcmttype");
    } else if (KEY_IS(key, "assets")) {
        *assets = 0;
        if (scan_enter_array(in)) {
            for (; json_next_element(&in->j); n->asset = ++*assets)
                native_asset(n);
        }
        n->asset = 0;
    } else {
        scan_skip(in);
    }
}

static void native_members(struct native *n, bool wrapped)
{
    struct scan *in = &n->inner;
    struct bytes key;
    int32_t context = 0, subtype = 0;
    uint32_t assets = 0;
    bool inside = false;
    while (scan_key(in, &key)) {
        if (!wrapped && KEY_IS(key, "native") && json_peek(&in->j) == JSON_IS_OBJECT &&
            json_enter_object(&in->j)) {
            native_members(n, true);
            inside = true;
        } else {
            native_top_member(n, key, &context, &subtype, &assets);
        }
    }
    if (inside)
        return;
    if (assets == 0)
        scan_fault(in, "must be a non-empty array", "assets");
    if (!is_subtype_of(subtype, context))
        scan_fault(in, "does not belong to the context", "contextsubtype");
}

void scan_native_markup(struct scan *s, struct bytes markup)
{
    struct bid_request_error e = {"", ""};
    struct native n = {.inner = {.arena = s->arena, .r = s->r, .e = &e}};
    if (s->j.error != NULL)
        return;
    if (markup.len == 0) {
        scan_fault(s, "must be a native ad request: a string of JSON, or an object",
                   "imp[%u].native.request", s->imp);
        return;
    }
    json_begin(&n.inner.j, markup);
    if (json_enter_object(&n.inner.j))
        native_members(&n, false);
    if (json_finish(&n.inner.j))
        return;
    if (e.reason[0] == '\0')
        snprintf(e.reason, sizeof(e.reason), "not a JSON object: %s at byte %zu of it",
                 n.inner.j.error, (size_t)(n.inner.j.at - n.inner.j.base));
    scan_fault(s, e.reason, "imp[%u].native.request%s%s", s->imp, e.path[0] != '\0' ? "." : "",
               e.path);
}
