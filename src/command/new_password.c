#include "command/new_password.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/password.h"
#include "policy/auth.h"

/* Twenty of 32 letters and digits, which nobody confuses: 100 bits. */
#define RANDOM_LEN 20

static char *password_at_random(void)
{
    static const char alphabet[32 + 1] = "abcdefghijkmnpqrstuvwxyz23456789";
    uint8_t bytes[RANDOM_LEN];
    char *password = calloc(1, RANDOM_LEN + 1);
    if (!password || getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        free(password);
        return NULL;
    }
    for (size_t i = 0; i < RANDOM_LEN; i++)
        password[i] = alphabet[bytes[i] % (sizeof(alphabet) - 1)];
    puts(password);
    return password;
}

static void password_free(char *password)
{
    if (password)
        explicit_bzero(password, strlen(password));
    free(password);
}

static char *password_ask_twice(const char *command)
{
    char *password = password_ask("Password: ");
    if (!password || !isatty(STDIN_FILENO))
        return password;
    char *again = password_ask("Again: ");
    if (again && strcmp(password, again) == 0) {
        password_free(again);
        return password;
    }
    fprintf(stderr, "%s: the passwords differ\n", command);
    password_free(again);
    password_free(password);
    return NULL;
}

char *new_password_hash(const char *command, bool random)
{
    char *password = random ? password_at_random() : password_ask_twice(command);
    if (!password)
        return NULL;
    char *hash = auth_hash_password(password);
    if (!hash)
        fprintf(stderr, "%s: cannot hash the password: %s\n", command, strerror(errno));
    password_free(password);
    return hash;
}
