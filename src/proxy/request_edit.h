/* What one DSP's copy of a bid request has that the others' have not: members of `ext`, seats, its
 * own user id. Edits are spliced into the body by the places that the scan found; every byte that
 * they do not concern stays as it came. Pure; any thread.
 *
 * Each body comes in two pieces, with the number of `tmax` left out between them: it differs from
 * call to call. request_tmax writes what goes there. */
#ifndef PROXY_REQUEST_EDIT_H
#define PROXY_REQUEST_EDIT_H

#include "filter/bid_request.h"

enum { REQUEST_EXT_MEMBERS_MAX = 64, REQUEST_TMAX_SIZE = 32 };

struct request_member {
    char *name;  /* decoded */
    char *value; /* JSON */
};

/* All zero = none. Whoever fills it owns it, see request_edit_dispose. */
struct request_edit {
    struct request_member *ext; /* up to REQUEST_EXT_MEMBERS_MAX, names differ */
    uint32_t n_ext;
    struct bytes_list seats;  /* decoded; n = 0: wseat stays as it came */
    const char *buyeruid_key; /* whose entry user.buyeruid becomes; NULL: it stays as it came.
                                 Borrowed */
};

/* Frees ext and seats, each item's text too. */
void request_edit_dispose(struct request_edit *e);

static inline bool request_edit_is_none(const struct request_edit *e)
{
    return e->n_ext == 0 && e->seats.n == 0 && e->buyeruid_key == NULL;
}

/* False: `seats` are named, and the request's wseat and bseat leave none of them. There is no body
 * for it then, since an empty wseat would allow them all. */
bool request_edit_allows(const struct request_edit *e, const struct bid_request *r);

struct request_body {
    struct bytes before, after; /* of the request's body, or in the arena */
};

/* The body as it came. */
struct request_body request_body(const struct bid_request *r);
/* The body as edited; false if that is as it came (no map of user ids to take an entry from). The
 * request must be allowed.
 *
 * ext: ours are added to the request's; one of the same name gives way; an ext that is no object
 * does as a whole.
 * wseat: our seats, but for those that the request's wseat leaves out or its bseat names.
 * user ids, as Prebid Server does: user.ext.prebid.buyeruids is an object, bidder to id. The entry
 * of buyeruid_key, in letters of either case, becomes user.buyeruid, unless that is given already
 * (neither absent, null nor ""). The whole map is taken out, and user.ext.prebid with it, if it
 * holds nothing else. */
bool request_edit_body(const struct request_edit *e, const struct bid_request *r,
                       struct arena *arena, struct request_body *out);

/* What goes between the two pieces; returns its length. */
size_t request_tmax(const struct bid_request *r, uint32_t tmax_ms, char out[REQUEST_TMAX_SIZE]);

#endif
