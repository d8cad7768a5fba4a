/* What the files of net/ share and nobody else sees: h2o's loop behind ours, and the scratch memory
 * that one thread's I/O can share because its callbacks never nest. */
#ifndef PROXY_NET_NET_INTERNAL_H
#define PROXY_NET_NET_INTERNAL_H

#include <h2o.h>
#include <h2o/version.h>

#include "proxy/net/loop.h"

_Static_assert(H2O_VERSION_MAJOR == 2 && H2O_VERSION_MINOR == 2,
               "loop_destroy and server_free clean up what h2o 2.2.5 forgets: look again");

struct gunzip;
struct resolver;

h2o_loop_t *loop_h2o(struct loop *l);

/* Every callback that h2o makes into net/ calls this first: it dates the beginning of the turn (for
 * the lag) and gives a clock that is read once a turn. */
uint64_t loop_turn_us(struct loop *l);

/* Things that end only in a later turn (a server whose connections are being cut) hold the loop;
 * loop_destroy runs turns until none is left. */
void loop_hold(struct loop *l);
void loop_release(struct loop *l);

/* One buffer for reading, LOOP_SCRATCH_BYTES long: what arrives whole is handled in it and never
 * copied. */
enum { LOOP_SCRATCH_BYTES = 65536 };
char *loop_scratch(struct loop *l);

/* Made at the first use; gone with the loop. */
struct resolver *loop_resolver(struct loop *l);
struct gunzip *loop_gunzip(struct loop *l);

#endif
