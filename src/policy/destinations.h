/*
 * Is there any destination that a client may still reach? Asked before an association or a listening port is granted:
 * one that can reach nothing is refused at the request, so that the client does not wait for answers.
 */
#ifndef CONESOCKS_POLICY_DESTINATIONS_H
#define CONESOCKS_POLICY_DESTINATIONS_H

#include "policy/verdict.h"

/* `names_leave`: an upstream resolves the names, so a name is a destination whatever its address is. */
bool destinations_exist(const struct policy *policy, const struct subject *subject, bool names_leave);

/* The same for one address: the verdict on the first of its ports that is allowed, or else on its first port. */
struct verdict destinations_find_at(const struct policy *policy, const struct subject *subject,
                                    const union netaddr *address);

#endif
