/* A bid request, read: every field where it belongs, every fault with its path, and the judgement
 * of real traffic: the corpus's requests must pass, or be refused for what is truly wrong with
 * them; prebid-server's verdicts must be ours too, or be listed here with the reason. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filter/bid_request.h"
#include "prng.h"

/* ---- helpers --------------------------------------------------------------------------------- */

/* One scan of a text, in a heap block of exactly its length. */
struct scanned {
    struct bid_request r;
    struct bid_request_error e;
    struct arena arena;
    char *text;
    bool ok;
};

static struct scanned scanned_max(const char *text, size_t len, uint32_t imps_max)
{
    struct scanned s = {.arena = {0}};
    s.text = malloc(len > 0 ? len : 1);
    memcpy(s.text, text, len);
    s.ok = bid_request_scan(&s.r, (struct bytes){s.text, len}, imps_max, &s.arena, &s.e);
    /* A refusal says something, an acceptance nothing. */
    assert_true(s.ok == (s.e.reason[0] == '\0'));
    return s;
}

static struct scanned scanned(const char *text)
{
    return scanned_max(text, strlen(text), 0);
}

static void scanned_free(struct scanned *s)
{
    arena_dispose(&s->arena);
    free(s->text);
}

static struct scanned accepted(const char *text)
{
    struct scanned s = scanned(text);
    if (!s.ok)
        fail_msg("%s: %s, in %s", s.e.path, s.e.reason, text);
    return s;
}

/* NULL = absent. */
static void is(struct bytes got, const char *expected)
{
    if (expected == NULL) {
        assert_null(got.base);
        return;
    }
    if (!bytes_is(got, expected))
        fail_msg("got \"%.*s\", expected \"%s\"", (int)got.len, got.base, expected);
}

static void list_is(struct bytes_list list, const char *joined)
{
    char text[512] = "";
    for (uint32_t i = 0; i < list.n; i++)
        sprintf(text + strlen(text), "%s%.*s", i > 0 ? "," : "", (int)list.items[i].len,
                list.items[i].base);
    assert_string_equal(text, joined);
}

static const char *corpus(void)
{
    const char *folder = getenv("BIDSIEVE_CORPUS");
    if (folder == NULL)
        print_message("skipped: BIDSIEVE_CORPUS is not set\n");
    return folder;
}

/* ---- fields ---------------------------------------------------------------------------------- */

static const char full[] =
    " {\"id\":\"r\\u0031\",\"at\":1,\"tmax\": 120 ,\"test\":1,\"cur\":[\"USD\",\"eur\"],"
    "\"wseat\":[\"a\"],\"bseat\":[\"b\",7,null,\"c\"],\"bcat\":[\"IAB25\"],\"badv\":[\"x.example\"]"
    ","
    "\"bapp\":[\"com.x\"],\"site\":{\"id\":\"s\",\"name\":\"N\",\"domain\":\"d.example\","
    "\"page\":\"http:\\/\\/d.example\\/\",\"cat\":[\"IAB1\"],\"sectioncat\":[\"IAB2\"],"
    "\"pagecat\":[\"IAB3\",\"IAB4\"],\"mobile\":1,\"publisher\":{\"id\":\"p\",\"name\":\"P\"},"
    "\"content\":{\"id\":\"c\",\"genre\":\"news\",\"language\":\"en\",\"cat\":[\"IAB9\"]}},"
    "\"device\":{\"ua\":\"UA\",\"ip\":\"192.0.2.1\",\"ipv6\":\"2001:db8::1\",\"make\":\"M\","
    "\"model\":\"X\",\"os\":\"Android\",\"osv\":\"14\",\"language\":\"en\",\"carrier\":\"C\","
    "\"ifa\":\"I-F-A\",\"mccmnc\":\"310-005\",\"devicetype\":4,\"connectiontype\":2,\"w\":412,"
    "\"h\":915,\"dnt\":0,\"lmt\":true,\"js\":1,\"sua\":{\"mobile\":1},\"geo\":{\"lat\":51.5,"
    "\"lon\":"
    "-0.125,\"country\":\"GBR\",\"region\":\"ENG\",\"type\":2,\"utcoffset\":-60}},"
    "\"user\":{\"id\":\"u\",\"buyeruid\":\"b\\/"
    "u\",\"gender\":\"F\",\"yob\":1980,\"geo\":{\"country\":"
    "\"USA\",\"city\":\"London\",\"zip\":\"SW1A\",\"metro\":\"1\",\"lat\":1,\"lon\":2},\"ext\":{"
    "\"consent\":\"CO\",\"eids\":[{\"source\":\"e.example\",\"uids\":[{\"id\":\"1\"}]},{\"source\":"
    "\"f.example\"}]},\"data\":[{\"segment\":[{\"id\":\"1\"},{\"id\":\"2\"}]},{\"segment\":[{}]}]},"
    "\"regs\":{\"coppa\":0,\"ext\":{\"gdpr\":1,\"us_privacy\":\"1YNN\",\"gpp\":\"DB\"}},"
    "\"source\":{\"ext\":{\"schain\":{\"nodes\":[{\"asi\":\"one.example\"},{\"asi\":\"two."
    "example\"}]"
    "}}},\"imp\":["
    "{\"id\":\"1\",\"tagid\":\"t\",\"secure\":1,\"instl\":1,\"rwdd\":1,\"bidfloor\":0.35,"
    "\"bidfloorcur\":\"usd\",\"banner\":{\"w\":300,\"h\":250,\"pos\":3,\"mimes\":[\"image/png\"],"
    "\"format\":[{\"w\":728,\"h\":90},{\"w\":300,\"h\":250},{\"wmin\":100,\"wratio\":4,\"hratio\":"
    "3},"
    "{\"w\":728,\"h\":90},{\"w\":970,\"h\":250}]},\"video\":{\"mimes\":[\"video/mp4\",\"video/"
    "webm\"],"
    "\"w\":640,\"h\":480,\"minduration\":5,\"maxduration\":30,\"protocols\":[2,3,99,-1],"
    "\"placement\":1,\"plcmt\":2,\"linearity\":1,\"skip\":1,\"startdelay\":-1,\"pos\":7},"
    "\"pmp\":{\"private_auction\":1,\"deals\":[{\"id\":\"d1\",\"bidfloor\":2.5,\"bidfloorcur\":"
    "\"EUR\","
    "\"at\":3,\"wseat\":[\"w\"],\"wadomain\":[\"a.example\"]},{\"id\":\"d2\"}]}},"
    "{\"id\":\"2\",\"audio\":{\"mimes\":[\"audio/mp4\"],\"minduration\":1,\"maxduration\":15,"
    "\"startdelay\":0,\"feed\":2},\"native\":{\"request\":"
    "\"{\\\"assets\\\":[{\\\"id\\\":1,\\\"title\\\":{\\\"len\\\":90}}]}\"}}]} \n";

static void test_scan_request_fields(void **state)
{
    struct scanned s = accepted(full);
    const struct bid_request *r = &s.r;
    is(r->id, "r1");
    assert_int_equal(r->at, 1);
    assert_int_equal(r->tmax_ms, 120);
    assert_true(r->test);
    list_is(r->cur, "USD,EUR");
    list_is(r->wseat, "a");
    list_is(r->bseat, "b,c");
    list_is(r->bcat, "IAB25");
    list_is(r->badv, "x.example");
    list_is(r->bapp, "com.x");
    assert_int_equal(r->channel, CHANNEL_SITE);
    is(r->property.id, "s");
    is(r->property.name, "N");
    is(r->property.domain, "d.example");
    is(r->property.page, "http://d.example/");
    is(r->property.bundle, NULL);
    is(r->property.publisher_id, "p");
    is(r->property.publisher_name, "P");
    is(r->property.content_id, "c");
    is(r->property.content_genre, "news");
    is(r->property.content_language, "en");
    list_is(r->property.cat, "IAB1");
    list_is(r->property.sectioncat, "IAB2");
    list_is(r->property.pagecat, "IAB3,IAB4");
    assert_true(r->property.mobile);
    assert_int_equal(r->regs.coppa, 0);
    assert_int_equal(r->regs.gdpr, 1);
    is(r->regs.us_privacy, "1YNN");
    is(r->regs.gpp, "DB");
    is(r->schain_asi, "two.example");
    assert_int_equal(r->n_schain_nodes, 2);
    scanned_free(&s);
}

static void test_scan_device_user_geo(void **state)
{
    struct scanned s = accepted(full);
    const struct bid_request *r = &s.r;
    is(r->device.ua, "UA");
    is(r->device.ip, "192.0.2.1");
    is(r->device.ipv6, "2001:db8::1");
    is(r->device.make, "M");
    is(r->device.model, "X");
    is(r->device.os, "Android");
    is(r->device.osv, "14");
    is(r->device.language, "en");
    is(r->device.carrier, "C");
    is(r->device.ifa, "I-F-A");
    is(r->device.mccmnc, "310-005");
    assert_int_equal(r->device.devicetype, 4);
    assert_int_equal(r->device.connectiontype, 2);
    assert_int_equal(r->device.w, 412);
    assert_int_equal(r->device.h, 915);
    assert_int_equal(r->device.dnt, 0);
    assert_int_equal(r->device.lmt, 1);
    assert_int_equal(r->device.js, 1);
    assert_true(r->device.sua);
    is(r->geo.country, "GBR"); /* the device's */
    is(r->geo.region, "ENG");
    is(r->geo.city, "London"); /* the user's */
    is(r->geo.zip, "SW1A");
    is(r->geo.metro, "1");
    assert_true(r->geo.lat == 51.5 && r->geo.lon == -0.125);
    assert_int_equal(r->geo.type, 2);
    assert_int_equal(r->geo.utcoffset, -60);
    assert_true(r->user.present);
    is(r->user.id, "u");
    is(r->user.buyeruid, "b/u");
    is(r->user.gender, "F");
    is(r->user.consent, "CO");
    assert_int_equal(r->user.yob, 1980);
    list_is(r->user.eid_sources, "e.example,f.example");
    assert_int_equal(r->user.n_segments, 3);
    scanned_free(&s);
}

static void sizes_are(const struct imp *imp, uint32_t n_banner, const char *joined)
{
    char text[512] = "";
    for (uint32_t i = 0; i < imp->n_sizes; i++)
        sprintf(text + strlen(text), "%s%dx%d", i > 0 ? " " : "", imp->sizes[i].w, imp->sizes[i].h);
    assert_string_equal(text, joined);
    assert_int_equal(imp->n_banner_sizes, n_banner);
}

static void test_scan_imps(void **state)
{
    struct scanned s = accepted(full);
    assert_int_equal(s.r.n_imps, 2);
    const struct imp *a = &s.r.imps[0], *b = &s.r.imps[1];
    is(a->id, "1");
    is(a->tagid, "t");
    assert_int_equal(a->media, MEDIA_BANNER | MEDIA_VIDEO);
    assert_true(a->instl && a->rewarded && a->private_auction);
    assert_int_equal(a->secure, 1);
    assert_int_equal(a->bidfloor_micros, 350000);
    is(a->bidfloorcur, "USD");
    sizes_are(a, 3, "728x90 300x250 970x250 640x480");
    assert_int_equal(a->banner_pos, 3);
    list_is(a->banner_mimes, "image/png");
    assert_int_equal(a->video.w, 640);
    assert_int_equal(a->video.h, 480);
    assert_int_equal(a->video.minduration, 5);
    assert_int_equal(a->video.maxduration, 30);
    assert_int_equal(a->video.placement, 1);
    assert_int_equal(a->video.plcmt, 2);
    assert_int_equal(a->video.linearity, 1);
    assert_int_equal(a->video.skip, 1);
    assert_int_equal(a->video.startdelay, -1);
    assert_int_equal(a->video.pos, 7);
    list_is(a->video.mimes, "video/mp4,video/webm");
    assert_int_equal(a->video.protocols, 1 << 2 | 1 << 3);
    assert_int_equal(a->n_deals, 2);
    is(a->deals[0].id, "d1");
    assert_int_equal(a->deals[0].bidfloor_micros, 2500000);
    is(a->deals[0].bidfloorcur, "EUR");
    assert_int_equal(a->deals[0].at, 3);
    list_is(a->deals[0].wseat, "w");
    list_is(a->deals[0].wadomain, "a.example");
    is(a->deals[1].id, "d2");
    assert_int_equal(a->deals[1].bidfloor_micros, 0);
    is(a->deals[1].bidfloorcur, NULL);

    is(b->id, "2");
    assert_int_equal(b->media, MEDIA_AUDIO | MEDIA_NATIVE);
    sizes_are(b, 0, "");
    assert_int_equal(b->secure, -1);
    list_is(b->audio.mimes, "audio/mp4");
    assert_int_equal(b->audio.minduration, 1);
    assert_int_equal(b->audio.maxduration, 15);
    assert_int_equal(b->audio.startdelay, 0);
    assert_int_equal(b->audio.feed, 2);
    is(b->native_request, "{\"assets\":[{\"id\":1,\"title\":{\"len\":90}}]}");
    scanned_free(&s);
}

static void test_scan_absent_fields(void **state)
{
    struct scanned s =
        accepted("{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"video\":{\"mimes\":[\"v\"]}}]}");
    const struct bid_request *r = &s.r;
    const struct imp *imp = &r->imps[0];
    assert_int_equal(r->at, 0);
    assert_int_equal(r->tmax_ms, -1);
    assert_int_equal(
        r->tmax.len + r->user_id.len + r->buyeruid.len + r->ifa.len + r->ip.len + r->ipv6.len, 0);
    assert_int_equal(r->channel, CHANNEL_NONE);
    assert_true(r->device.w == -1 && r->device.h == -1 && r->device.devicetype == -1 &&
                r->device.connectiontype == -1 && r->device.dnt == -1 && r->device.lmt == -1 &&
                r->device.js == -1 && !r->device.sua);
    assert_true(isnan(r->geo.lat) && isnan(r->geo.lon) && r->geo.type == -1 &&
                r->geo.utcoffset == INT32_MIN);
    assert_true(!r->user.present && r->user.yob == -1);
    assert_true(r->regs.gdpr == -1 && r->regs.coppa == -1);
    assert_true(imp->secure == -1 && imp->banner_pos == -1 && imp->bidfloor_micros == 0);
    assert_true(imp->video.w == -1 && imp->video.h == -1 && imp->video.minduration == -1 &&
                imp->video.maxduration == -1 && imp->video.placement == -1 &&
                imp->video.plcmt == -1 && imp->video.linearity == -1 && imp->video.skip == -1 &&
                imp->video.startdelay == INT32_MIN && imp->video.pos == -1);
    assert_true(imp->audio.minduration == -1 && imp->audio.maxduration == -1 &&
                imp->audio.startdelay == INT32_MIN && imp->audio.feed == -1);
    is(imp->tagid, NULL);
    sizes_are(imp, 0, "");
    scanned_free(&s);
}

static void test_scan_app_and_dooh(void **state)
{
    struct scanned s = accepted("{\"id\":\"r\",\"site\":null,\"app\":{\"id\":\"a\",\"bundle\":"
                                "\"com.x\",\"storeurl\":\"https:s\"},"
                                "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}");
    assert_int_equal(s.r.channel, CHANNEL_APP);
    is(s.r.property.bundle, "com.x");
    is(s.r.property.storeurl, "https:s");
    scanned_free(&s);
    s = accepted("{\"id\":\"r\",\"dooh\":{\"id\":\"a\",\"name\":\"Screen\"},"
                 "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}");
    assert_int_equal(s.r.channel, CHANNEL_DOOH);
    is(s.r.property.name, "Screen");
    scanned_free(&s);
}

#define IMP "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]"

/* Odd, but nobody is harmed: it counts as absent. */
static void test_scan_odd_types_are_absent(void **state)
{
    static const char *const odd[] = {
        "\"at\":\"2\"",
        "\"at\":-3",
        "\"test\":[]",
        "\"cur\":\"USD\"",
        "\"cur\":null",
        "\"badv\":{\"a\":1}",
        "\"badv\":[1,{},[],null,true]",
        "\"site\":7",
        "\"site\":{}",
        "\"site\":{\"cat\":\"IAB1\",\"publisher\":[],\"content\":\"x\",\"mobile\":\"1\"}",
        "\"device\":[]",
        "\"device\":{\"geo\":[1],\"devicetype\":\"x\",\"dnt\":2,\"w\":1e40}",
        "\"device\":{\"w\":\"300\",\"ua\":5,\"sua\":3,\"geo\":{\"lat\":\"x\",\"lon\":181}}",
        "\"device\":{\"geo\":{\"lat\":-91,\"lon\":1,\"type\":2.5,\"country\":[]}}",
        "\"user\":\"u\"",
        "\"user\":{\"yob\":\"1980\",\"data\":{},\"eids\":{},\"ext\":[]}",
        "\"user\":{\"data\":[1,{\"segment\":{}},{\"segment\":null}]}",
        "\"regs\":1",
        "\"regs\":{\"coppa\":\"1\",\"ext\":null}",
        "\"source\":{\"ext\":{\"schain\":[]}}",
        "\"source\":{\"schain\":{\"nodes\":[1,null]},\"ext\":1}",
        "\"ext\":\"x\"",
        "\"tmax\":null",
        "\"\":1",
        "\"unknown\":{\"id\":[{}]}",
        "\"user\":{\"id\":null},\"device\":{\"ip\":null}"};
    char text[512];
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        sprintf(text, "{\"id\":\"r\",%s," IMP "}", odd[i]);
        struct scanned s = accepted(text);
        assert_int_equal(s.r.at, 0);
        assert_int_equal(s.r.cur.n + s.r.badv.n, 0);
        assert_true(s.r.device.w == -1 && s.r.device.devicetype == -1 && s.r.device.dnt == -1);
        assert_true(isnan(s.r.geo.lat) && isnan(s.r.geo.lon));
        assert_int_equal(s.r.regs.coppa, -1);
        is(s.r.device.ua, NULL);
        scanned_free(&s);
    }
}

static void test_scan_odd_imps_are_accepted(void **state)
{
    static const char *const imps[] = {
        "\"banner\":{\"w\":320,\"h\":50},\"video\":null,\"audio\":7,\"native\":\"x\"",
        "\"banner\":{\"format\":[{\"w\":320,\"h\":50}],\"w\":0,\"h\":0,\"pos\":\"x\",\"mimes\":1}",
        "\"banner\":{\"format\":[{\"w\":320,\"h\":50,\"wmin\":0}]},\"bidfloor\":null",
        "\"banner\":{\"format\":[{\"w\":320.0,\"h\":5e1}]},\"bidfloor\":-1,\"bidfloorcur\":\"\"",
        "\"banner\":{\"w\":320,\"h\":50,\"hmin\":1},\"pmp\":[],\"metric\":[{}],\"secure\":\"1\"",
        "\"banner\":{\"w\":320,\"h\":50},\"pmp\":{\"deals\":null},\"instl\":7",
        "\"banner\":{\"w\":320,\"h\":50},\"pmp\":{\"deals\":[]},\"bidfloorcur\":null"};
    char text[512];
    for (size_t i = 0; i < sizeof(imps) / sizeof(imps[0]); i++) {
        sprintf(text, "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",%s}]}", imps[i]);
        struct scanned s = accepted(text);
        const struct imp *imp = &s.r.imps[0];
        assert_int_equal(imp->media, MEDIA_BANNER);
        sizes_are(imp, 1, "320x50");
        assert_true(imp->bidfloor_micros == 0 && imp->n_deals == 0 && !imp->instl);
        assert_int_equal(imp->secure, -1);
        is(imp->bidfloorcur, NULL);
        scanned_free(&s);
    }
    struct scanned s =
        accepted("{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{},\"instl\":1}]}");
    sizes_are(&s.r.imps[0], 0, "");
    scanned_free(&s);
}

static void test_scan_last_of_duplicates_counts(void **state)
{
    struct scanned s =
        accepted("{\"id\":\"r\",\"at\":1,\"at\":2,\"badv\":[\"a\"],\"badv\":[\"b\"],\"bcat\":["
                 "\"c\"],\"bcat\":0,"
                 "\"device\":{\"ua\":\"a\",\"ua\":7,\"geo\":{\"country\":\"USA\"},\"geo\":{"
                 "\"region\":\"X\"}},"
                 "\"user\":{\"gender\":\"M\",\"gender\":7,\"ext\":{\"consent\":\"a\",\"eids\":["
                 "{\"source\":\"a\"}],\"consent\":null,\"eids\":[]}},"
                 "\"source\":{\"ext\":{\"schain\":{\"nodes\":[{\"asi\":\"a\"}]}},\"ext\":{}},"
                 "\"imp\":[{\"id\":\"1\","
                 "\"video\":{\"mimes\":[\"v\"],\"w\":5,\"h\":5,\"protocols\":[1]},\"video\":{"
                 "\"mimes\":[\"x\"]},"
                 "\"banner\":{\"w\":9,\"h\":9,\"pos\":1,\"format\":[{\"w\":1,\"h\":1}]},\"banner\":"
                 "{\"w\":2,\"h\":3},"
                 "\"audio\":{\"mimes\":[\"a\"]},\"audio\":null,\"bidfloor\":1,\"bidfloor\":2,"
                 "\"pmp\":{\"private_auction\":1,\"deals\":[{\"id\":\"d\"}]},\"pmp\":{}}]}");
    assert_int_equal(s.r.at, 2);
    list_is(s.r.badv, "b");
    list_is(s.r.bcat, "");
    is(s.r.device.ua, NULL);
    is(s.r.geo.country, NULL);
    is(s.r.geo.region, "X");
    is(s.r.user.gender, NULL);
    is(s.r.user.consent, NULL);
    assert_int_equal(s.r.user.eid_sources.n, 0);
    assert_int_equal(s.r.n_schain_nodes, 0);
    const struct imp *imp = &s.r.imps[0];
    assert_int_equal(imp->media, MEDIA_BANNER | MEDIA_VIDEO);
    list_is(imp->video.mimes, "x");
    assert_true(imp->video.w == -1 && imp->video.protocols == 0 && imp->banner_pos == -1);
    sizes_are(imp, 1, "2x3");
    assert_int_equal(imp->bidfloor_micros, 2000000);
    assert_true(imp->n_deals == 0 && !imp->private_auction);
    scanned_free(&s);
}

static void test_scan_escaped_keys(void **state)
{
    struct scanned s =
        accepted("{\"\\u0069d\":\"r\",\"i\\u006dp\":[{\"\\u0069\\u0064\":\"1\",\"bann"
                 "\\u0065r\":{\"\\u0077\":3,\"\\u0068\":4}}],\"tm\\u0061x\":7,"
                 "\"user\":{\"i\\u0064\":\"se\\u0063ret\"}}");
    is(s.r.id, "r");
    is(s.r.user.id, "secret");
    assert_int_equal(s.r.user_id.len, strlen("se\\u0063ret"));
    assert_int_equal(s.r.tmax_ms, 7);
    sizes_are(&s.r.imps[0], 1, "3x4");
    scanned_free(&s);
}

/* ---- faults ---------------------------------------------------------------------------------- */

#define REQUEST(members) "{\"id\":\"r\"," IMP "," members "}"
#define WITH_IMP(members) "{\"id\":\"r\",\"imp\":[{\"id\":\"1\"," members "}]}"
#define SIZED(members) WITH_IMP("\"banner\":{\"w\":1,\"h\":1}," members)
#define FORMAT(members) WITH_IMP("\"banner\":{\"format\":[{\"w\":1,\"h\":1}," members "]}")

static const struct {
    const char *text, *path, *reason; /* reason: a part of it */
} faults[] = {
    {"", "", "not JSON: expected an object at byte 0"},
    {"[]", "", "must be a JSON object"},
    {"\"x\"", "", "must be a JSON object"},
    {"{\"id\":\"r\",}", "", "not JSON: expected a key in quotes at byte 10"},
    {"{\"id\":\"r\"," IMP, "", "not JSON: the text ends inside an object at byte"},
    {"{\"id\":\"r\"," IMP "}}", "", "not JSON: nothing may follow the value at byte"},
    {"{\"x\":[1,2}", "", "not JSON: expected ',' or ']' at byte 9"},
    {"{" IMP "}", "id", "is required"},
    {"{\"id\":\"\"," IMP "}", "id", "must be a non-empty string"},
    {"{\"id\":7," IMP "}", "id", "must be a non-empty string"},
    {"{\"id\":null," IMP "}", "id", "must be a non-empty string"},
    {"{\"id\":\"r\"}", "imp", "is required"},
    {"{\"id\":\"r\",\"imp\":[]}", "imp", "must be a non-empty array"},
    {"{\"id\":\"r\",\"imp\":{}}", "imp", "must be a non-empty array"},
    {"{\"id\":\"r\",\"imp\":[7]}", "imp[0]", "must be an object"},
    {"{\"id\":\"r\",\"imp\":[{\"banner\":{\"w\":1,\"h\":1}}]}", "imp[0].id", "non-empty string"},
    {"{\"id\":\"r\",\"imp\":[{\"id\":\"\",\"banner\":{\"w\":1,\"h\":1}}]}", "imp[0].id",
     "non-empty"},
    {"{\"id\":\"r\",\"imp\":[{\"id\":\"1\"}]}", "imp[0]", "at least one of banner, video, audio"},
    {SIZED("\"id\":\"2\""), "imp[0].id", "duplicate member"},
    {"{\"id\":\"r\",\"imp\":[{\"id\":\"a\",\"banner\":{\"w\":1,\"h\":1}},{\"id\":\"\\u0061\","
     "\"banner\":"
     "{\"w\":1,\"h\":1}}]}",
     "imp[1].id", "must be unique: imp[0] has the same"},
    {REQUEST("\"id\":\"s\""), "id", "duplicate member"},
    {REQUEST("\"\\u0069d\":\"s\""), "id", "duplicate member"},
    {REQUEST(IMP), "imp", "duplicate member"},
    {REQUEST("\"site\":{},\"site\":{}"), "site", "duplicate member"},
    {REQUEST("\"app\":{},\"app\":null"), "app", "duplicate member"},
    {REQUEST("\"dooh\":{},\"dooh\":{}"), "dooh", "duplicate member"},
    {REQUEST("\"device\":{},\"device\":{}"), "device", "duplicate member"},
    {REQUEST("\"user\":{},\"user\":{}"), "user", "duplicate member"},
    {REQUEST("\"regs\":{},\"regs\":{}"), "regs", "duplicate member"},
    {REQUEST("\"tmax\":1,\"tmax\":2"), "tmax", "duplicate member"},
    {REQUEST("\"ext\":{},\"\\u0065xt\":null"), "ext", "duplicate member"},
    {REQUEST("\"wseat\":[],\"wseat\":[]"), "wseat", "duplicate member"},
    {REQUEST("\"user\":{\"ext\":{},\"ext\":{}}"), "user.ext", "duplicate member"},
    {REQUEST("\"user\":{\"id\":\"a\",\"id\":\"b\"}"), "user.id", "duplicate member"},
    {REQUEST("\"user\":{\"buyeruid\":\"a\",\"buyeruid\":\"b\"}"), "user.buyeruid", "duplicate"},
    {REQUEST("\"device\":{\"ip\":\"a\",\"ip\":\"b\"}"), "device.ip", "duplicate member"},
    {REQUEST("\"device\":{\"ipv6\":\"a\",\"ipv6\":\"b\"}"), "device.ipv6", "duplicate member"},
    {REQUEST("\"device\":{\"ifa\":\"a\",\"ifa\":\"b\"}"), "device.ifa", "duplicate member"},
    {REQUEST("\"site\":{},\"app\":{}"), "app", "at most one of site, app and dooh"},
    {REQUEST("\"dooh\":{},\"site\":{}"), "site", "at most one of site, app and dooh"},
    {REQUEST("\"tmax\":-1"), "tmax", "0 or more"},
    {REQUEST("\"tmax\":\"100\""), "tmax", "whole number of milliseconds"},
    {REQUEST("\"tmax\":1.5"), "tmax", "whole number of milliseconds"},
    {REQUEST("\"cur\":[\"USD\",\"dollar\"]"), "cur[1]", "three letters"},
    {REQUEST("\"cur\":[\"U$D\"]"), "cur[0]", "three letters"},
    {REQUEST("\"device\":{\"w\":-1}"), "device.w", "must not be negative"},
    {REQUEST("\"device\":{\"h\":-1}"), "device.h", "must not be negative"},
    {REQUEST("\"device\":{\"ppi\":-1}"), "device.ppi", "must not be negative"},
    {REQUEST("\"device\":{\"ip\":7}"), "device.ip", "must be a string"},
    {REQUEST("\"user\":{\"id\":7}"), "user.id", "must be a string"},
    {REQUEST("\"user\":{\"buyeruid\":{}}"), "user.buyeruid", "must be a string"},
    {REQUEST("\"user\":{\"geo\":{\"accuracy\":-1}}"), "user.geo.accuracy", "must not be negative"},
    {REQUEST("\"device\":{\"geo\":{\"accuracy\":-1}}"), "device.geo.accuracy", "not be negative"},
    {REQUEST("\"user\":{\"consent\":1}"), "user.consent", "must be a string"},
    {REQUEST("\"user\":{\"ext\":{\"consent\":1}}"), "user.ext.consent", "must be a string"},
    {REQUEST("\"user\":{\"eids\":[{\"source\":\"a\"},{}]}"), "user.eids[1].source", "non-empty"},
    {REQUEST("\"user\":{\"ext\":{\"eids\":[7]}}"), "user.ext.eids[0].source", "non-empty string"},
    {REQUEST("\"regs\":{\"gdpr\":2}"), "regs.gdpr", "must be 0 or 1"},
    {REQUEST("\"regs\":{\"gdpr\":\"1\"}"), "regs.gdpr", "must be 0 or 1"},
    {REQUEST("\"regs\":{\"ext\":{\"gdpr\":-1}}"), "regs.ext.gdpr", "must be 0 or 1"},
    {REQUEST("\"regs\":{\"ext\":\"x\"}"), "regs.ext", "must be an object"},
    {WITH_IMP("\"banner\":{}"), "imp[0].banner", "has no size"},
    {WITH_IMP("\"banner\":{\"w\":5}"), "imp[0].banner", "has no size"},
    {WITH_IMP("\"banner\":{\"w\":0,\"h\":0}"), "imp[0].banner", "has no size"},
    {WITH_IMP("\"banner\":{\"format\":[]}"), "imp[0].banner", "has no size"},
    {WITH_IMP("\"banner\":{\"w\":-5,\"h\":1}"), "imp[0].banner.w", "must not be negative"},
    {FORMAT("{}"), "imp[0].banner.format[1]", "either w and h"},
    {FORMAT("7"), "imp[0].banner.format[1]", "must be an object"},
    {FORMAT("{\"w\":1}"), "imp[0].banner.format[1]", "either w and h"},
    {FORMAT("{\"w\":1,\"h\":0}"), "imp[0].banner.format[1]", "either w and h"},
    {FORMAT("{\"w\":1,\"h\":1,\"wmin\":1}"), "imp[0].banner.format[1]", "either w and h"},
    {FORMAT("{\"wmin\":1,\"wratio\":1}"), "imp[0].banner.format[1]", "either w and h"},
    {FORMAT("{\"w\":1,\"h\":-1}"), "imp[0].banner.format[1].h", "must not be negative"},
    {FORMAT("{\"hratio\":-1}"), "imp[0].banner.format[1].hratio", "must not be negative"},
    {WITH_IMP("\"video\":{}"), "imp[0].video.mimes", "non-empty array of strings"},
    {WITH_IMP("\"video\":{\"mimes\":[]}"), "imp[0].video.mimes", "non-empty array of strings"},
    {WITH_IMP("\"video\":{\"mimes\":[7]}"), "imp[0].video.mimes", "non-empty array of strings"},
    {WITH_IMP("\"video\":{\"mimes\":[\"v\"],\"w\":-1}"), "imp[0].video.w", "not be negative"},
    {WITH_IMP("\"video\":{\"maxbitrate\":-1}"), "imp[0].video.maxbitrate", "not be negative"},
    {WITH_IMP("\"audio\":{\"sequence\":1}"), "imp[0].audio.mimes", "non-empty array of strings"},
    {WITH_IMP("\"audio\":{\"sequence\":-1}"), "imp[0].audio.sequence", "must not be negative"},
    {WITH_IMP("\"native\":{}"), "imp[0].native.request", "a string of JSON, or an object"},
    {WITH_IMP("\"native\":{\"request\":7}"), "imp[0].native.request", "a string of JSON"},
    {SIZED("\"bidfloor\":\"1\""), "imp[0].bidfloor", "must be a number"},
    {SIZED("\"bidfloor\":1e9"), "imp[0].bidfloor", "at most 9000000"},
    {SIZED("\"bidfloorcur\":\"EURO\""), "imp[0].bidfloorcur", "three letters"},
    {SIZED("\"bidfloorcur\":1"), "imp[0].bidfloorcur", "three letters"},
    {SIZED("\"pmp\":{\"deals\":[{}]}"), "imp[0].pmp.deals[0].id", "non-empty string"},
    {SIZED("\"pmp\":{\"deals\":[{\"id\":\"\"}]}"), "imp[0].pmp.deals[0].id", "non-empty string"},
    {SIZED("\"pmp\":{\"deals\":[7]}"), "imp[0].pmp.deals[0].id", "non-empty string"},
    {SIZED("\"pmp\":{\"deals\":[{\"id\":\"d\",\"bidfloor\":true}]}"),
     "imp[0].pmp.deals[0].bidfloor", "must be a number"},
    {SIZED("\"pmp\":{\"deals\":[{\"id\":\"d\",\"bidfloorcur\":\"x\"}]}"),
     "imp[0].pmp.deals[0].bidfloorcur", "three letters"}};

static void test_scan_faults(void **state)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct scanned s = scanned(faults[i].text);
        if (s.ok || strcmp(s.e.path, faults[i].path) != 0 ||
            strstr(s.e.reason, faults[i].reason) == NULL)
            fail_msg("%s\n%s: %s\nexpected %s: %s", faults[i].text, s.e.path, s.e.reason,
                     faults[i].path, faults[i].reason);
        scanned_free(&s);
    }
}

/* Markup, and what is wrong with it: behind "imp[0].native.request"; NULL = nothing. */
static const struct {
    const char *markup, *path;
} natives[] = {
    {"{\"assets\":[{\"title\":{\"len\":1}}]}", NULL},
    {"{\"native\":{\"ver\":\"1.0\",\"assets\":[{\"title\":{\"len\":1}}]}}", NULL},
    {"{\"context\":3,\"contextsubtype\":31,\"plcmttype\":4,\"assets\":[{\"img\":{\"w\":1}}]}",
     NULL},
    {"{\"context\":500,\"contextsubtype\":501,\"plcmttype\":600,\"assets\":[{}]}", NULL},
    {"{\"assets\":[{\"data\":{\"type\":12}},{\"data\":{\"type\":500}},{\"id\":1,\"img\":null}]}",
     NULL},
    {"{\"assets\":[{\"video\":{\"mimes\":[\"v\"],\"minduration\":1,\"maxduration\":2}}]}", NULL},
    {"native", ""},
    {"[]", ""},
    {"{\"assets\":[}", ""},
    {"{}", ".assets"},
    {"{\"assets\":{}}", ".assets"},
    {"{\"native\":{\"assets\":[]}}", ".assets"},
    {"{\"assets\":[7]}", ".assets[0]"},
    {"{\"assets\":[{},{\"title\":{\"len\":0}}]}", ".assets[1].title.len"},
    {"{\"assets\":[{\"title\":{\"len\":1},\"img\":{}}]}", ".assets[0]"},
    {"{\"assets\":[{\"img\":{\"hmin\":-1}}]}", ".assets[0].img.hmin"},
    {"{\"assets\":[{\"video\":{\"minduration\":1,\"maxduration\":2}}]}", ".assets[0].video.mimes"},
    {"{\"assets\":[{\"video\":{\"mimes\":[\"v\"],\"maxduration\":2}}]}",
     ".assets[0].video.minduration"},
    {"{\"assets\":[{\"data\":{\"type\":13}}]}", ".assets[0].data.type"},
    {"{\"assets\":[{\"data\":{}}]}", ".assets[0].data.type"},
    {"{\"context\":4,\"assets\":[{}]}", ".context"},
    {"{\"plcmttype\":5,\"assets\":[{}]}", ".plcmttype"},
    {"{\"contextsubtype\":41,\"context\":1,\"assets\":[{}]}", ".contextsubtype"},
    {"{\"contextsubtype\":-1,\"context\":1,\"assets\":[{}]}", ".contextsubtype"},
    {"{\"contextsubtype\":-1,\"assets\":[{}]}", NULL},
    {"{\"contextsubtype\":16,\"context\":500,\"assets\":[{}]}", ".contextsubtype"},
    {"{\"contextsubtype\":22,\"context\":500,\"assets\":[{}]}", NULL},
    {"{\"native\":{\"native\":{\"assets\":[{}]}}}", ".assets"}};

/* As an object in the request, and as a string of it. */
static void test_scan_native_markup(void **state)
{
    for (size_t i = 0; i < sizeof(natives) / sizeof(natives[0]); i++) {
        for (int as_string = 0; as_string < 2; as_string++) {
            const char *markup = natives[i].markup;
            json_t *string = json_string(markup);
            char *quoted = json_dumps(string, JSON_ENCODE_ANY);
            char text[512], path[128];
            if (!as_string && natives[i].path != NULL && natives[i].path[0] == '\0')
                markup = "7";
            sprintf(text, WITH_IMP("\"native\":{\"request\":%s}"), as_string ? quoted : markup);
            struct scanned s = scanned(text);
            sprintf(path, "imp[0].native.request%s",
                    natives[i].path != NULL ? natives[i].path : "");
            if (s.ok != (natives[i].path == NULL) || (!s.ok && strcmp(s.e.path, path) != 0))
                fail_msg("%s: %s: %s", text, s.e.path, s.e.reason);
            if (s.ok)
                is(s.r.imps[0].native_request, markup);
            scanned_free(&s);
            free(quoted);
            json_decref(string);
        }
    }
}

/* ---- spans ----------------------------------------------------------------------------------- */

/* The body with one place in it replaced, read again. */
static struct scanned spliced(const struct bid_request *r, struct body_span span, const char *with)
{
    char text[8192];
    memcpy(text, r->body.base, span.at);
    size_t n = span.at;
    memcpy(text + n, with, strlen(with));
    n += strlen(with);
    memcpy(text + n, r->body.base + span.at + span.len, r->body.len - span.at - span.len);
    n += r->body.len - span.at - span.len;
    text[n] = '\0';
    return accepted(text);
}

static void test_spans_splice(void **state)
{
    struct scanned s = accepted(full);
    struct scanned t = spliced(&s.r, s.r.tmax, "7");
    assert_int_equal(t.r.tmax_ms, 7);
    scanned_free(&t);
    t = spliced(&s.r, s.r.user_id, "");
    is(t.r.user.id, "");
    is(t.r.user.buyeruid, "b/u");
    scanned_free(&t);
    t = spliced(&s.r, s.r.buyeruid, "masked");
    is(t.r.user.buyeruid, "masked");
    scanned_free(&t);
    t = spliced(&s.r, s.r.ifa, "masked");
    is(t.r.device.ifa, "masked");
    scanned_free(&t);
    t = spliced(&s.r, s.r.ip, "192.0.2.0");
    is(t.r.device.ip, "192.0.2.0");
    scanned_free(&t);
    t = spliced(&s.r, s.r.ipv6, "2001:db8::");
    is(t.r.device.ipv6, "2001:db8::");
    is(t.r.device.ip, "192.0.2.1");
    scanned_free(&t);
    scanned_free(&s);

    s = accepted("\n{ " IMP ",\"id\":\"r\"}");
    t = spliced(&s.r, (struct body_span){s.r.members_at, 0}, "\"tmax\":55,");
    assert_int_equal(t.r.tmax_ms, 55);
    scanned_free(&t);
    scanned_free(&s);

    s = accepted(REQUEST("\"tmax\":null"));
    assert_int_equal(s.r.tmax_ms, -1);
    t = spliced(&s.r, s.r.tmax, "55");
    assert_int_equal(t.r.tmax_ms, 55);
    scanned_free(&t);
    scanned_free(&s);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static char *many_imps(uint32_t n, uint32_t same)
{
    char *text = malloc(64 + (size_t)n * 64);
    size_t len = (size_t)sprintf(text, "{\"id\":\"r\",\"imp\":[");
    for (uint32_t i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, "%s{\"id\":\"%u\",\"banner\":{\"w\":%u,\"h\":1}}",
                               i > 0 ? "," : "", i == same ? 3 : i, i + 1);
    sprintf(text + len, "]}");
    return text;
}

static void test_imps_max(void **state)
{
    static const struct {
        uint32_t n, max;
        bool ok;
    } cases[] = {{100, 0, true}, {101, 0, false}, {1, 1, true},
                 {2, 1, false},  {16, 16, true},  {5000, 5000, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = many_imps(cases[i].n, UINT32_MAX);
        struct scanned s = scanned_max(text, strlen(text), cases[i].max);
        assert_int_equal(s.ok, cases[i].ok);
        if (s.ok) {
            assert_int_equal(s.r.n_imps, cases[i].n);
            for (uint32_t k = 0; k < cases[i].n; k++)
                assert_int_equal(s.r.imps[k].sizes[0].w, k + 1);
        } else {
            char reason[64];
            sprintf(reason, "holds more than %u entries", cases[i].max > 0 ? cases[i].max : 100);
            assert_string_equal(s.e.path, "imp");
            assert_string_equal(s.e.reason, reason);
        }
        scanned_free(&s);
        free(text);
    }
}

static void test_imp_ids_unique_among_many(void **state)
{
    static const uint32_t counts[] = {5, 16, 17, 33, 1000};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (uint32_t same = 4; same < counts[i]; same += 1 + counts[i] / 7) {
            char path[32], *text = many_imps(counts[i], same);
            struct scanned s = scanned_max(text, strlen(text), 1000);
            sprintf(path, "imp[%u].id", same);
            assert_false(s.ok);
            assert_string_equal(s.e.path, path);
            assert_string_equal(s.e.reason, "must be unique: imp[3] has the same");
            scanned_free(&s);
            free(text);
        }
    }
}

static void test_lists_are_bounded(void **state)
{
    static const uint32_t counts[] = {
        1, 31, 32, 33, 100, BID_REQUEST_LIST_MAX, BID_REQUEST_LIST_MAX + 500};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint32_t n = counts[i], kept = n < BID_REQUEST_LIST_MAX ? n : BID_REQUEST_LIST_MAX;
        char *text = malloc(1024 + (size_t)n * 100), item[16];
        size_t len = (size_t)sprintf(text, "{\"id\":\"r\",\"badv\":[");
        for (uint32_t k = 0; k < n; k++)
            len += (size_t)sprintf(text + len, "%s\"a%u\"", k > 0 ? "," : "", k);
        len += (size_t)sprintf(text + len, "],\"imp\":[{\"id\":\"1\",\"banner\":{\"format\":[");
        for (uint32_t k = 0; k < n; k++)
            len += (size_t)sprintf(text + len, "%s{\"w\":%u,\"h\":1}", k > 0 ? "," : "", k + 1);
        len += (size_t)sprintf(text + len, "]},\"pmp\":{\"deals\":[");
        for (uint32_t k = 0; k < n; k++)
            len += (size_t)sprintf(text + len, "%s{\"id\":\"d%u\"}", k > 0 ? "," : "", k);
        sprintf(text + len, "]}}]}");
        struct scanned s = accepted(text);
        assert_int_equal(s.r.badv.n, kept);
        assert_int_equal(s.r.imps[0].n_deals, kept);
        assert_int_equal(s.r.imps[0].n_sizes, n < 256 ? n : 256);
        for (uint32_t k = 0; k < kept; k++) {
            sprintf(item, "a%u", k);
            is(s.r.badv.items[k], item);
            sprintf(item, "d%u", k);
            is(s.r.imps[0].deals[k].id, item);
        }
        scanned_free(&s);
        free(text);
    }
}

/* Whatever is cut off or changed, the scan ends well: it accepts, or it says why not. */
static void test_scan_cut_and_mutated(void **state)
{
    struct prng prng = {4};
    size_t len = sizeof(full) - 1;
    char copy[sizeof(full)];
    for (size_t n = 0; n < len; n++) {
        struct scanned s = scanned_max(full, n, 0);
        assert_int_equal(s.ok, n >= len - 2); /* white space behind it may go */
        scanned_free(&s);
    }
    for (size_t i = 0; i < 4 * len; i++) {
        memcpy(copy, full, sizeof(full));
        copy[i / 4] = i % 2 == 0 ? (char)prng_next(&prng) : "{}[]\",:0-\\"[prng_next(&prng) % 10];
        struct scanned s = scanned_max(copy, len, 0);
        scanned_free(&s);
    }
}

/* ---- the corpus ------------------------------------------------------------------------------ */

/* Why requests.ndjson's requests are refused, each a real fault of those requests. They are tests
 * of prebid-server's adapters, which take what its own door would refuse. At most so many each: a
 * rule that refuses more than it did is too strict. */
static const struct {
    const char *path_end, *reason;
    unsigned most;
    const char *why;
} refusals[] = {
    {"site", "at most one of site, app and dooh", 22, "both site and app"},
    {"app", "at most one of site, app and dooh", 8, "both site and app"},
    {".native.request", "not a JSON object", 47, "a placeholder instead of markup"},
    {".native.request", "must be a native ad request", 11, "no markup, which is required"},
    {".native.request.assets", "must be a non-empty array", 14, "no assets, which are required"},
    {".native.request.plcmttype", "must be 1 to 4", 6, "plcmttype 11"},
    {".title.len", "must be a positive number", 4, "no title.len, which is required"},
    {".id", "must be unique", 5, "two imps of one id"},
    {".banner", "has no size", 5, "neither w and h nor format"},
    {".video.mimes", "non-empty array", 4, "no mimes, which are required"}};
enum { REFUSALS = sizeof(refusals) / sizeof(refusals[0]) };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void test_corpus_requests(void **state)
{
    const char *folder = corpus();
    if (folder == NULL)
        return;
    char path[1024];
    snprintf(path, sizeof(path), "%s/openrtb/requests.ndjson", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t capacity = 0;
    unsigned n = 0, refused = 0, counts[REFUSALS] = {0};
    for (ssize_t len; (len = getline(&line, &capacity, file)) > 0; n++) {
        json_t *root = json_loadb(line, (size_t)len, 0, NULL);
        char *body = json_dumps(json_object_get(root, "body"), JSON_COMPACT);
        struct scanned s = scanned(body);
        refused += !s.ok;
        int k = 0;
        while (!s.ok && k < REFUSALS &&
               !(ends_with(s.e.path, refusals[k].path_end) &&
                 strstr(s.e.reason, refusals[k].reason) != NULL))
            k++;
        if (k == REFUSALS)
            fail_msg("line %u: %s: %s: %.300s", n + 1, s.e.path, s.e.reason, body);
        counts[k] += !s.ok;
        scanned_free(&s);
        free(body);
        json_decref(root);
    }
    print_message("requests.ndjson: %u of %u refused\n", refused, n);
    for (int k = 0; k < REFUSALS; k++) {
        print_message("%6u  %s (%s)\n", counts[k], refusals[k].why, refusals[k].path_end);
        assert_true(counts[k] <= refusals[k].most);
    }
    free(line);
    fclose(file);
}

static void test_corpus_captured(void **state)
{
    const char *folder = corpus();
    if (folder == NULL)
        return;
    char command[1024];
    snprintf(command, sizeof(command), "zcat '%s/openrtb/captured-2012.ndjson.gz'", folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char *line = NULL;
    size_t capacity = 0;
    unsigned n = 0, sites = 0, cities = 0;
    for (ssize_t len; (len = getline(&line, &capacity, pipe)) > 0; n++) {
        struct scanned s = accepted(line);
        sites += s.r.channel == CHANNEL_SITE;
        cities += s.r.geo.city.len > 0;
        assert_true(s.r.n_imps == 1 && s.r.imps[0].n_sizes > 0 && s.r.tmax_ms > 0);
        scanned_free(&s);
    }
    assert_int_equal(pclose(pipe), 0);
    print_message("captured-2012: %u accepted, %u of a site, %u with a city\n", n, sites, cities);
    assert_int_equal(n, 10000);
    free(line);
}

/* Where we judge otherwise than prebid-server: part of its message, or of the body where it says
 * nothing, and why. */
static const struct {
    bool prebid_accepts;
    const char *mark, *why;
} exceptions[] = {{false, "ext.prebid.aliases", "Prebid's aliases"},
                  {false, "ext.prebid.bidadjustmentfactors", "Prebid's ext"},
                  {false, "ext.prebid.cache", "Prebid's ext"},
                  {false, "ext.prebid.bidder must contain", "Prebid's ext: which bidders to call"},
                  {false, "imp[0].ext is required", "Prebid's ext: which bidders to call"},
                  {false, "device.ext.prebid.interstitial", "Prebid's ext"},
                  {false, "openrtb_ext.ExtAppPrebid", "Prebid's ext"},
                  {false, "ext.prebid.storedrequest.id", "stored requests"},
                  {false, "user.ext.prebid requires", "Prebid's ext"},
                  {true, "\"storedrequest\":{\"id\":\"1\"}",
                   "stored requests: the imp as posted offers no medium"}};

static int find_exception(bool prebid_accepts, const char *message, const char *body)
{
    for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
        if (exceptions[i].prebid_accepts == prebid_accepts &&
            strstr(prebid_accepts ? body : message, exceptions[i].mark) != NULL)
            return (int)i;
    }
    return -1;
}

static void test_corpus_prebid_verdicts(void **state)
{
    const char *folder = corpus();
    if (folder == NULL)
        return;
    char path[1024];
    snprintf(path, sizeof(path), "%s/openrtb/invalid_requests.ndjson", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t capacity = 0;
    unsigned agree_accepted = 0, agree_refused = 0;
    for (ssize_t len; (len = getline(&line, &capacity, file)) > 0;) {
        json_t *root = json_loadb(line, (size_t)len, 0, NULL);
        bool theirs = json_integer_value(json_object_get(root, "prebid_status")) == 200;
        const char *message = json_string_value(json_object_get(root, "prebid_message"));
        char *body = json_dumps(json_object_get(root, "body"), JSON_COMPACT);
        struct scanned s = scanned(body);
        int exception = find_exception(theirs, message != NULL ? message : "", body);
        if (s.ok == theirs) {
            agree_accepted += s.ok;
            agree_refused += !s.ok;
            if (exception >= 0)
                fail_msg("needless exception \"%s\": %s", exceptions[exception].mark, body);
        } else if (exception >= 0) {
            print_message("%s, not Prebid: %s\n", s.ok ? "accepted by us" : "refused by us",
                          exceptions[exception].why);
        } else {
            fail_msg("Prebid: %s; we: %s %s: %s", message, s.e.path, s.e.reason, body);
        }
        scanned_free(&s);
        free(body);
        json_decref(root);
    }
    print_message("Prebid's verdicts: %u accepted by both, %u refused by both\n", agree_accepted,
                  agree_refused);
    assert_true(agree_accepted >= 30 && agree_refused >= 35);
    free(line);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan_request_fields),
        cmocka_unit_test(test_scan_device_user_geo),
        cmocka_unit_test(test_scan_imps),
        cmocka_unit_test(test_scan_absent_fields),
        cmocka_unit_test(test_scan_app_and_dooh),
        cmocka_unit_test(test_scan_odd_types_are_absent),
        cmocka_unit_test(test_scan_odd_imps_are_accepted),
        cmocka_unit_test(test_scan_last_of_duplicates_counts),
        cmocka_unit_test(test_scan_escaped_keys),
        cmocka_unit_test(test_scan_faults),
        cmocka_unit_test(test_scan_native_markup),
        cmocka_unit_test(test_spans_splice),
        cmocka_unit_test(test_imps_max),
        cmocka_unit_test(test_imp_ids_unique_among_many),
        cmocka_unit_test(test_lists_are_bounded),
        cmocka_unit_test(test_scan_cut_and_mutated),
        cmocka_unit_test(test_corpus_requests),
        cmocka_unit_test(test_corpus_captured),
        cmocka_unit_test(test_corpus_prebid_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
