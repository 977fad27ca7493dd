/*
 * Reads the options of a command line, and reports errors in them. An error takes two lines on standard error: what is
 * wrong, and which command prints the help. `name` is the command as it was typed, such as "conesocks status".
 */
#ifndef CONESOCKS_BASE_COMMAND_LINE_H
#define CONESOCKS_BASE_COMMAND_LINE_H

#include <getopt.h>
#include <stdbool.h>

#define EXIT_USAGE 2

/* Prints an error; returns EXIT_USAGE. */
int command_line_fail(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next option, as getopt_long(3) returns it; after '?' the error has been printed. `letters` starts with a colon.
 */
int command_line_next(const char *name, int argc, char **argv, const char *letters, const struct option *options);

/* An option that stores its argument in `*text`, or sets `*flag`. */
struct command_line_option {
    const char *name;
    char letter; /* 0: none */
    const char **text;
    const char *number; /* the default of an optional number, which may also be the next word; NULL: not optional */
    bool *flag;
};

/* Returned by command_line_read(): the command can run. */
#define COMMAND_LINE_READ (-1)

/* Reads all options, and --help, which prints `help`. `options` ends with an empty row; argv[optind] is the first word
 * that is no option. Returns COMMAND_LINE_READ, or the exit status. */
int command_line_read(const char *name, int argc, char **argv, const struct command_line_option *options,
                      const char *help);

/* The same for a command that takes options only. */
int command_line_read_options(const char *name, int argc, char **argv, const struct command_line_option *options,
                              const char *help);

#endif
