/* Any bytes as a schema: refused with a line, or a schema that extracts and survives its own JSON.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filter/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char request[] =
        "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}";
    struct error err = {""};
    struct schema *s = schema_parse((struct bytes){(const char *)data, size}, "fuzz", &err);
    if (s == NULL) {
        assert(err.text[0] != '\0');
        return 0;
    }
    struct arena arena = {0};
    struct bid_request r;
    struct bid_request_error e;
    struct geo_place place;
    struct raw_features raw;
    bool read = bid_request_scan(&r, bytes_of(request), 0, &arena, &e);
    assert(read);
    geo_locate(NULL, &r, &place);
    features_extract(s, &r, &place, 0, &arena, &raw);
    arena_dispose(&arena);

    json_t *document = schema_to_json(s);
    struct schema *again = schema_from_json(document, "again", NULL, &err);
    assert(again != NULL && again->n_slots == s->n_slots && again->n_numbers == s->n_numbers);
    json_decref(document);
    schema_destroy(again);
    schema_destroy(s);
    return 0;
}
