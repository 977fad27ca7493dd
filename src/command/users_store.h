/*
 * A users_file that a command changes. It is read and written whole: a reader sees the old file or the new one, and two
 * commands at once wait for each other. Lines that are not changed stay as they are.
 */
#ifndef CONESOCKS_COMMAND_USERS_STORE_H
#define CONESOCKS_COMMAND_USERS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "conf/types.h"

struct users_store {
    const char *path, *base; /* the file, and its name in the folder */
    const char *group;       /* of a new file */
    int folder;              /* open */
    int file;                /* open and locked; -1: it does not exist, and the folder is locked */
    bool exists;
    struct stat status;   /* if it exists */
    char *text;           /* its contents, with a NUL behind them */
    struct config config; /* its users only */
};

/* Reads the file at `path`. A file that does not exist yet is empty; it will belong to `group`, the server's, if there
 * is such a group. Both texts must outlive it. false after errors on standard error. */
bool users_store_open(struct users_store *store, const char *path, const char *group);
void users_store_close(struct users_store *store);

/* NULL: there is no such user. */
const struct config_user *users_store_find(const struct users_store *store, const char *name);
/* Writes the file with `line` in place of that of the user: at the end if there is no such user yet; NULL: without it.
 * false after errors on standard error: then nothing has changed. */
bool users_store_change(struct users_store *store, const char *name, const char *line);

#endif
