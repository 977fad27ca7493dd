/*
 * The local ports that this process uses, by local address. It finds a free port for a relay socket, an external socket
 * or a listener of BIND.
 *
 * Each port is exclusive at its address and chosen at random (RFC 6056) among those that have rested: peers of an
 * association may still send after its end, and the port's next association must not receive that. When none has rested
 * long enough, the one that has rested longest is used.
 */
#ifndef CONESOCKS_NET_PORTS_H
#define CONESOCKS_NET_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct ports;
struct local_ports;

/* The ports to choose from. */
struct port_range {
    struct ports *ports;
    const char *option;   /* the key of the configuration that sets it, for the log */
    bool random;          /* no range is configured: it is the system's */
    uint16_t first, last; /* both included */
    uint16_t except;      /* a port that is never given, the shared port; 0: none */
    uint16_t wanted;      /* to be tried first, even outside the range; 0: none */
    bool stream;          /* TCP, which has ports of its own; else UDP */
    bool everywhere;      /* the port must be free at all addresses, since some sockets are bound to every address */
    bool from_network;    /* see ports_allow_network() */
    uint64_t rest_ms;     /* how long a port is left alone after its use */
};

/* Lets a socket be bound to an IPv6 address that this host has by a local route for a whole network, not at an
 * interface. */
void ports_allow_network(int fd, int family);

/* A range at a local address; the port of `local` does not matter. */
struct port_place {
    struct port_range range;
    union netaddr local;
};

/* A port in use. All zero: none. */
struct port_lease {
    struct local_ports *from;
    uint16_t port;
    bool early; /* no port had rested long enough */
};

/* One for all workers; any thread may call the functions below, which take its lock. NULL: no memory. */
struct ports *ports_new(void);
/* After all leases are released. NULL is fine. */
void ports_free(struct ports *ports);

/* The range that the system gives to outgoing connections (net.ipv4.ip_local_port_range). */
struct port_range port_range_of_system(struct ports *ports);

/* Binds `fd` to the host of `local` and a free port of the range, which is written to `local`. 0 or a negative errno:
 * -EADDRINUSE when every port is in use. The number of tries is bounded, so that may also mean that other programs have
 * nearly all of them. */
int ports_bind(const struct port_range *range, int fd, union netaddr *local, uint64_t now_ms, struct port_lease *lease);
/* After the socket was closed: the port rests for range->rest_ms from `used_until_ms` on, the time of the last
 * datagram. 0: none passed, and it need not rest. */
void ports_release(const struct port_range *range, struct port_lease *lease, uint64_t used_until_ms, uint64_t now_ms);

/* Whether releasing the port makes one free at that place. false also if the lease has no port. */
bool ports_is_at(const struct port_lease *lease, const struct port_place *place);

/* Over all local addresses at which ports of a range were used lately. */
struct port_use {
    uint64_t used, resting, total;
    uint64_t addresses, full; /* how many there are; at how many of them every port is in use */
    bool exhausted;           /* in one family, every port is in use at all addresses */
};
struct port_use ports_use(const struct port_range *range, uint64_t now_ms);

/* The same, for a range of the configuration. */
#define PORT_RANGES_MAX 2
struct port_usage {
    const char *option;
    uint16_t first, last;
    struct port_use use;
};

#endif
