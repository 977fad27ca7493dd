/*
 * On what terms a session is served: what the rule says that lets it through, else what its user's entry says, else
 * the configuration. Settled once, when the session's request is granted.
 */
#ifndef CONESOCKS_POLICY_TERMS_H
#define CONESOCKS_POLICY_TERMS_H

#include <stdint.h>
#include <stdio.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* How much may pass in each direction, in a second; 0: any amount. A rule's is for each session, a user's entry has the
 * user's. */
struct rate {
    uint64_t bytes; /* payload */
    uint64_t datagrams;
};

struct terms {
    enum config_filtering filtering;      /* associations: does not change during their life */
    union netaddr address_v4, address_v6; /* to connect and send from, the client's own of several (RFC 4787's paired
                                             pooling); AF_UNSPEC: the system chooses */
    uint32_t mark;                        /* SO_MARK of what faces the internet; 0: none */
    const char *interface;                /* the configuration's; NULL: that of the route */
    uint8_t dscp;
    const struct config_upstream *upstream; /* to leave by; NULL: none. The configuration's */
    struct rate session;                    /* for this session alone */
    struct rate user;                       /* for all sessions of its user together; nothing without a login */
};

/* `user` is NULL without a login; `rule` (its index) is the one that lets the session through, or RULES_NO_MATCH. For
 * an association that is rules_find_everywhere(). */
struct terms terms_find(const struct config *config, const struct config_user *user, uint32_t rule,
                        const union netaddr *client);

/* Writes one line that tells which terms are not those of the configuration, and who says so; nothing when all are. */
void terms_explain(const struct config *config, const struct config_user *user, uint32_t rule, FILE *out);

#endif
