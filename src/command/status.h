/* conesocks status: what a server does that runs. */
#ifndef CONESOCKS_COMMAND_STATUS_H
#define CONESOCKS_COMMAND_STATUS_H

/* Returns the exit status: 0, 1 it cannot be asked, 2 wrong usage. */
int status_command(int argc, char **argv);

#endif
