/*
 * What the process gives up once its listeners are open: its user, its privileges, the files and the system calls that
 * it does not need. A slip in a parser is then worth little to whoever finds it.
 */
#ifndef CONESOCKS_DAEMON_SANDBOX_H
#define CONESOCKS_DAEMON_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

struct config;

/* Whom sandbox_enter() makes of this process. false after a line in the log. */
bool sandbox_identity(const struct config *config, uid_t *user, gid_t *group);

/*
 * To be called before there is a second thread: what is given up, is given up by this one and those that it starts.
 * There is no way back. What a reload reads (`config_path`, absolute, or NULL; the users_file) and opens
 * (log.file) stays in reach. false after a line in the log: something that the configuration asks for cannot be had.
 */
bool sandbox_enter(const struct config *config, const char *config_path);

/* Has the process the capabilities that `config` takes? To be asked again before a reload: what was given up is gone.
 * false after a line in the log that says what to do. */
bool sandbox_permits(const struct config *config);

#endif
