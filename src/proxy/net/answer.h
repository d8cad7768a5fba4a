/* One HTTP/1.x answer as it arrives, parsed where it lies. Knows no socket.
 *
 * The caller keeps one buffer that holds the answer from its first byte, appends what it reads and
 * feeds the whole of it again. Interim (1xx) answers and chunk framing are cut out of the buffer in
 * place, so feeding may shorten it. */
#ifndef PROXY_NET_ANSWER_H
#define PROXY_NET_ANSWER_H

#include <stdint.h>

#include "bytes.h"

enum answer_progress { ANSWER_MORE, ANSWER_DONE, ANSWER_MALFORMED, ANSWER_TOO_LARGE };

struct answer {
    size_t head_bytes_max, body_bytes_max;
    int status;
    bool is_persistent; /* the connection may be used again... */
    bool has_surplus;   /* ...unless bytes follow that nobody asked for */
    bool is_gzip;
    size_t body_at, body_len; /* in the caller's buffer, once it is done */

    /* its own */
    uint8_t framing;
    uint8_t interim;
    size_t seen;       /* of the head: known to be incomplete; of chunks: decoded up to here */
    uint64_t overhead; /* bytes of chunk framing */
    struct {
        size_t bytes_left_in_chunk;
        char consume_trailer, hex_count, state, room[45]; /* libh2o's, and room to spare */
    } chunks;
};

void answer_begin(struct answer *a, size_t head_bytes_max, size_t body_bytes_max);
enum answer_progress answer_feed(struct answer *a, char *base, size_t *len);
/* The peer closed in an orderly way: true if that was the end of the body, and it is done. */
bool answer_end(struct answer *a, size_t len);

#endif
