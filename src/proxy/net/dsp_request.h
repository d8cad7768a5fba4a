/* What a DSP client sends: the body that many calls share, and the head that all calls of one
 * client share. */
#ifndef PROXY_NET_DSP_REQUEST_H
#define PROXY_NET_DSP_REQUEST_H

#include "proxy/net/dsp_client.h"
#include "proxy/net/url.h"

/* Its contract stands in dsp_client.h. */
struct payload {
    uint32_t references;
    bool is_request; /* before is all that is sent */
    size_t before_len, after_len;
    char data[];
};
struct payload *payload_acquire(struct payload *p);

/* Request line and headers up to, not including, Content-Length and the empty line; malloc'd.
 * headers is NULL-terminated or NULL; one of them may replace Host, Content-Type or
 * Accept-Encoding, none may touch the framing. NULL: err says why. */
char *request_head(const struct url *url, const char *const *headers, size_t *len,
                   struct error *err);

#endif
