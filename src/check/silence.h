/*
 * Why no datagram comes back, from what else was tried. Pure: what was seen goes in, who is to blame comes out.
 */
#ifndef CONESOCKS_CHECK_SILENCE_H
#define CONESOCKS_CHECK_SILENCE_H

#include <stdbool.h>

enum silence_seen { SILENCE_NOT_TRIED, SILENCE_ANSWERED, SILENCE_STAYED };

struct silence {
    bool rejected;                       /* by ICMP, on our side of the proxy */
    bool no_route;                       /* the system would not even send it to the relay's address */
    bool told_elsewhere;                 /* the relay's address is none that we can expect to reach */
    enum silence_seen at_proxys_address; /* sent to the address that the TCP connection goes to */
    enum silence_seen with_our_address;  /* when the request named the address and port that it sends from */
    enum silence_seen over_tcp;          /* with the datagrams inside the TCP connection; the way out is the same */
    enum silence_seen without_proxy;     /* straight from here */
};

enum silence_cause {
    SILENCE_BOUND_ADDRESS, /* the proxy names an address that is not the one to send to */
    SILENCE_HINT,          /* it wants to be told the client's port beforehand */
    SILENCE_WAY_IN,        /* between us and the relay's port */
    SILENCE_CLOSED,        /* likewise, and somebody says so */
    SILENCE_WAY_OUT,       /* between the proxy and the far end */
    SILENCE_FAR_END,       /* it answers nobody */
    SILENCE_EITHER,        /* way in or way out: cannot be told from here */
};

enum silence_cause silence_judge(const struct silence *silence);

#endif
