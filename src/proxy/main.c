/* bidsieve: the command line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/blas.h"
#include "model/kernel_override.h"
#include "proxy/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"serve", cmd_serve, "stand in front of the DSPs: predict, filter, fan out, auction"},
    {"check", cmd_check, "validate a config, its model and its geo database"},
    {"train", cmd_train, "learn a model from captured traffic"},
    {"evaluate", cmd_evaluate, "how good a model is on captured traffic, per DSP"},
    {"recalibrate", cmd_recalibrate, "set a model's thresholds by fresh traffic, without training"},
    {"backtest", cmd_backtest, "train and test day after day; how a model ages"},
    {"score", cmd_score, "print p, threshold and verdict for capture records on stdin"},
    {"encode", cmd_encode, "write captured traffic as arrays, for other trainers"},
    {"replay", cmd_replay, "send captured requests again, at a fixed rate"},
    {"inspect", cmd_inspect, "what a model file holds: schema, window, metrics, recall curves"},
};

static void usage(FILE *out)
{
    fprintf(out,
            "bidsieve %s: sends a bid request only to the DSPs that are likely to bid.\n\n"
            "usage: bidsieve COMMAND [options]\n\n",
            BIDSIEVE_VERSION);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'bidsieve COMMAND --help' explains one. A first run: scripts/demo.\n"
                 "BIDSIEVE_KERNEL=NAME in the environment scores with another kernel, see "
                 "docs/kernels.md.\n");
}

/* What was printed must have arrived: a full disk is no success. */
static int close_output(const char *name, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    int code = errno;
    fprintf(stderr, "bidsieve %s: standard output cannot be written: %s\n", name, strerror(code));
    return status != 0 ? status : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("bidsieve " BIDSIEVE_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "train") == 0 || strcmp(argv[1], "backtest") == 0)
        blas_know_processor(argv);
    struct error err;
    if (kernel_override(getenv("BIDSIEVE_KERNEL"), &err) != 0)
        fprintf(stderr, "bidsieve %s: BIDSIEVE_KERNEL: %s\n", argv[1], err.text);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return close_output(argv[1], commands[i].run(argc - 1, argv + 1));
    fprintf(stderr, "bidsieve: unknown command '%s'; 'bidsieve --help' lists them\n", argv[1]);
    return 2;
}
