/* What the subcommands have in common. */
#ifndef CONESOCKS_COMMAND_COMMAND_H
#define CONESOCKS_COMMAND_COMMAND_H

#define EXIT_USAGE 2

struct config;

/* The configuration of `path` (NULL: the built-in default), what is wrong with it or worth a warning on standard
 * error. NULL: it cannot be used. */
struct config *command_load(const char *path);

#endif
