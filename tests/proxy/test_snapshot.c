/* Snapshots: all or nothing. Each thing that a config names is broken in turn; the leak checker
 * sees that nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>

#include "files.h"
#include "proxy/snapshot.h"
#include "tests/filter/small_world.h"

#define DSPS "'dsps':[{'name':'a','url':'http://a/','rules':{'seats':['s']}}]"

static struct snapshot *build(const char *config)
{
    struct error err = {""};
    files_write_json("config.json", config);
    struct snapshot *s = snapshot_build("config.json", 7, &err);
    if (s == NULL)
        fail_msg("%s\n  %s", config, err.text);
    return s;
}

static void write_files(void)
{
    files_write_json("rates.json", "{'base':'USD','rates':{'EUR':0.5}}");
    files_write_json("junk", "this is neither a database nor a model {[");
    files_write_json("empty", "");
    /* A safetensors file whose header says that it is longer than the file. */
    files_write_bytes("cut.safetensors", "\xff\xff\0\0\0\0\0\0{}", 10);
    files_write_bytes("none.safetensors", "\x02\0\0\0\0\0\0\0{}", 10);
}

/* `where` must begin the message, after the config's name: the loaders' own words are their tests'.
 */
static void test_build_faults(void **state)
{
    static const struct {
        const char *config, *where;
    } cases[] = {
        {"{", "config.json:1:1: "},
        {"{" DSPS ",'clock':1}", "config.json: clock: "},
        {"{" DSPS ",'geo':{'database':'none'}}", "config.json: geo.database: "},
        {"{" DSPS ",'geo':{'database':'junk'}}", "config.json: geo.database: "},
        {"{" DSPS ",'geo':{'database':'empty'}}", "config.json: geo.database: "},
        {"{" DSPS ",'geo':{'database':'.'}}", "config.json: geo.database: "},
        {"{" DSPS ",'model':{'file':'none'}}", "config.json: model.file: "},
        {"{" DSPS ",'model':{'file':'junk'}}", "config.json: model.file: "},
        {"{" DSPS ",'model':{'file':'empty'}}", "config.json: model.file: "},
        {"{" DSPS ",'model':{'file':'cut.safetensors'}}", "config.json: model.file: "},
        {"{" DSPS ",'model':{'file':'none.safetensors'}}", "config.json: model.file: "},
        {"{" DSPS ",'model':{'file':'.'}}", "config.json: model.file: "},
        {"{" DSPS ",'auction':{'currency_rates':'none'}}", "config.json: auction.currency_rates: "},
        {"{" DSPS ",'auction':{'currency_rates':'junk'}}", "config.json: auction.currency_rates: "},
        {"{" DSPS ",'auction':{'currency_rates':'config.json'}}",
         "config.json: auction.currency_rates: "},
        {"{'dsps':[{'name':'a','url':'http://a/','rules':{'seats':['s'],'domains_file':'none'}}]}",
         "config.json: dsps[0].rules.domains_file: "},
        {"{'defaults':{'rules':{'domains_blocked_file':'.'}}}",
         "config.json: defaults.rules.domains_blocked_file: "},
        {"{'dsps':[{'name':'a','url':'http://a/','default_currency':'EUR'}]}",
         "config.json: dsps[0].default_currency: no rate from EUR to auction.currency, USD; "
         "auction.currency_rates names no file"},
        {"{'auction':{'currency_rates':'rates.json'},'dsps':[{'name':'a','url':'http://a/'},"
         "{'name':'b','url':'http://b/','default_currency':'JPY'}]}",
         "config.json: dsps[1].default_currency: no rate from JPY to auction.currency, USD"},
        /* the last of many to fail must undo the rest */
        {"{" DSPS ",'auction':{'currency_rates':'rates.json','currency':'GBP'},"
         "'capture':{'directory':'capture'}}",
         "config.json: dsps[0].default_currency: no rate from USD to auction.currency, GBP"},
    };
    write_files();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {""};
        files_write_json("config.json", cases[i].config);
        struct snapshot *s = snapshot_build("config.json", 1, &err);
        if (s != NULL)
            fail_msg("accepted: %s", cases[i].config);
        if (strncmp(err.text, cases[i].where, strlen(cases[i].where)) != 0 ||
            strlen(err.text) < strlen(cases[i].where) || strchr(err.text, '\n') != NULL)
            fail_msg("%s\n  says        %s\n  should name %s", cases[i].config, err.text,
                     cases[i].where);
        assert_null(snapshot_build("config.json", 1, NULL));
    }
}

static void test_build(void **state)
{
    write_files();
    struct snapshot *s = build(
        "{'auction':{'currency_rates':'rates.json'},'dsps':["
        "{'name':'a','url':'http://a/','timeout_ms':30,'threshold':0.5,'rules':{'seats':['s']}},"
        "{'name':'b','url':'http://b/','secondary':true,'default_currency':'EUR'},"
        "{'name':'c','url':'http://c/','enabled':false,'default_currency':'JPY'}]}");
    assert_int_equal(s->generation, 7);
    assert_null(s->geo);
    assert_null(s->model);
    assert_int_equal(s->model_stale_at_ms, INT64_MAX);
    assert_non_null(s->rates);
    assert_ptr_equal(s->config->auction.rates, s->rates);
    int64_t micros;
    assert_true(currency_convert(s->config->auction.rates, 1000000, bytes_of("EUR"),
                                 bytes_of("USD"), &micros));
    assert_int_equal(micros, 2000000);
    assert_non_null(s->filter);
    assert_string_equal(s->auction_dsps[0].name, "a");
    assert_int_equal(s->auction_dsps[0].timeout_ms, 30);
    assert_false(s->auction_dsps[0].secondary);
    assert_true(s->auction_dsps[1].secondary);
    assert_string_equal(s->auction_dsps[1].default_currency, "EUR");
    assert_true(isnan(filter_threshold(s->filter, 0))); /* no model: it fails open */
    snapshot_release(s);
}

static void test_build_without_dsps(void **state)
{
    struct snapshot *s = build("{}");
    assert_int_equal(s->config->n_dsps, 0);
    assert_non_null(s->filter);
    snapshot_release(s);
}

/* What the filter borrows must still be there when it decides. */
static void test_build_filter_decides(void **state)
{
    struct snapshot *s = build("{'defaults':{'rules':{'channels':['app']}},"
                               "'dsps':[{'name':'a','url':'http://a/'},"
                               "{'name':'b','url':'http://b/','rules':{'channels':[]}}]}");
    static const char body[] =
        "{\"id\":\"1\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":300,\"h\":250}}],\"site\":{}}";
    struct arena arena = {0};
    struct bid_request r;
    struct bid_request_error e;
    struct geo_place place;
    struct decision decisions[2];
    assert_true(bid_request_scan(&r, bytes_of(body), 0, &arena, &e));
    struct filter_scratch *scratch = filter_scratch_create(s->filter);
    filter_decide(s->filter, scratch, &r, 0, false, &arena, &place, decisions);
    assert_false(decisions[0].send);
    assert_int_equal(decisions[0].why, WHY_RULE_FIRST + RULE_CHANNEL);
    assert_true(decisions[1].send);
    assert_int_equal(decisions[1].why, WHY_FAIL_OPEN_NO_MODEL);
    filter_scratch_destroy(scratch);
    arena_dispose(&arena);
    snapshot_release(s);
}

static void test_build_geo(void **state)
{
    const char *corpus = getenv("BIDSIEVE_CORPUS");
    if (corpus == NULL) {
        print_message("skipped: BIDSIEVE_CORPUS is not set\n");
        skip();
    }
    char config[1024];
    snprintf(config, sizeof(config),
             "{'geo':{'database':'%s/mmdb/GeoLite2-City-Test.mmdb'}," DSPS "}", corpus);
    struct snapshot *s = build(config);
    assert_non_null(s->geo);
    snapshot_release(s);
    snprintf(config, sizeof(config), /* good geo, bad model: the geo is closed again */
             "{'geo':{'database':'%s/mmdb/GeoLite2-City-Test.mmdb'},'model':{'file':'none'}}",
             corpus);
    struct error err;
    files_write_json("config.json", config);
    assert_null(snapshot_build("config.json", 1, &err));
}

static void test_build_model(void **state)
{
    char *path = small_world_model();
    size_t model_size;
    char *model = files_read_bytes(path, &model_size);
    files_write_bytes("good.safetensors", model, model_size);
    files_write_bytes("cut.safetensors", model, model_size - 1);
    free(model);
    unlink(path);
    free(path);

    struct snapshot *s = build("{'model':{'file':'good.safetensors','max_age_hours':2},"
                               "'dsps':[{'name':'alpha','url':'http://a/','recall_target':0.5},"
                               "{'name':'beta','url':'http://b/','threshold':0.25},"
                               "{'name':'stranger','url':'http://c/'}]}");
    assert_non_null(s->model);
    assert_int_equal(s->model_stale_at_ms, predictor_info(s->model)->trained_at_ms + 7200000);
    assert_true(filter_threshold(s->filter, 0) > 0); /* of the curve */
    assert_true(filter_threshold(s->filter, 1) == 0.25f);
    assert_true(isnan(filter_threshold(s->filter, 2)));
    snapshot_release(s);

    struct error err = {""}; /* the model is whole, what comes after it is not: it goes again */
    files_write_json("config.json", "{'model':{'file':'good.safetensors'},"
                                    "'auction':{'currency_rates':'none'}}");
    assert_null(snapshot_build("config.json", 1, &err));
    files_write_json("config.json", "{'model':{'file':'cut.safetensors'}}");
    assert_null(snapshot_build("config.json", 1, &err));
    assert_memory_equal(err.text, "config.json: model.file: cut.safetensors: ", 42);
}

/* Reading authorities is slow: once for all DSPs that name the same, and only for those that verify
 * somebody. */
static void test_build_trusts(void **state)
{
    struct snapshot *s = build("{'dsps':[{'name':'a','url':'HTTPS://a/'},"
                               "{'name':'b','url':'http://b/'},{'name':'c','url':'https://c/'},"
                               "{'name':'d','url':'https://d/','tls':{'verify':false}},"
                               "{'name':'e','url':'https://e/','enabled':false}]}");
    const struct config_dsp *dsps = s->config->dsps;
    assert_non_null(dsps[0].tls_trust);
    assert_null(dsps[1].tls_trust);
    assert_ptr_equal(dsps[2].tls_trust, dsps[0].tls_trust);
    assert_null(dsps[3].tls_trust);
    assert_null(dsps[4].tls_trust);
    snapshot_release(s);
}

static void test_stale_at(void **state)
{
    assert_int_equal(snapshot_stale_at_ms(1000, 72), 1000 + 72 * 3600 * 1000);
    assert_int_equal(snapshot_stale_at_ms(0, 0.5), 1800000);
    assert_int_equal(snapshot_stale_at_ms(1763760000000, 87600), 1763760000000 + 315360000000);
    assert_int_equal(snapshot_stale_at_ms(1000, 0), INT64_MAX);
    assert_int_equal(snapshot_stale_at_ms(-1, 72), INT64_MAX);
    assert_int_equal(snapshot_stale_at_ms(INT64_MAX - 5, 72), INT64_MAX);
}

/* ---- references ---- */

static void *acquire_and_release(void *arg)
{
    for (int i = 0; i < 20000; i++)
        snapshot_release(snapshot_acquire(arg));
    snapshot_release(arg);
    return NULL;
}

static void test_references(void **state)
{
    snapshot_release(NULL);
    struct snapshot *s = build("{" DSPS "}");
    assert_ptr_equal(snapshot_acquire(s), s);
    snapshot_release(s);
    assert_int_equal(s->config->n_dsps, 1); /* still held once */
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, acquire_and_release, snapshot_acquire(s));
    snapshot_release(s); /* one of the threads is the last */
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_faults),       cmocka_unit_test(test_build),
        cmocka_unit_test(test_build_without_dsps), cmocka_unit_test(test_build_filter_decides),
        cmocka_unit_test(test_build_geo),          cmocka_unit_test(test_build_model),
        cmocka_unit_test(test_build_trusts),       cmocka_unit_test(test_stale_at),
        cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests(tests, files_enter, files_leave);
}
