/*
 * A question for a name's addresses, charged to the user who has it asked as well as to the client (net/resolver.h).
 */
#ifndef CONESOCKS_PROXY_LOOKUP_H
#define CONESOCKS_PROXY_LOOKUP_H

#include "base/netaddr.h"
#include "net/resolver.h"

struct env;

/* As resolver_lookup(); `user` is NULL without a login. NULL also when the user has as many under way as
 * limits.lookups_per_user allows. */
struct resolver_query *lookup_begin(struct env *env, const union netaddr *client, const char *user, const char *name,
                                    int family, resolver_done *done, void *arg);
/* For the resolver's options: gives back what a lookup was charged. */
void lookup_release(void *charge);

#endif
