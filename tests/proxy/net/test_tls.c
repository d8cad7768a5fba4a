/* TLS on both sides: our server and our client on one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/net/certificates.h"
#include "proxy/net/dsp_client.h"
#include "proxy/net/raw_server.h"
#include "proxy/net/server.h"

enum { GUARD_US = 20000000, LARGE = 900000 };

struct pair {
    struct loop *loop;
    struct server *server;
    struct dsp_client *client;
    struct payload *payload;
    struct timer guard;
    int n_done, n_expected;
    bool is_guarded;
    enum dsp_result result;
    size_t body_len;
};

static struct certificates certs;

static void on_guard(void *ctx)
{
    ((struct pair *)ctx)->is_guarded = true;
    loop_stop(((struct pair *)ctx)->loop);
}

static void echo(void *ctx, struct exchange *e)
{
    exchange_respond(e, 200, NULL, 0, exchange_body(e));
}

static void pair_open(struct pair *p, const char *certificate, const char *host, bool verify,
                      const char *authority)
{
    struct error err = {""};
    memset(p, 0, sizeof(*p));
    p->loop = loop_create(&err);
    char *cert = certificate_path(&certs, certificate, "crt"),
         *key = certificate_path(&certs, certificate, "key"),
         *ca = certificate_path(&certs, authority, "crt"), url[64];
    struct server_options so = {.host = "127.0.0.1",
                                .connections_max = 100,
                                .body_bytes_max = 2 * LARGE,
                                .idle_timeout_ms = 10000,
                                .write_timeout_ms = 10000,
                                .tls_certificate = cert,
                                .tls_key = key};
    p->server = server_create(p->loop, &so, echo, p, &err);
    if (p->server == NULL)
        fail_msg("%s", err.text);
    snprintf(url, sizeof(url), "https://%s:%u/bid", host, server_port(p->server));
    struct dsp_client_options o;
    dsp_client_options_default(&o);
    o.url = url;
    o.tls_verify = verify;
    o.tls_ca_file = ca;
    p->client = dsp_client_create(p->loop, &o, &err);
    if (p->client == NULL)
        fail_msg("%s", err.text);
    p->payload = payload_create(bytes_of("before "), bytes_of(" after"));
    timer_set(p->loop, &p->guard, loop_now_us() + GUARD_US, on_guard, p);
    free(cert);
    free(key);
    free(ca);
}

static void pair_close(struct pair *p)
{
    timer_clear(p->loop, &p->guard);
    dsp_client_destroy(p->client);
    server_destroy(p->server);
    payload_release(p->payload);
    loop_destroy(p->loop);
}

static void on_call(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct pair *p = ctx;
    p->result = result;
    p->body_len = body.len;
    if (result == DSP_CALL_OK && body.len < 100)
        assert_true(bytes_is(body, "before 1 after"));
    if (++p->n_done == p->n_expected)
        loop_stop(p->loop);
}

static enum dsp_result pair_call(struct pair *p, int times)
{
    p->n_expected = p->n_done + times;
    for (int i = 0; i < times; i++)
        dsp_client_call(p->client, p->payload, bytes_of("1"), bytes_of(""), on_call, p);
    loop_run(p->loop);
    if (p->is_guarded)
        fail_msg("still waiting for an answer");
    return p->result;
}

static void test_verification(void **state)
{
    static const struct {
        const char *certificate, *host;
        bool verify;
        const char *authority;
        enum dsp_result result;
    } cases[] = {
        {"good", "localhost", true, "authority", DSP_CALL_OK},
        {"good", "127.0.0.1", true, "authority", DSP_CALL_OK},
        {"wrong_name", "localhost", true, "authority", DSP_CALL_CONNECT_FAILED},
        {"wrong_name", "127.0.0.1", true, "authority", DSP_CALL_CONNECT_FAILED},
        {"wrong_name", "localhost", false, "authority", DSP_CALL_OK},
        {"self_signed", "localhost", true, "authority", DSP_CALL_CONNECT_FAILED},
        {"self_signed", "localhost", true, "self_signed", DSP_CALL_OK},
        {"self_signed", "localhost", false, "authority", DSP_CALL_OK},
        {"expired", "localhost", true, "authority", DSP_CALL_CONNECT_FAILED},
        {"good", "localhost", true, "self_signed", DSP_CALL_CONNECT_FAILED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair p;
        pair_open(&p, cases[i].certificate, cases[i].host, cases[i].verify, cases[i].authority);
        enum dsp_result result = pair_call(&p, 1);
        if (result != cases[i].result)
            fail_msg("case %zu: %s", i, dsp_result_name(result));
        pair_close(&p);
    }
}

/* Loaded once and given to each client, which needs it no longer than it takes to make it. */
static void test_trust_is_shared(void **state)
{
    struct error err = {""};
    assert_null(tls_trust_load("/does/not/exist.pem", &err));
    assert_non_null(strstr(err.text, "/does/not/exist.pem"));
    tls_trust_destroy(NULL);
    static const char *const authorities[] = {"authority", "self_signed"};
    for (int i = 0; i < 2; i++) {
        char *ca = certificate_path(&certs, authorities[i], "crt");
        struct tls_trust *trust = tls_trust_load(ca, &err);
        assert_non_null(trust);
        struct pair p;
        char url[64];
        pair_open(&p, "good", "localhost", true, "authority");
        snprintf(url, sizeof(url), "https://localhost:%u/bid", server_port(p.server));
        dsp_client_destroy(p.client);
        struct dsp_client_options o;
        dsp_client_options_default(&o);
        o.url = url;
        o.tls_ca_file = "/does/not/exist.pem"; /* never looked at */
        o.tls_trust = trust;
        p.client = dsp_client_create(p.loop, &o, &err);
        assert_non_null(p.client);
        tls_trust_destroy(trust);
        assert_int_equal(pair_call(&p, 3), i == 0 ? DSP_CALL_OK : DSP_CALL_CONNECT_FAILED);
        pair_close(&p);
        free(ca);
    }
}

/* One handshake for many calls; bodies of many records both ways. */
static void test_connections_survive_and_carry_much(void **state)
{
    struct pair p;
    struct dsp_client_stats s;
    pair_open(&p, "good", "localhost", true, "authority");
    for (int i = 0; i < 50; i++)
        assert_int_equal(pair_call(&p, 1), DSP_CALL_OK);
    dsp_client_stats(p.client, &s);
    assert_int_equal(s.reuses, 49);
    assert_int_equal(pair_call(&p, 20), DSP_CALL_OK); /* the others resume the session */
    char *text = malloc(LARGE);
    memset(text, 'x', LARGE);
    payload_release(p.payload);
    p.payload = payload_create((struct bytes){text, LARGE}, bytes_of(""));
    free(text);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pair_call(&p, 3), DSP_CALL_OK);
        assert_int_equal(p.body_len, LARGE + 1);
    }
    dsp_client_stats(p.client, &s);
    assert_int_equal(s.open, 20);
    assert_int_equal(s.connect_failures, 0);
    pair_close(&p);
}

/* Not TLS at all; closes amid the handshake; an end of the stream that nobody signed. */
static void test_peers_that_speak_no_tls(void **state)
{
    static const struct raw_step plain[] = {SEND("HTTP/1.1 200 OK\r\n\r\n"), HANG};
    static const struct raw_step closes[] = {CLOSE};
    static const struct raw_step resets[] = {PAUSE(2), RESET};
    static const struct raw_step half[] = {SEND("\x16\x03\x03\x00\x7a\x02\x00"), PAUSE(2), CLOSE};
    const struct raw_step *scripts[] = {plain, closes, resets, half};
    for (int i = 0; i < 4; i++) {
        struct raw_server *s = raw_server_start(&scripts[i], 1);
        struct pair p;
        struct error err;
        pair_open(&p, "good", "localhost", true, "authority");
        dsp_client_destroy(p.client);
        struct dsp_client_options o;
        char url[64];
        dsp_client_options_default(&o);
        snprintf(url, sizeof(url), "https://127.0.0.1:%u/", s->port);
        o.url = url;
        o.tls_verify = false;
        p.client = dsp_client_create(p.loop, &o, &err);
        assert_int_equal(pair_call(&p, 1), DSP_CALL_CONNECT_FAILED);
        pair_close(&p);
        raw_server_stop(s);
    }
}

static void test_server_refuses_bad_files(void **state)
{
    struct error err;
    struct loop *l = loop_create(&err);
    char *good = certificate_path(&certs, "good", "crt"),
         *other_key = certificate_path(&certs, "authority", "key");
    struct {
        const char *certificate, *key;
    } cases[] = {{"/does/not/exist", other_key},
                 {good, "/does/not/exist"},
                 {good, other_key},
                 {other_key, good}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server_options o = {.host = "127.0.0.1",
                                   .connections_max = 1,
                                   .tls_certificate = cases[i].certificate,
                                   .tls_key = cases[i].key};
        err.text[0] = '\0';
        assert_null(server_create(l, &o, echo, NULL, &err));
        assert_string_not_equal(err.text, "");
    }
    free(good);
    free(other_key);
    loop_destroy(l);
}

static int set_up(void **state)
{
    certificates_init(&certs);
    certificates_issue(&certs, "good", "DNS:localhost,IP:127.0.0.1", false, 30);
    certificates_issue(&certs, "wrong_name", "DNS:dsp.example,IP:127.0.0.2", false, 30);
    certificates_issue(&certs, "self_signed", "DNS:localhost,IP:127.0.0.1", true, 30);
    certificates_issue(&certs, "expired", "DNS:localhost,IP:127.0.0.1", false, -1);
    return 0;
}

static int tear_down(void **state)
{
    certificates_dispose(&certs);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verification),
        cmocka_unit_test(test_trust_is_shared),
        cmocka_unit_test(test_connections_survive_and_carry_much),
        cmocka_unit_test(test_peers_that_speak_no_tls),
        cmocka_unit_test(test_server_refuses_bad_files),
    };
    return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}
