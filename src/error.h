/* What went wrong, for a person: one line that says what, where and why.
 *
 * The control plane (load, config, commands) returns 0 or -1 and fills a caller-owned struct error.
 * The data plane never uses this: it has closed enums with a counter each. */
#ifndef ERROR_H
#define ERROR_H

#include <stdarg.h>
#include <stdio.h>

struct error {
    char text[1024];
};

/* Formats the line; err may be NULL. Always returns -1, so that `return error_set(...)` reads well.
 */
__attribute__((format(printf, 2, 3))) static inline int error_set(struct error *err,
                                                                  const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return -1;
}

#endif
