#include "command/hash_password.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/password.h"
#include "command/command.h"
#include "policy/auth.h"

static const char usage_text[] = "Usage: conesocks hash-password\n"
                                 "\n"
                                 "Asks for a password twice, or reads it from the first line of standard input, and\n"
                                 "prints the hash to put into users[].password of the configuration.\n";

int hash_password(int argc, char **argv)
{
    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        fputs(usage_text, help ? stdout : stderr);
        return help ? EXIT_SUCCESS : EXIT_USAGE;
    }
    char *password = password_ask("Password: ");
    if (!password)
        return EXIT_FAILURE;
    bool same = true;
    if (isatty(STDIN_FILENO)) {
        char *again = password_ask("Again: ");
        same = again && strcmp(password, again) == 0;
        free(again);
        if (!same)
            fputs("conesocks: the passwords differ\n", stderr);
    }
    char *hash = same ? auth_hash_password(password) : NULL;
    explicit_bzero(password, strlen(password));
    free(password);
    if (same && !hash)
        fprintf(stderr, "conesocks: cannot hash the password: %s\n", strerror(errno));
    if (!hash)
        return EXIT_FAILURE;
    puts(hash);
    free(hash);
    return EXIT_SUCCESS;
}
