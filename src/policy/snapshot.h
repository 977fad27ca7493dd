/*
 * A configuration and what is derived from it, as one thing that does not change: whoever holds it may read it, on any
 * thread. A reload makes a new one; the old one goes when the last holder has let go of it.
 */
#ifndef CONESOCKS_POLICY_SNAPSHOT_H
#define CONESOCKS_POLICY_SNAPSHOT_H

#include <stdatomic.h>

#include "conf/config.h"
#include "policy/rules.h"
#include "policy/users.h"

struct snapshot {
    struct config *config;
    struct rules *rules; /* NULL: there are none */
    struct users users;
    union netaddr advertised[FAMILY_COUNT]; /* AF_UNSPEC: none. Filled in before it is shared */
    atomic_uint holders;
};

/* Takes over `config` and holds the snapshot once. NULL: no memory, and `config` is the caller's still. */
struct snapshot *snapshot_new(struct config *config);
struct snapshot *snapshot_hold(struct snapshot *snapshot);
/* NULL is fine. */
void snapshot_release(struct snapshot *snapshot);

#endif
