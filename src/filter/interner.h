/* Texts to small numbers, 0, 1, 2, ... in the order of their first appearance, and back:
 * vocabularies, and the training set's store. Growing it takes one thread; reading it, any. */
#ifndef FILTER_INTERNER_H
#define FILTER_INTERNER_H

#include <stdint.h>

#include "bytes.h"

#define INTERNER_NONE UINT32_MAX

struct interner;
struct interner *interner_create(void); /* NULL: no memory */
void interner_destroy(struct interner *t);
/* The text's number, copied in if it is new; INTERNER_NONE without memory. */
uint32_t interner_add(struct interner *t, struct bytes text);
uint32_t interner_find(const struct interner *t, struct bytes text); /* INTERNER_NONE: not there */
/* Each text in the table beside it; INTERNER_NONE too for an empty text, or no table (NULL). Faster
 * than one by one: the memory of all is under way before the first is compared. */
void interner_find_each(const struct interner *const *tables, const struct bytes *texts, uint32_t n,
                        uint32_t *numbers);
uint32_t interner_count(const struct interner *t);
struct bytes interner_text(const struct interner *t, uint32_t number);

#endif
