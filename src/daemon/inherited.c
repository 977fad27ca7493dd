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

/* Workers that share a socket have a descriptor for it each: only one of them is kept. */
static bool inherited_has_socket(const struct inherited *inherited, int fd)
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
    if (inherited_has_socket(inherited, fd)) {
        close(fd);
        return true;
    }
    int error = sock_adopt_listener(fd, &address);
    void *more = error ? NULL : realloc(inherited->sockets, (inherited->count + 1) * sizeof(inherited->sockets[0]));
    if (!more) {
        log_error("cannot use descriptor %d, which was passed to this process: %s", fd,
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

bool inherited_is_wanted(const struct inherited *inherited, const struct config *config)
{
    bool is_wanted = true;
    for (size_t i = 0; i < inherited->count; i++) {
        char text[NETADDR_TEXT_MAX];
        const union netaddr *address = &inherited->sockets[i].address;
        if (config_listener_at(config, address))
            continue;
        log_error("systemd passes a socket at %s, but the configuration does not listen there: add that address and "
                  "port to \"listen\", or change ListenStream= in the socket unit",
                  netaddr_format(address, text));
        is_wanted = false;
    }
    return is_wanted;
}

static const union netaddr *inherited_find_overlap(const struct inherited *inherited, const union netaddr *address)
{
    for (size_t i = 0; i < inherited->count; i++)
        if (netaddr_overlaps(&inherited->sockets[i].address, address))
            return &inherited->sockets[i].address;
    return NULL;
}

static void inherited_log_not_free(const union netaddr *address, int error, const union netaddr *overlap)
{
    char text[NETADDR_TEXT_MAX], other[NETADDR_TEXT_MAX];
    netaddr_format(address, text);
    if (error == EADDRINUSE && overlap)
        log_error("cannot listen on %s: %s: it overlaps the listener at %s, which was passed to this process. Stop the "
                  "server and start it again",
                  text, strerror(error), netaddr_format(overlap, other));
    else
        log_error("cannot listen on %s: %s%s", text, strerror(error),
                  error == EADDRINUSE ? ". Is conesocks or another proxy running already?" : "");
}

/* Workers share their addresses (SO_REUSEPORT), so a second server could open them, too. To find out, an address is
 * first opened without sharing, unless a socket of ours has that port. */
bool inherited_others_are_free(const struct inherited *inherited, const struct config *config)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        const union netaddr *address = &config->listen[i].address;
        if (inherited_has(inherited, address))
            continue;
        const union netaddr *overlap = inherited_find_overlap(inherited, address);
        int fd = overlap ? sock_listen_as(address, inherited->owner) : sock_listen(address, false);
        if (fd < 0) {
            inherited_log_not_free(address, -fd, overlap);
            return false;
        }
        close(fd);
    }
    return true;
}

static size_t inherited_count(const struct inherited *inherited, const union netaddr *address)
{
    size_t count = 0;
    for (size_t i = 0; i < inherited->count; i++)
        count += netaddr_equal(&inherited->sockets[i].address, address);
    return count;
}

/* `number` of `count` sockets at one address. */
static bool inherited_share_has(const struct inherited_share *share, size_t number, size_t count)
{
    return count < share->worker_count ? number == share->worker % count
                                       : number % share->worker_count == share->worker;
}

int inherited_next(const struct inherited_share *share, const union netaddr *address, size_t *position)
{
    const struct inherited *inherited = share->inherited;
    const size_t count = inherited_count(inherited, address);
    size_t number = 0;
    for (size_t i = 0; i < inherited->count; i++) {
        if (!netaddr_equal(&inherited->sockets[i].address, address))
            continue;
        if (number++ < *position || !inherited_share_has(share, number - 1, count))
            continue;
        *position = number;
        int fd = fcntl(inherited->sockets[i].fd, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    return -ENOENT;
}
