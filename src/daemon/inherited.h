/*
 * Listening sockets that somebody else has opened for us: systemd, or the server whose place we take. They are used for
 * `listen` in place of opening one, so that no connection that waits at them is lost and no privilege is needed.
 *
 * All that there are at an address have to be listened at, since the kernel splits connections between them, and each
 * worker wants one. So with more sockets than workers some workers get several, else some sockets several workers.
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
/* Takes over `fd`. false after a line in the log: it is none that we can use. */
bool inherited_add(struct inherited *inherited, int fd);
/* Takes over what systemd passes. false after a line in the log. */
bool inherited_from_systemd(struct inherited *inherited);
/* Makes `owner`, the user that the server is about to become, the user of these sockets and of those that are opened
 * beside them. Otherwise a reload could not open a listener that overlaps one of them. */
void inherited_give(struct inherited *inherited, uid_t owner);
uid_t inherited_owner(const struct inherited *inherited);
/* Closes those that no worker has a share in, too. NULL is fine. */
void inherited_free(struct inherited *inherited);

bool inherited_has(const struct inherited *inherited, const union netaddr *address);
/* Whether `listen` names each of them. false after a line in the log. */
bool inherited_is_wanted(const struct inherited *inherited, const struct config *config);
/* Whether the addresses of `listen` that have no inherited socket are free. false after a line in the log. */
bool inherited_others_are_free(const struct inherited *inherited, const struct config *config);

/* One worker's part. */
struct inherited_share {
    const struct inherited *inherited;
    size_t worker, worker_count;
};
/* The next descriptor at that address, the caller's to close; `*position` is 0 at first. -ENOENT: that were all, or
 * another negative errno. */
int inherited_next(const struct inherited_share *share, const union netaddr *address, size_t *position);

#endif
