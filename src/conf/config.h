/*
 * Loads the configuration from a YAML file into a checked struct, and writes it back. Used at the start, at a reload,
 * and by the subcommands that take a configuration file.
 */
#ifndef CONESOCKS_CONF_CONFIG_H
#define CONESOCKS_CONF_CONFIG_H

#include <stdio.h>

#include "conf/types.h"

/*
 * Loads the file at `path`, or the built-in default (NULL): listen on 127.0.0.1:1080 without a login.
 * Returns the configuration (config_free), or NULL and one line for each error in `*errors` (free), such as
 * "file:line:column: key: what was found, what is expected". `*warnings` has the same form with "warning: " before the
 * key, and may be set on success too. Both are NULL if they are empty. Errors in the users_file carry its name.
 */
struct config *config_load(const char *path, char **errors, char **warnings);
/* Files of a configuration that are open already, shared with another process; -1: open it by name. */
struct config_files {
    int file, users_file;
};
#define CONFIG_FILES_NONE ((struct config_files){-1, -1})
/* The same from open files. The caller keeps the descriptors. */
struct config *config_load_files(const char *path, const struct config_files *files, char **errors, char **warnings);
/* The same from a text, which messages call `name`. It reads no other file: users_file is ignored. */
struct config *config_parse(const char *name, const char *text, size_t size, char **errors, char **warnings);
void config_free(struct config *config);

/* Writes the configuration as a file that config_load reads back as equal. Passwords become "***" unless `secrets` is
 * set. */
void config_dump(const struct config *config, FILE *out, bool secrets);
bool config_equal(const struct config *a, const struct config *b);

#endif
