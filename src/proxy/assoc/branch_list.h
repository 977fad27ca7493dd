/*
 * The branches of an association (branch.h): for the code that goes through them, or has to know whether there may be
 * any.
 */
#ifndef CONESOCKS_PROXY_ASSOC_BRANCH_LIST_H
#define CONESOCKS_PROXY_ASSOC_BRANCH_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/config.h"
#include "proxy/assoc/assoc_impl.h"

/* Besides the association's own external ends. */
#define EXITS_MAX 7
/* The association itself serves the first port. */
#define BRANCHES_MAX (CONFIG_CLIENT_PORTS_MAX - 1 + EXITS_MAX)

struct branches {
    size_t count, exits; /* how many there are, and how many of them are exits */
    struct assoc *list[BRANCHES_MAX];
};

static inline size_t branch_count(const struct assoc *assoc)
{
    return assoc->branches ? assoc->branches->count : 0;
}

/* NULL: there are no more. */
static inline struct assoc *branch_at(const struct assoc *assoc, size_t i)
{
    return i < branch_count(assoc) ? assoc->branches->list[i] : NULL;
}

/* How many further ports its client uses. */
static inline size_t branch_port_count(const struct assoc *assoc)
{
    return assoc->branches ? assoc->branches->count - assoc->branches->exits : 0;
}

/* Whether another port of its client may begin. */
static inline bool branch_has_room(const struct assoc *assoc)
{
    return !assoc->is_branch && branch_port_count(assoc) + 1 < assoc->env->config->udp.client_ports;
}

/* Whether its client has one port at a time: so its socket may be connected to that. */
static inline bool branch_is_alone(const struct assoc *assoc)
{
    return branch_port_count(assoc) == 0 && !branch_has_room(assoc);
}

#endif
