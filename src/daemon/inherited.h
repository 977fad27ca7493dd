/*
 * Listening sockets that another process has opened for us: systemd, or the server that we take over from. They are
 * used instead of new ones, so no waiting connection is lost and no privilege is needed.
 *
 * The kernel spreads connections over all sockets of an address, so each of them needs a worker, and each worker needs
 * a socket. With more sockets than workers some workers get several; with fewer, some workers share one. With many
 * ports (spread_is_wanted()), each socket belongs to one worker.
 */
#ifndef CONESOCKS_DAEMON_INHERITED_H
#define CONESOCKS_DAEMON_INHERITED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/netaddr.h"

struct config;
struct inherited;

/* NULL: no memory. */
struct inherited *inherited_new(void);
/* Takes over `fd`. false after a line in the log: it is not a socket that we can use. */
bool inherited_add(struct inherited *inherited, int fd);
/* Takes over the sockets that systemd passes. false after a line in the log. */
bool inherited_from_systemd(struct inherited *inherited);
/* Gives these sockets, and those that are opened beside them, to the user that the server will run as. Otherwise a
 * reload could not open a listener that overlaps one of them. */
void inherited_give(struct inherited *inherited, uid_t owner);
uid_t inherited_owner(const struct inherited *inherited);
/* Workers have copies of what they use. NULL is fine. */
void inherited_free(struct inherited *inherited);

bool inherited_has(const struct inherited *inherited, const union netaddr *address);
/* Whether `listen` names the address of each. false after a line in the log. */
bool inherited_is_wanted(const struct inherited *inherited, const struct config *config);
/* Whether the other addresses of `listen` are free. false after a line in the log. */
bool inherited_others_are_free(const struct inherited *inherited, const struct config *config);

/* The part of one worker. */
struct inherited_share {
    const struct inherited *inherited;
    size_t worker, worker_count;
};
/* A copy of the next descriptor at that endpoint of `config`, the caller's to close; `*position` is 0 at first.
 * -ENOENT: there are no more; or another negative errno. */
int inherited_next(const struct inherited_share *share, const struct config *config, size_t endpoint, size_t *position);

#endif
