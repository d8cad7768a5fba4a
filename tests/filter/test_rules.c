/* Every rule by table, and the sets they use. */
#include "tests/filter/fixture.h"

#include "filter/property.h"
#include "filter/rules.h"

static struct string_set *set_of(const char *a, const char *b)
{
    const char *strings[] = {a, b};
    return string_set_create(strings, b != NULL ? 2 : 1);
}

static void test_string_set(void **state)
{
    enum { N = 1000 };
    char text[N][16];
    const char *strings[N];
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof(text[i]), "value-%d", i % 900);
        strings[i] = text[i];
    }
    struct string_set *s = string_set_create(strings, N);
    for (int i = 0; i < 900; i++)
        assert_true(string_set_has(s, bytes_of(text[i])));
    assert_false(string_set_has(s, bytes_of("value-900")));
    assert_false(string_set_has(s, bytes_of("value-")));
    assert_false(string_set_has(s, bytes_of("")));
    assert_false(string_set_has(s, (struct bytes){NULL, 0}));
    string_set_destroy(s);
    s = string_set_create(NULL, 0);
    assert_false(string_set_has(s, bytes_of("a")));
    string_set_destroy(s);
    assert_false(string_set_has(NULL, bytes_of("a")));
    string_set_destroy(NULL);
}

static void test_string_set_load(void **state)
{
    static const char text[] = "# domains\nExample.com\r\n\n  spaced.org\t # why\n#x\nlast.net";
    struct error err;
    char *path = fixture_temporary(text, sizeof(text) - 1);
    struct string_set *s = string_set_load(path, &err);
    assert_non_null(s);
    assert_true(string_set_has(s, bytes_of("example.com")));
    assert_true(string_set_has(s, bytes_of("spaced.org")));
    assert_true(string_set_has(s, bytes_of("last.net")));
    assert_false(string_set_has(s, bytes_of("Example.com")));
    assert_false(string_set_has(s, bytes_of("# domains")));
    assert_false(string_set_has(s, bytes_of("")));
    string_set_destroy(s);
    unlink(path);
    assert_null(string_set_load(path, &err));
    assert_non_null(strstr(err.text, path));
    free(path);

    path = fixture_temporary("", 0);
    s = string_set_load(path, &err);
    assert_non_null(s);
    assert_false(string_set_has(s, bytes_of("a")));
    string_set_destroy(s);
    unlink(path);
    free(path);
    assert_null(string_set_load("/tmp", &err));
}

static void test_domains(void **state)
{
    static const struct {
        const char *members, *domain;
    } cases[] = {
        {"\"site\":{\"domain\":\"Example.COM\"}", "example.com"},
        {"\"site\":{\"domain\":\"www.example.com.\"}", "example.com"},
        {"\"site\":{\"domain\":\"www.\"}", "www"},
        {"\"site\":{\"page\":\"https://user@News.example.com:8080/a/b?c\"}", "news.example.com"},
        {"\"site\":{\"page\":\"//a.example/x\"}", "a.example"},
        {"\"site\":{\"domain\":\"http://a.example/x\",\"page\":\"http://b.example\"}", "a.example"},
        {"\"site\":{\"page\":\"about:blank\"}", "about"},
        {"\"site\":{\"page\":\"/relative\"}", NULL},
        {"\"site\":{\"page\":\"http://[::1]:80/\"}", "[::1]"},
        {"\"site\":{}", NULL},
        {"\"app\":{\"bundle\":\"com.Example.App\",\"domain\":\"example.com\"}", "com.example.app"},
        {"\"app\":{\"domain\":\"example.com\"}", "example.com"},
        {"\"app\":{\"bundle\":\"1234567\"}", "1234567"},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bid_request r;
        char buffer[PROPERTY_DOMAIN_MAX];
        fixture_request(&r, cases[i].members, &arena);
        assert_bytes(property_domain(&r, buffer), cases[i].domain, cases[i].members);
    }
    char longest[400] = "\"site\":{\"domain\":\"";
    memset(longest + strlen(longest), 'a', 256);
    strcat(longest, "\"}");
    struct bid_request r;
    char buffer[PROPERTY_DOMAIN_MAX];
    fixture_request(&r, longest, &arena);
    assert_bytes(property_domain(&r, buffer), NULL, "too long");
    arena_dispose(&arena);
}

enum which {
    COUNTRIES,
    MEDIA,
    CHANNELS,
    SIZES,
    USER_ID,
    CONSENT,
    COPPA,
    DEALS_WANTED,
    DEALS_UNWANTED,
    FLOOR_MIN,
    FLOOR_MAX,
    DOMAINS,
    DOMAINS_BLOCKED,
    SEATS,
    CURRENCIES
};

static void set_rule(struct dsp_rules *rules, enum which which)
{
    memset(rules, 0, sizeof(*rules));
    switch (which) {
    case COUNTRIES:
        rules->countries = set_of("USA", "GBR");
        break;
    case MEDIA:
        rules->media = MEDIA_VIDEO | MEDIA_NATIVE;
        break;
    case CHANNELS:
        rules->channels = 1u << CHANNEL_APP;
        break;
    case SIZES:
        rules->sizes = calloc(2, sizeof(*rules->sizes));
        rules->sizes[0] = (struct size){300, 250};
        rules->sizes[1] = (struct size){728, 90};
        rules->n_sizes = 2;
        break;
    case USER_ID:
        rules->needs_user_id = true;
        break;
    case CONSENT:
        rules->needs_consent = true;
        break;
    case COPPA:
        rules->refuses_coppa = true;
        break;
    case DEALS_WANTED:
        rules->deals = DEALS_REQUIRED;
        break;
    case DEALS_UNWANTED:
        rules->deals = DEALS_EXCLUDED;
        break;
    case FLOOR_MIN:
        rules->floor_min_micros = 500000;
        break;
    case FLOOR_MAX:
        rules->floor_max_micros = 2000000;
        break;
    case DOMAINS:
        rules->domains = set_of("example.com", "com.good.app");
        break;
    case DOMAINS_BLOCKED:
        rules->domains_blocked = set_of("example.com", NULL);
        break;
    case SEATS:
        rules->seats = set_of("s1", "s2");
        break;
    case CURRENCIES:
        rules->currencies = set_of("USD", "EUR");
        break;
    }
}

#define IMP(inside) "\"imp\":[{\"id\":\"1\"," inside "}]"
#define DEAL "\"pmp\":{\"deals\":[{\"id\":\"d\"}]}"

static void test_rules_by_table(void **state)
{
    static const struct {
        enum which which;
        const char *members;
        enum rule_result result;
    } cases[] = {
        {COUNTRIES, "\"device\":{\"geo\":{\"country\":\"USA\"}}", RULE_PASS},
        {COUNTRIES, "\"device\":{\"geo\":{\"country\":\"gb\"}}", RULE_PASS},
        {COUNTRIES, "\"device\":{\"geo\":{\"country\":\"FRA\"}}", RULE_COUNTRY},
        {COUNTRIES, "", RULE_COUNTRY},
        {MEDIA, IMP("\"banner\":{\"w\":320,\"h\":50}"), RULE_MEDIA},
        {MEDIA, IMP("\"banner\":{\"w\":320,\"h\":50},\"video\":{\"mimes\":[\"video/mp4\"]}"),
         RULE_PASS},
        {MEDIA,
         "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":320,\"h\":50}},{\"id\":\"2\",\"video\":{"
         "\"mimes\":[\"video/mp4\"]}}]",
         RULE_PASS},
        {CHANNELS, "\"app\":{}", RULE_PASS},
        {CHANNELS, "\"site\":{}", RULE_CHANNEL},
        {CHANNELS, "", RULE_CHANNEL},
        {SIZES, IMP("\"banner\":{\"w\":300,\"h\":250}"), RULE_PASS},
        {SIZES, IMP("\"banner\":{\"format\":[{\"w\":1,\"h\":1},{\"w\":728,\"h\":90}]}"), RULE_PASS},
        {SIZES, IMP("\"banner\":{\"w\":250,\"h\":300}"), RULE_SIZE},
        {SIZES, IMP("\"audio\":{\"mimes\":[\"audio/mp4\"]}"), RULE_PASS},
        {USER_ID, "", RULE_USER_ID},
        {USER_ID, "\"user\":{}", RULE_USER_ID},
        {USER_ID, "\"user\":{\"id\":\"u\"}", RULE_PASS},
        {USER_ID, "\"user\":{\"buyeruid\":\"u\"}", RULE_PASS},
        {USER_ID, "\"device\":{\"ifa\":\"8d1f\"}", RULE_PASS},
        {USER_ID, "\"device\":{\"ifa\":\"00000000-0000-0000-0000-000000000000\"}", RULE_USER_ID},
        {USER_ID, "\"user\":{\"eids\":[{\"source\":\"a.org\",\"uids\":[{\"id\":\"x\"}]}]}",
         RULE_PASS},
        {CONSENT, "", RULE_PASS},
        {CONSENT, "\"regs\":{\"gdpr\":0}", RULE_PASS},
        {CONSENT, "\"regs\":{\"gdpr\":1}", RULE_CONSENT},
        {CONSENT, "\"regs\":{\"ext\":{\"gdpr\":1}},\"user\":{\"ext\":{\"consent\":\"CO\"}}",
         RULE_PASS},
        {COPPA, "\"regs\":{\"coppa\":1}", RULE_CONSENT},
        {COPPA, "\"regs\":{\"coppa\":0}", RULE_PASS},
        {DEALS_WANTED, IMP("\"banner\":{\"w\":320,\"h\":50}"), RULE_DEALS},
        {DEALS_WANTED, IMP("\"banner\":{\"w\":320,\"h\":50}," DEAL), RULE_PASS},
        {DEALS_UNWANTED, IMP("\"banner\":{\"w\":320,\"h\":50}," DEAL), RULE_DEALS},
        {DEALS_UNWANTED, IMP("\"banner\":{\"w\":320,\"h\":50}"), RULE_PASS},
        {DEALS_UNWANTED,
         "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":320,\"h\":50}," DEAL
         "},{\"id\":\"2\",\"banner\":{\"w\":320,\"h\":50}}]",
         RULE_PASS},
        {FLOOR_MIN, IMP("\"banner\":{\"w\":320,\"h\":50},\"bidfloor\":0.49"), RULE_FLOOR},
        {FLOOR_MIN, IMP("\"banner\":{\"w\":320,\"h\":50},\"bidfloor\":0.5"), RULE_PASS},
        {FLOOR_MIN, IMP("\"banner\":{\"w\":320,\"h\":50}"), RULE_FLOOR},
        {FLOOR_MAX, IMP("\"banner\":{\"w\":320,\"h\":50},\"bidfloor\":2"), RULE_PASS},
        {FLOOR_MAX, IMP("\"banner\":{\"w\":320,\"h\":50},\"bidfloor\":2.01"), RULE_FLOOR},
        {FLOOR_MAX,
         "\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":320,\"h\":50},\"bidfloor\":9},{\"id\":\"2\","
         "\"banner\":{\"w\":320,\"h\":50},\"bidfloor\":1}]",
         RULE_PASS},
        {DOMAINS, "\"site\":{\"domain\":\"example.com\"}", RULE_PASS},
        {DOMAINS, "\"site\":{\"domain\":\"WWW.Example.com\"}", RULE_PASS},
        {DOMAINS, "\"site\":{\"domain\":\"a.b.example.com\"}", RULE_PASS},
        {DOMAINS, "\"site\":{\"domain\":\"badexample.com\"}", RULE_DOMAIN},
        {DOMAINS, "\"site\":{\"domain\":\"com\"}", RULE_DOMAIN},
        {DOMAINS, "\"app\":{\"bundle\":\"com.good.app\"}", RULE_PASS},
        {DOMAINS, "", RULE_DOMAIN},
        {DOMAINS_BLOCKED, "\"site\":{\"page\":\"http://x.example.com/\"}", RULE_DOMAIN},
        {DOMAINS_BLOCKED, "\"site\":{\"domain\":\"other.com\"}", RULE_PASS},
        {DOMAINS_BLOCKED, "", RULE_PASS},
        {SEATS, "", RULE_PASS},
        {SEATS, "\"wseat\":[\"s2\",\"s9\"]", RULE_PASS},
        {SEATS, "\"wseat\":[\"s9\"]", RULE_SEAT},
        {SEATS, "\"bseat\":[\"s1\"]", RULE_PASS},
        {SEATS, "\"bseat\":[\"s2\",\"s1\"]", RULE_SEAT},
        {CURRENCIES, "", RULE_PASS},
        {CURRENCIES, "\"cur\":[\"JPY\",\"EUR\"]", RULE_PASS},
        {CURRENCIES, "\"cur\":[\"JPY\"]", RULE_CURRENCY},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bid_request r;
        struct geo_place place;
        struct dsp_rules rules;
        set_rule(&rules, cases[i].which);
        fixture_request(&r, cases[i].members, &arena);
        geo_locate(NULL, &r, &place);
        enum rule_result got = dsp_rules_check(&rules, &r, &place);
        if (got != cases[i].result)
            fail_msg("case %zu %s: %s, expected %s", i, cases[i].members, rule_name(got),
                     rule_name(cases[i].result));
        dsp_rules_dispose(&rules);
        /* no rules: everything passes */
        assert_int_equal(dsp_rules_check(&rules, &r, &place), RULE_PASS);
        arena_reset(&arena, 1 << 16);
    }
    arena_dispose(&arena);
    dsp_rules_dispose(NULL);
}

static void test_rule_names_differ(void **state)
{
    for (int i = 0; i < RULE_COUNT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(rule_name(i), rule_name(k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_string_set),        cmocka_unit_test(test_string_set_load),
        cmocka_unit_test(test_domains),           cmocka_unit_test(test_rules_by_table),
        cmocka_unit_test(test_rule_names_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
