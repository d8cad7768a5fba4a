#include "world_fixture.h"

#include <math.h>

#include <jansson.h>

#include "loadtest/judge.h"

enum { REQUESTS = 300 };

/* The line of a scorer for request r: what `p_of` says of each DSP, sent from 0.5 upwards. */
static struct bytes line_of(const struct world *w, const struct scanned *s, bool reversed,
                            char out[2048])
{
    int len = snprintf(out, 2048, "{\"auction\":\"%.*s\",\"dsps\":[", (int)s->request.id.len,
                       s->request.id.base);
    for (uint32_t d = 0; d < w->n_buyers; d++) {
        double p = buyer_probability(&w->buyers[d], &s->view);
        len += snprintf(out + len, 2048 - (size_t)len, "%s{\"dsp\":\"%s\",\"p\":%.9g,\"send\":%s}",
                        d > 0 ? "," : "", w->buyers[d].name, reversed ? -p : p,
                        p > 0 ? "true" : "false");
    }
    len += snprintf(out + len, 2048 - (size_t)len, "]}");
    return (struct bytes){out, (size_t)len};
}

static json_t *judged(const struct world *w, bool reversed)
{
    struct judge j;
    struct scanned s = {.ts_ms = 0};
    struct error err = {""};
    char line[2048];
    judge_init(&j, w);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        scan_request(&s, w->traffic, 1, i * 13);
        if (judge_add(&j, &s.request, s.ts_ms, line_of(w, &s, reversed, line), &err) != 0)
            fail_msg("%s", err.text);
    }
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    judge_print_json(&j, 0.97, out);
    judge_print(&j, 0.97, out);
    fclose(out);
    json_t *root = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(root);
    free(text);
    judge_dispose(&j);
    scanned_dispose(&s);
    return root;
}

static double figure(const json_t *row, const char *name)
{
    const json_t *value = json_object_get(row, name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Scores that are the truth reach the optimum, for each DSP and in total; and "send", which here
 * leaves out only what cannot bid, keeps every expected bid. */
static void test_truth_is_optimal(void **state)
{
    struct world *w = load_world("small");
    json_t *root = judged(w, false);
    size_t i;
    json_t *row;
    assert_int_equal(json_array_size(json_object_get(root, "dsps")), 3);
    json_array_foreach(json_object_get(root, "dsps"), i, row)
    {
        assert_true(fabs(figure(row, "ratio") - 1) < 0.005);
        assert_true(figure(json_object_get(row, "as_sent"), "recall") == 1);
        assert_true(figure(json_object_get(row, "as_sent"), "withheld") > 0.3);
        assert_int_equal(figure(row, "calls"), REQUESTS);
    }
    const json_t *pooled = json_object_get(root, "pooled");
    assert_true(fabs(figure(json_object_get(root, "total"), "ratio") - 1) < 0.005);
    assert_true(fabs(figure(pooled, "ratio") - 1) < 0.005);
    assert_true(figure(pooled, "withheld") >=
                figure(json_object_get(root, "total"), "withheld") - 0.005);
    json_decref(root);
    world_destroy(w);
}

static void test_reversed_withholds_little(void **state)
{
    struct world *w = load_world("small");
    json_t *root = judged(w, true);
    assert_true(figure(json_object_get(root, "total"), "withheld") < 0.03);
    json_decref(root);
    world_destroy(w);
}

static void test_bad_lines(void **state)
{
    static const char *const LINES[] = {
        "",
        "[1",
        "[]",
        "{}",
        "{\"dsps\":{}}",
        "{\"dsps\":[1]}",
        "{\"dsps\":[{\"dsp\":\"broad\",\"p\":\"1\"}]}",
        "{\"auction\":\"another\",\"dsps\":[]}",
        "{\"dsps\":[{\"dsp\":\"broad\",\"p\":1},{\"dsp\":\"broad\",\"p\":1}]}",
    };
    struct world *w = load_world("small");
    struct scanned s = {.ts_ms = 0};
    struct judge j;
    judge_init(&j, w);
    scan_request(&s, w->traffic, 1, 0);
    for (size_t i = 0; i < sizeof(LINES) / sizeof(LINES[0]); i++) {
        struct error err = {""};
        if (judge_add(&j, &s.request, s.ts_ms, bytes_of(LINES[i]), &err) == 0)
            fail_msg("taken: %s", LINES[i]);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(j.requests, 0);
    struct error err = {""};
    assert_int_equal(judge_add(&j, &s.request, s.ts_ms, bytes_of("{\"dsps\":[]}"), &err), 0);
    assert_int_equal(j.dsps[0].unscored, 1);
    assert_true(isinf(j.dsps[0].score[0]));
    judge_dispose(&j);
    scanned_dispose(&s);
    world_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth_is_optimal),
        cmocka_unit_test(test_reversed_withholds_little),
        cmocka_unit_test(test_bad_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
