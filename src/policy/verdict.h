/*
 * May this client do that? Rules, reach, and this host's own addresses and ports, in one answer.
 *
 * In this order: what nobody may; loops; the first rule that matches, if it denies, or if it allows the address by
 * name of a network that is as special as the address itself; this host's own addresses; reach.
 */
#ifndef CONESOCKS_POLICY_VERDICT_H
#define CONESOCKS_POLICY_VERDICT_H

#include "conf/config.h"
#include "policy/own.h"
#include "policy/own_ports.h"
#include "policy/reach.h"
#include "policy/rules.h"

enum verdict_code {
    VERDICT_ALLOWED,
    VERDICT_RULE,  /* a rule denies it */
    VERDICT_REACH, /* `reach` denies it */
    VERDICT_OWN,   /* one of this host's own addresses, and no external port of ours */
    VERDICT_LOOP,  /* this proxy's own listener or relay port */
    VERDICT_NEVER, /* multicast, broadcast, unspecified */
    VERDICT_COUNT
};

struct verdict {
    enum verdict_code code;
    enum reach_place place;
    uint32_t rule; /* the rule that matched, or RULES_NO_MATCH */
};

/* What decides beside the rules, which the subject knows. */
struct policy {
    const struct config *config;
    struct own_hosts *own;                      /* held by the owner of this; NULL: none are known */
    struct own_ports *own_ports;                /* the process's; NULL: it has none */
    union netaddr advertised_v4, advertised_v6; /* AF_UNSPEC: none */
};

/* What the world takes for this host, of the family of `address`; AF_UNSPEC: nothing is known. */
const union netaddr *policy_advertised(const struct policy *policy, const union netaddr *address);

/* Whether an address is this host's, or what the world takes for it; not the loopback's. */
bool policy_is_own(const struct policy *policy, const union netaddr *canonical);

/* Whether a connection to it arrives at this proxy's own listeners. */
bool policy_is_listener(const struct policy *policy, const union netaddr *to);

/* `to` is the address to be used, with its port; `name` what was asked for, NULL when that was the address. */
struct verdict verdict_find(const struct policy *policy, const struct subject *subject, const char *name,
                            const union netaddr *to);

/* The same, whether or not the port is one of this proxy's own. */
struct verdict verdict_find_on_any_port(const struct policy *policy, const struct subject *subject, const char *name,
                                        const union netaddr *to);

/* Room for what verdict_explain() says. */
#define VERDICT_TEXT_MAX 256
/* Who or what refused it, and which key would allow it; "allowed" and why, when it is. `to`: NULL not to tell it.
 * Returns `text`. */
const char *verdict_explain(const struct verdict *verdict, const union netaddr *to, char *text);

#endif
