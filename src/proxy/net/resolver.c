/* Jobs wait in a locked queue; up to THREADS_MAX detached threads empty it and end when it is
 * empty, so that one name server that does not answer delays few others, and nothing idles.
 *
 * getaddrinfo cannot be interrupted, so a thread may outlive the loop: the shared part is counted
 * (the loop's side and each thread), and its pointer to the loop is cleared under the lock by
 * resolver_close. Whoever holds the lock and sees a loop may post to it. */
#include "proxy/net/resolver.h"

#include <netdb.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 4 };

struct resolver {
    pthread_mutex_t lock;
    struct loop *loop;          /* NULL once closed */
    struct resolver_job *first; /* waiting */
    struct resolver_job **last;
    uint32_t threads;
    uint32_t references;
};

struct resolver_job {
    struct resolver_job *next;
    struct resolver *resolver;
    resolver_cb cb; /* loop's thread only; NULL = cancelled */
    void *ctx;
    uint16_t port;
    uint32_t n;
    struct address addresses[RESOLVER_ADDRESSES_MAX];
    char host[];
};

struct resolver *resolver_create(struct loop *l)
{
    struct resolver *r = calloc(1, sizeof(*r));
    if (r == NULL)
        abort();
    pthread_mutex_init(&r->lock, NULL);
    r->loop = l;
    r->last = &r->first;
    r->references = 1;
    return r;
}

/* With the lock held, which it releases. */
static void unlock_and_release(struct resolver *r)
{
    bool is_last = --r->references == 0;
    pthread_mutex_unlock(&r->lock);
    if (is_last) {
        pthread_mutex_destroy(&r->lock);
        free(r);
    }
}

void resolver_close(struct resolver *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->loop = NULL;
    while (r->first != NULL) {
        struct resolver_job *job = r->first;
        r->first = job->next;
        free(job);
    }
    r->last = &r->first;
    unlock_and_release(r);
}

static void look_up(struct resolver_job *job)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", job->port);
    if (getaddrinfo(job->host, port, &hints, &found) != 0)
        return;
    for (struct addrinfo *a = found; a != NULL && job->n < RESOLVER_ADDRESSES_MAX; a = a->ai_next) {
        struct address *out = &job->addresses[job->n];
        if (a->ai_addrlen > sizeof(*out) - offsetof(struct address, any) ||
            (a->ai_family != AF_INET && a->ai_family != AF_INET6))
            continue;
        memcpy(&out->any, a->ai_addr, a->ai_addrlen);
        out->len = a->ai_addrlen;
        job->n++;
    }
    freeaddrinfo(found);
}

static void deliver(void *arg)
{
    struct resolver_job *job = arg;
    if (job->cb != NULL)
        job->cb(job->ctx, job->addresses, job->n);
    free(job);
}

static void *work(void *arg)
{
    struct resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (r->first != NULL) {
        struct resolver_job *job = r->first;
        r->first = job->next;
        if (r->first == NULL)
            r->last = &r->first;
        pthread_mutex_unlock(&r->lock);
        look_up(job);
        pthread_mutex_lock(&r->lock);
        if (r->loop != NULL)
            loop_post(r->loop, deliver, job);
        else
            free(job);
    }
    r->threads--;
    unlock_and_release(r);
    return NULL;
}

/* With the lock held. Without a thread the job is answered "not found". */
static void add_thread(struct resolver *r)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    r->threads++;
    r->references++;
    if (pthread_create(&thread, &attributes, work, r) != 0) {
        r->threads--;
        r->references--;
        if (r->threads == 0) {
            struct resolver_job *job = r->first;
            r->first = NULL;
            r->last = &r->first;
            for (struct resolver_job *next; job != NULL; job = next) {
                next = job->next;
                loop_post(r->loop, deliver, job);
            }
        }
    }
    pthread_attr_destroy(&attributes);
}

struct resolver_job *resolver_start(struct resolver *r, const char *host, uint16_t port,
                                    resolver_cb cb, void *ctx)
{
    size_t size = strlen(host) + 1;
    struct resolver_job *job = calloc(1, sizeof(*job) + size);
    if (job == NULL)
        abort();
    job->resolver = r;
    job->cb = cb;
    job->ctx = ctx;
    job->port = port;
    memcpy(job->host, host, size);
    pthread_mutex_lock(&r->lock);
    *r->last = job;
    r->last = &job->next;
    if (r->threads < THREADS_MAX)
        add_thread(r);
    pthread_mutex_unlock(&r->lock);
    return job;
}

void resolver_cancel(struct resolver_job *job)
{
    if (job != NULL)
        job->cb = NULL; /* the threads never look at it */
}

bool resolver_literal(const char *host, uint16_t port, struct address *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
                    *found = NULL;
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return false;
    memset(out, 0, sizeof(*out));
    bool fits = found->ai_addrlen <= sizeof(*out) - offsetof(struct address, any);
    if (fits) {
        memcpy(&out->any, found->ai_addr, found->ai_addrlen);
        out->len = found->ai_addrlen;
    }
    freeaddrinfo(found);
    return fits;
}
