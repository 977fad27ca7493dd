/*
 * What routers and hosts say of datagrams that a UDP socket has sent (ICMP), for who wants to count it. Nobody's word
 * is acted upon: it is easily forged.
 */
#ifndef CONESOCKS_NET_ICMP_H
#define CONESOCKS_NET_ICMP_H

#include <stdint.h>

enum icmp_kind {
    ICMP_PORT_UNREACHABLE, /* nobody listens there */
    ICMP_UNREACHABLE,      /* no way to the network or host, or a packet filter's */
    ICMP_TOO_BIG,
    ICMP_TTL, /* it went in a circle, or its fragments did not all arrive */
    ICMP_KIND_COUNT
};

/* From now on the socket keeps it, in the room that it has for datagrams: icmp_take() is to be called whenever it is
 * readable, for it stays that until all was taken. */
void icmp_keep(int fd, int family);
/* Takes what there is, not more than one fair share, and adds it to `counts`. */
void icmp_take(int fd, uint32_t counts[ICMP_KIND_COUNT]);

#endif
