/*
 * The new process's side of an upgrade (--take-over): it gets the listening sockets of the server that runs, prepares
 * itself, and says when it serves. Until then both hold them and the running one serves.
 */
#ifndef CONESOCKS_DAEMON_TAKEOVER_H
#define CONESOCKS_DAEMON_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "admin/admin.h"
#include "daemon/follow.h"

struct config;
struct inherited;

/* What comes beside the listeners; -1: nothing. Whoever takes one over puts -1 in its place. */
struct takeover {
    int server; /* that runs */
    struct admin_sockets admin;
    int pid_file;
    int handover; /* the socket at which the next one will ask us */
    int *udp;     /* of proxy/shared_port.h */
    size_t udp_count;
    struct followers followers;
    struct config_files files; /* for these, opened by its owner while that may */
};
#define TAKEOVER_NONE ((struct takeover){-1, ADMIN_SOCKETS_NONE, -1, -1, NULL, 0, {NULL, 0}, CONFIG_FILES_NONE})

/* Asks the server that waits at run.handover. Only what `config` still wants is kept. When nobody runs there, nothing
 * comes, and that is fine. false after a line in the log. */
bool takeover_begin(struct takeover *takeover, const struct config *config, struct inherited *listeners);
bool takeover_is_under_way(const struct takeover *takeover);
/* Tells the other one that it is over, and waits until it accepts nothing more. From then on `server` is a connection
 * for proxy/assoc/handover_link.h. false after a line in the log: it has given us up, and we must not serve. */
bool takeover_finish(struct takeover *takeover);
/* Closes what is left. Before takeover_finish(): nothing has happened. */
void takeover_abandon(struct takeover *takeover);

#endif
