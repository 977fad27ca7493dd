/*
 * The new process's side of an upgrade (--take-over): it gets the listening sockets of the running server, prepares
 * itself, and reports when it serves. Until then both hold the sockets, and the running one serves.
 */
#ifndef CONESOCKS_DAEMON_TAKEOVER_H
#define CONESOCKS_DAEMON_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "admin/admin.h"
#include "daemon/follow.h"

struct config;
struct inherited;

/* What was taken over besides the listeners; -1: nothing. Code that takes a descriptor puts -1 in its place. */
struct takeover {
    int server; /* the connection to the running server */
    struct admin_sockets admin;
    int pid_file;
    int handover; /* the socket at which the next new server will ask us */
    int *udp;     /* of proxy/assoc/shared_socket.h; free */
    size_t udp_count;
    struct followers followers;
    struct config_files files; /* for the followers; opened by serve.c while permissions allow it */
};
#define TAKEOVER_NONE ((struct takeover){-1, ADMIN_SOCKETS_NONE, -1, -1, NULL, 0, {NULL, 0}, CONFIG_FILES_NONE})

/* Asks the server that waits at run.handover, and keeps what `config` still wants. No server there is no error: then
 * nothing is taken over. false after a line in the log. */
bool takeover_begin(struct takeover *takeover, const struct config *config, struct inherited *listeners);
bool takeover_is_under_way(const struct takeover *takeover);
/* Tells the running server that we serve, and waits until it accepts nothing any more. From then on `server` is for
 * proxy/assoc/handover_link.h. false after a line in the log: it has given us up, and we must not serve. */
bool takeover_finish(struct takeover *takeover);
/* Closes what is left. Before takeover_finish(), nothing has changed for the running server. */
void takeover_abandon(struct takeover *takeover);

#endif
