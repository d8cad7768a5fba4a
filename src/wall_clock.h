/* The time of day: ms since the epoch. For what is told or compared with a request's time;
 * durations and deadlines are measured with loop_now_us, which no one sets back. */
#ifndef WALL_CLOCK_H
#define WALL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
