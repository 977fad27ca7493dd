#include "command/hash_password.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/command_line.h"
#include "command/new_password.h"

#define NAME "conesocks hash-password"

static const char usage_text[] = "Usage: conesocks hash-password\n"
                                 "\n"
                                 "Asks for a password twice, or reads it from the first line of standard input, and\n"
                                 "prints the hash to put into users[].password of the configuration.\n";

int hash_password(int argc, char **argv)
{
    const int status = command_line_read(NAME, argc, argv, &(const struct command_line_option){0}, usage_text);
    if (status != COMMAND_LINE_READ)
        return status;
    if (optind < argc)
        return command_line_fail(NAME, "unexpected argument; the password is read from standard input");
    char *hash = new_password_hash("conesocks", false);
    if (!hash)
        return EXIT_FAILURE;
    puts(hash);
    free(hash);
    return EXIT_SUCCESS;
}
