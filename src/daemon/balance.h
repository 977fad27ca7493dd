/*
 * Spreads new connections over the workers. The kernel gives each connection to one of them by chance (SO_REUSEPORT),
 * so with few clients some workers have nothing to do. The worker that accepts a connection hands it over to the one
 * with the fewest sessions, if that has clearly fewer. A session stays with the worker that it began in.
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
/* Closes what still comes: the worker serves no sessions any more. NULL is fine. */
void balance_leave(struct balance_place *place);

/* Hands over the connection just accepted from `peer` by `listener`, which is one of the active configuration. false:
 * serve it here, and so if `place` is NULL. */
bool balance_hand_over(struct balance_place *place, int fd, const union netaddr *peer,
                       const struct config_listener *listener);

/* Whether a worker with `own` sessions hands the next one over to a worker with `least`. */
bool balance_is_worthwhile(uint64_t own, uint64_t least);

#endif
