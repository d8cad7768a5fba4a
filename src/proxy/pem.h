/* PEM files, looked at before anything depends on them: what OpenSSL would refuse later, with a
 * reason that names the file. */
#ifndef PROXY_PEM_H
#define PROXY_PEM_H

#include "error.h"

/* At least one certificate, and nothing broken. */
int pem_check_authorities(const char *file, struct error *err);
/* A certificate chain and the private key of its first certificate, without a passphrase. */
int pem_check_pair(const char *certificate, const char *key, struct error *err);

#endif
