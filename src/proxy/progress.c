/* A progress line: overwritten in place, cleared at the end. */
#include "proxy/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_begin(struct progress *p)
{
    p->terminal = isatty(STDERR_FILENO);
    p->shown_ns = 0;
}

bool progress_due(struct progress *p)
{
    if (!p->terminal)
        return false;
    uint64_t now = now_ns();
    if (now - p->shown_ns < 200000000u)
        return false;
    p->shown_ns = now;
    return true;
}

void progress_show(struct progress *p, const char *format, ...)
{
    if (!p->terminal)
        return;
    va_list args;
    fputs("\r\033[K", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->terminal)
        fputs("\r\033[K", stderr);
}
