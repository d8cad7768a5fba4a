/* A request is composed in the order in which it comes about in life: the hour, a country awake at
 * that hour, one of its people (who has a city, a device, maybe an id), a site or app that this
 * person opens, one of its placements. All from one small generator seeded by (seed, day, index),
 * so nothing needs to be remembered. */
#include "loadtest/traffic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "hash.h"
#include "loadtest/property.h"
#include "loadtest/sink.h"
#include "loadtest/view.h"

struct traffic {
    const struct scenario *scenario;
    struct atlas *atlas;
    struct inventory inventory;
    double day_curve[25];                          /* share of the day's volume before that hour */
    double country_share[24][ATLAS_COUNTRIES_MAX]; /* cumulative, by hour UTC */
    double city_share[ATLAS_NODES_MAX];            /* cumulative inside its country */
};

/* How awake a country is at each hour of its own day. */
static const double AWAKE[24] = {.45, .30, .20, .16, .16, .22, .40,  .65, .80, .85, .88, .92,
                                 1.0, 1.0, .95, .95, 1.0, 1.1, 1.25, 1.4, 1.5, 1.4, 1.1, .75};

struct person {
    uint64_t hash;
    uint32_t country, city; /* index, node */
    uint8_t device, os;     /* OpenRTB device type, enum system */
    bool known;             /* has an id that buyers can see */
};

struct visit {
    int32_t day;
    uint32_t index;
    struct person person;
    const struct property *property;
    const struct placement *placements[2];
    uint32_t n_placements;
    bool coppa, consent;
    struct prng g;
};

static double country_volume(const struct traffic *t, uint32_t c, int hour_utc)
{
    const struct atlas_country *country = &t->atlas->countries[c];
    int offset_hours = t->atlas->nodes[country->node].utcoffset_min / 60;
    return country->weight * AWAKE[(hour_utc + offset_hours + 24) % 24];
}

static void build_curves(struct traffic *t)
{
    double total = 0;
    for (int h = 0; h < 24; h++) {
        double sum = 0;
        for (uint32_t c = 0; c < t->atlas->n_countries; c++) {
            sum += country_volume(t, c, h);
            t->country_share[h][c] = sum;
        }
        for (uint32_t c = 0; c < t->atlas->n_countries; c++)
            t->country_share[h][c] /= sum;
        total += sum;
        t->day_curve[h + 1] = total;
    }
    for (int h = 0; h < 24; h++)
        t->day_curve[h + 1] /= total;
    for (uint32_t c = 0; c < t->atlas->n_countries; c++) {
        const struct atlas_country *country = &t->atlas->countries[c];
        double sum = 0;
        for (uint32_t i = 0; i < country->n_cities; i++)
            t->city_share[country->first_city + i] = sum += 1.0 / (1.0 + i * 0.7);
        for (uint32_t i = 0; i < country->n_cities; i++)
            t->city_share[country->first_city + i] /= sum;
    }
}

struct traffic *traffic_create(const struct scenario *s)
{
    struct traffic *t = calloc(1, sizeof(*t));
    if (t == NULL)
        abort();
    t->scenario = s;
    t->atlas = atlas_create();
    inventory_init(&t->inventory, s, t->atlas);
    build_curves(t);
    return t;
}

void traffic_destroy(struct traffic *t)
{
    if (t == NULL)
        return;
    inventory_dispose(&t->inventory);
    atlas_destroy(t->atlas);
    free(t);
}

/* ---- who ---- */

static void draw_device(const struct atlas_country *country, struct person *p)
{
    double device = hash_unit(p->hash + 11), os = hash_unit(p->hash + 12);
    if (device < 0.57) {
        p->device = 4;
        p->os = os < country->ios ? OS_IOS : OS_ANDROID;
    } else if (device < 0.86) {
        p->device = 2;
        p->os = os < 0.72 ? OS_WINDOWS : os < 0.93 ? OS_MACOS : OS_LINUX;
    } else if (device < 0.92) {
        p->device = 5;
        p->os = os < 0.6 ? OS_IOS : OS_ANDROID;
    } else {
        p->device = 3;
        p->os = os < 0.25 ? OS_ANDROID : OS_TV;
    }
}

static void draw_person(const struct traffic *t, int hour, struct prng *g, struct person *p)
{
    double x = prng_unit(g);
    uint32_t c = 0;
    while (c + 1 < t->atlas->n_countries && x >= t->country_share[hour][c])
        c++;
    const struct atlas_country *country = &t->atlas->countries[c];
    x = prng_unit(g);
    uint32_t city = country->first_city, last = country->first_city + country->n_cities - 1;
    while (city < last && x >= t->city_share[city])
        city++;
    double share = t->city_share[city] - (city > country->first_city ? t->city_share[city - 1] : 0);
    double people = fmax(t->scenario->traffic.users * country->weight * share, 1);
    uint64_t rank = (uint64_t)(people * pow(prng_unit(g), t->scenario->traffic.user_skew));
    p->country = c;
    p->city = city;
    p->hash = hash_mix(hash_mix(t->scenario->seed + 0x70656f70 + city) ^ rank);
    draw_device(country, p);
    double known = t->scenario->traffic.user_id_share;
    if (p->os == OS_IOS || p->os == OS_MACOS)
        known *= 0.55;
    p->known = hash_unit(p->hash + 13) < known;
}

static void draw_visit(const struct traffic *t, int hour, struct visit *v)
{
    const struct scenario_traffic *s = &t->scenario->traffic;
    draw_person(t, hour, &v->g, &v->person);
    enum property_kind kind = PROPERTY_SITE;
    if (v->person.device == 3)
        kind = PROPERTY_TV;
    else if (v->person.device != 2 && prng_unit(&v->g) < s->app_share)
        kind = PROPERTY_APP;
    int32_t list = prng_unit(&v->g) < s->local_share ? (int32_t)v->person.country : -1;
    v->property = inventory_draw(&t->inventory, kind, list, v->day, &v->g);
    uint32_t first = (uint32_t)prng_below(&v->g, v->property->n_placements);
    v->placements[0] = &v->property->placements[first];
    v->n_placements = 1;
    if (v->property->n_placements > 1 && prng_unit(&v->g) < s->two_imps_share) {
        v->placements[1] = &v->property->placements[(first + 1) % v->property->n_placements];
        v->n_placements = 2;
    }
    v->coppa = prng_unit(&v->g) < s->coppa_share;
    bool gdpr = t->atlas->countries[v->person.country].gdpr;
    v->consent = !gdpr || hash_unit(v->person.hash + 14) < 0.85;
    v->person.known = v->person.known && v->consent && !v->coppa;
}

/* ---- the body ---- */

static void put_sizes(struct sink *o, const uint16_t (*sizes)[2], int n)
{
    sink_literal(o, "\"banner\":{\"w\":");
    sink_uint(o, sizes[0][0]);
    sink_literal(o, ",\"h\":");
    sink_uint(o, sizes[0][1]);
    sink_literal(o, ",\"format\":[");
    for (int i = 0; i < n && sizes[i][0] != 0; i++) {
        if (i > 0)
            sink_literal(o, ",");
        sink_literal(o, "{\"w\":");
        sink_uint(o, sizes[i][0]);
        sink_literal(o, ",\"h\":");
        sink_uint(o, sizes[i][1]);
        sink_literal(o, "}");
    }
    sink_literal(o, "],\"pos\":");
}

static void put_banner(struct sink *o, const struct visit *v, const struct placement *p)
{
    static const uint16_t DESKTOP[][3][2] = {
        [PLACEMENT_RECTANGLE] = {{300, 250}, {336, 280}, {300, 600}},
        [PLACEMENT_LEADERBOARD] = {{728, 90}, {970, 90}},
        [PLACEMENT_SKYSCRAPER] = {{160, 600}, {300, 600}},
        [PLACEMENT_BILLBOARD] = {{970, 250}, {970, 90}, {728, 90}}};
    static const uint16_t MOBILE[][3][2] = {[PLACEMENT_RECTANGLE] = {{300, 250}, {336, 280}},
                                            [PLACEMENT_LEADERBOARD] = {{320, 50}, {320, 100}},
                                            [PLACEMENT_SKYSCRAPER] = {{300, 250}},
                                            [PLACEMENT_BILLBOARD] = {{320, 100}, {300, 250}},
                                            [PLACEMENT_APP_BANNER] = {{320, 50}, {320, 100}},
                                            [PLACEMENT_INTERSTITIAL] = {{320, 480}, {300, 250}}};
    static const uint16_t TABLET[2][2] = {{768, 1024}, {320, 480}};
    if (p->kind == PLACEMENT_INTERSTITIAL && v->person.device == 5)
        put_sizes(o, TABLET, 2);
    else
        put_sizes(o, v->person.device == 2 ? DESKTOP[p->kind] : MOBILE[p->kind], 3);
    sink_uint(o, p->kind == PLACEMENT_INTERSTITIAL ? 7 : p->kind == PLACEMENT_SKYSCRAPER ? 3 : 1);
    sink_literal(o, ",\"btype\":[1],\"battr\":[1,2,3,9],\"mimes\":[\"image/jpeg\",\"image/png\","
                    "\"image/gif\",\"text/javascript\"]");
    if (v->property->kind == PROPERTY_APP)
        sink_literal(o, ",\"api\":[3,5,6,7]");
    sink_literal(o, "}");
}

static void put_video(struct sink *o, const struct placement *p)
{
    bool tv = p->kind == PLACEMENT_TV, rewarded = p->kind == PLACEMENT_REWARDED;
    sink_literal(o, "\"video\":{\"mimes\":[\"video/mp4\",\"video/webm\"],\"minduration\":5,"
                    "\"maxduration\":");
    sink_uint(o, tv ? 60 : 30);
    sink_literal(o, ",\"protocols\":[2,3,5,6,7,8],\"w\":");
    sink_uint(o, tv ? 1920 : rewarded ? 480 : 640);
    sink_literal(o, ",\"h\":");
    sink_uint(o, tv ? 1080 : rewarded ? 320 : 360);
    sink_literal(o, ",\"startdelay\":0,\"plcmt\":");
    sink_uint(o, tv ? 1 : rewarded ? 3 : 2);
    sink_literal(o, ",\"linearity\":1,\"skip\":");
    sink_uint(o, tv || rewarded ? 0 : 1);
    sink_literal(o, ",\"playbackmethod\":[");
    sink_uint(o, tv ? 1 : 2);
    sink_literal(o, "],\"delivery\":[2],\"pos\":7,\"api\":[7]}");
}

static void put_native(struct sink *o)
{
    sink_literal(o, "\"native\":{\"request\":\"{\\\"ver\\\":\\\"1.2\\\",\\\"context\\\":1,"
                    "\\\"plcmttype\\\":1,\\\"assets\\\":[{\\\"id\\\":1,\\\"required\\\":1,"
                    "\\\"title\\\":{\\\"len\\\":80}},{\\\"id\\\":2,\\\"required\\\":1,"
                    "\\\"img\\\":{\\\"type\\\":3,\\\"wmin\\\":600,\\\"hmin\\\":314}},"
                    "{\\\"id\\\":3,\\\"data\\\":{\\\"type\\\":1,\\\"len\\\":25}}]}\","
                    "\"ver\":\"1.2\",\"api\":[7]}");
}

static int64_t round_floor(double micros)
{
    return micros <= 0 ? 0 : (int64_t)fmax(ceil(micros / 10000), 1) * 10000;
}

static void put_pmp(const struct traffic *t, struct sink *o, const struct placement *p,
                    int64_t floor_micros)
{
    char deal[DEAL_NAME_MAX];
    inventory_deal_name(t->scenario, (uint32_t)p->deal, deal);
    sink_literal(o, ",\"pmp\":{\"private_auction\":");
    sink_uint(o, p->deal_private);
    sink_literal(o, ",\"deals\":[{\"id\":\"");
    sink_string(o, deal);
    sink_literal(o, "\",\"bidfloor\":");
    sink_fixed(o, (round_floor((double)floor_micros * 1.3) + 500000) / 10000, 2);
    sink_literal(o, ",\"bidfloorcur\":\"USD\",\"at\":2}]}");
}

static void put_imp(const struct traffic *t, struct visit *v, struct sink *o, uint32_t i)
{
    const struct placement *p = v->placements[i];
    double price = t->atlas->countries[v->person.country].price;
    int64_t floor = round_floor((double)p->floor_micros * price * (0.85 + 0.3 * prng_unit(&v->g)));
    sink_literal(o, "{\"id\":\"");
    sink_uint(o, i + 1);
    sink_literal(o, "\",");
    if (p->kind == PLACEMENT_NATIVE)
        put_native(o);
    else if (p->kind == PLACEMENT_VIDEO || p->kind == PLACEMENT_REWARDED || p->kind == PLACEMENT_TV)
        put_video(o, p);
    else
        put_banner(o, v, p);
    sink_literal(o, ",\"tagid\":\"");
    sink_string(o, v->property->name);
    sink_literal(o, "/");
    sink_uint(o, (uint64_t)(p - v->property->placements));
    sink_literal(o, "\",\"bidfloor\":");
    sink_fixed(o, floor / 10000, 2);
    sink_literal(o, ",\"bidfloorcur\":\"USD\",\"secure\":1");
    if (p->kind == PLACEMENT_INTERSTITIAL || p->kind == PLACEMENT_REWARDED)
        sink_literal(o, ",\"instl\":1");
    if (p->kind == PLACEMENT_REWARDED)
        sink_literal(o, ",\"rwdd\":1");
    if (v->property->kind == PROPERTY_APP)
        sink_literal(o, ",\"displaymanager\":\"prebid-mobile\",\"displaymanagerver\":\"2.2.1\"");
    if (p->deal >= 0 && prng_unit(&v->g) < 0.7)
        put_pmp(t, o, p, floor);
    sink_literal(o, ",\"ext\":{\"gpid\":\"/21/");
    sink_string(o, v->property->name);
    sink_literal(o, "#");
    sink_uint(o, (uint64_t)(p - v->property->placements));
    sink_literal(o, "\"}}");
}

static void put_cats(struct sink *o, const struct property *p)
{
    sink_literal(o, ",\"cat\":[\"IAB");
    sink_uint(o, p->cats[0]);
    if (p->n_cats > 1) {
        sink_literal(o, "\",\"IAB");
        sink_uint(o, p->cats[1]);
    }
    sink_literal(o, "\"]");
}

static void put_property(const struct traffic *t, struct visit *v, struct sink *o)
{
    const struct property *p = v->property;
    uint32_t article = (uint32_t)prng_below(&v->g, 5000);
    sink_string(o, p->kind == PROPERTY_SITE ? "\"site\":{\"id\":\"s" : "\"app\":{\"id\":\"a");
    sink_uint(o, (uint64_t)(p - t->inventory.properties));
    sink_literal(o, "\",\"name\":\"");
    sink_string(o, p->title);
    if (p->kind == PROPERTY_SITE) {
        sink_literal(o, "\",\"domain\":\"");
        sink_string(o, p->name);
        sink_literal(o, "\",\"page\":\"https://");
        sink_string(o, p->name);
        sink_literal(o, "/articles/");
        sink_uint(o, article);
        sink_literal(o, ".html\",\"mobile\":");
        sink_uint(o, v->person.device != 2);
    } else {
        sink_literal(o, "\",\"bundle\":\"");
        sink_string(o, p->name);
        sink_literal(o, "\",\"storeurl\":\"https://store.example/details?id=");
        sink_string(o, p->name);
        sink_literal(o, "\",\"ver\":\"4.");
        sink_uint(o, article % 12);
        sink_literal(o, "\"");
    }
    put_cats(o, p);
    sink_literal(o, ",\"privacypolicy\":1,\"publisher\":{\"id\":\"pub-");
    sink_uint(o, 1000 + p->publisher);
    sink_literal(o, "\",\"name\":\"Publisher ");
    sink_uint(o, p->publisher);
    sink_literal(o, "\",\"domain\":\"pub");
    sink_uint(o, p->publisher);
    sink_literal(o, ".example\"},\"content\":{\"id\":\"c");
    sink_uint(o, article);
    sink_literal(o, "\",\"language\":\"");
    sink_string(o, t->atlas->countries[p->home >= 0 ? (uint32_t)p->home : 0].language);
    sink_string(o, p->kind == PROPERTY_TV ? "\",\"genre\":\"series\",\"len\":2700,\"livestream\":0}"
                                          : "\"}");
    sink_literal(o, "}");
}

struct machine {
    const char *os, *make, *models[3];
    const char *ua[2]; /* a version goes between the two */
    uint16_t w, h;
};

static const struct machine *machine_of(const struct person *p)
{
    static const struct machine PHONE_ANDROID = {
        "Android",
        "Samsung",
        {"SM-S921B", "SM-A546E", "SM-G991U"},
        {"Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
         ".0.0.0 Mobile Safari/537.36"},
        412,
        915};
    static const struct machine PHONE_IOS = {
        "iOS",
        "Apple",
        {"iPhone15,2", "iPhone14,5", "iPhone16,1"},
        {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
         "Gecko) Version/17.5 Mobile/15E",
         " Safari/604.1"},
        390,
        844};
    static const struct machine TABLET_ANDROID = {
        "Android",
        "Samsung",
        {"SM-X710", "SM-T870", "SM-X205"},
        {"Mozilla/5.0 (Linux; Android 13; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
         ".0.0.0 Safari/537.36"},
        800,
        1280};
    static const struct machine TABLET_IOS = {
        "iOS",
        "Apple",
        {"iPad13,4", "iPad14,1", "iPad12,1"},
        {"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
         "Version/17.5 Mobile/15E",
         " Safari/604.1"},
        820,
        1180};
    static const struct machine WINDOWS = {
        "Windows",
        "",
        {"PC", "PC", "PC"},
        {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
         ".0.0.0 Safari/537.36"},
        1920,
        1080};
    static const struct machine MACOS = {
        "macOS",
        "Apple",
        {"Mac", "Mac", "Mac"},
        {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
         "Version/17.5 Safari/605.1.",
         ""},
        1512,
        982};
    static const struct machine LINUX = {
        "Linux",
        "",
        {"PC", "PC", "PC"},
        {"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/", ".0"},
        1920,
        1080};
    static const struct machine TV = {
        "Tizen",
        "Samsung",
        {"QE55Q80", "UE50AU", "QE65S90"},
        {"Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) "
         "76.0.3809.",
         "/6.0 TV Safari/537.36"},
        1920,
        1080};
    static const struct machine TV_ANDROID = {"Android",
                                              "Sony",
                                              {"BRAVIA-4K", "BRAVIA-X90", "BRAVIA-A80"},
                                              {"Mozilla/5.0 (Linux; Android 12; BRAVIA 4K) "
                                               "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
                                               ".0.0.0 Safari/537.36"},
                                              3840,
                                              2160};
    if (p->device == 3)
        return p->os == OS_ANDROID ? &TV_ANDROID : &TV;
    if (p->device == 4)
        return p->os == OS_IOS ? &PHONE_IOS : &PHONE_ANDROID;
    if (p->device == 5)
        return p->os == OS_IOS ? &TABLET_IOS : &TABLET_ANDROID;
    return p->os == OS_WINDOWS ? &WINDOWS : p->os == OS_MACOS ? &MACOS : &LINUX;
}

static void put_uuid(struct sink *o, uint64_t h)
{
    uint64_t more = hash_mix(h + 1);
    static const uint8_t DIGITS[5] = {8, 4, 4, 4, 12};
    for (unsigned i = 0; i < 5; i++) {
        if (i > 0)
            sink_literal(o, "-");
        sink_hex(o, i == 4 ? more : h >> (16 * i & 63), DIGITS[i]);
    }
}

static void put_ip(struct sink *o, uint64_t h)
{
    /* Addresses reserved for documentation (RFC 5737, RFC 3849). */
    static const char *const NETS[] = {"192.0.2.", "198.51.100.", "203.0.113."};
    if (h % 5 == 0) {
        sink_literal(o, "\"ipv6\":\"2001:db8:");
        sink_hex(o, h >> 8, 4);
        sink_literal(o, ":");
        sink_hex(o, h >> 24, 4);
        sink_literal(o, "::1\"");
    } else {
        sink_literal(o, "\"ip\":\"");
        sink_string(o, NETS[(h >> 8) % 3]);
        sink_uint(o, h >> 16 & 255);
        sink_literal(o, "\"");
    }
}

static void put_geo(const struct traffic *t, struct visit *v, struct sink *o)
{
    const struct scenario_traffic *s = &t->scenario->traffic;
    const struct atlas_node *city = &t->atlas->nodes[v->person.city];
    double told = prng_unit(&v->g);
    sink_literal(o, ",\"geo\":{\"country\":\"");
    sink_string(o, t->atlas->countries[v->person.country].code);
    if (told < s->region_share) {
        sink_literal(o, "\",\"region\":\"");
        sink_string(o, t->atlas->nodes[city->parent].name);
    }
    if (told < s->city_share) {
        sink_literal(o, "\",\"city\":\"");
        sink_string(o, city->name);
    }
    sink_literal(o, "\",\"lat\":");
    sink_fixed(o, llround(city->lat * 1e4) + (int64_t)(v->person.hash >> 40 & 511) - 256, 4);
    sink_literal(o, ",\"lon\":");
    sink_fixed(o, llround(city->lon * 1e4) + (int64_t)(v->person.hash >> 50 & 511) - 256, 4);
    sink_literal(o, ",\"type\":2,\"utcoffset\":");
    sink_int(o, city->utcoffset_min);
    sink_literal(o, "}");
}

static void put_device(const struct traffic *t, struct visit *v, struct sink *o)
{
    const struct person *p = &v->person;
    const struct machine *m = machine_of(p);
    bool app = v->property->kind != PROPERTY_SITE;
    sink_literal(o, ",\"device\":{\"ua\":\"");
    sink_string(o, m->ua[0]);
    sink_uint(o, 118 + (p->hash >> 20 & 15));
    sink_string(o, m->ua[1]);
    sink_literal(o, "\",");
    put_ip(o, p->hash);
    put_geo(t, v, o);
    sink_literal(o, ",\"devicetype\":");
    sink_uint(o, p->device);
    sink_literal(o, ",\"os\":\"");
    sink_string(o, m->os);
    sink_literal(o, "\",\"osv\":\"");
    sink_uint(o, 10 + (p->hash >> 28 & 7));
    if (m->make[0] != '\0') {
        sink_literal(o, "\",\"make\":\"");
        sink_string(o, m->make);
    }
    sink_literal(o, "\",\"model\":\"");
    sink_string(o, m->models[(p->hash >> 32) % 3]);
    sink_literal(o, "\",\"language\":\"");
    sink_string(o, t->atlas->countries[p->country].language);
    sink_literal(o, "\",\"w\":");
    sink_uint(o, m->w);
    sink_literal(o, ",\"h\":");
    sink_uint(o, m->h);
    sink_literal(o, ",\"js\":1,\"dnt\":0,\"lmt\":");
    sink_uint(o, !p->known);
    sink_literal(o, ",\"connectiontype\":");
    sink_uint(o, p->device == 4 && prng_unit(&v->g) < 0.5 ? 6 : 2);
    if (app && p->known) {
        sink_literal(o, ",\"ifa\":\"");
        put_uuid(o, p->hash);
        sink_literal(o, "\"");
    }
    sink_literal(o, "}");
}

static void put_user(const struct traffic *t, const struct visit *v, struct sink *o)
{
    bool gdpr = t->atlas->countries[v->person.country].gdpr;
    bool id = v->person.known && v->property->kind == PROPERTY_SITE;
    if (!id && !(gdpr && v->consent))
        return;
    sink_literal(o, ",\"user\":{");
    if (id) {
        sink_literal(o, "\"id\":\"u");
        sink_hex(o, v->person.hash, 16);
        sink_literal(o, "\"");
    }
    if (gdpr && v->consent) {
        if (id)
            sink_literal(o, ",");
        sink_literal(o, "\"consent\":\"CQ");
        sink_hex(o, v->person.hash >> 7, 14);
        sink_literal(o, "AAAAENCZCAAAAAAAAAAAAAAAAAAAA.YAAAAAAAAAA\"");
    }
    sink_literal(o, "}");
}

static void put_rest(const struct traffic *t, const struct visit *v, struct sink *o)
{
    const struct property *p = v->property;
    bool gdpr = t->atlas->countries[v->person.country].gdpr;
    sink_literal(o, ",\"at\":2,\"tmax\":");
    sink_uint(o, p->tmax_ms);
    sink_literal(o, ",\"cur\":[\"USD\"],\"bcat\":[\"IAB25\",\"IAB26\",\"IAB7-39\"");
    if (p->publisher % 5 == 0) {
        sink_literal(o, ",\"IAB");
        sink_uint(o, 1 + p->publisher / 5 % 24);
        sink_literal(o, "\"");
    }
    sink_literal(o, "],\"badv\":[\"competitor");
    sink_uint(o, p->publisher % 7);
    sink_literal(o, ".example\",\"blocked.example\"],\"source\":{\"fd\":1,\"tid\":\"");
    put_uuid(o, hash_mix(v->g.state));
    sink_literal(o, "\",\"schain\":{\"ver\":\"1.0\",\"complete\":1,\"nodes\":[{\"asi\":"
                    "\"exchange.example\",\"sid\":\"pub-");
    sink_uint(o, 1000 + p->publisher);
    sink_literal(o, "\",\"hp\":1}]}},\"regs\":{\"coppa\":");
    sink_uint(o, v->coppa);
    sink_literal(o, ",\"gdpr\":");
    sink_uint(o, gdpr);
    if (v->person.country == 0)
        sink_literal(o, ",\"us_privacy\":\"1YNN\",\"gpp_sid\":[7]");
    sink_literal(o, "}}");
}

/* The day's curve, inverted: share of the volume -> time of day. */
static int64_t time_of_day_ms(const struct traffic *t, double share, int *hour)
{
    int h = 0;
    while (h < 23 && share >= t->day_curve[h + 1])
        h++;
    double inside = (share - t->day_curve[h]) / (t->day_curve[h + 1] - t->day_curve[h]);
    *hour = h;
    int64_t ms = h * INT64_C(3600000) + (int64_t)(inside * 3600000);
    return ms < 86400000 ? ms : 86399999;
}

struct bytes traffic_request(const struct traffic *t, int32_t day, uint32_t index,
                             char out[TRAFFIC_BODY_MAX], int64_t *ts_ms)
{
    struct visit v = {.day = day, .index = index};
    v.g.state = hash_mix(hash_mix(t->scenario->seed + 0x76697369) ^
                         ((uint64_t)(uint32_t)day << 32 | index));
    uint64_t tag = prng_next(&v.g);
    int hour;
    double share = (index + prng_unit(&v.g)) / t->scenario->traffic.requests_per_day;
    *ts_ms = t->scenario->start_ms + day * INT64_C(86400000) +
             time_of_day_ms(t, share - floor(share), &hour);
    draw_visit(t, hour, &v);

    struct sink o = {.base = out, .size = TRAFFIC_BODY_MAX};
    sink_literal(&o, "{\"id\":\"");
    sink_int(&o, day);
    sink_literal(&o, "-");
    sink_uint(&o, index);
    sink_literal(&o, "-");
    sink_hex(&o, tag, 12);
    sink_literal(&o, "\",\"imp\":[");
    for (uint32_t i = 0; i < v.n_placements; i++) {
        if (i > 0)
            sink_literal(&o, ",");
        put_imp(t, &v, &o, i);
    }
    sink_literal(&o, "],");
    put_property(t, &v, &o);
    put_device(t, &v, &o);
    put_user(t, &v, &o);
    put_rest(t, &v, &o);
    return (struct bytes){out, o.len};
}

/* ---- what others may ask ---- */

const struct scenario *traffic_scenario(const struct traffic *t)
{
    return t->scenario;
}

const struct atlas *traffic_atlas(const struct traffic *t)
{
    return t->atlas;
}

uint32_t traffic_properties(const struct traffic *t)
{
    return t->inventory.n_properties;
}

uint32_t traffic_deals(const struct traffic *t)
{
    return t->inventory.n_deals;
}

int32_t traffic_find_property(const struct traffic *t, struct bytes name)
{
    if (name.len == 0)
        return -1;
    return (int32_t)lookup_find(&t->inventory.names, hash_bytes(name, t->scenario->seed));
}

int32_t traffic_find_deal(const struct traffic *t, struct bytes id)
{
    return (int32_t)lookup_find(&t->inventory.deals, hash_bytes(id, t->scenario->seed));
}

void traffic_deal_name(const struct traffic *t, uint32_t deal, char out[TRAFFIC_DEAL_NAME_MAX])
{
    _Static_assert((int)TRAFFIC_DEAL_NAME_MAX == (int)DEAL_NAME_MAX, "the same buffer");
    inventory_deal_name(t->scenario, deal, out);
}

uint32_t traffic_draw_property(const struct traffic *t, struct prng *g)
{
    const struct inventory *v = &t->inventory;
    uint32_t apps = v->n_properties - v->n_sites;
    double skewed = prng_unit(g);
    skewed *= skewed;
    return prng_unit(g) < 0.5 ? (uint32_t)(skewed * v->n_sites)
                              : v->n_sites + (uint32_t)(skewed * apps);
}
