/* The BidResponse of a simulated buyer. */
#ifndef LOADTEST_REPLY_H
#define LOADTEST_REPLY_H

#include "loadtest/buyer.h"

enum { REPLY_BYTES_MAX = 32768 };

/* Writes it to out; {NULL, 0} if it does not fit (an id of a stranger may be of any length). */
struct bytes reply_compose(const struct buyer *b, const struct view *v,
                           const struct buyer_bid *bids, uint32_t n, char out[REPLY_BYTES_MAX]);

#endif
