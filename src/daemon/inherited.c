#include "daemon/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "conf/config.h"
#include "daemon/notify.h"
#include "net/sock.h"

struct inherited {
    uid_t owner;
    size_t count;
    struct {
        int fd;
        union netaddr address;
    } * sockets;
};

struct inherited *inherited_new(void)
{
    struct inherited *inherited = calloc(1, sizeof(struct inherited));
    if (inherited)
        inherited->owner = geteuid();
    return inherited;
}

void inherited_give(struct inherited *inherited, uid_t owner)
{
    inherited->owner = owner;
    for (size_t i = 0; i < inherited->count; i++)
        sock_give(inherited->sockets[i].fd, owner);
}

uid_t inherited_owner(const struct inherited *inherited)
{
    return inherited->owner;
}

/* Workers that share a socket each have a descriptor for it. */
static bool is_known(const struct inherited *inherited, int fd)
{
    struct stat one, other;
    for (size_t i = 0; i < inherited->count; i++)
        if (fstat(fd, &one) == 0 && fstat(inherited->sockets[i].fd, &other) == 0 && one.st_dev == other.st_dev &&
            one.st_ino == other.st_ino)
            return true;
    return false;
}

bool inherited_add(struct inherited *inherited, int fd)
{
    union netaddr address;
    if (is_known(inherited, fd)) {
        close(fd);
        return true;
    }
    int error = sock_adopt_listener(fd, &address);
    void *more = error ? NULL : realloc(inherited->sockets, (inherited->count + 1) * sizeof(inherited->sockets[0]));
    if (!more) {
        log_error("descriptor %d that was passed to this process cannot be used: %s", fd,
                  error ? strerror(-error) : "no memory");
        close(fd);
        return false;
    }
    inherited->sockets = more;
    inherited->sockets[inherited->count].fd = fd;
    inherited->sockets[inherited->count++].address = address;
    return true;
}

bool inherited_from_systemd(struct inherited *inherited)
{
    int first, count = notify_sockets(&first);
    bool done = count >= 0;
    for (int i = 0; i < count; i++)
        done = inherited_add(inherited, first + i) && done;
    return done;
}

void inherited_free(struct inherited *inherited)
{
    if (!inherited)
        return;
    for (size_t i = 0; i < inherited->count; i++)
        close(inherited->sockets[i].fd);
    free(inherited->sockets);
    free(inherited);
}

bool inherited_has(const struct inherited *inherited, const union netaddr *address)
{
    for (size_t i = 0; i < inherited->count; i++)
        if (netaddr_equal(&inherited->sockets[i].address, address))
            return true;
    return false;
}

static bool is_listed(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_equal(&config->listen[i].address, address))
            return true;
    return false;
}

bool inherited_is_wanted(const struct inherited *inherited, const struct config *config)
{
    bool wanted = true;
    for (size_t i = 0; i < inherited->count; i++) {
        char text[NETADDR_TEXT_MAX];
        const union netaddr *address = &inherited->sockets[i].address;
        if (is_listed(config, address))
            continue;
        log_error("systemd passes a socket at %s, which the configuration does not listen on: name that address and "
                  "port in \"listen\", or change ListenStream= in the socket unit",
                  netaddr_format(address, text));
        wanted = false;
    }
    return wanted;
}

static const union netaddr *find_overlap(const struct inherited *inherited, const union netaddr *address)
{
    for (size_t i = 0; i < inherited->count; i++)
        if (netaddr_overlaps(&inherited->sockets[i].address, address))
            return &inherited->sockets[i].address;
    return NULL;
}

static void log_not_free(const union netaddr *address, int error, const union netaddr *overlap)
{
    char text[NETADDR_TEXT_MAX], other[NETADDR_TEXT_MAX];
    netaddr_format(address, text);
    if (error == EADDRINUSE && overlap)
        log_error("cannot listen on %s: %s: the listener at %s, which was passed to this process, overlaps it. Stop "
                  "the server and start it again",
                  text, strerror(error), netaddr_format(overlap, other));
    else
        log_error("cannot listen on %s: %s%s", text, strerror(error),
                  error == EADDRINUSE ? ". Is conesocks, or another proxy, running already?" : "");
}

/* Workers share their addresses, which would let a second server in as well: ask alone first, unless a socket of ours
 * is at that port. */
bool inherited_others_are_free(const struct inherited *inherited, const struct config *config)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        const union netaddr *address = &config->listen[i].address;
        if (inherited_has(inherited, address))
            continue;
        const union netaddr *overlap = find_overlap(inherited, address);
        int fd = overlap ? sock_listen_as(address, inherited->owner) : sock_listen(address, false);
        if (fd < 0) {
            log_not_free(address, -fd, overlap);
            return false;
        }
        close(fd);
    }
    return true;
}

static size_t count_at(const struct inherited *inherited, const union netaddr *address)
{
    size_t count = 0;
    for (size_t i = 0; i < inherited->count; i++)
        count += netaddr_equal(&inherited->sockets[i].address, address);
    return count;
}

/* `number` of `count` sockets at one address. */
static bool is_in(const struct inherited_share *share, size_t number, size_t count)
{
    return count < share->worker_count ? number == share->worker % count
                                       : number % share->worker_count == share->worker;
}

int inherited_next(const struct inherited_share *share, const union netaddr *address, size_t *position)
{
    const struct inherited *inherited = share->inherited;
    const size_t count = count_at(inherited, address);
    size_t number = 0;
    for (size_t i = 0; i < inherited->count; i++) {
        if (!netaddr_equal(&inherited->sockets[i].address, address))
            continue;
        if (number++ < *position || !is_in(share, number - 1, count))
            continue;
        *position = number;
        int fd = fcntl(inherited->sockets[i].fd, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    return -ENOENT;
}
