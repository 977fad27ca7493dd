/* conesocks hash-password: a hash for the configuration. */
#ifndef CONESOCKS_COMMAND_HASH_PASSWORD_H
#define CONESOCKS_COMMAND_HASH_PASSWORD_H

/* Reads a password and prints its hash. Returns the exit status: 0, 1 it cannot, 2 wrong usage. */
int hash_password(int argc, char **argv);

#endif
