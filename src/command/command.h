/* Shared by the subcommands: the exit status for wrong usage, and loading a configuration. */
#ifndef CONESOCKS_COMMAND_COMMAND_H
#define CONESOCKS_COMMAND_COMMAND_H

#define EXIT_USAGE 2

struct config;

/* Loads the configuration at `path` (NULL: the built-in default), and prints its errors and warnings on standard error.
 * NULL: it has errors. */
struct config *command_load(const char *path);

#endif
