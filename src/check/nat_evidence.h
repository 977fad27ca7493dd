/*
 * Concludes a NAT's type from what ordinary STUN servers and strangers have seen. Pure: steps/nat.c does the measuring.
 *
 * Mapping: one association asks servers at different addresses, and each answers which address and port it sees.
 * Filtering: a stranger, which the association has not sent anything to, sends to that address and port. Its silence
 * proves something only if it gets through later, after the association has sent to it.
 */
#ifndef CONESOCKS_CHECK_NAT_EVIDENCE_H
#define CONESOCKS_CHECK_NAT_EVIDENCE_H

#include <stddef.h>

#include "check/nat.h"

#define NAT_VIEWS_MAX 8

/* What a server, or this machine, sees as the association's address. */
struct nat_view {
    union netaddr from, mapped;
};

/* A stranger's datagrams. */
struct nat_stranger {
    enum nat_seen at_first;      /* before the association has sent anything to its address */
    enum nat_seen after_address; /* after it has sent to another port of that address */
    enum nat_seen after_port;    /* after it has sent to that address and port */
};

/* The direct way between this machine and the internet. */
struct nat_own_way {
    bool has_family; /* this machine can send in that IP version at all */
    bool answered;   /* a STUN server answers directly */
    bool changes;    /* this machine's own NAT uses another port for each destination */
    bool is_near;    /* this machine is in the proxy's network: its datagrams pass no router that protects both */
    bool one_socket; /* clients and peers send to the same port of the proxy, which takes us for the client */
    bool hears;      /* datagrams of the association arrive here */
};

struct nat_evidence {
    struct nat_view views[NAT_VIEWS_MAX];
    size_t view_count;
    bool last_is_ours;                /* the last view is this machine's */
    struct nat_observations server;   /* of a server with two addresses */
    struct nat_stranger here, client; /* a socket of this machine; another association of the same proxy */
    struct nat_own_way way;
};

/* What a conclusion about filtering rests on. */
enum nat_basis {
    NAT_BASIS_NONE,
    NAT_BASIS_SERVER, /* a STUN server's second address */
    NAT_BASIS_HERE,   /* a socket of this machine */
    NAT_BASIS_CLIENT, /* another association: what it shows holds on the proxy's host, whatever is in front of that */
    NAT_BASES,
};

/* Why the filtering is unknown. */
enum nat_doubt {
    NAT_DOUBT_NONE,
    NAT_DOUBT_NEAR_OPEN,   /* this machine gets in, but from the proxy's own network */
    NAT_DOUBT_NEAR_SILENT, /* it does not, but perhaps because of the router that both share */
    NAT_DOUBT_NO_FAMILY,
    NAT_DOUBT_NO_WAY,     /* UDP does not leave this network without the proxy */
    NAT_DOUBT_ONE_SOCKET, /* the proxy takes this machine for its client, whatever it sends */
    NAT_DOUBT_OWN_NAT,
    NAT_DOUBT_LOST, /* UDP leaves this network, but does not reach the proxy's port */
    NAT_DOUBTS,
};

struct nat_conclusion {
    struct nat_verdict verdict;
    size_t places;              /* how many different addresses have seen ours */
    const struct nat_view *odd; /* the only one that sees something else; NULL: none */
    enum nat_basis basis;
    enum nat_doubt doubt;
    bool proxy_is_open; /* the proxy itself does not filter; whether something in front of it does is unknown */
};

/* Points into the evidence. */
struct nat_conclusion nat_conclude(const struct nat_evidence *evidence);

#endif
