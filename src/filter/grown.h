/* Arrays that grow while traffic is read. */
#ifndef FILTER_GROWN_H
#define FILTER_GROWN_H

#include <stdlib.h>

/* Room for count items of so many bytes, which may be none. Like arena_alloc, no memory ends the
 * program: a training that dropped records silently would be worse. */
static inline void *grown(void *old, size_t count, size_t size)
{
    void *larger = reallocarray(old, count, size > 0 ? size : 1);
    if (larger == NULL)
        abort();
    return larger;
}

#endif
