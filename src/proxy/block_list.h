/* badv or bcat of one request, for quick look-ups: what DSPs send must not be able to make a long
 * list of ours expensive. Lives in an arena; one thread. */
#ifndef PROXY_BLOCK_LIST_H
#define PROXY_BLOCK_LIST_H

#include "filter/bid_request.h"

struct block_list;
/* NULL when the list is empty: blocks nothing. Borrows the list. */
const struct block_list *block_list_domains(const struct bytes_list *list, struct arena *arena);
const struct block_list *block_list_categories(const struct bytes_list *list, struct arena *arena);

/* A domain is blocked if it or a parent of it is listed, in either case; of a URL, its host counts.
 * A category is blocked if it or its parent is: "IAB25" blocks "IAB25-3". */
bool block_list_has_domain(const struct block_list *b, struct bytes domain);
bool block_list_has_category(const struct block_list *b, struct bytes category);

/* Whether domain is parent or below it, both cleaned as above. */
bool domain_is_within(struct bytes domain, struct bytes parent);

#endif
