/* TLS 1.2 or later; the chain and the host's name are checked by OpenSSL during the handshake,
 * which then fails like any other connect. */
#include "proxy/net/tls_client.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct tls_trust {
    SSL_CTX *context; /* shared by threads: OpenSSL counts and locks what is not constant in it */
};

struct tls_client {
    SSL_CTX *context;
    SSL_SESSION *session; /* the newest, or NULL */
    bool verify, is_literal;
    char host[];
};

/* Returning 1 takes over the reference. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *t = SSL_get_app_data(ssl);
    SSL_SESSION_free(t->session);
    t->session = session;
    return 1;
}

static SSL_CTX *new_context(bool verify)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    if (c == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c, 1); /* a record in one read, not its header first */
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE |
                                          SSL_SESS_CACHE_NO_AUTO_CLEAR);
    SSL_CTX_sess_set_new_cb(c, on_new_session);
    SSL_CTX_set_verify(c, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return c;
}

struct tls_trust *tls_trust_load(const char *ca_file, struct error *err)
{
    struct tls_trust *t = calloc(1, sizeof(*t));
    if (t == NULL || (t->context = new_context(true)) == NULL) {
        free(t);
        error_set(err, "TLS: out of memory");
        return NULL;
    }
    if ((ca_file != NULL ? SSL_CTX_load_verify_file(t->context, ca_file)
                         : SSL_CTX_set_default_verify_paths(t->context)) != 1) {
        char reason[256];
        ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
        ERR_clear_error();
        error_set(err, "TLS certificate authorities %s: %s",
                  ca_file != NULL ? ca_file : "of the system", reason);
        tls_trust_destroy(t);
        return NULL;
    }
    return t;
}

void tls_trust_destroy(struct tls_trust *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->context);
    free(t);
}

struct tls_client *tls_client_create(const char *host, const struct tls_trust *trust,
                                     struct error *err)
{
    size_t size = strlen(host) + 1;
    struct tls_client *t = calloc(1, sizeof(*t) + size);
    if (t != NULL && trust != NULL && SSL_CTX_up_ref(trust->context) == 1)
        t->context = trust->context;
    else if (t != NULL && trust == NULL)
        t->context = new_context(false);
    if (t == NULL || t->context == NULL) {
        free(t);
        error_set(err, "TLS: out of memory");
        return NULL;
    }
    unsigned char binary[sizeof(struct in6_addr)];
    memcpy(t->host, host, size);
    t->verify = trust != NULL;
    t->is_literal = inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1;
    return t;
}

void tls_client_destroy(struct tls_client *t)
{
    if (t == NULL)
        return;
    SSL_SESSION_free(t->session);
    SSL_CTX_free(t->context);
    free(t);
}

SSL *tls_client_connection(struct tls_client *t, int fd)
{
    SSL *ssl = SSL_new(t->context);
    if (ssl == NULL)
        return NULL;
    bool ok = SSL_set_fd(ssl, fd) == 1;
    SSL_set_app_data(ssl, t);
    if (!t->is_literal)
        ok = ok && SSL_set_tlsext_host_name(ssl, t->host) == 1;
    if (t->verify) {
        X509_VERIFY_PARAM *expected = SSL_get0_param(ssl);
        X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        ok = ok && (t->is_literal ? X509_VERIFY_PARAM_set1_ip_asc(expected, t->host)
                                  : X509_VERIFY_PARAM_set1_host(expected, t->host, 0)) == 1;
    }
    if (ok && t->session != NULL)
        SSL_set_session(ssl, t->session);
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}
