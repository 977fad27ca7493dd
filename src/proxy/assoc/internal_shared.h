/*
 * The internal end at the one UDP port of all associations (udp.ports: 1080): a socket of its own beside the listening
 * ones (shared_socket.h), bound and connected when its client is known. From then on the kernel tells the clients
 * apart.
 */
#ifndef CONESOCKS_PROXY_ASSOC_INTERNAL_SHARED_H
#define CONESOCKS_PROXY_ASSOC_INTERNAL_SHARED_H

struct assoc;

/* Opens it at flow.relay, which gets the port. 0 or a negative errno (-EBUSY: the port is another program's). */
int internal_shared_open(struct assoc *assoc);

#endif
