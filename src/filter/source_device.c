/* The device, as it and its user agent describe it. */
#include "filter/source_text.h"

static const struct user_agent *user_agent(struct source_input *in)
{
    if (!in->ua_read) {
        in->ua_read = true;
        user_agent_read(in->user_agents, in->r->device.ua, &in->ua);
    }
    return &in->ua;
}

static struct bytes system_family(struct source_input *in)
{
    struct bytes os = in->r->device.os;
    if (os.len == 0)
        os = in->r->device.sua_platform;
    if (os.len == 0)
        return user_agent(in)->os;
    struct bytes family = os_family(in->user_agents, os);
    return family.len > 0 ? family : text_lower(in, os);
}

struct bytes source_device_type(struct source_input *in)
{
    int32_t type = in->r->device.devicetype;
    return type >= 0 ? text_code(type) : user_agent(in)->device;
}

struct bytes source_device_os(struct source_input *in)
{
    if (!in->os_read) {
        in->os_read = true;
        in->os = system_family(in);
    }
    return in->os;
}

struct bytes source_device_os_major(struct source_input *in)
{
    struct bytes version = in->r->device.osv;
    if (version.len == 0)
        version = in->r->device.sua_version;
    size_t n = 0;
    while (n < version.len && n < 8 && version.base[n] >= '0' && version.base[n] <= '9')
        n++;
    struct bytes os = n > 0 ? source_device_os(in) : NO_TEXT;
    return os.len == 0 ? NO_TEXT : text_join(in, os, ' ', (struct bytes){version.base, n});
}

struct bytes source_device_make(struct source_input *in)
{
    return text_lower(in, in->r->device.make);
}

struct bytes source_device_model(struct source_input *in)
{
    return text_lower(in, in->r->device.model);
}

struct bytes source_device_browser(struct source_input *in)
{
    struct bytes_list brands = in->r->device.sua_browsers;
    struct bytes family = browser_family(in->user_agents, brands.items, brands.n);
    return family.len > 0 ? family : user_agent(in)->browser;
}

struct bytes source_device_language(struct source_input *in)
{
    struct bytes language = in->r->device.language;
    size_t n = 0;
    while (n < language.len && language.base[n] != '-' && language.base[n] != '_')
        n++;
    return text_lower(in, (struct bytes){language.base, n});
}

struct bytes source_device_carrier(struct source_input *in)
{
    struct bytes carrier = in->r->device.carrier;
    return carrier.len > 0 ? text_lower(in, carrier) : text_bounded(in->r->device.mccmnc);
}

struct bytes source_device_connectiontype(struct source_input *in)
{
    return text_code(in->r->device.connectiontype);
}

struct bytes source_device_screen(struct source_input *in)
{
    if (in->r->device.w <= 0 || in->r->device.h <= 0)
        return NO_TEXT;
    return text_size(in, in->r->device.w, in->r->device.h);
}

struct bytes source_device_ip_version(struct source_input *in)
{
    bool v4 = in->r->device.ip.len > 0, v6 = in->r->device.ipv6.len > 0;
    return v4 && v6 ? TEXT("both") : v4 ? TEXT("4") : v6 ? TEXT("6") : TEXT("none");
}

struct bytes source_device_tracking(struct source_input *in)
{
    int8_t dnt = in->r->device.dnt, lmt = in->r->device.lmt;
    if (dnt < 0 && lmt < 0)
        return NO_TEXT;
    return dnt > 0 || lmt > 0 ? TEXT("limited") : TEXT("allowed");
}

struct bytes source_device_hints(struct source_input *in)
{
    return text_flag(in->r->device.sua);
}
