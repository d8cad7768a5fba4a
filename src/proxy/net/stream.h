/* An outbound connection, TCP or TLS, that never blocks. Reading is always on. Loop's thread only.
 *
 * h2o_socket_t serves as the readiness notifier alone; reads and writes are ours, because h2o reads
 * until the socket is empty, however much that is. */
#ifndef PROXY_NET_STREAM_H
#define PROXY_NET_STREAM_H

#include <sys/uio.h>

#include "proxy/net/loop.h"
#include "proxy/net/resolver.h"
#include "proxy/net/tls_client.h"

/* Called from the loop only. Each may close the stream. */
struct stream_events {
    void (*opened)(void *ctx, bool ok);  /* once */
    void (*readable)(void *ctx);         /* also at the end of the stream, and at errors */
    void (*written)(void *ctx, bool ok); /* after STREAM_PENDING */
};

enum { STREAM_PIECES_MAX = 4 };

struct stream {
    struct loop *loop;
    const struct stream_events *events;
    void *ctx;
    struct st_h2o_socket_t *sock; /* NULL: closed */
    SSL *ssl;
    int fd;
    bool is_connected, is_open; /* TCP is through; TLS too */
    struct iovec pieces[STREAM_PIECES_MAX];
    uint32_t n_pieces; /* still to be written */
    char *gathered;    /* TLS: pieces[0], in our memory */
};

/* Zero-initialise the stream. False: refused at once, no event follows. */
bool stream_open(struct stream *s, struct loop *l, const struct address *to, struct tls_client *tls,
                 const struct stream_events *events, void *ctx);
void stream_close(struct stream *s); /* no event afterwards */

/* PENDING: the memory stays as it is until `written`. One write at a time. */
enum stream_write { STREAM_WRITTEN, STREAM_PENDING, STREAM_BROKEN };
enum stream_write stream_write(struct stream *s, const struct iovec *pieces, uint32_t n);

/* > 0 bytes, or one of: */
enum { STREAM_END = 0, STREAM_AGAIN = -1, STREAM_FAILED = -2 };
ssize_t stream_read(struct stream *s, char *buffer, size_t size);

#endif
