/*
 * The whole server: workers, the password helper, signals.
 */
#ifndef CONESOCKS_DAEMON_SERVER_H
#define CONESOCKS_DAEMON_SERVER_H

#include <stdbool.h>

struct inherited;
struct snapshot;
struct server;

/* Opens all that takes privileges but for what it inherits, and starts no thread. `path` is where the configuration
 * came from, absolute, and outlives it; NULL: from no file. NULL after lines in the log. */
struct server *server_new(struct snapshot *snapshot, const char *path, const struct inherited *inherited);
/* Starts to serve. false after a line in the log: a thread cannot be started. */
bool server_start(struct server *server);
/* Serves on until SIGTERM or SIGINT. */
void server_run(struct server *server);
void server_free(struct server *server);

#endif
