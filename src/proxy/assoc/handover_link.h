/*
 * A connection between two processes that share one UDP port (shared_socket.h) while one takes over from the other.
 *
 * The new process has the listening sockets, so all datagrams of clients without a connected socket come to it. It
 * forwards those that are for none of its associations to the previous process, whose associations live until their
 * clients end them. The previous process sends it the listening sockets that it still opens. A process may have a
 * previous and a next one: its two links are in host->handover, which all workers may use.
 */
#ifndef CONESOCKS_PROXY_ASSOC_HANDOVER_LINK_H
#define CONESOCKS_PROXY_ASSOC_HANDOVER_LINK_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "net/dgram_io.h"

struct env;
struct handover_link;
struct host;

/* Says by which connection (SOCK_SEQPACKET) there is one; -1: none. The reader of the connection closes it. */
void handover_link_set_previous(struct host *host, int fd);
void handover_link_set_next(struct host *host, int fd);

/* Whether there is still a previous process, which gets its datagrams by way of this one. From any thread. */
bool handover_link_has_previous(const struct host *host);
/* Forwards a run to the previous process. From any thread. false: there is none (any more), or its queue is full. */
bool handover_link_pass_run(const struct host *host, const union netaddr *relay, const struct dgram_run *run);
/* Gives a socket to the next process. From any thread. The descriptor stays the caller's, to be closed. false: as
 * above. */
bool handover_link_give_socket(const struct host *host, int fd);

/* Takes over a connection to either process: this worker receives from it. NULL: no memory, and the connection was
 * given up. */
struct handover_link *handover_link_new(struct env *env, int fd);
/* NULL is fine. */
void handover_link_free(struct handover_link *link);

/* Ends a connection that no worker receives by: to both processes it is as if the other had ended. The descriptor is
 * never closed, since other threads may be about to send by it, and its number must not be another file's then. */
void handover_link_give_up(struct host *host, int fd);

#endif
