#include "base/command_line.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"

int command_line_fail(const char *name, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "%s: ", name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nTry '%s --help'.\n", name);
    return EXIT_USAGE;
}

/* ---- what getopt_long() found ---- */

/* `word`: "--stauts" or "--stauts=5". */
static void command_line_fail_unknown(const char *name, const char *word, const struct option *options)
{
    char typed[64];
    snprintf(typed, sizeof(typed), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    struct nearest nearest = nearest_to(typed);
    for (; options->name; options++)
        nearest_offer(&nearest, options->name);
    if (nearest.word)
        command_line_fail(name, "unknown option --%s, did you mean --%s?", typed, nearest.word);
    else
        command_line_fail(name, "unknown option --%s", typed);
}

static const struct option *command_line_find(const struct option *options, int value)
{
    while (options->name && options->val != value)
        options++;
    return options->name ? options : NULL;
}

int command_line_next(const char *name, int argc, char **argv, const char *letters, const struct option *options)
{
    assert(letters[0] == ':'); /* else a missing argument cannot be told from an unknown option */
    opterr = 0;
    int option = getopt_long(argc, argv, letters, options, NULL);
    if (option != ':' && option != '?')
        return option;
    const char *word = argv[optind - 1];
    const struct option *known = command_line_find(options, optopt);
    if (option == ':' && strncmp(word, "--", 2) == 0)
        command_line_fail(name, "%s needs an argument", word);
    else if (option == ':')
        command_line_fail(name, "-%c needs an argument", optopt);
    else if (optopt == 0)
        command_line_fail_unknown(name, word, options);
    else if (known)
        command_line_fail(name, "--%s takes no argument", known->name);
    else
        command_line_fail(name, "unknown option -%c", optopt);
    return '?';
}
