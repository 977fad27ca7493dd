/*
 * Whether a policy allows a subject any destination at all. Asked before an association or a listening port is granted:
 * if there is none, the request is refused at once, and the client does not wait for answers in vain.
 */
#ifndef CONESOCKS_POLICY_DESTINATIONS_H
#define CONESOCKS_POLICY_DESTINATIONS_H

#include "policy/verdict.h"

/* `names_leave`: an upstream resolves names, so a name counts as a destination whatever its address. */
bool destinations_exist(const struct policy *policy, const struct subject *subject, bool names_leave);

/* The same for one address: the verdict for the first of its ports that is allowed, else for its first port. */
struct verdict destinations_find_at(const struct policy *policy, const struct subject *subject,
                                    const union netaddr *address);

#endif
