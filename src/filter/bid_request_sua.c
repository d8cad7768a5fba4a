/* device.sua: the structured user agent (OpenRTB 2.6). Of its brands and versions, what names the
 * browser and the operating system. */
#include "filter/bid_request_scan.h"

/* A brand and the first of its versions; whichever is no text is absent. */
static void scan_brand(struct scan *s, struct bytes *brand, struct bytes *version)
{
    struct bytes key;
    struct bytes_list versions = {NULL, 0};
    *brand = *version = (struct bytes){NULL, 0};
    if (!scan_enter_object(s))
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "brand"))
            scan_text(s, brand);
        else if (KEY_IS(key, "version"))
            scan_list(s, &versions);
        else
            scan_skip(s);
    }
    if (versions.n > 0)
        *version = versions.items[0];
}

static void scan_browsers(struct scan *s)
{
    struct bytes *brands = NULL, brand, version;
    uint32_t n = 0, capacity = 0;
    s->r->device.sua_browsers = (struct bytes_list){NULL, 0};
    if (!scan_enter_array(s))
        return;
    while (json_next_element(&s->j)) {
        scan_brand(s, &brand, &version);
        if (brand.len == 0 || n == BID_REQUEST_LIST_MAX)
            continue;
        brands = scan_grow(s, brands, n, &capacity, sizeof(*brands));
        brands[n++] = brand;
    }
    s->r->device.sua_browsers = (struct bytes_list){brands, n};
}

void scan_sua(struct scan *s)
{
    struct bytes key;
    s->r->device.sua = scan_enter_object(s);
    s->r->device.sua_browsers = (struct bytes_list){NULL, 0};
    s->r->device.sua_platform = s->r->device.sua_version = (struct bytes){NULL, 0};
    if (!s->r->device.sua)
        return;
    while (scan_key(s, &key)) {
        if (KEY_IS(key, "browsers"))
            scan_browsers(s);
        else if (KEY_IS(key, "platform"))
            scan_brand(s, &s->r->device.sua_platform, &s->r->device.sua_version);
        else
            scan_skip(s);
    }
}
