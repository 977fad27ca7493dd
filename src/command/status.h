/* conesocks status: shows what a running server is doing. */
#ifndef CONESOCKS_COMMAND_STATUS_H
#define CONESOCKS_COMMAND_STATUS_H

/* Returns the exit status: 0, 1 no answer, 2 wrong usage. */
int status_command(int argc, char **argv);

#endif
