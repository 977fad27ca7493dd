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
#include "daemon/spread.h"
#include "net/sock.h"

struct inherited {
    uid_t owner;
    size_t count;
    struct inherited_socket {
        int fd;
        union netaddr address;
        dev_t device; /* with `inode`, which socket it is */
        ino_t inode;
    } * sockets; /* in the order of their addresses */
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
static bool inherited_has_socket(const struct inherited *inherited, const struct stat *socket)
{
    for (size_t i = 0; i < inherited->count; i++)
        if (inherited->sockets[i].inode == socket->st_ino && inherited->sockets[i].device == socket->st_dev)
            return true;
    return false;
}

/* The first that is not before `address`. */
static size_t inherited_position(const struct inherited *inherited, const union netaddr *address)
{
    size_t first = 0, end = inherited->count;
    while (first < end) {
        const size_t middle = first + (end - first) / 2;
        if (netaddr_compare(&inherited->sockets[middle].address, address) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static bool inherited_insert(struct inherited *inherited, const struct inherited_socket *socket)
{
    struct inherited_socket *more =
        reallocarray(inherited->sockets, inherited->count + 1, sizeof(inherited->sockets[0]));
    if (!more)
        return false;
    inherited->sockets = more;
    const size_t at = inherited_position(inherited, &socket->address);
    memmove(&more[at + 1], &more[at], (inherited->count - at) * sizeof(more[0]));
    more[at] = *socket;
    inherited->count++;
    return true;
}

bool inherited_add(struct inherited *inherited, int fd)
{
    struct inherited_socket added = {.fd = fd};
    struct stat socket = {0};
    if (fstat(fd, &socket) == 0 && inherited_has_socket(inherited, &socket)) {
        close(fd);
        return true;
    }
    int error = sock_adopt_listener(fd, &added.address);
    added.device = socket.st_dev;
    added.inode = socket.st_ino;
    if (!error && inherited_insert(inherited, &added))
        return true;
    log_error("cannot use descriptor %d, which was passed to this process: %s", fd,
              error ? strerror(-error) : "no memory");
    close(fd);
    return false;
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

/* The i-th socket with that address, from 0; NULL: there are fewer. Sockets of other scopes may stand between them. */
static const struct inherited_socket *inherited_find(const struct inherited *inherited, const union netaddr *address,
                                                     size_t i)
{
    for (size_t at = inherited_position(inherited, address);
         at < inherited->count && netaddr_compare(&inherited->sockets[at].address, address) == 0; at++)
        if (netaddr_equal(&inherited->sockets[at].address, address) && i-- == 0)
            return &inherited->sockets[at];
    return NULL;
}

bool inherited_has(const struct inherited *inherited, const union netaddr *address)
{
    return inherited_find(inherited, address, 0) != NULL;
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
    for (size_t i = 0; i < config->endpoint_count; i++) {
        const union netaddr *address = &config->endpoints[i].address;
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
    while (inherited_find(inherited, address, count))
        count++;
    return count;
}

/* `number` of `count` sockets at an endpoint. */
static bool inherited_share_has(const struct inherited_share *share, const struct config *config, size_t endpoint,
                                size_t number, size_t count)
{
    if (spread_is_wanted(config))
        return (endpoint + number) % share->worker_count == share->worker;
    return count < share->worker_count ? number == share->worker % count
                                       : number % share->worker_count == share->worker;
}

int inherited_next(const struct inherited_share *share, const struct config *config, size_t endpoint, size_t *position)
{
    const union netaddr *address = &config->endpoints[endpoint].address;
    const size_t count = inherited_count(share->inherited, address);
    while (*position < count) {
        const size_t number = (*position)++;
        if (!inherited_share_has(share, config, endpoint, number, count))
            continue;
        const int fd = fcntl(inherited_find(share->inherited, address, number)->fd, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    return -ENOENT;
}
