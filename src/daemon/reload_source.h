/*
 * Reads the configuration file again for a reload, and logs what a user has to change when that fails.
 */
#ifndef CONESOCKS_DAEMON_RELOAD_SOURCE_H
#define CONESOCKS_DAEMON_RELOAD_SOURCE_H

#include <stddef.h>

struct config;
struct config_files;

/* `path` NULL: the built-in default. NULL after lines in the log, of which the first one is in `error` as well. */
struct config *reload_source_read(const char *path, char *error, size_t size);
/* The same from files that another process has opened; `path` is their name in messages. */
struct config *reload_source_read_files(const char *path, const struct config_files *files, char *error, size_t size);
/* Warns at the start of what a reload, as the user that this process runs as, will not be able to read or create. */
void reload_source_check(const char *path, const struct config *config);

#endif
