/* Zones at the hours their clocks move, countries, and all of them against the system's own tz
 * database for a year. */
#include "tests/filter/fixture.h"

#include <time.h>

#include "filter/country.h"
#include "filter/time_zone.h"

static int64_t ms_of(const char *utc)
{
    struct tm tm = {0};
    assert_non_null(strptime(utc, "%Y-%m-%d %H:%M", &tm));
    return (int64_t)timegm(&tm) * 1000;
}

static void test_offset_where_clocks_move(void **state)
{
    static const struct {
        const char *zone, *utc;
        int32_t offset_min;
    } cases[] = {
        {"Asia/Kolkata", "2025-07-01 00:00", 330},
        {"Asia/Calcutta", "2025-07-01 00:00", 330},
        {"Europe/London", "2025-03-30 00:59", 0},
        {"Europe/London", "2025-03-30 01:00", 60},
        {"Europe/London", "2025-10-26 00:59", 60},
        {"Europe/London", "2025-10-26 01:00", 0},
        {"Europe/Berlin", "2028-02-29 12:00", 60},
        {"Europe/Berlin", "2028-03-26 01:00", 120},
        {"America/New_York", "2025-03-09 06:59", -300},
        {"America/New_York", "2025-03-09 07:00", -240},
        {"America/New_York", "2025-11-02 05:59", -240},
        {"America/New_York", "2025-11-02 06:00", -300},
        {"America/Phoenix", "2025-07-01 00:00", -420},
        {"Australia/Sydney", "2025-01-01 00:00", 660},
        {"Australia/Sydney", "2024-12-31 14:00", 660},
        {"Australia/Sydney", "2025-04-05 16:00", 600},
        {"Pacific/Chatham", "2025-01-01 00:00", 825},
        {"America/Santiago", "2025-07-01 00:00", -240},
        {"America/Santiago", "2025-12-01 00:00", -180},
        {"Europe/London", "1970-01-01 00:00", 0},
        {"Europe/London", "1969-07-01 00:00", 60},
    };
    struct time_zones *t = time_zones_create();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct time_zone *z = time_zones_find(t, bytes_of(cases[i].zone));
        if (z == NULL)
            fail_msg("no zone %s", cases[i].zone);
        int32_t got = time_zone_offset_min(z, ms_of(cases[i].utc));
        if (got != cases[i].offset_min)
            fail_msg("%s at %s: got %d, expected %d", cases[i].zone, cases[i].utc, got,
                     cases[i].offset_min);
    }
    const struct time_zone *z = time_zones_find(t, bytes_of("Europe/London"));
    assert_in_range(time_zone_offset_min(z, INT64_MAX), 0, 60);
    assert_in_range(time_zone_offset_min(z, INT64_MIN), 0, 60);
    assert_null(time_zones_find(t, bytes_of("Europe/Atlantis")));
    assert_null(time_zones_find(t, (struct bytes){NULL, 0}));
    time_zones_destroy(t);
    time_zones_destroy(NULL);
}

static void test_country(void **state)
{
    static const struct {
        const char *alpha3;
        int32_t offset_min; /* in January */
        bool spans;
    } cases[] = {
        {"GBR", 0, false},   {"CHN", 480, false}, {"IND", 330, false},
        {"USA", -300, true}, {"RUS", 180, true},  {"XKX", 60, false},
    };
    struct time_zones *t = time_zones_create();
    bool spans;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct time_zone *z = time_zones_of_country(t, bytes_of(cases[i].alpha3), &spans);
        assert_non_null(z);
        assert_int_equal(time_zone_offset_min(z, ms_of("2025-01-15 00:00")), cases[i].offset_min);
        assert_int_equal(spans, cases[i].spans);
    }
    assert_null(time_zones_of_country(t, bytes_of("ATA"), &spans)); /* nobody lives there */
    assert_null(time_zones_of_country(t, (struct bytes){NULL, 0}, &spans));
    time_zones_destroy(t);
}

static bool follows_ramadan(const char *zone)
{
    static const char *const zones[] = {"Africa/Casablanca", "Africa/El_Aaiun", "Asia/Gaza",
                                        "Asia/Hebron"};
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
        if (strcmp(zone, zones[i]) == 0)
            return true;
    return false;
}

/* Each name that the system has too, every hour of the year 2025. */
static void test_agrees_with_the_system(void **state)
{
    enum { NAMES_MAX = 1000 };
    FILE *file = popen("cd /usr/share/zoneinfo && ls -d */* */*/* 2>/dev/null", "r");
    assert_non_null(file);
    struct time_zones *t = time_zones_create();
    char name[128], path[160];
    size_t compared = 0;
    while (fgets(name, sizeof(name), file) != NULL && compared < NAMES_MAX) {
        name[strcspn(name, "\n")] = '\0';
        const struct time_zone *z = time_zones_find(t, bytes_of(name));
        if (z == NULL || follows_ramadan(name))
            continue;
        compared++;
        snprintf(path, sizeof(path), ":%s", name);
        setenv("TZ", path, 1);
        tzset();
        int64_t from = ms_of("2025-01-01 00:00");
        for (int64_t ms = from; ms < from + INT64_C(365) * 86400000; ms += 60 * 60000) {
            time_t seconds = ms / 1000;
            struct tm tm;
            localtime_r(&seconds, &tm);
            if (tm.tm_gmtoff / 60 != time_zone_offset_min(z, ms))
                fail_msg("%s at %lld: got %d, the system says %ld", name, (long long)ms,
                         time_zone_offset_min(z, ms), tm.tm_gmtoff / 60);
        }
    }
    pclose(file);
    unsetenv("TZ");
    tzset();
    if (compared == 0)
        print_message("skipped: no /usr/share/zoneinfo\n");
    time_zones_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offset_where_clocks_move),
        cmocka_unit_test(test_country),
        cmocka_unit_test(test_agrees_with_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
