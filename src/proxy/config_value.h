/* Reading one JSON value into the field that its row of the table names. Private to config*.c. */
#ifndef PROXY_CONFIG_VALUE_H
#define PROXY_CONFIG_VALUE_H

#include <jansson.h>

#include "proxy/config.h"
#include "proxy/config_keys.h"

/* A string set made already, so that an inherited list or a file that many name is held once. */
struct config_set {
    const json_t *list; /* either this */
    char *file;         /* or this */
    struct string_set *set;
};

struct config_reader {
    const char *file;      /* as the caller named it, for messages */
    char *folder;          /* what relative file names start from, "" or ending in '/' */
    struct config *config; /* owns the sets */
    struct config_set *sets;
    size_t sets_n, sets_size;
    char *authorities; /* the file that was checked last */
    struct error *err;
};

/* Frees what only the reading needed. */
void config_reader_dispose(struct config_reader *r);

/* -1 with "file: path: reason". */
__attribute__((format(printf, 3, 4))) int config_fail(struct config_reader *r, const char *path,
                                                      const char *format, ...);

/* A value, for messages: short, never a whole object or list. */
struct config_shown {
    char text[80];
};
struct config_shown config_show(const json_t *value);

/* Fills the field of `base` (struct config or struct config_dsp); `path` is the value's whole path.
 * The field must be zero before, and whatever it holds after a failure belongs to `base` all the
 * same. */
int config_value_read(struct config_reader *r, const struct config_key *k, const char *path,
                      const json_t *value, void *base);

#endif
