/* Any bytes through the scanner, both ways of reading: json_skip, and the walk that enters whatever
 * it meets. They must agree, and what a value's reader hands out must decode. */
#include <stddef.h>
#include <stdint.h>

#include "filter/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static void walk(struct json *j, struct arena *arena)
{
    struct bytes raw, key;
    bool escaped;
    int64_t whole, micros;
    switch (json_peek(j)) {
    case JSON_IS_OBJECT:
        json_enter_object(j);
        while (json_next_key(j, &key)) {
            check(json_unescape(key, arena).len <= key.len);
            walk(j, arena);
        }
        break;
    case JSON_IS_ARRAY:
        json_enter_array(j);
        while (json_next_element(j))
            walk(j, arena);
        break;
    case JSON_IS_STRING:
        if (json_text(j, &raw, &escaped))
            check(json_unescape(raw, arena).len + escaped <= raw.len);
        break;
    case JSON_IS_NUMBER:
        if (!json_number(j, &raw))
            break;
        double value = json_to_double(raw);
        check(value == value);
        if (json_to_int(raw, &whole))
            check((double)whole == value);
        if (json_to_micros(raw, &micros))
            check(__builtin_fabs((double)micros - value * 1e6) <= 0.51);
        break;
    default:
        json_skip(j, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = {(const char *)data, size};
    struct arena arena = {0};
    struct json skipped, walked;
    json_begin(&skipped, text);
    json_begin(&walked, text);
    json_skip(&skipped, NULL);
    walk(&walked, &arena);
    check(json_finish(&skipped) == json_finish(&walked));
    check(skipped.at == walked.at && skipped.at <= text.base + size);
    arena_dispose(&arena);
    return 0;
}
