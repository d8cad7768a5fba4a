/* h2o's event loop moves the bytes; time and messages are ours, because h2o's clock is the wall's
 * in cached milliseconds. A turn is: poll (until the nearest deadline), I/O callbacks, timers due.
 *
 * Timers are a binary heap of pointers to their owners' storage; each timer knows its index, so
 * that setting, moving and clearing are O(log n). Messages are a locked queue and an eventfd, which
 * is written only when the queue was empty. */
#include "proxy/net/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proxy/net/gunzip.h"
#include "proxy/net/net_internal.h"
#include "proxy/net/resolver.h"

enum { WAIT_MS_MAX = 60000, DRAIN_TURNS_MAX = 2000 };

struct message {
    struct message *next;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    h2o_evloop_t *h2o;
    h2o_socket_t *wake; /* eventfd */
    int wake_fd;

    struct timer **heap; /* heap[1..n_timers] */
    uint32_t n_timers, heap_capacity;

    bool is_turning;
    uint64_t turn_us; /* 0 = nothing has been called in this turn */
    uint64_t lag_us_max;
    uint32_t holds;
    char *scratch;
    struct resolver *resolver;
    struct gunzip *gunzip;

    atomic_bool stop;
    pthread_mutex_t lock; /* guards the two below */
    struct message *first;
    struct message **last;
};

uint64_t loop_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

h2o_loop_t *loop_h2o(struct loop *l)
{
    return l->h2o;
}

uint64_t loop_turn_us(struct loop *l)
{
    if (!l->is_turning)
        return loop_now_us();
    if (l->turn_us == 0)
        l->turn_us = loop_now_us();
    return l->turn_us;
}

uint64_t loop_turn_age_us(const struct loop *l)
{
    return l->is_turning && l->turn_us != 0 ? loop_now_us() - l->turn_us : 0;
}

void loop_hold(struct loop *l)
{
    l->holds++;
}

void loop_release(struct loop *l)
{
    assert(l->holds > 0);
    l->holds--;
}

char *loop_scratch(struct loop *l)
{
    return l->scratch;
}

struct resolver *loop_resolver(struct loop *l)
{
    if (l->resolver == NULL)
        l->resolver = resolver_create(l);
    return l->resolver;
}

struct gunzip *loop_gunzip(struct loop *l)
{
    if (l->gunzip == NULL)
        l->gunzip = gunzip_create();
    return l->gunzip;
}

/* ---- messages ---- */

static void run_messages(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct message *m = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);
    while (m != NULL) {
        struct message *next = m->next;
        m->fn(m->arg);
        free(m);
        m = next;
    }
}

static void on_wake(h2o_socket_t *sock, const char *err)
{
    struct loop *l = sock->data;
    uint64_t count;
    loop_turn_us(l);
    /* Emptied before the queue is taken, so that a message posted in between wakes us again. */
    if (read(l->wake_fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    run_messages(l);
}

static void wake(struct loop *l)
{
    uint64_t one = 1;
    /* It can only fail when the counter is full, and then the loop is awake anyway. */
    ssize_t written = write(l->wake_fd, &one, sizeof(one));
    (void)written;
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct message *m = malloc(sizeof(*m));
    if (m == NULL)
        abort();
    *m = (struct message){.fn = fn, .arg = arg};
    pthread_mutex_lock(&l->lock);
    bool was_empty = l->first == NULL;
    *l->last = m;
    l->last = &m->next;
    /* Under the lock: once it is released, the message may run and end the loop. */
    if (was_empty)
        wake(l);
    pthread_mutex_unlock(&l->lock);
}

/* ---- timers ---- */

static void heap_place(struct loop *l, uint32_t i, struct timer *t)
{
    l->heap[i] = t;
    t->heap_index = i;
}

static void heap_up(struct loop *l, uint32_t i, struct timer *t)
{
    for (; i > 1 && l->heap[i / 2]->deadline_us > t->deadline_us; i /= 2)
        heap_place(l, i, l->heap[i / 2]);
    heap_place(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i, struct timer *t)
{
    for (uint32_t child; (child = 2 * i) <= l->n_timers; i = child) {
        if (child < l->n_timers && l->heap[child + 1]->deadline_us < l->heap[child]->deadline_us)
            child++;
        if (l->heap[child]->deadline_us >= t->deadline_us)
            break;
        heap_place(l, i, l->heap[child]);
    }
    heap_place(l, i, t);
}

static void heap_move(struct loop *l, uint32_t i, struct timer *t)
{
    if (i > 1 && l->heap[i / 2]->deadline_us > t->deadline_us)
        heap_up(l, i, t);
    else
        heap_down(l, i, t);
}

void timer_set(struct loop *l, struct timer *t, uint64_t deadline_us, timer_cb cb, void *ctx)
{
    t->cb = cb;
    t->ctx = ctx;
    t->deadline_us = deadline_us;
    if (t->heap_index != 0) {
        assert(l->heap[t->heap_index] == t);
        heap_move(l, t->heap_index, t);
        return;
    }
    if (l->n_timers + 1 >= l->heap_capacity) {
        uint32_t capacity = l->heap_capacity == 0 ? 64 : l->heap_capacity * 2;
        struct timer **heap = realloc(l->heap, capacity * sizeof(*heap));
        if (heap == NULL)
            abort();
        l->heap = heap;
        l->heap_capacity = capacity;
    }
    heap_up(l, ++l->n_timers, t);
}

void timer_clear(struct loop *l, struct timer *t)
{
    uint32_t i = t->heap_index;
    if (i == 0)
        return;
    assert(i <= l->n_timers && l->heap[i] == t);
    t->heap_index = 0;
    struct timer *last = l->heap[l->n_timers--];
    if (last != t)
        heap_move(l, i, last);
}

/* A callback may set timers that are due at once: they wait for the next turn, lest I/O starve. */
static void run_timers(struct loop *l)
{
    if (l->n_timers == 0)
        return;
    uint64_t now_us = loop_now_us();
    if (l->turn_us == 0)
        l->turn_us = now_us;
    for (uint32_t budget = l->n_timers; budget > 0 && l->n_timers > 0; budget--) {
        struct timer *t = l->heap[1];
        if (t->deadline_us > now_us)
            break;
        timer_clear(l, t);
        t->cb(t->ctx);
    }
}

/* ---- turns ---- */

static int32_t wait_ms(struct loop *l)
{
    if (atomic_load_explicit(&l->stop, memory_order_relaxed))
        return 0;
    /* What a timer wrote is complete, but h2o says so only after the poll. */
    if (l->h2o->_pending_as_client != NULL || l->h2o->_pending_as_server != NULL)
        return 0;
    if (l->n_timers == 0)
        return WAIT_MS_MAX;
    uint64_t deadline_us = l->heap[1]->deadline_us, now_us = loop_now_us();
    if (deadline_us <= now_us)
        return 0;
    uint64_t ms = (deadline_us - now_us + 999) / 1000; /* up: never wake before it is due */
    return ms < WAIT_MS_MAX ? (int32_t)ms : WAIT_MS_MAX;
}

static void turn(struct loop *l, int32_t wait)
{
    l->turn_us = 0;
    l->is_turning = true;
    h2o_evloop_run(l->h2o, wait); /* -1 is EINTR: as good as a turn without events */
    run_timers(l);
    l->is_turning = false;
    if (l->turn_us == 0)
        return;
    uint64_t lag_us = loop_now_us() - l->turn_us;
    if (lag_us > l->lag_us_max)
        l->lag_us_max = lag_us;
}

void loop_run(struct loop *l)
{
    while (!atomic_load_explicit(&l->stop, memory_order_acquire))
        turn(l, wait_ms(l));
    atomic_store(&l->stop, false);
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stop, true, memory_order_release);
    wake(l);
}

uint64_t loop_lag_us_max(struct loop *l)
{
    uint64_t lag_us = l->lag_us_max;
    l->lag_us_max = 0;
    return lag_us;
}

/* ---- life ---- */

/* A peer that closes must be an EPIPE, not the end of the process: h2o and OpenSSL use write(2). */
static void ignore_sigpipe(void)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
        action.sa_handler = SIG_IGN;
        sigaction(SIGPIPE, &action, NULL);
    }
}

struct loop *loop_create(struct error *err)
{
    ignore_sigpipe();
    struct loop *l = calloc(1, sizeof(*l));
    if (l == NULL || (l->scratch = malloc(LOOP_SCRATCH_BYTES)) == NULL) {
        free(l);
        error_set(err, "event loop: out of memory");
        return NULL;
    }
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) {
        error_set(err, "event loop: eventfd: %s", strerror(errno));
        free(l->scratch);
        free(l);
        return NULL;
    }
    l->h2o = h2o_evloop_create();
    l->last = &l->first;
    pthread_mutex_init(&l->lock, NULL);
    l->wake = h2o_evloop_socket_create(l->h2o, l->wake_fd, H2O_SOCKET_FLAG_DONT_READ);
    l->wake->data = l;
    h2o_socket_read_start(l->wake, on_wake);
    return l;
}

/* h2o_evloop_destroy of 2.2.5 forgets its epoll descriptor, which lies behind the public part of
 * its struct. Look before closing: another build may keep something else there. */
static int epoll_descriptor(h2o_evloop_t *h2o)
{
    int fd;
    char name[64], target[64];
    memcpy(&fd, (const char *)h2o + sizeof(*h2o), sizeof(fd));
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, target, sizeof(target) - 1);
    if (n < 0)
        return -1;
    target[n] = '\0';
    return strcmp(target, "anon_inode:[eventpoll]") == 0 ? fd : -1;
}

void loop_destroy(struct loop *l)
{
    if (l == NULL)
        return;
    resolver_close(l->resolver);
    l->resolver = NULL;
    for (int i = 0; i < DRAIN_TURNS_MAX && (l->holds > 0 || i < 2); i++) {
        turn(l, i < 2 ? 0 : 1);
        run_messages(l);
    }
    assert(l->holds == 0);
    h2o_socket_close(l->wake);
    h2o_evloop_run(l->h2o, 0); /* closed sockets are freed at the start of a turn */
    int epoll_fd = epoll_descriptor(l->h2o);
    h2o_evloop_destroy(l->h2o);
    if (epoll_fd >= 0)
        close(epoll_fd);
    pthread_mutex_destroy(&l->lock);
    gunzip_destroy(l->gunzip);
    free(l->heap);
    free(l->scratch);
    free(l);
}
