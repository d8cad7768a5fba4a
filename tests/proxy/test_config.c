/* The configuration: what a user gets wrong is named exactly; what is right lands in its field;
 * what is left out has its default; and the documentation is the table's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include "files.h"
#include "proxy/config.h"
#include "proxy/config_keys.h"

#define DSP(more) "{'dsps':[{'name':'a','url':'http://a.example/'" more "}]}"
#define RULES(rules) DSP(",'rules':{" rules "}")

static struct config *load(const char *text)
{
    struct error err = {""};
    files_write_json("config.json", text);
    struct config *c = config_load("config.json", &err);
    if (c == NULL)
        fail_msg("%s\n  %s", text, err.text);
    return c;
}

static void refused(const char *text, const char *message)
{
    struct error err = {""};
    files_write_json("config.json", text);
    struct config *c = config_load("config.json", &err);
    if (c != NULL)
        fail_msg("accepted: %s", text);
    if (strcmp(err.text, message) != 0)
        fail_msg("%s\n  says      %s\n  should be %s", text, err.text, message);
}

/* ---- faults ---- */

static const struct fault {
    const char *text, *message;
} FAULTS[] = {
    /* not JSON */
    {"", "config.json:1:0: '[' or '{' expected near end of file"},
    {"{\n  'listen': {,}\n}", "config.json:2:14: string or '}' expected near ','"},
    {"{'clock':'wall'} {}", "config.json:1:18: end of file expected near '{'"},
    {"{'clock':'wall',\n'clock':'wall'}", "config.json:2:7: duplicate object key near '\"clock\"'"},
    {"{'clock':'wall'", "config.json:1:15: '}' expected near end of file"},
    {"{'model':{'max_age_hours':1e999}}", "config.json:1:31: real number overflow near '1e999'"},
    {"{'clock':'\\ud800'}", "config.json:1:17: invalid Unicode '\\uD800' near '\"\\ud800\"'"},
    {"[]", "config.json: must be an object, not a list"},

    /* unknown keys */
    {"{'lissten':{}}", "config.json: lissten: unknown key; did you mean \"listen\"?"},
    {"{'dsp':[]}", "config.json: dsp: unknown key; did you mean \"dsps\"?"},
    {"{'listen':{'prot':1}}", "config.json: listen.prot: unknown key; did you mean \"port\"?"},
    {"{'listen':{'tls':{'certifcate':'x'}}}",
     "config.json: listen.tls.certifcate: unknown key; did you mean \"certificate\"?"},
    {"{'timeout_ms':100}",
     "config.json: timeout_ms: unknown key; did you mean \"auction.timeout_ms\"?"},
    {"{'recall_target':0.9}",
     "config.json: recall_target: unknown key; it belongs in \"defaults\" or in a DSP"},
    {"{'xylophone':1}", "config.json: xylophone: unknown key"},
    {"{'':1}", "config.json: \"\": unknown key"},
    {"{'a\\nb c':1}", "config.json: \"a\\nb c\": unknown key"},
    {"{'listen.port':1}", "config.json: listen.port: unknown key"},
    {DSP(",'recal_target':0.9"),
     "config.json: dsps[0].recal_target: unknown key; did you mean \"recall_target\"?"},
    {DSP(",'countries':['USA']"),
     "config.json: dsps[0].countries: unknown key; did you mean \"rules.countries\"?"},
    {RULES("'country':['USA']"),
     "config.json: dsps[0].rules.country: unknown key; did you mean \"countries\"?"},
    {"{'defaults':{'filtre':'on'}}",
     "config.json: defaults.filtre: unknown key; did you mean \"filter\"?"},

    /* wrong shapes */
    {"{'listen':8080}", "config.json: listen: must be an object, not 8080"},
    {"{'listen':{'tls':[]}}", "config.json: listen.tls: must be an object, not a list"},
    {"{'dsps':{}}", "config.json: dsps: must be a list, not an object"},
    {"{'dsps':['alpha']}", "config.json: dsps[0]: must be an object, not \"alpha\""},
    {"{'defaults':null}", "config.json: defaults: must be an object, not null"},
    {"{'defaults':{'name':'a'}}", "config.json: defaults.name: belongs to each DSP, not here"},
    {"{'defaults':{'url':'http://a/'}}",
     "config.json: defaults.url: belongs to each DSP, not here"},
    {"{'defaults':{'explore':2}}", "config.json: defaults.explore: must be 0 to 1, not 2"},
    {"{'defaults':{'explore':2},'dsps':[{'name':'a','url':'http://a/','explore':0}]}",
     "config.json: defaults.explore: must be 0 to 1, not 2"},
    {DSP(",'rules':[]"), "config.json: dsps[0].rules: must be an object, not a list"},

    /* wrong types */
    {"{'listen':{'host':1}}", "config.json: listen.host: must be a text, not 1"},
    {"{'listen':{'host':null}}", "config.json: listen.host: must be a text, not null"},
    {"{'listen':{'port':'8080'}}",
     "config.json: listen.port: must be a whole number, not \"8080\""},
    {"{'listen':{'port':80.5}}", "config.json: listen.port: must be a whole number, not 80.5"},
    {"{'listen':{'port':null}}", "config.json: listen.port: must be a whole number, not null"},
    {"{'model':{'max_age_hours':true}}",
     "config.json: model.max_age_hours: must be a number, not true"},
    {"{'auction':{'increment':'0.01'}}",
     "config.json: auction.increment: must be a number, not \"0.01\""},
    {"{'capture':{'compress':'yes'}}",
     "config.json: capture.compress: must be true or false, not \"yes\""},
    {"{'capture':{'compress':1}}", "config.json: capture.compress: must be true or false, not 1"},
    {"{'capture':{'directory':''}}",
     "config.json: capture.directory: must be a file name or null, not \"\""},
    {"{'geo':{'database':false}}",
     "config.json: geo.database: must be a file name or null, not false"},
    {"{'model':{'file':{}}}",
     "config.json: model.file: must be a file name or null, not an object"},
    {DSP(",'threshold':'high'"),
     "config.json: dsps[0].threshold: must be a number or null, not \"high\""},
    {DSP(",'recall_target':null"),
     "config.json: dsps[0].recall_target: must be a number, not null"},
    {"{'capture':{'directory':1,'sample':'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxx'}}",
     "config.json: capture.directory: must be a file name or null, not 1"},
    {"{'capture':{'sample':'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'}"
     "}",
     "config.json: capture.sample: must be a number, not "
     "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."},

    /* words, and texts of a form */
    {"{'auction':{'type':'third_price'}}",
     "config.json: auction.type: must be \"first_price\" or \"second_price\", not \"third_price\""},
    {"{'auction':{'type':2}}",
     "config.json: auction.type: must be \"first_price\" or \"second_price\", not 2"},
    {"{'auction':{'currency':'usd'}}", "config.json: auction.currency: must be an ISO 4217 code in "
                                       "upper case, like \"EUR\", not \"usd\""},
    {"{'auction':{'currency':'USDT'}}",
     "config.json: auction.currency: must be an ISO 4217 code in "
     "upper case, like \"EUR\", not \"USDT\""},
    {"{'clock':'header '}", "config.json: clock: must be \"wall\" or \"header\", not \"header \""},
    {"{'log':{'level':'trace'}}",
     "config.json: log.level: must be \"error\", \"warn\", \"info\" or "
     "\"debug\", not \"trace\""},
    {"{'log':{'format':'xml'}}",
     "config.json: log.format: must be \"text\" or \"json\", not \"xml\""},
    {"{'listen':{'host':'a b'}}",
     "config.json: listen.host: must be an address or a host name, not \"a b\""},
    {"{'listen':{'host':''}}",
     "config.json: listen.host: must be an address or a host name, not \"\""},
    {"{'capture':{'mask':['ip','names']}}",
     "config.json: capture.mask[1]: must be \"ip\" or \"ids\", not \"names\""},
    {"{'capture':{'mask':'ip'}}", "config.json: capture.mask: must be a list, not \"ip\""},
    {DSP(",'filter':true"),
     "config.json: dsps[0].filter: must be \"on\", \"shadow\" or \"off\", not true"},
    {DSP(",'openrtb_version':'v2'"),
     "config.json: dsps[0].openrtb_version: must be a version like \"2.6\", not \"v2\""},
    {DSP(",'openrtb_version':'2.6\\r\\nx: y'"), "config.json: dsps[0].openrtb_version: must be a "
                                                "version like \"2.6\", not \"2.6\\r\\nx: y\""},
    {DSP(",'default_currency':'Euro'"),
     "config.json: dsps[0].default_currency: must be an ISO 4217 "
     "code in upper case, like \"EUR\", not \"Euro\""},

    /* names and URLs */
    {"{'dsps':[{'url':'http://a/'}]}", "config.json: dsps[0].name: is required"},
    {"{'dsps':[{'name':'a'}]}", "config.json: dsps[0].url: is required"},
    {"{'dsps':[{'name':null,'url':'http://a/'}]}",
     "config.json: dsps[0].name: must be a text, not null"},
    {"{'dsps':[{'name':'a b','url':'http://a/'}]}",
     "config.json: dsps[0].name: must be 1 to 64 letters, digits, '_', '.' or '-', not \"a b\""},
    {"{'dsps':[{'name':'','url':'http://a/'}]}",
     "config.json: dsps[0].name: must be 1 to 64 letters, digits, '_', '.' or '-', not \"\""},
    {"{'dsps':[{'name':'\xc3\xa9','url':'http://a/'}]}",
     "config.json: dsps[0].name: must be 1 to 64 letters, digits, '_', '.' or '-', not "
     "\"\\u00E9\""},
    {"{'dsps':[{'name':'a','url':'http://a/'},{'name':'b','url':'http://b/'},"
     "{'name':'a','url':'http://c/'}]}",
     "config.json: dsps[2].name: \"a\" is the name of dsps[0] already"},

    /* rules */
    {RULES("'countries':'USA'"),
     "config.json: dsps[0].rules.countries: must be a list, not \"USA\""},
    {RULES("'countries':['USA','GB']"),
     "config.json: dsps[0].rules.countries[1]: must be an ISO 3166-1 alpha-3 code in upper case, "
     "like \"GBR\", not \"GB\""},
    {RULES("'countries':['usa']"),
     "config.json: dsps[0].rules.countries[0]: must be an ISO 3166-1 alpha-3 code in upper case, "
     "like \"GBR\", not \"usa\""},
    {RULES("'countries':['UKD']"),
     "config.json: dsps[0].rules.countries[0]: must be an ISO 3166-1 alpha-3 code in upper case, "
     "like \"GBR\", not \"UKD\""},
    {RULES("'media':['banner','text']"), "config.json: dsps[0].rules.media[1]: must be \"banner\", "
                                         "\"video\", \"audio\" or \"native\", not \"text\""},
    {RULES("'channels':['web']"),
     "config.json: dsps[0].rules.channels[0]: must be \"site\", \"app\" or \"dooh\", not \"web\""},
    {RULES("'deals':'only'"), "config.json: dsps[0].rules.deals: must be \"any\", \"required\" or "
                              "\"excluded\", not \"only\""},
    {RULES("'sizes':['300*250']"), "config.json: dsps[0].rules.sizes[0]: must be a size like "
                                   "\"300x250\", each side 1 to 10000, not \"300*250\""},
    {RULES("'sizes':['300x250','0x50']"),
     "config.json: dsps[0].rules.sizes[1]: must be a size like "
     "\"300x250\", each side 1 to 10000, not \"0x50\""},
    {RULES("'sizes':['300x10001']"), "config.json: dsps[0].rules.sizes[0]: must be a size like "
                                     "\"300x250\", each side 1 to 10000, not \"300x10001\""},
    {RULES("'sizes':['300x250 ']"), "config.json: dsps[0].rules.sizes[0]: must be a size like "
                                    "\"300x250\", each side 1 to 10000, not \"300x250 \""},
    {RULES("'sizes':[[300,250]]"), "config.json: dsps[0].rules.sizes[0]: must be a size like "
                                   "\"300x250\", each side 1 to 10000, not a list"},
    {RULES("'floor_min':2,'floor_max':1.5"),
     "config.json: dsps[0].rules.floor_max: must be 0 or at least rules.floor_min, 2, not 1.5"},
    {RULES("'domains':['http://a.example/']"),
     "config.json: dsps[0].rules.domains[0]: must be a domain or an app bundle, like "
     "\"example.com\", not \"http://a.example/\""},
    {RULES("'domains':['*.a.example']"),
     "config.json: dsps[0].rules.domains[0]: must be a domain or "
     "an app bundle, like \"example.com\", not \"*.a.example\""},
    {RULES("'domains':null"), "config.json: dsps[0].rules.domains: must be a list, not null"},
    {RULES("'domains':['a'],'domains_file':'domains.txt'"),
     "config.json: dsps[0].rules.domains: cannot stand beside rules.domains_file"},
    {RULES("'domains_blocked_file':'none.txt'"),
     "config.json: dsps[0].rules.domains_blocked_file: none.txt: No such file or directory"},
    {"{'defaults':{'rules':{'domains_file':'none.txt'}}}",
     "config.json: defaults.rules.domains_file: none.txt: No such file or directory"},
    {RULES("'seats':['']"),
     "config.json: dsps[0].rules.seats[0]: must be 1 to 256 characters, not \"\""},
    {RULES("'seats':[5]"), "config.json: dsps[0].rules.seats[0]: must be a text, not 5"},
    {RULES("'currencies':['USD','eur']"),
     "config.json: dsps[0].rules.currencies[1]: must be an ISO 4217 code in upper case, like "
     "\"EUR\", not \"eur\""},

    /* headers */
    {DSP(",'headers':['X: y']"), "config.json: dsps[0].headers: must be an object, not a list"},
    {DSP(",'headers':{'X-Key':'a\\r\\nHost: b'}"),
     "config.json: dsps[0].headers: the value of X-Key must be at most 4096 printable ASCII "
     "characters, on one line"},
    {DSP(",'headers':{'X-Key':'a\\nb'}"),
     "config.json: dsps[0].headers: the value of X-Key must be at "
     "most 4096 printable ASCII characters, on one line"},
    {DSP(",'headers':{'X-Key':'\\u00e9'}"),
     "config.json: dsps[0].headers: the value of X-Key must be "
     "at most 4096 printable ASCII characters, on one line"},
    {DSP(",'headers':{'X-Key':7}"),
     "config.json: dsps[0].headers: the value of X-Key must be a text"},
    {DSP(",'headers':{'X Key':'a'}"),
     "config.json: dsps[0].headers: \"X Key\" is not a header name"},
    {DSP(",'headers':{'X\\r\\nY':'a'}"),
     "config.json: dsps[0].headers: \"X\\r\\nY\" is not a header name"},
    {DSP(",'headers':{'X:':'a'}"), "config.json: dsps[0].headers: \"X:\" is not a header name"},
    {DSP(",'headers':{'':'a'}"), "config.json: dsps[0].headers: \"\" is not a header name"},
    {DSP(",'headers':{'host':'b.example'}"),
     "config.json: dsps[0].headers: host is set by the proxy itself"},
    {DSP(",'headers':{'Content-Length':'1'}"),
     "config.json: dsps[0].headers: Content-Length is set by the proxy itself"},
    {DSP(",'headers':{'TRANSFER-ENCODING':'chunked'}"),
     "config.json: dsps[0].headers: TRANSFER-ENCODING is set by the proxy itself"},
    {DSP(",'headers':{'Connection':'close'}"),
     "config.json: dsps[0].headers: Connection is set by the proxy itself"},
    {DSP(",'headers':{'X-OpenRTB-Version':'2.5'}"),
     "config.json: dsps[0].headers: X-OpenRTB-Version is set by openrtb_version"},
    {DSP(",'headers':{'X-A':'1','X-Ab':'2','x-a':'3'}"),
     "config.json: dsps[0].headers: x-a is given twice"},

    {DSP(",'request':[]"), "config.json: dsps[0].request: must be an object, not a list"},
    {DSP(",'request':{'seat':[]}"),
     "config.json: dsps[0].request.seat: unknown key; did you mean \"seats\"?"},
    {DSP(",'request':{'ext':[]}"),
     "config.json: dsps[0].request.ext: must be an object, not a list"},
    {DSP(",'request':{'ext':null}"),
     "config.json: dsps[0].request.ext: must be an object, not null"},
    {DSP(",'request':{'seats':'s'}"),
     "config.json: dsps[0].request.seats: must be a list, not \"s\""},
    {DSP(",'request':{'seats':['s','']}"),
     "config.json: dsps[0].request.seats[1]: must be 1 to 256 characters, not \"\""},
    {DSP(",'request':{'seats':['s',5]}"),
     "config.json: dsps[0].request.seats[1]: must be a text, not 5"},
    {DSP(",'request':{'buyeruid':true}"),
     "config.json: dsps[0].request.buyeruid: must be \"pass\" or \"map\", not true"},
    {DSP(",'request':{'buyeruid_key':''}"), "config.json: dsps[0].request.buyeruid_key: must be "
                                            "1 to 64 letters, digits, '_', '.' or '-', not \"\""},
    {"{'defaults':{'request':{'buyeruid':'drop'}}}",
     "config.json: defaults.request.buyeruid: must be \"pass\" or \"map\", not \"drop\""},

    /* keys against each other, and files that must be there */
    {"{'listen':{'tls':{'certificate':'config.json'}}}",
     "config.json: listen.tls: certificate and key must be given together"},
    {"{'listen':{'tls':{'certificate':'none.pem','key':'config.json'}}}",
     "config.json: listen.tls: none.pem: No such file or directory"},
    {"{'listen':{'tls':{'certificate':'cert.pem','key':'none.pem'}}}",
     "config.json: listen.tls: none.pem: No such file or directory"},
    {"{'listen':{'tls':{'certificate':'config.json','key':'key.pem'}}}",
     "config.json: listen.tls: config.json: holds no usable PEM certificate"},
    {"{'listen':{'tls':{'certificate':'cert.pem','key':'cert.pem'}}}",
     "config.json: listen.tls: cert.pem: is not the certificate's private key in PEM, without a "
     "passphrase"},
    {"{'listen':{'tls':{'certificate':'cert.pem','key':'other.pem'}}}",
     "config.json: listen.tls: other.pem: is not the certificate's private key in PEM, without a "
     "passphrase"},
    {DSP(",'tls':{'ca_file':'key.pem'}"), "config.json: dsps[0].tls.ca_file: key.pem: holds no PEM "
                                          "certificate"},
    {"{'defaults':{'tls':{'ca_file':'config.json'}}}",
     "config.json: defaults.tls.ca_file: config.json: holds no PEM certificate"},
    {DSP(",'tls':{'ca_file':'none.pem'}"),
     "config.json: dsps[0].tls.ca_file: none.pem: No such file or directory"},
    {"{'listen':{'port':9000},'admin':{'port':9000}}",
     "config.json: admin.port: must differ from listen.port, 9000"},
    {"{'admin':{'host':'0.0.0.0'}}",
     "config.json: admin.token: is required, because admin.host 0.0.0.0 is not loopback"},
    {"{'admin':{'host':'::'}}",
     "config.json: admin.token: is required, because admin.host :: is not loopback"},
    {"{'admin':{'host':'127.0.0.1.example'}}",
     "config.json: admin.token: is required, because admin.host 127.0.0.1.example is not loopback"},
    {"{'admin':{'token':'se cret'}}",
     "config.json: admin.token: must be 1 to 256 printable characters, no spaces"},
    {"{'admin':{'token':12345}}", "config.json: admin.token: must be a text or null"},
    {"{'auction':{'timeout_ms':10}}",
     "config.json: auction.network_margin_ms: must be below auction.timeout_ms, 10, not 10"},
    {"{'capture':{'directory_bytes_max':4096}}", "config.json: capture.directory_bytes_max: must "
                                                 "be 0 or hold two segments, 536870912, not 4096"},
};

/* A certificate that signs itself, and its key. */
static void write_pair(const char *certificate, const char *key)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pair);
    X509_sign(x, pair, EVP_sha256());
    FILE *out = fopen(certificate, "w");
    PEM_write_X509(out, x);
    fclose(out);
    out = fopen(key, "w");
    PEM_write_PrivateKey(out, pair, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    X509_free(x);
    EVP_PKEY_free(pair);
}

static int enter(void **state)
{
    if (files_enter(state) != 0)
        return -1;
    write_pair("other-cert.pem", "other.pem");
    write_pair("cert.pem", "key.pem");
    return 0;
}

static void test_load_faults(void **state)
{
    for (size_t i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++)
        refused(FAULTS[i].text, FAULTS[i].message);
}

static void test_load_url(void **state)
{
    static const char *const urls[] = {"",
                                       "a.example",
                                       "ftp://a.example/",
                                       "http://",
                                       "http:///bid",
                                       "http://a.example:99999/",
                                       "http://a.example/ b",
                                       "http://a.example/\\r\\nX: y"};
    static const char where[] = "config.json: dsps[0].url: ";
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct error err = {""};
        char text[200];
        snprintf(text, sizeof(text), "{'dsps':[{'name':'a','url':'%s'}]}", urls[i]);
        files_write_json("config.json", text);
        struct config *c = config_load("config.json", &err);
        if (c != NULL)
            fail_msg("accepted: %s", urls[i]);
        if (strncmp(err.text, where, strlen(where)) != 0)
            fail_msg("%s: %s", urls[i], err.text);
    }
}

static void test_load_unreadable(void **state)
{
    struct error err;
    assert_null(config_load("none.json", &err));
    assert_string_equal(err.text, "none.json: cannot be read: No such file or directory");
    assert_null(config_load("/tmp", &err));
    assert_string_equal(err.text, "/tmp: cannot be read: Is a directory");
    assert_null(config_load("none.json", NULL));
}

static void test_load_hostile(void **state)
{
    struct error err;
    static const char nul[] = "{\"clock\":\"wall\0\"}";
    files_write_bytes("config.json", nul, sizeof(nul) - 1);
    assert_null(config_load("config.json", &err));
    files_write_bytes("config.json", "{\"clock\":\"\xff\"}", 13);
    assert_null(config_load("config.json", &err));
    char *deep = malloc(100001);
    memset(deep, '[', 100000);
    files_write_bytes("config.json", deep, 100000);
    assert_null(config_load("config.json", &err));
    free(deep);

    char *text = NULL; /* one DSP too many */
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fputs("{'dsps':[", out);
    for (int i = 0; i <= CONFIG_DSPS_MAX; i++)
        fprintf(out, "%s{'name':'d%d','url':'http://a/'}", i > 0 ? "," : "", i);
    fputs("]}", out);
    fclose(out);
    refused(text, "config.json: dsps: must have at most 512 entries, not 513");
    free(text);

    text = NULL; /* a key of 100,000 characters neither overflows nor floods the message */
    out = open_memstream(&text, &size);
    fprintf(out, "{'%0100000d':1}", 0);
    fclose(out);
    files_write_json("config.json", text);
    assert_null(config_load("config.json", &err));
    assert_true(strlen(err.text) < 200);
    free(text);
}

/* Each cut of a good file is refused, and nothing leaks. */
static void test_load_cut(void **state)
{
    static const char text[] =
        "{\"defaults\":{\"rules\":{\"countries\":[\"USA\"],\"sizes\":[\"1x2\"]},\"headers\":{\"A\":"
        "\"b\"}},\"dsps\":[{\"name\":\"a\",\"url\":\"http://a/\",\"threshold\":null}]}";
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        struct error err;
        files_write_bytes("config.json", text, n);
        assert_null(config_load("config.json", &err));
    }
    config_destroy(load(text));
}

/* ---- bounds: of every key that has any ---- */

static const struct bounds {
    const char *key, *low, *below, *high, *above;
    const char *beside; /* members of the same object that this extreme needs */
} BOUNDS[] = {
    {"listen.port", "0", "-1", "65535", "65536", ""},
    {"listen.threads", "0", "-1", "256", "257", ""},
    {"listen.connections_max", "1", "0", "1000000", "1000001", ""},
    {"listen.idle_timeout_ms", "10", "9", "3600000", "3600001", ""},
    {"listen.write_timeout_ms", "10", "9", "600000", "600001", ""},
    {"admin.port", "0", "-1", "65535", "65536", ""},
    {"auction.increment", "0", "-0.01", "1000", "1000.01", ""},
    {"auction.timeout_ms", "1", "0", "60000", "60001", ",'network_margin_ms':0"},
    {"auction.network_margin_ms", "0", "-1", "10000", "10001", ",'timeout_ms':20000"},
    {"model.max_age_hours", "0", "-1", "87600", "87600.5", ""},
    {"capture.sample", "0", "-0.1", "1", "1.1", ""},
    {"capture.segment_bytes_max", "4096", "4095", "17179869184", "17179869185", ""},
    {"capture.segment_seconds_max", "1", "0", "604800", "604801", ""},
    {"capture.queue_bytes_max", "65536", "65535", "17179869184", "17179869185", ""},
    {"capture.directory_bytes_max", "0", "-1", "100000000000000", "100000000000001", ""},
    {"limits.body_bytes_max", "1024", "1023", "67108864", "67108865", ""},
    {"limits.imps_max", "1", "0", "1000", "1001", ""},
    {"limits.in_flight_max", "1", "0", "1000000", "1000001", ""},
    {"debug.rate_max", "0", "-0.5", "1000", "1000.5", ""},
    {"limits.response_bytes_max", "1024", "1023", "67108864", "67108865", ""},
    {"shutdown_timeout_ms", "0", "-1", "600000", "600001", ""},
    {"dsps.recall_target", "1e-9", "0", "1", "1.5", ""},
    {"dsps.threshold", "0", "-0.1", "1", "1.1", ""},
    {"dsps.explore", "0", "-0.1", "1", "1.1", ""},
    {"dsps.qps_max", "0", "-1", "10000000", "10000001", ""},
    {"dsps.timeout_ms", "1", "0", "60000", "60001", ""},
    {"dsps.connections_max", "1", "0", "65535", "65536", ""},
    {"dsps.connect_timeout_ms", "1", "0", "60000", "60001", ""},
    {"dsps.rules.floor_min", "0", "-1", "1000000", "1000000.5", ""},
    {"dsps.rules.floor_max", "0", "-1", "1000000", "1000000.5", ""},
};

/* A config with just this key, its levels nested. */
static void nest(char *out, size_t size, const struct bounds *b, const char *value)
{
    bool dsp = strncmp(b->key, "dsps.", 5) == 0;
    const char *path = dsp ? b->key + 5 : b->key;
    size_t n =
        (size_t)snprintf(out, size, "%s", dsp ? "{'dsps':[{'name':'a','url':'http://a/'," : "{");
    int levels = 0;
    for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1, levels++)
        n += (size_t)snprintf(out + n, size - n, "'%.*s':{", (int)(dot - path), path);
    n += (size_t)snprintf(out + n, size - n, "'%s':%s%s", path, value, b->beside);
    while (levels-- > 0)
        n += (size_t)snprintf(out + n, size - n, "}");
    snprintf(out + n, size - n, dsp ? "}]}" : "}");
}

static void test_load_bounds(void **state)
{
    for (size_t i = 0; i < sizeof(BOUNDS) / sizeof(BOUNDS[0]); i++) {
        const struct bounds *b = &BOUNDS[i];
        char text[400], wanted[300];
        const char *good[] = {b->low, b->high}, *bad[] = {b->below, b->above};
        for (int k = 0; k < 2; k++) {
            nest(text, sizeof(text), b, good[k]);
            config_destroy(load(text));
            nest(text, sizeof(text), b, bad[k]);
            bool dsp = strncmp(b->key, "dsps.", 5) == 0;
            bool open = strcmp(b->key, "dsps.recall_target") == 0;
            snprintf(wanted, sizeof(wanted), "config.json: %s%s: must be %s%s %s, not %s",
                     dsp ? "dsps[0]." : "", dsp ? b->key + 5 : b->key,
                     open ? "above 0 and at most" : b->low, open ? "" : " to", b->high, bad[k]);
            refused(text, wanted);
        }
    }
}

static void test_load_bounds_are_complete(void **state)
{
    const struct config_key *tables[] = {config_root_keys, config_dsp_keys};
    const size_t sizes[] = {config_root_keys_n, config_dsp_keys_n};
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < sizes[t]; i++) {
            const struct config_key *k = &tables[t][i];
            if (k->type != KEY_WHOLE && k->type != KEY_NUMBER && k->type != KEY_MONEY)
                continue;
            bool found = false;
            for (size_t j = 0; j < sizeof(BOUNDS) / sizeof(BOUNDS[0]); j++)
                found |= strcmp(BOUNDS[j].key + (t == 1 ? 5 : 0), k->path) == 0;
            if (!found)
                fail_msg("no row of BOUNDS for %s", k->path);
        }
    }
}

/* ---- what lands where ---- */

static void test_load_defaults_of_process(void **state)
{
    struct config *c = load("{}");
    assert_string_equal(c->path, "config.json");
    assert_string_equal(c->listen.host, "0.0.0.0");
    assert_int_equal(c->listen.port, 8080);
    assert_int_equal(c->listen.threads, 0);
    assert_int_equal(c->listen.connections_max, 10000);
    assert_int_equal(c->listen.idle_timeout_ms, 60000);
    assert_int_equal(c->listen.write_timeout_ms, 5000);
    assert_null(c->listen.tls_certificate);
    assert_null(c->listen.tls_key);
    assert_string_equal(c->admin.host, "127.0.0.1");
    assert_int_equal(c->admin.port, 8081);
    assert_null(c->admin.token);
    assert_true(c->auction.second_price);
    assert_string_equal(c->auction.currency, "USD");
    assert_int_equal(c->auction.increment_micros, 10000);
    assert_int_equal(c->auction.timeout_ms, 120);
    assert_int_equal(c->auction.network_margin_ms, 10);
    assert_null(c->auction.rates);
    assert_null(c->currency_rates);
    assert_null(c->geo.database);
    assert_null(c->model.file);
    assert_true(c->model.max_age_hours == 72);
    assert_false(c->capture.enabled);
    assert_null(c->capture.options.directory);
    assert_true(c->capture.options.compress);
    assert_int_equal(c->capture.options.segment_bytes_max, 256 << 20);
    assert_int_equal(c->capture.options.segment_seconds_max, 3600);
    assert_int_equal(c->capture.options.queue_bytes_max, 64 << 20);
    assert_int_equal(c->capture.options.directory_bytes_max, (uint64_t)64 << 30);
    assert_true(c->capture.sample == 1);
    assert_true(c->capture.mask_ip && c->capture.mask_ids);
    assert_int_equal(c->clock, CLOCK_SOURCE_WALL);
    assert_int_equal(c->limits.body_bytes_max, 1 << 20);
    assert_int_equal(c->limits.imps_max, 100);
    assert_int_equal(c->limits.in_flight_max, 10000);
    assert_int_equal(c->limits.response_bytes_max, 1 << 20);
    assert_false(c->auction.deals_first || c->auction.fire_notices || c->loss_notices);
    assert_null(c->debug.token);
    assert_true(c->debug.rate_max == 10);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_false(c->log.json);
    assert_null(c->log.access_file);
    assert_int_equal(c->stop_timeout_ms, 10000);
    assert_int_equal(c->n_dsps, 0);
    config_destroy(c);
}

static void test_load_whole_process(void **state)
{
    mkdir("sub", 0700);
    write_pair("sub/cert.pem", "sub/key.pem");
    files_write_json(
        "sub/config.json",
        "{'listen':{'host':'::1','port':1,'threads':2,'connections_max':3,'idle_timeout_ms':40,"
        "'write_timeout_ms':50,'tls':{'certificate':'cert.pem','key':'key.pem'}},"
        "'admin':{'host':'10.0.0.1','port':6,'token':'s3cret/+='},"
        "'auction':{'type':'first_price','currency':'EUR','increment':0.0000015,'timeout_ms':7,"
        "'network_margin_ms':5,'currency_rates':'/etc/rates.json'},"
        "'geo':{'database':'city.mmdb'},'model':{'file':'../m','max_age_hours':0.5},"
        "'capture':{'directory':'logs','sample':0.25,'compress':false,'segment_bytes_max':4096,"
        "'segment_seconds_max':9,'queue_bytes_max':1e6,'directory_bytes_max':8192,'mask':['ids']},"
        "'clock':'header',"
        "'limits':{'body_bytes_max':2048,'imps_max':11,'in_flight_max':12,"
        "'response_bytes_max':4096},"
        "'log':{'level':'debug','format':'json','access_file':'-'},'shutdown_timeout_ms':13}");
    struct error err;
    struct config *c = config_load("sub/config.json", &err);
    assert_non_null(c);
    assert_string_equal(c->listen.host, "::1");
    assert_int_equal(c->listen.port, 1);
    assert_int_equal(c->listen.threads, 2);
    assert_int_equal(c->listen.connections_max, 3);
    assert_int_equal(c->listen.idle_timeout_ms, 40);
    assert_int_equal(c->listen.write_timeout_ms, 50);
    assert_string_equal(c->listen.tls_certificate, "sub/cert.pem");
    assert_string_equal(c->listen.tls_key, "sub/key.pem");
    assert_string_equal(c->admin.host, "10.0.0.1");
    assert_int_equal(c->admin.port, 6);
    assert_string_equal(c->admin.token, "s3cret/+=");
    assert_false(c->auction.second_price);
    assert_string_equal(c->auction.currency, "EUR");
    assert_int_equal(c->auction.increment_micros, 2); /* rounded, half away from zero */
    assert_int_equal(c->auction.timeout_ms, 7);
    assert_int_equal(c->auction.network_margin_ms, 5);
    assert_string_equal(c->currency_rates, "/etc/rates.json");
    assert_string_equal(c->geo.database, "sub/city.mmdb");
    assert_string_equal(c->model.file, "sub/../m");
    assert_true(c->model.max_age_hours == 0.5);
    assert_true(c->capture.enabled);
    assert_string_equal(c->capture.options.directory, "sub/logs");
    assert_true(c->capture.sample == 0.25);
    assert_false(c->capture.options.compress);
    assert_int_equal(c->capture.options.segment_bytes_max, 4096);
    assert_int_equal(c->capture.options.segment_seconds_max, 9);
    assert_int_equal(c->capture.options.queue_bytes_max, 1000000);
    assert_int_equal(c->capture.options.directory_bytes_max, 8192);
    assert_false(c->capture.mask_ip);
    assert_true(c->capture.mask_ids);
    assert_int_equal(c->clock, CLOCK_SOURCE_HEADER);
    assert_int_equal(c->limits.body_bytes_max, 2048);
    assert_int_equal(c->limits.imps_max, 11);
    assert_int_equal(c->limits.in_flight_max, 12);
    assert_int_equal(c->limits.response_bytes_max, 4096);
    assert_int_equal(c->log.level, LOG_DEBUG);
    assert_true(c->log.json);
    assert_string_equal(c->log.access_file, "-");
    assert_int_equal(c->stop_timeout_ms, 13);
    config_destroy(c);
    unlink("sub/cert.pem");
    unlink("sub/key.pem");
    unlink("sub/config.json");
    rmdir("sub");
}

static void test_load_defaults_of_dsp(void **state)
{
    struct config *c = load(DSP(""));
    assert_int_equal(c->n_dsps, 1);
    const struct config_dsp *d = &c->dsps[0];
    assert_string_equal(d->name, "a");
    assert_string_equal(d->url, "http://a.example/");
    assert_true(d->enabled);
    assert_int_equal(d->filter.mode, FILTER_ON);
    assert_true(d->filter.recall_target == 0.97);
    assert_true(isnan(d->filter.threshold));
    assert_true(d->filter.explore == 0.01);
    assert_true(d->qps_max == 0);
    assert_int_equal(d->timeout_ms, 100);
    assert_int_equal(d->connections_max, 64);
    assert_int_equal(d->connect_timeout_ms, 1000);
    assert_false(d->secondary);
    assert_false(d->gzip);
    assert_true(d->tls_verify);
    assert_null(d->tls_ca_file);
    assert_null(d->headers);
    assert_string_equal(d->openrtb_version, "2.6");
    assert_string_equal(d->default_currency, "USD");
    static const struct dsp_rules none;
    assert_memory_equal(&d->filter.rules, &none, sizeof(none));
    assert_true(request_edit_is_none(&d->request));
    config_destroy(c);
}

static bool has(const struct string_set *set, const char *text)
{
    return string_set_has(set, bytes_of(text));
}

static void test_load_whole_dsp(void **state)
{
    files_write_json("blocked.txt", "Bad.example # comment\n\n");
    struct config *c = load(
        DSP(",'enabled':false,'filter':'shadow','recall_target':0.5,'threshold':0.25,"
            "'explore':1,'qps_max':2.5,'timeout_ms':3,'connections_max':4,"
            "'connect_timeout_ms':5,'secondary':true,'gzip':true,"
            "'tls':{'verify':false,'ca_file':'cert.pem'},"
            "'headers':{'X-Key':'k\\u0009v','x-empty':''},'openrtb_version':'2.5',"
            "'default_currency':'JPY',"
            "'rules':{'countries':['USA','XKX'],'media':['video','native'],"
            "'channels':['site','dooh'],'sizes':['300x250','1x10000'],'needs_user_id':true,"
            "'needs_consent':true,'refuses_coppa':true,'deals':'excluded','floor_min':0.1,"
            "'floor_max':2.000001,'domains':['WWW.Good.example','com.Some.App','fine.example.'],"
            "'domains_blocked_file':'blocked.txt','seats':['Seat 1'],'currencies':['EUR']}"));
    const struct config_dsp *d = &c->dsps[0];
    assert_false(d->enabled);
    assert_int_equal(d->filter.mode, FILTER_SHADOW);
    assert_true(d->filter.recall_target == 0.5);
    assert_true(d->filter.threshold == 0.25);
    assert_true(d->filter.explore == 1);
    assert_true(d->qps_max == 2.5);
    assert_int_equal(d->timeout_ms, 3);
    assert_int_equal(d->connections_max, 4);
    assert_int_equal(d->connect_timeout_ms, 5);
    assert_true(d->secondary && d->gzip && !d->tls_verify);
    assert_string_equal(d->tls_ca_file, "cert.pem");
    assert_string_equal(d->headers[0], "X-Key: k\tv");
    assert_string_equal(d->headers[1], "x-empty: ");
    assert_null(d->headers[2]);
    assert_string_equal(d->openrtb_version, "2.5");
    assert_string_equal(d->default_currency, "JPY");
    const struct dsp_rules *r = &d->filter.rules;
    assert_true(has(r->countries, "USA") && has(r->countries, "XKX") && !has(r->countries, "CAN"));
    assert_int_equal(r->media, MEDIA_VIDEO | MEDIA_NATIVE);
    assert_int_equal(r->channels, 1 << CHANNEL_SITE | 1 << CHANNEL_DOOH);
    assert_int_equal(r->n_sizes, 2);
    assert_true(r->sizes[0].w == 300 && r->sizes[0].h == 250);
    assert_true(r->sizes[1].w == 1 && r->sizes[1].h == 10000);
    assert_true(r->needs_user_id && r->needs_consent && r->refuses_coppa);
    assert_int_equal(r->deals, DEALS_EXCLUDED);
    assert_int_equal(r->floor_min_micros, 100000);
    assert_int_equal(r->floor_max_micros, 2000001);
    assert_true(has(r->domains, "good.example") && has(r->domains, "com.some.app") &&
                has(r->domains, "fine.example"));
    assert_true(has(r->domains_blocked, "bad.example"));
    assert_true(has(r->seats, "Seat 1") && !has(r->seats, "seat 1"));
    assert_true(has(r->currencies, "EUR"));
    config_destroy(c);
}

/* ---- inheritance ---- */

static void test_load_inherits_key_by_key(void **state)
{
    files_write_json("list.txt", "one.example\n");
    struct config *c = load(
        "{'defaults':{'filter':'off','threshold':0.5,'timeout_ms':42,'headers':{'A':'1','B':'2'},"
        "'tls':{'verify':false,'ca_file':'cert.pem'},"
        "'rules':{'countries':['USA'],'sizes':['1x1'],'media':['video'],'domains_file':'list.txt',"
        "'floor_min':1}},"
        "'dsps':[{'name':'a','url':'http://a/'},"
        "{'name':'b','url':'http://b/','filter':'on','threshold':null,'headers':{'C':'3'},"
        "'tls':{'ca_file':null},"
        "'rules':{'countries':['CAN'],'sizes':[],'media':[],'domains':['two.example']}},"
        "{'name':'c','url':'http://c/','headers':{},'tls':{'verify':true},"
        "'rules':{'domains':[],'countries':[]}},"
        "{'name':'d','url':'http://d/','rules':{'domains_file':null,'floor_min':0.5}}]}");
    const struct config_dsp *a = &c->dsps[0], *b = &c->dsps[1], *d = &c->dsps[3];
    const struct config_dsp *e = &c->dsps[2];
    const struct dsp_rules *ra = &a->filter.rules, *rb = &b->filter.rules, *rd = &d->filter.rules;

    assert_int_equal(a->filter.mode, FILTER_OFF);
    assert_true(a->filter.threshold == 0.5);
    assert_int_equal(a->timeout_ms, 42);
    assert_string_equal(a->headers[1], "B: 2");
    assert_false(a->tls_verify);
    assert_string_equal(a->tls_ca_file, "cert.pem");
    assert_true(has(ra->countries, "USA") && has(ra->domains, "one.example"));
    assert_int_equal(ra->n_sizes, 1);
    assert_int_equal(ra->media, MEDIA_VIDEO);

    assert_int_equal(b->filter.mode, FILTER_ON);
    assert_true(isnan(b->filter.threshold)); /* null takes it back */
    assert_int_equal(b->timeout_ms, 42);
    assert_string_equal(b->headers[0], "C: 3"); /* replaces, does not merge */
    assert_null(b->headers[1]);
    assert_false(b->tls_verify); /* one level down, the other key is inherited still */
    assert_null(b->tls_ca_file);
    assert_true(has(rb->countries, "CAN") && !has(rb->countries, "USA"));
    assert_int_equal(rb->n_sizes, 0);
    assert_int_equal(rb->media, 0);
    assert_true(has(rb->domains, "two.example") && !has(rb->domains, "one.example"));
    assert_int_equal(rb->floor_min_micros, 1000000);

    assert_null(e->headers);
    assert_true(e->tls_verify);
    assert_null(e->filter.rules.domains);
    assert_null(e->filter.rules.countries);

    assert_null(rd->domains);
    assert_int_equal(rd->floor_min_micros, 500000);
    assert_true(has(rd->countries, "USA"));
    config_destroy(c);
}

static void is_ext(const struct config_dsp *d, const char *text)
{
    char got[200] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < d->request.n_ext; i++)
        n += (size_t)snprintf(got + n, sizeof(got) - n, "%s=%s;", d->request.ext[i].name,
                              d->request.ext[i].value);
    assert_string_equal(got, text);
}

static void test_load_request_edits(void **state)
{
    struct config *c = load(
        "{'defaults':{'request':{'ext':{'ssp':{'a':[1,0.1,'\u00e9']},'n':null},'seats':['1','2'],"
        "'buyeruid':'map'}},"
        "'dsps':[{'name':'a','url':'http://a/'},"
        "{'name':'b','url':'http://b/','request':{'ext':{'x':'y'},'buyeruid_key':'bee'}},"
        "{'name':'c','url':'http://c/','request':{'ext':{},'seats':[],'buyeruid':'pass',"
        "'buyeruid_key':'bee'}},"
        "{'name':'d','url':'http://d/','request':{'seats':['3'],'buyeruid_key':null}}]}");
    const struct config_dsp *a = &c->dsps[0], *b = &c->dsps[1], *d = &c->dsps[3];
    is_ext(a, "ssp={\"a\":[1,0.1,\"\xc3\xa9\"]};n=null;");
    assert_int_equal(a->request.seats.n, 2);
    assert_true(bytes_is(a->request.seats.items[1], "2"));
    assert_string_equal(a->request.buyeruid_key, "a");
    is_ext(b, "x=\"y\";");
    assert_int_equal(b->request.seats.n, 2);
    assert_string_equal(b->request.buyeruid_key, "bee");
    assert_true(request_edit_is_none(&c->dsps[2].request));
    is_ext(d, "ssp={\"a\":[1,0.1,\"\xc3\xa9\"]};n=null;");
    assert_int_equal(d->request.seats.n, 1);
    assert_string_equal(d->request.buyeruid_key, "d");
    config_destroy(c);
}

/* How much of it there may be. */
static void test_load_request_bounds(void **state)
{
    static const struct {
        const char *open, *close;
        bool named;
        uint32_t max;
        const char *message;
    } cases[] = {
        {"'ext':{", "}", true, REQUEST_EXT_MEMBERS_MAX,
         "config.json: dsps[0].request.ext: must have at most 64 members, not 65"},
        {"'seats':[", "]", false, 64,
         "config.json: dsps[0].request.seats: must have at most 64 entries, not 65"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (uint32_t n = cases[i].max; n <= cases[i].max + 1; n++) {
            char text[2000];
            size_t at = (size_t)snprintf(text, sizeof(text),
                                         "{'dsps':[{'name':'a','url':'http://a/"
                                         "','request':{%s",
                                         cases[i].open);
            for (uint32_t k = 0; k < n; k++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s'%u'%s", k > 0 ? "," : "",
                                       k, cases[i].named ? ":0" : "");
            snprintf(text + at, sizeof(text) - at, "%s}}]}", cases[i].close);
            if (n > cases[i].max)
                refused(text, cases[i].message);
            else
                config_destroy(load(text));
        }
    }
    for (int over = 0; over < 2; over++) { /* the name and the quotes count */
        char *text = malloc(17000);
        snprintf(text, 17000, DSP(",'request':{'ext':{'a':'%0*d'}}"), 16384 - 3 + over, 0);
        if (over)
            refused(text, "config.json: dsps[0].request.ext: must take at most 16384 bytes, not "
                          "16385");
        else
            config_destroy(load(text));
        free(text);
    }
}

/* A long list that hundreds of DSPs inherit is held once. */
static void test_load_shares_sets(void **state)
{
    files_write_json("list.txt", "one.example\n");
    struct config *c = load("{'defaults':{'rules':{'seats':['s'],'domains_file':'list.txt'}},"
                            "'dsps':[{'name':'a','url':'http://a/'},{'name':'b','url':'http://b/'},"
                            "{'name':'c','url':'http://c/"
                            "','rules':{'domains_blocked_file':'list.txt','seats':['s']}}]}");
    const struct dsp_rules *a = &c->dsps[0].filter.rules, *b = &c->dsps[1].filter.rules,
                           *d = &c->dsps[2].filter.rules;
    assert_ptr_equal(a->seats, b->seats);
    assert_ptr_not_equal(a->seats, d->seats);
    assert_ptr_equal(a->domains, b->domains);
    assert_ptr_equal(a->domains, d->domains_blocked);
    config_destroy(c);
}

static void test_load_accepts(void **state)
{
    static const char *const texts[] = {
        "{'dsps':[]}",
        "{'defaults':{}}",
        "{'admin':{'host':'localhost'}}",
        "{'admin':{'host':'127.1.2.3'}}",
        "{'admin':{'host':'::1'}}",
        "{'admin':{'host':'0.0.0.0','token':'x'}}",
        "{'listen':{'port':0},'admin':{'port':0}}",
        "{'listen':{'host':'10.0.0.1','port':9000},'admin':{'port':9000}}",
        "{'listen':{'port':8.08e3}}",
        "{'capture':{'mask':[]}}",
        "{'geo':{'database':null},'capture':{'directory':null},'listen':{'tls':{}}}",
        DSP(",'threshold':null"),
        RULES("'domains':[],'domains_file':null"), /* the second is not given */
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        config_destroy(load(texts[i]));
}

static void test_destroy_null(void **state)
{
    config_destroy(NULL);
}

/* ---- documentation and examples ---- */

/* A file of the project's config/, by this file's place. */
static char *example(const char *name)
{
    static char path[1024];
    const char *end = strstr(__FILE__, "tests/proxy/");
    snprintf(path, sizeof(path), "%.*sconfig/%s", (int)(end - __FILE__), __FILE__, name);
    return path;
}

static void test_document_is_readme(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_document(out);
    fclose(out);
    char *readme = files_read(example("README.md"));
    assert_non_null(readme);
    if (strcmp(readme, text) != 0)
        fail_msg("config/README.md is not what the table says: "
                 "bidsieve check --help-config > config/README.md");
    for (size_t i = 0; i < config_dsp_keys_n; i++)
        assert_non_null(strstr(readme, config_dsp_keys[i].path));
    free(readme);
    free(text);
}

/* A default must be what its own bounds allow, and every key must say what it is for. */
static void test_document_rows(void **state)
{
    const struct config_key *tables[] = {config_root_keys, config_dsp_keys};
    const size_t sizes[] = {config_root_keys_n, config_dsp_keys_n};
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < sizes[t]; i++) {
            const struct config_key *k = &tables[t][i];
            assert_non_null(k->doc);
            assert_null(strchr(k->doc, '|')); /* would break the table */
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(k->path, tables[t][j].path);
            if (k->rival == NULL)
                continue;
            bool mutual = false;
            for (size_t j = 0; j < sizes[t]; j++)
                mutual |= strcmp(tables[t][j].path, k->rival) == 0 &&
                          strcmp(tables[t][j].rival, k->path) == 0;
            assert_true(mutual);
        }
    }
}

static void test_examples_load(void **state)
{
    static const char *const names[] = {"minimal.json", "bidsieve.json"};
    for (size_t i = 0; i < 2; i++) {
        struct error err = {""};
        struct config *c = config_load(example(names[i]), &err);
        if (c == NULL)
            fail_msg("%s", err.text);
        assert_int_equal(c->n_dsps, i == 0 ? 1 : 3);
        config_destroy(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_faults),
        cmocka_unit_test(test_load_url),
        cmocka_unit_test(test_load_unreadable),
        cmocka_unit_test(test_load_hostile),
        cmocka_unit_test(test_load_cut),
        cmocka_unit_test(test_load_bounds),
        cmocka_unit_test(test_load_bounds_are_complete),
        cmocka_unit_test(test_load_defaults_of_process),
        cmocka_unit_test(test_load_whole_process),
        cmocka_unit_test(test_load_defaults_of_dsp),
        cmocka_unit_test(test_load_whole_dsp),
        cmocka_unit_test(test_load_inherits_key_by_key),
        cmocka_unit_test(test_load_request_edits),
        cmocka_unit_test(test_load_request_bounds),
        cmocka_unit_test(test_load_shares_sets),
        cmocka_unit_test(test_load_accepts),
        cmocka_unit_test(test_destroy_null),
        cmocka_unit_test(test_document_is_readme),
        cmocka_unit_test(test_document_rows),
        cmocka_unit_test(test_examples_load),
    };
    return cmocka_run_group_tests(tests, enter, files_leave);
}
