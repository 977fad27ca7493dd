#include "base/command_line.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- a table of options ---- */

#define OPTIONS_MAX 14

enum { COMMAND_LINE_FIRST = 256 }; /* an option without a letter has this value, plus its index */

static void command_line_list(const struct command_line_option *options, struct option *rows, char *letters)
{
    size_t count = 0;
    *letters++ = ':'; /* see command_line_next() */
    *letters++ = 'h';
    for (; options[count].name; count++) {
        const struct command_line_option *option = &options[count];
        assert(count < OPTIONS_MAX);
        const int argument = !option->text ? no_argument : option->number ? optional_argument : required_argument;
        rows[count] = (struct option){option->name, argument, NULL, COMMAND_LINE_FIRST + (int)count};
        if (!option->letter)
            continue;
        rows[count].val = option->letter;
        *letters++ = option->letter;
        if (option->text)
            *letters++ = ':';
    }
    *letters = '\0';
    rows[count] = (struct option){"help", no_argument, NULL, 'h'};
    rows[count + 1] = (struct option){0};
}

static const struct command_line_option *command_line_option_of(const struct command_line_option *options, int value)
{
    if (value >= COMMAND_LINE_FIRST)
        return &options[value - COMMAND_LINE_FIRST];
    while (options->letter != value)
        options++;
    return options;
}

int command_line_read(const char *name, int argc, char **argv, const struct command_line_option *options,
                      const char *help)
{
    struct option rows[OPTIONS_MAX + 2];
    char letters[2 + 2 * OPTIONS_MAX + 1];
    command_line_list(options, rows, letters);
    for (int value; (value = command_line_next(name, argc, argv, letters, rows)) != -1;) {
        if (value == '?')
            return EXIT_USAGE;
        if (value == 'h') {
            fputs(help, stdout);
            return EXIT_SUCCESS;
        }
        const struct command_line_option *option = command_line_option_of(options, value);
        if (option->flag)
            *option->flag = true;
        if (option->number && !optarg && optind < argc && isdigit((unsigned char)argv[optind][0]))
            optarg = argv[optind++];
        if (option->text)
            *option->text = optarg ? optarg : option->number;
    }
    return COMMAND_LINE_READ;
}

int command_line_read_options(const char *name, int argc, char **argv, const struct command_line_option *options,
                              const char *help)
{
    const int status = command_line_read(name, argc, argv, options, help);
    if (status == COMMAND_LINE_READ && optind < argc)
        return command_line_fail(name, "unexpected argument: %s", argv[optind]);
    return status;
}
