/* What is read of a DSP's answer, why bids are refused, and answers that real DSPs gave. */
#include "tests/proxy/auction_fixture.h"

#include <jansson.h>

#include "prng.h"
#include "proxy/bid_response.h"
#include "proxy/block_list.h"
#include "proxy/loss.h"

#define DEFAULT_REQUEST                                                       \
    "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}," \
    "{\"id\":\"2\",\"video\":{\"mimes\":[\"video/mp4\"]}}]}"

/* One bid in one answer, against one request. */
struct row {
    const char *request; /* NULL = DEFAULT_REQUEST */
    const char *head;    /* members of the response, after "id"; may be "" */
    const char *seat;    /* NULL = none */
    const char *bid;     /* its members */
    enum bid_refusal expect;
};

static enum bid_refusal judge(const struct row *row, struct currency_rates *rates)
{
    struct fixture f;
    char body[2048];
    fixture_init(&f, 1);
    f.settings.rates = rates;
    fixture_request(&f, row->request != NULL ? row->request : DEFAULT_REQUEST);
    fixture_start(&f);
    snprintf(body, sizeof(body), "{\"id\":\"r\"%s,\"seatbid\":[{%s%s%s\"bid\":[{%s}]}]}", row->head,
             row->seat != NULL ? "\"seat\":\"" : "", row->seat != NULL ? row->seat : "",
             row->seat != NULL ? "\"," : "", row->bid);
    fixture_answer(&f, 0, 200, body);
    const struct auction_dsp *d = fixture_dsp(&f, 0);
    enum bid_refusal found = BID_VALID;
    uint32_t n = 0;
    for (uint32_t i = 1; i < BID_REFUSALS; i++) {
        n += d->refused[i];
        if (d->refused[i] > 0)
            found = (enum bid_refusal)i;
    }
    assert_int_equal(n + d->n_bids, 1);
    assert_int_equal(d->outcome, found == BID_VALID ? OUTCOME_BID : OUTCOME_INVALID);
    fixture_dispose(&f);
    return found;
}

static void check_rows(const struct row *rows, size_t n, struct currency_rates *rates)
{
    for (size_t i = 0; i < n; i++) {
        enum bid_refusal found = judge(&rows[i], rates);
        if (found != rows[i].expect)
            fail_msg("row %zu: {%s} %s: %s, not %s", i, rows[i].bid,
                     rows[i].request != NULL ? rows[i].request : "", bid_refusal_name(found),
                     bid_refusal_name(rows[i].expect));
    }
}

#define IMP(more) "{\"id\":\"r\",\"imp\":[{\"id\":\"1\"," more "}]}"
#define REQ(more) \
    "{\"id\":\"r\"," more ",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}]}"
#define B "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"adm\":\"x\""

static void test_what_a_bid_must_have(void **state)
{
    static const struct row rows[] = {
        {NULL, "", NULL, B, BID_VALID},
        {NULL, "", NULL, "", BID_NO_ID},
        {NULL, "", NULL, "\"id\":\"\",\"impid\":\"1\",\"price\":1,\"adm\":\"x\"", BID_NO_ID},
        {NULL, "", NULL, "\"id\":7,\"impid\":\"1\",\"price\":1,\"adm\":\"x\"", BID_NO_ID},
        {NULL, "", NULL, "\"id\":\"b\",\"price\":1,\"adm\":\"x\"", BID_UNKNOWN_IMP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"3\",\"price\":1,\"adm\":\"x\"", BID_UNKNOWN_IMP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"\",\"price\":1,\"adm\":\"x\"", BID_UNKNOWN_IMP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":1,\"price\":1,\"adm\":\"x\"", BID_UNKNOWN_IMP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"\\u0031\",\"price\":1,\"adm\":\"x\"", BID_VALID},
        {NULL, "", NULL, "\"\\u0069d\":\"b\",\"impid\":\"1\",\"price\":1,\"adm\":\"x\"", BID_VALID},
        {NULL, "", NULL, B ",\"price\":2", BID_NOT_JSON},
        {NULL, "", NULL, B ",\"pri\\u0063e\":2", BID_NOT_JSON},
        {NULL, "", NULL, B ",\"ext\":1,\"ext\":2", BID_VALID},
        /* markup */
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1", BID_NO_MARKUP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"adm\":\"\"", BID_NO_MARKUP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"adm\":7", BID_NO_MARKUP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"adm\":{}", BID_NO_MARKUP},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"nurl\":\"u\"", BID_VALID},
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"nurl\":\"u\",\"mtype\":4",
         BID_BAD_MEDIA},
        {IMP("\"native\":{\"request\":\"{\\\"assets\\\":[{\\\"id\\\":1,\\\"title\\\":{\\\"len\\\":"
             "9}"
             "}]}\"}"),
         "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"price\":1,\"adm\":{\"assets\":[]}", BID_VALID},
    };
    check_rows(rows, sizeof(rows) / sizeof(rows[0]), NULL);
}

static void test_prices(void **state)
{
#define P(price) "\"id\":\"b\",\"impid\":\"1\",\"adm\":\"x\",\"price\":" price
    static const struct row rows[] = {
        {NULL, "", NULL, "\"id\":\"b\",\"impid\":\"1\",\"adm\":\"x\"", BID_BAD_PRICE},
        {NULL, "", NULL, P("0"), BID_BAD_PRICE},
        {NULL, "", NULL, P("-0.0"), BID_BAD_PRICE},
        {NULL, "", NULL, P("-1"), BID_BAD_PRICE},
        {NULL, "", NULL, P("\"1\""), BID_BAD_PRICE},
        {NULL, "", NULL, P("null"), BID_BAD_PRICE},
        {NULL, "", NULL, P("true"), BID_BAD_PRICE},
        {NULL, "", NULL, P("[1]"), BID_BAD_PRICE},
        {NULL, "", NULL, P("1e999"), BID_BAD_PRICE},
        {NULL, "", NULL, P("9000000.000001"), BID_BAD_PRICE},
        {NULL, "", NULL, P("9000000"), BID_VALID},
        {NULL, "", NULL, P("0.0000001"), BID_BAD_PRICE},
        {NULL, "", NULL, P("1e-6"), BID_VALID},
        {NULL, "", NULL, P("1.5E+0"), BID_VALID},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":0.35"), "", NULL, P("0.35"), BID_VALID},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":0.35"), "", NULL, P("0.349999"),
         BID_BELOW_FLOOR},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":0.1"), "", NULL, P("0.1000000"), BID_VALID},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":2,\"pmp\":{\"deals\":[{\"id\":\"d\","
             "\"bidfloor\":1}]}"),
         "", NULL, P("1.5,\"dealid\":\"d\""), BID_VALID},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":1,\"pmp\":{\"deals\":[{\"id\":\"d\","
             "\"bidfloor\":2}]}"),
         "", NULL, P("1.5,\"dealid\":\"d\""), BID_BELOW_FLOOR},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":1,\"pmp\":{\"deals\":[{\"id\":\"d\"}]}"),
         "", NULL, P("0.5,\"dealid\":\"d\""), BID_BELOW_FLOOR},
    };
    check_rows(rows, sizeof(rows) / sizeof(rows[0]), NULL);
}

static void test_currencies(void **state)
{
    char path[] = "/tmp/bidsieve-response-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fputs("{\"base\":\"USD\",\"rates\":{\"EUR\":0.5}}", file);
    fclose(file);
    struct error err;
    struct currency_rates *rates = currency_load(path, &err);
    remove(path);
    assert_non_null(rates);
#define FLOOR_EUR IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":1,\"bidfloorcur\":\"EUR\"")
#define FLOOR_CHF IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":1,\"bidfloorcur\":\"CHF\"")
    static const struct row rows[] = {
        {NULL, ",\"cur\":\"USD\"", NULL, B, BID_VALID},
        {NULL, ",\"cur\":\"EUR\"", NULL, B, BID_VALID},
        {NULL, ",\"cur\":\"eur\"", NULL, B, BID_VALID},
        {NULL, ",\"cur\":\"CHF\"", NULL, B, BID_BAD_CURRENCY},
        {NULL, ",\"cur\":\"\"", NULL, B, BID_VALID},
        {NULL, ",\"cur\":null", NULL, B, BID_VALID},
        {NULL, ",\"cur\":[\"USD\"]", NULL, B, BID_BAD_CURRENCY},
        {NULL, ",\"cur\":1", NULL, B, BID_BAD_CURRENCY},
        {NULL, ",\"cur\":\"USDX\"", NULL, B, BID_BAD_CURRENCY},
        {REQ("\"cur\":[\"EUR\"]"), "", NULL, B, BID_BAD_CURRENCY}, /* USD by default */
        {REQ("\"cur\":[\"EUR\"]"), ",\"cur\":\"EUR\"", NULL, B, BID_VALID},
        {REQ("\"cur\":[\"CHF\"]"), ",\"cur\":\"CHF\"", NULL, B, BID_VALID}, /* needs no rate */
        {FLOOR_EUR, "", NULL, P("2"), BID_VALID},
        {FLOOR_EUR, "", NULL, P("1.999999"), BID_BELOW_FLOOR},
        {FLOOR_EUR, ",\"cur\":\"EUR\"", NULL, P("1"), BID_VALID},
        {FLOOR_CHF, "", NULL, P("99"), BID_BAD_CURRENCY},
        {NULL, ",\"cur\":\"EUR\"", NULL, P("9000000"), BID_VALID},
    };
    check_rows(rows, sizeof(rows) / sizeof(rows[0]), rates);
    static const struct row without[] = {
        {NULL, ",\"cur\":\"EUR\"", NULL, B, BID_BAD_CURRENCY},
        {FLOOR_EUR, "", NULL, B, BID_BAD_CURRENCY},
        {IMP("\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":0,\"bidfloorcur\":\"EUR\""), "", NULL, B,
         BID_VALID},
    };
    check_rows(without, sizeof(without) / sizeof(without[0]), NULL);
    currency_destroy(rates);
}

static void test_creatives(void **state)
{
#define S(w, h) B ",\"w\":" w ",\"h\":" h
#define FORMATS \
    IMP("\"banner\":{\"w\":728,\"h\":90,\"format\":[{\"w\":300,\"h\":250},{\"w\":320,\"h\":50}]}")
#define MULTI                                                                              \
    IMP("\"banner\":{\"w\":300,\"h\":250},\"video\":{\"mimes\":[\"video/mp4\"],\"w\":640," \
        "\"h\":480}")
#define BADV REQ("\"badv\":[\"Bad.com\",\"www.worse.co.uk\",\"http://url.example/path\"]")
#define BCAT REQ("\"bcat\":[\"IAB25\",\"IAB7-39\"]")
    static const struct row rows[] = {
        {FORMATS, "", NULL, S("300", "250"), BID_VALID},
        {FORMATS, "", NULL, S("728", "90"), BID_VALID},
        {FORMATS, "", NULL, S("250", "300"), BID_BAD_SIZE},
        {FORMATS, "", NULL, S("300", "50"), BID_BAD_SIZE},
        {FORMATS, "", NULL, S("0", "0"), BID_VALID},
        {FORMATS, "", NULL, B ",\"w\":999", BID_VALID},
        {FORMATS, "", NULL, S("\"999\"", "999"), BID_VALID},
        {FORMATS, "", NULL, S("-1", "999"), BID_VALID},
        {FORMATS, "", NULL, S("300.0", "2.5e2"), BID_VALID},
        {FORMATS, "", NULL, S("99999999999", "99999999999"), BID_VALID},
        {MULTI, "", NULL, S("1", "1"), BID_VALID},
        {IMP("\"instl\":1,\"banner\":{\"w\":320,\"h\":480}"), "", NULL, S("300", "250"), BID_VALID},
        {IMP("\"instl\":1,\"banner\":{\"w\":320,\"h\":480}"), "", NULL, S("300", "600"),
         BID_BAD_SIZE},
        /* media */
        {MULTI, "", NULL, B ",\"mtype\":1", BID_VALID},
        {MULTI, "", NULL, B ",\"mtype\":2", BID_VALID},
        {MULTI, "", NULL, B ",\"mtype\":3", BID_BAD_MEDIA},
        {MULTI, "", NULL, B ",\"mtype\":4", BID_BAD_MEDIA},
        {MULTI, "", NULL, B ",\"mtype\":5", BID_BAD_MEDIA},
        {MULTI, "", NULL, B ",\"mtype\":499", BID_BAD_MEDIA},
        {MULTI, "", NULL, B ",\"mtype\":500", BID_VALID},
        {MULTI, "", NULL, B ",\"mtype\":0", BID_VALID},
        {MULTI, "", NULL, B ",\"mtype\":-1", BID_VALID},
        {MULTI, "", NULL, B ",\"mtype\":null", BID_VALID},
        {MULTI, "", NULL, B ",\"mtype\":\"3\"", BID_VALID},
        {FORMATS, "", NULL, B ",\"mtype\":2", BID_BAD_MEDIA},
        {MULTI, "", NULL, S("300", "250") ",\"mtype\":1", BID_VALID},
        {MULTI, "", NULL, S("640", "480") ",\"mtype\":1", BID_BAD_SIZE},
        {MULTI, "", NULL, S("1", "1") ",\"mtype\":2", BID_VALID},
        /* advertisers */
        {BADV, "", NULL, B ",\"adomain\":[\"good.com\"]", BID_VALID},
        {BADV, "", NULL, B ",\"adomain\":[\"bad.com\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"good.com\",\"BAD.COM\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"shop.bad.com\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"notbad.com\"]", BID_VALID},
        {BADV, "", NULL, B ",\"adomain\":[\"com\"]", BID_VALID},
        {BADV, "", NULL, B ",\"adomain\":[\"worse.co.uk\"]", BID_VALID},
        {BADV, "", NULL, B ",\"adomain\":[\"https://bad.com/landing?x=y\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"bad.com.\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"url.example\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"b\\u0061d.com\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":\"bad.com\"", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[1,null,[\"bad.com\"],\"bad.com\"]", BID_BLOCKED_DOMAIN},
        {BADV, "", NULL, B ",\"adomain\":[\"\"]", BID_VALID},
        {BADV, "", NULL, B ",\"adomain\":[]", BID_VALID},
        {BADV, "", NULL, B ",\"adomain\":{\"a\":\"bad.com\"}", BID_VALID},
        /* categories */
        {BCAT, "", NULL, B ",\"cat\":[\"IAB2\"]", BID_VALID},
        {BCAT, "", NULL, B ",\"cat\":[\"IAB2\",\"IAB25\"]", BID_BLOCKED_CATEGORY},
        {BCAT, "", NULL, B ",\"cat\":[\"IAB25-3\"]", BID_BLOCKED_CATEGORY},
        {BCAT, "", NULL, B ",\"cat\":[\"IAB7-39\"]", BID_BLOCKED_CATEGORY},
        {BCAT, "", NULL, B ",\"cat\":[\"IAB7\",\"IAB7-3\",\"IAB7-390\",\"IAB250\"]", BID_VALID},
        {BCAT, "", NULL, B ",\"cat\":\"IAB25\"", BID_BLOCKED_CATEGORY},
    };
    check_rows(rows, sizeof(rows) / sizeof(rows[0]), NULL);
}

static void test_deals_and_seats(void **state)
{
#define PMP(private, deal)                                                                       \
    IMP("\"banner\":{\"w\":1,\"h\":1},\"pmp\":{\"private_auction\":" private ",\"deals\":[{"     \
                                                                             "\"id\":\"d\"" deal \
                                                                             "}]}")
#define D B ",\"dealid\":\"d\""
    static const struct row rows[] = {
        {PMP("0", ""), "", NULL, B, BID_VALID},
        {PMP("0", ""), "", NULL, D, BID_VALID},
        {PMP("0", ""), "", NULL, B ",\"dealid\":\"e\"", BID_UNKNOWN_DEAL},
        {PMP("0", ""), "", NULL, B ",\"dealid\":\"\"", BID_VALID},
        {PMP("1", ""), "", NULL, B, BID_UNKNOWN_DEAL},
        {PMP("1", ""), "", NULL, D, BID_VALID},
        {NULL, "", NULL, D, BID_UNKNOWN_DEAL},
        {PMP("0", ",\"wseat\":[\"s\"]"), "", "s", D, BID_VALID},
        {PMP("0", ",\"wseat\":[\"s\"]"), "", "t", D, BID_SEAT_NOT_ALLOWED},
        {PMP("0", ",\"wseat\":[\"s\"]"), "", NULL, D, BID_SEAT_NOT_ALLOWED},
        {PMP("0", ",\"wseat\":[\"s\"]"), "", "t", B, BID_VALID},
        {PMP("0", ",\"wadomain\":[\"a.com\"]"), "", NULL, D ",\"adomain\":[\"a.com\"]", BID_VALID},
        {PMP("0", ",\"wadomain\":[\"a.com\"]"), "", NULL, D ",\"adomain\":[\"a.com\",\"b.com\"]",
         BID_BLOCKED_DOMAIN},
        {PMP("0", ",\"wadomain\":[\"a.com\"]"), "", NULL, D, BID_BLOCKED_DOMAIN},
        {PMP("0", ",\"wadomain\":[\"a.com\"]"), "", NULL, B ",\"adomain\":[\"b.com\"]", BID_VALID},
        {REQ("\"wseat\":[\"s\",\"t\"]"), "", "t", B, BID_VALID},
        {REQ("\"wseat\":[\"s\",\"t\"]"), "", "u", B, BID_SEAT_NOT_ALLOWED},
        {REQ("\"wseat\":[\"s\",\"t\"]"), "", NULL, B, BID_SEAT_NOT_ALLOWED},
        {REQ("\"wseat\":[\"alpha\"]"), "", NULL, B, BID_VALID}, /* the DSP stands for its seat */
        {REQ("\"bseat\":[\"s\"]"), "", "s", B, BID_SEAT_NOT_ALLOWED},
        {REQ("\"bseat\":[\"s\"]"), "", "S", B, BID_VALID},
        {REQ("\"bseat\":[\"s\"]"), "", NULL, B, BID_VALID},
    };
    check_rows(rows, sizeof(rows) / sizeof(rows[0]), NULL);
}

/* A DSP that is told its seats must bid for one of them, and stands for itself if it names none. */
static void test_own_seats(void **state)
{
    static const struct bytes own[] = {{"s", 1}, {"alpha", 5}};
    static const struct {
        const char *request, *seat;
        uint32_t n_own;
        bool valid;
    } rows[] = {
        {NULL, "s", 1, true},
        {NULL, "t", 1, false},
        {NULL, NULL, 1, false},
        {NULL, NULL, 2, true},
        {REQ("\"wseat\":[\"s\",\"t\"]"), "t", 2, false},
        {REQ("\"wseat\":[\"s\",\"t\"]"), "s", 2, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 1);
        f.dsps[0].seats = (struct bytes_list){own, rows[i].n_own};
        if (rows[i].request != NULL)
            fixture_request(&f, rows[i].request);
        fixture_start(&f);
        snprintf(body, sizeof(body), "{\"id\":\"r\",\"seatbid\":[{%s%s%s\"bid\":[{" B "}]}]}",
                 rows[i].seat != NULL ? "\"seat\":\"" : "",
                 rows[i].seat != NULL ? rows[i].seat : "", rows[i].seat != NULL ? "\"," : "");
        fixture_answer(&f, 0, 200, body);
        assert_int_equal(fixture_dsp(&f, 0)->refused[BID_SEAT_NOT_ALLOWED], !rows[i].valid);
        assert_int_equal(fixture_dsp(&f, 0)->n_bids, rows[i].valid);
        fixture_dispose(&f);
    }
}

static void test_response_id(void **state)
{
    static const char *const ids[] = {"\"id\":\"other\",", "", "\"id\":null,", "\"id\":1,",
                                      "\"id\":\"\","};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct fixture f;
        char body[256];
        fixture_init(&f, 1);
        fixture_start(&f);
        snprintf(body, sizeof(body), "{%s\"seatbid\":[{\"bid\":[{" B "},{}]}]}", ids[i]);
        fixture_answer(&f, 0, 200, body);
        assert_int_equal(fixture_dsp(&f, 0)->outcome, OUTCOME_INVALID);
        assert_int_equal(fixture_dsp(&f, 0)->refused[BID_WRONG_RESPONSE_ID], 2);
        fixture_dispose(&f);
    }
}

/* Beyond the limit bids are counted and dropped; what is dropped must still be JSON. */
static void test_too_many_bids(void **state)
{
    enum { BIDS = BID_RESPONSE_BIDS_MAX + 100 };
    for (int broken = 0; broken < 2; broken++) {
        struct fixture f;
        fixture_init(&f, 1);
        fixture_start(&f);
        char *body = malloc(BIDS * 96 + 256);
        size_t len = (size_t)sprintf(body, "{\"id\":\"r\",\"seatbid\":[{\"bid\":[");
        for (int i = 0; i < BIDS; i++)
            len += (size_t)sprintf(body + len,
                                   "%s{\"id\":\"%d\",\"impid\":\"1\",\"price\":%d,\"adm\":\"x\"}",
                                   i == 0 ? "" : ",", i, i + 1);
        sprintf(body + len, broken ? ",{]}]}" : "]}]}");
        fixture_answer(&f, 0, 200, body);
        free(body);
        const struct auction_dsp *d = fixture_dsp(&f, 0);
        assert_int_equal(d->outcome, broken ? OUTCOME_INVALID : OUTCOME_BID);
        assert_int_equal(d->refused[BID_TOO_MANY], broken ? 0 : 100);
        assert_int_equal(d->refused[BID_NOT_JSON], broken);
        assert_int_equal(d->n_bids, broken ? 0 : BID_RESPONSE_BIDS_MAX);
        fixture_dispose(&f);
    }
}

/* Every cut of an answer is refused, and read within its bounds. */
static void test_answer_cut_at_every_byte(void **state)
{
    static const char body[] =
        "{\"id\":\"r\",\"bidid\":\"\\u00e9\",\"cur\":\"USD\",\"nbr\":0,\"seatbid\":[{\"seat\":"
        "\"s\","
        "\"group\":1,\"bid\":[{\"id\":\"b\",\"impid\":\"1\",\"price\":1.25e0,\"adm\":\"<a>"
        "${AUCTION_PRICE}\",\"adomain\":[\"a.com\"],\"cat\":[\"IAB1\"],\"w\":300,\"h\":250,\"ext\":"
        "{"
        "\"x\":[true,false,null,-1.5]}}]}]}";
    for (size_t len = 0; len < sizeof(body); len++) {
        struct fixture f;
        fixture_init(&f, 1);
        fixture_start(&f);
        char *cut = malloc(len + (len == 0));
        memcpy(cut, body, len);
        f.open[0] = false;
        auction_on_answer(f.auction, 0, true, 200, (struct bytes){cut, len});
        free(cut);
        enum auction_outcome expect = len == 0                  ? OUTCOME_NO_BID
                                      : len == sizeof(body) - 1 ? OUTCOME_BID
                                                                : OUTCOME_INVALID;
        assert_int_equal(fixture_dsp(&f, 0)->outcome, expect);
        fixture_dispose(&f);
    }
}

/* Random damage: never a crash, and what comes out is always JSON. */
static void test_damaged_answers(void **state)
{
    static const char body[] = "{\"id\":\"r\",\"cur\":\"USD\",\"seatbid\":[{\"seat\":\"s\",\"bid\":"
                               "[{\"id\":\"b\",\"impid\":"
                               "\"1\",\"price\":1.25,\"adm\":\"<a>${AUCTION_PRICE:B64}\",\"nurl\":"
                               "\"http://${AUCTION_ID}\","
                               "\"lurl\":\"${AUCTION_LOSS}\"},{\"id\":\"c\",\"impid\":\"2\","
                               "\"price\":2,\"adm\":\"v\"}]}]}";
    static const char bytes[] = "{}[]\",:\\u0019.eE+-\x80\xc3\x01 ntf$";
    struct prng g = {7};
    uint32_t answers = 0;
    for (int round = 0; round < 3000; round++) {
        struct fixture f;
        fixture_init(&f, 1);
        fixture_request(&f, DEFAULT_REQUEST);
        fixture_start(&f);
        char *damaged = strdup(body);
        for (uint64_t n = 1 + prng_below(&g, 2); n > 0; n--)
            damaged[prng_below(&g, sizeof(body) - 1)] = bytes[prng_below(&g, sizeof(bytes) - 1)];
        fixture_answer(&f, 0, 200, damaged);
        free(damaged);
        struct bytes out = auction_response(f.auction, &f.arena);
        struct bytes nonbid = auction_seatnonbid(f.auction, &f.arena);
        json_t *json = json_loadb(nonbid.base, nonbid.len, 0, NULL);
        assert_non_null(json);
        json_decref(json);
        if (out.base != NULL) {
            answers++;
            json = json_loadb(out.base, out.len, JSON_ALLOW_NUL, NULL);
            assert_non_null(json);
            json_decref(json);
        }
        fixture_dispose(&f);
    }
    assert_in_range(answers, 300, 2700); /* both ways were taken */
}

/* ---- block lists ---- */

static void test_block_list_is_what_a_plain_search_says(void **state)
{
    struct prng g = {11};
    static const char *const labels[] = {"a", "b", "com", "co", "uk", "ab", "A"};
    for (int round = 0; round < 300; round++) {
        struct arena arena = {0};
        struct bytes items[40];
        char names[40][64];
        uint32_t n = (uint32_t)prng_below(&g, 40);
        for (uint32_t i = 0; i < 40; i++) {
            names[i][0] = '\0';
            for (uint64_t k = 1 + prng_below(&g, 4); k > 0; k--) {
                strcat(names[i], labels[prng_below(&g, 7)]);
                if (k > 1)
                    strcat(names[i], ".");
            }
            items[i] = bytes_of(names[i]);
        }
        struct bytes_list list = {items, n};
        const struct block_list *b = block_list_domains(&list, &arena);
        for (uint32_t i = 0; i < 40; i++) {
            bool expect = false;
            for (uint32_t k = 0; k < n; k++)
                expect |= domain_is_within(items[i], items[k]);
            assert_int_equal(block_list_has_domain(b, items[i]), expect);
        }
        arena_dispose(&arena);
    }
}

static void test_block_list_odd_names(void **state)
{
    char longest[1000];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + sizeof(longest) - 8, ".bad.com", 8);
    struct bytes items[] = {bytes_of("bad.com"),
                            bytes_of(""),
                            bytes_of("//"),
                            bytes_of("*."),
                            {longest, sizeof(longest)}};
    struct bytes_list list = {items, 5};
    struct arena arena = {0};
    const struct block_list *b = block_list_domains(&list, &arena);
    assert_true(block_list_has_domain(b, (struct bytes){longest, sizeof(longest)}));
    assert_true(block_list_has_domain(b, bytes_of("*.bad.com")));
    assert_true(block_list_has_domain(b, bytes_of(" bad.com ")));
    assert_false(block_list_has_domain(b, bytes_of("")));
    assert_false(block_list_has_domain(b, bytes_of("http://")));
    assert_false(block_list_has_domain(b, bytes_of("...")));
    assert_false(block_list_has_domain(NULL, bytes_of("bad.com")));
    assert_null(block_list_categories(&(struct bytes_list){NULL, 0}, &arena));
    arena_dispose(&arena);
}

/* ---- codes ---- */

static void test_refusals_have_names_and_codes(void **state)
{
    for (int i = 0; i < BID_REFUSALS; i++) {
        assert_true(strlen(bid_refusal_name((enum bid_refusal)i)) > 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(bid_refusal_name((enum bid_refusal)i),
                                    bid_refusal_name((enum bid_refusal)k));
        if (i != BID_VALID)
            assert_true(bid_refusal_loss_code((enum bid_refusal)i) > 0);
        assert_true(loss_nonbid_refused((enum bid_refusal)i, false) >= 100);
    }
}

static void test_nonbid_codes_of_a_dsp(void **state)
{
    static const struct {
        struct auction_dsp dsp;
        int expect;
    } rows[] = {
        {{.decision = {.why = WHY_BELOW_THRESHOLD}}, 203},
        {{.decision = {.why = WHY_QPS}, .skip = SKIP_REFUSED}, 510},
        {{.decision = {.why = WHY_HEALTH}, .skip = SKIP_REFUSED}, 511},
        {{.decision = {.why = WHY_OVERLOAD}, .skip = SKIP_REFUSED}, 512},
        {{.decision = {.why = WHY_RULE_FIRST + RULE_TMAX}, .skip = SKIP_NO_TIME}, 513},
        {{.decision = {.why = WHY_SECONDARY}, .skip = SKIP_NOT_NEEDED}, 514},
        {{.decision = {.why = WHY_RULE_FIRST + RULE_CHANNEL}}, 201},
        {{.decision = {.why = WHY_RULE_FIRST + RULE_MEDIA}}, 202},
        {{.decision = {.why = WHY_RULE_FIRST + RULE_CONSENT}}, 204},
        {{.decision = {.why = WHY_RULE_FIRST + RULE_CURRENCY}}, 205},
        {{.decision = {.why = WHY_RULE_FIRST + RULE_COUNTRY}}, 200},
        {{.outcome = OUTCOME_TIMEOUT}, 101},
        {{.outcome = OUTCOME_ERROR}, 103},
        {{.outcome = OUTCOME_ERROR, .http_status = 500}, 100},
        {{.outcome = OUTCOME_INVALID, .http_status = 200}, 102},
        {{.outcome = OUTCOME_NO_BID, .nbr = -1}, 0},
        {{.outcome = OUTCOME_NO_BID, .nbr = 8}, 8},
        {{.outcome = OUTCOME_NO_BID, .nbr = 500},
         0}, /* not ours to tell apart from our own codes */
        {{.outcome = OUTCOME_BID, .nbr = -1}, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(loss_nonbid_dsp(&rows[i].dsp), rows[i].expect);
}

/* ---- what real DSPs answered ---- */

/* What the bid says that it is: a medium, a size. */
static void offer(json_t *imp, const json_t *bid)
{
    json_int_t w = json_integer_value(json_object_get(bid, "w"));
    json_int_t h = json_integer_value(json_object_get(bid, "h"));
    json_int_t mtype = json_integer_value(json_object_get(bid, "mtype"));
    if (w > 0 && h > 0)
        json_array_append_new(json_object_get(json_object_get(imp, "banner"), "format"),
                              json_pack("{s:I,s:I}", "w", w, "h", h));
    if (mtype == 3)
        json_object_set_new(imp, "audio", json_pack("{s:[s]}", "mimes", "audio/mp4"));
    if (mtype == 4)
        json_object_set_new(
            imp, "native",
            json_pack("{s:s}", "request", "{\"assets\":[{\"id\":1,\"title\":{\"len\":90}}]}"));
}

/* A request that fits the answer: its id, its imps (media, sizes), its deals, its currency. */
static char *fitting_request(const json_t *body, const char *fallback_id)
{
    json_t *imps = json_array(), *seen = json_object();
    size_t i, k;
    json_t *seatbid, *bid;
    json_array_foreach(json_object_get(body, "seatbid"), i, seatbid)
    {
        json_array_foreach(json_object_get(seatbid, "bid"), k, bid)
        {
            const char *impid = json_string_value(json_object_get(bid, "impid"));
            const char *dealid = json_string_value(json_object_get(bid, "dealid"));
            if (impid == NULL || impid[0] == '\0')
                continue;
            json_t *imp = json_object_get(seen, impid);
            if (imp == NULL) {
                int w = (int)json_integer_value(json_object_get(bid, "w"));
                int h = (int)json_integer_value(json_object_get(bid, "h"));
                imp = json_pack("{s:s, s:{s:i,s:i}, s:{s:[s]}, s:{s:[s]}, s:{s:s}, s:{s:[]}}", "id",
                                impid, "banner", "w", w > 0 ? w : 300, "h", h > 0 ? h : 250,
                                "video", "mimes", "video/mp4", "audio", "mimes", "audio/mp4",
                                "native", "request",
                                "{\"assets\":[{\"id\":1,\"title\":{\"len\":90}}]}", "pmp", "deals");
                json_object_set(seen, impid, imp);
                json_array_append_new(imps, imp);
            }
            offer(imp, bid);
            if (dealid != NULL && dealid[0] != '\0')
                json_array_append_new(json_object_get(json_object_get(imp, "pmp"), "deals"),
                                      json_pack("{s:s}", "id", dealid));
        }
    }
    if (json_array_size(imps) == 0)
        json_array_append_new(
            imps, json_pack("{s:s, s:{s:i,s:i}}", "id", "1", "banner", "w", 300, "h", 250));
    const char *id = json_string_value(json_object_get(body, "id"));
    json_t *request =
        json_pack("{s:s, s:O}", "id", id != NULL && id[0] != '\0' ? id : fallback_id, "imp", imps);
    const char *cur = json_string_value(json_object_get(body, "cur"));
    if (cur != NULL && strlen(cur) == 3)
        json_object_set_new(request, "cur", json_pack("[s]", cur));
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    json_decref(imps);
    json_decref(seen);
    return text;
}

struct tally {
    uint32_t outcomes[OUTCOME_COUNT], refused[BID_REFUSALS], valid, won;
};

static void replay(struct tally *t, const char *request, int status, const char *answer)
{
    struct fixture f;
    fixture_init(&f, 1);
    fixture_request(&f, request);
    fixture_start(&f);
    fixture_answer(&f, 0, status, answer);
    const struct auction_dsp *d = fixture_dsp(&f, 0);
    assert_int_equal(f.n_finished, 1);
    t->outcomes[d->outcome]++;
    t->valid += d->n_bids;
    uint32_t refused = 0;
    for (int i = 0; i < BID_REFUSALS; i++) {
        t->refused[i] += d->refused[i];
        refused += d->refused[i];
    }
    /* Accepted or refused for a stated reason. */
    assert_true((d->outcome == OUTCOME_BID) == (d->n_bids > 0));
    assert_true(d->outcome != OUTCOME_INVALID || refused > 0);
    struct bytes out = auction_response(f.auction, &f.arena);
    assert_true((out.base != NULL) == (d->n_bids > 0));
    if (out.base != NULL) {
        json_t *json = json_loadb(out.base, out.len, JSON_ALLOW_NUL, NULL);
        json_t *sent = json_loads(answer, JSON_ALLOW_NUL, NULL), *seatbid, *bid;
        size_t i, k;
        assert_non_null(json);
        assert_memory_equal(out.base, "{\"id\":", 6);
        json_array_foreach(json_object_get(json, "seatbid"), i, seatbid)
        {
            json_array_foreach(json_object_get(seatbid, "bid"), k, bid)
            {
                t->won++;
                /* But for price and macros it is one of the bids sent. */
                const json_t *id = json_object_get(bid, "id"), *of = NULL;
                json_t *s, *b;
                size_t x, y;
                json_array_foreach(json_object_get(sent, "seatbid"), x, s)
                    json_array_foreach(json_object_get(s, "bid"), y, b)
                {
                    if (of == NULL && json_equal(json_object_get(b, "id"), id))
                        of = b;
                }
                assert_non_null(of);
                assert_int_equal(json_object_size(of), json_object_size(bid));
                assert_true(json_equal(json_object_get(of, "ext"), json_object_get(bid, "ext")) ||
                            json_object_get(of, "ext") == NULL);
            }
        }
        json_decref(json);
        json_decref(sent);
    }
    fixture_dispose(&f);
}

static void print_tally(const char *what, const struct tally *t)
{
    printf("%s:", what);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        if (t->outcomes[i] > 0)
            printf(" %s %u", auction_outcome_name((enum auction_outcome)i), t->outcomes[i]);
    printf("; bids: valid %u, won %u", t->valid, t->won);
    for (int i = 0; i < BID_REFUSALS; i++)
        if (t->refused[i] > 0)
            printf(", %s %u", bid_refusal_name((enum bid_refusal)i), t->refused[i]);
    printf("\n");
}

static void test_corpus(void **state)
{
    const char *folder = getenv("BIDSIEVE_CORPUS");
    if (folder == NULL) {
        printf("BIDSIEVE_CORPUS is not set: skipped\n");
        skip();
    }
    char path[1024], *line = NULL;
    snprintf(path, sizeof(path), "%s/openrtb/responses.ndjson", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = 0;
    struct tally fit, misfit;
    memset(&fit, 0, sizeof(fit));
    memset(&misfit, 0, sizeof(misfit));
    uint32_t n = 0;
    while (getline(&line, &size, file) > 0) {
        json_t *record = json_loads(line, 0, NULL);
        assert_non_null(record);
        json_t *body = json_object_get(record, "body");
        int status = (int)json_integer_value(json_object_get(record, "status"));
        char *answer = json_is_null(body) || json_is_string(body)
                           ? strdup(json_is_string(body) ? json_string_value(body) : "")
                           : json_dumps(body, JSON_COMPACT);
        char *request = fitting_request(body, "none");
        replay(&fit, request, status, answer);
        replay(&misfit,
               "{\"id\":\"of another auction\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,"
               "\"h\":250}}]}",
               status, answer);
        free(request);
        free(answer);
        json_decref(record);
        n++;
    }
    fclose(file);
    free(line);
    printf("%u answers\n", n);
    print_tally("fitting request", &fit);
    print_tally("misfit request", &misfit);
    assert_int_equal(misfit.valid, 0);
    assert_true(fit.outcomes[OUTCOME_BID] > n * 8 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_bid_must_have),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_currencies),
        cmocka_unit_test(test_creatives),
        cmocka_unit_test(test_deals_and_seats),
        cmocka_unit_test(test_own_seats),
        cmocka_unit_test(test_response_id),
        cmocka_unit_test(test_too_many_bids),
        cmocka_unit_test(test_answer_cut_at_every_byte),
        cmocka_unit_test(test_damaged_answers),
        cmocka_unit_test(test_block_list_is_what_a_plain_search_says),
        cmocka_unit_test(test_block_list_odd_names),
        cmocka_unit_test(test_refusals_have_names_and_codes),
        cmocka_unit_test(test_nonbid_codes_of_a_dsp),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
