#include "daemon/takeover.h"

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

/* It answers from its event loop, where a reload of a large file may be under way. */
static const struct timeval patience = {.tv_sec = 10};

struct parcel {
    struct handover_message message;
    int fds[HANDOVER_DESCRIPTORS_MAX];
    size_t fd_count;
};

/* ---- asking ---- */

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* Else somebody who may write to its folder could have us serve at sockets of his. */
static bool is_ours(int fd, const char *path)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    if (peer.uid != 0 && peer.uid != geteuid())
        log_error("%s belongs to user id %u: nothing is taken over from there", path, (unsigned)peer.uid);
    return peer.uid == 0 || peer.uid == geteuid();
}

/* 0 or an errno. */
static int receive(int from, struct parcel *parcel)
{
    struct iovec part = {&parcel->message, sizeof(parcel->message)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(HANDOVER_DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct msghdr packet = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t len;
    do /* a wait that has a limit ends with EINTR when a process that was stopped goes on */
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

static void keep(int *slot, int fd, bool wanted)
{
    if (wanted && *slot < 0)
        *slot = fd;
    else
        close(fd);
}

static bool add_udp(struct takeover *takeover, int fd)
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

static bool is_at_path(int fd, const char *path)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof(address) - 1;
    return path && getsockname(fd, (struct sockaddr *)&address, &len) == 0 && address.sun_family == AF_UNIX &&
           strcmp(address.sun_path, path) == 0;
}

static bool is_at_address(int fd, const union netaddr *address)
{
    const union netaddr local = sock_local(fd);
    return netaddr_equal(&local, address);
}

/* A socket that the configuration does not name any more is closed with the one who has it now. */
static bool sort_one(struct takeover *takeover, const struct config *config, struct inherited *listeners, uint32_t kind,
                     int fd)
{
    switch (kind) {
    case HANDOVER_LISTENERS:
        return inherited_add(listeners, fd);
    case HANDOVER_UDP:
        return add_udp(takeover, fd);
    case HANDOVER_ADMIN_TCP:
        keep(&takeover->admin.tcp, fd, is_at_address(fd, &config->admin.address));
        return true;
    case HANDOVER_ADMIN_SOCKET:
        keep(&takeover->admin.local, fd, is_at_path(fd, config->admin.socket));
        return true;
    case HANDOVER_PID_FILE:
        keep(&takeover->pid_file, fd, true);
        return true;
    case HANDOVER_SOCKET:
        keep(&takeover->handover, fd, is_at_path(fd, config->run.handover));
        return true;
    case HANDOVER_FOLLOWER:
        return followers_add(&takeover->followers, fd);
    default:
        close(fd);
        return true;
    }
}

/* 0 or an errno. */
static int receive_all(struct takeover *takeover, const struct config *config, struct inherited *listeners)
{
    struct parcel parcel;
    size_t received = 0;
    int error;
    do {
        error = receive(takeover->server, &parcel);
        for (size_t i = 0; i < parcel.fd_count; i++)
            if (!sort_one(takeover, config, listeners, parcel.message.kind, parcel.fds[i]))
                error = error ? error : EPROTO;
        received += parcel.fd_count;
    } while (!error && parcel.message.kind != HANDOVER_ALL);
    return !error && parcel.message.count != received ? EPROTO : error;
}

static const char *words(int error)
{
    switch (error) {
    case ECONNRESET:
        return "the running server refuses: see its log";
    case EAGAIN:
        return "the running server does not answer";
    case EPROTO:
        return "the running server speaks another version: stop it, and start this one";
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
        log_error("--take-over: run.handover names no socket to ask at");
        return false;
    }
    int server = dial(path);
    if (server == -ENOENT || server == -ECONNREFUSED) {
        log_info("nobody serves at %s: there is nothing to take over", path);
        return true;
    }
    if (server < 0) {
        log_error("cannot take over at %s: %s", path, strerror(-server));
        return false;
    }
    takeover->server = server;
    int error = is_ours(server, path) ? receive_all(takeover, config, listeners) : EPERM;
    if (!error)
        return true;
    log_error("cannot take over at %s: %s", path, words(error));
    takeover_abandon(takeover);
    return false;
}

bool takeover_is_under_way(const struct takeover *takeover)
{
    return takeover->server >= 0;
}

/* What it says last may stand behind the reset that its end is. */
static int receive_last(int from, struct parcel *parcel)
{
    int error = receive(from, parcel);
    return error == ECONNRESET ? receive(from, parcel) : error;
}

bool takeover_finish(struct takeover *takeover)
{
    const struct handover_message message = {HANDOVER_VERSION, HANDOVER_SERVES, 0};
    struct parcel parcel;
    int error;
    (void)!send(takeover->server, &message, sizeof(message), MSG_NOSIGNAL); /* whether it hears this shows below */
    do {
        error = receive_last(takeover->server, &parcel);
        for (size_t i = 0; i < parcel.fd_count; i++)
            (void)add_udp(takeover, parcel.fds[i]); /* opened since */
    } while (parcel.fd_count > 0);
    if (!error && parcel.message.kind == HANDOVER_TOO_LATE) {
        log_error(
            "the running server has waited for too long, and now another process takes over, or none: this one ends");
        return false;
    }
    if (error == ECONNRESET)
        log_warning("the server of before has ended meanwhile");
    else if (error || parcel.message.kind != HANDOVER_GONE)
        log_warning("the server of before does not say that it is gone: %s", error ? words(error) : "nonsense");
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
