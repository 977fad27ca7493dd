/*
 * One UDP port for the clients of all associations (udp.ports: 1080). A listening socket for each worker and local
 * address hears those whose association is not known yet (shared_port_table.h); each association has a socket of its
 * own beside it, which is bound and connected when its client is known: from then on the kernel tells them apart, and
 * its datagrams take the ordinary way.
 *
 * Between bind and connect that socket hears anybody, and what finds an association may find one of another worker. So
 * whoever receives what is not for itself passes it on: shared_port_route().
 */
#ifndef CONESOCKS_PROXY_ASSOC_SHARED_PORT_H
#define CONESOCKS_PROXY_ASSOC_SHARED_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "host/shared_port_table.h"
#include "net/dgram_io.h"

struct env;

/* What an association has of the port. */
struct share;

/* Takes what came for the association to another socket than its own; called on its worker's thread. */
typedef void share_deliver(void *arg, const struct dgram_run *run);

/* Listens at `relay`, an address with the port, for an association whose client has the address `host`; `hint_port` as
 * in shared_port_table.h. Returns a socket for it, which share_tie() is for, or a negative errno (-EBUSY: the port is
 * another program's). */
int share_new(struct share **out, struct env *env, const union netaddr *relay, const union netaddr *host,
              uint16_t hint_port, share_deliver *deliver, void *arg);
/* After its socket was closed. NULL: nothing. */
void share_free(struct share *share);

/* Binds the association's socket, if it is not yet: to be done before anything is sent. 0 or a negative errno. */
int share_bind(struct share *share, int fd);
/* Connects it, once bound, to the client that it has from now on. `held`: no other port of that address may be it. */
int share_connect(struct share *share, int fd, const union netaddr *client, bool held);
/* Says who is the client (AF_UNSPEC: nobody yet), and who else may be it. */
void share_set(struct share *share, const union netaddr *client, enum shared_port_state state);
/* The client has been silent: another port of its address may take over. To be said as often as one likes. */
void share_set_quiet(struct share *share, const union netaddr *client);

/*
 * An upgrade: the listening sockets go to another process, which passes on what is for our associations
 * (handover_link.h).
 *
 * Copies of those of this worker. 0 or an errno; `*fds` is to be freed, and what is in it to be closed, even then.
 */
int shared_port_copy(struct env *env, int **fds, size_t *count);
/* They are the other's alone from now on, and so is what has been opened since. */
void shared_port_give_up(struct env *env);
/* Takes over a listening socket, for good. */
void shared_port_adopt(struct env *env, int fd);
/* Closes those that were taken over or copied, at this worker's end. */
void shared_port_close(struct env *env);

/* Brings what came to `relay` to its association, here or in the process of before, or drops and counts it. */
void shared_port_route(struct env *env, const union netaddr *relay, const struct dgram_run *run);

#endif
