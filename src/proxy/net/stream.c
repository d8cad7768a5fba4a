/* Events arrive through two h2o callbacks, readable and writable; what they mean depends on how far
 * the connection is: connecting, shaking hands, open. Whatever is called back may close the stream
 * and free what holds it, so a callback is always the last thing done. */
#include "proxy/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/net/net_internal.h"

static void on_readable(h2o_socket_t *sock, const char *err);
static void on_writable(h2o_socket_t *sock, const char *err);

static void want_writable(struct stream *s)
{
    if (!h2o_socket_is_writing(s->sock))
        h2o_socket_notify_write(s->sock, on_writable);
}

bool stream_open(struct stream *s, struct loop *l, const struct address *to, struct tls_client *tls,
                 const struct stream_events *events, void *ctx)
{
    *s = (struct stream){.loop = l, .events = events, .ctx = ctx};
    s->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (s->fd < 0)
        return false;
    if ((connect(s->fd, &to->any, to->len) != 0 && errno != EINPROGRESS) ||
        (tls != NULL && (s->ssl = tls_client_connection(tls, s->fd)) == NULL)) {
        close(s->fd);
        return false;
    }
    /* Sets TCP_NODELAY, too. */
    s->sock = h2o_evloop_socket_create(loop_h2o(l), s->fd, H2O_SOCKET_FLAG_DONT_READ);
    s->sock->data = s;
    want_writable(s);
    return true;
}

void stream_close(struct stream *s)
{
    if (s->sock == NULL)
        return;
    if (s->ssl != NULL) {
        if (s->is_open && s->n_pieces == 0) {
            ERR_clear_error();
            SSL_shutdown(s->ssl); /* says goodbye, does not wait for the answer */
        }
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
    free(s->gathered);
    s->gathered = NULL;
    h2o_socket_close(s->sock);
    s->sock = NULL;
}

/* ---- writing ---- */

static enum stream_write write_plain(struct stream *s)
{
    struct msghdr message = {.msg_iov = s->pieces, .msg_iovlen = s->n_pieces};
    ssize_t sent;
    do
        sent = sendmsg(s->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN)
        return STREAM_BROKEN;
    size_t n = sent > 0 ? (size_t)sent : 0;
    uint32_t done = 0;
    while (done < s->n_pieces && n >= s->pieces[done].iov_len)
        n -= s->pieces[done++].iov_len;
    s->n_pieces -= done;
    if (s->n_pieces == 0)
        return STREAM_WRITTEN;
    memmove(s->pieces, s->pieces + done, s->n_pieces * sizeof(*s->pieces));
    s->pieces[0].iov_base = (char *)s->pieces[0].iov_base + n;
    s->pieces[0].iov_len -= n;
    want_writable(s);
    return STREAM_PENDING;
}

static enum stream_write write_tls(struct stream *s)
{
    struct iovec *rest = &s->pieces[0];
    while (rest->iov_len > 0) {
        ERR_clear_error();
        int n = SSL_write(s->ssl, rest->iov_base, (int)rest->iov_len);
        if (n <= 0) {
            int reason = SSL_get_error(s->ssl, n);
            if (reason == SSL_ERROR_WANT_WRITE)
                want_writable(s);
            else if (reason != SSL_ERROR_WANT_READ) /* then a readable event tries again */
                return STREAM_BROKEN;
            return STREAM_PENDING;
        }
        rest->iov_base = (char *)rest->iov_base + n;
        rest->iov_len -= (size_t)n;
    }
    s->n_pieces = 0;
    free(s->gathered);
    s->gathered = NULL;
    return STREAM_WRITTEN;
}

/* A TLS record a piece would be a system call a piece. */
static bool gather(struct stream *s)
{
    size_t total = 0, at = 0;
    for (uint32_t i = 0; i < s->n_pieces; i++)
        total += s->pieces[i].iov_len;
    if (total > INT_MAX || (s->gathered = malloc(total + 1)) == NULL)
        return false;
    for (uint32_t i = 0; i < s->n_pieces; i++) {
        memcpy(s->gathered + at, s->pieces[i].iov_base, s->pieces[i].iov_len);
        at += s->pieces[i].iov_len;
    }
    s->pieces[0] = (struct iovec){s->gathered, total};
    s->n_pieces = 1;
    return true;
}

enum stream_write stream_write(struct stream *s, const struct iovec *pieces, uint32_t n)
{
    assert(s->is_open && s->n_pieces == 0 && n <= STREAM_PIECES_MAX);
    s->n_pieces = 0;
    for (uint32_t i = 0; i < n; i++)
        if (pieces[i].iov_len > 0)
            s->pieces[s->n_pieces++] = pieces[i];
    if (s->n_pieces == 0)
        return STREAM_WRITTEN;
    if (s->ssl == NULL)
        return write_plain(s);
    return gather(s) ? write_tls(s) : STREAM_BROKEN;
}

/* ---- events ---- */

static void shake_hands(struct stream *s)
{
    ERR_clear_error();
    int n = SSL_do_handshake(s->ssl);
    if (n == 1) {
        s->is_open = true;
        s->events->opened(s->ctx, true);
        return;
    }
    int reason = SSL_get_error(s->ssl, n);
    if (reason == SSL_ERROR_WANT_WRITE)
        want_writable(s);
    else if (reason != SSL_ERROR_WANT_READ)
        s->events->opened(s->ctx, false);
}

static void on_connected(struct stream *s)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        s->events->opened(s->ctx, false);
        return;
    }
    s->is_connected = true;
    h2o_socket_read_start(s->sock, on_readable);
    if (s->ssl != NULL) {
        shake_hands(s);
        return;
    }
    s->is_open = true;
    s->events->opened(s->ctx, true);
}

/* False: the stream may be gone. */
static bool write_on(struct stream *s)
{
    enum stream_write result = s->ssl != NULL ? write_tls(s) : write_plain(s);
    if (result == STREAM_PENDING)
        return true;
    s->events->written(s->ctx, result == STREAM_WRITTEN);
    return false;
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct stream *s = sock->data;
    loop_turn_us(s->loop);
    if (!s->is_connected)
        on_connected(s);
    else if (!s->is_open)
        shake_hands(s);
    else if (s->n_pieces > 0)
        write_on(s);
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    struct stream *s = sock->data;
    loop_turn_us(s->loop);
    if (!s->is_open) {
        shake_hands(s);
        return;
    }
    /* TLS may have needed to read before it could write on. If that ends the write, what there is
     * to read stays readable for the next turn; what TLS holds back already is the reader's to ask
     * for. */
    if (s->ssl != NULL && s->n_pieces > 0 && !h2o_socket_is_writing(sock) && !write_on(s))
        return;
    s->events->readable(s->ctx);
}

ssize_t stream_read(struct stream *s, char *buffer, size_t size)
{
    if (s->ssl == NULL) {
        ssize_t n;
        do
            n = recv(s->fd, buffer, size, 0);
        while (n < 0 && errno == EINTR);
        return n >= 0 ? n : errno == EAGAIN ? STREAM_AGAIN : STREAM_FAILED;
    }
    ERR_clear_error();
    int n = SSL_read(s->ssl, buffer, size < INT_MAX ? (int)size : INT_MAX);
    if (n > 0)
        return n;
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return STREAM_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return STREAM_END;
    default:
        return STREAM_FAILED;
    }
}
