/* Heads and chunks are parsed by picohttpparser, which libh2o exports without its header. What it
 * lets pass is judged here: whatever makes two parsers disagree about where a body ends is
 * malformed (RFC 9112, section 6.3), since the next answer on the connection begins there. */
#include "proxy/net/answer.h"

#include <string.h>
#include <strings.h>
#include <sys/types.h>

struct phr_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
struct phr_chunked_decoder;
int phr_parse_response(const char *buf, size_t len, int *minor_version, int *status,
                       const char **msg, size_t *msg_len, struct phr_header *headers,
                       size_t *num_headers, size_t last_len);
ssize_t phr_decode_chunked(struct phr_chunked_decoder *decoder, char *buf, size_t *bufsz);

enum { HEADERS_MAX = 100, INTERIM_MAX = 8, OVERHEAD_BYTES_MIN = 65536 };

enum framing { IN_HEAD, BY_LENGTH, BY_CHUNKS, BY_CLOSE };

void answer_begin(struct answer *a, size_t head_bytes_max, size_t body_bytes_max)
{
    memset(a, 0, sizeof(*a));
    a->head_bytes_max = head_bytes_max;
    a->body_bytes_max = body_bytes_max;
    a->framing = IN_HEAD;
}

static bool name_is(const struct phr_header *h, const char *name)
{
    size_t len = strlen(name);
    return h->name_len == len && strncasecmp(h->name, name, len) == 0;
}

static bool value_is(const struct phr_header *h, const char *value)
{
    size_t len = strlen(value);
    return h->value_len == len && strncasecmp(h->value, value, len) == 0;
}

/* A token in a comma-separated list. */
static bool value_lists(const struct phr_header *h, const char *token)
{
    const char *p = h->value, *end = h->value + h->value_len;
    size_t len = strlen(token);
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma != NULL ? comma : end;
        const char *next = comma != NULL ? comma + 1 : end;
        while (p < stop && (*p == ' ' || *p == '\t'))
            p++;
        while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if ((size_t)(stop - p) == len && strncasecmp(p, token, len) == 0)
            return true;
        p = next;
    }
    return false;
}

static bool parse_length(const struct phr_header *h, size_t *out)
{
    size_t n = 0;
    if (h->value_len == 0 || h->value_len > 18)
        return false;
    for (size_t i = 0; i < h->value_len; i++) {
        if (h->value[i] < '0' || h->value[i] > '9')
            return false;
        n = n * 10 + (size_t)(h->value[i] - '0');
    }
    *out = n;
    return true;
}

/* Fills in what the head says about the body and the connection. */
static bool read_headers(struct answer *a, const struct phr_header *headers, size_t n,
                         int minor_version)
{
    unsigned lengths = 0, codings = 0;
    a->is_persistent = minor_version >= 1;
    a->is_gzip = false;
    for (const struct phr_header *h = headers; h < headers + n; h++) {
        if (h->name_len == 0 || h->name[h->name_len - 1] == ' ' || h->name[h->name_len - 1] == '\t')
            return false;
        if (name_is(h, "content-length")) {
            if (lengths++ > 0 || !parse_length(h, &a->body_len))
                return false;
        } else if (name_is(h, "transfer-encoding")) {
            if (codings++ > 0 || !value_is(h, "chunked") || minor_version < 1)
                return false;
        } else if (name_is(h, "content-encoding")) {
            /* Nothing else was asked for; what calls itself otherwise ("utf-8") mostly is plain. */
            a->is_gzip = value_is(h, "gzip") || value_is(h, "x-gzip");
        } else if (name_is(h, "connection")) {
            if (value_lists(h, "close"))
                a->is_persistent = false;
            else if (minor_version == 0 && value_lists(h, "keep-alive"))
                a->is_persistent = true;
        }
    }
    if (lengths > 0 && codings > 0)
        return false;
    a->framing = codings > 0 ? BY_CHUNKS : lengths > 0 ? BY_LENGTH : BY_CLOSE;
    return true;
}

static enum answer_progress feed_head(struct answer *a, char *base, size_t *len)
{
    struct phr_header headers[HEADERS_MAX];
    size_t n_headers = HEADERS_MAX, reason_len;
    const char *reason;
    int minor_version, head_len;
    /* The parser looks again only once the head is whole; what is no HTTP may never have an end. */
    if (memcmp(base, "HTTP/1.", *len < 7 ? *len : 7) != 0)
        return ANSWER_MALFORMED;
    head_len = phr_parse_response(base, *len, &minor_version, &a->status, &reason, &reason_len,
                                  headers, &n_headers, a->seen);
    if (head_len == -2) {
        a->seen = *len;
        return *len > a->head_bytes_max ? ANSWER_TOO_LARGE : ANSWER_MORE;
    }
    if (head_len == -1 && n_headers == HEADERS_MAX)
        return ANSWER_TOO_LARGE; /* it stopped for want of room */
    if (head_len < 0 || a->status < 100 || a->status > 999)
        return ANSWER_MALFORMED;
    if ((size_t)head_len > a->head_bytes_max)
        return ANSWER_TOO_LARGE;
    if (a->status < 200) {
        /* 101 would be another protocol, which nobody asked for. */
        if (a->status == 101 || ++a->interim > INTERIM_MAX)
            return ANSWER_MALFORMED;
        *len -= (size_t)head_len;
        memmove(base, base + head_len, *len);
        a->seen = 0;
        return ANSWER_MORE;
    }
    if (!read_headers(a, headers, n_headers, minor_version))
        return ANSWER_MALFORMED;
    a->body_at = a->seen = (size_t)head_len;
    if (a->status == 204 || a->status == 304) {
        a->framing = BY_LENGTH;
        a->body_len = 0;
    } else if (a->framing == BY_CLOSE) {
        a->is_persistent = false;
    }
    if (a->framing == BY_LENGTH && a->body_len > a->body_bytes_max)
        return ANSWER_TOO_LARGE;
    return ANSWER_MORE;
}

/* What follows seen is decoded in place. A server can send framing without end and hardly any data,
 * so that is bounded too. */
static enum answer_progress feed_chunks(struct answer *a, char *base, size_t *len)
{
    size_t fresh = *len - a->seen, decoded = fresh;
    ssize_t left = phr_decode_chunked((struct phr_chunked_decoder *)(void *)&a->chunks,
                                      base + a->seen, &decoded);
    if (left == -1)
        return ANSWER_MALFORMED;
    a->overhead += fresh - decoded - (left > 0 ? (size_t)left : 0);
    a->seen += decoded;
    *len = a->seen;
    a->body_len = a->seen - a->body_at;
    if (a->body_len > a->body_bytes_max ||
        a->overhead > OVERHEAD_BYTES_MIN + 8 * (uint64_t)a->body_bytes_max)
        return ANSWER_TOO_LARGE;
    if (left < 0)
        return ANSWER_MORE;
    a->has_surplus = left > 0;
    return ANSWER_DONE;
}

enum answer_progress answer_feed(struct answer *a, char *base, size_t *len)
{
    while (a->framing == IN_HEAD) {
        if (*len == 0)
            return ANSWER_MORE;
        size_t before = *len;
        enum answer_progress progress = feed_head(a, base, len);
        if (progress != ANSWER_MORE)
            return progress;
        if (a->framing == IN_HEAD && *len == before)
            return ANSWER_MORE;
        if (a->framing == BY_CHUNKS)
            a->chunks.consume_trailer = 1;
    }
    switch (a->framing) {
    case BY_LENGTH:
        if (*len - a->body_at < a->body_len)
            return ANSWER_MORE;
        a->has_surplus = *len - a->body_at > a->body_len;
        return ANSWER_DONE;
    case BY_CHUNKS:
        return feed_chunks(a, base, len);
    default:
        return *len - a->body_at > a->body_bytes_max ? ANSWER_TOO_LARGE : ANSWER_MORE;
    }
}

bool answer_end(struct answer *a, size_t len)
{
    if (a->framing != BY_CLOSE)
        return false;
    a->body_len = len - a->body_at;
    return true;
}
