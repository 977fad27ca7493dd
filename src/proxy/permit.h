/*
 * Asks the policy before anything leaves, and counts and logs a refusal with the option that would allow it.
 *
 * A subject has to be compiled for the active rules: see permit_renew(). One that is not is denied everything.
 */
#ifndef CONESOCKS_PROXY_PERMIT_H
#define CONESOCKS_PROXY_PERMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "policy/verdict.h"

struct env;
struct proxy_client;

/* Compiles the subject of `client` for the active rules, unless it is. To be called before the first check after a
 * reload. false: no memory. */
bool permit_renew(struct env *env, struct subject *subject, const struct proxy_client *client);

/* For `count` datagrams, or one request, to the address `to`; `name` is what was asked for, NULL when that was the
 * address. `rule` (may be NULL) gets the rule that allows it, or RULES_NO_MATCH. */
bool permit(struct env *env, const struct subject *subject, const char *name, const union netaddr *to, uint32_t count,
            uint32_t *rule);
/* Before a name is resolved; its addresses still need permit(). */
bool permit_name(struct env *env, const struct subject *subject, const char *name, uint16_t port, uint32_t count);

/* For a name that leaves as it is, to be resolved by an upstream: nothing else is asked. */
bool permit_unresolved(struct env *env, const struct subject *subject, const char *name, uint16_t port, uint32_t count);

/* Before a command is granted that serves several destinations: whether any is allowed (policy/destinations.h). */
bool permit_any(struct env *env, const struct subject *subject, bool names_leave);

/* The same for one address, whatever its port. `rule` as for permit(). */
bool permit_any_port(struct env *env, const struct subject *subject, const union netaddr *address, uint32_t *rule);

#endif
