/* The certificate authorities that TLS clients believe, and the settings that all share. Reading
 * the system's takes tens of milliseconds, so it is done off the loops, and once for all DSPs and
 * loops. Any thread; clients may outlive it. */
#ifndef PROXY_NET_TLS_TRUST_H
#define PROXY_NET_TLS_TRUST_H

#include "error.h"

struct tls_trust;
struct tls_trust *tls_trust_load(const char *ca_file /* NULL = the system's */, struct error *err);
void tls_trust_destroy(struct tls_trust *t);

#endif
