/*
 * Loads the configuration: one YAML file in, one checked struct out. Called at the start, at a reload, and by the
 * subcommands that take a configuration file.
 */
#ifndef CONESOCKS_CONF_CONFIG_H
#define CONESOCKS_CONF_CONFIG_H

#include <stdio.h>

#include "conf/types.h"

/*
 * Reads `path`, or the built-in default when it is NULL: listen on 127.0.0.1:1080, no login.
 * Returns the configuration (config_free), or NULL with one line per mistake in `*errors` (free), each
 * "file:line:column: key: what was found, what is expected". `*warnings` likewise, with "warning: " before the key, on
 * success too. Each is NULL when there is nothing to say. A mistake in the users_file is told with that file's name.
 */
struct config *config_load(const char *path, char **errors, char **warnings);
/* The files of a configuration that another process has opened, and may read at the same time; -1: to be opened. */
struct config_files {
    int file, users_file;
};
#define CONFIG_FILES_NONE ((struct config_files){-1, -1})
/* The same from there. The descriptors stay the caller's. */
struct config *config_load_files(const char *path, const struct config_files *files, char **errors, char **warnings);
/* The same for the text of a file, which the messages call `name`, and for that alone: users_file is not read. */
struct config *config_parse(const char *name, const char *text, size_t size, char **errors, char **warnings);
void config_free(struct config *config);

/* Writes the configuration in force as a file that config_load reads back as equal; passwords are left out as "***"
 * unless `secrets` is set. */
void config_dump(const struct config *config, FILE *out, bool secrets);
bool config_equal(const struct config *a, const struct config *b);

#endif
