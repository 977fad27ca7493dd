#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LOG_MODULE "sandbox"
#include "base/log.h"
#include "conf/config.h"
#include "daemon/sandbox.h"
#include "daemon/sandbox_impl.h"

#define UNPRIVILEGED "nobody"
#define OVERFLOW_ID  65534 /* its number, for a small container that has no list of users */

struct identity {
    uid_t uid;
    gid_t gid;
};

static bool identity_is_found(const void *entry, const char *key, const char *name)
{
    if (!entry)
        log_error("%s: this system has no \"%s\". Create it, name another, or remove the key", key, name);
    return entry;
}

static bool identity_find(const struct config *config, struct identity *wanted)
{
    *wanted = (struct identity){geteuid(), getegid()};
    const char *user = config->run.user, *group = config->run.group;
    if (!user && geteuid() == 0) {
        const struct passwd *nobody = getpwnam(UNPRIVILEGED);
        *wanted =
            nobody ? (struct identity){nobody->pw_uid, nobody->pw_gid} : (struct identity){OVERFLOW_ID, OVERFLOW_ID};
    }
    if (user) {
        const struct passwd *entry = getpwnam(user);
        if (!identity_is_found(entry, "run.user", user))
            return false;
        *wanted = (struct identity){entry->pw_uid, entry->pw_gid};
    }
    if (group) {
        const struct group *entry = getgrnam(group);
        if (!identity_is_found(entry, "run.group", group))
            return false;
        wanted->gid = entry->gr_gid;
    }
    return true;
}

bool sandbox_identity(const struct config *config, uid_t *user, gid_t *group)
{
    struct identity wanted;
    if (!identity_find(config, &wanted))
        return false;
    *user = wanted.uid;
    *group = wanted.gid;
    return true;
}

static bool identity_is_now(const struct identity *wanted)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    return getresuid(&real, &effective, &saved) == 0 && getresgid(&real_group, &effective_group, &saved_group) == 0 &&
           real == wanted->uid && effective == wanted->uid && saved == wanted->uid && real_group == wanted->gid &&
           effective_group == wanted->gid && saved_group == wanted->gid;
}

/* The order matters: without root's user id the group ids can no longer be changed. */
static bool identity_become(const struct identity *wanted)
{
    int death = 0; /* the signal that we get when our parent ends; a new user id clears it */
    prctl(PR_GET_PDEATHSIG, &death);
    if (setgroups(0, NULL) < 0 || setresgid(wanted->gid, wanted->gid, wanted->gid) < 0 ||
        setresuid(wanted->uid, wanted->uid, wanted->uid) < 0)
        return false;
    prctl(PR_SET_PDEATHSIG, death);
    errno = EPERM;
    return identity_is_now(wanted) && getgroups(0, NULL) == 0;
}

static bool change_user(const struct config *config, const struct identity *wanted)
{
    bool asked = config->run.user || config->run.group;
    if (geteuid() != 0) {
        if (asked && !identity_is_now(wanted))
            log_error("run.user, run.group: only root can change to another user. Start as root, or remove both keys");
        return !asked || identity_is_now(wanted);
    }
    if (identity_become(wanted)) {
        log_info("running as user id %u, group id %u", (unsigned)wanted->uid, (unsigned)wanted->gid);
        return true;
    }
    if (asked)
        log_error("run.user, run.group: cannot change to user id %u, group id %u: %s. In a container, that needs "
                  "CAP_SETUID and CAP_SETGID, and the ids have to exist there",
                  (unsigned)wanted->uid, (unsigned)wanted->gid, strerror(errno));
    else
        log_warning("running as root, but without its capabilities: cannot change to \"" UNPRIVILEGED
                    "\" in this container: %s",
                    strerror(errno));
    return !asked;
}

/* Then no program that we start can get a capability back. Needs CAP_SETPCAP; no_new_privs has the same effect. */
static void capabilities_empty_bounding_set(void)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0UL, 0UL, 0UL) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0UL, 0UL, 0UL) < 0)
            return;
}

/* Since Linux 5.7 any user may bind a new socket to an interface. */
static bool interface_needs_capability(void)
{
    struct utsname system;
    unsigned major, minor;
    return uname(&system) < 0 || sscanf(system.release, "%u.%u", &major, &minor) != 2 || major < 5 ||
           (major == 5 && minor < 7);
}

/* For sockets that will be opened later; those at ports below 1024 are open already. */
static uint32_t capabilities_needed(const struct config *config)
{
    uint32_t needed = config_has_mark(config) ? (uint32_t)1 << CAP_NET_ADMIN : 0;
    if (config_has_interface(config) && interface_needs_capability())
        needed |= (uint32_t)1 << CAP_NET_RAW;
    return needed;
}

static bool capabilities_drop(uint32_t needed)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct had[_LINUX_CAPABILITY_U32S_3], left[_LINUX_CAPABILITY_U32S_3];
    struct __user_cap_data_struct kept[_LINUX_CAPABILITY_U32S_3] = {0};
    if (needed && syscall(SYS_capget, &header, had) == 0)
        kept[0].effective = kept[0].permitted = had[0].permitted & needed;
    if (syscall(SYS_capset, &header, kept) == 0 && syscall(SYS_capget, &header, left) == 0 &&
        memcmp(left, kept, sizeof(kept)) == 0)
        return true;
    log_error("cannot give up the capabilities: %s", strerror(errno));
    return false;
}

static bool permits_mark(const struct config *config)
{
    const int mark = 1;
    if (!config_has_mark(config))
        return true;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool able = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;
    if (!able)
        log_error(
            "cannot set a mark (outbound.mark, or that of a user or a rule): %s. It needs CAP_NET_ADMIN: start as "
            "root, or "
            "add the capability to the systemd unit. A running process cannot gain it: to add the first mark, restart "
            "conesocks",
            strerror(errno));
    if (fd >= 0)
        close(fd);
    return able;
}

/* An entry of the list `whose`; NULL: the one of outbound. */
static bool permits_interface(const char *interface, const char *whose, size_t index)
{
    char key[32] = "outbound";
    int fd = interface ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (!interface)
        return true;
    if (whose)
        snprintf(key, sizeof(key), "%s[%zu]", whose, index);
    bool able = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) == 0;
    if (!able && errno == ENODEV)
        log_error("%s.interface: this system has no interface \"%s\" (now). \"ip link\" lists all interfaces", key,
                  interface);
    else if (!able)
        log_error("%s.interface: cannot bind a socket to \"%s\": %s. Before Linux 5.7 that needs CAP_NET_RAW: start as "
                  "root, or add the capability to the systemd unit",
                  key, interface, strerror(errno));
    if (fd >= 0)
        close(fd);
    return able;
}

bool sandbox_permits(const struct config *config)
{
    bool able = permits_mark(config) && permits_interface(config->outbound.interface, NULL, 0);
    for (size_t i = 0; i < config->user_count && able; i++)
        able = permits_interface(config->users[i].terms.interface, "users", i);
    for (size_t i = 0; i < config->rule_count && able; i++)
        able = permits_interface(config->rules[i].terms.interface, "rules", i);
    return able;
}

/* Changes what was opened, not what the name leads to then: a user who may write to the folder could have linked it to
 * another file. */
static int socket_give(const char *path, const struct identity *wanted)
{
    struct stat status;
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int error = fd < 0 || fstat(fd, &status) < 0                   ? errno
                : S_ISSOCK(status.st_mode) && status.st_nlink == 1 ? 0
                                                                   : ENOTSOCK;
    if (!error && fchownat(fd, "", wanted->uid, wanted->gid, AT_EMPTY_PATH) < 0)
        error = errno;
    if (fd >= 0)
        close(fd);
    return error;
}

/* The admin listener's socket belongs to root, which started us. Gives it to the user and group that we run as. */
static void admin_socket_give(const struct config *config, const struct identity *wanted)
{
    const char *path = config->admin.socket;
    if (!path || geteuid() != 0)
        return;
    int error = socket_give(path, wanted);
    if (error)
        log_warning("%s still belongs to root: cannot give it to user id %u, group id %u: %s", path,
                    (unsigned)wanted->uid, (unsigned)wanted->gid, strerror(error));
}

bool sandbox_user(const struct config *config)
{
    struct identity wanted;
    const uint32_t capabilities = capabilities_needed(config);
    if (!identity_find(config, &wanted))
        return false;
    admin_socket_give(config, &wanted);
    capabilities_empty_bounding_set();
    if (capabilities)
        prctl(PR_SET_KEEPCAPS, 1UL, 0UL, 0UL, 0UL); /* otherwise a new user id clears all of them */
    return change_user(config, &wanted) && capabilities_drop(capabilities) && sandbox_permits(config);
}
