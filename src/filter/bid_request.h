/* An OpenRTB 2.5/2.6 bid request, scanned once: everything that rules, features, auction and
 * capture need, as borrowed spans of the body (decoded into the arena where a string has escapes).
 * Unknown fields are skipped, but validated as JSON; a known optional field of an odd type counts
 * as absent; a required one is a fault, and so are money, currencies, privacy signals and what is
 * to be masked (the spans below) when they cannot be read. Currency codes come out in upper case.
 *
 * Required: id (non-empty string), imp (non-empty array of objects), imp[].id (non-empty, unique),
 * per imp one or more of banner, video, audio, native (objects); at most one of site, app, dooh.
 * Further checks are listed at bid_request_scan in the .c. Absent numbers hold the values in the
 * comments. */
#ifndef FILTER_BID_REQUEST_H
#define FILTER_BID_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "bytes.h"

enum channel { CHANNEL_NONE, CHANNEL_SITE, CHANNEL_APP, CHANNEL_DOOH };

enum media { MEDIA_BANNER = 1, MEDIA_VIDEO = 2, MEDIA_AUDIO = 4, MEDIA_NATIVE = 8 }; /* bits */

struct bytes_list {
    const struct bytes *items;
    uint32_t
        n; /* all of them, up to BID_REQUEST_LIST_MAX; what is beyond is validated and dropped */
};

enum { BID_REQUEST_LIST_MAX = 4096, BID_REQUEST_IMPS_MAX_DEFAULT = 100 };

struct size {
    int32_t w, h;
};

struct deal {
    struct bytes id;
    int64_t bidfloor_micros; /* 0 */
    struct bytes bidfloorcur;
    int32_t at; /* 0 = as the request */
    struct bytes_list wseat, wadomain;
};

struct imp {
    struct bytes id, tagid;
    uint8_t media; /* bits of enum media */
    bool instl, rewarded;
    int8_t secure;           /* -1 absent */
    int64_t bidfloor_micros; /* 0 */
    struct bytes bidfloorcur;
    const struct size *sizes; /* banner.format[] and banner.w/h, then video.w/h; no duplicates */
    uint32_t n_sizes, n_banner_sizes;
    int32_t banner_pos; /* -1 */
    struct bytes_list banner_mimes;
    struct {
        int32_t w, h, minduration, maxduration, placement, plcmt, linearity, skip, startdelay,
            pos; /* -1; startdelay INT32_MIN */
        struct bytes_list mimes;
        uint32_t protocols; /* bit set of values 0..31 */
    } video;
    struct {
        int32_t minduration, maxduration, startdelay, feed; /* as video */
        struct bytes_list mimes;
    } audio;
    struct bytes native_request; /* decoded text, or the raw JSON when it came as an object */
    bool private_auction;
    const struct deal *deals;
    uint32_t n_deals;
};

/* A place in the body, by offset: what is spliced or masked. len 0 = absent. */
struct body_span {
    uint32_t at, len;
};

struct bid_request {
    struct bytes body;
    struct bytes id;
    int32_t at;      /* 0 absent (OpenRTB then means 2, second price) */
    int64_t tmax_ms; /* -1 absent */
    bool test;

    struct body_span tmax; /* the number's text, to be replaced */
    uint32_t members_at;   /* offset just behind the opening brace, to insert a first member */
    struct body_span ext, wseat_value, user_ext, buyeruid_value; /* whole values, of any type */
    uint32_t user_members_at;                          /* as members_at, of user; 0 absent */
    struct body_span user_id, buyeruid, ifa, ip, ipv6; /* strings' insides, for masking */

    const struct imp *imps;
    uint32_t n_imps;

    enum channel channel;
    struct { /* the site, app or dooh */
        struct bytes id, name, domain, page, bundle, storeurl, publisher_id, publisher_name,
            content_id, content_genre, content_language;
        struct bytes_list cat, sectioncat, pagecat; /* content.cat is not among them */
        struct bytes_list venuetype;                /* of a dooh */
        bool mobile;
    } property;

    struct {
        struct bytes ua, ip, ipv6, make, model, os, osv, language, carrier, ifa, mccmnc;
        int32_t devicetype, connectiontype, w, h; /* -1 */
        int8_t dnt, lmt, js;                      /* -1 */
        bool sua;                                 /* structured user agent present; of it: */
        struct bytes_list sua_browsers;           /* brands, with those that mean nothing */
        struct bytes sua_platform, sua_version; /* the system's brand, first part of its version */
    } device;

    struct bid_request_geo { /* device.geo; a field absent there is taken from user.geo */
        struct bytes country, region, city, zip, metro;
        double lat, lon;         /* NAN */
        int32_t type, utcoffset; /* -1; INT32_MIN */
    } geo;

    struct {
        bool present;
        struct bytes id, buyeruid, gender, consent; /* consent: user.consent or user.ext.consent */
        int32_t yob;                                /* -1 */
        struct bytes_list eid_sources;              /* user.eids[].source, or user.ext.eids */
        uint32_t n_segments;                        /* user.data[].segment[] */
    } user;

    struct {
        int8_t coppa, gdpr; /* -1; gdpr from regs.gdpr or regs.ext.gdpr */
        struct bytes us_privacy, gpp;
    } regs;

    struct bytes_list cur, wseat, bseat, bcat, badv, bapp;
    struct bytes schain_asi; /* source.schain or source.ext.schain: the last node's asi */
    uint32_t n_schain_nodes;
};

struct bid_request_error {
    char path[160];   /* JSON path, e.g. "imp[2].banner"; "" = the body itself */
    char reason[160]; /* e.g. "must be a non-empty string"; with an offset when it is not JSON at
                         all */
};

/* body must outlive r; lists live in the arena. imps_max bounds imp[]; 0 = the default. False: e
 * says what is wrong. */
bool bid_request_scan(struct bid_request *r, struct bytes body, uint32_t imps_max,
                      struct arena *arena, struct bid_request_error *e);

#endif
