/* Place and local time. Country, region and city stand in one text, and the coarser ones are what
 * it begins with. A metro area stands in for a city that is not known. */
#include <math.h>

#include "filter/source_text.h"

enum { MINUTES_OF_DAY = 24 * 60, MINUTES_OF_WEEK = 7 * MINUTES_OF_DAY };

static size_t append(char *text, size_t len, struct bytes level)
{
    level = text_bounded(level);
    text[len] = '/';
    bytes_lower(text + len + 1, level);
    return len + 1 + level.len;
}

static struct bytes finest_level(struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->city.len > 0 || p->metro.len == 0)
        return p->city;
    return text_join(in, TEXT("metro"), '-', text_bounded(p->metro));
}

/* Once a request. */
static void read_code(struct source_input *in)
{
    const struct geo_place *p = in->place;
    in->geo_read = true;
    in->geo_code = in->geo_region = NO_TEXT;
    if (p->country.len == 0)
        return;
    char *text = arena_alloc(in->arena, 3 + 2 * (1 + TEXT_BYTES_MAX));
    struct bytes finest = finest_level(in);
    size_t len = p->country.len;
    memcpy(text, p->country.base, len);
    if (p->region.len > 0) {
        len = append(text, len, p->region);
        in->geo_region = (struct bytes){text, len};
    } else if (finest.len > 0) {
        len = append(text, len, TEXT("-"));
    }
    if (finest.len > 0)
        len = append(text, len, finest);
    in->geo_code = (struct bytes){text, len};
}

struct bytes source_geo_code(struct source_input *in)
{
    if (!in->geo_read)
        read_code(in);
    return in->geo_code;
}

struct bytes source_geo_region(struct source_input *in)
{
    if (!in->geo_read)
        read_code(in);
    return in->geo_region;
}

struct bytes source_geo_country(struct source_input *in)
{
    return in->place->country;
}

struct bytes source_geo_city(struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->country.len == 0 || p->city.len == 0)
        return NO_TEXT;
    return text_join(in, p->country, '/', text_lower(in, p->city));
}

struct bytes source_geo_zip3(struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->country.len == 0 || p->zip.len == 0)
        return NO_TEXT;
    struct bytes start = {p->zip.base, p->zip.len < 3 ? p->zip.len : 3};
    return text_join(in, p->country, '/', text_lower(in, start));
}

struct bytes source_geo_metro(struct source_input *in)
{
    const struct geo_place *p = in->place;
    if (p->metro.len == 0)
        return NO_TEXT;
    return text_join(in, p->country.len > 0 ? p->country : TEXT("-"), '/', text_bounded(p->metro));
}

struct bytes source_geo_type(struct source_input *in)
{
    return in->place->from_database ? TEXT("database") : text_code(in->r->geo.type);
}

double source_geo_lat(struct source_input *in)
{
    return in->place->lat;
}

double source_geo_lon(struct source_input *in)
{
    return in->place->lon;
}

/* ---- time ---- */

static int32_t offset_by_place(const struct source_input *in)
{
    const struct geo_place *p = in->place;
    const struct time_zone *zone = time_zones_find(in->time_zones, p->time_zone);
    if (zone != NULL)
        return time_zone_offset_min(zone, in->ts_ms);
    bool spans = false;
    zone = time_zones_of_country(in->time_zones, p->country, &spans);
    if (zone != NULL && !(spans && !isnan(p->lon)))
        return time_zone_offset_min(zone, in->ts_ms);
    return isnan(p->lon) ? 0 : (int32_t)lround(p->lon / 15) * 60;
}

/* Minutes since Monday 00:00, 0..10079. */
static int64_t minute_of_week(const struct source_input *in, int32_t offset_min)
{
    enum { THURSDAY_MINUTE = 3 * MINUTES_OF_DAY }; /* 1970-01-01 */
    const int64_t minute_ms = 60000;
    int64_t minute = in->ts_ms / minute_ms - (in->ts_ms % minute_ms < 0);
    int64_t rest = (minute + THURSDAY_MINUTE + offset_min) % MINUTES_OF_WEEK;
    return rest < 0 ? rest + MINUTES_OF_WEEK : rest;
}

static uint32_t local_minute(struct source_input *in)
{
    if (!in->local_read) {
        int32_t of_request = in->place->utcoffset_min;
        int32_t offset = of_request != GEO_UTCOFFSET_ABSENT ? of_request : offset_by_place(in);
        in->local_read = true;
        in->local_minute = (uint32_t)minute_of_week(in, offset);
    }
    return in->local_minute;
}

struct bytes source_time_hour(struct source_input *in)
{
    return digits(local_minute(in) / 60 % 24);
}

struct bytes source_time_weekday(struct source_input *in)
{
    return digits(local_minute(in) / MINUTES_OF_DAY);
}

struct bytes source_time_hour_of_week(struct source_input *in)
{
    return digits(local_minute(in) / 60);
}

struct bytes source_time_hour_utc(struct source_input *in)
{
    return digits((uint32_t)(minute_of_week(in, 0) / 60 % 24));
}

struct bytes source_time_half_hour_utc(struct source_input *in)
{
    return digits((uint32_t)(minute_of_week(in, 0) / 30 % 48));
}
