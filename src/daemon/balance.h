/*
 * Spreads new connections over the workers. The kernel gives each connection to one of them by chance (SO_REUSEPORT),
 * so with few clients some workers have nothing to do. The worker that accepts a connection hands it over to the one
 * with the fewest sessions, if that has clearly fewer, or as many and far less work. A session stays with the worker
 * that it began in.
 */
#ifndef CONESOCKS_DAEMON_BALANCE_H
#define CONESOCKS_DAEMON_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct balance;
struct balance_place;
struct config_listener;
struct env;

/* For up to `room` workers. NULL: no memory. */
struct balance *balance_new(size_t room);
/* NULL is fine. */
void balance_free(struct balance *balance);

/* Before any worker runs: the place of the worker that `env` belongs to. It takes no connections from others yet. */
struct balance_place *balance_join(struct balance *balance, struct env *env);

/* ---- on the worker's thread, or while that does not run ---- */

/* Whether others may hand connections over to it. NULL is fine: there are no others. */
void balance_take_from_others(struct balance_place *place, bool takes);
/* About once a second: how long its thread has been running on a CPU so far. NULL is fine. */
void balance_note_work(struct balance_place *place, uint64_t cpu_us);
/* Closes what still comes: the worker serves no sessions any more. NULL is fine. */
void balance_leave(struct balance_place *place);

/* Hands over the connection just accepted from `peer` by `listener`, which is one of the active configuration. false:
 * serve it here, and so if `place` is NULL. */
bool balance_hand_over(struct balance_place *place, int fd, const union netaddr *peer,
                       const struct config_listener *listener);

struct balance_load {
    uint64_t sessions;
    uint32_t busy; /* per cent of the last second or so */
};

/* Whether a worker with the load `own` hands its next connection over to one with the load `other`. */
bool balance_is_worthwhile(struct balance_load own, struct balance_load other);

#endif
