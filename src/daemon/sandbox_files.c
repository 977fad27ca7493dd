/*
 * Landlock: puts all files out of reach but a few. A rule is about the file that a path leads to now, not about the
 * name, so a file that is replaced now and then needs a rule for its folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_MODULE "sandbox"
#include "base/log.h"
#include "base/util.h"
#include "daemon/sandbox_impl.h"

#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>

/* Newer than the headers of Debian 12. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

#define READ  LANDLOCK_ACCESS_FS_READ_FILE
#define WRITE LANDLOCK_ACCESS_FS_WRITE_FILE

static const struct {
    const char *path;
    uint64_t access;
} files_in_use[] = {
    {"/dev/null", READ | WRITE}, {"/dev/urandom", READ}, /* libevent seeds its random numbers now and then */
};
static const char *const replaced_files[] = {"/etc/hosts", "/etc/resolv.conf"};
/* Where /etc/resolv.conf may lead after another service has begun to write it, or has created its folder again. Not all
 * of /run: containers have their secrets there. */
static const char *const resolver_folders[] = {
    "/run/systemd", "/run/NetworkManager", "/run/resolvconf", "/run/connman", "/run/netconfig", "/run/dhcpcd",
};

/* All accesses that a kernel with this version can refuse. It does not accept those that it does not know. */
static uint64_t landlock_handled_access(long version)
{
    uint64_t first = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    return first | (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0) |
           (version >= 5 ? LANDLOCK_ACCESS_FS_IOCTL_DEV : 0);
}

/* A path that does not exist needs no rule. */
static bool landlock_allow(int ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES;
    long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
    return result == 0;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

/* All files of a user, with the keys and passwords of other programs, or of the whole system. */
static bool holds_too_much(const char *folder)
{
    const struct passwd *user = getpwuid(geteuid());
    return is_same_file(folder, "/") || (user && user->pw_dir && is_same_file(folder, user->pw_dir));
}

/* Allows its folder, so the file can be read again after it was replaced; or only the file that is there now. */
static bool landlock_allow_in_folder(int ruleset, const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    const char *folder = dirname(copy);
    if (!holds_too_much(folder))
        return landlock_allow(ruleset, folder, READ);
    log_warning("%s cannot be read again after an editor has replaced it, because the sandbox hides the rest of %s: "
                "for SIGHUP to work then, move the file to a folder of its own",
                path, folder);
    return landlock_allow(ruleset, path, READ);
}

/* Root could read secrets in the same folder, so it gets only the file. */
static bool landlock_allow_replaced(int ruleset, const char *path)
{
    char real[PATH_MAX];
    if (geteuid() == 0)
        return landlock_allow(ruleset, path, READ);
    /* A link may lead to another file in its folder later: this is how Kubernetes changes a file. */
    if (!realpath(path, real))
        return landlock_allow_in_folder(ruleset, path);
    return landlock_allow_in_folder(ruleset, path) &&
           (strcmp(path, real) == 0 || landlock_allow_in_folder(ruleset, real));
}

/* After logrotate has renamed the file, we create another one in its place. */
static bool landlock_allow_log(int ruleset, const char *path, uint64_t handled)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    const char *folder = dirname(copy);
    if (geteuid() != 0 && !holds_too_much(folder))
        return landlock_allow(ruleset, folder,
                              handled & (WRITE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_TRUNCATE));
    log_warning(
        "log.file: the sandbox hides the rest of %s, so %s cannot be created again after it was renamed: let logrotate "
        "copy the file (copytruncate), or run as another user than root and keep it in a folder of its own",
        folder, path);
    return true;
}

static bool landlock_allow_all(int ruleset, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < ARRAY_LEN(files_in_use); i++)
        if (!landlock_allow(ruleset, files_in_use[i].path, files_in_use[i].access))
            return false;
    for (size_t i = 0; i < ARRAY_LEN(replaced_files); i++)
        if (!landlock_allow_replaced(ruleset, replaced_files[i]))
            return false;
    for (size_t i = 0; i < ARRAY_LEN(resolver_folders) && geteuid() != 0; i++)
        if (!landlock_allow(ruleset, resolver_folders[i], READ))
            return false;
    for (size_t i = 0; i < count; i++)
        if (paths[i] && !landlock_allow_replaced(ruleset, paths[i]))
            return false;
    return true;
}

bool sandbox_files(const char *const *paths, size_t count, const char *log)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        log_info("the kernel has no Landlock (%s): only permissions protect files", strerror(errno));
        return true;
    }
    const struct landlock_ruleset_attr attributes = {.handled_access_fs = landlock_handled_access(version)};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    bool done = ruleset >= 0 && landlock_allow_all(ruleset, paths, count) &&
                (!log || landlock_allow_log(ruleset, log, attributes.handled_access_fs)) &&
                syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    if (!done)
        log_error(
            "cannot restrict the access to files (Landlock): %s. To start without a sandbox, set run.sandbox: off",
            strerror(errno));
    if (ruleset >= 0)
        close(ruleset);
    return done;
}

#else

bool sandbox_files(const char *const *paths, size_t count, const char *log)
{
    (void)paths, (void)count, (void)log;
    log_info("built without Landlock: only permissions protect files");
    return true;
}

#endif
