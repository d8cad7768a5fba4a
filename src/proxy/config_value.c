/* One function a type. Each says "must be ..., not ..." when the value is not what the row wants;
 * the walk over the file, inheritance and checks between keys are config.c's. */
#include "proxy/config_value.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/pem.h"

enum {
    LIST_MAX = 100000,
    HEADERS_MAX = 32,
    HEADER_VALUE_MAX = 4096,
    SIDE_MAX = 10000,
    EXT_BYTES_MAX = 16384
};

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);
    if (p == NULL)
        abort();
    return p;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        abort();
    return copy;
}

void config_reader_dispose(struct config_reader *r)
{
    for (size_t i = 0; i < r->sets_n; i++)
        free(r->sets[i].file);
    free(r->sets);
    free(r->authorities);
    free(r->folder);
}

int config_fail(struct config_reader *r, const char *path, const char *format, ...)
{
    char reason[700];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    return error_set(r->err, "%s: %s%s%s", r->file, path, path[0] != '\0' ? ": " : "", reason);
}

struct config_shown config_show(const json_t *value)
{
    struct config_shown shown;
    if (json_is_object(value) || json_is_array(value)) {
        snprintf(shown.text, sizeof(shown.text), "%s",
                 json_is_object(value) ? "an object" : "a list");
        return shown;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    if (text == NULL)
        abort();
    bool fits = strlen(text) <= 60;
    snprintf(shown.text, sizeof(shown.text), "%.60s%s", text, fits ? "" : "...");
    free(text);
    return shown;
}

/* The sentence every type ends in. A secret is not shown. */
static int refuse(struct config_reader *r, const struct config_key *k, const char *path,
                  const json_t *value, const char *wanted)
{
    if (k->secret)
        return config_fail(r, path, "must be %s", wanted);
    return config_fail(r, path, "must be %s, not %s", wanted, config_show(value).text);
}

static int refuse_range(struct config_reader *r, const struct config_key *k, const char *path,
                        const json_t *value)
{
    char wanted[120];
    if (k->above_min)
        snprintf(wanted, sizeof(wanted), "above %.15g and at most %.15g", k->min, k->max);
    else
        snprintf(wanted, sizeof(wanted), "%.15g to %.15g", k->min, k->max);
    return refuse(r, k, path, value, wanted);
}

static bool in_range(const struct config_key *k, double number)
{
    return number <= k->max && (k->above_min ? number > k->min : number >= k->min);
}

/* ---- scalars ---- */

static int read_bool(struct config_reader *r, const struct config_key *k, const char *path,
                     const json_t *value, void *field)
{
    if (!json_is_boolean(value))
        return refuse(r, k, path, value, "true or false");
    *(bool *)field = json_is_true(value);
    return 0;
}

static int read_whole(struct config_reader *r, const struct config_key *k, const char *path,
                      const json_t *value, void *field)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || number != floor(number))
        return refuse(r, k, path, value, "a whole number");
    if (!in_range(k, number))
        return refuse_range(r, k, path, value);
    if (k->size == 2) {
        *(uint16_t *)field = (uint16_t)number;
    } else if (k->size == 4) {
        *(uint32_t *)field = (uint32_t)number;
    } else {
        *(uint64_t *)field = (uint64_t)number;
    }
    return 0;
}

static int read_number(struct config_reader *r, const struct config_key *k, const char *path,
                       const json_t *value, void *field)
{
    if (json_is_null(value) && k->optional) {
        *(double *)field = NAN;
        return 0;
    }
    if (!json_is_number(value))
        return refuse(r, k, path, value, k->optional ? "a number or null" : "a number");
    double number = json_number_value(value);
    if (!in_range(k, number))
        return refuse_range(r, k, path, value);
    *(double *)field = number;
    return 0;
}

static int read_money(struct config_reader *r, const struct config_key *k, const char *path,
                      const json_t *value, void *field)
{
    if (!json_is_number(value))
        return refuse(r, k, path, value, "a number");
    double units = json_number_value(value);
    if (!in_range(k, units))
        return refuse_range(r, k, path, value);
    *(int64_t *)field = llround(units * 1e6);
    return 0;
}

static int read_text(struct config_reader *r, const struct config_key *k, const char *path,
                     const json_t *value, void *field)
{
    if (!json_is_string(value))
        return refuse(r, k, path, value, k->optional ? "a text or null" : "a text");
    const char *wanted = k->check != NULL ? k->check(json_string_value(value)) : NULL;
    if (wanted != NULL)
        return refuse(r, k, path, value, wanted);
    *(char **)field = copy_text(json_string_value(value));
    return 0;
}

static int read_currency(struct config_reader *r, const struct config_key *k, const char *path,
                         const json_t *value, void *field)
{
    char *text = NULL;
    if (read_text(r, k, path, value, &text) != 0)
        return -1;
    memcpy(field, text, 4); /* the check let three letters through */
    free(text);
    return 0;
}

/* ---- files ---- */

/* The name's own, or relative to the config file; caller frees. "-" means a standard stream. */
static char *resolve(const struct config_reader *r, const char *name)
{
    if (name[0] == '/' || strcmp(name, "-") == 0)
        return copy_text(name);
    size_t size = strlen(r->folder) + strlen(name) + 1;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s%s", r->folder, name);
    return path;
}

/* Often every DSP inherits the same bundle, and it is long: looked at once. */
static int check_authorities(struct config_reader *r, const char *path, const char *file)
{
    struct error why = {""};
    if (r->authorities != NULL && strcmp(r->authorities, file) == 0)
        return 0;
    if (pem_check_authorities(file, &why) != 0)
        return config_fail(r, path, "%s", why.text);
    free(r->authorities);
    r->authorities = copy_text(file);
    return 0;
}

static int read_file_name(struct config_reader *r, const struct config_key *k, const char *path,
                          const json_t *value, char **out)
{
    if (!json_is_string(value) || json_string_length(value) == 0)
        return refuse(r, k, path, value, "a file name or null");
    *out = resolve(r, json_string_value(value));
    return k->authorities ? check_authorities(r, path, *out) : 0;
}

/* ---- lists of words ---- */

/* The index of text among "a|b|c", or -1. */
static int find_word(const char *words, const char *text)
{
    size_t n = strlen(text);
    for (int i = 0; *words != '\0'; i++) {
        size_t length = strcspn(words, "|");
        if (length == n && memcmp(words, text, n) == 0)
            return i;
        words += length + (words[length] == '|');
    }
    return -1;
}

/* "a|b|c" -> "a", "b" or "c" */
static int refuse_word(struct config_reader *r, const struct config_key *k, const char *path,
                       const json_t *value)
{
    char wanted[200] = "";
    size_t n = 0;
    for (const char *word = k->words; *word != '\0' && n < sizeof(wanted);) {
        size_t length = strcspn(word, "|");
        const char *rest = word + length + (word[length] == '|');
        const char *join = *rest == '\0' ? "" : strchr(rest, '|') != NULL ? ", " : " or ";
        n +=
            (size_t)snprintf(wanted + n, sizeof(wanted) - n, "\"%.*s\"%s", (int)length, word, join);
        word = rest;
    }
    return refuse(r, k, path, value, wanted);
}

static int read_word(struct config_reader *r, const struct config_key *k, const char *path,
                     const json_t *value, void *field)
{
    int index = json_is_string(value) ? find_word(k->words, json_string_value(value)) : -1;
    if (index < 0)
        return refuse_word(r, k, path, value);
    if (k->size == sizeof(bool)) {
        *(bool *)field = index != 0;
    } else {
        memcpy(field, &index, sizeof(index)); /* an enum counted from 0 */
    }
    return 0;
}

/* Bit 1 << index for each word of the list. */
static int read_word_bits(struct config_reader *r, const struct config_key *k, const char *path,
                          const json_t *value, uint8_t *bits)
{
    if (!json_is_array(value))
        return refuse(r, k, path, value, "a list");
    size_t i;
    json_t *element;
    json_array_foreach(value, i, element)
    {
        char at[256];
        snprintf(at, sizeof(at), "%s[%zu]", path, i);
        int index = json_is_string(element) ? find_word(k->words, json_string_value(element)) : -1;
        if (index < 0)
            return refuse_word(r, k, at, element);
        *bits |= (uint8_t)(1u << (unsigned)index);
    }
    return 0;
}

static int read_words(struct config_reader *r, const struct config_key *k, const char *path,
                      const json_t *value, void *field)
{
    uint8_t bits = 0;
    if (read_word_bits(r, k, path, value, &bits) != 0)
        return -1;
    *(uint8_t *)field = (uint8_t)(bits << k->first_bit);
    return 0;
}

static int read_mask(struct config_reader *r, const struct config_key *k, const char *path,
                     const json_t *value, struct config *c)
{
    uint8_t bits = 0;
    if (read_word_bits(r, k, path, value, &bits) != 0)
        return -1;
    c->capture.mask_ip = (bits & 1) != 0;
    c->capture.mask_ids = (bits & 2) != 0;
    return 0;
}

/* ---- sets ---- */

static struct string_set *find_set(const struct config_reader *r, const json_t *list,
                                   const char *file)
{
    for (size_t i = 0; i < r->sets_n; i++) {
        const struct config_set *s = &r->sets[i];
        bool same_file = file != NULL && s->file != NULL && strcmp(s->file, file) == 0;
        if (same_file || (list != NULL && s->list == list))
            return s->set;
    }
    return NULL;
}

/* The config takes the set, the reader the file name. */
static void keep_set(struct config_reader *r, const json_t *list, char *file,
                     struct string_set *set)
{
    struct config *c = r->config;
    if (r->sets_n == r->sets_size) {
        r->sets_size = r->sets_size == 0 ? 16 : r->sets_size * 2;
        r->sets = realloc(r->sets, r->sets_size * sizeof(*r->sets));
        c->sets = realloc(c->sets, r->sets_size * sizeof(*c->sets));
        if (r->sets == NULL || c->sets == NULL)
            abort();
    }
    r->sets[r->sets_n++] = (struct config_set){list, file, set};
    c->sets[c->n_sets++] = set;
}

/* As property_domain has it: lower case, without "www." and the root's dot. */
static void normalise_domain(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    size_t n = strlen(text);
    if (n > 1 && text[n - 1] == '.')
        text[--n] = '\0';
    if (n > 4 && memcmp(text, "www.", 4) == 0)
        memmove(text, text + 4, n - 3);
}

static int read_set(struct config_reader *r, const struct config_key *k, const char *path,
                    const json_t *value, struct string_set **field)
{
    if (!json_is_array(value))
        return refuse(r, k, path, value, "a list");
    size_t n = json_array_size(value);
    if (n > LIST_MAX)
        return config_fail(r, path, "must have at most %d entries, not %zu", LIST_MAX, n);
    if (n == 0)
        return 0; /* no such rule; the field may be its rival's */
    if ((*field = find_set(r, value, NULL)) != NULL)
        return 0;
    char **texts = allocate(n, sizeof(*texts));
    size_t i, done = 0;
    json_t *element;
    int result = 0;
    json_array_foreach(value, i, element)
    {
        char at[256];
        snprintf(at, sizeof(at), "%s[%zu]", path, i);
        if (read_text(r, k, at, element, &texts[i]) != 0) {
            result = -1;
            break;
        }
        done++;
        if (k->domains)
            normalise_domain(texts[i]);
    }
    if (result == 0) {
        *field = string_set_create((const char *const *)texts, n);
        if (*field == NULL)
            abort();
        keep_set(r, value, NULL, *field);
    }
    for (i = 0; i < done; i++)
        free(texts[i]);
    free(texts);
    return result;
}

static int read_set_file(struct config_reader *r, const struct config_key *k, const char *path,
                         const json_t *value, struct string_set **field)
{
    char *file = NULL;
    if (read_file_name(r, k, path, value, &file) != 0) {
        free(file);
        return -1;
    }
    if ((*field = find_set(r, NULL, file)) != NULL) {
        free(file);
        return 0;
    }
    struct error why = {""};
    *field = string_set_load(file, &why);
    if (*field == NULL) {
        free(file);
        return config_fail(r, path, "%s", why.text);
    }
    keep_set(r, NULL, file, *field);
    return 0;
}

/* ---- sizes and headers of one DSP ---- */

static bool read_side(const char **at, int32_t *side)
{
    if (!isdigit((unsigned char)**at) || **at == '0')
        return false;
    long n = 0;
    for (; isdigit((unsigned char)**at) && n <= SIDE_MAX; (*at)++)
        n = n * 10 + (**at - '0');
    *side = (int32_t)n;
    return n <= SIDE_MAX;
}

static int read_sizes(struct config_reader *r, const struct config_key *k, const char *path,
                      const json_t *value, struct config_dsp *dsp)
{
    if (!json_is_array(value))
        return refuse(r, k, path, value, "a list");
    size_t n = json_array_size(value);
    if (n > LIST_MAX)
        return config_fail(r, path, "must have at most %d entries, not %zu", LIST_MAX, n);
    if (n == 0)
        return 0;
    struct dsp_rules *rules = &dsp->filter.rules;
    rules->sizes = allocate(n, sizeof(*rules->sizes));
    size_t i;
    json_t *element;
    json_array_foreach(value, i, element)
    {
        struct size *size = &rules->sizes[i];
        const char *at = json_is_string(element) ? json_string_value(element) : "";
        if (!read_side(&at, &size->w) || *at++ != 'x' || !read_side(&at, &size->h) || *at != '\0') {
            char where[256];
            snprintf(where, sizeof(where), "%s[%zu]", path, i);
            return refuse(r, k, where, element, "a size like \"300x250\", each side 1 to 10000");
        }
    }
    rules->n_sizes = n;
    return 0;
}

/* What frames the message, or describes the body that we write: a second one would let the DSP and
 * us disagree on where a request ends. */
static bool header_is_ours(const char *name)
{
    static const char *const ours[] = {"host",
                                       "content-length",
                                       "content-type",
                                       "content-encoding",
                                       "connection",
                                       "proxy-connection",
                                       "keep-alive",
                                       "transfer-encoding",
                                       "te",
                                       "trailer",
                                       "upgrade",
                                       "expect",
                                       "accept-encoding"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return true;
    return false;
}

static bool header_name_is_token(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= 128 &&
           strspn(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == n;
}

/* Printable ASCII and tabs: neither line ends nor anything that a parser may take for one. */
static bool header_value_is_plain(const char *value)
{
    for (const char *c = value; *c != '\0'; c++)
        if (*c != '\t' && ((unsigned char)*c < ' ' || (unsigned char)*c > '~'))
            return false;
    return strlen(value) <= HEADER_VALUE_MAX;
}

/* Values are often keys: they are never shown. */
static int check_header(struct config_reader *r, const char *path, const char *name,
                        const json_t *value, char **earlier)
{
    if (!header_name_is_token(name)) {
        json_t *shown = json_string(name);
        config_fail(r, path, "%s is not a header name", config_show(shown).text);
        json_decref(shown);
        return -1;
    }
    if (strcasecmp(name, "x-openrtb-version") == 0)
        return config_fail(r, path, "%s is set by openrtb_version", name);
    if (header_is_ours(name))
        return config_fail(r, path, "%s is set by the proxy itself", name);
    for (; *earlier != NULL; earlier++)
        if (strncasecmp(*earlier, name, strlen(name)) == 0 && (*earlier)[strlen(name)] == ':')
            return config_fail(r, path, "%s is given twice", name);
    if (!json_is_string(value))
        return config_fail(r, path, "the value of %s must be a text", name);
    if (!header_value_is_plain(json_string_value(value)))
        return config_fail(
            r, path, "the value of %s must be at most %d printable ASCII characters, on one line",
            name, HEADER_VALUE_MAX);
    return 0;
}

static int read_headers(struct config_reader *r, const struct config_key *k, const char *path,
                        const json_t *value, char ***field)
{
    if (!json_is_object(value))
        return refuse(r, k, path, value, "an object");
    size_t n = json_object_size(value);
    if (n > HEADERS_MAX)
        return config_fail(r, path, "must have at most %d headers, not %zu", HEADERS_MAX, n);
    if (n == 0)
        return 0;
    char **headers = *field = allocate(n + 1, sizeof(*headers));
    const char *name;
    json_t *content;
    size_t i = 0;
    json_object_foreach((json_t *)value, name, content)
    {
        if (check_header(r, path, name, content, headers) != 0)
            return -1;
        size_t size = strlen(name) + 2 + json_string_length(content) + 1;
        headers[i] = allocate(size, 1);
        snprintf(headers[i++], size, "%s: %s", name, json_string_value(content));
    }
    return 0;
}

/* ---- the request's edits ---- */

static int read_list(struct config_reader *r, const struct config_key *k, const char *path,
                     const json_t *value, struct bytes_list *field)
{
    if (!json_is_array(value))
        return refuse(r, k, path, value, "a list");
    size_t n = json_array_size(value);
    if ((double)n > k->max)
        return config_fail(r, path, "must have at most %.0f entries, not %zu", k->max, n);
    if (n == 0)
        return 0;
    struct bytes *items = allocate(n, sizeof(*items));
    field->items = items;
    size_t i;
    json_t *element;
    json_array_foreach(value, i, element)
    {
        char at[256], *text = NULL;
        snprintf(at, sizeof(at), "%s[%zu]", path, i);
        if (read_text(r, k, at, element, &text) != 0)
            return -1;
        items[field->n++] = bytes_of(text);
    }
    return 0;
}

static int read_members(struct config_reader *r, const struct config_key *k, const char *path,
                        const json_t *value, struct config_dsp *dsp)
{
    if (!json_is_object(value))
        return refuse(r, k, path, value, "an object");
    size_t n = json_object_size(value), bytes = 0;
    if (n > REQUEST_EXT_MEMBERS_MAX)
        return config_fail(r, path, "must have at most %d members, not %zu",
                           REQUEST_EXT_MEMBERS_MAX, n);
    if (n == 0)
        return 0;
    struct request_edit *edit = &dsp->request;
    edit->ext = allocate(n, sizeof(*edit->ext));
    const char *name;
    json_t *content;
    json_object_foreach((json_t *)value, name, content)
    {
        char *text = json_dumps(content, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        if (text == NULL)
            abort();
        bytes += strlen(name) + strlen(text);
        edit->ext[edit->n_ext++] = (struct request_member){copy_text(name), text};
    }
    if (bytes > EXT_BYTES_MAX)
        return config_fail(r, path, "must take at most %d bytes, not %zu", EXT_BYTES_MAX, bytes);
    return 0;
}

/* ---- */

int config_value_read(struct config_reader *r, const struct config_key *k, const char *path,
                      const json_t *value, void *base)
{
    void *field = (char *)base + k->offset;
    if (json_is_null(value) && k->optional && k->type != KEY_NUMBER)
        return 0; /* none: the field is zero, or its rival's */
    switch (k->type) {
    case KEY_BOOL:
        return read_bool(r, k, path, value, field);
    case KEY_WHOLE:
        return read_whole(r, k, path, value, field);
    case KEY_NUMBER:
        return read_number(r, k, path, value, field);
    case KEY_MONEY:
        return read_money(r, k, path, value, field);
    case KEY_WORD:
        return read_word(r, k, path, value, field);
    case KEY_WORDS:
        return read_words(r, k, path, value, field);
    case KEY_TEXT:
        return read_text(r, k, path, value, field);
    case KEY_CURRENCY:
        return read_currency(r, k, path, value, field);
    case KEY_FILE:
        return read_file_name(r, k, path, value, field);
    case KEY_SET:
        return read_set(r, k, path, value, field);
    case KEY_SET_FILE:
        return read_set_file(r, k, path, value, field);
    case KEY_SIZES:
        return read_sizes(r, k, path, value, base);
    case KEY_HEADERS:
        return read_headers(r, k, path, value, field);
    case KEY_LIST:
        return read_list(r, k, path, value, field);
    case KEY_MEMBERS:
        return read_members(r, k, path, value, base);
    case KEY_MASK:
        return read_mask(r, k, path, value, base);
    }
    abort();
}
