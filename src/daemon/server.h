/*
 * The whole server: workers, the password helper, signals.
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
    const struct inherited *listeners;
    struct admin_sockets admin;
    int handover; /* of handover_listen() */
    bool taken;   /* all that from a server which still runs */
    int pid_file; /* to be given to who takes over from us; it outlives the server */
};

/* Opens all else that takes privileges, and starts no thread. `path` is where the configuration came from, absolute,
 * and outlives it; NULL: from no file. NULL after lines in the log. */
struct server *server_new(struct snapshot *snapshot, const char *path, const struct server_given *given);
/* Starts to serve. false after a line in the log: a thread cannot be started. */
bool server_start(struct server *server);
/* Where all that was given is `taken`: accepts from now on, and takes over what has come of it. */
void server_take_place(struct server *server, struct takeover *takeover);
/* Serves on until SIGTERM or SIGINT, or until another process has taken over and the last session is over. */
void server_run(struct server *server);
/* Whether that was so, or is about to be: then the pid file is the other's. */
bool server_is_replaced(const struct server *server);
void server_free(struct server *server);

#endif
