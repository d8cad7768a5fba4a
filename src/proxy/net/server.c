/* h2o's HTTP/1 server with what it lacks: a cap on connections, strict framing, a limit on how long
 * an answer may take to be read, a stop that loses nobody.
 *
 * h2o owns a connection and closes it in its own time, so we never close its sockets: to cut one,
 * we shut its descriptor down, and h2o sees the end of file or the broken pipe. We learn of the end
 * of a connection by the socket's on_close, and of the end of an exchange (answer written, or
 * connection gone) by the disposal of a small block in the request's pool.
 *
 * While a handler is pending h2o neither reads nor times out, so only server_destroy can take a
 * request away from it: the exchange is then an orphan, whose answer goes nowhere. */
#include "proxy/net/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/list.h"
#include "proxy/net/net_internal.h"

enum {
    BACKLOG = 4096,
    ACCEPTS_PER_TURN = 64,
    ACCEPT_PAUSE_US = 50000, /* out of descriptors: try again after it */
    STOP_LISTEN_US = 1000,   /* from the last handshake begun to the close: above the RTT nearby */
    STOP_GRACE_US = 250000,  /* an idle client may send one more request, answered with `close` */
    HANDSHAKE_TIMEOUT_MS = 10000
};

struct server {
    struct loop *loop;
    server_cb cb;
    void *ctx;
    uint32_t connections_max;
    uint64_t write_timeout_us;
    uint16_t port;

    h2o_globalconf_t config;
    h2o_context_t h2o;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener; /* NULL once stopped */
    bool is_accepting;

    struct list connections;
    uint32_t n_connections;
    struct list writing; /* answered exchanges, oldest first */
    struct list unused;  /* exchanges for the next requests */

    struct timer accept_timer, write_timer, stop_timer, finish_timer;
    bool is_stopping, is_destroyed;
    void (*done)(void *ctx);
    void *done_ctx;
};

struct connection {
    struct list link;
    struct server *server;
    h2o_socket_t *sock;
    struct exchange *exchange; /* the one that h2o is busy with, or NULL */
};

struct exchange {
    struct list link; /* writing or unused */
    struct connection *connection;
    h2o_req_t *req;         /* NULL: an orphan */
    struct exchange **slot; /* in the request's pool; its disposal tells the end */
    uint64_t started_us, answered_us;
    bool is_answered;
};

struct handler {
    h2o_handler_t super;
    struct server *server;
};

static void connection_cut(struct connection *c, int how)
{
    shutdown(h2o_socket_get_fd(c->sock), how);
}

/* ---- accepting ---- */

static void on_accept(h2o_socket_t *listener, const char *err);

static void accept_resume(void *ctx)
{
    struct server *s = ctx;
    if (s->listener != NULL && !s->is_accepting && s->n_connections < s->connections_max) {
        s->is_accepting = true;
        h2o_socket_read_start(s->listener, on_accept);
    }
}

static void accept_pause(struct server *s)
{
    s->is_accepting = false;
    h2o_socket_read_stop(s->listener);
}

static void finish(void *ctx);

static void on_close(void *ctx)
{
    struct connection *c = ctx;
    struct server *s = c->server;
    assert(c->exchange == NULL);
    list_unlink(&c->link);
    free(c);
    s->n_connections--;
    accept_resume(s);
    if (s->is_stopping && s->n_connections == 0)
        timer_set(s->loop, &s->finish_timer, 0, finish, s);
}

/* False: there is none to accept now. */
static bool accept_one(struct server *s)
{
    h2o_socket_t *sock = h2o_evloop_socket_accept(s->listener);
    if (sock == NULL) {
        if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
            return true;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_pause(s);
            timer_set(s->loop, &s->accept_timer, loop_now_us() + ACCEPT_PAUSE_US, accept_resume, s);
        }
        return false;
    }
    struct connection *c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    c->server = s;
    c->sock = sock;
    list_push_back(&s->connections, &c->link);
    s->n_connections++;
    sock->on_close.cb = on_close;
    sock->on_close.data = c;
    h2o_accept(&s->accept, sock);
    return true;
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
    struct server *s = listener->data;
    loop_turn_us(s->loop);
    for (int i = 0; i < ACCEPTS_PER_TURN && s->n_connections < s->connections_max; i++)
        if (!accept_one(s))
            return;
    if (s->n_connections >= s->connections_max)
        accept_pause(s);
}

/* ---- strict framing ---- */

static bool name_is(const char *line, const char *end, const char *name)
{
    size_t len = strlen(name);
    return (size_t)(end - line) > len && strncasecmp(line, name, len) == 0 && line[len] == ':';
}

/* h2o takes the last Transfer-Encoding, else the first Content-Length, and hides both. Whoever
 * stands before us may choose otherwise, and then a body is a request: refuse what can be read in
 * two ways. The head still lies at the start of the socket's input, up to the entity. */
static bool framing_is_strict(const h2o_req_t *req, const h2o_socket_t *sock)
{
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_iovec_t *name = req->headers.entries[i].name;
        if (name->len == 0 || name->base[name->len - 1] == ' ' || name->base[name->len - 1] == '\t')
            return false;
    }
    if (req->entity.base == NULL)
        return true;
    const char *p = sock->input->bytes, *end = req->entity.base;
    if (end < p || (size_t)(end - p) > sock->input->size)
        return false;
    unsigned lengths = 0, codings = 0;
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (line_end == NULL)
            break;
        lengths += name_is(p, line_end, "content-length");
        codings += name_is(p, line_end, "transfer-encoding");
        p = line_end + 1;
    }
    return lengths + codings == 1 && (codings == 0 || req->version >= 0x101);
}

/* ---- exchanges ---- */

static void on_request_disposed(void *slot_memory)
{
    struct exchange *e = *(struct exchange **)slot_memory;
    if (e == NULL)
        return;
    struct server *s = e->connection->server;
    e->connection->exchange = NULL;
    list_unlink(&e->link);
    e->req = NULL;
    e->connection = NULL;
    if (e->is_answered)
        list_push_front(&s->unused, &e->link);
}

static struct exchange *exchange_take(struct connection *c, h2o_req_t *req)
{
    struct server *s = c->server;
    struct exchange *e;
    if (list_is_empty(&s->unused)) {
        e = malloc(sizeof(*e));
        if (e == NULL)
            abort();
    } else {
        e = LIST_ITEM(s->unused.next, struct exchange, link);
        list_unlink(&e->link);
    }
    *e = (struct exchange){.connection = c, .req = req, .started_us = loop_now_us()};
    e->slot = h2o_mem_alloc_shared(&req->pool, sizeof(struct exchange *), on_request_disposed);
    *e->slot = e;
    c->exchange = e;
    return e;
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct server *s = ((struct handler *)self)->server;
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    loop_turn_us(s->loop);
    struct exchange *e = exchange_take(sock->on_close.data, req);
    if (s->is_destroyed || !framing_is_strict(req, sock)) {
        req->http1_is_persistent = 0;
        exchange_respond(e, s->is_destroyed ? 503 : 400, NULL, 0, (struct bytes){NULL, 0});
    } else {
        s->cb(s->ctx, e);
    }
    return 0;
}

struct bytes exchange_method(const struct exchange *e)
{
    if (e->req == NULL)
        return (struct bytes){NULL, 0};
    return (struct bytes){e->req->input.method.base, e->req->input.method.len};
}

struct bytes exchange_path(const struct exchange *e)
{
    if (e->req == NULL)
        return (struct bytes){NULL, 0};
    const h2o_iovec_t *path = &e->req->input.path;
    const char *question = memchr(path->base, '?', path->len);
    return (struct bytes){path->base,
                          question != NULL ? (size_t)(question - path->base) : path->len};
}

struct bytes exchange_query(const struct exchange *e)
{
    if (e->req == NULL)
        return (struct bytes){NULL, 0};
    const h2o_iovec_t *path = &e->req->input.path;
    const char *question = memchr(path->base, '?', path->len);
    if (question == NULL)
        return (struct bytes){NULL, 0};
    return (struct bytes){question + 1, path->len - (size_t)(question + 1 - path->base)};
}

struct bytes exchange_header(const struct exchange *e, const char *lower_name)
{
    if (e->req == NULL)
        return (struct bytes){NULL, 0};
    if (strcmp(lower_name, "host") == 0)
        return (struct bytes){e->req->input.authority.base, e->req->input.authority.len};
    ssize_t i = h2o_find_header_by_str(&e->req->headers, lower_name, strlen(lower_name), -1);
    if (i < 0)
        return (struct bytes){NULL, 0};
    const h2o_iovec_t *value = &e->req->headers.entries[i].value;
    return (struct bytes){value->base, value->len};
}

struct bytes exchange_body(const struct exchange *e)
{
    if (e->req == NULL)
        return (struct bytes){NULL, 0};
    return (struct bytes){e->req->entity.base, e->req->entity.len};
}

uint64_t exchange_started_us(const struct exchange *e)
{
    return e->started_us;
}

void *exchange_alloc(struct exchange *e, size_t size)
{
    assert(e->req != NULL);
    return h2o_mem_alloc_pool(&e->req->pool, size);
}

static const char *reason_phrase(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {204, "No Content"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {413, "Content Too Large"},
                   {415, "Unsupported Media Type"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {500, "Internal Server Error"},
                   {503, "Service Unavailable"}};
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

static void cut_slow_readers(void *ctx)
{
    struct server *s = ctx;
    uint64_t now_us = loop_now_us();
    while (!list_is_empty(&s->writing)) {
        struct exchange *e = LIST_ITEM(s->writing.next, struct exchange, link);
        uint64_t due_us = e->answered_us + s->write_timeout_us;
        if (due_us > now_us) {
            timer_set(s->loop, &s->write_timer, due_us, cut_slow_readers, s);
            return;
        }
        list_unlink(&e->link);
        connection_cut(e->connection, SHUT_RDWR);
    }
}

static void add_headers(h2o_req_t *req, const struct http_header *headers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        h2o_iovec_t name = h2o_strdup(&req->pool, headers[i].name, SIZE_MAX);
        h2o_iovec_t value = h2o_strdup(&req->pool, headers[i].value.base, headers[i].value.len);
        h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 1, NULL,
                              value.base, value.len);
    }
}

void exchange_respond(struct exchange *e, int status, const struct http_header *headers,
                      uint32_t n_headers, struct bytes body)
{
    h2o_req_t *req = e->req;
    if (req == NULL) { /* its connection was cut under the handler */
        free(e);
        return;
    }
    assert(!e->is_answered);
    struct server *s = e->connection->server;
    e->is_answered = true;
    e->answered_us = loop_turn_us(s->loop);
    if (s->write_timeout_us > 0)
        list_push_back(&s->writing, &e->link);
    if (s->write_timeout_us > 0 && s->write_timer.heap_index == 0)
        timer_set(s->loop, &s->write_timer, e->answered_us + s->write_timeout_us, cut_slow_readers,
                  s);
    if (s->is_stopping)
        req->http1_is_persistent = 0;
    bool has_body = status != 204 && status != 304;
    req->res.status = status;
    req->res.reason = reason_phrase(status);
    req->res.content_length = has_body ? body.len : SIZE_MAX;
    add_headers(req, headers, n_headers);
    if (!has_body || h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD")))
        body = (struct bytes){NULL, 0};
    if (body.len > 0) {
        h2o_send_inline(req, body.base, body.len);
    } else {
        /* An empty buffer would cost h2o a second, empty write, after waiting for EPOLLOUT. */
        static h2o_generator_t no_generator = {NULL, NULL};
        h2o_start_response(req, &no_generator);
        h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
    }
}

/* ---- life ---- */

static SSL_CTX *load_tls(const struct server_options *o, struct error *err)
{
    const char *what = "TLS context", *file = "";
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL)
        goto fail;
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    what = "TLS certificate ", file = o->tls_certificate;
    if (SSL_CTX_use_certificate_chain_file(tls, o->tls_certificate) != 1)
        goto fail;
    what = "TLS key ", file = o->tls_key;
    if (SSL_CTX_use_PrivateKey_file(tls, o->tls_key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1)
        goto fail;
    return tls;
fail:;
    char reason[256];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    error_set(err, "%s%s: %s", what, file, reason);
    ERR_clear_error();
    SSL_CTX_free(tls);
    return NULL;
}

static int listen_on(const struct server_options *o, struct error *err)
{
    const char *host = o->host != NULL ? o->host : "";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found;
    char port[8];
    snprintf(port, sizeof(port), "%u", o->port);
    int status = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (status != 0)
        return error_set(err, "listen on %s:%u: %s", host, o->port, gai_strerror(status));
    int on = 1, fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (o->reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        error_set(err, "listen on %s:%u: %s", host, o->port, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &len);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static void set_up_h2o(struct server *s, const struct server_options *o, SSL_CTX *tls)
{
    h2o_config_init(&s->config);
    s->config.server_name = h2o_iovec_init(NULL, 0);
    s->config.max_request_entity_size = o->body_bytes_max;
    s->config.handshake_timeout = HANDSHAKE_TIMEOUT_MS;
    s->config.http1.req_timeout = o->idle_timeout_ms;
    s->config.http1.upgrade_to_http2 = 0;
    h2o_hostconf_t *host =
        h2o_config_register_host(&s->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *handler = (struct handler *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->server = s;
    h2o_context_init(&s->h2o, loop_h2o(s->loop), &s->config);
    s->accept.ctx = &s->h2o;
    s->accept.hosts = s->config.hosts;
    s->accept.ssl_ctx = tls;
}

struct server *server_create(struct loop *l, const struct server_options *o, server_cb cb,
                             void *ctx, struct error *err)
{
    SSL_CTX *tls = NULL;
    if (o->tls_certificate != NULL && (tls = load_tls(o, err)) == NULL)
        return NULL;
    int fd = listen_on(o, err);
    struct server *s = fd >= 0 ? calloc(1, sizeof(*s)) : NULL;
    if (s == NULL) {
        if (fd >= 0)
            close(fd);
        SSL_CTX_free(tls);
        return NULL;
    }
    s->loop = l;
    s->cb = cb;
    s->ctx = ctx;
    s->connections_max = o->connections_max > 0 ? o->connections_max : 1;
    s->write_timeout_us = (uint64_t)o->write_timeout_ms * 1000;
    s->port = bound_port(fd);
    list_init(&s->connections);
    list_init(&s->writing);
    list_init(&s->unused);
    set_up_h2o(s, o, tls);
    s->listener = h2o_evloop_socket_create(loop_h2o(l), fd, H2O_SOCKET_FLAG_DONT_READ);
    s->listener->data = s;
    accept_resume(s);
    loop_hold(l);
    return s;
}

uint16_t server_port(const struct server *s)
{
    return s->port;
}

void server_limit_body(struct server *s, uint32_t body_bytes_max)
{
    s->config.max_request_entity_size = body_bytes_max; /* h2o looks at it as each body comes in */
}

uint32_t server_connections(const struct server *s)
{
    return s->n_connections;
}

static void stop_listening(struct server *s)
{
    if (s->listener == NULL)
        return;
    /* What the kernel has accepted for us would be reset by the close. */
    for (int i = 0; i < BACKLOG && !s->is_destroyed && accept_one(s); i++)
        ;
    timer_clear(s->loop, &s->accept_timer);
    h2o_socket_close(s->listener);
    s->listener = NULL;
}

/* A close resets the handshakes that are not through, and a connection that comes after the last
 * accept. So at first no handshake begins: a filter drops SYNs, and nothing else, before the
 * listener sees them. Those that had begun end and are accepted; a caller whose SYN was dropped
 * sends it again a second later, by when another process listens alone. Where the kernel hands over
 * to the other process what a close leaves behind, all that is not needed. */
static bool kernel_hands_over(void)
{
    char value = '0';
    int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, &value, 1);
    close(fd);
    return n == 1 && value == '1';
}

static void refuse_handshakes(struct server *s)
{
    if (kernel_hands_over())
        return;
    enum { TCP_FLAGS_AT = 13, SYN = 0x02, ACK = 0x10 };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS_AT),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    setsockopt(h2o_socket_get_fd(s->listener), SOL_SOCKET, SO_ATTACH_FILTER, &program,
               sizeof(program));
}

/* Closed by h2o as soon as it sees the end of file; a request that is being read is left to the
 * idle timeout, one that is being answered ends by `Connection: close`. */
static void close_idle(void *ctx)
{
    struct server *s = ctx;
    for (struct list *at = s->connections.next; at != &s->connections; at = at->next) {
        struct connection *c = LIST_ITEM(at, struct connection, link);
        if (c->exchange == NULL && c->sock->input->size == 0)
            connection_cut(c, SHUT_RD);
    }
}

static void server_free(struct server *s)
{
    struct loop *l = s->loop;
    while (!list_is_empty(&s->unused)) {
        struct exchange *e = LIST_ITEM(s->unused.next, struct exchange, link);
        list_unlink(&e->link);
        free(e);
    }
    timer_clear(l, &s->accept_timer);
    timer_clear(l, &s->write_timer);
    timer_clear(l, &s->stop_timer);
    timer_clear(l, &s->finish_timer);
    SSL_CTX *tls = s->accept.ssl_ctx;
    h2o_multithread_queue_t *queue = s->h2o.queue;
    h2o_context_dispose(&s->h2o);
    free(queue); /* 2.2.5 disposes of what is in it only */
    h2o_config_dispose(&s->config);
    SSL_CTX_free(tls);
    free(s);
    loop_release(l);
}

static void finish(void *ctx)
{
    struct server *s = ctx;
    if (s->n_connections > 0 || s->listener != NULL)
        return;
    if (s->is_destroyed) {
        server_free(s);
    } else if (s->done != NULL) {
        void (*done)(void *) = s->done;
        s->done = NULL;
        done(s->done_ctx);
    }
}

static void begin_stop(struct server *s)
{
    s->is_stopping = true;
    /* All that h2o_context_request_shutdown does for HTTP/1; for HTTP/2 it would also start a
     * timeout that outlives the context. */
    s->h2o.shutdown_requested = 1;
}

static void end_listening(struct server *s)
{
    stop_listening(s);
    if (s->n_connections == 0)
        timer_set(s->loop, &s->finish_timer, 0, finish, s);
}

static void on_handshakes_over(void *ctx)
{
    struct server *s = ctx;
    end_listening(s);
    timer_set(s->loop, &s->stop_timer, loop_now_us() + STOP_GRACE_US, close_idle, s);
}

void server_stop(struct server *s, void (*done)(void *ctx), void *ctx)
{
    assert(!s->is_stopping);
    s->done = done;
    s->done_ctx = ctx;
    begin_stop(s);
    refuse_handshakes(s);
    timer_set(s->loop, &s->stop_timer, loop_now_us() + STOP_LISTEN_US, on_handshakes_over, s);
}

/* Takes the request away from whoever will answer it, and answers it to the closed socket, which
 * makes h2o close the connection. */
static void orphan(struct exchange *e)
{
    h2o_req_t *req = e->req;
    *e->slot = NULL;
    e->connection->exchange = NULL;
    e->connection = NULL;
    e->req = NULL;
    req->http1_is_persistent = 0;
    req->res.status = 503;
    req->res.reason = reason_phrase(503);
    req->res.content_length = 0;
    h2o_send_inline(req, "", 0);
}

void server_destroy(struct server *s)
{
    if (s == NULL)
        return;
    assert(!s->is_destroyed);
    s->is_destroyed = true;
    s->done = NULL;
    begin_stop(s);
    timer_clear(s->loop, &s->stop_timer);
    end_listening(s);
    /* h2o closes nothing before the next turn, so the list holds still. */
    for (struct list *at = s->connections.next; at != &s->connections; at = at->next) {
        struct connection *c = LIST_ITEM(at, struct connection, link);
        connection_cut(c, SHUT_RDWR);
        if (c->exchange != NULL && !c->exchange->is_answered)
            orphan(c->exchange);
    }
}
