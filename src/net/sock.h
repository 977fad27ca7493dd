/*
 * Sockets as this proxy uses them: non-blocking, close-on-exec, with the options that belong to their purpose.
 * Functions that make a socket return the descriptor or a negative errno. Those that make one for a session leave
 * `reserve` free (net/reserve.h).
 */
#ifndef CONESOCKS_NET_SOCK_H
#define CONESOCKS_NET_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/netaddr.h"

struct descriptor_reserve;
struct port_lease;
struct port_range;

/* What sock_udp() asks for in each direction: the usual default holds some ninety datagrams. The kernel grants up to
 * net.core.rmem_max and wmem_max, and reports twice that, with its own bookkeeping. */
#define SOCK_UDP_BUFFER (1024 * 1024)

/* A TCP listener. `shared`: one of several that split the connections to this address between them (SO_REUSEPORT).
 * The wildcard :: also takes IPv4. */
int sock_listen(const union netaddr *address, bool shared);
/* The same, shared, whose socket belongs to the user `owner`: the kernel lets addresses overlap only among the sockets
 * of one user. */
int sock_listen_as(const union netaddr *address, uid_t owner);
/* Makes `owner` the user of a socket, if this process may. */
void sock_give(int fd, uid_t owner);
/* A TCP listener of our own at a port of the range; `address` gets the port, as of ports_bind(). */
int sock_listen_within(struct descriptor_reserve *reserve, union netaddr *address, const struct port_range *range,
                       uint64_t now_ms, struct port_lease *lease);

/* Makes a listener that another process has opened one of ours, and tells its address. 0, or a negative errno:
 * -EOPNOTSUPP: it is no listening TCP socket. */
int sock_adopt_listener(int fd, union netaddr *address);

/* Accepts one connection; `peer` is unmapped. */
int sock_accept(int listener, union netaddr *peer);

/* Finds a dead peer after about two minutes of silence. What a listener accepts has it from the start; an outgoing
 * connection that lives long enough to need it is its owner's to ask for. */
void sock_keepalive(int fd);

/* How what a socket sends leaves this host; all zero: as the system does it. */
struct sock_egress {
    uint32_t mark;      /* SO_MARK, by which the system's routing and firewall rules know it: takes CAP_NET_ADMIN */
    char interface[16]; /* SO_BINDTODEVICE, both ways; empty: that of the route */
    uint8_t dscp;       /* 0 to 63 */
    bool from_network;  /* its IPv6 address is one of a network that is local by a route, not by an interface */
};

/* Of a new socket. 0, or a negative errno (ENODEV: there is no such interface now). */
int sock_set_egress(int fd, int family, const struct sock_egress *egress);

/* How a connection leaves this host. */
struct sock_way {
    union netaddr from; /* this host's address; AF_UNSPEC, or another family's: the system's choice */
    struct sock_egress egress;
};

/* Starts a TCP connection; `way` may be NULL: all is the system's choice. The connection is ready, or has failed
 * (sock_error), when the socket becomes writable. A negative errno: -EADDRNOTAVAIL
 * when this host does not have the address in `way`, -EADDRINUSE when no port is left. */
int sock_connect(struct descriptor_reserve *reserve, const union netaddr *to, const struct sock_way *way);

/* A UDP socket on the host of `local` with a port from `ports`: exclusive, no broadcast; datagrams larger than the
 * path are fragmented, and forged "packet too big" messages change nothing. On the wildcard :: it sends from this
 * host's public addresses, not from temporary ones. `local` gets the port, which is to be given back by ports_release()
 * when the socket is closed. */
int sock_udp(struct descriptor_reserve *reserve, union netaddr *local, const struct port_range *range, uint64_t now_ms,
             struct port_lease *lease);

/* Has a socket send from no temporary address (RFC 8981), unless it is bound to one: they give way to new ones every
 * day, and a flow would change its address in the middle. */
void sock_avoid_temporary(int fd, int family);

/* A UDP socket as above, but not bound yet. `shared`: to an address that others like it may have, too, if they are of
 * the same user (SO_REUSEPORT). */
int sock_udp_open(struct descriptor_reserve *reserve, int family, bool shared);
/* 0 or a negative errno. */
int sock_udp_bind(int fd, const union netaddr *local);

/* Tells the kernel to join no datagrams, even if the previous owner of the socket asked for it. */
void sock_udp_join_nothing(int fd);

/* Has what it sends leave whole or not at all ("don't fragment"), for who finds out the path's MTU himself: no router's
 * word about that counts. A datagram that is too large for the interface is refused (EMSGSIZE). */
void sock_udp_probe(int fd, int family);

/* Gives a UDP socket's receive queue this much room from now on; what it holds stays. */
void sock_udp_set_room(int fd, int bytes);

/* From now on a TCP connection takes nothing more to send while this many bytes have not been sent yet: what is new
 * should not wait behind all that its buffer could hold. */
void sock_tcp_set_room(int fd, int bytes);

/* Fixes the peer of a UDP socket, or lets it go; the local port stays. 0 or a negative errno. */
int sock_udp_connect(int fd, const union netaddr *peer);
int sock_udp_disconnect(int fd);

/* A socket for questions about routes and addresses, which reports the changes that `groups` (RTMGRP_*) names. A
 * negative errno if there is none. */
int sock_netlink(uint32_t groups);

/* The pending error of a socket (positive errno), 0 when there is none. */
int sock_error(int fd);
/* The socket's own address and the other side's, unmapped; AF_UNSPEC when there is none. */
union netaddr sock_local(int fd);
/* The index of the interface that a socket is bound to, as what a listener at an interface accepts is; 0: none. */
unsigned sock_interface(int fd);
union netaddr sock_peer(int fd);
/* The kernel's memory for a socket: what is queued both ways with its bookkeeping, and about what the socket itself
 * takes. */
size_t sock_memory(int fd);
/* Whether the peer of a TCP connection may still acknowledge some of what was written to it. */
bool sock_awaits_acknowledgment(int fd);
/* Whether the peer of a TCP connection has vanished: it owes an acknowledgment, and nothing at all has come from it for
 * about two minutes. A peer that owes nothing is found by sock_keepalive(). */
bool sock_has_vanished(int fd);
/* Whether a TCP connection is over both ways: reset, timed out, or closed by both ends. A half-close is not. */
bool sock_is_lost(int fd);
/* Closes with a reset, so that the peer does not take a broken stream for a complete one. */
void sock_abort(int fd);

/* The address that a datagram to `address` would leave from, by its route; AF_UNSPEC: there is none, or what else errno
 * says. `way` as for sock_connect(), with port 0. */
union netaddr sock_source_for(const union netaddr *address, const struct sock_way *way);
/* The same for where the default route leads. */
union netaddr sock_default_source(int family);
/* Whether it would find a route. */
bool sock_has_route(const union netaddr *address, const struct sock_way *way);

#endif
