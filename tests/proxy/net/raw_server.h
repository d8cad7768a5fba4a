/* A server that does exactly what its script says, bytes and pauses and all, for tests of clients.
 * A thread accepts; each connection gets its own thread and the next script (the last one for all
 * further connections). */
#ifndef TESTS_PROXY_NET_RAW_SERVER_H
#define TESTS_PROXY_NET_RAW_SERVER_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum raw_action {
    RAW_READ,   /* one whole request; the script ends if there is none */
    RAW_SEND,   /* data[len] (len 0 = strlen) */
    RAW_SLOWLY, /* the same, a byte at a time */
    RAW_REPEAT, /* data, `times` times */
    RAW_PAUSE,  /* `times` milliseconds */
    RAW_RESET,  /* close so that the peer sees a reset */
    RAW_HANG,   /* until the peer closes */
    RAW_AGAIN,  /* from the first step */
    RAW_CLOSE
};

struct raw_step {
    enum raw_action action;
    const char *data;
    size_t len;
    uint32_t times;
};

/* Scripts read like: {READ, SEND("..."), AGAIN} */
#define READ                 \
    {                        \
        RAW_READ, NULL, 0, 0 \
    }
#define SEND(text)           \
    {                        \
        RAW_SEND, text, 0, 0 \
    }
#define SEND_BYTES(base, len)  \
    {                          \
        RAW_SEND, base, len, 0 \
    }
#define SLOWLY(text)           \
    {                          \
        RAW_SLOWLY, text, 0, 0 \
    }
#define REPEAT(text, times)        \
    {                              \
        RAW_REPEAT, text, 0, times \
    }
#define PAUSE(ms)              \
    {                          \
        RAW_PAUSE, NULL, 0, ms \
    }
#define RESET                 \
    {                         \
        RAW_RESET, NULL, 0, 0 \
    }
#define HANG                 \
    {                        \
        RAW_HANG, NULL, 0, 0 \
    }
#define AGAIN                 \
    {                         \
        RAW_AGAIN, NULL, 0, 0 \
    }
#define CLOSE                 \
    {                         \
        RAW_CLOSE, NULL, 0, 0 \
    }

enum { RAW_CONNECTIONS_MAX = 256, RAW_REQUEST_MAX = 65536 };

struct raw_server {
    const struct raw_step *const *scripts;
    int n_scripts, listener;
    uint16_t port;
    pthread_t thread;
    atomic_bool is_stopping;
    atomic_int accepted, requests, open, open_max;
    pthread_mutex_t lock; /* guards the rest */
    int fds[RAW_CONNECTIONS_MAX];
    pthread_t threads[RAW_CONNECTIONS_MAX];
    char last_request[RAW_REQUEST_MAX];
};

struct raw_connection {
    struct raw_server *server;
    int fd, number;
};

/* False: the peer closed before a request was whole. */
static bool raw_read_request(struct raw_server *s, int fd)
{
    char *buffer = malloc(RAW_REQUEST_MAX);
    size_t len = 0;
    bool ok = false;
    while (len < RAW_REQUEST_MAX - 1) {
        ssize_t n = recv(fd, buffer + len, RAW_REQUEST_MAX - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        buffer[len] = '\0';
        char *end = strstr(buffer, "\r\n\r\n"), *length = strcasestr(buffer, "content-length:");
        if (end == NULL)
            continue;
        size_t want = (size_t)(end + 4 - buffer);
        if (length != NULL && length < end)
            want += strtoul(length + 15, NULL, 10);
        if (len >= want) {
            ok = true;
            pthread_mutex_lock(&s->lock);
            memcpy(s->last_request, buffer, len + 1);
            pthread_mutex_unlock(&s->lock);
            atomic_fetch_add(&s->requests, 1);
            break;
        }
    }
    free(buffer);
    return ok;
}

static bool raw_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void raw_hang(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, 0) > 0)
        ;
}

/* False: the script is over. */
static bool raw_do(struct raw_server *s, int fd, const struct raw_step *step)
{
    size_t len = step->len > 0 ? step->len : step->data != NULL ? strlen(step->data) : 0;
    struct linger linger = {1, 0};
    switch (step->action) {
    case RAW_READ:
        return raw_read_request(s, fd);
    case RAW_SEND:
        return raw_send(fd, step->data, len);
    case RAW_SLOWLY:
        for (size_t i = 0; i < len; i++) {
            if (!raw_send(fd, step->data + i, 1))
                return false;
            usleep(50);
        }
        return true;
    case RAW_REPEAT:
        for (uint32_t i = 0; i < step->times; i++)
            if (!raw_send(fd, step->data, len))
                return false;
        return true;
    case RAW_PAUSE:
        usleep(step->times * 1000);
        return true;
    case RAW_HANG:
        raw_hang(fd);
        return false;
    case RAW_RESET:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        return false;
    default:
        return false;
    }
}

static void *raw_converse(void *arg)
{
    struct raw_connection c = *(struct raw_connection *)arg;
    struct raw_server *s = c.server;
    free(arg);
    const struct raw_step *script =
        s->scripts[c.number < s->n_scripts ? c.number : s->n_scripts - 1];
    for (const struct raw_step *step = script;; step++) {
        if (step->action == RAW_AGAIN)
            step = script;
        if (!raw_do(s, c.fd, step))
            break;
    }
    atomic_fetch_sub(&s->open, 1);
    pthread_mutex_lock(&s->lock);
    close(c.fd);
    s->fds[c.number] = -1;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void *raw_accept(void *arg)
{
    struct raw_server *s = arg;
    for (;;) {
        int fd = accept(s->listener, NULL, NULL), on = 1;
        if (fd < 0)
            return NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct raw_connection *c = malloc(sizeof(*c));
        pthread_mutex_lock(&s->lock);
        *c = (struct raw_connection){s, fd, atomic_load(&s->accepted)};
        if (atomic_load(&s->is_stopping) || c->number == RAW_CONNECTIONS_MAX) {
            pthread_mutex_unlock(&s->lock);
            close(fd);
            free(c);
            return NULL;
        }
        s->fds[c->number] = fd;
        int open = atomic_fetch_add(&s->open, 1) + 1;
        if (open > atomic_load(&s->open_max))
            atomic_store(&s->open_max, open);
        int status = pthread_create(&s->threads[c->number], NULL, raw_converse, c);
        if (status != 0)
            abort();
        atomic_fetch_add(&s->accepted, 1);
        pthread_mutex_unlock(&s->lock);
    }
}

/* A listener on 127.0.0.<host>; *port 0 = a free one. */
static int raw_listen_at(uint8_t host, uint16_t *port, int backlog)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(*port),
                            .sin_addr.s_addr = htonl(0x7f000000u + host)};
    socklen_t len = sizeof(a);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    *port = ntohs(a.sin_port);
    return fd;
}

__attribute__((unused)) static int raw_listen(uint16_t *port, int backlog)
{
    *port = 0;
    return raw_listen_at(1, port, backlog);
}

static struct raw_server *raw_server_start_at(const struct raw_step *const *scripts, int n_scripts,
                                              uint8_t host, uint16_t port)
{
    struct raw_server *s = calloc(1, sizeof(*s));
    s->scripts = scripts;
    s->n_scripts = n_scripts;
    s->port = port;
    s->listener = raw_listen_at(host, &s->port, 128);
    pthread_mutex_init(&s->lock, NULL);
    if (pthread_create(&s->thread, NULL, raw_accept, s) != 0)
        abort();
    return s;
}

static struct raw_server *raw_server_start(const struct raw_step *const *scripts, int n_scripts)
{
    return raw_server_start_at(scripts, n_scripts, 1, 0);
}

static void raw_server_stop(struct raw_server *s)
{
    atomic_store(&s->is_stopping, true);
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    pthread_mutex_lock(&s->lock);
    int n = atomic_load(&s->accepted);
    for (int i = 0; i < n; i++)
        if (s->fds[i] >= 0)
            shutdown(s->fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < n; i++)
        pthread_join(s->threads[i], NULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

#endif
