#include "command/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/config.h"

static void print(const char *lines)
{
    fprintf(stderr, "%s%s", lines, strchr(lines, '\0')[-1] == '\n' ? "" : "\n");
}

struct config *command_load(const char *path)
{
    char *errors, *warnings;
    struct config *config = config_load(path, &errors, &warnings);
    if (warnings)
        print(warnings);
    if (!config)
        print(errors);
    free(errors);
    free(warnings);
    return config;
}
