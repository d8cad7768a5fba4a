/* Command lines. Words are matched against the command's table; whatever is wrong is said in one
 * line with a hint at
 * --help, and the exit status is 2. */
#include "proxy/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* "bidsieve check", or a program of one command: its name alone. */
static const char *full_name(const struct cli_command *c)
{
    static _Thread_local char text[96];
    snprintf(text, sizeof(text), "%s%s%s", c->program != NULL ? c->program : "bidsieve",
             c->name[0] != '\0' ? " " : "", c->name);
    return text;
}

/* A number's default, unless the help says it itself at its end; 0 stands for "not set". */
static void print_default(const struct cli_option *o)
{
    size_t len = strlen(o->help);
    double v = o->kind == CLI_NUMBER    ? *(double *)o->value
               : o->kind == CLI_INTEGER ? (double)*(long *)o->value
                                        : 0;
    if (v != 0 && len > 0 && o->help[len - 1] != ')')
        printf(" (default %g)", v);
}

static void print_help(const struct cli_command *c)
{
    printf("usage: %s %s\n\n%s\n\n", full_name(c), c->usage, c->summary);
    for (size_t i = 0; i < c->n_options; i++) {
        const struct cli_option *o = &c->options[i];
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->argument != NULL ? " " : "",
                 o->argument != NULL ? o->argument : "");
        printf("  %-26s", left);
        if (strlen(left) > 25)
            printf("\n  %-26s", "");
        for (const char *p = o->help; *p != '\0'; p++) {
            putchar(*p);
            if (*p == '\n')
                printf("  %-26s", "");
        }
        print_default(o);
        putchar('\n');
    }
    if (c->epilogue != NULL)
        printf("\n%s\n", c->epilogue);
}

static int wrong(const struct cli_command *c, const char *what, const char *word)
{
    const char *name = full_name(c);
    fprintf(stderr, "%s: %s%s; see '%s --help'\n", name, what, word, name);
    return 2;
}

static int read_number(const struct cli_command *c, const struct cli_option *o, const char *text)
{
    char *end, message[160];
    errno = 0;
    double v = strtod(text, &end);
    bool ok =
        end != text && *end == '\0' && errno == 0 && isfinite(v) && v >= o->min && v <= o->max;
    if (o->kind == CLI_INTEGER)
        ok = ok && v == floor(v);
    if (!ok) {
        snprintf(message, sizeof(message), "--%s takes %s from %g to %g, not ", o->name,
                 o->kind == CLI_INTEGER ? "a whole number" : "a number", o->min, o->max);
        return wrong(c, message, text);
    }
    if (o->kind == CLI_INTEGER)
        *(long *)o->value = (long)v;
    else
        *(double *)o->value = v;
    return CLI_RUN;
}

static void list_add(struct cli_list *list, const char *item)
{
    const char **items = realloc(list->items, (list->n + 1) * sizeof(*items));
    if (items == NULL)
        abort();
    items[list->n++] = item;
    list->items = items;
}

static const struct cli_option *find_option(const struct cli_command *c, const char *word,
                                            const char **inline_value)
{
    size_t len = strcspn(word, "=");
    *inline_value = word[len] == '=' ? word + len + 1 : NULL;
    for (size_t i = 0; i < c->n_options; i++)
        if (strlen(c->options[i].name) == len && memcmp(c->options[i].name, word, len) == 0)
            return &c->options[i];
    return NULL;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] == '-' && word[2] != '\0';
}

/* One option at argv[*i]; *i moves behind what it took. */
static int take_option(const struct cli_command *c, int argc, char **argv, int *i, bool *seen)
{
    const char *value;
    const struct cli_option *o = find_option(c, argv[*i] + 2, &value);
    if (o == NULL)
        return wrong(c, "unknown option ", argv[*i]);
    seen[o - c->options] = true;
    ++*i;
    if (o->kind == CLI_FLAG) {
        if (value != NULL)
            return wrong(c, "takes no value: --", o->name);
        *(bool *)o->value = true;
        return CLI_RUN;
    }
    if (value == NULL) {
        if (*i >= argc || is_option(argv[*i]))
            return wrong(c, "wants a value: --", o->name);
        value = argv[(*i)++];
    }
    switch (o->kind) {
    case CLI_TEXT:
        *(const char **)o->value = value;
        return CLI_RUN;
    case CLI_LIST:
        list_add(o->value, value);
        while (*i < argc && !is_option(argv[*i]))
            list_add(o->value, argv[(*i)++]);
        return CLI_RUN;
    default:
        return read_number(c, o, value);
    }
}

int cli_parse(const struct cli_command *c, int argc, char **argv)
{
    bool seen[64] = {false};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(c);
            return 0;
        }
    }
    for (int i = 1; i < argc;) {
        if (!is_option(argv[i]))
            return wrong(c, "unexpected word ", argv[i]);
        int status = take_option(c, argc, argv, &i, seen);
        if (status != CLI_RUN)
            return status;
    }
    for (size_t i = 0; i < c->n_options; i++)
        if (c->options[i].required && !seen[i])
            return wrong(c, "missing --", c->options[i].name);
    return CLI_RUN;
}

void cli_list_dispose(struct cli_list *list)
{
    free(list->items);
    list->items = NULL;
    list->n = 0;
}

int cli_fail(const char *command, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "bidsieve %s: ", command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

void cli_print_json(const char *text)
{
    json_t *string = json_string(text);
    char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    fputs(quoted != NULL ? quoted : "null", stdout);
    free(quoted);
    json_decref(string);
}
