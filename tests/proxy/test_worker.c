/* A worker by itself: what is left in its loop when it ends must do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "files.h"
#include "proxy/worker.h"

struct bench {
    struct snapshot *snapshot;
    struct metrics *metrics;
    struct worker *worker;
};

static struct snapshot *build(uint64_t generation, const char *config)
{
    struct error err = {""};
    files_write_json("config.json", config);
    struct snapshot *s = snapshot_build("config.json", generation, &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    return s;
}

static void bench_open(struct bench *b)
{
    struct error err = {""};
    b->snapshot = build(1, "{'listen':{'host':'127.0.0.1'},'dsps':[{'name':'a','url':'http://"
                           "127.0.0.1:9/'},{'name':'b','url':'http://127.0.0.1:9/'}]}");
    b->metrics = metrics_create(1, &err);
    b->worker = worker_create(0, 1, 0, b->snapshot, b->metrics, NULL, NULL, NULL, &err);
    if (b->worker == NULL)
        fail_msg("%s", err.text);
}

static void bench_close(struct bench *b)
{
    worker_destroy(b->worker);
    metrics_destroy(b->metrics);
    snapshot_release(b->snapshot);
}

static void count(void *ctx)
{
    ++*(int *)ctx;
}

/* Killed before its loop came to read that it should stop: as when two SIGTERM follow at once. */
static void test_stop_left_in_the_loop(void **state)
{
    struct bench b;
    bench_open(&b);
    worker_stop(b.worker);
    worker_kill(b.worker);
    worker_run(b.worker);
    bench_close(&b);
}

static void test_adoption_left_in_the_loop(void **state)
{
    struct bench b;
    int adopted = 0;
    bench_open(&b);
    struct snapshot *next = build(2, "{'listen':{'host':'127.0.0.1'},'dsps':[]}");
    worker_adopt(b.worker, next, NULL, count, &adopted);
    worker_kill(b.worker);
    worker_run(b.worker);
    assert_int_equal(adopted, 0);
    bench_close(&b);
    assert_int_equal(adopted, 1); /* and the leak checker sees that the snapshot is gone */
}

/* What a reload may change without a new link, so that connections stay warm, and what not. */
static void test_link_fits(void **state)
{
    static const struct {
        const char *settings;
        bool fits;
    } cases[] = {
        {"'url':'http://127.0.0.1:9/'", true},
        {"'url':'http://127.0.0.1:9/','timeout_ms':7,'qps_max':9,'filter':'off'", true},
        {"'url':'http://127.0.0.1:9/x'", false},
        {"'url':'http://127.0.0.1:9/','connections_max':3", false},
        {"'url':'http://127.0.0.1:9/','headers':{'x-key':'1'}", false},
        {"'url':'http://127.0.0.1:9/','openrtb_version':'2.5'", false},
    };
    struct error err = {""};
    struct loop *loop = loop_create(&err);
    struct snapshot *first = build(1, "{'dsps':[{'name':'a','url':'http://127.0.0.1:9/'}]}");
    struct dsp_link *link =
        dsp_link_create(loop, first->config, &first->config->dsps[0], 0, 1, &err);
    assert_non_null(link);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char config[256];
        snprintf(config, sizeof(config),
                 "{'dsps':[{'name':'b','url':'http://b/'},{'name':'a',%s}]}", cases[i].settings);
        struct snapshot *next = build(2, config);
        if (dsp_link_fits(link, next->config, &next->config->dsps[1]) != cases[i].fits)
            fail_msg("%s", config);
        assert_false(dsp_link_fits(link, next->config, &next->config->dsps[0]));
        snapshot_release(next);
    }
    dsp_link_release(link);
    snapshot_release(first);
    loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_left_in_the_loop),
        cmocka_unit_test(test_adoption_left_in_the_loop),
        cmocka_unit_test(test_link_fits),
    };
    return cmocka_run_group_tests(tests, files_enter, files_leave);
}
