/* The closed list of what a feature may read: kind, name, function, and the line that
 * docs/features.md has of it. Nothing else gets into a model: no auction id, no user id, no
 * address, and nothing that is known only after the request, as bids, prices and answers are. */
#ifndef FILTER_FEATURE_SOURCE_LIST_H
#define FILTER_FEATURE_SOURCE_LIST_H

#include "filter/feature_source.h"

/* PATH: a text of levels, coarse to fine, "/" between them; VERSION: a blank between them; TIERS:
 * several texts, "-" between their levels. */
// clang-format off
#define SOURCES(ROW) \
    ROW(DSP, "dsp", none, "the DSP that is asked; exactly one feature has it") \
    ROW(PATH, "geo.code", source_geo_code, \
        "country/region/city, as far as they are known: USA/ca/oakland; without a city the metro " \
        "area: USA/ca/metro-807") \
    ROW(TEXT, "geo.country", source_geo_country, "ISO 3166-1 alpha-3") \
    ROW(PATH, "geo.region", source_geo_region, "country/region") \
    ROW(PATH, "geo.city", source_geo_city, "country/city") \
    ROW(PATH, "geo.zip3", source_geo_zip3, "country/first three characters of the postal code") \
    ROW(PATH, "geo.metro", source_geo_metro, "country/metro code (Nielsen DMA in the USA)") \
    ROW(TEXT, "geo.type", source_geo_type, \
        "how the place is known: geo.type of the request, or database") \
    ROW(NUMBER, "geo.lat", source_geo_lat, "degrees north") \
    ROW(NUMBER, "geo.lon", source_geo_lon, "degrees east") \
    ROW(TEXT, "time.hour", source_time_hour, "hour of the day, local time, 0..23") \
    ROW(TEXT, "time.weekday", source_time_weekday, "day of the week, local time, 0 = Monday") \
    ROW(TEXT, "time.hour_of_week", source_time_hour_of_week, "hour of the week, local time, 0..167") \
    ROW(TEXT, "time.hour_utc", source_time_hour_utc, \
        "hour of the day, UTC (when daily budgets begin and end)") \
    ROW(TEXT, "time.half_hour_utc", source_time_half_hour_utc, "half hour of the day, UTC, 0..47") \
    ROW(TEXT, "channel", source_channel, "site, app or dooh") \
    ROW(TEXT, "property.domain", source_property_domain, \
        "site's domain (else its page's host) or app's bundle, without www.") \
    ROW(TEXT, "property.id", source_property_id, "site.id, app.id or dooh.id") \
    ROW(TEXT, "property.publisher", source_property_publisher, "publisher.id, else publisher.name") \
    ROW(PATH, "property.section", source_property_section, "domain/first directory of the page's path") \
    ROW(TIERS, "property.cat", source_property_cat, "content categories") \
    ROW(TEXTS, "property.cat_top", source_property_cat_top, \
        "content categories, their first tier: IAB1 of IAB1-3") \
    ROW(TIERS, "property.sectioncat", source_property_sectioncat, "categories of the section") \
    ROW(TIERS, "property.pagecat", source_property_pagecat, "categories of the page or view") \
    ROW(TEXTS, "property.venue", source_property_venue, "dooh.venuetype: what kind of place the screen stands in") \
    ROW(TEXT, "property.mobile", source_property_mobile, "site.mobile") \
    ROW(TEXT, "content.id", source_content_id, "content.id") \
    ROW(TEXT, "content.genre", source_content_genre, "content.genre") \
    ROW(TEXT, "content.language", source_content_language, "content.language") \
    ROW(TEXT, "imp.media", source_imp_media, \
        "what the imps offer together: banner, video, banner+video, ...") \
    ROW(TEXTS, "imp.size", source_imp_size, "sizes over all imps: 300x250") \
    ROW(TEXT, "imp.first_size", source_imp_first_size, "the first size of the first imp that has one") \
    ROW(TEXT, "imp.pos", source_imp_pos, "position on the page, of the first imp that says it") \
    ROW(TEXT, "imp.tagid", source_imp_tagid, "placement, of the first imp that names one") \
    ROW(TEXT, "imp.count", source_imp_count, "number of imps: 1..4, 5-9, 10+") \
    ROW(TEXT, "imp.instl", source_imp_instl, "1 if an imp is interstitial") \
    ROW(TEXT, "imp.secure", source_imp_secure, "1 if an imp requires HTTPS markup") \
    ROW(TEXT, "imp.rewarded", source_imp_rewarded, "1 if an imp rewards the user") \
    ROW(TEXTS, "imp.deal", source_imp_deal, "ids of the deals that are offered") \
    ROW(TEXT, "imp.deals", source_imp_deals, "none, open (deals beside the auction), private, mixed") \
    ROW(TEXTS, "imp.mime", source_imp_mime, "MIME types over all imps") \
    ROW(NUMBER, "imp.floor", source_imp_floor, \
        "log(1 + lowest floor of the imps), in the floor's currency") \
    ROW(TEXT, "imp.floor_band", source_imp_floor_band, \
        "lowest floor in half octaves: 0; ^-2 is 0.50, ^0 is 1.00, ^2 is 2.00; with its currency if not USD") \
    ROW(TEXT, "imp.floor_currency", source_imp_floor_currency, "currency of the lowest floor") \
    ROW(NUMBER, "imp.deal_floor", source_imp_deal_floor, "log(1 + lowest floor of the deals)") \
    ROW(TEXT, "video.placement", source_video_placement, "p and video.plcmt, else video.placement") \
    ROW(TEXT, "video.duration", source_video_duration, "longest video, in bands of seconds") \
    ROW(TEXT, "video.min_duration", source_video_min_duration, "shortest video, in bands of seconds") \
    ROW(TEXTS, "video.protocol", source_video_protocol, "protocols of the first video imp") \
    ROW(TEXT, "video.linearity", source_video_linearity, "1 in-stream, 2 overlay") \
    ROW(TEXT, "video.skip", source_video_skip, "whether the video may be skipped") \
    ROW(TEXT, "video.start", source_video_start, "pre, mid or post roll") \
    ROW(TEXT, "audio.duration", source_audio_duration, "longest audio, in bands of seconds") \
    ROW(TEXT, "audio.feed", source_audio_feed, "audio.feed") \
    ROW(TEXT, "device.type", source_device_type, \
        "device.devicetype, else phone, tablet, ... by the user agent") \
    ROW(TEXT, "device.os", source_device_os, \
        "operating system's family: of device.os, else device.sua, else the user agent") \
    ROW(VERSION, "device.os_major", source_device_os_major, \
        "operating system and its major version: ios 17") \
    ROW(TEXT, "device.make", source_device_make, "maker") \
    ROW(TEXT, "device.model", source_device_model, "model") \
    ROW(TEXT, "device.browser", source_device_browser, "browser's family: of device.sua, else the user agent") \
    ROW(TEXT, "device.language", source_device_language, "language, without its region: en") \
    ROW(TEXT, "device.carrier", source_device_carrier, "carrier, else mccmnc") \
    ROW(TEXT, "device.connectiontype", source_device_connectiontype, \
        "OpenRTB's list of connection types") \
    ROW(TEXT, "device.screen", source_device_screen, "screen size: 390x844") \
    ROW(TEXT, "device.ip_version", source_device_ip_version, \
        "4, 6, both or none (the address itself is never read)") \
    ROW(TEXT, "device.tracking", source_device_tracking, "limited if dnt or lmt is set, else allowed") \
    ROW(TEXT, "device.hints", source_device_hints, "1 if the request has structured user agent data") \
    ROW(TEXT, "user.has_id", source_user_has_id, "1 if there is a user.id") \
    ROW(TEXT, "user.has_buyeruid", source_user_has_buyeruid, "1 if there is a user.buyeruid") \
    ROW(TEXT, "user.identity", source_user_identity, "which of id, buyeruid, ifa, eid there are: id+ifa") \
    ROW(TEXT, "user.gender", source_user_gender, "m, f or o") \
    ROW(TEXT, "user.age_band", source_user_age_band, "by the year of birth: 18-24, 25-34, ...") \
    ROW(TEXTS, "user.eid", source_user_eid, "sources of extended ids (never the ids)") \
    ROW(NUMBER, "user.segments", source_user_segments, "log(1 + number of data segments)") \
    ROW(TEXT, "regs.gdpr", source_regs_gdpr, "regs.gdpr") \
    ROW(TEXT, "regs.coppa", source_regs_coppa, "regs.coppa") \
    ROW(TEXT, "regs.consent", source_regs_consent, "whether GDPR applies and a consent string is there") \
    ROW(TEXT, "regs.us_privacy", source_regs_us_privacy, "the US privacy string") \
    ROW(TEXT, "regs.gpp", source_regs_gpp, "1 if there is a GPP string") \
    ROW(TEXT, "request.at", source_request_at, "auction type: 1 first price, 2 second price") \
    ROW(NUMBER, "request.tmax", source_request_tmax, "log(1 + tmax in ms)") \
    ROW(TEXTS, "request.cur", source_request_cur, "allowed currencies") \
    ROW(TEXTS, "request.wseat", source_request_wseat, "seats that may bid") \
    ROW(TEXTS, "request.blocked", source_request_blocked, \
        "top categories that the request blocks: IAB25") \
    ROW(NUMBER, "request.bcat", source_request_bcat, "log(1 + number of blocked categories)") \
    ROW(NUMBER, "request.badv", source_request_badv, "log(1 + number of blocked advertisers)") \
    ROW(TEXT, "schain.length", source_schain_length, "nodes of the supply chain") \
    ROW(TEXT, "schain.asi", source_schain_asi, "the supply chain's last seller system")
// clang-format on

/* The functions, in source_<object>.c. */
#define PROTOTYPE_DSP(function)
#define PROTOTYPE_TEXT(function) struct bytes function(struct source_input *in);
#define PROTOTYPE_PATH(function) struct bytes function(struct source_input *in);
#define PROTOTYPE_VERSION(function) struct bytes function(struct source_input *in);
#define PROTOTYPE_TEXTS(function) \
    uint32_t function(struct source_input *in, struct bytes *out, uint32_t max);
#define PROTOTYPE_TIERS(function) \
    uint32_t function(struct source_input *in, struct bytes *out, uint32_t max);
#define PROTOTYPE_NUMBER(function) double function(struct source_input *in);
#define PROTOTYPE(kind, name, function, line) PROTOTYPE_##kind(function)

SOURCES(PROTOTYPE)

#endif
