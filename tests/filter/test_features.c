/* Sources by table: what a request, its place and its time become. And schemas that are refused. */
#include "tests/filter/fixture.h"

#include <malloc.h>

#include "filter/encoder.h"
#include "filter/features.h"
#include "filter/schema.h"

static struct schema *parse(const char *json, struct error *err)
{
    return schema_parse(bytes_of(json), "test", err);
}

/* A schema of the DSP and this one source; NULL ends nothing here: the source must exist. */
static struct schema *schema_of(const char *source)
{
    char json[256];
    struct error err;
    snprintf(
        json, sizeof(json),
        "{\"features\":[{\"name\":\"dsp\",\"source\":\"dsp\"},{\"name\":\"x\",\"source\":\"%s\"}]}",
        source);
    struct schema *s = parse(json, &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    return s;
}

/* All values of a feature, "|" between them; a number with 4 digits behind the point. */
static void extract_text(const struct schema *s, const struct bid_request *r, int64_t ts_ms,
                         struct arena *arena, char out[512])
{
    struct geo_place place;
    struct raw_features raw;
    geo_locate(NULL, r, &place);
    features_extract(s, r, &place, ts_ms, arena, &raw);
    out[0] = '\0';
    for (uint32_t i = 0; i < schema_slots(s); i++)
        if (raw.texts[i].len > 0)
            snprintf(out + strlen(out), 512 - strlen(out), "%s%.*s", i > 0 ? "|" : "",
                     (int)raw.texts[i].len, raw.texts[i].base);
    for (uint32_t i = 0; i < schema_numbers(s); i++)
        snprintf(out, 512, isnan(raw.numbers[i]) ? "nan" : "%.4f", raw.numbers[i]);
}

#define GEO(inside) "\"device\":{\"geo\":{" inside "}}"
#define SITE(inside) "\"site\":{" inside "}"
#define APP(inside) "\"app\":{" inside "}"
#define USER(inside) "\"user\":{" inside "}"
#define DEVICE(inside) "\"device\":{" inside "}"
#define BANNER "\"banner\":{\"w\":320,\"h\":50}"
#define IMP(inside) "\"imp\":[{\"id\":\"1\"," inside "}]"
#define IMPS(a, b) "\"imp\":[{\"id\":\"1\"," a "},{\"id\":\"2\"," b "}]"
#define VIDEO(inside) IMP("\"video\":{\"mimes\":[\"video/mp4\"]" inside "}")
#define DEALS(list) BANNER ",\"pmp\":{\"deals\":[" list "]}"
#define SUA(browsers)                  \
    "\"sua\":{\"browsers\":[" browsers \
    "],\"platform\":{\"brand\":\"Android\",\"version\":[\"14\",\"1\"]}}"
#define UA(text) DEVICE("\"ua\":\"" text "\"")
#define CHROME                                                                          \
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) " \
    "Chrome/120.0.0.0 Safari/537.36"
#define IPHONE                                                                                  \
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like " \
    "Gecko) Version/17.1 Mobile/15E148 Safari/604.1"

static const struct {
    const char *source, *members, *expected;
} CASES[] = {
    {"geo.code", "", ""},
    {"geo.code", GEO("\"country\":\"us\""), "USA"},
    {"geo.code", GEO("\"country\":\"USA\",\"region\":\"CA\""), "USA/ca"},
    {"geo.code", GEO("\"country\":\"USA\",\"region\":\"US-CA\",\"city\":\"Oakland\""),
     "USA/ca/oakland"},
    {"geo.code", GEO("\"country\":\"USA\",\"city\":\"Oakland\""), "USA/-/oakland"},
    {"geo.code", GEO("\"city\":\"Oakland\""), ""},
    {"geo.code", GEO("\"country\":\"USA\",\"region\":\"CA\",\"metro\":\"807\""),
     "USA/ca/metro-807"},
    {"geo.code", GEO("\"country\":\"USA\",\"metro\":\"807\""), "USA/-/metro-807"},
    {"geo.code", GEO("\"country\":\"USA\",\"city\":\"Oakland\",\"metro\":\"807\""),
     "USA/-/oakland"},
    {"geo.code", GEO("\"metro\":\"807\""), ""},
    {"geo.country", GEO("\"country\":\"gbr\""), "GBR"},
    {"geo.region", GEO("\"country\":\"USA\",\"region\":\"CA\""), "USA/ca"},
    {"geo.region", GEO("\"region\":\"CA\""), ""},
    {"geo.city", GEO("\"country\":\"USA\",\"city\":\"Oakland\""), "USA/oakland"},
    {"geo.zip3", GEO("\"country\":\"GBR\",\"zip\":\"SW1A 1AA\""), "GBR/sw1"},
    {"geo.zip3", GEO("\"country\":\"GBR\",\"zip\":\"S\""), "GBR/s"},
    {"geo.metro", GEO("\"country\":\"USA\",\"metro\":\"807\""), "USA/807"},
    {"geo.type", GEO("\"type\":2"), "2"},
    {"geo.lat", GEO("\"lat\":51.5,\"lon\":-0.1"), "51.5000"},
    {"geo.lat", GEO("\"lat\":91,\"lon\":0"), "nan"},
    {"geo.lon", GEO("\"lat\":51.5,\"lon\":-0.1"), "-0.1000"},
    {"time.hour", "", "14"},
    {"time.hour", GEO("\"utcoffset\":330"), "20"},
    {"time.hour", GEO("\"country\":\"IND\""), "20"},
    {"time.hour", GEO("\"country\":\"IND\",\"utcoffset\":0"), "14"},
    {"time.hour", GEO("\"country\":\"CHN\",\"lat\":43.8,\"lon\":87.6"), "22"},
    {"time.hour", GEO("\"country\":\"USA\""), "9"},
    {"time.hour", GEO("\"country\":\"USA\",\"lat\":37.8,\"lon\":-122.3"), "6"},
    {"time.hour", GEO("\"lat\":37.8,\"lon\":-122.3"), "6"},
    {"time.hour", GEO("\"country\":\"ATA\""), "14"},
    {"time.hour", GEO("\"utcoffset\":-840"), "0"},
    {"time.weekday", "", "2"},
    {"time.weekday", GEO("\"utcoffset\":840"), "3"},
    {"time.hour_of_week", "", "62"},
    {"time.hour_of_week", GEO("\"utcoffset\":-60"), "61"},
    {"time.hour_utc", GEO("\"utcoffset\":-60"), "14"},
    {"time.half_hour_utc", GEO("\"utcoffset\":-60"), "29"},
    {"channel", "", ""},
    {"channel", SITE(""), "site"},
    {"channel", APP(""), "app"},
    {"channel", "\"dooh\":{}", "dooh"},
    {"property.domain", SITE("\"page\":\"https://WWW.Example.com/a\""), "example.com"},
    {"property.domain", APP("\"bundle\":\"com.Foo\""), "com.foo"},
    {"property.id", SITE("\"id\":\"S-1\""), "S-1"},
    {"property.publisher", SITE("\"publisher\":{\"id\":\"P1\",\"name\":\"N\"}"), "P1"},
    {"property.publisher", SITE("\"publisher\":{\"name\":\"Name\"}"), "name"},
    {"property.section", SITE("\"page\":\"https://a.com/News/x.html\""), "a.com/news"},
    {"property.section", SITE("\"page\":\"https://a.com/x.html?u=/b/\""), ""},
    {"property.cat", SITE("\"cat\":[\"IAB1-2\",\"IAB3\",\"IAB1-2\"]"), "IAB1-2|IAB3"},
    {"property.cat", SITE("\"cat\":[\"1\",\"2\",\"3\",\"4\",\"5\"]"), "1|2|3|4"},
    {"property.cat_top", SITE("\"cat\":[\"IAB1-2\",\"IAB1-6\",\"IAB9\"]"), "IAB1|IAB9"},
    {"property.sectioncat", SITE("\"sectioncat\":[\"IAB5\"]"), "IAB5"},
    {"property.pagecat", SITE("\"pagecat\":[\"IAB6\",\"\"]"), "IAB6"},
    {"property.venue", "\"dooh\":{\"venuetype\":[\"retail.malls\",\"transit\"]}",
     "retail.malls|transit"},
    {"property.mobile", SITE("\"mobile\":1"), "1"},
    {"property.mobile", APP(""), ""},
    {"content.genre", APP("\"content\":{\"genre\":\"Sport\"}"), "sport"},
    {"content.language", APP("\"content\":{\"language\":\"EN\"}"), "en"},
    {"imp.media", "", "banner"},
    {"imp.media", IMPS(BANNER, "\"video\":{\"mimes\":[\"video/mp4\"]}"), "banner+video"},
    {"imp.size",
     IMPS("\"banner\":{\"format\":[{\"w\":300,\"h\":250},{\"w\":728,\"h\":90}]}",
          "\"banner\":{\"w\":300,\"h\":250}"),
     "300x250|728x90"},
    {"imp.size", IMP("\"video\":{\"mimes\":[\"video/mp4\"],\"w\":1920,\"h\":1080}"), "1920x1080"},
    {"imp.first_size", "", "320x50"},
    {"imp.pos", IMP("\"banner\":{\"w\":1,\"h\":1,\"pos\":3}"), "3"},
    {"imp.pos", "", ""},
    {"imp.tagid", IMPS(BANNER, BANNER ",\"tagid\":\"Slot-A\""), "Slot-A"},
    {"imp.count", "", "1"},
    {"imp.count", IMPS(BANNER, BANNER), "2"},
    {"imp.instl", IMP(BANNER ",\"instl\":1"), "1"},
    {"imp.instl", "", "0"},
    {"imp.secure", "", ""},
    {"imp.secure", IMP(BANNER ",\"secure\":1"), "1"},
    {"imp.secure", IMP(BANNER ",\"secure\":0"), "0"},
    {"imp.rewarded", IMP(BANNER ",\"rwdd\":1"), "1"},
    {"imp.deal", IMP(DEALS("{\"id\":\"d1\"},{\"id\":\"d2\"},{\"id\":\"d1\"}")), "d1|d2"},
    {"imp.deals", "", "none"},
    {"imp.deals", IMP(DEALS("{\"id\":\"d1\"}")), "open"},
    {"imp.deals", IMP(BANNER ",\"pmp\":{\"private_auction\":1,\"deals\":[{\"id\":\"d\"}]}"),
     "private"},
    {"imp.floor", "", "0.0000"},
    {"imp.floor", IMP(BANNER ",\"bidfloor\":1"), "0.6931"},
    {"imp.floor", IMPS(BANNER ",\"bidfloor\":3", BANNER ",\"bidfloor\":1"), "0.6931"},
    {"imp.floor_band", "", "0"},
    {"imp.floor_band", IMP(BANNER ",\"bidfloor\":1"), "^0"},
    {"imp.floor_band", IMP(BANNER ",\"bidfloor\":0.5"), "^-2"},
    {"imp.floor_band", IMP(BANNER ",\"bidfloor\":2.1"), "^2"},
    {"imp.floor_band", IMP(BANNER ",\"bidfloor\":1.41,\"bidfloorcur\":\"EUR\""), "EUR ^1"},
    {"imp.floor_currency", "", "USD"},
    {"imp.deal_floor", "", "nan"},
    {"imp.deal_floor", IMP(DEALS("{\"id\":\"a\",\"bidfloor\":3},{\"id\":\"b\",\"bidfloor\":1}")),
     "0.6931"},
    {"video.placement", VIDEO(",\"placement\":3"), "3"},
    {"video.placement", VIDEO(",\"placement\":3,\"plcmt\":2"), "p2"},
    {"video.placement", "", ""},
    {"video.duration", VIDEO(",\"maxduration\":30"), "<=30"},
    {"video.duration", VIDEO(",\"maxduration\":31"), "<=60"},
    {"video.duration", VIDEO(""), ""},
    {"video.min_duration", VIDEO(",\"minduration\":5"), "<=6"},
    {"video.protocol", VIDEO(",\"protocols\":[7,2,3]"), "2|3|7"},
    {"video.linearity", VIDEO(",\"linearity\":1"), "1"},
    {"video.skip", VIDEO(",\"skip\":1"), "1"},
    {"video.start", VIDEO(",\"startdelay\":0"), "pre"},
    {"video.start", VIDEO(",\"startdelay\":-1"), "mid"},
    {"video.start", VIDEO(",\"startdelay\":-2"), "post"},
    {"video.start", VIDEO(""), ""},
    {"device.type", DEVICE("\"devicetype\":4"), "4"},
    {"device.type", UA(IPHONE), "phone"},
    {"device.type", UA(CHROME), "desktop"},
    {"device.os", DEVICE("\"os\":\"iPhone OS\""), "ios"},
    {"device.os", DEVICE("\"os\":\"Mac OS X\""), "macos"},
    {"device.os", DEVICE("\"os\":\"Symbian\""), "symbian"},
    {"device.os", UA(CHROME), "windows"},
    {"device.os", UA(IPHONE), "ios"},
    {"device.os_major", DEVICE("\"os\":\"Android\",\"osv\":\"13.1.2\""), "android 13"},
    {"device.os_major", DEVICE("\"os\":\"Android\",\"osv\":\"x\""), ""},
    {"device.make", DEVICE("\"make\":\"Apple\""), "apple"},
    {"device.browser", UA(CHROME), "chrome"},
    {"device.browser", UA(CHROME " Edg/120"), "edge"},
    {"device.browser", UA(IPHONE), "safari"},
    {"device.browser", UA("curl/8"), "other"},
    {"device.browser",
     DEVICE(SUA(
         "{\"brand\":\"Not:A-Brand\"},{\"brand\":\"Chromium\"},{\"brand\":\"Microsoft Edge\"}")),
     "edge"},
    {"device.browser", DEVICE(SUA("{\"brand\":\"Not:A-Brand\"},7,{}")), ""},
    {"device.browser", DEVICE("\"sua\":{\"browsers\":7},\"ua\":\"" CHROME "\""), "chrome"},
    {"device.os", DEVICE(SUA("")), "android"},
    {"device.os", DEVICE(SUA("") ",\"os\":\"iOS\""), "ios"},
    {"device.os_major", DEVICE(SUA("")), "android 14"},
    {"device.os_major", DEVICE(SUA("") ",\"osv\":\"9.1\""), "android 9"},
    {"device.browser", "", ""},
    {"device.language", DEVICE("\"language\":\"en-US\""), "en"},
    {"device.carrier", DEVICE("\"carrier\":\"T-Mobile\""), "t-mobile"},
    {"device.carrier", DEVICE("\"mccmnc\":\"310-005\""), "310-005"},
    {"device.connectiontype", DEVICE("\"connectiontype\":2"), "2"},
    {"device.screen", DEVICE("\"w\":390,\"h\":844"), "390x844"},
    {"device.screen", DEVICE("\"w\":390"), ""},
    {"device.ip_version", DEVICE("\"ip\":\"1.2.3.4\""), "4"},
    {"device.ip_version", "", "none"},
    {"device.tracking", DEVICE("\"lmt\":1,\"dnt\":0"), "limited"},
    {"device.tracking", DEVICE("\"dnt\":0"), "allowed"},
    {"device.tracking", "", ""},
    {"user.has_id", USER("\"id\":\"u\""), "1"},
    {"user.has_id", "", "0"},
    {"user.has_buyeruid", USER("\"buyeruid\":\"b\""), "1"},
    {"user.identity", USER("\"id\":\"u\",\"buyeruid\":\"b\""), "id+buyeruid"},
    {"user.identity", DEVICE("\"ifa\":\"0000-00\""), "none"},
    {"user.gender", USER("\"gender\":\"F\""), "f"},
    {"user.age_band", USER("\"yob\":1990"), "35-44"},
    {"user.age_band", USER("\"yob\":2030"), ""},
    {"user.age_band", "", ""},
    {"user.eid", USER("\"eids\":[{\"source\":\"A.org\",\"uids\":[{\"id\":\"1\"}]}]"), "a.org"},
    {"user.segments", USER("\"data\":[{\"segment\":[{\"id\":\"1\"},{\"id\":\"2\"}]}]"), "1.0986"},
    {"regs.gdpr", "\"regs\":{\"gdpr\":1}", "1"},
    {"regs.coppa", "\"regs\":{\"coppa\":0}", "0"},
    {"regs.consent", "\"regs\":{\"gdpr\":1},\"user\":{\"consent\":\"C\"}", "gdpr+consent"},
    {"regs.consent", "", "none"},
    {"regs.us_privacy", "\"regs\":{\"us_privacy\":\"1YNN\"}", "1ynn"},
    {"regs.gpp", "\"regs\":{\"gpp\":\"D\"}", "1"},
    {"request.at", "\"at\":1", "1"},
    {"request.at", "", ""},
    {"request.tmax", "\"tmax\":100", "4.6151"},
    {"request.tmax", "", "nan"},
    {"request.cur", "\"cur\":[\"USD\",\"EUR\"]", "USD|EUR"},
    {"request.wseat", "\"wseat\":[\"s\"]", "s"},
    {"request.bcat", "\"bcat\":[\"a\",\"b\"]", "1.0986"},
    {"request.badv", "", "0.0000"},
    {"schain.length",
     "\"source\":{\"schain\":{\"complete\":1,\"ver\":\"1.0\",\"nodes\":[{\"asi\":\"A.com\",\"sid\":"
     "\"1\",\"hp\":1}]}}",
     "1"},
    {"schain.asi",
     "\"source\":{\"ext\":{\"schain\":{\"complete\":1,\"ver\":\"1.0\",\"nodes\":[{\"asi\":\"A."
     "com\",\"sid\":\"1\",\"hp\":1}]}}}",
     "a.com"},
};

static void test_sources_by_table(void **state)
{
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct bid_request r;
        char got[512];
        struct schema *s = schema_of(CASES[i].source);
        fixture_request(&r, CASES[i].members, &arena);
        extract_text(s, &r, FIXTURE_TS, &arena, got);
        if (strcmp(got, CASES[i].expected) != 0)
            fail_msg("%s of {%s}: got \"%s\", expected \"%s\"", CASES[i].source, CASES[i].members,
                     got, CASES[i].expected);
        schema_destroy(s);
        arena_reset(&arena, 1 << 16);
    }
    arena_dispose(&arena);
}

static void test_time_before_and_far(void **state)
{
    static const struct {
        int64_t ts_ms;
        const char *hour_of_week;
    } cases[] = {
        {0, "72"},         {-1, "71"},        {INT64_C(4) * 86400000, "0"},
        {INT64_MAX, NULL}, {INT64_MIN, NULL}, {INT64_C(-86400000) * 3, "0"},
    };
    struct arena arena = {0};
    struct schema *s = schema_of("time.hour_of_week");
    struct bid_request r;
    fixture_request(&r, "", &arena);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char got[512];
        extract_text(s, &r, cases[i].ts_ms, &arena, got);
        if (cases[i].hour_of_week != NULL)
            assert_string_equal(got, cases[i].hour_of_week);
        else
            assert_true(atoi(got) >= 0 && atoi(got) < 168);
    }
    schema_destroy(s);
    arena_dispose(&arena);
}

/* The database's time zone stands before the country's; the request's own offset before both. */
static void test_time_zone_of_the_database(void **state)
{
    struct arena arena = {0};
    struct schema *s = schema_of("time.hour");
    struct bid_request r;
    fixture_request(&r, "", &arena);
    struct geo_place place = {.country = bytes_of("USA"),
                              .time_zone = bytes_of("America/Denver"),
                              .lat = NAN,
                              .lon = NAN,
                              .utcoffset_min = GEO_UTCOFFSET_ABSENT};
    struct raw_features raw;
    features_extract(s, &r, &place, FIXTURE_TS, &arena, &raw);
    assert_bytes(raw.texts[0], "7", "zone");
    features_extract(s, &r, &place, FIXTURE_TS - INT64_C(150) * 86400000, &arena, &raw);
    assert_bytes(raw.texts[0], "8", "zone in summer");
    place.time_zone = bytes_of("America/Nowhere");
    features_extract(s, &r, &place, FIXTURE_TS, &arena, &raw);
    assert_bytes(raw.texts[0], "9", "country");
    place.utcoffset_min = 60;
    features_extract(s, &r, &place, FIXTURE_TS, &arena, &raw);
    assert_bytes(raw.texts[0], "15", "request");
    schema_destroy(s);
    arena_dispose(&arena);
}

/* {name, source} of every source there is. */
static struct schema *schema_of_all(void)
{
    static char json[32768];
    size_t n;
    struct error err;
    const struct feature_source *sources = feature_source_table(&n);
    char *at = json + sprintf(json, "{\"features\":[");
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s{\"name\":\"f%zu\",\"source\":\"%s\"}", i > 0 ? "," : "", i,
                      sources[i].name);
    strcpy(at, "]}");
    struct schema *s = parse(json, &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    return s;
}

/* What every source promises: bounded texts, no empty one before a full one, no value twice,
 * numbers that are finite or NAN. */
static void check_promises(const struct schema *s, const struct raw_features *raw)
{
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct schema_feature *f = &s->features[i];
        for (uint32_t k = 0; k < f->slots; k++) {
            struct bytes text = raw->texts[f->at + k];
            assert_true(text.len <= 400);
            assert_true(text.len == 0 || text.base != NULL);
            if (k > 0 && text.len > 0)
                assert_true(raw->texts[f->at + k - 1].len > 0);
            for (uint32_t j = 0; j < k && text.len > 0; j++)
                assert_false(bytes_equal(raw->texts[f->at + j], text));
        }
    }
    for (uint32_t i = 0; i < s->n_numbers; i++)
        assert_true(isnan(raw->numbers[i]) || isfinite(raw->numbers[i]));
}

static size_t extract_file(const struct schema *s, const char *path, bool wrapped)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct arena arena = {0};
    char *line = NULL;
    size_t room = 0, read = 0;
    ssize_t len;
    while ((len = getline(&line, &room, file)) > 0) {
        struct bid_request r;
        struct bid_request_error e;
        struct geo_place place;
        struct raw_features raw;
        struct bytes body = {line, (size_t)len};
        const char *at = wrapped ? strstr(line, "\"body\":") : line;
        assert_non_null(at);
        if (wrapped)
            body = (struct bytes){at + 7, (size_t)(line + len - at) - 7 - 2};
        arena_reset(&arena, 1 << 20);
        if (!bid_request_scan(&r, body, 0, &arena, &e))
            continue;
        read++;
        geo_locate(NULL, &r, &place);
        features_extract(s, &r, &place, FIXTURE_TS, &arena, &raw);
        check_promises(s, &raw);
    }
    free(line);
    fclose(file);
    arena_dispose(&arena);
    return read;
}

static void test_all_sources_on_the_corpus(void **state)
{
    char path[512];
    if (fixture_corpus("openrtb/requests.ndjson", path) == NULL)
        return;
    struct schema *s = schema_of_all();
    assert_true(extract_file(s, path, true) > 1000);
    schema_destroy(s);
}

/* Odd and hostile, but valid JSON. */
static void test_all_sources_on_odd_requests(void **state)
{
    static const char *const odd[] = {
        "\"user\":{\"yob\":-2147483648,\"gender\":\"\"}",
        "\"user\":{\"yob\":2147483647}",
        "\"device\":{\"w\":2147483647,\"h\":2147483647,\"osv\":\"999999999999999999\",\"os\":\" "
        "\"}",
        "\"device\":{\"geo\":{\"country\":\"\\u0000\\u0000\",\"zip\":\"\\u0000\"}}",
        "\"device\":{\"geo\":{\"lat\":1e308,\"lon\":-1e308,\"utcoffset\":-2147483648}}",
        "\"site\":{\"page\":\"////\",\"domain\":\"...\",\"cat\":[\"-\",\"\",\"-1\"]}",
        "\"app\":{\"bundle\":\"\\ud83d\\ude00\"}",
        "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":1e-30}]",
        "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1},\"bidfloor\":9000000}]",
        "\"tmax\":9000000000000000000",
    };
    struct schema *s = schema_of_all();
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct bid_request r;
        struct bid_request_error e;
        struct geo_place place;
        struct raw_features raw;
        char json[512];
        snprintf(json, sizeof(json), "{\"id\":\"r\"%s,%s}",
                 strstr(odd[i], "\"imp\"") != NULL
                     ? ""
                     : ",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]",
                 odd[i]);
        if (!bid_request_scan(&r, bytes_of(json), 0, &arena, &e))
            continue;
        geo_locate(NULL, &r, &place);
        features_extract(s, &r, &place, INT64_MIN, &arena, &raw);
        check_promises(s, &raw);
    }
    arena_dispose(&arena);
    schema_destroy(s);
}

/* Request after request, from its text to the encoder's rows: once warm, the arena grows no more
 * and nothing else is kept. */
static void test_memory_does_not_grow(void **state)
{
    static const char members[] =
        APP("\"bundle\":\"com.Example.App\",\"cat\":[\"IAB1-2\",\"IAB9\"]") "," DEVICE(
            SUA("{\"brand\":\"Chromium\"}") ",\"ua\":\"" IPHONE
                                            "\",\"geo\":{\"country\":\"USA\",\"region\":\"CA\","
                                            "\"city\":\"Oakland\"}");
    struct schema *s = schema_of_all();
    struct encoder *e = encoder_create(s);
    struct arena arena = {0};
    uint32_t *slots = calloc(schema_slots(s) + 1, sizeof(*slots));
    float *numeric = calloc(2 * (size_t)schema_numbers(s) + 1, sizeof(*numeric));
    struct arena_chunk *chunk = NULL;
    size_t before = 0;
    for (int round = 0; round < 100; round++) {
        struct bid_request r;
        struct geo_place place;
        struct raw_features raw;
        if (round == 2)
            before = mallinfo2().uordblks, chunk = arena.current;
        arena_reset(&arena, 1 << 20);
        fixture_request(&r, members, &arena);
        geo_locate(NULL, &r, &place);
        features_extract(s, &r, &place, FIXTURE_TS, &arena, &raw);
        encoder_encode(e, &raw, slots, numeric);
    }
    assert_true(mallinfo2().uordblks == before);
    assert_true(arena.current == chunk && chunk->next == NULL);
    free(slots);
    free(numeric);
    arena_dispose(&arena);
    encoder_destroy(e);
    schema_destroy(s);
}

/* ---- schemas ---- */

#define DSP "{\"name\":\"dsp\",\"source\":\"dsp\"}"
#define WITH(feature) "{\"features\":[" DSP "," feature "]}"

static void test_schema_refused(void **state)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"", "test:"},
        {"[]", "must be an object"},
        {"{}", "features: must be an array"},
        {"{\"features\":[]}", "features: must be an array"},
        {"{\"features\":[" DSP "],\"x\":1}", "x: unknown key"},
        {"{\"features\":[1]}", "features[0]: must be an object"},
        {WITH("{\"source\":\"channel\"}"), "features[1].name"},
        {WITH("{\"name\":\"A\",\"source\":\"channel\"}"), "features[1].name"},
        {WITH("{\"name\":\"\",\"source\":\"channel\"}"), "features[1].name"},
        {WITH("{\"name\":\"a\"}"), "features[1].source: must name"},
        {WITH("{\"name\":\"a\",\"source\":\"geo.contry\"}"), "geo.country"},
        {WITH("{\"name\":\"a\",\"source\":\"country\"}"), "geo.country"},
        {WITH("{\"name\":\"a\",\"source\":\"zzzzzz\"}"), "docs/features.md"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"dims\":3}"),
         "features[1].dims: unknown key"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"dim\":0}"),
         "features[1].dim: must be 1..256"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"dim\":257}"), "not 257"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"dim\":1.5}"), "whole number"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"slots\":2}"), "features[1].slots"},
        {WITH("{\"name\":\"a\",\"source\":\"imp.size\",\"slots\":17}"), "must be 1..16"},
        {WITH("{\"name\":\"a\",\"source\":\"imp.size\",\"type\":\"number\"}"), "features[1].type"},
        {WITH("{\"name\":\"a\",\"source\":\"imp.floor\",\"type\":\"text\"}"), "features[1].type"},
        {WITH("{\"name\":\"a\",\"source\":\"imp.floor\",\"dim\":4}"), "a number has none"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"wide\":1}"), "true or false"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"backoff\":true}"),
         "features[1].backoff: this source's values have no levels"},
        {WITH("{\"name\":\"a\",\"source\":\"geo.code\",\"backoff\":1}"), "true or false"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"hash_bits\":0}"), "must be 1..22"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"hash_bits\":8,\"min_count\":3}"),
         "features[1].min_count: not beside hash_bits"},
        {WITH("{\"name\":\"a\",\"source\":\"geo.code\",\"hash_bits\":8,\"backoff\":true}"),
         "features[1].backoff: not beside hash_bits"},
        {WITH("{\"name\":\"a\",\"source\":\"imp.floor\",\"hash_bits\":8}"), "a number has none"},
        {WITH("{\"name\":\"a\",\"source\":\"channel\",\"min_count\":0}"), "features[1].min_count"},
        {WITH("{\"name\":\"dsp\",\"source\":\"channel\"}"), "features[0]'s name already"},
        {WITH("{\"name\":\"b\",\"source\":\"dsp\"}"), "a second \"dsp\""},
        {"{\"features\":[{\"name\":\"a\",\"source\":\"channel\"}]}",
         "must have the source \"dsp\""},
        {"{\"features\":[{\"name\":\"d\",\"source\":\"dsp\",\"wide\":true}]}", "features[0].wide"},
        {"{\"features\":[" DSP "],\"features\":[]}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {""};
        struct schema *s = parse(cases[i].json, &err);
        if (s != NULL || strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s: said \"%s\", not \"%s\"", cases[i].json, err.text, cases[i].says);
    }
    struct error err;
    assert_null(schema_load("/no/such/schema.json", &err));
    assert_non_null(strstr(err.text, "/no/such/schema.json"));
}

static void test_schema_layout(void **state)
{
    struct error err;
    struct schema *s = parse(
        WITH("{\"name\":\"a\",\"source\":\"imp.floor\"},{\"name\":\"b\",\"source\":\"imp.size\","
             "\"slots\":3,\"dim\":5,\"wide\":true},{\"name\":\"c\",\"source\":\"channel\"},"
             "{\"name\":\"d\",\"source\":\"request.tmax\",\"type\":\"number\"},{\"name\":\"e\","
             "\"source\":\"geo.code\",\"backoff\":true},{\"name\":\"f\",\"source\":\"imp.tagid\","
             "\"hash_bits\":12}"),
        &err);
    assert_non_null(s);
    assert_int_equal(schema_slots(s), 6);
    assert_int_equal(schema_numbers(s), 2);
    assert_int_equal(s->features[2].at, 0);
    assert_int_equal(s->features[3].at, 3);
    assert_int_equal(s->features[4].at, 1);

    /* out and in again: the same */
    json_t *document = schema_to_json(s);
    struct schema *again = schema_from_json(document, "again", NULL, &err);
    if (again == NULL)
        fail_msg("%s", err.text);
    assert_int_equal(again->n_features, s->n_features);
    for (uint32_t i = 0; i < s->n_features; i++)
        assert_memory_equal(&again->features[i], &s->features[i], sizeof(s->features[i]));
    json_decref(document);
    schema_destroy(again);
    schema_destroy(s);
    schema_destroy(NULL);
}

/* The file that `train` takes, and the documentation, stand beside the sources. */
static FILE *open_in_project(const char *name)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s", __FILE__);
    char *tests = strstr(path, "tests/filter/test_features.c");
    if (tests == NULL)
        return NULL;
    snprintf(tests, sizeof(path) - (size_t)(tests - path), "%s", name);
    return fopen(path, "r");
}

static char *read_in_project(const char *name)
{
    FILE *file = open_in_project(name);
    if (file == NULL)
        fail_msg("%s is not there", name);
    char *text = calloc(1, 1 << 18);
    size_t n = fread(text, 1, (1 << 18) - 1, file);
    assert_true(n > 0);
    fclose(file);
    return text;
}

static void test_default_schema(void **state)
{
    struct error err;
    char *text = read_in_project("config/features.json");
    struct schema *s = schema_parse(bytes_of(text), "config/features.json", &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    assert_true(s->n_features > 20);
    schema_destroy(s);
    free(text);
}

static void test_documentation(void **state)
{
    char *text = read_in_project("docs/features.md");
    for (const char *const *line = feature_sources(); *line != NULL; line++)
        if (strstr(text, *line) == NULL)
            fail_msg("docs/features.md lacks this row:\n%s", *line);
    unsigned rows = 0, sources = 0;
    for (const char *at = text; (at = strstr(at, "\n| `")) != NULL; at++)
        rows++;
    for (const char *const *line = feature_sources(); *line != NULL; line++)
        sources++;
    assert_int_equal(rows, sources);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources_by_table),
        cmocka_unit_test(test_time_before_and_far),
        cmocka_unit_test(test_time_zone_of_the_database),
        cmocka_unit_test(test_all_sources_on_the_corpus),
        cmocka_unit_test(test_memory_does_not_grow),
        cmocka_unit_test(test_all_sources_on_odd_requests),
        cmocka_unit_test(test_schema_refused),
        cmocka_unit_test(test_schema_layout),
        cmocka_unit_test(test_default_schema),
        cmocka_unit_test(test_documentation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
