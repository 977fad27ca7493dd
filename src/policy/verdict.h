/*
 * The answer to one check of a policy: may this subject send to that destination? Asked for each new destination of an
 * association and for each request.
 *
 * The first of these that applies decides:
 *   1. destinations that are never allowed,
 *   2. loops,
 *   3. the first rule that matches, if it denies,
 *   4. the same rule, if it allows a network as special as the address: 0.0.0.0/0 does not open 127.0.0.1,
 *   5. this host's own addresses,
 *   6. reach.
 */
#ifndef CONESOCKS_POLICY_VERDICT_H
#define CONESOCKS_POLICY_VERDICT_H

#include "policy/policy.h"
#include "policy/reach.h"
#include "policy/rules.h"

enum verdict_code {
    VERDICT_ALLOWED,
    VERDICT_RULE,  /* a rule denies it */
    VERDICT_REACH, /* `reach` denies it */
    VERDICT_OWN,   /* one of this host's own addresses, and no external port of this process */
    VERDICT_LOOP,  /* this proxy's own listener or relay port */
    VERDICT_NEVER, /* multicast, broadcast, unspecified */
    VERDICT_COUNT
};

struct verdict {
    enum verdict_code code;
    enum reach_place place;
    uint32_t rule; /* the rule that matched, or RULES_NO_MATCH */
};

/* `to` is the address to be used, with its port; `name` is what the client asked for, NULL when it was the address. */
struct verdict verdict_find(const struct policy *policy, const struct subject *subject, const char *name,
                            const union netaddr *to);

/* The same, but a port of this process counts as any other. */
struct verdict verdict_find_on_any_port(const struct policy *policy, const struct subject *subject, const char *name,
                                        const union netaddr *to);

/* Room for the text of verdict_explain(). */
#define VERDICT_TEXT_MAX 256
/* What denied it, and which key of the configuration would allow it; or that it is allowed, and why. `to`: NULL leaves
 * the address out. Returns `text`. */
const char *verdict_explain(const struct verdict *verdict, const union netaddr *to, char *text);

#endif
