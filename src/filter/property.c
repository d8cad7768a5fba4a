/* Domains arrive as "example.com", "www.Example.com.", "http://example.com/page" and worse; all of
 * these are one property to a buyer. */
#include "filter/property.h"

static struct bytes after_scheme(struct bytes url)
{
    for (size_t i = 0; i + 2 < url.len; i++) {
        char c = url.base[i];
        if (c == ':' && url.base[i + 1] == '/' && url.base[i + 2] == '/')
            return (struct bytes){url.base + i + 3, url.len - i - 3};
        if (c == '/' || c == '?' || c == '#')
            break;
    }
    if (url.len > 2 && url.base[0] == '/' && url.base[1] == '/')
        return (struct bytes){url.base + 2, url.len - 2};
    return url;
}

static size_t authority_length(struct bytes rest)
{
    size_t n = 0;
    while (n < rest.len && rest.base[n] != '/' && rest.base[n] != '?' && rest.base[n] != '#')
        n++;
    return n;
}

/* Nothing in it that sets a host apart from the rest of a URL. */
static bool is_bare_host(struct bytes text)
{
    static const bool sets_apart[256] = {['/'] = true, ['?'] = true, ['#'] = true, ['@'] = true,
                                         ['['] = true, [']'] = true, [':'] = true};
    bool found = false;
    for (size_t i = 0; i < text.len; i++)
        found |= sets_apart[(unsigned char)text.base[i]];
    return !found;
}

/* The host inside a URL or a bare "host/path"; borrowed, as it is written. */
static struct bytes url_host(struct bytes url)
{
    if (is_bare_host(url))
        return url.len > 0 ? url : (struct bytes){NULL, 0};
    struct bytes rest = after_scheme(url);
    struct bytes host = {rest.base, authority_length(rest)};
    for (size_t i = host.len; i > 0; i--) /* user@host */
        if (host.base[i - 1] == '@') {
            host.base += i;
            host.len -= i;
            break;
        }
    bool bracket = false; /* an IPv6 literal keeps its colons */
    for (size_t i = 0; i < host.len; i++)
        if (host.base[i] == '[' || host.base[i] == ']') {
            bracket = host.base[i] == '[';
        } else if (host.base[i] == ':' && !bracket) {
            host.len = i;
            break;
        }
    return host.len > 0 ? host : (struct bytes){NULL, 0};
}

struct bytes url_first_directory(struct bytes url)
{
    struct bytes rest = after_scheme(url);
    size_t start = authority_length(rest) + 1;
    if (start >= rest.len || rest.base[start - 1] != '/')
        return (struct bytes){NULL, 0};
    for (size_t end = start; end < rest.len; end++) {
        char c = rest.base[end];
        if (c == '?' || c == '#')
            break;
        if (c == '/')
            return end > start ? (struct bytes){rest.base + start, end - start}
                               : (struct bytes){NULL, 0};
    }
    return (struct bytes){NULL, 0};
}

struct bytes property_domain(const struct bid_request *r, char buffer[PROPERTY_DOMAIN_MAX])
{
    struct bytes name = {NULL, 0};
    if (r->channel == CHANNEL_APP)
        name = r->property.bundle;
    if (name.len == 0)
        name = url_host(r->property.domain);
    if (name.len == 0)
        name = url_host(r->property.page);
    while (name.len > 0 && name.base[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > PROPERTY_DOMAIN_MAX)
        return (struct bytes){NULL, 0};
    bytes_lower(buffer, name);
    if (name.len > 4 && memcmp(buffer, "www.", 4) == 0)
        return (struct bytes){buffer + 4, name.len - 4};
    return (struct bytes){buffer, name.len};
}
