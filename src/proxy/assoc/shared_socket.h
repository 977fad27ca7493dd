/*
 * The listening sockets of one-port mode (udp.ports: 1080). A client's datagrams arrive there until its association has
 * a connected socket. Each worker has one for each local address that its associations use.
 *
 * What comes to these sockets is looked up in host->shared_port, under its lock. So is what an association's own socket
 * receives from another sender before it is connected. If the association is another worker's, the datagrams are copied
 * into new memory and posted to that worker's inbox, which has a lock, too.
 */
#ifndef CONESOCKS_PROXY_ASSOC_SHARED_SOCKET_H
#define CONESOCKS_PROXY_ASSOC_SHARED_SOCKET_H

#include <stddef.h>

#include "base/netaddr.h"
#include "net/dgram_io.h"

struct env;
struct shared_socket;

/* The owner of an entry in the table of the shared port. `deliver` is called on its worker's thread with datagrams that
 * another socket than the association's has received. */
struct shared_member {
    void (*deliver)(struct shared_member *member, const struct dgram_run *run);
};

/* Listens at `relay`, an address with the port, for one more association. 0 or a negative errno (-EBUSY: the port is
 * another program's). */
int shared_socket_join(struct shared_socket **out, struct env *env, const union netaddr *relay);
void shared_socket_leave(struct shared_socket *socket);

/* Brings what came to `relay` to its association, here or in the previous process, or drops and counts it. */
void shared_socket_route(struct env *env, const union netaddr *relay, const struct dgram_run *run);

/*
 * An upgrade: the listening sockets go to another process, which forwards what is for our associations
 * (handover_link.h).
 *
 * Copies of those of this worker. 0 or an errno; `*fds` is to be freed, and what is in it to be closed, even then.
 */
int shared_sockets_copy(struct env *env, int **fds, size_t *count);
/* Closes our copies: from now on only the other process reads these sockets, and those opened since. */
void shared_sockets_give_up(struct env *env);
/* Takes over a listening socket, for good. */
void shared_socket_adopt(struct env *env, int fd);
/* Closes those that were taken over or copied, at this worker's end. */
void shared_sockets_close(struct env *env);

#endif
