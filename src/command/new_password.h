/* Gets a new password and hashes it, for the commands that set one. */
#ifndef CONESOCKS_COMMAND_NEW_PASSWORD_H
#define CONESOCKS_COMMAND_NEW_PASSWORD_H

#include <stdbool.h>

/* Reads a password, at a terminal twice, or makes one at random and prints it. Returns its hash (free); NULL after an
 * error on standard error. */
char *new_password_hash(const char *command, bool random);

#endif
