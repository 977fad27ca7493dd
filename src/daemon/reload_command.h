/* conesocks reload: has a running server read its configuration again, and tells what came of it. */
#ifndef CONESOCKS_DAEMON_RELOAD_COMMAND_H
#define CONESOCKS_DAEMON_RELOAD_COMMAND_H

/* Returns the exit status: 0, 1 not reloaded, 2 wrong usage. */
int reload_command(int argc, char **argv);

#endif
