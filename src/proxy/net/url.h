/* The URL of a DSP, taken apart: http or https, a name or a literal address, a port, a target. */
#ifndef PROXY_NET_URL_H
#define PROXY_NET_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct url {
    bool is_tls;
    uint16_t port;
    char host[256];      /* without the brackets of an IPv6 literal */
    char authority[272]; /* what the Host header says: the port only if it is not the scheme's */
    char target[2048];   /* "/path?query", at least "/" */
};

/* Refuses user information, control characters, spaces and whatever does not fit. A fragment is
 * dropped. */
int url_parse(const char *text, struct url *out, struct error *err);

#endif
