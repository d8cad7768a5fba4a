/* Any bytes as one DSP's answer: through the auction, and out again as BidResponse, seatnonbid,
 * losses and notices, all of which must be JSON, or done without a crash. */
#include "filter/json.h"
#include "proxy/auction.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char REQUEST[] =
    "{\"id\":\"r\",\"at\":2,\"cur\":[\"USD\",\"EUR\"],\"badv\":[\"bad.com\"],\"bcat\":[\"IAB25\"],"
    "\"bseat\":[\"blocked\"],\"imp\":[{\"id\":\"1\",\"bidfloor\":0.5,\"banner\":{\"format\":[{"
    "\"w\":"
    "300,\"h\":250},{\"w\":728,\"h\":90}]},\"pmp\":{\"deals\":[{\"id\":\"d\",\"at\":3,\"bidfloor\":"
    "1,"
    "\"wseat\":[\"s\"],\"wadomain\":[\"good.com\"]}]}},{\"id\":\"2\",\"video\":{\"mimes\":["
    "\"video/mp4\"]}},{\"id\":\"3\",\"banner\":{\"w\":320,\"h\":480}}]}";

/* Another DSP's bids, so that there is something to lose against. */
static const char RIVAL[] = "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"id\":\"x\",\"impid\":\"1\","
                            "\"price\":1.5,\"adm\":\"a\"},"
                            "{\"id\":\"y\",\"impid\":\"2\",\"price\":1.5,\"adm\":\"a\"}]}]}";

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
    abort(); /* both have answered */
}

static void timer(void *ctx, uint64_t at_us)
{
}

static void finished(void *ctx)
{
    *(bool *)ctx = true;
}

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void require_json(struct bytes text)
{
    struct json j;
    json_begin(&j, text);
    require(json_skip(&j, NULL) && json_finish(&j));
}

static void take_loss(void *ctx, const struct auction_loss *l)
{
    require(l->loss_code != 0);
}

static void take_notice(void *ctx, const struct auction_notice *n)
{
    require(n->nurl.len > 0 || n->burl.len > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct auction_settings settings = {
        .second_price = true, .currency = "USD", .increment_micros = 10000, .timeout_ms = 100};
    static const struct auction_dsp_settings dsps[2] = {{.name = "alpha", .timeout_ms = 50},
                                                        {.name = "beta", .timeout_ms = 50}};
    static const struct decision decisions[2] = {{.send = true}, {.send = true}};
    static const struct auction_io io = {now, call, cancel, timer, finished};
    struct arena arena = {0};
    struct bid_request request;
    struct bid_request_error e;
    bool ended = false;
    require(bid_request_scan(&request, bytes_of(REQUEST), 0, &arena, &e));
    struct auction *a =
        auction_create(&request, &settings, dsps, 2, decisions, &io, &ended, 1000000, &arena);
    auction_start(a);
    auction_on_answer(a, 0, true, 200, (struct bytes){(const char *)data, size});
    auction_on_answer(a, 1, true, 200, bytes_of(RIVAL));
    require(ended);
    for (uint32_t i = 0; i < 2; i++) {
        const struct auction_dsp *d = auction_dsp(a, i);
        require(d->paid_micros <= d->price_micros * 3);
        require(d->won == (d->paid_micros > 0));
    }
    struct bytes response = auction_response(a, &arena);
    require(response.len > 0); /* the rival wins at least what the other does not */
    require_json(response);
    require_json(auction_seatnonbid(a, &arena));
    auction_losses(a, &arena, take_loss, NULL);
    auction_notices(a, &arena, take_notice, NULL);
    auction_destroy(a);
    arena_dispose(&arena);
    return 0;
}
