/* From a command line to a filled training set: the options that `train` and `backtest` share, the
 * schema and the captures they name. */
#ifndef PROXY_TRAIN_OPTIONS_H
#define PROXY_TRAIN_OPTIONS_H

#include "filter/training.h"
#include "proxy/cli.h"

enum { TRAIN_OPTIONS_MAX = 24 };

struct train_options_line { /* what the words of the command line were */
    struct cli_list capture;
    const char *schema, *geo, *hidden, *arch;
    bool no_refit, linear;
    double recall, confidence, margin, dropout, learning_rate, negative_rate;
    long seed, threads, epochs;
};

/* Fills rows that point into line, which must outlive the parsing; returns how many. */
size_t train_options_rows(struct train_options_line *line, struct cli_option *rows);
/* After parsing. False: said on stderr, wrong usage. */
bool train_options_take(const struct train_options_line *line, const char *command,
                        struct training_options *out);

struct train_input {
    struct schema *schema;
    struct geo *geo;
    struct trainset *set;
    uint64_t records, repeated, pairs, bids;
    int64_t first_ms, last_ms;
};
/* Reads all captures, and says on stderr what was left out. 0, or the exit status, told on stderr:
 * also when there is nothing to learn from. To be disposed of in any case. */
int train_input_read(struct train_input *in, const struct train_options_line *line,
                     const char *command);
void train_input_dispose(struct train_input *in);

#endif
