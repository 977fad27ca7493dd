#include "command/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_output.h"
#include "conf/config.h"

static void command_print_lines(enum log_level level, const char *lines)
{
    for (size_t len; *lines; lines += len + (lines[len] == '\n')) {
        len = strcspn(lines, "\n");
        fprintf(stderr, "%s%.*s\n", log_mark(level), (int)len, lines);
    }
}

struct config *command_load(const char *path)
{
    char *errors, *warnings;
    struct config *config = config_load(path, &errors, &warnings);
    if (warnings)
        command_print_lines(LOG_LEVEL_WARNING, warnings);
    if (!config)
        command_print_lines(LOG_LEVEL_ERROR, errors);
    free(errors);
    free(warnings);
    return config;
}
