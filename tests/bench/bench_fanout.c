/* CPU time of one exchange with a DSP: the DSP client against a bare epoll loop that does the same
 * writes and reads on raw sockets and understands nothing. Both fan one request of 1.3 KB out to 16
 * connections, one in twenty answers is a bid, the rest are 204s; the server is a thread. The two
 * take turns, and the medians of their turns are compared.
 *
 *   bench_fanout [rounds of a turn] */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proxy/net/dsp_client.h"

enum { DSPS = 16, BODY = 1300, TURNS = 7, BID_EVERY = 20 };

static const char nothing[] =
    "HTTP/1.1 204 No Content\r\nDate: Sat, 22 Nov 2025 10:00:00 GMT\r\n\r\n";
static char bid[1400];
static size_t bid_len;

/* ---- the DSPs: one thread, one epoll ---- */

static void answer(int fd, char *buffer, size_t size, uint64_t *count)
{
    ssize_t n = recv(fd, buffer, size, 0);
    if (n <= 0) {
        close(fd);
        return;
    }
    if (buffer[n - 1] != '}') /* it stands only where a request ends */
        return;
    if (++*count % BID_EVERY == 0)
        n = send(fd, bid, bid_len, MSG_NOSIGNAL);
    else
        n = send(fd, nothing, sizeof(nothing) - 1, MSG_NOSIGNAL);
    if (n < 0)
        close(fd);
}

static void *serve(void *arg)
{
    int listener = *(int *)arg, poll_fd = epoll_create1(0);
    static char buffer[65536];
    uint64_t count = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[64];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(poll_fd, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                answer(fd, buffer, sizeof(buffer), &count);
                continue;
            }
            int on = 1, accepted = accept(listener, NULL, NULL);
            if (accepted < 0)
                return NULL;
            setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            e = (struct epoll_event){.events = EPOLLIN, .data.fd = accepted};
            epoll_ctl(poll_fd, EPOLL_CTL_ADD, accepted, &e);
        }
    }
}

static uint64_t thread_cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* ---- the floor ---- */

struct floor {
    int poll_fd, fds[DSPS];
    char head[512];
    size_t head_len;
    char *body;
};

static void floor_open(struct floor *f, uint16_t port, char *body)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->body = body;
    f->head_len = (size_t)snprintf(f->head, sizeof(f->head),
                                   "POST /bid HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                                   "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n"
                                   "Content-Length: %d\r\n\r\n",
                                   port, BODY);
    f->poll_fd = epoll_create1(0);
    for (int i = 0; i < DSPS; i++) {
        int on = 1;
        f->fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(f->fds[i], (struct sockaddr *)&a, sizeof(a)) != 0)
            abort();
        setsockopt(f->fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct epoll_event e = {.events = EPOLLIN, .data.fd = f->fds[i]};
        epoll_ctl(f->poll_fd, EPOLL_CTL_ADD, f->fds[i], &e);
    }
}

static double floor_turn(struct floor *f, int rounds)
{
    struct epoll_event events[DSPS];
    char buffer[65536];
    uint64_t before_us = thread_cpu_us();
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < DSPS; i++) {
            struct iovec pieces[] = {{f->head, f->head_len}, {f->body, BODY}};
            if (writev(f->fds[i], pieces, 2) < 0)
                abort();
        }
        for (int left = DSPS; left > 0;) {
            int n = epoll_wait(f->poll_fd, events, DSPS, -1);
            for (int i = 0; i < n; i++, left--)
                if (recv(events[i].data.fd, buffer, sizeof(buffer), 0) <= 0)
                    abort();
        }
    }
    return (double)(thread_cpu_us() - before_us) / ((double)rounds * DSPS);
}

/* ---- the client ---- */

struct fanout {
    struct loop *loop;
    struct dsp_client *clients[DSPS];
    struct payload *payload;
    int open, rounds_left;
};

static void fan_out(struct fanout *f);

static void on_answer(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct fanout *f = ctx;
    if (result != DSP_CALL_OK)
        abort();
    if (--f->open > 0)
        return;
    if (--f->rounds_left > 0)
        fan_out(f);
    else
        loop_stop(f->loop);
}

static void fan_out(struct fanout *f)
{
    f->open = DSPS;
    for (int i = 0; i < DSPS; i++)
        dsp_client_call(f->clients[i], f->payload, bytes_of("120"), (struct bytes){NULL, 0},
                        on_answer, f);
}

static double client_turn(struct fanout *f, int rounds)
{
    uint64_t before_us = thread_cpu_us();
    f->rounds_left = rounds;
    fan_out(f);
    loop_run(f->loop);
    return (double)(thread_cpu_us() - before_us) / ((double)rounds * DSPS);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, TURNS, sizeof(*v), by_value);
    return v[TURNS / 2];
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 4000;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&a, len) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &len) != 0)
        return 1;
    char *body = malloc(BODY), url[64];
    memset(body, ' ', BODY);
    body[0] = '{';
    body[BODY - 1] = '}';
    bid_len = (size_t)snprintf(bid, sizeof(bid),
                               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                               "Content-Length: 1000\r\n\r\n%1000s",
                               "}");
    pthread_t server;
    pthread_create(&server, NULL, serve, &listener);

    struct floor floor;
    floor_open(&floor, ntohs(a.sin_port), body);
    struct error err = {""};
    struct fanout f = {.loop = loop_create(&err)};
    f.payload = payload_create((struct bytes){body, 100}, (struct bytes){body + 103, BODY - 103});
    struct dsp_client_options o;
    dsp_client_options_default(&o);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/bid", ntohs(a.sin_port));
    o.url = url;
    for (int i = 0; i < DSPS; i++)
        if ((f.clients[i] = dsp_client_create(f.loop, &o, &err)) == NULL)
            return 1;

    double client_us[TURNS], floor_us[TURNS];
    client_turn(&f, rounds / 10 + 1); /* connects, and warms both up */
    floor_turn(&floor, rounds / 10 + 1);
    for (int i = 0; i < TURNS; i++) {
        client_us[i] = client_turn(&f, rounds);
        floor_us[i] = floor_turn(&floor, rounds);
    }
    double client = median(client_us), bare = median(floor_us);
    printf("{\"bench\":\"fanout\",\"dsps\":%d,\"body_bytes\":%d,\"client_us\":%.2f,"
           "\"bare_epoll_us\":%.2f,\"ratio\":%.2f}\n",
           DSPS, BODY, client, bare, client / bare);
    for (int i = 0; i < DSPS; i++)
        dsp_client_destroy(f.clients[i]);
    payload_release(f.payload);
    loop_destroy(f.loop);
    free(body);
    return 0;
}
