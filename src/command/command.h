/* Loads a configuration, for the subcommands. */
#ifndef CONESOCKS_COMMAND_COMMAND_H
#define CONESOCKS_COMMAND_COMMAND_H

struct config;

/* Loads the configuration at `path` (NULL: the built-in default), and prints its errors and warnings on standard error.
 * NULL: it has errors. */
struct config *command_load(const char *path);

#endif
