/* conesocks explain: what would become of a request, and why. */
#ifndef CONESOCKS_COMMAND_EXPLAIN_H
#define CONESOCKS_COMMAND_EXPLAIN_H

/* `argv[0]` is "explain". Returns the exit status: 0 allowed, 1 denied or no configuration, 2 wrong usage. */
int explain(int argc, char **argv);

#endif
