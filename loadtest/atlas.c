/* The atlas is a table of real places, so that a reader of a request recognises it and a country's
 * time zones, languages and consent rules are plausible; weights and prices are invented. */
#include "loadtest/atlas.h"

#include <assert.h>
#include <stdlib.h>

#include "hash.h"
#include "loadtest/lookup.h"

static const struct atlas_country COUNTRIES[] = {
    {.code = "USA", .language = "en", .weight = 0.330, .price = 1.00, .ios = 0.56},
    {.code = "GBR", .language = "en", .weight = 0.095, .price = 0.85, .ios = 0.50, .gdpr = true},
    {.code = "DEU", .language = "de", .weight = 0.090, .price = 0.80, .ios = 0.35, .gdpr = true},
    {.code = "FRA", .language = "fr", .weight = 0.075, .price = 0.70, .ios = 0.33, .gdpr = true},
    {.code = "JPN", .language = "ja", .weight = 0.065, .price = 0.75, .ios = 0.65},
    {.code = "BRA", .language = "pt", .weight = 0.060, .price = 0.35, .ios = 0.16},
    {.code = "IND", .language = "en", .weight = 0.055, .price = 0.22, .ios = 0.05},
    {.code = "ESP", .language = "es", .weight = 0.045, .price = 0.55, .ios = 0.24, .gdpr = true},
    {.code = "ITA", .language = "it", .weight = 0.045, .price = 0.55, .ios = 0.27, .gdpr = true},
    {.code = "CAN", .language = "en", .weight = 0.040, .price = 0.80, .ios = 0.58},
    {.code = "MEX", .language = "es", .weight = 0.030, .price = 0.35, .ios = 0.20},
    {.code = "AUS", .language = "en", .weight = 0.025, .price = 0.85, .ios = 0.57},
    {.code = "NLD", .language = "nl", .weight = 0.020, .price = 0.75, .ios = 0.40, .gdpr = true},
    {.code = "POL", .language = "pl", .weight = 0.012, .price = 0.40, .ios = 0.14, .gdpr = true},
    {.code = "SWE", .language = "sv", .weight = 0.008, .price = 0.80, .ios = 0.55, .gdpr = true},
    {.code = "TUR", .language = "tr", .weight = 0.005, .price = 0.25, .ios = 0.18},
};
enum { COUNTRIES_COUNT = sizeof(COUNTRIES) / sizeof(COUNTRIES[0]) };

struct region {
    const char *country, *code;
    int32_t utcoffset_min;
    double lat, lon;
    const char *cities[5]; /* larger ones first */
};

/* A country's regions stand together, larger ones first. */
static const struct region REGIONS[] = {
    {"USA", "CA", -480, 34.1, -118.2, {"Los Angeles", "San Diego", "San Jose", "Sacramento"}},
    {"USA", "TX", -360, 30.3, -97.7, {"Houston", "Dallas", "Austin", "San Antonio"}},
    {"USA", "NY", -300, 40.7, -74.0, {"New York", "Buffalo", "Rochester"}},
    {"USA", "FL", -300, 27.9, -82.5, {"Miami", "Tampa", "Orlando", "Jacksonville"}},
    {"USA", "IL", -360, 41.9, -87.6, {"Chicago", "Aurora", "Springfield"}},
    {"USA", "PA", -300, 40.0, -75.2, {"Philadelphia", "Pittsburgh", "Allentown"}},
    {"USA", "OH", -300, 40.0, -83.0, {"Columbus", "Cleveland", "Cincinnati"}},
    {"USA", "GA", -300, 33.7, -84.4, {"Atlanta", "Savannah"}},
    {"USA", "WA", -480, 47.6, -122.3, {"Seattle", "Spokane", "Tacoma"}},
    {"USA", "AZ", -420, 33.4, -112.1, {"Phoenix", "Tucson"}},
    {"USA", "MA", -300, 42.4, -71.1, {"Boston", "Worcester"}},
    {"USA", "CO", -420, 39.7, -105.0, {"Denver", "Colorado Springs"}},
    {"GBR", "ENG", 0, 51.5, -0.1, {"London", "Birmingham", "Manchester", "Leeds", "Bristol"}},
    {"GBR", "SCT", 0, 55.9, -3.2, {"Glasgow", "Edinburgh", "Aberdeen"}},
    {"GBR", "WLS", 0, 51.5, -3.2, {"Cardiff", "Swansea"}},
    {"GBR", "NIR", 0, 54.6, -5.9, {"Belfast"}},
    {"DEU", "NW", 60, 51.2, 6.8, {"Cologne", "Dortmund", "Essen", "Bonn"}},
    {"DEU", "BY", 60, 48.1, 11.6, {"Munich", "Nuremberg", "Augsburg"}},
    {"DEU", "BE", 60, 52.5, 13.4, {"Berlin"}},
    {"DEU", "BW", 60, 48.8, 9.2, {"Stuttgart", "Karlsruhe", "Mannheim"}},
    {"DEU", "HH", 60, 53.6, 10.0, {"Hamburg"}},
    {"DEU", "HE", 60, 50.1, 8.7, {"Frankfurt", "Wiesbaden", "Kassel"}},
    {"FRA", "IDF", 60, 48.9, 2.4, {"Paris", "Versailles", "Saint-Denis"}},
    {"FRA", "ARA", 60, 45.8, 4.8, {"Lyon", "Grenoble", "Annecy"}},
    {"FRA", "PAC", 60, 43.3, 5.4, {"Marseille", "Nice", "Toulon"}},
    {"FRA", "OCC", 60, 43.6, 1.4, {"Toulouse", "Montpellier"}},
    {"FRA", "HDF", 60, 50.6, 3.1, {"Lille", "Amiens"}},
    {"JPN", "13", 540, 35.7, 139.7, {"Tokyo", "Hachioji"}},
    {"JPN", "27", 540, 34.7, 135.5, {"Osaka", "Sakai"}},
    {"JPN", "23", 540, 35.2, 136.9, {"Nagoya", "Toyota"}},
    {"JPN", "40", 540, 33.6, 130.4, {"Fukuoka", "Kitakyushu"}},
    {"BRA", "SP", -180, -23.6, -46.6, {"Sao Paulo", "Campinas", "Santos"}},
    {"BRA", "RJ", -180, -22.9, -43.2, {"Rio de Janeiro", "Niteroi"}},
    {"BRA", "MG", -180, -19.9, -43.9, {"Belo Horizonte", "Uberlandia"}},
    {"BRA", "AM", -240, -3.1, -60.0, {"Manaus"}},
    {"IND", "MH", 330, 19.1, 72.9, {"Mumbai", "Pune", "Nagpur"}},
    {"IND", "DL", 330, 28.6, 77.2, {"Delhi"}},
    {"IND", "KA", 330, 13.0, 77.6, {"Bengaluru", "Mysuru"}},
    {"IND", "TN", 330, 13.1, 80.3, {"Chennai", "Coimbatore"}},
    {"ESP", "MD", 60, 40.4, -3.7, {"Madrid", "Getafe"}},
    {"ESP", "CT", 60, 41.4, 2.2, {"Barcelona", "Girona", "Tarragona"}},
    {"ESP", "AN", 60, 37.4, -6.0, {"Seville", "Malaga", "Granada"}},
    {"ITA", "25", 60, 45.5, 9.2, {"Milan", "Bergamo", "Brescia"}},
    {"ITA", "62", 60, 41.9, 12.5, {"Rome", "Latina"}},
    {"ITA", "72", 60, 40.9, 14.3, {"Naples", "Salerno"}},
    {"CAN", "ON", -300, 43.7, -79.4, {"Toronto", "Ottawa", "Hamilton"}},
    {"CAN", "QC", -300, 45.5, -73.6, {"Montreal", "Quebec"}},
    {"CAN", "BC", -480, 49.3, -123.1, {"Vancouver", "Victoria"}},
    {"MEX", "CMX", -360, 19.4, -99.1, {"Mexico City"}},
    {"MEX", "JAL", -360, 20.7, -103.3, {"Guadalajara", "Zapopan"}},
    {"MEX", "NLE", -360, 25.7, -100.3, {"Monterrey"}},
    {"AUS", "NSW", 600, -33.9, 151.2, {"Sydney", "Newcastle"}},
    {"AUS", "VIC", 600, -37.8, 145.0, {"Melbourne", "Geelong"}},
    {"AUS", "WA", 480, -31.9, 115.9, {"Perth"}},
    {"NLD", "NH", 60, 52.4, 4.9, {"Amsterdam", "Haarlem"}},
    {"NLD", "ZH", 60, 51.9, 4.5, {"Rotterdam", "The Hague"}},
    {"POL", "14", 60, 52.2, 21.0, {"Warsaw", "Radom"}},
    {"POL", "12", 60, 50.1, 19.9, {"Krakow"}},
    {"SWE", "AB", 60, 59.3, 18.1, {"Stockholm"}},
    {"SWE", "O", 60, 57.7, 12.0, {"Gothenburg"}},
    {"TUR", "34", 180, 41.0, 29.0, {"Istanbul"}},
    {"TUR", "06", 180, 39.9, 32.9, {"Ankara"}},
};
enum { REGIONS_COUNT = sizeof(REGIONS) / sizeof(REGIONS[0]) };

struct atlas_full {
    struct atlas atlas; /* first, so that a pointer to it is a pointer to the whole */
    struct atlas_country countries[COUNTRIES_COUNT];
    struct atlas_node nodes[ATLAS_NODES_MAX];
    struct lookup names;
};

static uint64_t name_key(uint32_t parent, struct bytes name)
{
    return hash_bytes(name, 0x61746c6173u + parent);
}

static uint32_t add_node(struct atlas_full *f, struct atlas_node node)
{
    uint32_t id = f->atlas.n_nodes++;
    assert(id < ATLAS_NODES_MAX);
    f->nodes[id] = node;
    lookup_add(&f->names, name_key(node.parent, bytes_of(node.name)), id);
    return id;
}

/* Cities of a country stand together, so that a city is drawn by an offset; hence two passes. */
static void add_country(struct atlas_full *f, uint32_t c)
{
    struct atlas_country *country = &f->countries[c];
    uint32_t region_nodes[REGIONS_COUNT];
    country->node = add_node(f, (struct atlas_node){.country = c, .name = country->code});
    for (size_t r = 0; r < REGIONS_COUNT; r++) {
        const struct region *region = &REGIONS[r];
        if (strcmp(region->country, country->code) != 0)
            continue;
        region_nodes[r] = add_node(f, (struct atlas_node){.parent = country->node,
                                                          .country = c,
                                                          .name = region->code,
                                                          .utcoffset_min = region->utcoffset_min,
                                                          .lat = region->lat,
                                                          .lon = region->lon});
        struct atlas_node *node = &f->nodes[country->node];
        if (node->lat == 0) {
            node->lat = region->lat;
            node->lon = region->lon;
            node->utcoffset_min = region->utcoffset_min;
        }
    }
    country->first_city = f->atlas.n_nodes;
    for (size_t r = 0; r < REGIONS_COUNT; r++) {
        const struct region *region = &REGIONS[r];
        if (strcmp(region->country, country->code) != 0)
            continue;
        for (size_t i = 0; i < 5 && region->cities[i] != NULL; i++) {
            struct atlas_node city = f->nodes[region_nodes[r]];
            city.parent = region_nodes[r];
            city.name = region->cities[i];
            uint64_t h = hash_bytes(bytes_of(city.name), 1);
            city.lat += hash_unit(h) * 1.2 - 0.6;
            city.lon += hash_unit(h + 1) * 1.2 - 0.6;
            uint32_t id = add_node(f, city);
            lookup_add(&f->names, name_key(country->node, bytes_of(city.name)), id);
            country->n_cities++;
        }
    }
}

struct atlas *atlas_create(void)
{
    struct atlas_full *f = calloc(1, sizeof(*f));
    if (f == NULL)
        abort();
    lookup_init(&f->names, 2 * ATLAS_NODES_MAX);
    memcpy(f->countries, COUNTRIES, sizeof(COUNTRIES));
    f->atlas.countries = f->countries;
    f->atlas.nodes = f->nodes;
    f->atlas.n_countries = COUNTRIES_COUNT;
    f->atlas.n_nodes = 1; /* 0 = unknown */
    f->nodes[0].name = "";
    for (uint32_t c = 0; c < COUNTRIES_COUNT; c++)
        add_country(f, c);
    return &f->atlas;
}

void atlas_destroy(struct atlas *a)
{
    if (a == NULL)
        return;
    struct atlas_full *f = (struct atlas_full *)a;
    lookup_dispose(&f->names);
    free(f);
}

static uint32_t find_under(const struct atlas *a, uint32_t parent, struct bytes name)
{
    const struct atlas_full *f = (const struct atlas_full *)a;
    int64_t node = name.len > 0 ? lookup_find(&f->names, name_key(parent, name)) : -1;
    return node < 0 ? 0 : (uint32_t)node;
}

uint32_t atlas_find(const struct atlas *a, struct bytes country, struct bytes region,
                    struct bytes city)
{
    uint32_t node = find_under(a, 0, country);
    if (node == 0)
        return 0;
    uint32_t inner = find_under(a, node, region);
    node = inner != 0 ? inner : node;
    inner = find_under(a, node, city);
    return inner != 0 ? inner : node;
}
