/*
 * Gives up what the process does not need once its listeners are open: its user, privileges, files and system calls. So
 * an attacker who finds a bug in a parser gains little.
 */
#ifndef CONESOCKS_DAEMON_SANDBOX_H
#define CONESOCKS_DAEMON_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

struct config;

/* The user and group that sandbox_enter() will change to. false after a line in the log. */
bool sandbox_identity(const struct config *config, uid_t *user, gid_t *group);

/*
 * To be called before there is a second thread: it affects the calling thread and those that it starts. There is no way
 * back. The files that a reload reads (`config_path`, absolute, or NULL; users_file) and opens (log.file) stay in
 * reach. `kernel_path`: it is active, and changes maps of the kernel. false after a line in the log: something that the
 * configuration asks for is not possible.
 */
bool sandbox_enter(const struct config *config, const char *config_path, bool kernel_path);

/* Whether the process has the capabilities that `config` needs; asked before a reload as well, as those that were given
 * up are gone. false after a line in the log that says what to do. */
bool sandbox_permits(const struct config *config);

#endif
