/* Certificates for tests, made on the spot: a self-signed authority and what it signs. Files in a
 * directory of their own. */
#ifndef TESTS_PROXY_NET_CERTIFICATES_H
#define TESTS_PROXY_NET_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct certificates {
    char directory[32];
    X509 *authority;
    EVP_PKEY *authority_key;
    long serial;
};

static void certificate_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (e == NULL || X509_add_ext(x, e, -1) != 1)
        abort();
    X509_EXTENSION_free(e);
}

/* names like "DNS:localhost,IP:127.0.0.1"; NULL = an authority, signed by itself. */
static X509 *certificate_new(struct certificates *c, const char *names, EVP_PKEY *key,
                             long days_left)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++c->serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400L * 30);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400L * days_left);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)(names != NULL ? "server" : "authority"), -1,
                               -1, 0);
    X509 *issuer = names != NULL && c->authority != NULL ? c->authority : x;
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    if (names != NULL)
        certificate_extension(x, issuer, NID_subject_alt_name, names);
    else
        certificate_extension(x, issuer, NID_basic_constraints, "critical,CA:TRUE");
    if (X509_sign(x, issuer == x ? key : c->authority_key, EVP_sha256()) == 0)
        abort();
    return x;
}

static char *certificate_path(const struct certificates *c, const char *name, const char *kind)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s.%s", c->directory, name, kind) < 0)
        abort();
    return path;
}

static void certificate_write(const struct certificates *c, const char *name, X509 *x,
                              EVP_PKEY *key)
{
    char *cert_path = certificate_path(c, name, "crt"),
         *key_path = certificate_path(c, name, "key");
    FILE *f = fopen(cert_path, "w");
    PEM_write_X509(f, x);
    fclose(f);
    f = fopen(key_path, "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    free(cert_path);
    free(key_path);
}

/* authority.crt, and its key for signing more. */
static void certificates_init(struct certificates *c)
{
    *c = (struct certificates){.directory = "/tmp/certificates-XXXXXX"};
    if (mkdtemp(c->directory) == NULL)
        abort();
    c->authority_key = EVP_EC_gen("P-256");
    c->authority = certificate_new(c, NULL, c->authority_key, 30);
    certificate_write(c, "authority", c->authority, c->authority_key);
}

/* name.crt and name.key. */
static void certificates_issue(struct certificates *c, const char *name, const char *names,
                               bool is_self_signed, long days_left)
{
    X509 *authority = c->authority;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (is_self_signed)
        c->authority = NULL;
    X509 *x = certificate_new(c, names, key, days_left);
    c->authority = authority;
    certificate_write(c, name, x, key);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void certificates_dispose(struct certificates *c)
{
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", c->directory);
    if (system(command) != 0)
        abort();
    X509_free(c->authority);
    EVP_PKEY_free(c->authority_key);
}

#endif
