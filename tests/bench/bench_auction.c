/* One auction of 16 DSPs, two of which bid with 1.5 KB of markup: from create to the BidResponse.
 * Compared with what reading the same answers into jansson's trees alone would cost. */
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "proxy/auction.h"

enum { DSPS = 16, ROUNDS = 20000, BATCHES = 5 };

static uint64_t now(void *ctx)
{
    return 1000000;
}

static int call(void *ctx, uint32_t dsp, uint32_t tmax_ms)
{
    return 0;
}

static void cancel(void *ctx, uint32_t dsp)
{
}

static void timer(void *ctx, uint64_t at_us)
{
}

static void finished(void *ctx)
{
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static char answers[DSPS][4096];

static void write_answers(void)
{
    for (int i = 0; i < DSPS; i++) {
        if (i % 8 != 0) {
            snprintf(answers[i], sizeof(answers[i]), "{\"id\":\"auction-1\",\"nbr\":2}");
            continue;
        }
        char markup[1500];
        memset(markup, 'm', sizeof(markup));
        markup[sizeof(markup) - 1] = '\0';
        snprintf(
            answers[i], sizeof(answers[i]),
            "{\"id\":\"auction-1\",\"bidid\":\"b\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"s\","
            "\"bid\":[{\"id\":\"1\",\"impid\":\"1\",\"price\":%d.25,\"adid\":\"7\",\"nurl\":"
            "\"http://dsp.example/win?p=${AUCTION_PRICE}\",\"adm\":\"<div>%s${AUCTION_PRICE}"
            "</div>\",\"adomain\":[\"shop.example\"],\"cid\":\"c\",\"crid\":\"r\",\"cat\":["
            "\"IAB2\"],\"w\":300,\"h\":250}]}]}",
            1 + i, markup);
    }
}

static void run_auction(const struct bid_request *r, struct arena *arena)
{
    static const struct auction_io io = {now, call, cancel, timer, finished};
    static const struct auction_settings settings = {
        .second_price = true, .currency = "USD", .increment_micros = 10000, .timeout_ms = 100};
    static struct auction_dsp_settings dsps[DSPS];
    static struct decision decisions[DSPS];
    for (int i = 0; i < DSPS; i++) {
        dsps[i] = (struct auction_dsp_settings){.name = "dsp", .timeout_ms = 50};
        decisions[i] = (struct decision){.send = true};
    }
    struct auction *a =
        auction_create(r, &settings, dsps, DSPS, decisions, &io, NULL, 1000000, arena);
    auction_start(a);
    for (uint32_t i = 0; i < DSPS; i++)
        auction_on_answer(a, i, true, 200, bytes_of(answers[i]));
    if (auction_response(a, arena).len == 0)
        abort();
    auction_destroy(a);
}

int main(void)
{
    static const char body[] =
        "{\"id\":\"auction-1\",\"imp\":[{\"id\":\"1\",\"bidfloor\":0.1,\"banner\":{\"w\":300,\"h\":"
        "250}}],\"badv\":[\"a.example\",\"b.example\"],\"bcat\":[\"IAB25\",\"IAB26\"]}";
    struct arena kept = {0}, arena = {0};
    struct bid_request r;
    struct bid_request_error e;
    if (!bid_request_scan(&r, bytes_of(body), 0, &kept, &e))
        return 1;
    write_answers();
    double auction = 1e9, trees = 1e9;
    for (int batch = 0; batch < BATCHES; batch++) {
        double from = seconds();
        for (int i = 0; i < ROUNDS; i++) {
            run_auction(&r, &arena);
            arena_reset(&arena, 1 << 20);
        }
        double middle = seconds();
        for (int i = 0; i < ROUNDS; i++) {
            for (int k = 0; k < DSPS; k++)
                json_decref(json_loads(answers[k], 0, NULL));
        }
        double until = seconds();
        if (middle - from < auction)
            auction = middle - from;
        if (until - middle < trees)
            trees = until - middle;
    }
    printf("{\"bench\":\"auction\",\"dsps\":%d,\"bids\":%d,\"auction_us\":%.2f,\"jansson_load_us\":"
           "%.2f}\n",
           DSPS, DSPS / 8, auction / ROUNDS * 1e6, trees / ROUNDS * 1e6);
    arena_dispose(&arena);
    arena_dispose(&kept);
    return 0;
}
