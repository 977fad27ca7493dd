/*
 * A configuration together with its compiled rules and its users. It does not change, so any thread that holds it may
 * read it without a lock. A reload makes a new one; the old one is freed when its last holder releases it.
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

/* Takes over `config`; the caller holds the snapshot. NULL: no memory, and `config` is still the caller's. */
struct snapshot *snapshot_new(struct config *config);
struct snapshot *snapshot_hold(struct snapshot *snapshot);
/* NULL is fine. */
void snapshot_release(struct snapshot *snapshot);

#endif
