/* The edited body is written in one pass from front to back: a cursor runs over the body as it
 * came; what lies before a place is copied, what the edit replaces is stepped over. So the places
 * are visited in the body's order, whatever order the sender chose. Values inside a place (the
 * members of ext, the map of user ids) are walked with the scanner, which has seen them once and
 * finds no fault. */
#include "proxy/request_edit.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "decimal.h"
#include "filter/json.h"
#include "proxy/arena_text.h"

void request_edit_dispose(struct request_edit *e)
{
    for (uint32_t i = 0; i < e->n_ext; i++) {
        free(e->ext[i].name);
        free(e->ext[i].value);
    }
    free(e->ext);
    for (uint32_t i = 0; i < e->seats.n; i++)
        free((char *)e->seats.items[i].base);
    free((struct bytes *)e->seats.items);
    *e = (struct request_edit){0};
}

struct writer {
    struct arena_text out;
    const char *cursor; /* what lies before it is written, or left out */
};

/* From body text [from, to) to this text. */
static void replace(struct writer *w, const char *from, const char *to, struct bytes text)
{
    assert(from >= w->cursor && to >= from);
    arena_text_add(&w->out, (struct bytes){w->cursor, (size_t)(from - w->cursor)});
    arena_text_add(&w->out, text);
    w->cursor = to;
}

static void leave_out(struct writer *w, const char *from, const char *to)
{
    replace(w, from, to, (struct bytes){NULL, 0});
}

/* An inner piece of JSON, to be walked. */
static struct bytes text_of(const struct bid_request *r, struct body_span span)
{
    return (struct bytes){r->body.base + span.at, span.len};
}

static bool enter(struct json *j, struct bytes text)
{
    json_begin(j, text);
    return json_peek(j) == JSON_IS_OBJECT && json_enter_object(j);
}

/* ---- ext ---- */

static void add_member(struct writer *w, const struct request_member *m)
{
    arena_text_add_json(&w->out, bytes_of(m->name));
    arena_text_add_string(&w->out, ":");
    arena_text_add_string(&w->out, m->value);
}

/* Those of ours whose bit is not in `present`. */
static void add_members(struct writer *w, const struct request_edit *e, uint64_t present,
                        bool comma)
{
    for (uint32_t i = 0; i < e->n_ext; i++) {
        if ((present >> i & 1) != 0)
            continue;
        if (comma)
            arena_text_add_string(&w->out, ",");
        add_member(w, &e->ext[i]);
        comma = true;
    }
}

static uint32_t find_member(const struct request_edit *e, struct bytes raw_key)
{
    uint32_t i = 0;
    while (i < e->n_ext && !json_key_is(raw_key, e->ext[i].name))
        i++;
    return i;
}

/* A member of ours is put in the place of the request's own; were it there twice, the second would
 * win with some parsers, so that one is left out. The others go to the end. */
static void merge_ext(struct writer *w, const struct request_edit *e, struct json *j)
{
    struct bytes key, value;
    uint64_t present = 0;
    const char *last = j->at; /* behind the last member that stays, or the brace */
    bool empty = true;
    while (json_next_key(j, &key) && json_skip(j, &value)) {
        const char *end = value.base + value.len;
        uint32_t i = find_member(e, key);
        if (i < e->n_ext && (present >> i & 1) != 0) {
            leave_out(w, last, end);
        } else if (i < e->n_ext) {
            replace(w, value.base, end, bytes_of(e->ext[i].value));
            present |= (uint64_t)1 << i;
        }
        last = end;
        empty = false;
    }
    leave_out(w, last, last);
    add_members(w, e, present, !empty);
}

static void write_ext(struct writer *w, const struct request_edit *e, const struct bid_request *r)
{
    struct bytes old = text_of(r, r->ext);
    struct json j;
    if (old.len > 0 && enter(&j, old)) {
        merge_ext(w, e, &j);
        return;
    }
    const char *at = old.len > 0 ? old.base : r->body.base + r->members_at;
    replace(w, at, at + old.len, bytes_of(old.len > 0 ? "{" : "\"ext\":{"));
    add_members(w, e, 0, false);
    arena_text_add_string(&w->out, old.len > 0 ? "}" : "},");
}

/* ---- seats ---- */

static bool list_has(const struct bytes_list *list, struct bytes text)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (bytes_equal(list->items[i], text))
            return true;
    return false;
}

static bool may_buy(const struct bid_request *r, struct bytes seat)
{
    return (r->wseat.n == 0 || list_has(&r->wseat, seat)) && !list_has(&r->bseat, seat);
}

bool request_edit_allows(const struct request_edit *e, const struct bid_request *r)
{
    if (e->seats.n == 0)
        return true;
    for (uint32_t i = 0; i < e->seats.n; i++)
        if (may_buy(r, e->seats.items[i]))
            return true;
    return false;
}

static void write_seats(struct writer *w, const struct request_edit *e, const struct bid_request *r)
{
    struct bytes old = text_of(r, r->wseat_value);
    const char *at = old.len > 0 ? old.base : r->body.base + r->members_at;
    replace(w, at, at + old.len, bytes_of(old.len > 0 ? "[" : "\"wseat\":["));
    bool comma = false;
    for (uint32_t i = 0; i < e->seats.n; i++) {
        if (!may_buy(r, e->seats.items[i]))
            continue;
        if (comma)
            arena_text_add_string(&w->out, ",");
        arena_text_add_json(&w->out, e->seats.items[i]);
        comma = true;
    }
    arena_text_add_string(&w->out, old.len > 0 ? "]" : "],");
}

/* ---- user ids ---- */

struct uid_map {
    bool found;
    struct bytes entry; /* as it came, in its quotes; absent if there is none to use */
};

static bool is_key(struct bytes raw_key, const char *name, struct arena *arena)
{
    struct bytes key = json_unescape(raw_key, arena);
    return key.len == strlen(name) && strncasecmp(key.base, name, key.len) == 0;
}

/* Of entries that stand there twice the last one counts, as in most parsers. */
static void read_entries(struct json *j, const char *name, struct arena *arena, struct uid_map *map)
{
    struct bytes key, value;
    map->found = true;
    if (json_peek(j) != JSON_IS_OBJECT) {
        json_skip(j, NULL);
        return;
    }
    json_enter_object(j);
    while (json_next_key(j, &key)) {
        bool text = json_peek(j) == JSON_IS_STRING;
        if (json_skip(j, &value) && text && value.len > 2 && is_key(key, name, arena))
            map->entry = value;
    }
}

static struct uid_map read_map(const struct bid_request *r, const char *name, struct arena *arena)
{
    struct uid_map map = {false, {NULL, 0}};
    struct bytes key;
    struct json j;
    if (r->user_ext.len == 0 || !enter(&j, text_of(r, r->user_ext)))
        return map;
    while (json_next_key(&j, &key)) {
        if (!json_key_is(key, "prebid") || json_peek(&j) != JSON_IS_OBJECT) {
            json_skip(&j, NULL);
            continue;
        }
        json_enter_object(&j);
        while (json_next_key(&j, &key)) {
            if (json_key_is(key, "buyeruids"))
                read_entries(&j, name, arena, &map);
            else
                json_skip(&j, NULL);
        }
    }
    return map;
}

static void write_buyeruid(struct writer *w, const struct bid_request *r, struct bytes entry)
{
    struct bytes old = text_of(r, r->buyeruid_value);
    if (old.len > 0) {
        replace(w, old.base, old.base + old.len, entry);
        return;
    }
    const char *at = r->body.base + r->user_members_at;
    replace(w, at, at, bytes_of("\"buyeruid\":"));
    arena_text_add(&w->out, entry);
    arena_text_add_string(&w->out, ","); /* ext, at least, follows */
}

/* Takes members out of an object, with the comma before them, or the one behind if they come first.
 * Once for each member, in order: keep() or drop(); then dropper_end(). */
struct dropper {
    struct writer *w;
    const char *kept_end;              /* behind the last member kept so far; NULL none */
    const char *dropped, *dropped_end; /* while none is kept */
};

static void keep(struct dropper *d, struct bytes key, const char *value_end)
{
    if (d->dropped != NULL)
        leave_out(d->w, d->dropped, key.base - 1);
    d->dropped = NULL;
    d->kept_end = value_end;
}

static void drop(struct dropper *d, struct bytes key, const char *value_end)
{
    if (d->kept_end != NULL) {
        leave_out(d->w, d->kept_end, value_end);
        d->kept_end = value_end;
        return;
    }
    if (d->dropped == NULL)
        d->dropped = key.base - 1;
    d->dropped_end = value_end;
}

static void dropper_end(struct dropper *d)
{
    if (d->dropped != NULL)
        leave_out(d->w, d->dropped, d->dropped_end);
}

struct prebid {
    bool has_map, has_more;
};

static struct prebid look_into_prebid(struct bytes text)
{
    struct prebid found = {false, false};
    struct bytes key;
    struct json j;
    if (!enter(&j, text))
        return found;
    while (json_next_key(&j, &key) && json_skip(&j, NULL))
        *(json_key_is(key, "buyeruids") ? &found.has_map : &found.has_more) = true;
    return found;
}

static void drop_map_of_prebid(struct writer *w, struct bytes text)
{
    struct dropper d = {w, NULL, NULL, NULL};
    struct bytes key, value;
    struct json j;
    enter(&j, text);
    while (json_next_key(&j, &key) && json_skip(&j, &value))
        (json_key_is(key, "buyeruids") ? drop : keep)(&d, key, value.base + value.len);
    dropper_end(&d);
}

/* Prebid refuses a user.ext.prebid without ids, so that none is left which is empty. */
static void drop_map(struct writer *w, const struct bid_request *r)
{
    struct dropper d = {w, NULL, NULL, NULL};
    struct bytes key, value;
    struct json j;
    enter(&j, text_of(r, r->user_ext));
    while (json_next_key(&j, &key) && json_skip(&j, &value)) {
        struct prebid prebid = {false, false};
        if (json_key_is(key, "prebid"))
            prebid = look_into_prebid(value);
        if (prebid.has_map && !prebid.has_more) {
            drop(&d, key, value.base + value.len);
            continue;
        }
        keep(&d, key, value.base + value.len);
        if (prebid.has_map)
            drop_map_of_prebid(w, value);
    }
    dropper_end(&d);
}

/* ---- the body ---- */

size_t request_tmax(const struct bid_request *r, uint32_t tmax_ms, char out[REQUEST_TMAX_SIZE])
{
    static const char name[] = "\"tmax\":";
    if (r->tmax.len > 0)
        return decimal_write(out, tmax_ms);
    size_t len = sizeof(name) - 1;
    memcpy(out, name, len);
    len += decimal_write(out + len, tmax_ms);
    out[len++] = ',';
    return len;
}

static uint32_t tmax_at(const struct bid_request *r)
{
    return r->tmax.len > 0 ? r->tmax.at : r->members_at;
}

struct request_body request_body(const struct bid_request *r)
{
    uint32_t at = tmax_at(r), resume = at + r->tmax.len;
    return (struct request_body){{r->body.base, at}, {r->body.base + resume, r->body.len - resume}};
}

enum place_kind { PLACE_TMAX, PLACE_EXT, PLACE_SEATS, PLACE_BUYERUID, PLACE_UID_MAP, PLACE_KINDS };

struct place {
    uint32_t at;
    enum place_kind kind;
};

static uint32_t place_of(struct body_span value, uint32_t members_at)
{
    return value.len > 0 ? value.at : members_at;
}

/* In the body's order. No place lies in another; of those that are inserted at the same spot, each
 * brings its comma. */
static uint32_t find_places(const struct request_edit *e, const struct bid_request *r,
                            const struct uid_map *map, bool takes_entry,
                            struct place places[PLACE_KINDS])
{
    uint32_t n = 0;
    places[n++] = (struct place){tmax_at(r), PLACE_TMAX};
    if (e->n_ext > 0)
        places[n++] = (struct place){place_of(r->ext, r->members_at), PLACE_EXT};
    if (e->seats.n > 0)
        places[n++] = (struct place){place_of(r->wseat_value, r->members_at), PLACE_SEATS};
    if (takes_entry)
        places[n++] =
            (struct place){place_of(r->buyeruid_value, r->user_members_at), PLACE_BUYERUID};
    if (map->found)
        places[n++] = (struct place){r->user_ext.at, PLACE_UID_MAP};
    for (uint32_t i = 1; i < n; i++) {
        struct place moved = places[i];
        uint32_t k = i;
        for (; k > 0 && places[k - 1].at > moved.at; k--)
            places[k] = places[k - 1];
        places[k] = moved;
    }
    return n;
}

bool request_edit_body(const struct request_edit *e, const struct bid_request *r,
                       struct arena *arena, struct request_body *out)
{
    struct uid_map map = {false, {NULL, 0}};
    if (e->buyeruid_key != NULL)
        map = read_map(r, e->buyeruid_key, arena);
    if (e->n_ext == 0 && e->seats.n == 0 && !map.found)
        return false;
    struct place places[PLACE_KINDS];
    uint32_t n = find_places(e, r, &map, map.entry.len > 0 && r->user.buyeruid.len == 0, places);
    struct writer w = {.cursor = r->body.base};
    arena_text_begin(&w.out, arena, r->body.len + 256);
    size_t split = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *at = r->body.base + places[i].at;
        switch (places[i].kind) {
        case PLACE_TMAX:
            leave_out(&w, at, at + r->tmax.len);
            split = w.out.len;
            break;
        case PLACE_EXT:
            write_ext(&w, e, r);
            break;
        case PLACE_SEATS:
            write_seats(&w, e, r);
            break;
        case PLACE_BUYERUID:
            write_buyeruid(&w, r, map.entry);
            break;
        case PLACE_UID_MAP:
            drop_map(&w, r);
            break;
        case PLACE_KINDS:
            break;
        }
    }
    const char *end = r->body.base + r->body.len;
    leave_out(&w, end, end);
    struct bytes text = arena_text_bytes(&w.out);
    out->before = (struct bytes){text.base, split};
    out->after = (struct bytes){text.base + split, text.len - split};
    return true;
}
