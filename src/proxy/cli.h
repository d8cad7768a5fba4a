/* Command lines: a table of options per command drives parsing, `--help` and the error messages. */
#ifndef PROXY_CLI_H
#define PROXY_CLI_H

#include <stdbool.h>
#include <stddef.h>

enum cli_kind {
    CLI_FLAG,    /* bool * */
    CLI_TEXT,    /* const char ** */
    CLI_LIST,    /* struct cli_list *: one or more words, and the option may come again */
    CLI_NUMBER,  /* double *, within min..max */
    CLI_INTEGER, /* long *, within min..max */
};

struct cli_list {
    const char **items;
    size_t n;
};

struct cli_option {
    const char *name; /* without the dashes */
    enum cli_kind kind;
    void *value;          /* holds the default before */
    const char *argument; /* "FILE", for the help; NULL for a flag */
    const char *help;     /* lines are broken at '\n' */
    double min, max;
    bool required;
};

struct cli_command {
    const char *program;  /* NULL = "bidsieve" */
    const char *name;     /* "" = the program has one command */
    const char *summary;  /* one line */
    const char *usage;    /* what follows the command's name in the usage line */
    const char *epilogue; /* examples; may be NULL */
    const struct cli_option *options;
    size_t n_options;
};

enum { CLI_RUN = -1 }; /* else: the process's exit status (0 after --help, 2 wrong usage) */

/* argv[0] is the command's name. */
int cli_parse(const struct cli_command *command, int argc, char **argv);
void cli_list_dispose(struct cli_list *list);

/* Prints "bidsieve COMMAND: text" on stderr; returns 1, the exit status. */
__attribute__((format(printf, 2, 3))) int cli_fail(const char *command, const char *format, ...);

/* The text as a JSON string on stdout; null when it is not UTF-8, which JSON cannot hold. */
void cli_print_json(const char *text);

#endif
