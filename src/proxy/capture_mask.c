/* What in a bid request names a person or a device, found by a walk of its own over the body rather
 * than from the scanned request: an identifier that stands twice, under an escaped key, as a
 * number, or in a list of any length must be masked all the same. The walk costs about as much as
 * the scan, and only where capture masks. */
#include "filter/json.h"
#include "proxy/capture.h"

struct field {
    const char *key;           /* NULL ends a table */
    const struct field *inner; /* of an object, or of the objects in an array */
    enum capture_mask_kind kind;
};

static const struct field uid_fields[] = {{"id", NULL, CAPTURE_MASK_ID}, {NULL, NULL, 0}};
static const struct field eid_fields[] = {{"uids", uid_fields, 0}, {NULL, NULL, 0}};
/* Bidder to id: any name, and whatever else may stand there. */
static const char any_key[] = "*";
static const struct field buyeruid_fields[] = {{any_key, NULL, CAPTURE_MASK_ID}, {NULL, NULL, 0}};
static const struct field user_prebid_fields[] = {{"buyeruids", buyeruid_fields, 0},
                                                  {NULL, NULL, 0}};
static const struct field user_ext_fields[] = {
    {"eids", eid_fields, 0}, {"prebid", user_prebid_fields, 0}, {NULL, NULL, 0}};
static const struct field user_fields[] = {{"id", NULL, CAPTURE_MASK_ID},
                                           {"buyeruid", NULL, CAPTURE_MASK_ID},
                                           {"eids", eid_fields, 0},
                                           {"ext", user_ext_fields, 0},
                                           {NULL, NULL, 0}};
static const struct field device_fields[] = {
    {"ip", NULL, CAPTURE_MASK_IP},      {"ipv6", NULL, CAPTURE_MASK_IP},
    {"ifa", NULL, CAPTURE_MASK_ID},     {"didsha1", NULL, CAPTURE_MASK_ID},
    {"didmd5", NULL, CAPTURE_MASK_ID},  {"dpidsha1", NULL, CAPTURE_MASK_ID},
    {"dpidmd5", NULL, CAPTURE_MASK_ID}, {"macsha1", NULL, CAPTURE_MASK_ID},
    {"macmd5", NULL, CAPTURE_MASK_ID},  {NULL, NULL, 0}};
static const struct field request_fields[] = {
    {"user", user_fields, 0}, {"device", device_fields, 0}, {NULL, NULL, 0}};

struct walk {
    struct json json;
    bool ip, ids;
    struct capture_mask *out;
    uint32_t n;
    bool full;
};

static bool key_is(struct bytes key, const char *name)
{
    if (key.len == 0 || memchr(key.base, '\\', key.len) == NULL)
        return bytes_is(key, name);
    struct arena arena = {0};
    bool same = bytes_is(json_unescape(key, &arena), name);
    arena_dispose(&arena);
    return same;
}

static const struct field *find_field(const struct field *fields, struct bytes key)
{
    for (; fields->key != NULL; fields++)
        if (fields->key == any_key || key_is(key, fields->key))
            return fields;
    return NULL;
}

static void add(struct walk *w, struct bytes raw, enum capture_mask_kind kind)
{
    if (w->n == CAPTURE_MASKS_MAX) {
        w->full = true;
        return;
    }
    w->out[w->n++] =
        (struct capture_mask){{(uint32_t)(raw.base - w->json.base), (uint32_t)raw.len}, kind};
}

static void mask_value(struct walk *w, enum capture_mask_kind kind)
{
    struct bytes raw;
    enum json_type type = json_peek(&w->json);
    bool wanted = kind == CAPTURE_MASK_IP ? w->ip : w->ids;
    if (type == JSON_IS_STRING) {
        if (json_text(&w->json, &raw, NULL) && wanted && raw.len > 0)
            add(w, raw, kind);
    } else if (json_skip(&w->json, &raw) && wanted) {
        if (type == JSON_IS_NUMBER && kind == CAPTURE_MASK_ID)
            add(w, raw, kind);
        else if (type != JSON_IS_NULL && type != JSON_IS_TRUE && type != JSON_IS_FALSE)
            add(w, raw, CAPTURE_MASK_DROP);
    }
}

/* Recursion is bounded by JSON_DEPTH_MAX. */
static void walk_value(struct walk *w, const struct field *fields)
{
    struct bytes key;
    switch (json_peek(&w->json)) {
    case JSON_IS_OBJECT:
        json_enter_object(&w->json);
        while (json_next_key(&w->json, &key)) {
            const struct field *field = find_field(fields, key);
            if (field == NULL)
                json_skip(&w->json, NULL);
            else if (field->inner != NULL)
                walk_value(w, field->inner);
            else
                mask_value(w, field->kind);
        }
        break;
    case JSON_IS_ARRAY:
        json_enter_array(&w->json);
        while (json_next_element(&w->json))
            walk_value(w, fields);
        break;
    default:
        if (fields->key == any_key)
            mask_value(w, fields->kind);
        else
            json_skip(&w->json, NULL);
    }
}

uint32_t capture_masks(const struct bid_request *r, bool mask_ip, bool mask_ids,
                       struct capture_mask out[CAPTURE_MASKS_MAX])
{
    if (!mask_ip && !mask_ids)
        return 0;
    struct walk w = {.ip = mask_ip, .ids = mask_ids, .out = out};
    json_begin(&w.json, r->body);
    walk_value(&w, request_fields);
    if (!w.full && json_finish(&w.json))
        return w.n;
    out[0] = (struct capture_mask){{0, (uint32_t)r->body.len}, CAPTURE_MASK_DROP};
    return 1;
}
