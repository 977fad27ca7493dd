/*
 * Errors of the command line. Each takes two lines on standard error: what is wrong, and which command prints the help.
 * `name` is the command as it was typed, such as "conesocks status".
 */
#ifndef CONESOCKS_BASE_COMMAND_LINE_H
#define CONESOCKS_BASE_COMMAND_LINE_H

#include <getopt.h>

#define EXIT_USAGE 2

/* Prints an error; returns EXIT_USAGE. */
int command_line_fail(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next option, as getopt_long(3) returns it; after '?' the error has been printed. `letters` starts with a colon.
 */
int command_line_next(const char *name, int argc, char **argv, const char *letters, const struct option *options);

#endif
