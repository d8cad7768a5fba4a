/* One auction as one line of JSON, built on the loop for every auction, so it is written by hand:
 * no printf, no allocation after the text has grown, the request copied once with the masked spans
 * replaced on the way.
 *
 * A raw line break can stand between the tokens of a JSON text but never inside a string, so
 * turning it into a space changes nothing but the layout, and the record stays one line. */
#include "proxy/capture.h"

#include <arpa/inet.h>
#include <assert.h>
#include <math.h>

#include "hash.h"

/* Files depend on it: a masked id must come out alike in every process and version. */
static const uint64_t mask_seed = 0x6269647369657665u;

/* ---- strings ---- */

/* The length of the UTF-8 sequence at p, 0 if it is none (RFC 3629: no surrogates, no overlong
 * forms). */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char from, to, second_from, second_to, length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        if (*p < forms[i].from || *p > forms[i].to)
            continue;
        size_t length = forms[i].length;
        if (length > left)
            return 0;
        if (length > 1 && (p[1] < forms[i].second_from || p[1] > forms[i].second_to))
            return 0;
        for (size_t k = 2; k < length; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return length;
    }
    return 0;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Whatever the bytes are, what comes out is a JSON string: what is not UTF-8 becomes U+FFFD. */
static void add_json_string(struct text *line, struct bytes s)
{
    const unsigned char *p = (const unsigned char *)s.base;
    size_t at = 0;
    text_literal(line, "\"");
    while (at < s.len) {
        size_t run = at;
        while (run < s.len && is_plain(p[run]))
            run++;
        text_add(line, s.base + at, run - at);
        at = run;
        if (at == s.len)
            break;
        if (p[at] == '"' || p[at] == '\\') {
            char escaped[2] = {'\\', (char)p[at]};
            text_add(line, escaped, 2);
            at++;
        } else if (p[at] < 0x20) {
            static const char hex[] = "0123456789abcdef";
            char escaped[6] = {'\\', 'u', '0', '0', hex[p[at] >> 4], hex[p[at] & 15]};
            text_add(line, escaped, 6);
            at++;
        } else {
            size_t length = utf8_length(p + at, s.len - at);
            if (length == 0)
                text_literal(line, "\xef\xbf\xbd");
            else
                text_add(line, s.base + at, length);
            at += length == 0 ? 1 : length;
        }
    }
    text_literal(line, "\"");
}

/* ---- numbers ---- */

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* digits * 10^-places, places in 0..22, without trailing zeros behind the point. */
static void add_decimal(struct text *line, uint64_t digits, int places)
{
    while (places > 0 && digits % 10 == 0) {
        digits /= 10;
        places--;
    }
    char out[48];
    size_t at = sizeof(out);
    for (int i = 0; i < places || digits != 0 || i == places; i++) {
        if (i == places && places > 0)
            out[--at] = '.';
        out[--at] = (char)('0' + digits % 10);
        digits /= 10;
    }
    text_add(line, out + at, sizeof(out) - at);
}

/* The shortest decimal of at most nine digits that reads back as the same float; nine always do
 * (they are closer together than any two floats). digits / 10^places is one correctly rounded
 * division of exact numbers, hence the very double that a reader gets from the text. */
static void add_float(struct text *line, float f)
{
    double x = fabs((double)f);
    if (f < 0)
        text_literal(line, "-");
    if (x == 0 || x < 1e-12 || x >= 1e8) {
        char out[32];
        int size = snprintf(out, sizeof(out), "%.9g", x);
        text_add(line, out, (size_t)size);
        return;
    }
    int places = 8; /* so that the digits before the point and behind it are nine */
    while (x * powers_of_ten[places] < 1e8)
        places++;
    while (places > 0 && x * powers_of_ten[places] >= 1e9)
        places--;
    for (int dropped = 3; dropped > 0; dropped--) {
        if (places < dropped)
            continue;
        uint64_t digits = (uint64_t)llrint(x * powers_of_ten[places - dropped]);
        if ((float)((double)digits / powers_of_ten[places - dropped]) == (float)x) {
            add_decimal(line, digits, places - dropped);
            return;
        }
    }
    add_decimal(line, (uint64_t)llrint(x * powers_of_ten[places]), places);
}

static void add_money(struct text *line, const char *key, double units)
{
    if (!(fabs(units) < 9e12)) /* absent, or no price of this world */
        return;
    text_add_string(line, key);
    int64_t micros = llrint(units * 1e6);
    if (micros < 0)
        text_literal(line, "-");
    add_decimal(line, (uint64_t)(micros < 0 ? -micros : micros), 6);
}

/* ---- masking ---- */

static void add_masked_ip(struct text *line, struct bytes raw)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct in6_addr six;
    struct in_addr four;
    if (raw.len >= sizeof(text))
        return;
    memcpy(text, raw.base, raw.len);
    text[raw.len] = '\0';
    if (inet_pton(AF_INET, text, &four) == 1) {
        four.s_addr &= htonl(0xffffff00u);
        inet_ntop(AF_INET, &four, text, sizeof(text));
    } else if (inet_pton(AF_INET6, text, &six) == 1) {
        if (IN6_IS_ADDR_V4MAPPED(&six))
            six.s6_addr[15] = 0;
        else
            memset(six.s6_addr + 6, 0, 10);
        inet_ntop(AF_INET6, &six, text, sizeof(text));
    } else {
        return;
    }
    text_add_string(line, text);
}

static void add_masked_id(struct text *line, struct bytes raw)
{
    bool names_someone = false; /* phones with tracking off send an id of zeros */
    for (size_t i = 0; i < raw.len; i++)
        names_someone |= raw.base[i] != '0' && raw.base[i] != '-';
    if (!names_someone) {
        text_add_bytes(line, raw);
        return;
    }
    static const char hex[] = "0123456789abcdef";
    uint64_t h = hash_bytes(raw, mask_seed);
    char digits[16];
    for (int i = 0; i < 16; i++)
        digits[i] = hex[h >> (60 - 4 * i) & 15];
    text_add(line, digits, sizeof(digits));
}

static void add_masked(struct text *line, struct bytes request, struct bytes raw,
                       enum capture_mask_kind kind)
{
    bool quoted = raw.base > request.base && raw.base[-1] == '"';
    if (kind == CAPTURE_MASK_DROP) {
        text_add_string(line, raw.len == request.len ? "{}" : "null");
    } else if (kind == CAPTURE_MASK_IP) {
        add_masked_ip(line, raw);
    } else if (quoted) {
        add_masked_id(line, raw);
    } else { /* a number */
        text_literal(line, "\"");
        add_masked_id(line, raw);
        text_literal(line, "\"");
    }
}

/* ---- the line ---- */

static void add_without_breaks(struct text *line, const char *base, size_t len)
{
    if (len == 0)
        return;
    char *to = text_reserve(line, len);
    memcpy(to, base, len);
    line->len += len;
    for (char *at = to; (at = memchr(at, '\n', (size_t)(to + len - at))) != NULL; at++)
        *at = ' ';
    for (char *at = to; (at = memchr(at, '\r', (size_t)(to + len - at))) != NULL; at++)
        *at = ' ';
}

static void add_request(struct text *line, struct bytes request, const struct capture_mask *masks,
                        uint32_t n_masks)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n_masks; i++) {
        struct body_span span = masks[i].span;
        assert((size_t)span.at + span.len <= request.len);
        assert(span.at >= at);
        add_without_breaks(line, request.base + at, span.at - at);
        struct bytes raw = {request.base + span.at, span.len};
        add_masked(line, request, raw, masks[i].kind);
        at = (size_t)span.at + span.len;
    }
    add_without_breaks(line, request.base + at, request.len - at);
}

void capture_line_begin(struct text *line, int64_t ts_ms, struct bytes auction,
                        struct bytes request, const struct capture_mask *masks, uint32_t n_masks,
                        const char *model, uint64_t generation)
{
    text_literal(line, "{\"v\":1,\"ts\":");
    text_add_int(line, ts_ms);
    text_literal(line, ",\"auction\":");
    if (auction.base == NULL)
        text_literal(line, "null");
    else
        add_json_string(line, auction);
    text_literal(line, ",\"model\":");
    if (model == NULL)
        text_literal(line, "null");
    else
        add_json_string(line, bytes_of(model));
    text_literal(line, ",\"generation\":");
    text_add_uint(line, generation);
    text_literal(line, ",\"request\":");
    add_request(line, request, masks, n_masks);
    text_literal(line, ",\"dsps\":[");
}

static void add_number(struct text *line, const char *key, double value)
{
    if (!isfinite(value))
        return;
    text_add_string(line, key);
    add_float(line, (float)value);
}

void capture_line_dsp(struct text *line, const struct capture_dsp *d)
{
    if (line->base[line->len - 1] == '}')
        text_literal(line, ",");
    text_literal(line, "{\"dsp\":");
    add_json_string(line, d->dsp);
    if (d->sent)
        text_literal(line, ",\"sent\":true");
    else
        text_literal(line, ",\"sent\":false");
    if (d->why.base != NULL) {
        text_literal(line, ",\"why\":");
        add_json_string(line, d->why);
    }
    add_number(line, ",\"p\":", d->p);
    add_number(line, ",\"threshold\":", d->threshold);
    if (d->propensity != 1)
        add_number(line, ",\"propensity\":", d->propensity);
    if (d->sent && d->outcome.base != NULL) {
        text_literal(line, ",\"outcome\":");
        add_json_string(line, d->outcome);
    }
    add_money(line, ",\"price\":", d->price);
    if (d->sent && d->latency_us >= 0) {
        text_literal(line, ",\"latency_us\":");
        text_add_int(line, d->latency_us);
    }
    if (d->won)
        text_literal(line, ",\"won\":true");
    add_money(line, ",\"paid\":", d->paid);
    text_literal(line, "}");
}

void capture_line_end(struct text *line)
{
    text_literal(line, "]}\n");
}
