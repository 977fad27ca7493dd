/*
 * Decides why no datagram comes back, from what else was tried. Pure.
 */
#ifndef CONESOCKS_CHECK_SILENCE_H
#define CONESOCKS_CHECK_SILENCE_H

#include <stdbool.h>

enum silence_seen { SILENCE_NOT_TRIED, SILENCE_ANSWERED, SILENCE_STAYED };

struct silence {
    bool rejected;                       /* by ICMP, on our side of the proxy */
    bool no_route;                       /* the system refuses to send to the relay's address */
    bool forbidden;                      /* likewise, because of a rule of this machine's firewall */
    bool told_elsewhere;                 /* the relay's address is of a network that we cannot expect to reach */
    enum silence_seen at_proxys_address; /* sent to the address that the TCP connection goes to */
    enum silence_seen with_our_address;  /* when the request named the address and port that it sends from */
    enum silence_seen over_tcp;          /* with the datagrams inside the TCP connection; the way out is the same */
    enum silence_seen without_proxy;     /* sent directly from here */
    enum silence_seen by_tcp;            /* STUN over a TCP connection through the proxy */
    bool several_servers;                /* there are so many test servers that one at least is up */
};

enum silence_cause {
    SILENCE_BOUND_ADDRESS, /* the proxy names an address that is not the one to send to */
    SILENCE_FORBIDDEN,     /* this machine's own firewall */
    SILENCE_HINT,          /* the proxy needs the client's port in the request */
    SILENCE_WAY_IN,        /* between us and the relay's port */
    SILENCE_CLOSED,        /* likewise, and an ICMP error tells it */
    SILENCE_WAY_OUT,       /* between the proxy and the test server */
    SILENCE_SERVER,        /* the test server does not answer at all */
    SILENCE_EITHER,        /* way in or way out: unknown */
    SILENCE_CAUSES,
};

enum silence_cause silence_judge(const struct silence *silence);

#endif
