/* conesocks hash-password: makes the hash of a password for the configuration. */
#ifndef CONESOCKS_COMMAND_HASH_PASSWORD_H
#define CONESOCKS_COMMAND_HASH_PASSWORD_H

/* Returns the exit status: 0, 1 failed, 2 wrong usage. */
int hash_password(int argc, char **argv);

#endif
