/* Ordered rules: of the needles that occur in the string, the one that stands highest decides, so a
 * browser that names others for compatibility's sake stands above those it names. All needles of
 * all tables are looked for in one pass: at each position only those that begin with its byte. Only
 * the first part of a string is read: what strangers append costs nothing. */
#include "filter/user_agent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { UA_BYTES_MAX = 512 };

struct ua_rule {
    const char *needle;
    const char *family;
};

static const struct ua_rule BROWSERS[] = {
    {"bot", "bot"},
    {"Bot", "bot"},
    {"spider", "bot"},
    {"crawler", "bot"},
    {"HeadlessChrome", "bot"},
    {"FBAN/", "facebook"},
    {"FBAV/", "facebook"},
    {"Instagram", "instagram"},
    {"TikTok", "tiktok"},
    {"BytedanceWebview", "tiktok"},
    {"Snapchat", "snapchat"},
    {"GSA/", "google-app"},
    {"Edg/", "edge"},
    {"EdgA/", "edge"},
    {"EdgiOS/", "edge"},
    {"Edge/", "edge"},
    {"OPR/", "opera"},
    {"OPT/", "opera"},
    {"Opera", "opera"},
    {"SamsungBrowser/", "samsung"},
    {"YaBrowser/", "yandex"},
    {"UCBrowser/", "uc"},
    {"MiuiBrowser/", "miui"},
    {"DuckDuckGo/", "duckduckgo"},
    {"Vivaldi/", "vivaldi"},
    {"Silk/", "silk"},
    {"FxiOS/", "firefox"},
    {"Firefox/", "firefox"},
    {"CriOS/", "chrome"},
    {"; wv)", "android-webview"},
    {"Chrome/", "chrome"},
    {"Chromium/", "chrome"},
    {"MSIE ", "ie"},
    {"Trident/", "ie"},
    {"Dalvik/", "android-app"},
    {"okhttp/", "android-app"},
    {"CFNetwork/", "ios-app"},
    {"Version/", "safari"},
    {"iPhone", "ios-webview"},
    {"iPad", "ios-webview"},
    {"Safari/", "safari"},
    {NULL, "other"},
};

static const struct ua_rule SYSTEMS[] = {
    {"Windows Phone", "windows-phone"},
    {"iPhone", "ios"},
    {"iPad", "ios"},
    {"iPod", "ios"},
    {"AppleTV", "tvos"},
    {"tvOS", "tvos"},
    {"Tizen", "tizen"},
    {"Web0S", "webos"},
    {"webOS", "webos"},
    {"Roku", "roku"},
    {"PlayStation", "playstation"},
    {"Xbox", "xbox"},
    {"AFT", "fire"},
    {"Android", "android"},
    {"Dalvik", "android"},
    {"Windows", "windows"},
    {"CrOS", "chromeos"},
    {"Macintosh", "macos"},
    {"Mac OS X", "macos"},
    {"Darwin", "ios"},
    {"Linux", "linux"},
    {"X11", "linux"},
    {NULL, "other"},
};

static const struct ua_rule DEVICES[] = {
    {"bot", "bot"},           {"Bot", "bot"},        {"spider", "bot"},     {"crawler", "bot"},
    {"SmartTV", "tv"},        {"SMART-TV", "tv"},    {"Smart TV", "tv"},    {"AppleTV", "tv"},
    {"Roku", "tv"},           {"BRAVIA", "tv"},      {"Web0S", "tv"},       {"; AFT", "tv"},
    {"CrKey", "tv"},          {"PlayStation", "tv"}, {"Xbox", "tv"},        {"iPad", "tablet"},
    {"Tablet", "tablet"},     {"Silk/", "tablet"},   {"iPhone", "phone"},   {"iPod", "phone"},
    {"Mobile", "phone"},      {"Phone", "phone"},    {"Android", "tablet"}, {"Windows", "desktop"},
    {"Macintosh", "desktop"}, {"CrOS", "desktop"},   {"X11", "desktop"},    {"Linux", "desktop"},
    {NULL, "other"},
};

/* What device.os says, in lower case, blanks and dashes left out. */
static const struct ua_rule SYSTEM_NAMES[] = {
    {"windowsphone", "windows-phone"},
    {"windows", "windows"},
    {"iphone", "ios"},
    {"ipad", "ios"},
    {"tvos", "tvos"},
    {"firetv", "fire"},
    {"fireos", "fire"},
    {"android", "android"},
    {"macos", "macos"},
    {"osx", "macos"},
    {"chromeos", "chromeos"},
    {"chromiumos", "chromeos"},
    {"webos", "webos"},
    {"ios", "ios"},
    {"tizen", "tizen"},
    {"roku", "roku"},
    {"playstation", "playstation"},
    {"xbox", "xbox"},
    {"linux", "linux"},
    {"ubuntu", "linux"},
    {NULL, NULL},
};

/* ---- needles by their first byte ---- */

enum table { BROWSER, SYSTEM, DEVICE, SYSTEM_NAME, TABLES };

static const struct ua_rule *const RULES[TABLES] = {BROWSERS, SYSTEMS, DEVICES, SYSTEM_NAMES};
static const uint8_t COUNTS[TABLES] = {
    sizeof(BROWSERS) / sizeof(BROWSERS[0]) - 1, sizeof(SYSTEMS) / sizeof(SYSTEMS[0]) - 1,
    sizeof(DEVICES) / sizeof(DEVICES[0]) - 1, sizeof(SYSTEM_NAMES) / sizeof(SYSTEM_NAMES[0]) - 1};

struct needle {
    const char *text;
    uint8_t len, table, rank;
};

struct user_agent_rules {
    uint16_t first[257]; /* needles[first[c]] .. needles[first[c + 1]] begin with byte c */
    struct needle needles[];
};

struct user_agent_rules *user_agent_rules_create(void)
{
    size_t n = 0;
    for (int t = 0; t < TABLES; t++)
        n += COUNTS[t];
    struct user_agent_rules *rules = calloc(1, sizeof(*rules) + n * sizeof(rules->needles[0]));
    if (rules == NULL)
        return NULL;
    uint16_t at = 0;
    for (int c = 0; c < 256; c++) {
        rules->first[c] = at;
        for (int t = 0; t < TABLES; t++)
            for (uint8_t i = 0; i < COUNTS[t]; i++) {
                const char *text = RULES[t][i].needle;
                if ((unsigned char)text[0] == c)
                    rules->needles[at++] =
                        (struct needle){text, (uint8_t)strlen(text), (uint8_t)t, i};
            }
    }
    rules->first[256] = at;
    assert(at == n);
    return rules;
}

void user_agent_rules_destroy(struct user_agent_rules *rules)
{
    free(rules);
}

/* rank[]: of each table the highest rule found, or its count. */
static void find_all(const struct user_agent_rules *rules, struct bytes text, uint8_t rank[TABLES])
{
    memcpy(rank, COUNTS, TABLES);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.base[i];
        for (uint16_t k = rules->first[c]; k < rules->first[c + 1]; k++) {
            const struct needle *needle = &rules->needles[k];
            if (needle->rank < rank[needle->table] && needle->len <= text.len - i &&
                memcmp(text.base + i, needle->text, needle->len) == 0)
                rank[needle->table] = needle->rank;
        }
    }
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
    out->browser = bytes_of(BROWSERS[rank[BROWSER]].family);
    out->os = bytes_of(SYSTEMS[rank[SYSTEM]].family);
    out->device = bytes_of(DEVICES[rank[DEVICE]].family);
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
    return bytes_of(SYSTEM_NAMES[rank[SYSTEM_NAME]].family);
}
