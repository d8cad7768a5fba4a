/* A progress line on stderr while long work runs; silent when stderr is no terminal. */
#ifndef PROXY_PROGRESS_H
#define PROXY_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool terminal;
    uint64_t shown_ns;
};

void progress_begin(struct progress *p);
/* True a few times a second: the moment to call progress_show. Cheap. */
bool progress_due(struct progress *p);
__attribute__((format(printf, 2, 3))) void progress_show(struct progress *p, const char *format,
                                                         ...);
void progress_end(struct progress *p); /* clears the line */

#endif
