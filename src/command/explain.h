/* conesocks explain: shows whether a request is allowed, and why. */
#ifndef CONESOCKS_COMMAND_EXPLAIN_H
#define CONESOCKS_COMMAND_EXPLAIN_H

/* Returns the exit status: 0 allowed, 1 denied or no valid configuration, 2 wrong usage. */
int explain(int argc, char **argv);

#endif
