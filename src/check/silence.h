/*
 * Decides why no datagram comes back, from what else was tried. Pure.
 */
#ifndef CONESOCKS_CHECK_SILENCE_H
#define CONESOCKS_CHECK_SILENCE_H

#include <stdbool.h>

enum silence_seen { SILENCE_NOT_TRIED, SILENCE_ANSWERED, SILENCE_STAYED };

struct silence {
    bool forbidden;                      /* by this machine's own firewall, or one that reports it as such */
    bool rejected;                       /* by ICMP, on our side of the proxy */
    bool relay_is_open;                  /* it rejects questions, but not a datagram that it need not forward */
    bool no_route;                       /* this machine has no route to the relay's address */
    bool told_elsewhere;                 /* the relay's address is of a network that we cannot expect to reach */
    bool ended;                          /* the server ended the association after it was sent a datagram */
    bool several_servers;                /* were asked, so not all of them are down */
    bool unroutable;                     /* the proxy answers a CONNECT to the test server with "unreachable" */
    enum silence_seen at_proxys_address; /* sent to the address that the TCP connection goes to */
    enum silence_seen with_our_address;  /* when the request named the address and port that it sends from */
    enum silence_seen over_tcp;          /* with the datagrams inside the TCP connection; the way out is the same */
    enum silence_seen without_proxy;     /* sent directly from here; not tried if there is no way */
    enum silence_seen by_tcp;            /* a question by TCP, through the proxy, in the same family */
};

enum silence_cause {
    SILENCE_BOUND_ADDRESS, /* the proxy names an address that is not the one to send to */
    SILENCE_HINT,          /* the proxy needs the client's port in the request */
    SILENCE_FORBIDDEN,     /* this machine's firewall */
    SILENCE_WAY_IN,        /* between us and the relay's port */
    SILENCE_CLOSED,        /* likewise, and an ICMP error tells it */
    SILENCE_FORWARD,       /* the server takes datagrams, but gives up when it forwards one */
    SILENCE_WAY_OUT,       /* between the proxy and the test server */
    SILENCE_SERVER,        /* the test server does not answer at all */
    SILENCE_BEYOND,        /* one of the last two: unknown which */
    SILENCE_EITHER,        /* way in or way out: unknown */
    SILENCE_CAUSES,
};

enum silence_cause silence_judge(const struct silence *silence);

#endif
