/* What an auction comes to: who wins, the BidResponse, currencies, reports. */
#include "tests/proxy/auction_fixture.h"

#include <jansson.h>

/* ---- who wins, and the answer ---- */

#define BID(id, imp, price) \
    "{\"id\":\"" id "\",\"impid\":\"" imp "\",\"price\":" price ",\"adm\":\"x\"}"

static const char TWO_IMPS[] =
    "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250},\"bidfloor\":1},"
    "{\"id\":\"2\",\"banner\":{\"w\":300,\"h\":250}}]}";

static void test_several_imps_and_seats(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_request(&f, TWO_IMPS);
    fixture_start(&f);
    /* alpha: two seats; its own second bid on imp 1 does not set its price there. */
    fixture_answer(
        &f, 0, 200,
        "{\"id\":\"r\",\"seatbid\":[{\"seat\":\"s1\",\"bid\":[" BID("a1", "1", "5") "," BID(
            "a2", "1", "4") "]},{\"seat\":\"s2\",\"bid\":[" BID("a3", "2", "3") "]}]}");
    fixture_answer(&f, 1, 200, "{\"id\":\"r\",\"seatbid\":[{\"bid\":[" BID("b", "2", "2") "]}]}");
    assert_int_equal(fixture_dsp(&f, 0)->paid_micros, 1000000 + 2010000);
    assert_int_equal(fixture_dsp(&f, 0)->price_micros, 5000000);
    assert_string_equal(
        fixture_response(&f),
        "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"s1\",\"bid\":[" BID(
            "a1", "1", "1") "]},{\"seat\":\"s2\",\"bid\":[" BID("a3", "2", "2.01") "]}]}");
    fixture_dispose(&f);
}

static void test_one_seat_wins_both_imps(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_request(&f, TWO_IMPS);
    f.settings.second_price = false;
    fixture_start(&f);
    fixture_answer(&f, 0, 200,
                   "{\"id\":\"r\",\"seatbid\":[{\"bid\":[" BID(
                       "a", "1", "2") "]},"
                                      "{\"bid\":[" BID("b", "2", "2.5") "]}]}");
    fixture_answer(&f, 1, 204, "");
    assert_string_equal(
        fixture_response(&f),
        "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"alpha\",\"bid\":[" BID(
            "a", "1", "2") "," BID("b", "2", "2.5") "]}]}");
    fixture_dispose(&f);
}

/* The request's `at` beats the configured type; what is neither 1 nor 2 says nothing. */
static void test_auction_type(void **state)
{
    static const struct {
        const char *at;
        bool second_price;
        int64_t paid;
    } rows[] = {{"1", true, 5000000},   {"2", false, 3010000}, {"0", true, 3010000},
                {"0", false, 5000000},  {"3", true, 3010000},  {"500", false, 5000000},
                {"null", true, 3010000}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 2);
        snprintf(
            body, sizeof(body),
            "{\"id\":\"r\",\"at\":%s,\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}",
            rows[i].at);
        fixture_request(&f, body);
        f.settings.second_price = rows[i].second_price;
        fixture_start(&f);
        fixture_bid(&f, 0, "1", "5.00");
        fixture_bid(&f, 1, "1", "3.00");
        if (fixture_dsp(&f, 0)->paid_micros != rows[i].paid)
            fail_msg("at %s: paid %lld", rows[i].at, (long long)fixture_dsp(&f, 0)->paid_micros);
        fixture_dispose(&f);
    }
}

/* The same bids in the same auction always go to the same DSP, whoever answers first; over many
 * auctions each wins about half. */
static void test_ties_are_fair_and_repeatable(void **state)
{
    int won[2] = {0, 0};
    for (int i = 0; i < 2000; i++) {
        bool first_won[2];
        for (int order = 0; order < 2; order++) {
            struct fixture f;
            char request[256], body[256]; /* the request is borrowed */
            fixture_init(&f, 2);
            snprintf(request, sizeof(request),
                     "{\"id\":\"r%d\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}",
                     i);
            fixture_request(&f, request);
            fixture_start(&f);
            snprintf(body, sizeof(body), "{\"id\":\"r%d\",\"seatbid\":[{\"bid\":[%s]}]}", i,
                     BID("b", "1", "2"));
            fixture_answer(&f, (uint32_t)order, 200, body);
            fixture_answer(&f, (uint32_t)!order, 200, body);
            first_won[order] = fixture_dsp(&f, 0)->won;
            won[order] += first_won[order];
            fixture_dispose(&f);
        }
        assert_int_equal(first_won[0], first_won[1]);
    }
    assert_in_range(won[0], 850, 1150);
}

static const char DEALS[] =
    "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250},\"bidfloor\":1,\"pmp\":{"
    "\"deals\":["
    "{\"id\":\"first\",\"bidfloor\":2,\"at\":1},{\"id\":\"second\",\"bidfloor\":2,\"at\":2},"
    "{\"id\":\"agreed\",\"bidfloor\":2,\"at\":3},{\"id\":\"plain\"}]}}]}";

static void test_deals_have_their_own_price(void **state)
{
    static const struct {
        const char *deal;
        bool deals_first;
        const char *rival; /* price of beta's open bid */
        bool wins;
        int64_t paid;
    } rows[] = {
        {"first", false, "3", true, 5000000},   {"second", false, "3", true, 3010000},
        {"agreed", false, "3", true, 2000000},  {"plain", false, "3", true, 3010000},
        {"plain", false, NULL, true, 1000000}, /* the imp's floor, for want of its own */
        {"second", false, NULL, true, 2000000}, {"second", false, "6", false, 0},
        {"second", true, "6", true, 2000000},   {"first", true, "6", true, 5000000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 2);
        fixture_request(&f, DEALS);
        f.settings.deals_first = rows[i].deals_first;
        fixture_start(&f);
        snprintf(body, sizeof(body),
                 "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"id\":\"a\",\"impid\":\"1\",\"price\":5,"
                 "\"dealid\":\"%s\",\"adm\":\"x\"}]}]}",
                 rows[i].deal);
        fixture_answer(&f, 0, 200, body);
        if (rows[i].rival != NULL)
            fixture_bid(&f, 1, "1", rows[i].rival);
        else
            fixture_answer(&f, 1, 204, "");
        const struct auction_dsp *d = fixture_dsp(&f, 0);
        if (d->won != rows[i].wins || d->paid_micros != rows[i].paid)
            fail_msg("row %zu: won %d, paid %lld", i, d->won, (long long)d->paid_micros);
        fixture_dispose(&f);
    }
}

/* "group":1 wins all of its imps or none. */
static void test_groups(void **state)
{
#define GROUP(bids) "{\"id\":\"r\",\"seatbid\":[{\"group\":1,\"bid\":[" bids "]}]}"
    static const struct {
        const char *alpha, *beta;
        int won; /* imps alpha wins */
    } rows[] = {
        {GROUP(BID("a", "1", "5") "," BID("b", "2", "5")), BID("c", "1", "4"), 2},
        {GROUP(BID("a", "1", "5") "," BID("b", "2", "5")), BID("c", "1", "6"), 0},
        {GROUP(BID("a", "1", "5") "," BID("b", "1", "4")), BID("c", "1", "2"), 1},
        {GROUP(BID("a", "1", "5") "," BID("b", "9", "4")), BID("c", "2", "2"), 0},
        {GROUP(BID("a", "1", "5")), BID("c", "2", "2"), 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 2);
        fixture_request(&f, TWO_IMPS);
        fixture_start(&f);
        fixture_answer(&f, 0, 200, rows[i].alpha);
        snprintf(body, sizeof(body), "{\"id\":\"r\",\"seatbid\":[{\"bid\":[%s]}]}", rows[i].beta);
        fixture_answer(&f, 1, 200, body);
        int won = 0;
        const char *at = fixture_response(&f);
        const char *alpha = strstr(at, "\"seat\":\"alpha\""),
                   *beta = strstr(at, "\"seat\":\"beta\"");
        for (const char *p = alpha; p != NULL && (p = strstr(p + 1, "\"impid\"")) != NULL;)
            won += beta == NULL || beta < alpha || p < beta;
        if (won != rows[i].won)
            fail_msg("row %zu: %d, %s", i, won, at);
        assert_int_equal(fixture_dsp(&f, 0)->won, rows[i].won > 0);
        fixture_dispose(&f);
    }
}

/* Two groups that block each other: one gives way, and the auction ends. */
static void test_groups_that_cross(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_request(&f, TWO_IMPS);
    fixture_start(&f);
    fixture_answer(&f, 0, 200, GROUP(BID("a", "1", "5") "," BID("b", "2", "2")));
    fixture_answer(&f, 1, 200, GROUP(BID("c", "1", "3") "," BID("d", "2", "4")));
    /* alpha would win imp 1 for 3.01, beta imp 2 for 2.01: beta's part is worth less. */
    assert_true(fixture_dsp(&f, 0)->won);
    assert_false(fixture_dsp(&f, 1)->won);
    assert_int_equal(fixture_dsp(&f, 0)->paid_micros, 1000000 + 10000);
    fixture_dispose(&f);
}

/* Unknown members, numbers and escapes go through as the DSP wrote them. */
static void test_response_passes_bids_on(void **state)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_request(
        &f,
        "{\"id\":\"r\\\"\\u00e9\\n\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}");
    fixture_start(&f);
    fixture_answer(
        &f, 0, 200,
        "{\"seatbid\":[{\"bid\":[ { \"ext\" : {\"big\":18446744073709551615,\"f\":0.10, \"x\" : [ ]"
        "} ,\"pri\\u0063e\":1.50,\"id\":\"a\",\"impid\":\"1\",\"adm\":\"<\\/b>\\u00e9\","
        "\"nurl\":\"http://x/?p=${AUCTION_PRICE}&b=${AUCTION_BID_ID}\",\"iurl\":\"${AUCTION_ID}\""
        "}]}],\"bidid\":\"B\",\"id\":\"r\\\"\xc3\xa9\\n\"}");
    assert_string_equal(
        fixture_response(&f),
        "{\"id\":\"r\\\"\xc3\xa9\\n\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"alpha\",\"bid\":[{"
        "\"ext\":{\"big\":18446744073709551615,\"f\":0.10, \"x\" : [ ]},\"pri\\u0063e\":0.01,"
        "\"id\":\"a\",\"impid\":\"1\",\"adm\":\"<\\/b>\\u00e9\","
        "\"nurl\":\"http://x/?p=0.01&b=B\",\"iurl\":\"${AUCTION_ID}\"}]}]}");
    fixture_dispose(&f);
}

static void test_response_is_json_whatever_is_in_it(void **state)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_start(&f);
    fixture_answer(
        &f, 0, 200,
        "{\"id\":\"r\",\"bidid\":\"\\\"\\\\\\u0001\",\"seatbid\":[{\"seat\":\"\\\"q\","
        "\"bid\":[{\"id\":\"a\",\"impid\":\"1\",\"price\":1,\"adm\":\"\\\"\\u0000\\ud83d"
        "\\ude00${AUCTION_BID_ID}\\\\\",\"n\":null,\"burl\":\"${AUCTION_SEAT_ID}\"}]}]}");
    struct bytes out = auction_response(f.auction, &f.arena);
    json_t *root = json_loadb(out.base, out.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    json_t *seatbid = json_array_get(json_object_get(root, "seatbid"), 0);
    json_t *bid = json_array_get(json_object_get(seatbid, "bid"), 0);
    json_t *adm = json_object_get(bid, "adm");
    assert_string_equal(json_string_value(json_object_get(seatbid, "seat")), "\"q");
    assert_int_equal(json_string_length(adm), 1 + 1 + 4 + 3 + 1);
    assert_memory_equal(json_string_value(adm), "\"\0\xf0\x9f\x98\x80\"\\\x01\\", 10);
    assert_string_equal(json_string_value(json_object_get(bid, "burl")), "\"q");
    json_decref(root);
    fixture_dispose(&f);
}

/* ---- currencies ---- */

static struct currency_rates *rates(const char *text)
{
    char path[] = "/tmp/bidsieve-auction-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs(text, file);
    fclose(file);
    struct error err;
    struct currency_rates *c = currency_load(path, &err);
    remove(path);
    assert_non_null(c);
    return c;
}

static void test_auction_currency(void **state)
{
    static const struct {
        const char *cur;
        bool with_rates;
        const char *expect;
    } rows[] = {
        {"[]", true, "USD"},
        {"[\"EUR\",\"USD\"]", true, "USD"},
        {"[\"EUR\"]", true, "EUR"},
        {"[\"CHF\",\"EUR\"]", true, "EUR"},
        {"[\"CHF\",\"SEK\"]", true, "CHF"},
        {"[\"eur\"]", true, "EUR"},
        {"[\"EUR\"]", false, "EUR"},
    };
    struct currency_rates *c = rates("{\"base\":\"EUR\",\"rates\":{\"USD\":1.25}}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 0);
        snprintf(
            body, sizeof(body),
            "{\"id\":\"r\",\"cur\":%s,\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}",
            rows[i].cur);
        fixture_request(&f, body);
        f.settings.rates = rows[i].with_rates ? c : NULL;
        fixture_start(&f);
        if (!bytes_is(auction_currency(f.auction), rows[i].expect))
            fail_msg("%s: %s", rows[i].cur, auction_currency(f.auction).base);
        fixture_dispose(&f);
    }
    currency_destroy(c);
}

static void test_currencies_are_compared_and_converted(void **state)
{
    struct currency_rates *c = rates("{\"base\":\"EUR\",\"rates\":{\"USD\":1.25}}");
    struct fixture f;
    fixture_init(&f, 2);
    fixture_request(&f,
                    "{\"id\":\"r\",\"cur\":[\"USD\",\"EUR\"],\"imp\":[{\"id\":\"1\","
                    "\"banner\":{\"w\":300,\"h\":250},\"bidfloor\":1,\"bidfloorcur\":\"EUR\"}]}");
    f.settings.rates = c;
    fixture_start(&f);
    /* 4 EUR = 5 USD beats 4.50 USD, pays 4.51 USD = 3.608 EUR. */
    fixture_answer(&f, 0, 200,
                   "{\"id\":\"r\",\"cur\":\"EUR\",\"seatbid\":[{\"bid\":[{\"id\":\"a\",\"impid\":"
                   "\"1\",\"price\":4,\"adm\":\"${AUCTION_PRICE} ${AUCTION_CURRENCY} "
                   "${AUCTION_MBR} ${AUCTION_MIN_TO_WIN}\"}]}]}");
    fixture_bid(&f, 1, "1", "4.50");
    assert_int_equal(fixture_dsp(&f, 0)->price_micros, 5000000);
    assert_int_equal(fixture_dsp(&f, 0)->paid_micros, 4510000);
    assert_string_equal(
        fixture_response(&f),
        "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"alpha\",\"bid\":[{"
        "\"id\":\"a\",\"impid\":\"1\",\"price\":4.51,\"adm\":\"3.608 EUR 0.902 3.6\""
        "}]}]}");
    fixture_dispose(&f);
    currency_destroy(c);
}

/* ---- reports ---- */

struct report {
    char text[2048];
    size_t len;
};

static void report_loss(void *ctx, const struct auction_loss *l)
{
    struct report *r = ctx;
    r->len += (size_t)snprintf(
        r->text + r->len, sizeof(r->text) - r->len, "%u/%.*s/%.*s %s %d %.*s;", l->dsp,
        (int)l->imp_id.len, l->imp_id.base, (int)l->bid_id.len, l->bid_id.base,
        bid_refusal_name(l->refusal), l->loss_code, (int)l->lurl.len, l->lurl.base);
}

static void report_notice(void *ctx, const struct auction_notice *n)
{
    struct report *r = ctx;
    r->len += (size_t)snprintf(r->text + r->len, sizeof(r->text) - r->len, "%u/%.*s n:%.*s b:%.*s;",
                               n->dsp, (int)n->imp_id.len, n->imp_id.base, (int)n->nurl.len,
                               n->nurl.base, (int)n->burl.len, n->burl.base);
}

#define LURL ",\"lurl\":\"l?${AUCTION_LOSS}&p=${AUCTION_PRICE}&m=${AUCTION_MIN_TO_WIN}\""

static void test_losses(void **state)
{
    struct fixture f;
    struct report r = {.len = 0};
    fixture_init(&f, 3);
    fixture_request(&f, DEALS);
    fixture_start(&f);
    fixture_answer(&f, 0, 200,
                   "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"id\":\"a\",\"impid\":\"1\",\"price\":5,"
                   "\"adm\":\"x\"" LURL
                   "},{\"id\":\"b\",\"impid\":\"1\",\"price\":4,\"adm\":\"x\"" LURL "}]}]}");
    fixture_answer(&f, 1, 200,
                   "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"id\":\"c\",\"impid\":\"1\",\"price\":3,"
                   "\"adm\":\"x\"" LURL
                   "},{\"id\":\"d\",\"impid\":\"1\",\"price\":0.5,\"adm\":\"x\"" LURL
                   "},{\"id\":\"e\",\"impid\":\"1\",\"dealid\":\"first\",\"price\":1.5,"
                   "\"adm\":\"x\"},{\"id\":\"f\",\"impid\":\"7\",\"price\":1.5,\"adm\":\"x\"}]}]}");
    fixture_answer(&f, 2, 200, "[");
    auction_losses(f.auction, &f.arena, report_loss, &r);
    assert_string_equal(r.text, "0/1/b valid 102 l?102&p=&m=;"
                                "1/1/c valid 102 l?102&p=&m=3.01;"
                                "1/1/d below_floor 100 l?100&p=&m=;"
                                "1/1/e below_floor 101 ;"
                                "1/7/f unknown_imp 3 ;");
    fixture_dispose(&f);
}

static void test_notices(void **state)
{
    for (int fired = 0; fired < 2; fired++) {
        struct fixture f;
        struct report r = {.len = 0};
        fixture_init(&f, 1);
        fixture_request(&f, TWO_IMPS);
        f.settings.fire_notices = fired;
        fixture_start(&f);
        fixture_answer(
            &f, 0, 200,
            "{\"id\":\"r\",\"seatbid\":[{\"bid\":[{\"nurl\":\"n${AUCTION_PRICE}\",\"id\":\"a\","
            "\"impid\":\"1\",\"price\":5,\"adm\":\"x\",\"burl\":\"b${AUCTION_LOSS}"
            "${AUCTION_IMP_TS}\"},{\"nurl\":\"m\",\"id\":\"b\",\"impid\":\"2\",\"price\":5}]}]}");
        auction_notices(f.auction, &f.arena, report_notice, &r);
        assert_string_equal(r.text, "0/1 n:n1 b:b0;");
        /* What we fire is not passed on, or it would be fired twice; a win notice that brings the
         * markup is the caller's to call. */
        assert_string_equal(
            fixture_response(&f),
            fired
                ? "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"alpha\",\"bid\":[{"
                  "\"id\":\"a\",\"impid\":\"1\",\"price\":1,\"adm\":\"x\"},{\"nurl\":\"m\",\"id\":"
                  "\"b\",\"impid\":\"2\",\"price\":0.01}]}]}"
                : "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"alpha\",\"bid\":[{"
                  "\"nurl\":\"n1\",\"id\":\"a\",\"impid\":\"1\",\"price\":1,\"adm\":\"x\",\"burl\":"
                  "\"b0${AUCTION_IMP_TS}\"},{\"nurl\":\"m\",\"id\":\"b\",\"impid\":\"2\","
                  "\"price\":0.01}]}]}");
        fixture_dispose(&f);
    }
}

static void test_seatnonbid(void **state)
{
    struct fixture f;
    fixture_init(&f, 8);
    fixture_request(&f, TWO_IMPS);
    f.decisions[0] = (struct decision){.why = WHY_BELOW_THRESHOLD};
    f.refuse[1] = WHY_QPS;
    f.decisions[2] = (struct decision){.why = WHY_RULE_FIRST + RULE_MEDIA};
    f.dsps[7].secondary = true;
    fixture_start(&f);
    fixture_answer(&f, 3, 200, "{\"id\":\"r\",\"nbr\":8}");
    fixture_answer(&f, 4, 500, "");
    fixture_answer(&f, 5, 200,
                   "{\"id\":\"r\",\"seatbid\":[{\"bid\":[" BID("a", "1", "5") "," BID(
                       "b", "2", "1") "," BID("c", "1", "0.5") "]}]}");
    fixture_answer(&f, 6, 200, "{\"id\":\"r\",\"seatbid\":[{\"bid\":[" BID("d", "2", "2") "]}]}");
    struct bytes list = auction_seatnonbid(f.auction, &f.arena);
#define BOTH(seat, code)                                                       \
    "{\"seat\":\"" seat "\",\"nonbid\":[{\"impid\":\"1\",\"statuscode\":" code \
    "},{\"impid\":\"2\",\"statuscode\":" code "}]}"
    assert_string_equal(
        fixture_text(&f, list),
        "[" BOTH("alpha", "203") "," BOTH("beta", "510") "," BOTH("gamma", "202") "," BOTH(
            "delta", "8") "," BOTH("epsilon", "100") ","
                                                     "{\"seat\":\"zeta\",\"nonbid\":[{\"impid\":"
                                                     "\"2\",\"statuscode\":500},"
                                                     "{\"impid\":\"1\",\"statuscode\":301}]},"
                                                     "{\"seat\":\"eta\",\"nonbid\":[{\"impid\":"
                                                     "\"1\",\"statuscode\":0}]}," BOTH("theta",
                                                                                       "514") "]");
    fixture_dispose(&f);
}

static void test_response_ext_without_a_bid(void **state)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_start(&f);
    fixture_fire(&f);
    assert_string_equal(
        fixture_text(&f, auction_response_ext(f.auction, bytes_of("{\"x\":1}"), &f.arena)),
        "{\"id\":\"r\",\"cur\":\"USD\",\"nbr\":500,\"ext\":{\"x\":1}}");
    assert_string_equal(fixture_text(&f, auction_seatnonbid(f.auction, &f.arena)),
                        "[{\"seat\":\"alpha\",\"nonbid\":[{\"impid\":\"1\",\"statuscode\":101}]}]");
    fixture_dispose(&f);
}

static void test_paid_and_nbr(void **state)
{
    struct fixture f;
    fixture_init(&f, 2);
    fixture_request(&f, TWO_IMPS);
    f.decisions[0].send = false;
    f.dsps[0].disabled = true;
    fixture_start(&f);
    assert_int_equal(f.n_calls, 1);
    fixture_answer(&f, 1, 200, "{\"id\":\"r\",\"seatbid\":[{\"bid\":[" BID("b", "2", "1.5") "]}]}");
    assert_int_equal(auction_paid(f.auction, 0), -1);
    assert_true(auction_paid(f.auction, 1) > 0);
    /* No reason is given for a DSP that is switched off. */
    assert_string_equal(fixture_text(&f, auction_seatnonbid(f.auction, &f.arena)),
                        "[{\"seat\":\"beta\",\"nonbid\":[{\"impid\":\"1\",\"statuscode\":0}]}]");
    fixture_dispose(&f);

    fixture_init(&f, 1);
    f.decisions[0] = (struct decision){.why = WHY_BELOW_THRESHOLD};
    fixture_start(&f);
    assert_int_equal(auction_nbr(f.auction), 501);
    fixture_dispose(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_imps_and_seats),
        cmocka_unit_test(test_paid_and_nbr),
        cmocka_unit_test(test_one_seat_wins_both_imps),
        cmocka_unit_test(test_auction_type),
        cmocka_unit_test(test_ties_are_fair_and_repeatable),
        cmocka_unit_test(test_deals_have_their_own_price),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_groups_that_cross),
        cmocka_unit_test(test_response_passes_bids_on),
        cmocka_unit_test(test_response_is_json_whatever_is_in_it),
        cmocka_unit_test(test_auction_currency),
        cmocka_unit_test(test_currencies_are_compared_and_converted),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_notices),
        cmocka_unit_test(test_seatnonbid),
        cmocka_unit_test(test_response_ext_without_a_bid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
