/* Ordered rules: of the needles that occur in the string, the one that stands highest decides, so a
 * browser that names others for compatibility's sake stands above those it names. All needles of
 * all tables are looked for in one pass: at each position only those that begin with its three
 * bytes. Only the first part of a string is read: what strangers append costs nothing. */
#include "filter/user_agent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { UA_BYTES_MAX = 512, BRANDS_READ_MAX = 16 };

struct ua_rule {
    struct bytes
        needle; /* 3 bytes or more; {NULL, 0} ends the table: what holds if none is found */
    struct bytes family;
};

#define LITERAL(text)          \
    {                          \
        text, sizeof(text) - 1 \
    }
#define RULE(needle, family)             \
    {                                    \
        LITERAL(needle), LITERAL(family) \
    }
#define ELSE(family)               \
    {                              \
        {NULL, 0}, LITERAL(family) \
    }

static const struct ua_rule BROWSERS[] = {
    RULE("bot", "bot"),
    RULE("Bot", "bot"),
    RULE("spider", "bot"),
    RULE("crawler", "bot"),
    RULE("HeadlessChrome", "bot"),
    RULE("FBAN/", "facebook"),
    RULE("FBAV/", "facebook"),
    RULE("Instagram", "instagram"),
    RULE("TikTok", "tiktok"),
    RULE("BytedanceWebview", "tiktok"),
    RULE("Snapchat", "snapchat"),
    RULE("GSA/", "google-app"),
    RULE("Edg/", "edge"),
    RULE("EdgA/", "edge"),
    RULE("EdgiOS/", "edge"),
    RULE("Edge/", "edge"),
    RULE("OPR/", "opera"),
    RULE("OPT/", "opera"),
    RULE("Opera", "opera"),
    RULE("SamsungBrowser/", "samsung"),
    RULE("YaBrowser/", "yandex"),
    RULE("UCBrowser/", "uc"),
    RULE("MiuiBrowser/", "miui"),
    RULE("DuckDuckGo/", "duckduckgo"),
    RULE("Vivaldi/", "vivaldi"),
    RULE("Silk/", "silk"),
    RULE("FxiOS/", "firefox"),
    RULE("Firefox/", "firefox"),
    RULE("CriOS/", "chrome"),
    RULE("; wv)", "android-webview"),
    RULE("Chrome/", "chrome"),
    RULE("Chromium/", "chrome"),
    RULE("MSIE ", "ie"),
    RULE("Trident/", "ie"),
    RULE("Dalvik/", "android-app"),
    RULE("okhttp/", "android-app"),
    RULE("CFNetwork/", "ios-app"),
    RULE("Version/", "safari"),
    RULE("iPhone", "ios-webview"),
    RULE("iPad", "ios-webview"),
    RULE("Safari/", "safari"),
    ELSE("other"),
};

static const struct ua_rule SYSTEMS[] = {
    RULE("Windows Phone", "windows-phone"),
    RULE("iPhone", "ios"),
    RULE("iPad", "ios"),
    RULE("iPod", "ios"),
    RULE("AppleTV", "tvos"),
    RULE("tvOS", "tvos"),
    RULE("Tizen", "tizen"),
    RULE("Web0S", "webos"),
    RULE("webOS", "webos"),
    RULE("Roku", "roku"),
    RULE("PlayStation", "playstation"),
    RULE("Xbox", "xbox"),
    RULE("AFT", "fire"),
    RULE("Android", "android"),
    RULE("Dalvik", "android"),
    RULE("Windows", "windows"),
    RULE("CrOS", "chromeos"),
    RULE("Macintosh", "macos"),
    RULE("Mac OS X", "macos"),
    RULE("Darwin", "ios"),
    RULE("Linux", "linux"),
    RULE("X11", "linux"),
    ELSE("other"),
};

static const struct ua_rule DEVICES[] = {
    RULE("bot", "bot"),
    RULE("Bot", "bot"),
    RULE("spider", "bot"),
    RULE("crawler", "bot"),
    RULE("SmartTV", "tv"),
    RULE("SMART-TV", "tv"),
    RULE("Smart TV", "tv"),
    RULE("AppleTV", "tv"),
    RULE("Roku", "tv"),
    RULE("BRAVIA", "tv"),
    RULE("Web0S", "tv"),
    RULE("; AFT", "tv"),
    RULE("CrKey", "tv"),
    RULE("PlayStation", "tv"),
    RULE("Xbox", "tv"),
    RULE("iPad", "tablet"),
    RULE("Tablet", "tablet"),
    RULE("Silk/", "tablet"),
    RULE("iPhone", "phone"),
    RULE("iPod", "phone"),
    RULE("Mobile", "phone"),
    RULE("Phone", "phone"),
    RULE("Android", "tablet"),
    RULE("Windows", "desktop"),
    RULE("Macintosh", "desktop"),
    RULE("CrOS", "desktop"),
    RULE("X11", "desktop"),
    RULE("Linux", "desktop"),
    ELSE("other"),
};

/* Brands of a structured user agent. */
static const struct ua_rule BRANDS[] = {
    RULE("WebView", "android-webview"),
    RULE("Edge", "edge"),
    RULE("Opera", "opera"),
    RULE("Samsung", "samsung"),
    RULE("Yandex", "yandex"),
    RULE("DuckDuckGo", "duckduckgo"),
    RULE("Vivaldi", "vivaldi"),
    RULE("Brave", "brave"),
    RULE("Firefox", "firefox"),
    RULE("Safari", "safari"),
    RULE("Chrome", "chrome"),
    RULE("Chromium", "chrome"),
    {{NULL, 0}, {NULL, 0}},
};

/* What device.os says, in lower case, blanks and dashes left out. */
static const struct ua_rule SYSTEM_NAMES[] = {
    RULE("windowsphone", "windows-phone"),
    RULE("windows", "windows"),
    RULE("iphone", "ios"),
    RULE("ipad", "ios"),
    RULE("tvos", "tvos"),
    RULE("firetv", "fire"),
    RULE("fireos", "fire"),
    RULE("android", "android"),
    RULE("macos", "macos"),
    RULE("osx", "macos"),
    RULE("chromeos", "chromeos"),
    RULE("chromiumos", "chromeos"),
    RULE("webos", "webos"),
    RULE("ios", "ios"),
    RULE("tizen", "tizen"),
    RULE("roku", "roku"),
    RULE("playstation", "playstation"),
    RULE("xbox", "xbox"),
    RULE("linux", "linux"),
    RULE("ubuntu", "linux"),
    {{NULL, 0}, {NULL, 0}},
};

/* ---- needles by their first three bytes ---- */

enum table { BROWSER, SYSTEM, DEVICE, BRAND, SYSTEM_NAME, TABLES };

static const struct ua_rule *const RULES[TABLES] = {BROWSERS, SYSTEMS, DEVICES, BRANDS,
                                                    SYSTEM_NAMES};
static const uint8_t COUNTS[TABLES] = {
    sizeof(BROWSERS) / sizeof(BROWSERS[0]) - 1, sizeof(SYSTEMS) / sizeof(SYSTEMS[0]) - 1,
    sizeof(DEVICES) / sizeof(DEVICES[0]) - 1, sizeof(BRANDS) / sizeof(BRANDS[0]) - 1,
    sizeof(SYSTEM_NAMES) / sizeof(SYSTEM_NAMES[0]) - 1};

enum { NEEDLES_MAX = 250, BUCKETS_LOG2 = 12 };

struct needle {
    struct bytes text;
    uint8_t table, rank;
    uint8_t next; /* of the same bucket; 0: none */
};

struct user_agent_rules {
    uint8_t bucket[1 << BUCKETS_LOG2]; /* its first needle; 0: none */
    struct needle needles[NEEDLES_MAX + 1];
};

/* Of the first three of these bytes: the factor shifts the fourth out. */
static inline uint32_t bucket_of(const char bytes[4])
{
    uint32_t word;
    memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word >>= 8;
#endif
    return word * (UINT32_C(0x9e3779) << 8) >> (32 - BUCKETS_LOG2);
}

struct user_agent_rules *user_agent_rules_create(void)
{
    struct user_agent_rules *rules = calloc(1, sizeof(*rules));
    if (rules == NULL)
        return NULL;
    uint8_t n = 0;
    for (int t = 0; t < TABLES; t++)
        for (uint8_t i = 0; i < COUNTS[t]; i++) {
            struct bytes text = RULES[t][i].needle;
            assert(text.len >= 3 && n < NEEDLES_MAX);
            const char begin[4] = {text.base[0], text.base[1], text.base[2], 0};
            uint8_t *first = &rules->bucket[bucket_of(begin)];
            rules->needles[++n] = (struct needle){text, (uint8_t)t, i, *first};
            *first = n;
        }
    return rules;
}

void user_agent_rules_destroy(struct user_agent_rules *rules)
{
    free(rules);
}

/* Those of a bucket that stand at `at`, with `left` bytes from there. */
static __attribute__((noinline)) void note_needles(const struct user_agent_rules *rules, uint8_t k,
                                                   const char *at, size_t left,
                                                   uint8_t rank[TABLES])
{
    for (; k != 0; k = rules->needles[k].next) {
        const struct needle *needle = &rules->needles[k];
        if (needle->rank < rank[needle->table] && needle->text.len <= left &&
            memcmp(at, needle->text.base, needle->text.len) == 0)
            rank[needle->table] = needle->rank;
    }
}

/* rank[]: of each table the highest rule found, or its count. */
static void find_all(const struct user_agent_rules *rules, struct bytes text, uint8_t rank[TABLES])
{
    const char *at = text.base, *end = text.base + text.len;
    memcpy(rank, COUNTS, TABLES);
    if (text.len < 3)
        return;
    for (; end - at > 3; at++) {
        uint8_t k = rules->bucket[bucket_of(at)];
        if (__builtin_expect(k != 0, 0))
            note_needles(rules, k, at, (size_t)(end - at), rank);
    }
    const char last[4] = {at[0], at[1], at[2], 0};
    note_needles(rules, rules->bucket[bucket_of(last)], at, 3, rank);
}

void user_agent_read(const struct user_agent_rules *rules, struct bytes ua, struct user_agent *out)
{
    *out = (struct user_agent){{NULL, 0}, {NULL, 0}, {NULL, 0}};
    if (ua.len == 0)
        return;
    if (ua.len > UA_BYTES_MAX)
        ua.len = UA_BYTES_MAX;
    uint8_t rank[TABLES];
    find_all(rules, ua, rank);
    out->browser = BROWSERS[rank[BROWSER]].family;
    out->os = SYSTEMS[rank[SYSTEM]].family;
    out->device = DEVICES[rank[DEVICE]].family;
}

struct bytes browser_family(const struct user_agent_rules *rules, const struct bytes *brands,
                            uint32_t n)
{
    uint8_t best = COUNTS[BRAND];
    for (uint32_t i = 0; i < n && i < BRANDS_READ_MAX; i++) {
        uint8_t rank[TABLES];
        struct bytes brand = brands[i];
        brand.len = brand.len < UA_BYTES_MAX ? brand.len : UA_BYTES_MAX;
        find_all(rules, brand, rank);
        best = rank[BRAND] < best ? rank[BRAND] : best;
    }
    return BRANDS[best].family;
}

struct bytes os_family(const struct user_agent_rules *rules, struct bytes os)
{
    char squeezed[32];
    size_t n = 0;
    for (size_t i = 0; i < os.len && n < sizeof(squeezed); i++) {
        char c = os.base[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != ' ' && c != '_' && c != '-')
            squeezed[n++] = c;
    }
    uint8_t rank[TABLES];
    find_all(rules, (struct bytes){squeezed, n}, rank);
    return SYSTEM_NAMES[rank[SYSTEM_NAME]].family;
}
