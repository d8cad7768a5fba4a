/* docs/reasons.md names every reason there is, with the codes that are really sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/loss.h"
#include "tests/proxy/files.h"

static char *read_doc(void)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s", __FILE__);
    char *at = strstr(path, "tests/proxy/test_reasons.c");
    assert_non_null(at);
    strcpy(at, "docs/reasons.md");
    char *text = files_read(path);
    if (text == NULL)
        fail_msg("%s cannot be read", path);
    return text;
}

static void expect(const char *doc, const char *words)
{
    if (strstr(doc, words) == NULL)
        fail_msg("docs/reasons.md does not have: %s", words);
}

static void test_every_why_is_documented(void **state)
{
    char *doc = read_doc(), words[100];
    for (int i = 0; i < WHY_COUNT; i++) {
        if (i == WHY_RULE_FIRST + RULE_PASS)
            continue;
        snprintf(words, sizeof(words), "`%s`", why_name((enum why)i));
        expect(doc, words);
    }
    for (int i = OUTCOME_BID; i < OUTCOME_COUNT; i++) {
        snprintf(words, sizeof(words), "\n| `%s` | ",
                 auction_outcome_name((enum auction_outcome)i));
        expect(doc, words);
    }
    free(doc);
}

static void test_every_refusal_has_its_row(void **state)
{
    char *doc = read_doc(), words[100];
    for (int i = BID_VALID + 1; i < BID_REFUSALS; i++) {
        enum bid_refusal r = (enum bid_refusal)i;
        snprintf(words, sizeof(words), "\n| `%s` | %d | %d | ", bid_refusal_name(r),
                 bid_refusal_loss_code(r), loss_nonbid_refused(r, false));
        expect(doc, words);
    }
    free(doc);
}

static void test_every_code_of_a_dsp_is_documented(void **state)
{
    char *doc = read_doc(), words[100];
    for (int i = 0; i < WHY_COUNT; i++) {
        const struct auction_dsp d = {.decision = {.why = (uint8_t)i}};
        snprintf(words, sizeof(words), "%d", loss_nonbid_dsp(&d));
        const char *codes = strstr(doc, "## `ext.seatnonbid`");
        assert_non_null(codes);
        expect(codes, words);
    }
    static const int own[] = {NBR_INVALID_REQUEST, NBR_NO_TIME, NBR_NO_BID, NBR_NONE_CALLED};
    const char *table = strstr(doc, "\n| nbr |");
    assert_non_null(table);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        snprintf(words, sizeof(words), "\n| %d | ", own[i]);
        expect(table, words);
    }
    free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_why_is_documented),
        cmocka_unit_test(test_every_refusal_has_its_row),
        cmocka_unit_test(test_every_code_of_a_dsp_is_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
