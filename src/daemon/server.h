/*
 * The whole server: workers, the password helper, signals.
 */
#ifndef CONESOCKS_DAEMON_SERVER_H
#define CONESOCKS_DAEMON_SERVER_H

struct config;
struct server;

/* Opens everything that can fail. `config` outlives it. NULL after lines in the log. */
struct server *server_new(const struct config *config);
/* Serves until SIGTERM or SIGINT. 0, or a negative errno when a thread cannot be started. */
int server_run(struct server *server);
void server_free(struct server *server);

#endif
