/* Places: what the request says, what the database says, and files that are no database. */
#include "tests/filter/fixture.h"

#include <dirent.h>

#include "filter/country.h"
#include "filter/digits.h"
#include "tests/filter/mmdb_fixture.h"

static void test_country_codes(void **state)
{
    static const struct {
        const char *code, *alpha3, *alpha2;
    } cases[] = {
        {"US", "USA", "US"},      {"usa", "USA", "US"}, {"GB", "GBR", "GB"},  {"UK", "GBR", "GB"},
        {"gbr", "GBR", "GB"},     {"AD", "AND", "AD"},  {"ZW", "ZWE", "ZW"},  {"AFG", "AFG", "AF"},
        {"ABW", "ABW", "AW"},     {"XK", "XKX", "XK"},  {"SS", "SSD", "SS"},  {"BQ", "BES", "BQ"},
        {"DE", "DEU", "DE"},      {"DEU", "DEU", "DE"}, {"UKR", "UKR", "UA"}, {"XX", NULL, NULL},
        {"XXX", NULL, NULL},      {"", NULL, NULL},     {"U", NULL, NULL},    {"USAX", NULL, NULL},
        {"\xc3\xa9", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_bytes(country_alpha3(bytes_of(cases[i].code)), cases[i].alpha3, cases[i].code);
        assert_bytes(country_alpha2(bytes_of(cases[i].code)), cases[i].alpha2, cases[i].code);
    }
}

/* Every code that one direction knows, the other takes back. */
static void test_country_both_ways(void **state)
{
    unsigned known = 0;
    for (char a = 'A'; a <= 'Z'; a++)
        for (char b = 'A'; b <= 'Z'; b++) {
            char code[2] = {a, b};
            struct bytes alpha2 = {code, 2}, alpha3 = country_alpha3(alpha2);
            if (alpha3.len == 0 || (a == 'U' && b == 'K'))
                continue;
            known++;
            assert_int_equal(alpha3.len, 3);
            assert_true(bytes_equal(country_alpha2(alpha3), alpha2));
            assert_true(bytes_equal(country_alpha3(alpha3), alpha3));
        }
    assert_int_equal(known, 250);
}

static void test_digits(void **state)
{
    struct arena arena = {0};
    for (uint32_t n = 0; n <= 1200; n++) {
        char expected[16];
        snprintf(expected, sizeof(expected), "%u", n);
        assert_bytes(digits_any(n, &arena), expected, "digits");
    }
    assert_bytes(digits_any(INT64_MIN, &arena), "-9223372036854775808", "digits");
    assert_bytes(digits_any(-7, &arena), "-7", "digits");
    arena_dispose(&arena);
}

static void test_locate_from_request(void **state)
{
    static const struct {
        const char *geo, *country, *region, *city;
        int32_t utcoffset;
    } cases[] = {
        {"{}", NULL, NULL, NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"country\":\"USA\",\"region\":\"CA\",\"city\":\"Oakland\",\"utcoffset\":-480}", "USA",
         "CA", "Oakland", -480},
        {"{\"country\":\"us\",\"region\":\"US-CA\"}", "USA", "CA", NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"country\":\"GBR\",\"region\":\"US-CA\"}", "GBR", "US-CA", NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"country\":\"Atlantis\"}", NULL, NULL, NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"lon\":-122.3,\"lat\":37.8}", NULL, NULL, NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"lon\":151.2,\"lat\":-33.9,\"utcoffset\":660}", NULL, NULL, NULL, 660},
        {"{\"lon\":151.2,\"lat\":-33.9,\"utcoffset\":100000}", NULL, NULL, NULL,
         GEO_UTCOFFSET_ABSENT},
        {"{\"lon\":151.2,\"lat\":-33.9,\"utcoffset\":-841}", NULL, NULL, NULL,
         GEO_UTCOFFSET_ABSENT},
        {"{\"lon\":1e9,\"lat\":2}", NULL, NULL, NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"lon\":0,\"lat\":0}", NULL, NULL, NULL, GEO_UTCOFFSET_ABSENT},
        {"{\"utcoffset\":345}", NULL, NULL, NULL, 345},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char members[256];
        struct bid_request r;
        struct geo_place place;
        snprintf(members, sizeof(members), "\"device\":{\"ip\":\"81.2.69.160\",\"geo\":%s}",
                 cases[i].geo);
        fixture_request(&r, members, &arena);
        geo_locate(NULL, &r, &place);
        assert_bytes(place.country, cases[i].country, cases[i].geo);
        assert_bytes(place.region, cases[i].region, cases[i].geo);
        assert_bytes(place.city, cases[i].city, cases[i].geo);
        assert_int_equal(place.utcoffset_min, cases[i].utcoffset);
        assert_false(place.from_database);
        arena_reset(&arena, 1 << 16);
    }
    arena_dispose(&arena);
}

static void locate(const struct geo *g, const char *device, struct arena *arena,
                   struct geo_place *place)
{
    char members[256];
    struct bid_request r;
    snprintf(members, sizeof(members), "\"device\":%s", device);
    fixture_request(&r, members, arena);
    geo_locate(g, &r, place);
}

static void test_locate_from_database(void **state)
{
    char path[512];
    if (fixture_corpus("mmdb/GeoLite2-City-Test.mmdb", path) == NULL)
        return;
    struct error err;
    struct geo *g = geo_open(path, &err);
    if (g == NULL)
        fail_msg("%s", err.text);
    struct arena arena = {0};
    struct geo_place place;

    locate(g, "{\"ip\":\"81.2.69.160\"}", &arena, &place);
    assert_bytes(place.country, "GBR", "country");
    assert_bytes(place.region, "ENG", "region");
    assert_bytes(place.city, "London", "city");
    assert_true(place.from_database);
    assert_true(fabs(place.lat - 51.5) < 0.1 && fabs(place.lon) < 0.2);
    assert_bytes(place.time_zone, "Europe/London", "time zone");
    assert_int_equal(place.utcoffset_min, GEO_UTCOFFSET_ABSENT);

    /* mapped, IPv6, and an American one with zip and metro */
    locate(g, "{\"ip\":\"::ffff:81.2.69.160\"}", &arena, &place);
    assert_bytes(place.city, "London", "mapped");
    locate(g, "{\"ipv6\":\"2001:218::1\"}", &arena, &place);
    assert_bytes(place.country, "JPN", "IPv6");
    assert_bytes(place.time_zone, "Asia/Tokyo", "time zone");
    locate(g, "{\"ip\":\"216.160.83.56\"}", &arena, &place);
    assert_bytes(place.country, "USA", "country");
    assert_bytes(place.region, "WA", "region");
    assert_bytes(place.metro, "819", "metro");
    assert_bytes(place.zip, "98354", "zip");

    /* the request's own country wins, whole; a country that is none does not */
    locate(g, "{\"ip\":\"81.2.69.160\",\"geo\":{\"country\":\"FRA\"}}", &arena, &place);
    assert_bytes(place.country, "FRA", "request wins");
    assert_bytes(place.city, NULL, "no city of another country");
    locate(g, "{\"ip\":\"81.2.69.160\",\"geo\":{\"country\":\"??\",\"city\":\"Leeds\"}}", &arena,
           &place);
    assert_bytes(place.country, "GBR", "no country in the request");
    assert_bytes(place.city, "Leeds", "the request's city stays");

    static const char *const nowhere[] = {"10.0.0.1",  "",         "not an address",
                                          "999.1.1.1", "81.2.69",  "81.2.69.160 ",
                                          "::",        "127.0.0.1"};
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        char device[128];
        snprintf(device, sizeof(device), "{\"ip\":\"%s\"}", nowhere[i]);
        locate(g, device, &arena, &place);
        assert_bytes(place.country, NULL, nowhere[i]);
        assert_false(place.from_database);
    }
    arena_dispose(&arena);
    geo_close(g);
}

/* The flat layout: coordinates as doubles, as texts, as nonsense; v4 and v6. */
static void write_flat(struct mmdb_writer *w)
{
    mmdb_begin(w);
    mmdb_network(w, "1.2.3.0/24");
    mmdb_head(w, MMDB_W_MAP, 7);
    mmdb_text(w, "country_code");
    mmdb_text(w, "US");
    mmdb_text(w, "state1");
    mmdb_text(w, "California");
    mmdb_text(w, "city");
    mmdb_text(w, "Oakland");
    mmdb_text(w, "postcode");
    mmdb_text(w, "94601");
    mmdb_text(w, "latitude");
    mmdb_double(w, 37.8);
    mmdb_text(w, "longitude");
    mmdb_double(w, -122.25);
    mmdb_text(w, "timezone");
    mmdb_text(w, "America/Los_Angeles");
    mmdb_network(w, "2001:db8::/32");
    mmdb_head(w, MMDB_W_MAP, 4);
    mmdb_text(w, "country_code");
    mmdb_text(w, "IN");
    mmdb_text(w, "city");
    mmdb_text(w, "");
    mmdb_text(w, "latitude");
    mmdb_text(w, "19.07");
    mmdb_text(w, "longitude");
    mmdb_text(w, "72.87");
    mmdb_network(w, "1.2.4.0/24");
    mmdb_head(w, MMDB_W_MAP, 3);
    mmdb_text(w, "country_code");
    mmdb_text(w, "FR");
    mmdb_text(w, "latitude");
    mmdb_text(w, "48.8x");
    mmdb_text(w, "longitude");
    mmdb_text(w, "2.3");
    mmdb_network(w, "1.2.5.0/24");
    mmdb_head(w, MMDB_W_MAP, 1);
    mmdb_text(w, "country_code");
    mmdb_text(w, "??");
}

static void test_locate_flat_layout(void **state)
{
    static struct mmdb_writer w;
    struct error err;
    struct arena arena = {0};
    struct geo_place place;
    write_flat(&w);
    char *path = mmdb_finish(&w);
    struct geo *g = geo_open(path, &err);
    if (g == NULL)
        fail_msg("%s", err.text);
    locate(g, "{\"ip\":\"1.2.3.4\"}", &arena, &place);
    assert_bytes(place.country, "USA", "country");
    assert_bytes(place.region, "California", "region");
    assert_bytes(place.city, "Oakland", "city");
    assert_bytes(place.zip, "94601", "zip");
    assert_bytes(place.time_zone, "America/Los_Angeles", "time zone");
    assert_true(place.from_database && fabs(place.lat - 37.8) < 1e-9);
    assert_true(fabs(place.lon + 122.25) < 1e-9);

    locate(g, "{\"ipv6\":\"2001:db8::1\"}", &arena, &place);
    assert_bytes(place.country, "IND", "country");
    assert_bytes(place.city, NULL, "city");
    assert_true(fabs(place.lat - 19.07) < 1e-9 && fabs(place.lon - 72.87) < 1e-9);
    locate(g, "{\"ip\":\"9.9.9.9\",\"ipv6\":\"2001:db8::1\"}", &arena, &place);
    assert_bytes(place.country, "IND", "v6 when v4 is not there");

    locate(g, "{\"ip\":\"1.2.4.4\"}", &arena, &place);
    assert_bytes(place.country, "FRA", "country");
    assert_true(isnan(place.lat) && isnan(place.lon));
    locate(g, "{\"ip\":\"1.2.5.4\"}", &arena, &place);
    assert_bytes(place.country, NULL, "no country");
    arena_dispose(&arena);
    geo_close(g);
    unlink(path);
    free(path);
}

/* Refused, or without entries: for thousands of addresses nothing but that. */
static void probe(const char *path)
{
    struct error err;
    struct geo *g = geo_open(path, &err);
    if (g == NULL) {
        assert_non_null(strstr(err.text, path));
        return;
    }
    struct arena arena = {0};
    for (uint32_t i = 0; i < 2048; i++) {
        struct geo_place place;
        char device[128];
        if (i % 2 == 0)
            snprintf(device, sizeof(device), "{\"ip\":\"%u.%u.%u.1\"}", i / 8, i % 256, i % 7);
        else
            snprintf(device, sizeof(device), "{\"ipv6\":\"%x:%x::1\"}", 0x2000 + i / 8, i * 31);
        locate(g, device, &arena, &place);
        assert_true(place.country.len == 0 || place.country.len == 3);
        arena_reset(&arena, 1 << 16);
    }
    arena_dispose(&arena);
    geo_close(g);
}

static void test_bad_databases(void **state)
{
    char folder[512];
    if (fixture_corpus("mmdb/bad", folder) == NULL)
        return;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        probe(path);
    }
    closedir(dir);
}

static void test_not_a_database(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {{"", 0}, {"x", 1}, {"\xab\xcd\xefMaxMind.com", 14}, {"{\"a\":1}", 7}};
    struct error err;
    assert_null(geo_open("/no/such/file.mmdb", &err));
    assert_non_null(strstr(err.text, "/no/such/file.mmdb"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *path = fixture_temporary(cases[i].text, cases[i].len);
        assert_null(geo_open(path, &err));
        unlink(path);
        free(path);
    }
    geo_close(NULL);
}

/* What is open is not the file any more: it may be cut while we look things up. */
static void test_file_cut_while_open(void **state)
{
    char path[512];
    if (fixture_corpus("mmdb/GeoLite2-City-Test.mmdb", path) == NULL)
        return;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static char data[1 << 20];
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    char *copy = fixture_temporary(data, size);
    struct error err;
    struct geo *g = geo_open(copy, &err);
    assert_non_null(g);
    assert_int_equal(truncate(copy, 0), 0);
    struct arena arena = {0};
    struct geo_place place;
    locate(g, "{\"ip\":\"81.2.69.160\"}", &arena, &place);
    assert_bytes(place.city, "London", "city");
    arena_dispose(&arena);
    geo_close(g);
    unlink(copy);
    free(copy);
}

/* A good database cut short, and with bytes changed. */
static void test_damaged_database(void **state)
{
    char path[512];
    if (fixture_corpus("mmdb/GeoLite2-City-Test.mmdb", path) == NULL)
        return;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static char data[1 << 20];
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    assert_true(size > 1000);
    for (size_t i = 0; i < 24; i++) {
        size_t keep = i < 12 ? size * i / 12 : size;
        char *copy = malloc(size);
        memcpy(copy, data, size);
        for (size_t k = i; i >= 12 && k < size; k += 97 + i)
            copy[k] ^= (char)(1u << (k % 8));
        char *damaged = fixture_temporary(copy, keep);
        probe(damaged);
        unlink(damaged);
        free(damaged);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_country_codes),
        cmocka_unit_test(test_country_both_ways),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_locate_from_request),
        cmocka_unit_test(test_locate_from_database),
        cmocka_unit_test(test_locate_flat_layout),
        cmocka_unit_test(test_bad_databases),
        cmocka_unit_test(test_not_a_database),
        cmocka_unit_test(test_file_cut_while_open),
        cmocka_unit_test(test_damaged_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
