/* The configuration: one JSON file, one table of keys (config.c) that drives parsing, bounds,
 * defaults and config/README.md. Unknown keys, wrong types, values out of range are errors that
 * name the JSON path. Relative file names are relative to the config file's folder. */
#ifndef PROXY_CONFIG_H
#define PROXY_CONFIG_H

#include "filter/decision.h"
#include "proxy/auction.h"
#include "proxy/capture.h"
#include "proxy/log.h"
#include "proxy/net/dsp_client.h"
#include "proxy/request_edit.h"

enum { CONFIG_DSPS_MAX = 512 };

struct config_dsp {
    char *name; /* [A-Za-z0-9_.-]{1,64}, unique */
    char *url;
    bool enabled;
    struct filter_settings filter; /* filter, recall_*, threshold, explore, rules.* */
    double qps_max;                /* 0 = no cap; of the whole process */
    uint32_t timeout_ms, connections_max /* of the whole process */, connect_timeout_ms;
    bool secondary, gzip, tls_verify;
    char *tls_ca_file;
    const struct tls_trust *tls_trust; /* loaded by the snapshot; NULL = none is needed */
    char **headers;                    /* NULL-terminated "Name: value", or NULL */
    char *openrtb_version;             /* x-openrtb-version header; "2.6" */
    char *default_currency;
    struct request_edit request; /* what its bid requests differ in */
    bool map_buyeruid;           /* request.buyeruid: "map" */
    char *buyeruid_key;          /* request.buyeruid_key; NULL = its name */
};

enum clock_source { CLOCK_SOURCE_WALL, CLOCK_SOURCE_HEADER };

struct config {
    char *path;
    struct {
        char *host;
        uint16_t port;
        uint32_t threads;                                            /* 0 = one per core */
        char *tls_certificate, *tls_key;                             /* NULL = plain */
        uint32_t connections_max, idle_timeout_ms, write_timeout_ms; /* connections of one loop */
    } listen;
    struct {
        char *host;
        uint16_t port;
        char *token; /* required when host is not loopback */
    } admin;
    struct auction_settings auction; /* rates: loaded by the snapshot */
    bool loss_notices;               /* auction.loss_notices */
    char *currency_rates;            /* auction.currency_rates: a file, or NULL */
    struct {
        char *database; /* NULL = none */
    } geo;
    struct {
        char *file;           /* NULL = none: everything fails open */
        double max_age_hours; /* of the end of its training window; 0 = never stale */
    } model;
    struct {
        bool enabled; /* a directory is named */
        struct capture_options options;
        double sample;          /* share of auctions */
        bool mask_ip, mask_ids; /* capture.mask: ["ip", "ids"] */
    } capture;
    enum clock_source clock;
    struct {
        uint32_t body_bytes_max, imps_max, in_flight_max /* of the process */;
        uint32_t response_bytes_max; /* a DSP's answer */
    } limits;
    struct {
        char *token;     /* NULL = no traces */
        double rate_max; /* a second, of the process */
    } debug;
    struct {
        enum log_level level;
        bool json;
        char *access_file; /* NULL = none; "-" = stdout */
    } log;
    uint32_t stop_timeout_ms; /* drain at SIGTERM: "shutdown_timeout_ms" */
    struct config_dsp *dsps;
    uint32_t n_dsps;
    /* All sets that the DSPs' rules point to: a list in `defaults`, or a file that several name, is
     * held once. So no rules are disposed of but by config_destroy. */
    struct string_set **sets;
    uint32_t n_sets;
};

struct config *config_load(const char *path, struct error *err);
void config_destroy(struct config *c);
/* Markdown of the table: what config/README.md must be (a test compares); also `bidsieve check
 * --help-config`. */
void config_document(FILE *out);

#endif
