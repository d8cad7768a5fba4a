/* Ordered rules: the first substring found decides, so a browser that names others for
 * compatibility's sake stands above those it names. Only the first part of a string is read: what
 * strangers append costs nothing. */
#include "filter/user_agent.h"

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

static struct bytes first_match(struct bytes ua, const struct ua_rule *rules)
{
    if (ua.len == 0)
        return (struct bytes){NULL, 0};
    size_t len = ua.len < UA_BYTES_MAX ? ua.len : UA_BYTES_MAX;
    while (rules->needle != NULL &&
           memmem(ua.base, len, rules->needle, strlen(rules->needle)) == NULL)
        rules++;
    return bytes_of(rules->family);
}

struct bytes user_agent_browser(struct bytes ua)
{
    return first_match(ua, BROWSERS);
}

struct bytes user_agent_os(struct bytes ua)
{
    return first_match(ua, SYSTEMS);
}

struct bytes user_agent_device(struct bytes ua)
{
    return first_match(ua, DEVICES);
}

struct bytes os_family(struct bytes os)
{
    static const struct ua_rule names[] = {
        {"windowsphone", "windows-phone"},
        {"windows", "windows"},
        {"iphone", "ios"},
        {"ipad", "ios"},
        {"tvos", "tvos"},
        {"ios", "ios"},
        {"firetv", "fire"},
        {"fireos", "fire"},
        {"android", "android"},
        {"macos", "macos"},
        {"osx", "macos"},
        {"chromeos", "chromeos"},
        {"chromiumos", "chromeos"},
        {"tizen", "tizen"},
        {"webos", "webos"},
        {"roku", "roku"},
        {"playstation", "playstation"},
        {"xbox", "xbox"},
        {"linux", "linux"},
        {"ubuntu", "linux"},
        {NULL, NULL},
    };
    char squeezed[64];
    size_t n = 0;
    for (size_t i = 0; i < os.len && n < sizeof(squeezed); i++) {
        char c = os.base[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != ' ' && c != '_' && c != '-')
            squeezed[n++] = c;
    }
    return first_match((struct bytes){squeezed, n}, names);
}
