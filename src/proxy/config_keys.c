/* One row a key. To add a key: a field in config.h, a row here, and `bidsieve check --help-config >
 * config/README.md`. Nothing else knows the keys' names, except the few checks in config.c that
 * compare two of them. */
#include "proxy/config_keys.h"

#include <ctype.h>
#include <string.h>

#include "filter/country.h"
#include "filter/features.h"
#include "proxy/config.h"

/* ---- what a text must look like: NULL, or the rest of the sentence "must be ..." ---- */

static bool only(const char *text, size_t min, size_t max, const char *more)
{
    size_t n = strlen(text);
    if (n < min || n > max)
        return false;
    for (; *text != '\0'; text++)
        if (!(isalnum((unsigned char)*text) && (unsigned char)*text < 0x80) &&
            strchr(more, *text) == NULL)
            return false;
    return true;
}

static bool upper(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == n;
}

static const char *check_host(const char *text)
{
    return only(text, 1, 253, ".-:_%") ? NULL : "an address or a host name";
}

static const char *check_token(const char *text)
{
    return only(text, 1, 256, "!#$%&'*+-./:=?@^_`|~") ? NULL
                                                      : "1 to 256 printable characters, no spaces";
}

static const char *check_currency(const char *text)
{
    return upper(text, 3) ? NULL : "an ISO 4217 code in upper case, like \"EUR\"";
}

static const char *check_country(const char *text)
{
    return bytes_is(country_alpha3(bytes_of(text)), text)
               ? NULL
               : "an ISO 3166-1 alpha-3 code in upper case, like \"GBR\"";
}

static const char *check_name(const char *text)
{
    return only(text, 1, 64, "_.-") ? NULL : "1 to 64 letters, digits, '_', '.' or '-'";
}

static const char *check_version(const char *text)
{
    bool good = strlen(text) <= 8 && strspn(text, "0123456789.") == strlen(text) &&
                isdigit((unsigned char)text[0]);
    return good ? NULL : "a version like \"2.6\"";
}

static const char *check_seat(const char *text)
{
    size_t n = strlen(text);
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            n = 0;
    return n >= 1 && n <= 256 ? NULL : "1 to 256 characters";
}

/* A site's domain or an app's bundle, not a URL. */
static const char *check_domain(const char *text)
{
    size_t n = strlen(text);
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ' || *c == '/' || *c == ':' || *c == '*')
            n = 0;
    return n >= 1 && n <= 253 ? NULL : "a domain or an app bundle, like \"example.com\"";
}

/* ---- the tables ---- */

#define ROOT(field) offsetof(struct config, field), sizeof(((struct config *)0)->field)
#define DSP(field) offsetof(struct config_dsp, field), sizeof(((struct config_dsp *)0)->field)
#define KIB 1024.0
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* clang-format off */
const struct config_key config_root_keys[] = {
    {"listen.host", KEY_TEXT, ROOT(listen.host), .check = check_host, .initial = "\"0.0.0.0\"",
     .kind = "address or host name",
     .doc = "Where bid requests come in."},
    {"listen.port", KEY_WHOLE, ROOT(listen.port), 0, 65535, .initial = "8080",
     .doc = "0 takes any free port."},
    {"listen.threads", KEY_WHOLE, ROOT(listen.threads), 0, 256, .initial = "0",
     .doc = "Event loops; 0 is one per core."},
    {"listen.connections_max", KEY_WHOLE, ROOT(listen.connections_max), 1, 1000000, .initial = "10000",
     .doc = "Inbound connections of one loop; further ones wait in the backlog."},
    {"listen.idle_timeout_ms", KEY_WHOLE, ROOT(listen.idle_timeout_ms), 10, 3600000, .initial = "60000",
     .doc = "A connection that stays silent this long, between requests or within one, is closed."},
    {"listen.write_timeout_ms", KEY_WHOLE, ROOT(listen.write_timeout_ms), 10, 600000, .initial = "5000",
     .doc = "A client that does not take its answer within this time is cut off."},
    {"listen.tls.certificate", KEY_FILE, ROOT(listen.tls_certificate), .optional = true,
     .initial = "null", .kind = "PEM file",
     .doc = "Certificate chain; with it and its key the listener speaks HTTPS."},
    {"listen.tls.key", KEY_FILE, ROOT(listen.tls_key), .optional = true,
     .initial = "null", .kind = "PEM file",
     .doc = "The certificate's private key."},

    {"admin.host", KEY_TEXT, ROOT(admin.host), .check = check_host, .initial = "\"127.0.0.1\"",
     .kind = "address or host name",
     .doc = "Where /healthz, /readyz, /metrics, /status and /reload are served."},
    {"admin.port", KEY_WHOLE, ROOT(admin.port), 0, 65535, .initial = "8081",
     .doc = "0 takes any free port."},
    {"admin.token", KEY_TEXT, ROOT(admin.token), .optional = true, .secret = true, .check = check_token,
     .initial = "null", .kind = "1 to 256 printable characters, no spaces",
     .doc = "Bearer token that admin requests must carry; required when `admin.host` is not loopback."},

    {"auction.type", KEY_WORD, ROOT(auction.second_price), .words = "first_price|second_price",
     .initial = "\"second_price\"",
     .doc = "How a request without `at` is settled."},
    {"auction.currency", KEY_CURRENCY, ROOT(auction.currency), .check = check_currency,
     .initial = "\"USD\"",
     .doc = "Currency of our answers, unless the request's `cur` leaves it out."},
    {"auction.increment", KEY_MONEY, ROOT(auction.increment_micros), 0, 1000, .initial = "0.01",
     .doc = "What a second-price winner pays above the best other DSP's bid."},
    {"auction.timeout_ms", KEY_WHOLE, ROOT(auction.timeout_ms), 1, 60000, .initial = "120",
     .doc = "Longest time for an auction; a smaller `tmax` of the request wins."},
    {"auction.network_margin_ms", KEY_WHOLE, ROOT(auction.network_margin_ms), 0, 10000, .initial = "10",
     .doc = "Taken off the above, so that our answer is at the caller's in time."},
    {"auction.deals_first", KEY_BOOL, ROOT(auction.deals_first), .initial = "false",
     .doc = "A bid for a deal beats one without, whatever their prices."},
    {"auction.notices", KEY_WORD, ROOT(auction.fire_notices), .words = "pass|fire",
     .initial = "\"pass\"",
     .doc = "Who calls a winner's `burl` and `nurl`: `pass` leaves them in the answer for the caller, "
            "`fire` takes them out and calls them once the answer is given (but a `nurl` that brings "
            "the markup)."},
    {"auction.loss_notices", KEY_BOOL, ROOT(loss_notices), .initial = "false",
     .doc = "Call the `lurl` of each bid that lost or was refused, with the reason."},
    {"auction.currency_rates", KEY_FILE, ROOT(currency_rates), .optional = true, .initial = "null",
     .doc = "Exchange rates, `{\"base\":\"USD\",\"rates\":{\"EUR\":0.92}}`; read again at each reload."},

    {"geo.database", KEY_FILE, ROOT(geo.database), .optional = true, .initial = "null",
     .kind = "MaxMind DB file",
     .doc = "GeoLite2 City or alike, for requests that carry an address but no place."},

    {"model.file", KEY_FILE, ROOT(model.file), .optional = true, .initial = "null",
     .kind = "safetensors file",
     .doc = "What `bidsieve train` wrote. Without a model every call is made (`fail_open:no_model`)."},
    {"model.max_age_hours", KEY_NUMBER, ROOT(model.max_age_hours), 0, 87600, .initial = "72",
     .doc = "A model whose training data ended longer ago is not used (`fail_open:stale_model`); 0 "
            "trusts it for ever."},

    {"capture.directory", KEY_FILE, ROOT(capture.options.directory), .optional = true, .initial = "null",
     .kind = "directory",
     .doc = "Where auctions are recorded, for training and replay; created if absent. `null` records "
            "nothing."},
    {"capture.sample", KEY_NUMBER, ROOT(capture.sample), 0, 1, .initial = "1.0",
     .doc = "Share of the auctions that is recorded."},
    {"capture.compress", KEY_BOOL, ROOT(capture.options.compress), .initial = "true",
     .doc = "Write `.ndjson.zst` rather than `.ndjson`."},
    {"capture.segment_bytes_max", KEY_WHOLE, ROOT(capture.options.segment_bytes_max), 4 * KIB, 16 * GIB,
     .initial = "268435456",
     .doc = "A segment of this size, before compression, is closed and a new one begun."},
    {"capture.segment_seconds_max", KEY_WHOLE, ROOT(capture.options.segment_seconds_max), 1, 604800,
     .initial = "3600",
     .doc = "So is one of this age."},
    {"capture.queue_bytes_max", KEY_WHOLE, ROOT(capture.options.queue_bytes_max), 64 * KIB, 16 * GIB,
     .initial = "67108864",
     .doc = "Records that wait for the disk; beyond it they are dropped and counted."},
    {"capture.directory_bytes_max", KEY_WHOLE, ROOT(capture.options.directory_bytes_max), 0, 1e14,
     .initial = "68719476736",
     .doc = "The oldest segments are deleted beyond it; 0 never deletes. Else at least two segments."},
    {"capture.mask", KEY_MASK, 0, 0, .words = "ip|ids", .initial = "[\"ip\", \"ids\"]",
     .doc = "What records must not hold in full: `ip` the device's addresses, `ids` user and device "
            "identifiers. `[]` keeps the request as it came."},

    {"clock", KEY_WORD, ROOT(clock), .words = "wall|header", .initial = "\"wall\"",
     .doc = "`header` takes a request's time from `X-Bidsieve-Time` (ms since the epoch): for replay and "
            "simulation only."},

    {"limits.body_bytes_max", KEY_WHOLE, ROOT(limits.body_bytes_max), 1 * KIB, 64 * MIB,
     .initial = "1048576",
     .doc = "A larger bid request, also after inflating, is answered 413."},
    {"limits.imps_max", KEY_WHOLE, ROOT(limits.imps_max), 1, 1000, .initial = "100",
     .doc = "A request with more imps is answered 400."},
    {"limits.in_flight_max", KEY_WHOLE, ROOT(limits.in_flight_max), 1, 1000000, .initial = "10000",
     .doc = "Auctions under way in the whole process, an equal share a loop; beyond it the answer is 503, at once."},
    {"limits.response_bytes_max", KEY_WHOLE, ROOT(limits.response_bytes_max), 1 * KIB, 64 * MIB,
     .initial = "1048576",
     .doc = "A larger answer of a DSP, also after inflating, counts as an error."},

    {"debug.token", KEY_TEXT, ROOT(debug.token), .optional = true, .secret = true, .check = check_token,
     .initial = "null", .kind = "1 to 256 printable characters, no spaces",
     .doc = "A bid request whose header `X-Bidsieve-Debug` is this token is answered with "
            "`ext.bidsieve.debug`: how each decision came about, and what each DSP answered."},
    {"debug.rate_max", KEY_NUMBER, ROOT(debug.rate_max), 0, 1000, .initial = "10",
     .doc = "Such answers a second, of the whole process; a request beyond it is answered without."},

    {"log.level", KEY_WORD, ROOT(log.level), .words = "error|warn|info|debug", .initial = "\"info\"",
     .doc = "What goes to stderr: this and what is graver."},
    {"log.format", KEY_WORD, ROOT(log.json), .words = "text|json", .initial = "\"text\"",
     .doc = "Of both logs, a line each."},
    {"log.access_file", KEY_FILE, ROOT(log.access_file), .optional = true, .initial = "null",
     .doc = "A line for each bid request; `\"-\"` is stdout. Opened anew at each reload, for logrotate."},

    {"shutdown_timeout_ms", KEY_WHOLE, ROOT(stop_timeout_ms), 0, 600000, .initial = "10000",
     .doc = "How long a stop (SIGTERM) waits for auctions under way."},
};
const size_t config_root_keys_n = sizeof(config_root_keys) / sizeof(config_root_keys[0]);

const struct config_key config_dsp_keys[] = {
    {"name", KEY_TEXT, DSP(name), .check = check_name, .kind = "1 to 64 letters, digits, `_`, `.` or `-`",
     .doc = "Unique. The model knows the DSP by it, and so do metrics and capture records."},
    {"url", KEY_TEXT, DSP(url), .kind = "http:// or https:// URL",
     .doc = "Where its bid requests are posted."},
    {"enabled", KEY_BOOL, DSP(enabled), .initial = "true",
     .doc = "`false` never calls it."},

    {"filter", KEY_WORD, DSP(filter.mode), .words = "on|shadow|off", .initial = "\"on\"",
     .doc = "`shadow` decides and records, but sends; `off` does not ask the model. Rules hold in all "
            "three."},
    {"recall_target", KEY_NUMBER, DSP(filter.recall_target), 0, 1, .above_min = true, .initial = "0.97",
     .doc = "Of the requests it would bid on, the share that must still reach it; sets the threshold by "
            "the model's recall curve."},
    {"recall_of", KEY_WORD, DSP(filter.recall_of), .words = "bids|value", .initial = "\"bids\"",
     .doc = "`value` weighs each bid of the recall by its price: a cheap bid may be lost where a dear one is "
            "kept. Where the model was trained without prices, `bids` holds, and `check` and `/status` say so."},
    {"threshold", KEY_NUMBER, DSP(filter.threshold), 0, 1, .optional = true, .initial = "null",
     .doc = "Call it when P(bid) is at least this; overrides `recall_target`."},
    {"explore", KEY_NUMBER, DSP(filter.explore), 0, 1, .initial = "0.01",
     .doc = "Share of the calls below the threshold that is made all the same, to keep the training data "
            "honest."},
    {"qps_max", KEY_NUMBER, DSP(qps_max), 0, 10000000, .initial = "0",
     .doc = "Calls a second, of the whole process; 0 is no cap."},
    {"timeout_ms", KEY_WHOLE, DSP(timeout_ms), 1, 60000, .initial = "100",
     .doc = "Longest time for one call; the auction's own deadline holds besides."},
    {"connections_max", KEY_WHOLE, DSP(connections_max), 1, 65535, .initial = "64",
     .doc = "Connections to it, of the whole process; each loop has an equal share, at least one."},
    {"connect_timeout_ms", KEY_WHOLE, DSP(connect_timeout_ms), 1, 60000, .initial = "1000",
     .doc = "For a new connection, with its TLS handshake."},
    {"secondary", KEY_BOOL, DSP(secondary), .initial = "false",
     .doc = "Called only when no primary DSP bid in time for it."},
    {"gzip", KEY_BOOL, DSP(gzip), .initial = "false",
     .doc = "Send the body compressed: once for all DSPs that take it, with the least of their `tmax`."},
    {"tls.verify", KEY_BOOL, DSP(tls_verify), .initial = "true",
     .doc = "Refuse a certificate that is not trusted or has another name; https only."},
    {"tls.ca_file", KEY_FILE, DSP(tls_ca_file), .optional = true, .authorities = true, .initial = "null",
     .kind = "PEM file",
     .doc = "Trusted authorities; `null` takes the system's."},
    {"headers", KEY_HEADERS, DSP(headers), .initial = "{}",
     .doc = "Further headers of each call, such as an API key; what frames or describes the body is ours. "
            "A DSP's own object replaces that of `defaults`."},
    {"openrtb_version", KEY_TEXT, DSP(openrtb_version), .check = check_version, .initial = "\"2.6\"",
     .doc = "The `x-openrtb-version` header."},
    {"default_currency", KEY_TEXT, DSP(default_currency), .check = check_currency, .initial = "\"USD\"",
     .kind = "ISO 4217 code",
     .doc = "Currency of its answers that name none."},

    {"request.ext", KEY_MEMBERS, 0, 0, .initial = "{}",
     .doc = "Members that its bid requests carry in `ext`; each replaces the request's own of that name. "
            "A DSP's own object replaces that of `defaults`."},
    {"request.seats", KEY_LIST, DSP(request.seats), .max = 64, .check = check_seat, .initial = "[]",
     .doc = "The `wseat` of its bid requests: these, but for those that the request's own `wseat` leaves "
            "out or its `bseat` names. If none is left it is not called (`rule:seat`). Its bids must be "
            "of one of them."},
    {"request.buyeruid", KEY_WORD, DSP(map_buyeruid), .words = "pass|map", .initial = "\"pass\"",
     .doc = "`map` makes its entry in the request's `user.ext.prebid.buyeruids` the `user.buyeruid`, and "
            "takes that map, with the other DSPs' ids, out; `pass` leaves both as they came."},
    {"request.buyeruid_key", KEY_TEXT, DSP(buyeruid_key), .optional = true, .check = check_name,
     .initial = "null",
     .doc = "Name of its entry there, in letters of either case; `null` takes the DSP's name."},

    {"rules.countries", KEY_SET, DSP(filter.rules.countries), .check = check_country, .initial = "[]",
     .kind = "list of ISO 3166-1 alpha-3 codes",
     .doc = "The request must come from one of them."},
    {"rules.media", KEY_WORDS, DSP(filter.rules.media), .words = "banner|video|audio|native",
     .initial = "[]",
     .doc = "An imp must offer one of them."},
    {"rules.channels", KEY_WORDS, DSP(filter.rules.channels), .first_bit = CHANNEL_SITE,
     .words = "site|app|dooh", .initial = "[]",
     .doc = "The request must be of one of them."},
    {"rules.sizes", KEY_SIZES, 0, 0, .initial = "[]",
     .doc = "An imp must offer one of them, or no size at all."},
    {"rules.needs_user_id", KEY_BOOL, DSP(filter.rules.needs_user_id), .initial = "false",
     .doc = "Skip requests without a user id."},
    {"rules.needs_consent", KEY_BOOL, DSP(filter.rules.needs_consent), .initial = "false",
     .doc = "Skip requests under GDPR without a consent string."},
    {"rules.refuses_coppa", KEY_BOOL, DSP(filter.rules.refuses_coppa), .initial = "false",
     .doc = "Skip requests marked as COPPA."},
    {"rules.deals", KEY_WORD, DSP(filter.rules.deals), .words = "any|required|excluded",
     .initial = "\"any\"",
     .doc = "Call it only for requests with deals, or only for those without."},
    {"rules.floor_min", KEY_MONEY, DSP(filter.rules.floor_min_micros), 0, 1000000, .initial = "0",
     .doc = "Lowest imp floor it wants, in the request's currency."},
    {"rules.floor_max", KEY_MONEY, DSP(filter.rules.floor_max_micros), 0, 1000000, .initial = "0",
     .doc = "Highest; 0 is no such rule."},
    {"rules.domains", KEY_SET, DSP(filter.rules.domains), .domains = true, .check = check_domain,
     .rival = "rules.domains_file", .initial = "[]", .kind = "list of domains or app bundles",
     .doc = "Only these; a parent domain stands for all below it."},
    {"rules.domains_file", KEY_SET_FILE, DSP(filter.rules.domains), .optional = true,
     .rival = "rules.domains", .initial = "null",
     .doc = "The same list from a file, one entry a line, `#` starts a comment."},
    {"rules.domains_blocked", KEY_SET, DSP(filter.rules.domains_blocked), .domains = true,
     .check = check_domain, .rival = "rules.domains_blocked_file", .initial = "[]",
     .kind = "list of domains or app bundles",
     .doc = "None of these."},
    {"rules.domains_blocked_file", KEY_SET_FILE, DSP(filter.rules.domains_blocked), .optional = true,
     .rival = "rules.domains_blocked", .initial = "null",
     .doc = "The same list from a file."},
    {"rules.seats", KEY_SET, DSP(filter.rules.seats), .check = check_seat, .initial = "[]",
     .doc = "Seats it buys with; a request whose `wseat` or `bseat` leaves none of them is skipped."},
    {"rules.currencies", KEY_SET, DSP(filter.rules.currencies), .check = check_currency, .initial = "[]",
     .kind = "list of ISO 4217 codes",
     .doc = "Currencies it bids in; a request whose `cur` has none of them is skipped."},
};
const size_t config_dsp_keys_n = sizeof(config_dsp_keys) / sizeof(config_dsp_keys[0]);
/* clang-format on */

/* ---- the documentation ---- */

/* "a|b|c" -> `a`, `b` or `c` */
static void document_words(FILE *out, const char *words)
{
    while (*words != '\0') {
        size_t n = strcspn(words, "|");
        fprintf(out, "`%.*s`", (int)n, words);
        words += n + (words[n] == '|');
        if (*words != '\0')
            fputs(strchr(words, '|') != NULL ? ", " : " or ", out);
    }
}

static void document_range(FILE *out, const char *noun, const struct config_key *k)
{
    if (k->above_min)
        fprintf(out, "%s above %.15g, at most %.15g", noun, k->min, k->max);
    else
        fprintf(out, "%s, %.15g to %.15g", noun, k->min, k->max);
}

static void document_type(FILE *out, const struct config_key *k)
{
    if (k->kind != NULL) {
        fputs(k->kind, out);
    } else {
        switch (k->type) {
        case KEY_BOOL:
            fputs("`true` or `false`", out);
            break;
        case KEY_WHOLE:
            document_range(out, "whole number", k);
            break;
        case KEY_NUMBER:
            document_range(out, "number", k);
            break;
        case KEY_MONEY:
            document_range(out, "amount", k);
            break;
        case KEY_WORD:
            document_words(out, k->words);
            break;
        case KEY_WORDS:
        case KEY_MASK:
            fputs("list of ", out);
            document_words(out, k->words);
            break;
        case KEY_TEXT:
            fputs("text", out);
            break;
        case KEY_CURRENCY:
            fputs("ISO 4217 code", out);
            break;
        case KEY_FILE:
        case KEY_SET_FILE:
            fputs("file", out);
            break;
        case KEY_SET:
            fputs("list of texts", out);
            break;
        case KEY_LIST:
            fprintf(out, "list of up to %.0f texts", k->max);
            break;
        case KEY_SIZES:
            fputs("list of sizes like `\"300x250\"`", out);
            break;
        case KEY_HEADERS:
            fputs("object, name to value", out);
            break;
        case KEY_MEMBERS:
            fputs("object", out);
            break;
        }
    }
    if (k->optional)
        fputs(", or `null`", out);
}

static void document_table(FILE *out, const struct config_key *keys, size_t n)
{
    fputs("| key | value | default | |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "| `%s` | ", keys[i].path);
        document_type(out, &keys[i]);
        if (keys[i].initial != NULL)
            fprintf(out, " | `%s` | %s |\n", keys[i].initial, keys[i].doc);
        else
            fprintf(out, " | required | %s |\n", keys[i].doc);
    }
    fputs("\n", out);
}

void config_document(FILE *out)
{
    fputs(
        "# Configuration\n\n"
        "<!-- Written by `bidsieve check --help-config` from the table in src/proxy/config_keys.c; "
        "a test compares. -->\n\n"
        "One JSON file. `bidsieve check --config FILE` says what is wrong with it and with the "
        "files it names, before\n"
        "`bidsieve serve` or a reload (SIGHUP, `POST /reload`) would. A reload is all or nothing: "
        "on any error the old\n"
        "configuration serves on. Unknown keys, wrong types and values out of range are errors "
        "that name file and key:\n\n"
        "    bidsieve.json: dsps[2].recall_target: must be above 0 and at most 1, not 1.5\n\n"
        "- [minimal.json](minimal.json): the least that works: one DSP, no model yet.\n"
        "- [bidsieve.json](bidsieve.json): three DSPs, with rules, HTTPS, caps and capture. Once "
        "you have them, name your\n"
        "  geo database (`geo.database`) and model (`model.file`) there.\n"
        "- [rates.json](rates.json), [blocked-domains.txt](blocked-domains.txt): what it names.\n\n"
        "Relative file names start at the folder of the config file. Amounts of money are CPM, in "
        "whole units (`0.01` is a\ncent), and are kept to six decimals. `listen` and `admin` hold "
        "from "
        "the next start; everything else from the\nnext request after a reload.\n\n"
        "## The process\n\n",
        out);
    document_table(out, config_root_keys, config_root_keys_n);
    fputs("## Each DSP\n\n"
          "`dsps` is a list of objects with the keys below, up to 512; an empty list answers every "
          "request with 204.\n"
          "`defaults` is one such object without `name` and `url`: a DSP takes from it each key, "
          "down to the single rule, that\nit does not set itself. An empty list, or `null` where "
          "allowed, lifts what `defaults` said.\n\n",
          out);
    document_table(out, config_dsp_keys, config_dsp_keys_n);
    fputs(
        "Rules are what a DSP's contract excludes: they hold whatever the model thinks, and "
        "before it is asked. A request\nmust pass every rule that is set.\n\n"
        "A DSP gets the body that we got, byte for byte, with `tmax` set to the time that is left "
        "for it, and with what\n`request` says. DSPs without any `request` share one body. As in "
        "Prebid Server, a `user.buyeruid` that the request\ngives already stays when the map has "
        "an entry too, ids are found whatever the letters' case, an entry that is no\ntext or is "
        "empty is none, and a `user.ext.prebid` that held only the map goes with it. A DSP with "
        "`pass` sees the\nwhole map: set `map` in `defaults` to keep it from all.\n\n"
        "## Features\n\n"
        "[features.json](features.json) is the schema that `bidsieve train` takes when none is "
        "named; a model carries its\nown. A feature names one of these sources:\n\n"
        "| source | kind | |\n|---|---|---|\n",
        out);
    for (const char *const *source = feature_sources(); *source != NULL; source++)
        fprintf(out, "%s\n", *source);
}
