/* An auction under a fake clock and fake I/O that remembers what it was asked and checks that it is
 * asked nothing out of turn. */
#ifndef TESTS_PROXY_AUCTION_FIXTURE_H
#define TESTS_PROXY_AUCTION_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "filter/bid_request.h"
#include "proxy/auction.h"

enum { FIXTURE_DSPS_MAX = 8 };

struct fixture {
    struct arena arena;
    struct bid_request request;
    struct auction_settings settings;
    struct auction_dsp_settings dsps[FIXTURE_DSPS_MAX];
    struct decision decisions[FIXTURE_DSPS_MAX];
    struct auction_io io;
    struct auction *auction;
    uint64_t now_us, received_us, timer_us;
    uint32_t n_dsps, n_calls, n_cancels, n_finished;
    bool open[FIXTURE_DSPS_MAX]; /* called, neither answered nor cancelled */
    bool cancelled[FIXTURE_DSPS_MAX];
    uint32_t tmax_ms[FIXTURE_DSPS_MAX]; /* 0 = not called */
    int refuse[FIXTURE_DSPS_MAX];       /* what io.call returns */
    bool destroy_when_finished;
};

static inline uint64_t fixture_now(void *ctx)
{
    return ((struct fixture *)ctx)->now_us;
}

static inline int fixture_call(void *ctx, uint32_t dsp, uint32_t tmax_ms)
{
    struct fixture *f = ctx;
    assert_int_equal(f->n_finished, 0);
    assert_int_equal(f->tmax_ms[dsp], 0); /* a DSP is called once */
    assert_true(tmax_ms >= 1);
    if (f->refuse[dsp] != 0)
        return f->refuse[dsp];
    f->tmax_ms[dsp] = tmax_ms;
    f->open[dsp] = true;
    f->n_calls++;
    return 0;
}

static inline void fixture_cancel(void *ctx, uint32_t dsp)
{
    struct fixture *f = ctx;
    assert_int_equal(f->n_finished, 0);
    assert_true(f->open[dsp]); /* only what is open can be cancelled */
    f->open[dsp] = false;
    f->cancelled[dsp] = true;
    f->n_cancels++;
}

static inline void fixture_timer(void *ctx, uint64_t at_us)
{
    struct fixture *f = ctx;
    assert_int_equal(f->n_finished, 0);
    f->timer_us = at_us;
}

static inline void fixture_finished(void *ctx)
{
    struct fixture *f = ctx;
    assert_int_equal(f->timer_us, 0);
    for (uint32_t i = 0; i < f->n_dsps; i++)
        assert_false(f->open[i]);
    f->n_finished++;
    if (f->destroy_when_finished) {
        auction_destroy(f->auction);
        f->auction = NULL;
        arena_dispose(&f->arena); /* a touch of the auction after this is a use after free */
    }
}

/* Two DSPs "alpha", "beta" and so on, all to be called; USD, second price, 100 ms in all. */
static inline void fixture_init(struct fixture *f, uint32_t n_dsps)
{
    static const char *const names[FIXTURE_DSPS_MAX] = {"alpha",   "beta", "gamma", "delta",
                                                        "epsilon", "zeta", "eta",   "theta"};
    *f = (struct fixture){.n_dsps = n_dsps};
    f->settings = (struct auction_settings){.second_price = true,
                                            .currency = "USD",
                                            .increment_micros = 10000,
                                            .timeout_ms = 110,
                                            .network_margin_ms = 10};
    f->io = (struct auction_io){fixture_now, fixture_call, fixture_cancel, fixture_timer,
                                fixture_finished};
    f->now_us = f->received_us = 5000000;
    for (uint32_t i = 0; i < n_dsps; i++) {
        f->dsps[i] = (struct auction_dsp_settings){.name = names[i], .timeout_ms = 100};
        f->decisions[i] = (struct decision){.send = true, .why = WHY_SCORE, .propensity = 1};
    }
}

static inline void fixture_dispose(struct fixture *f)
{
    auction_destroy(f->auction);
    arena_dispose(&f->arena);
}

static inline void fixture_request(struct fixture *f, const char *body)
{
    struct bid_request_error e;
    if (!bid_request_scan(&f->request, bytes_of(body), 0, &f->arena, &e))
        fail_msg("request: %s %s", e.path, e.reason);
}

/* One banner imp "1" without a floor, unless a request was given. */
static inline void fixture_start(struct fixture *f)
{
    if (f->request.n_imps == 0)
        fixture_request(f,
                        "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}");
    f->auction = auction_create(&f->request, &f->settings, f->dsps, f->n_dsps, f->decisions, &f->io,
                                f, f->received_us, &f->arena);
    auction_start(f->auction);
}

/* An answer; the body is freed right after, as it is only borrowed. */
static inline void fixture_answer(struct fixture *f, uint32_t dsp, int status, const char *text)
{
    size_t len = strlen(text);
    char *body = malloc(len + 1);
    memcpy(body, text, len);
    f->open[dsp] = false;
    auction_on_answer(f->auction, dsp, status != 0, status, (struct bytes){body, len});
    free(body);
}

/* A bid for one imp. */
static inline void fixture_bid(struct fixture *f, uint32_t dsp, const char *imp, const char *price)
{
    char body[512];
    snprintf(body, sizeof(body),
             "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"id\":\"b%u\",\"impid\":\"%s\",\"price\":%s,"
             "\"adm\":\"<p>\"}]}]}",
             dsp, imp, price);
    fixture_answer(f, dsp, 200, body);
}

/* Lets the time come when the timer fires. */
static inline void fixture_fire(struct fixture *f)
{
    assert_true(f->timer_us != 0);
    f->now_us = f->timer_us;
    auction_on_timer(f->auction);
}

static inline const struct auction_dsp *fixture_dsp(struct fixture *f, uint32_t dsp)
{
    return auction_dsp(f->auction, dsp);
}

static inline char *fixture_text(struct fixture *f, struct bytes b)
{
    char *s = arena_alloc(&f->arena, b.len + 1);
    if (b.len > 0)
        memcpy(s, b.base, b.len);
    s[b.len] = '\0';
    return s;
}

/* The BidResponse, or "". */
static inline char *fixture_response(struct fixture *f)
{
    return fixture_text(f, auction_response(f->auction, &f->arena));
}

#endif
