/* A transaction: one bid request from the moment it is read until it is answered, captured and
 * forgotten. */
#ifndef PROXY_TRANSACTION_H
#define PROXY_TRANSACTION_H

#include "proxy/worker.h"

/* Takes the exchange; it will be answered, now or later. */
void transaction_begin(struct worker *w, struct exchange *e);
/* Aborts what is in flight (503) and frees all memory. */
void transactions_dispose(struct worker *w);

#endif
