/*
 * The whole server: its workers, the password helper, signals, and all that the main thread does for them.
 */
#ifndef CONESOCKS_DAEMON_SERVER_H
#define CONESOCKS_DAEMON_SERVER_H

#include <stdbool.h>

#include "admin/admin.h"

struct inherited;
struct snapshot;
struct server;
struct takeover;

/* What is open already, and stays the caller's; -1: nothing. */
struct server_given {
    const struct inherited *listeners; /* until server_new() returns */
    struct admin_sockets admin;
    int handover; /* of handover_listen() */
    bool taken;   /* all this belongs to a server that still runs */
    int pid_file; /* for the process that takes over from us; it outlives the server */
};

/* Opens everything that takes privileges, and starts no thread. `path` is the configuration's, absolute, and outlives
 * the server; NULL: there is no file. NULL after lines in the log. */
struct server *server_new(struct snapshot *snapshot, const char *path, const struct server_given *given);
/* Whether it works with the kernel path: the sandbox has to permit that. */
bool server_has_kernel_path(const struct server *server);
/* Starts to serve. false after a line in the log. */
bool server_start(struct server *server);
/* If what was given is `taken`: accepts from now on, and takes over the rest. */
void server_take_over(struct server *server, struct takeover *takeover);
/* Serves until SIGTERM or SIGINT, or until another process has taken over and the last session has ended. */
void server_run(struct server *server);
/* Whether another process has taken over, or is about to: then the pid file is that one's. */
bool server_is_replaced(const struct server *server);
/* NULL is fine. */
void server_free(struct server *server);

#endif
