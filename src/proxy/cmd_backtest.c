/* bidsieve backtest: how models would have done, day after day, and how one ages. */
#include <stdio.h>

#include "proxy/backtest.h"
#include "proxy/commands.h"
#include "proxy/recall_options.h"
#include "proxy/train_options.h"

static int run(const struct train_options_line *line, struct train_input *in,
               const struct backtest_options *o, bool json)
{
    struct error err = {""};
    struct backtest *b = backtest_train(in->set, in->first_ms, in->last_ms, o, &err);
    int status = b != NULL ? backtest_run(b, &line->capture, in->geo, &err) : -1;
    if (status == 0 && json) {
        json_t *document = backtest_json(b);
        json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
        putchar('\n');
        json_decref(document);
    } else if (status == 0) {
        backtest_print(b);
    }
    backtest_destroy(b);
    return status == 0 ? 0 : cli_fail("backtest", "%s", err.text);
}

int cmd_backtest(int argc, char **argv)
{
    long train_days = 7;
    const char *of = "bids";
    bool json = false;
    struct train_options_line line;
    struct cli_option options[TRAIN_OPTIONS_MAX + 3];
    size_t n = train_options_rows(&line, options);
    options[n++] = (struct cli_option){
        "train-days", CLI_INTEGER, &train_days, "N", "days that a model is trained on", 1,
        366,          false};
    options[n++] =
        (struct cli_option){"recall-of", CLI_TEXT, &of, "WHAT", RECALL_OF_HELP, 0, 0, false};
    options[n++] =
        (struct cli_option){"json", CLI_FLAG, &json, NULL, "one JSON document", 0, 0, false};
    const struct cli_command command = {
        .name = "backtest",
        .summary =
            "Rolling days: trains on N days, calibrates on the next, tests on the one after, "
            "steps a day.",
        .usage = "--capture PATH... [--train-days N] [options]",
        .epilogue =
            "Days are UTC, by ts. The second table shows the first model on all later days: how "
            "one ages that is not\nretrained; the third one the same model, recalibrated by each "
            "day for the next. No model is kept. The captures are\nread twice, so they cannot "
            "come from stdin.",
        .options = options,
        .n_options = n,
    };
    int status = cli_parse(&command, argc, argv);
    struct backtest_options o = {0};
    if (status == CLI_RUN && (!train_options_take(&line, "backtest", &o.training) ||
                              !recall_of_parse("backtest", of, &o.of)))
        status = 2;
    if (status == CLI_RUN) {
        struct train_input in;
        o.train_days = (uint32_t)train_days;
        status = train_input_read(&in, &line, "backtest");
        if (status == 0)
            status = run(&line, &in, &o, json);
        train_input_dispose(&in);
    }
    cli_list_dispose(&line.capture);
    return status;
}
