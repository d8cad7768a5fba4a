/* The table behind config.h: one row a key, with its type, bounds, default, one line of doc and the
 * place in the struct that it fills. Parsing, defaults, error messages and config/README.md all
 * come from it; a key that is not here does not exist. Private to config*.c and its tests. */
#ifndef PROXY_CONFIG_KEYS_H
#define PROXY_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

enum config_type {
    KEY_BOOL,     /* bool */
    KEY_WHOLE,    /* uint16_t, uint32_t or uint64_t */
    KEY_NUMBER,   /* double; null = NAN */
    KEY_MONEY,    /* int64_t micros */
    KEY_WORD,     /* bool or enum: the word's index */
    KEY_WORDS,    /* uint8_t: list of words, bit 1 << (first_bit + index) */
    KEY_TEXT,     /* char * */
    KEY_CURRENCY, /* char[4] */
    KEY_FILE,     /* char *, resolved against the config file's folder */
    KEY_SET,      /* struct string_set *, from a list */
    KEY_SET_FILE, /* struct string_set *, from a file with one entry a line */
    KEY_SIZES,    /* rules.sizes and rules.n_sizes */
    KEY_HEADERS,  /* char **, "Name: value" */
    KEY_LIST,     /* struct bytes_list of texts, in order; up to `max` */
    KEY_MEMBERS,  /* request.ext and request.n_ext */
    KEY_MASK,     /* capture.mask_ip and capture.mask_ids */
};

struct config_key {
    const char *path; /* dots between levels; relative to the root, or to one DSP */
    enum config_type type;
    size_t offset, size; /* of the field in struct config or struct config_dsp */
    double min, max;     /* numbers: both inclusive unless above_min; money in whole units */
    bool above_min;
    bool optional;    /* null is allowed: none; takes back what `defaults` said */
    bool secret;      /* its value is never shown */
    bool domains;     /* KEY_SET: entries are domains, and made alike */
    bool authorities; /* KEY_FILE: PEM certificates */
    unsigned first_bit;
    const char *words;                      /* "on|shadow|off" */
    const char *(*check)(const char *text); /* NULL = good, else what it must be */
    const char *rival;                      /* another key that fills the same field */
    const char *kind;                       /* for the docs, when the type says too little */
    const char *initial;                    /* the default as JSON; NULL = required */
    const char *doc;
};

extern const struct config_key config_root_keys[], config_dsp_keys[];
extern const size_t config_root_keys_n, config_dsp_keys_n;

#endif
