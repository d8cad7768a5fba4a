/* Rates are kept as one sorted array: {code packed into a word, units for one unit of base}. A
 * conversion goes over the base: micros * to / from. Amounts are below 2^53, so that a double holds
 * them exactly and one rounding at the end is the only one that shows. */
#include "proxy/currency.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

struct rate {
    uint32_t code;
    double per_base;
};

struct currency_rates {
    size_t n;
    struct rate rates[];
};

/* Three ASCII letters, either case; 0 = no currency code. */
static uint32_t code_of(struct bytes text)
{
    if (text.len != 3)
        return 0;
    uint32_t code = 0;
    for (size_t i = 0; i < 3; i++) {
        unsigned char c = (unsigned char)text.base[i];
        if (c >= 'a' && c <= 'z')
            c = (unsigned char)(c - 'a' + 'A');
        if (c < 'A' || c > 'Z')
            return 0;
        code = code << 8 | c;
    }
    return code;
}

static int by_code(const void *a, const void *b)
{
    uint32_t x = ((const struct rate *)a)->code, y = ((const struct rate *)b)->code;
    return x < y ? -1 : x > y;
}

/* One member of "rates", or -1 with what is wrong. */
static int read_rate(const char *path, const char *key, const json_t *value, struct rate *out,
                     struct error *err)
{
    out->code = code_of(bytes_of(key));
    if (out->code == 0)
        return error_set(err, "%s: rates.%s: not a currency code of three letters", path, key);
    out->per_base = json_number_value(value);
    if (!json_is_number(value) || !isfinite(out->per_base) || out->per_base < 1e-9 ||
        out->per_base > 1e9)
        return error_set(err, "%s: rates.%s: must be a number between 1e-9 and 1e9", path, key);
    return 0;
}

static struct currency_rates *read_rates(const char *path, const json_t *root, struct error *err)
{
    const json_t *base = json_object_get(root, "base"), *rates = json_object_get(root, "rates");
    uint32_t base_code = code_of(bytes_of(json_string_value(base)));
    if (base_code == 0) {
        error_set(err, "%s: base: must be a currency code of three letters", path);
        return NULL;
    }
    if (!json_is_object(rates)) {
        error_set(err, "%s: rates: must be an object", path);
        return NULL;
    }
    struct currency_rates *c =
        malloc(sizeof(*c) + (json_object_size(rates) + 1) * sizeof(c->rates[0]));
    if (c == NULL) {
        error_set(err, "%s: out of memory", path);
        return NULL;
    }
    c->rates[0] = (struct rate){base_code, 1};
    c->n = 1;
    for (void *it = json_object_iter((json_t *)rates); it != NULL;
         it = json_object_iter_next((json_t *)rates, it)) {
        struct rate *rate = &c->rates[c->n];
        const char *key = json_object_iter_key(it);
        if (read_rate(path, key, json_object_iter_value(it), rate, err) != 0)
            goto fail;
        if (rate->code != base_code) {
            c->n++;
        } else if (rate->per_base != 1) {
            error_set(err, "%s: rates.%s: the base's own rate must be 1", path, key);
            goto fail;
        }
    }
    qsort(c->rates, c->n, sizeof(c->rates[0]), by_code);
    for (size_t i = 1; i < c->n; i++) {
        if (c->rates[i].code == c->rates[i - 1].code) {
            error_set(err, "%s: rates: a currency occurs twice", path);
            goto fail;
        }
    }
    return c;
fail:
    free(c);
    return NULL;
}

struct currency_rates *currency_load(const char *path, struct error *err)
{
    json_error_t fault;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        error_set(err, "%s: %s", path, strerror(errno));
        return NULL;
    }
    json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES, &fault);
    fclose(file);
    if (root == NULL) {
        error_set(err, "%s:%d:%d: %s", path, fault.line, fault.column, fault.text);
        return NULL;
    }
    struct currency_rates *c = read_rates(path, root, err);
    json_decref(root);
    return c;
}

void currency_destroy(struct currency_rates *c)
{
    free(c);
}

bool currency_same(struct bytes a, struct bytes b)
{
    uint32_t code = code_of(a);
    return code != 0 && code == code_of(b);
}

static const struct rate *find(const struct currency_rates *c, uint32_t code)
{
    struct rate key = {code, 0};
    return c != NULL ? bsearch(&key, c->rates, c->n, sizeof(c->rates[0]), by_code) : NULL;
}

bool currency_convert(const struct currency_rates *c, int64_t micros, struct bytes from,
                      struct bytes to, int64_t *out)
{
    uint32_t from_code = code_of(from), to_code = code_of(to);
    if (from_code == 0 || to_code == 0)
        return false;
    if (from_code == to_code) {
        *out = micros;
        return true;
    }
    const struct rate *f = find(c, from_code), *t = find(c, to_code);
    if (f == NULL || t == NULL)
        return false;
    double converted = (double)micros * t->per_base / f->per_base;
    if (!(fabs(converted) <= 0x1p53))
        return false;
    *out = llround(converted);
    return true;
}
