#include "daemon/takeover.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_MODULE "handover"
#include "base/log.h"
#include "conf/config.h"
#include "daemon/handover_wire.h"
#include "daemon/inherited.h"
#include "net/sock.h"

/* The running server answers from its event loop, which may be busy with the reload of a large file. */
static const struct timeval takeover_patience = {.tv_sec = 10};

struct takeover_parcel {
    struct handover_message message;
    int fds[HANDOVER_DESCRIPTORS_MAX];
    size_t fd_count;
};

/* ---- asking ---- */

static int takeover_dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &takeover_patience, sizeof(takeover_patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* Otherwise a user who may write to its folder could make us serve at sockets of theirs. */
static bool takeover_is_from_us(int fd, const char *path)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    if (peer.uid != 0 && peer.uid != geteuid())
        log_error("not taking over from %s: it belongs to user id %u", path, (unsigned)peer.uid);
    return peer.uid == 0 || peer.uid == geteuid();
}

/* 0 or an errno. */
static int takeover_receive(int from, struct takeover_parcel *parcel)
{
    struct iovec part = {&parcel->message, sizeof(parcel->message)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(HANDOVER_DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct msghdr packet = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t len;
    do /* a wait with a limit ends with EINTR when a stopped process continues */
        len = recvmsg(from, &packet, MSG_CMSG_CLOEXEC);
    while (len < 0 && errno == EINTR);
    int error = errno;
    parcel->fd_count = 0;
    const struct cmsghdr *rights = len > 0 ? CMSG_FIRSTHDR(&packet) : NULL;
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
        parcel->fd_count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(parcel->fds, CMSG_DATA(rights), parcel->fd_count * sizeof(int));
    }
    if (len < 0)
        return error;
    if (packet.msg_flags & MSG_CTRUNC)
        return EMFILE;
    if (len != (ssize_t)sizeof(parcel->message))
        return len == 0 ? ECONNRESET : EPROTO;
    return parcel->message.version == HANDOVER_VERSION ? 0 : EPROTO;
}

/* ---- sorting ---- */

static void takeover_keep(int *slot, int fd, bool wanted)
{
    if (wanted && *slot < 0)
        *slot = fd;
    else
        close(fd);
}

static bool takeover_add_udp(struct takeover *takeover, int fd)
{
    int *more = realloc(takeover->udp, (takeover->udp_count + 1) * sizeof(*more));
    if (!more) {
        close(fd);
        return false;
    }
    takeover->udp = more;
    takeover->udp[takeover->udp_count++] = fd;
    return true;
}

static bool socket_is_at_path(int fd, const char *path)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof(address) - 1;
    return path && getsockname(fd, (struct sockaddr *)&address, &len) == 0 && address.sun_family == AF_UNIX &&
           strcmp(address.sun_path, path) == 0;
}

static bool socket_is_at_address(int fd, const union netaddr *address)
{
    const union netaddr local = sock_local(fd);
    return netaddr_equal(&local, address);
}

/* A socket that our configuration does not name any more is closed: it ends with the running server. */
static bool takeover_sort(struct takeover *takeover, const struct config *config, struct inherited *listeners,
                          uint32_t kind, int fd)
{
    switch (kind) {
    case HANDOVER_LISTENERS:
        return inherited_add(listeners, fd);
    case HANDOVER_UDP:
        return takeover_add_udp(takeover, fd);
    case HANDOVER_ADMIN_TCP:
        takeover_keep(&takeover->admin.tcp, fd, socket_is_at_address(fd, &config->admin.address));
        return true;
    case HANDOVER_ADMIN_SOCKET:
        takeover_keep(&takeover->admin.local, fd, socket_is_at_path(fd, config->admin.socket));
        return true;
    case HANDOVER_PID_FILE:
        takeover_keep(&takeover->pid_file, fd, true);
        return true;
    case HANDOVER_SOCKET:
        takeover_keep(&takeover->handover, fd, socket_is_at_path(fd, config->run.handover));
        return true;
    case HANDOVER_FOLLOWER:
        return followers_add(&takeover->followers, fd);
    default:
        close(fd);
        return true;
    }
}

/* 0 or an errno. */
static int takeover_receive_all(struct takeover *takeover, const struct config *config, struct inherited *listeners)
{
    struct takeover_parcel parcel;
    size_t received = 0;
    int error;
    do {
        error = takeover_receive(takeover->server, &parcel);
        for (size_t i = 0; i < parcel.fd_count; i++)
            if (!takeover_sort(takeover, config, listeners, parcel.message.kind, parcel.fds[i]))
                error = error ? error : EPROTO;
        received += parcel.fd_count;
    } while (!error && parcel.message.kind != HANDOVER_ALL);
    return !error && parcel.message.count != received ? EPROTO : error;
}

static const char *takeover_explain(int error)
{
    switch (error) {
    case ECONNRESET:
        return "the running server refuses: see its log";
    case EAGAIN:
        return "the running server does not answer";
    case EPROTO:
        return "the running server has another version of this protocol: stop it, and start this one";
    default:
        return strerror(error);
    }
}

/* ---- life ---- */

bool takeover_begin(struct takeover *takeover, const struct config *config, struct inherited *listeners)
{
    const char *path = config->run.handover;
    *takeover = TAKEOVER_NONE;
    if (!path) {
        log_warning("--take-over: starting without taking over: run.handover is not set");
        return true;
    }
    int server = takeover_dial(path);
    if (server == -ENOENT || server == -ECONNREFUSED) {
        log_info("no server is running at %s: there is nothing to take over", path);
        return true;
    }
    if (server < 0) {
        log_error("cannot take over at %s: %s", path, strerror(-server));
        return false;
    }
    takeover->server = server;
    int error = takeover_is_from_us(server, path) ? takeover_receive_all(takeover, config, listeners) : EPERM;
    if (!error)
        return true;
    log_error("cannot take over at %s: %s", path, takeover_explain(error));
    takeover_abandon(takeover);
    return false;
}

bool takeover_is_under_way(const struct takeover *takeover)
{
    return takeover->server >= 0;
}

/* When the running server ends, its last message may come after the reset of the connection. */
static int takeover_receive_last(int from, struct takeover_parcel *parcel)
{
    int error = takeover_receive(from, parcel);
    return error == ECONNRESET ? takeover_receive(from, parcel) : error;
}

bool takeover_finish(struct takeover *takeover)
{
    assert(takeover_is_under_way(takeover));
    const struct handover_message message = {HANDOVER_VERSION, HANDOVER_SERVES, 0};
    struct takeover_parcel parcel;
    int error;
    (void)!send(takeover->server, &message, sizeof(message), MSG_NOSIGNAL); /* whether it arrives shows below */
    do {
        error = takeover_receive_last(takeover->server, &parcel);
        for (size_t i = 0; i < parcel.fd_count; i++)
            (void)takeover_add_udp(takeover, parcel.fds[i]); /* opened since then */
    } while (parcel.fd_count > 0);
    if (!error && parcel.message.kind == HANDOVER_TOO_LATE) {
        log_error("the running server did not wait for this process any longer: not serving");
        return false;
    }
    if (error == ECONNRESET)
        log_warning("the previous server has already exited");
    else if (error || parcel.message.kind != HANDOVER_GONE)
        log_warning("the previous server does not confirm that it stopped accepting: %s",
                    error ? takeover_explain(error) : "unexpected answer");
    return true;
}

void takeover_abandon(struct takeover *takeover)
{
    const int fds[] = {takeover->server, takeover->admin.tcp, takeover->admin.local, takeover->pid_file,
                       takeover->handover};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (size_t i = 0; i < takeover->udp_count; i++)
        if (takeover->udp[i] >= 0)
            close(takeover->udp[i]);
    free(takeover->udp);
    followers_close(&takeover->followers);
    follow_close_files(&takeover->files);
    *takeover = TAKEOVER_NONE;
}
