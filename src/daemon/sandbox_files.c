/*
 * Landlock: files are out of reach but for a few. Its rules hold for what a path leads to today, not for the name, so a
 * file that others replace needs its folder.
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
} files[] = {
    {"/dev/null", READ | WRITE}, {"/dev/urandom", READ}, /* libevent's random numbers are seeded anew now and then */
};
static const char *const replaced_files[] = {"/etc/hosts", "/etc/resolv.conf"};
/* Where /etc/resolv.conf may lead after a service took over that writes it, or made its folder anew. Not all of /run:
 * containers have their secrets there. */
static const char *const resolver_folders[] = {
    "/run/systemd", "/run/NetworkManager", "/run/resolvconf", "/run/connman", "/run/netconfig", "/run/dhcpcd",
};

/* All that a kernel with this version can refuse: what it does not know it would not accept. */
static uint64_t handled_access(long version)
{
    uint64_t first = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    return first | (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0) |
           (version >= 5 ? LANDLOCK_ACCESS_FS_IOCTL_DEV : 0);
}

/* A path that does not exist needs no rule. */
static bool allow(int ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES;
    long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
    return result == 0;
}

static bool is_same(const char *a, const char *b)
{
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

/* All that somebody has, keys and passwords of other programs among it, or all of the system. */
static bool holds_too_much(const char *folder)
{
    const struct passwd *user = getpwuid(geteuid());
    return is_same(folder, "/") || (user && user->pw_dir && is_same(folder, user->pw_dir));
}

/* By its folder, so that it is read again after a rename over it; or by itself, as it is now. */
static bool allow_in_folder(int ruleset, const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    const char *folder = dirname(copy);
    if (!holds_too_much(folder))
        return allow(ruleset, folder, READ);
    log_warning(
        "%s can be read again only as it is now, for the rest of %s is out of reach: for SIGHUP to work after an "
        "editor has replaced it, move it to a folder of its own",
        path, folder);
    return allow(ruleset, path, READ);
}

/* Root could read the secrets beside it: it gets the file alone. */
static bool allow_replaced(int ruleset, const char *path)
{
    char real[PATH_MAX];
    if (geteuid() == 0)
        return allow(ruleset, path, READ);
    /* A name may lead elsewhere tomorrow, within its folder: so does Kubernetes change a file. */
    if (!realpath(path, real))
        return allow_in_folder(ruleset, path);
    return allow_in_folder(ruleset, path) && (strcmp(path, real) == 0 || allow_in_folder(ruleset, real));
}

/* Whoever renames it, as logrotate does, has us make another one in its place. */
static bool allow_log(int ruleset, const char *path, uint64_t handled)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    const char *folder = dirname(copy);
    if (geteuid() != 0 && !holds_too_much(folder))
        return allow(ruleset, folder, handled & (WRITE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_TRUNCATE));
    log_warning("log.file: the rest of %s is out of reach, so %s cannot be made again once it was renamed: have "
                "logrotate copy it (copytruncate), or keep it in a folder of its own, as another user than root",
                folder, path);
    return true;
}

static bool allow_all(int ruleset, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (!allow(ruleset, files[i].path, files[i].access))
            return false;
    for (size_t i = 0; i < sizeof(replaced_files) / sizeof(replaced_files[0]); i++)
        if (!allow_replaced(ruleset, replaced_files[i]))
            return false;
    for (size_t i = 0; i < sizeof(resolver_folders) / sizeof(resolver_folders[0]) && geteuid() != 0; i++)
        if (!allow(ruleset, resolver_folders[i], READ))
            return false;
    for (size_t i = 0; i < count; i++)
        if (paths[i] && !allow_replaced(ruleset, paths[i]))
            return false;
    return true;
}

bool sandbox_files(const char *const *paths, size_t count, const char *log)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        log_info("the kernel has no Landlock (%s): files are guarded by their permissions alone", strerror(errno));
        return true;
    }
    const struct landlock_ruleset_attr attributes = {.handled_access_fs = handled_access(version)};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    bool done = ruleset >= 0 && allow_all(ruleset, paths, count) &&
                (!log || allow_log(ruleset, log, attributes.handled_access_fs)) &&
                syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    if (!done)
        log_error("cannot restrict the files that are in reach (Landlock): %s. run.sandbox: off starts without",
                  strerror(errno));
    if (ruleset >= 0)
        close(ruleset);
    return done;
}

#else

bool sandbox_files(const char *const *paths, size_t count, const char *log)
{
    (void)paths, (void)count, (void)log;
    log_info("built without Landlock: files are guarded by their permissions alone");
    return true;
}

#endif
