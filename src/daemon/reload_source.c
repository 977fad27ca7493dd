#include "daemon/reload_source.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "reload"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"

/* One log line for each line of the text, which is freed. */
static void reload_source_log(enum log_level level, char *text)
{
    char *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n")))
        if (*line)
            LOG_AT(level, "%s", line);
    free(text);
}

/* What root read at the start may be out of reach for the user that this process runs as now. */
static bool reload_source_is_readable(const char *path)
{
    return !path || access(path, R_OK) == 0;
}

static void reload_source_warn_unreadable(const char *path, char *text, size_t size)
{
    snprintf(text, size,
             "%s cannot be read again as user id %u, group id %u: %s. For SIGHUP to work, give the file and its folder "
             "to that group (chgrp, chmod g+rX; see run.group)",
             path, (unsigned)geteuid(), (unsigned)getegid(), strerror(errno));
    log_warning("%s", text);
}

/* Permissions allow it, but Landlock knows only the file that was there at the start. */
static void reload_source_warn_replaced(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        close(fd);
    else if (errno == EACCES)
        log_warning("%s was replaced after the start, and the sandbox forbids reading the new file: restart the "
                    "server. To avoid this, keep the file in a folder of its own and run as another user than root",
                    path);
}

/* A pipe, such as a shell's <(...), could be read only once; reading it again would block. */
static bool reload_source_is_pipe(const char *path)
{
    struct stat status;
    bool is_pipe = stat(path, &status) == 0 && !S_ISREG(status.st_mode);
    if (is_pipe)
        log_error("%s is not a regular file, so it cannot be read again", path);
    return is_pipe;
}

struct config *reload_source_read_files(const char *path, const struct config_files *files, char *error, size_t size)
{
    char *errors, *warnings;
    struct config *config = config_load_files(path, files, &errors, &warnings);
    if (errors)
        snprintf(error, size, "%.*s", (int)strcspn(errors, "\n"), errors);
    reload_source_log(LOG_LEVEL_WARNING, warnings);
    reload_source_log(LOG_LEVEL_ERROR, errors);
    return config;
}

struct config *reload_source_read(const char *path, char *error, size_t size)
{
    if (path && reload_source_is_pipe(path))
        return NULL;
    struct config *config = reload_source_read_files(path, &CONFIG_FILES_NONE, error, size);
    if (!config && !reload_source_is_readable(path))
        reload_source_warn_unreadable(path, error, size);
    else if (!config && path)
        reload_source_warn_replaced(path);
    return config;
}

static void reload_source_check_log(const struct config *config)
{
    char folder[PATH_MAX];
    if (config->log.target != LOG_TARGET_FILE)
        return;
    snprintf(folder, sizeof(folder), "%s", config->log.file);
    if (access(dirname(folder), W_OK | X_OK) < 0)
        log_warning("log.file: user id %u cannot create %s again after it was renamed: %s. Give its folder to that "
                    "user (see run.user), or let logrotate copy the file (copytruncate)",
                    (unsigned)geteuid(), config->log.file, strerror(errno));
}

void reload_source_check(const char *path, const struct config *config)
{
    const char *const paths[] = {path, config->users_file};
    char text[PATH_MAX + 256];
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (!reload_source_is_readable(paths[i]))
            reload_source_warn_unreadable(paths[i], text, sizeof(text));
    reload_source_check_log(config);
}
