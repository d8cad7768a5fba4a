/* The files are loaded as the listener and the DSP client load them, and dropped again. */
#include "proxy/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

/* OpenSSL's own words for a missing file are of no use to anyone. */
static int check_readable(const char *file, struct error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, "%s: %s", file, strerror(errno));
    close(fd);
    return 0;
}

/* OpenSSL's queue of errors is emptied: the next one to look must not find ours. */
static int fail(const char *file, const char *what, struct error *err)
{
    ERR_clear_error();
    return error_set(err, "%s: %s", file, what);
}

int pem_check_authorities(const char *file, struct error *err)
{
    if (check_readable(file, err) != 0)
        return -1;
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    int result = 0;
    if (tls == NULL || SSL_CTX_load_verify_file(tls, file) != 1)
        result = fail(file, "holds no PEM certificate", err);
    SSL_CTX_free(tls);
    return result;
}

/* Asking a terminal for a passphrase would hang a server. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return -1;
}

int pem_check_pair(const char *certificate, const char *key, struct error *err)
{
    if (check_readable(certificate, err) != 0 || check_readable(key, err) != 0)
        return -1;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    int result = 0;
    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, certificate) != 1) {
        result = fail(certificate, "holds no usable PEM certificate", err);
    } else {
        SSL_CTX_set_default_passwd_cb(tls, no_passphrase);
        if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_check_private_key(tls) != 1)
            result =
                fail(key, "is not the certificate's private key in PEM, without a passphrase", err);
    }
    SSL_CTX_free(tls);
    return result;
}
