/* What the request itself says about its place is believed; the database is asked only when the
 * request names no country that exists. Then the database answers for every field that is still
 * absent, so that a place never mixes two countries. Two layouts of entries are known: MaxMind's,
 * nested, and the flat one (country_code, state1, city, ...).
 *
 * The database is a file from outside: whatever in it does not read back as the type it should have
 * counts as absent, and an entry without a country counts as no entry. */
#include "filter/geo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <maxminddb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filter/country.h"
#include "filter/digits.h"

enum { UTCOFFSET_MINUTES_MAX = 14 * 60, TEXT_BYTES_MAX = 256 };

struct geo {
    MMDB_s db;
};

/* libmaxminddb maps the file; one that is written over in place (cp, rsync --inplace) would change
 * under the lookups, and end the process with SIGBUS when it is cut. So a copy in memory is mapped.
 * -1: errno says why. */
static int copy_to_memory(const char *path)
{
    int in = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), out = -1, code = 0;
    struct stat st;
    if (in < 0)
        return -1;
    if (fstat(in, &st) != 0 || !S_ISREG(st.st_mode)) {
        code = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    } else if ((out = memfd_create("geo", MFD_CLOEXEC)) < 0) {
        code = errno;
    } else {
        ssize_t n;
        while ((n = sendfile(out, in, NULL, 1 << 24)) > 0 || (n < 0 && errno == EINTR))
            ;
        code = n < 0 ? errno : 0;
    }
    close(in);
    if (code != 0 && out >= 0)
        close(out);
    errno = code;
    return code == 0 ? out : -1;
}

struct geo *geo_open(const char *path, struct error *err)
{
    struct geo *g = calloc(1, sizeof(*g));
    if (g == NULL) {
        error_set(err, "%s: out of memory", path);
        return NULL;
    }
    char copy[32];
    int fd = copy_to_memory(path), status = MMDB_FILE_OPEN_ERROR;
    if (fd >= 0) {
        snprintf(copy, sizeof(copy), "/proc/self/fd/%d", fd);
        status = MMDB_open(copy, MMDB_MODE_MMAP, &g->db);
        int code = errno;
        close(fd);
        errno = code;
    }
    if (status != MMDB_SUCCESS) {
        const char *why =
            status == MMDB_IO_ERROR || status == MMDB_FILE_OPEN_ERROR ? strerror(errno) : "";
        error_set(err, "%s: not a usable MaxMind database: %s%s%s", path, MMDB_strerror(status),
                  *why != '\0' ? ": " : "", why);
        free(g);
        return NULL;
    }
    return g;
}

void geo_close(struct geo *g)
{
    if (g == NULL)
        return;
    MMDB_close(&g->db);
    free(g);
}

/* ---- one entry of the database ---- */

static bool value_at(MMDB_entry_s *entry, const char *const *path, MMDB_entry_data_s *data)
{
    return MMDB_aget_value(entry, data, path) == MMDB_SUCCESS && data->has_data;
}

static struct bytes text_at(MMDB_entry_s *entry, const char *const *path)
{
    MMDB_entry_data_s data;
    if (!value_at(entry, path, &data) || data.type != MMDB_DATA_TYPE_UTF8_STRING ||
        data.data_size == 0 || data.data_size > TEXT_BYTES_MAX)
        return (struct bytes){NULL, 0};
    return (struct bytes){data.utf8_string, data.data_size};
}

static double number_of_text(const char *text, size_t len)
{
    char copy[32], *end;
    if (len == 0 || len >= sizeof(copy))
        return NAN;
    memcpy(copy, text, len);
    copy[len] = '\0';
    double x = strtod(copy, &end);
    return end == copy + len ? x : NAN;
}

/* A number, or a text that is one. */
static double double_at(MMDB_entry_s *entry, const char *const *path)
{
    MMDB_entry_data_s data;
    if (!value_at(entry, path, &data))
        return NAN;
    if (data.type == MMDB_DATA_TYPE_DOUBLE)
        return data.double_value;
    if (data.type == MMDB_DATA_TYPE_UTF8_STRING)
        return number_of_text(data.utf8_string, data.data_size);
    return data.type == MMDB_DATA_TYPE_FLOAT ? (double)data.float_value : NAN;
}

static struct bytes metro_at(MMDB_entry_s *entry, const char *const *path)
{
    MMDB_entry_data_s data;
    uint32_t code = 0;
    if (value_at(entry, path, &data)) {
        if (data.type == MMDB_DATA_TYPE_UINT16)
            code = data.uint16;
        else if (data.type == MMDB_DATA_TYPE_UINT32)
            code = data.uint32;
    }
    return code > 0 && code <= DIGITS_STATIC_MAX ? digits(code) : (struct bytes){NULL, 0};
}

static bool address_parse(struct bytes text, struct sockaddr_storage *out)
{
    char buffer[INET6_ADDRSTRLEN + 1];
    if (text.len == 0 || text.len >= sizeof(buffer) || memchr(text.base, '\0', text.len) != NULL)
        return false;
    memcpy(buffer, text.base, text.len);
    buffer[text.len] = '\0';

    memset(out, 0, sizeof(*out));
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (inet_pton(AF_INET, buffer, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        return true;
    }
    struct in6_addr address;
    if (inet_pton(AF_INET6, buffer, &address) != 1)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
        memcpy(&v4->sin_addr, address.s6_addr + 12, 4);
        v4->sin_family = AF_INET;
    } else {
        v6->sin6_addr = address;
        v6->sin6_family = AF_INET6;
    }
    return true;
}

static bool find_entry(const struct geo *g, struct bytes ip, MMDB_entry_s *entry)
{
    struct sockaddr_storage address;
    if (!address_parse(ip, &address))
        return false;
    int status = MMDB_SUCCESS;
    MMDB_lookup_result_s found =
        MMDB_lookup_sockaddr(&g->db, (const struct sockaddr *)&address, &status);
    *entry = found.entry;
    return status == MMDB_SUCCESS && found.found_entry;
}

/* ---- the place ---- */

static double degrees_or_absent(double x, double max)
{
    return isfinite(x) && fabs(x) <= max ? x : NAN;
}

/* A pair or nothing; 0,0 is what a client sends that does not know. */
static void coordinates_set(struct geo_place *out, double lat, double lon)
{
    lat = degrees_or_absent(lat, 90);
    lon = degrees_or_absent(lon, 180);
    bool known = !isnan(lat) && !isnan(lon) && !(lat == 0 && lon == 0);
    out->lat = known ? lat : NAN;
    out->lon = known ? lon : NAN;
}

static void fill(struct bytes *field, struct bytes value)
{
    if (field->len == 0)
        *field = value;
}

/* Where the values of an entry are. */
typedef const char *const entry_path[5];

static const struct layout {
    entry_path country, country_else, region, city, zip, metro, lat, lon, time_zone;
} LAYOUTS[] = {
    {{"country", "iso_code"}, /* MaxMind's */
     {"registered_country", "iso_code"},
     {"subdivisions", "0", "iso_code"},
     {"city", "names", "en"},
     {"postal", "code"},
     {"location", "metro_code"},
     {"location", "latitude"},
     {"location", "longitude"},
     {"location", "time_zone"}},
    {{"country_code"}, /* the flat one */
     {"country_code"},
     {"state1"},
     {"city"},
     {"postcode"},
     {"metro_code"},
     {"latitude"},
     {"longitude"},
     {"timezone"}},
};

/* False: the entry names no country there. */
static bool fill_from_entry(MMDB_entry_s *entry, const struct layout *at, struct geo_place *out)
{
    struct bytes code = country_alpha3(text_at(entry, at->country));
    if (code.len == 0)
        code = country_alpha3(text_at(entry, at->country_else));
    if (code.len == 0)
        return false;
    out->country = code;
    out->from_database = true;
    fill(&out->region, text_at(entry, at->region));
    fill(&out->city, text_at(entry, at->city));
    fill(&out->zip, text_at(entry, at->zip));
    fill(&out->metro, metro_at(entry, at->metro));
    fill(&out->time_zone, text_at(entry, at->time_zone));
    if (isnan(out->lat))
        coordinates_set(out, double_at(entry, at->lat), double_at(entry, at->lon));
    return true;
}

static void fill_from_database(const struct geo *g, struct bytes ip, struct geo_place *out)
{
    MMDB_entry_s entry;
    if (find_entry(g, ip, &entry))
        for (size_t i = 0; i < sizeof(LAYOUTS) / sizeof(LAYOUTS[0]); i++)
            if (fill_from_entry(&entry, &LAYOUTS[i], out))
                return;
}

/* ISO 3166-2 ("US-CA") and its last part alone ("CA") are both in use. */
static struct bytes region_without_country(struct bytes region, struct bytes country)
{
    if (region.len <= 3 || region.base[2] != '-')
        return region;
    struct bytes alpha2 = country_alpha2(country);
    if (alpha2.len == 2 && (region.base[0] | 32) == (alpha2.base[0] | 32) &&
        (region.base[1] | 32) == (alpha2.base[1] | 32))
        return (struct bytes){region.base + 3, region.len - 3};
    return region;
}

void geo_locate(const struct geo *g, const struct bid_request *r, struct geo_place *out)
{
    memset(out, 0, sizeof(*out));
    out->country = country_alpha3(r->geo.country);
    out->region = r->geo.region;
    out->city = r->geo.city;
    out->zip = r->geo.zip;
    out->metro = r->geo.metro;
    coordinates_set(out, r->geo.lat, r->geo.lon);
    if (out->country.len == 0 && g != NULL) {
        fill_from_database(g, r->device.ip, out);
        if (!out->from_database)
            fill_from_database(g, r->device.ipv6, out);
    }
    out->region = region_without_country(out->region, out->country);
    bool told =
        r->geo.utcoffset >= -UTCOFFSET_MINUTES_MAX && r->geo.utcoffset <= UTCOFFSET_MINUTES_MAX;
    out->utcoffset_min = told ? r->geo.utcoffset : GEO_UTCOFFSET_ABSENT;
}
