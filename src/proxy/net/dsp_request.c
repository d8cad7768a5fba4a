/* The head is built once a client, and checked once: after that it is copied as it is. */
#include "proxy/net/dsp_request.h"

#include <stdlib.h>
#include <strings.h>

struct payload *payload_create(struct bytes before, struct bytes after)
{
    struct payload *p = malloc(sizeof(*p) + before.len + after.len);
    if (p == NULL)
        abort();
    *p = (struct payload){.references = 1, .before_len = before.len, .after_len = after.len};
    if (before.len > 0)
        memcpy(p->data, before.base, before.len);
    if (after.len > 0)
        memcpy(p->data + before.len, after.base, after.len);
    return p;
}

struct payload *payload_create_request(struct bytes request)
{
    struct payload *p = payload_create(request, (struct bytes){NULL, 0});
    p->is_request = true;
    return p;
}

struct payload *payload_acquire(struct payload *p)
{
    p->references++;
    return p;
}

void payload_release(struct payload *p)
{
    if (p != NULL && --p->references == 0)
        free(p);
}

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* The framing and the connection are ours to name. */
static int check_header(const char *line, struct error *err)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection",
                                       "expect", "upgrade"};
    size_t name_len = 0;
    while (is_token_char(line[name_len]))
        name_len++;
    if (name_len == 0 || line[name_len] != ':')
        return error_set(err, "header \"%.100s\": must read \"Name: value\"", line);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strlen(ours[i]) == name_len && strncasecmp(line, ours[i], name_len) == 0)
            return error_set(err, "header \"%.100s\": is set by the client itself", line);
    for (const char *p = line + name_len; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' ? *p != '\t' : *p == 0x7f)
            return error_set(err, "header \"%.100s\": control character in the value", line);
    return 0;
}

static bool names_header(const char *const *headers, const char *name)
{
    size_t len = strlen(name);
    for (; headers != NULL && *headers != NULL; headers++)
        if (strncasecmp(*headers, name, len) == 0 && (*headers)[len] == ':')
            return true;
    return false;
}

char *request_head(const struct url *url, const char *const *headers, size_t *len,
                   struct error *err)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (out == NULL) {
        error_set(err, "DSP client: out of memory");
        return NULL;
    }
    fprintf(out, "POST %s HTTP/1.1\r\n", url->target);
    if (!names_header(headers, "host"))
        fprintf(out, "Host: %s\r\n", url->authority);
    if (!names_header(headers, "content-type"))
        fputs("Content-Type: application/json\r\n", out);
    if (!names_header(headers, "accept-encoding"))
        fputs("Accept-Encoding: gzip\r\n", out);
    int status = 0;
    for (const char *const *h = headers; status == 0 && h != NULL && *h != NULL; h++) {
        status = check_header(*h, err);
        fprintf(out, "%s\r\n", *h);
    }
    fclose(out);
    if (status != 0) {
        free(text);
        return NULL;
    }
    return text;
}
