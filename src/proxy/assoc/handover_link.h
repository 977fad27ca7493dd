/*
 * Two processes at the UDP port of all associations (shared_port.h), while an upgrade lasts. The younger one has the
 * listening sockets, at which all arrives that comes for a client without a connected socket. What is for none of its
 * associations it passes on to the elder, whose associations look for their clients as ever; and a socket that the
 * elder still has to open goes to the younger. A process may have both, an elder and a younger one.
 */
#ifndef CONESOCKS_PROXY_ASSOC_HANDOVER_LINK_H
#define CONESOCKS_PROXY_ASSOC_HANDOVER_LINK_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "net/dgram_io.h"

struct env;
struct handover_link;

/* Says by which connection (SOCK_SEQPACKET) there is one, before anything below; -1: none. It stays the caller's. */
void handover_link_set_elder(int fd);
void handover_link_set_younger(int fd);

/* Whether there is one still: what is for it comes by way of us. From any thread. */
bool handover_link_has_elder(void);
/* From any thread. false: there is none (any more), or it does not keep up. */
bool handover_link_pass(const union netaddr *relay, const struct dgram_run *run);
/* The descriptor stays the caller's, to be closed. */
bool handover_link_give(int fd);

/* Takes over a connection to either, and what comes by it, to this worker and from there to where it belongs. NULL: no
 * memory, and it was given up. */
struct handover_link *handover_link_new(struct env *env, int fd);
/* For both it is as if the other had ended. The descriptor stays open for good: other threads may be about to send by
 * it, and it must not be another's by then. */
void handover_link_give_up(int fd);
/* NULL is fine. */
void handover_link_free(struct handover_link *kin);

#endif
