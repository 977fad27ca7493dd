/*
 * After an upgrade the replaced servers follow the serving one: it sends them its configuration when it begins to serve
 * and after each reload, and they end the sessions that this forbids. On the main thread.
 *
 * It sends open files: the sandbox or the user of a process that follows may not allow to open them.
 */
#ifndef CONESOCKS_DAEMON_FOLLOW_H
#define CONESOCKS_DAEMON_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/config.h"

struct event_base;
struct leader;

/* A pair of connected sockets: the serving process gets `ends[0]`, the one that follows keeps `ends[1]`. 0 or an errno.
 */
int follow_connect(int ends[2]);

/* Opens the files of a configuration that was read from `path`; NULL: from none. -1 for a file that cannot be read a
 * second time, such as a pipe. */
struct config_files follow_open_files(const char *path, const struct config *config);
void follow_close_files(struct config_files *files);

/* ---- the serving process ---- */

/* The connections to the servers that follow: see follow_connect(). */
struct followers {
    int *fds;
    size_t count;
};

/* Takes over `fd`. false: no memory. */
bool followers_add(struct followers *followers, int fd);
/* Sends all of them the configuration, and forgets those that have ended. */
void followers_tell(struct followers *followers, const char *path, const struct config_files *files);
void followers_close(struct followers *followers);

/* ---- a process that follows ---- */

/* The serving process has another configuration. `path` is its name in messages; NULL: the built-in default. The callee
 * closes the files (follow_close_files). */
typedef void leader_changed(void *arg, const char *path, struct config_files *files);

/* Takes over `fd`. `changed` is called from the base's loop. NULL: no memory. */
struct leader *leader_new(struct event_base *base, int fd, leader_changed *changed, void *arg);
/* Our end of the connection; -1: that process has ended. */
int leader_socket(const struct leader *leader);
/* NULL is fine. */
void leader_free(struct leader *leader);

#endif
