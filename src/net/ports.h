/*
 * The ports that this process has in use, at each local address: finds a free one for a relay or external socket, or
 * for a listener of BIND.
 *
 * Ports are exclusive, random (RFC 6056) and rested: what the internet still sends to a port when its association has
 * ended must not reach the next one. When none has rested long enough, the one that has rested longest serves. They are
 * bound by number, not by asking for "any": only a port that was named survives when a UDP socket lets its peer go.
 */
#ifndef CONESOCKS_NET_PORTS_H
#define CONESOCKS_NET_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct ports;
struct local_ports;

/* Where to choose from. */
struct port_range {
    struct ports *ports;
    const char *option;   /* that sets it, for the log */
    bool random;          /* nothing was configured: it is the system's */
    uint16_t first, last; /* both included */
    uint16_t except;      /* one that is somebody else's; 0: none */
    uint16_t wanted;      /* to be tried first, also when it is not of the range; 0: none */
    bool stream;          /* of TCP, which has ports of its own */
    bool everywhere;      /* sockets that have such a port at every address take theirs from this range, too */
    uint64_t rest_ms;     /* how long a port is left alone after its use */
};

/* A range at a local address; the port of `local` does not matter. */
struct port_place {
    struct port_range range;
    union netaddr local;
};

/* A port that is taken. All zero: none. */
struct port_lease {
    struct local_ports *from;
    uint16_t port;
    bool early; /* no port had rested long enough */
};

/* One for the process; any thread may call the functions below. NULL: no memory. */
struct ports *ports_new(void);
/* After all leases are released. NULL is fine. */
void ports_free(struct ports *ports);

/* The range that the system gives to outgoing connections (net.ipv4.ip_local_port_range). */
struct port_range port_range_of_system(struct ports *ports);

/* Binds `fd` to the host of `local` and a free port of the range, which `local` gets. 0 or a negative errno:
 * -EADDRINUSE when every port is in use. The number of tries is bounded: in a range that other programs have taken
 * nearly all of, that may be said too early. */
int ports_bind(const struct port_range *range, int fd, union netaddr *local, uint64_t now_ms, struct port_lease *lease);
/* The socket is closed, and its port rests after `used_until_ms`, when the last datagram passed; 0: none did, and it
 * does not have to. `range` tells for how long. */
void ports_release(const struct port_range *range, struct port_lease *lease, uint64_t used_until_ms, uint64_t now_ms);

/* Whether the port, once released, can be had at that place. false: no port is taken. */
bool ports_is_at(const struct port_lease *lease, const struct port_place *place);

/* Summed over all local addresses where ports of that range were taken lately. */
struct port_use {
    uint64_t used, resting, total;
    uint64_t addresses, full; /* how many there are, and at how many of them every port is in use */
    bool exhausted;           /* in one family that is so at all addresses */
};
struct port_use ports_use(const struct port_range *range, uint64_t now_ms);

/* The same, of a range that the configuration names. */
#define PORT_RANGES_MAX 2
struct port_usage {
    const char *option;
    uint16_t first, last;
    struct port_use use;
};

#endif
