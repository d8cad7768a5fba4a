/* Strict, because the text ends up in a request line and a Host header: only visible ASCII passes.
 */
#include "proxy/net/url.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "bytes.h"

static int copy(char *out, size_t capacity, struct bytes part, const char *what, const char *text,
                struct error *err)
{
    if (part.len >= capacity)
        return error_set(err, "URL \"%.200s\": its %s is too long", text, what);
    memcpy(out, part.base, part.len);
    out[part.len] = '\0';
    return 0;
}

static bool is_host(struct bytes host, bool is_literal)
{
    char text[64];
    unsigned char binary[sizeof(struct in6_addr)];
    if (is_literal) {
        if (host.len >= sizeof(text))
            return false;
        memcpy(text, host.base, host.len);
        text[host.len] = '\0';
        return inet_pton(AF_INET6, text, binary) == 1;
    }
    for (size_t i = 0; i < host.len; i++) {
        char c = host.base[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '-' || c == '_'))
            return false;
    }
    return host.len > 0;
}

static int parse_port(struct bytes digits, uint16_t *out)
{
    uint32_t port = 0;
    if (digits.len == 0 || digits.len > 5)
        return -1;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.base[i] < '0' || digits.base[i] > '9')
            return -1;
        port = port * 10 + (uint32_t)(digits.base[i] - '0');
    }
    if (port == 0 || port > 65535)
        return -1;
    *out = (uint16_t)port;
    return 0;
}

/* host, [v6] or either with :port. */
static int parse_authority(struct bytes authority, struct url *out, const char *text,
                           struct error *err)
{
    struct bytes host = authority, port = {NULL, 0};
    bool is_literal = authority.len > 0 && authority.base[0] == '[';
    const char *end = authority.base + authority.len, *colon;
    if (is_literal) {
        const char *close = memchr(authority.base, ']', authority.len);
        if (close == NULL || (close + 1 < end && close[1] != ':'))
            return error_set(err, "URL \"%.200s\": bad IPv6 address", text);
        host = (struct bytes){authority.base + 1, (size_t)(close - authority.base - 1)};
        colon = close + 1 < end ? close + 1 : NULL;
    } else {
        colon = memchr(authority.base, ':', authority.len);
        if (colon != NULL)
            host.len = (size_t)(colon - authority.base);
    }
    if (colon != NULL)
        port = (struct bytes){colon + 1, (size_t)(end - colon - 1)};
    if (!is_host(host, is_literal))
        return error_set(err, "URL \"%.200s\": bad host", text);
    uint16_t usual = out->is_tls ? 443 : 80;
    out->port = usual;
    if (colon != NULL && parse_port(port, &out->port) != 0)
        return error_set(err, "URL \"%.200s\": bad port", text);
    if (copy(out->host, sizeof(out->host), host, "host", text, err) != 0)
        return -1;
    char suffix[8] = "";
    if (out->port != usual)
        snprintf(suffix, sizeof(suffix), ":%u", out->port);
    snprintf(out->authority, sizeof(out->authority), is_literal ? "[%s]%s" : "%s%s", out->host,
             suffix);
    return 0;
}

int url_parse(const char *text, struct url *out, struct error *err)
{
    if (text == NULL)
        return error_set(err, "URL: missing");
    memset(out, 0, sizeof(*out));
    for (const char *p = text; *p != '\0'; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return error_set(err, "URL \"%.200s\": only visible ASCII characters are allowed",
                             text);
    const char *rest;
    if (strncasecmp(text, "http://", 7) == 0)
        rest = text + 7;
    else if (strncasecmp(text, "https://", 8) == 0)
        rest = text + 8, out->is_tls = true;
    else
        return error_set(err, "URL \"%.200s\": must begin with http:// or https://", text);
    struct bytes authority = {rest, strcspn(rest, "/?#")};
    if (memchr(authority.base, '@', authority.len) != NULL)
        return error_set(err, "URL \"%.200s\": user information is not supported, use a header",
                         text);
    if (parse_authority(authority, out, text, err) != 0)
        return -1;
    rest += authority.len;
    struct bytes target = {rest, strcspn(rest, "#")};
    bool needs_slash = target.len == 0 || target.base[0] != '/';
    if (needs_slash)
        out->target[0] = '/';
    return copy(out->target + needs_slash, sizeof(out->target) - needs_slash, target, "path", text,
                err);
}
