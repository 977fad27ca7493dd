/* conesocks reload: makes a running server read its configuration again, and prints the result. */
#ifndef CONESOCKS_COMMAND_RELOAD_H
#define CONESOCKS_COMMAND_RELOAD_H

/* Returns the exit status: 0, 1 not reloaded, 2 wrong usage. */
int reload_command(int argc, char **argv);

/* After a file that the configuration names has changed: makes the server that runs with `file` read it, if one runs,
 * and prints the result. Returns the exit status. */
int reload_if_running(const char *file);

#endif
