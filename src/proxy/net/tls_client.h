/* The TLS side of calling one host: trust, the expected name, and the last session, so that the
 * next connection may resume it. */
#ifndef PROXY_NET_TLS_CLIENT_H
#define PROXY_NET_TLS_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "proxy/net/tls_trust.h"

struct tls_client;
/* host is a name or a literal address. trust NULL: nobody is verified. */
struct tls_client *tls_client_create(const char *host, const struct tls_trust *trust,
                                     struct error *err);
void tls_client_destroy(struct tls_client *t); /* after its connections */

/* A client-side connection over the descriptor, ready to shake hands; NULL if memory is short. */
SSL *tls_client_connection(struct tls_client *t, int fd);

#endif
