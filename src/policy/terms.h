/*
 * The terms of an allowed session: rates, outbound address, mark, filtering, upstream. Each comes from the rule that
 * allows the session, else from the user's entry, else from the listener, else from the rest of the configuration. They
 * are looked up once, when the session's request is granted.
 */
#ifndef CONESOCKS_POLICY_TERMS_H
#define CONESOCKS_POLICY_TERMS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* How much may pass in each direction, in a second; 0: any amount. A rule and a listener set it for each session, a
 * user's entry for all sessions of the user together. */
struct rate {
    uint64_t bytes; /* payload */
    uint64_t datagrams;
};

struct terms {
    enum config_filtering filtering;      /* associations: does not change during their life */
    union netaddr address_v4, address_v6; /* to connect and send from, the client's own of several (RFC 4787's paired
                                             pooling); AF_UNSPEC: the system chooses */
    uint32_t mark;                        /* SO_MARK of the sockets towards the internet; 0: none */
    bool from_network;                    /* the IPv6 address is one of a whole network: the host need not have it */
    const char *interface;                /* to bind to; NULL: the route decides. The configuration's string */
    uint8_t dscp;
    const struct config_upstream *upstream; /* NULL: straight to the destination. The configuration's */
    struct rate session;                    /* for this session alone */
    struct rate user;                       /* for all sessions of its user together; nothing without a login */
};

/* Whose terms these are. */
struct terms_holder {
    uint32_t rule; /* the one that allows the session, or RULES_NO_MATCH. For an association it is that of
                      rules_find_everywhere() */
    const struct config_user *user;         /* NULL: no login */
    const struct config_listener *listener; /* NULL: a reload has removed it */
    const union netaddr *client;
    const union netaddr *local; /* the address that the client has connected to; AF_UNSPEC: not known */
};

struct terms terms_find(const struct config *config, const struct terms_holder *holder);

/* Writes one line with the terms that a rule, the user's entry or the listener sets, and which of them does; nothing if
 * none. */
void terms_explain(const struct config *config, const struct terms_holder *holder, FILE *out);

#endif
