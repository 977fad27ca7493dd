#include "daemon/follow.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "handover"
#include "base/log.h"

/* One message: the path with its NUL, "" for none, and the open files: the configuration's, then the users'. */
#define FILES_MAX 2

int follow_connect(int ends[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0 ? errno : 0;
}

/* ---- files ---- */

static int follow_open_regular(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)))
        return fd;
    close(fd);
    return -1;
}

struct config_files follow_open_files(const char *path, const struct config *config)
{
    struct config_files files = CONFIG_FILES_NONE;
    if (path)
        files.file = follow_open_regular(path);
    if (files.file >= 0 && config->users_file)
        files.users_file = follow_open_regular(config->users_file);
    return files;
}

void follow_close_files(struct config_files *files)
{
    if (files->file >= 0)
        close(files->file);
    if (files->users_file >= 0)
        close(files->users_file);
    *files = CONFIG_FILES_NONE;
}

/* ---- the serving process ---- */

bool followers_add(struct followers *followers, int fd)
{
    int *more = realloc(followers->fds, (followers->count + 1) * sizeof(*more));
    if (!more) {
        close(fd);
        return false;
    }
    followers->fds = more;
    followers->fds[followers->count++] = fd;
    return true;
}

/* 0 or an errno. */
static int follow_send(int to, const char *path, const struct config_files *files)
{
    struct iovec part = {(void *)(uintptr_t)path, strlen(path) + 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(FILES_MAX * sizeof(int))];
    } control = {0};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
    int fds[FILES_MAX];
    size_t count = 0;
    if (files->file >= 0)
        fds[count++] = files->file;
    if (files->users_file >= 0)
        fds[count++] = files->users_file;
    if (count > 0) {
        control.header = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
        packet.msg_control = &control;
        packet.msg_controllen = CMSG_SPACE(count * sizeof(int));
    }
    return sendmsg(to, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

void followers_tell(struct followers *followers, const char *path, const struct config_files *files)
{
    const bool is_unreadable = path && files->file < 0;
    size_t left = 0;
    for (size_t i = 0; i < followers->count; i++) {
        const int fd = followers->fds[i];
        const int error = is_unreadable ? 0 : follow_send(fd, path ? path : "", files);
        if (error == EPIPE || error == ECONNRESET) { /* its last session is over */
            close(fd);
            continue;
        }
        if (is_unreadable || error)
            log_warning("a server that was replaced keeps its previous configuration: %s. SIGTERM ends it",
                        is_unreadable ? "the file cannot be read again" : strerror(error));
        followers->fds[left++] = fd;
    }
    followers->count = left;
}

void followers_close(struct followers *followers)
{
    for (size_t i = 0; i < followers->count; i++)
        close(followers->fds[i]);
    free(followers->fds);
    *followers = (struct followers){0};
}

/* ---- a process that follows ---- */

struct leader {
    struct event readable;
    leader_changed *changed;
    void *arg;
    int fd; /* -1: that process has ended */
};

/* Returns what recvmsg() does. No version of ours sends more than two files. */
static ssize_t follow_receive(int from, char path[PATH_MAX], struct config_files *files)
{
    struct iovec part = {path, PATH_MAX};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(FILES_MAX * sizeof(int))];
    } control;
    struct msghdr packet = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(from, &packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    const struct cmsghdr *rights = len > 0 ? CMSG_FIRSTHDR(&packet) : NULL;
    int fds[FILES_MAX] = {-1, -1};
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(rights), rights->cmsg_len - CMSG_LEN(0));
    *files = (struct config_files){fds[0], fds[1]};
    if (len > 0)
        path[len - 1] = '\0';
    return len;
}

/* Only the last of them counts. */
static void leader_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct leader *leader = arg;
    char path[PATH_MAX], last_path[PATH_MAX];
    struct config_files files, last = CONFIG_FILES_NONE;
    bool has_come = false;
    ssize_t len;
    while ((len = follow_receive(fd, path, &files)) > 0) {
        follow_close_files(&last);
        last = files;
        memcpy(last_path, path, (size_t)len);
        has_come = true;
    }
    if (len == 0 || errno != EAGAIN) {
        event_del(&leader->readable);
        close(leader->fd);
        leader->fd = -1;
    }
    if (has_come)
        leader->changed(leader->arg, last_path[0] ? last_path : NULL, &last);
}

struct leader *leader_new(struct event_base *base, int fd, leader_changed *changed, void *arg)
{
    struct leader *leader = calloc(1, sizeof(*leader));
    if (!leader) {
        close(fd);
        return NULL;
    }
    leader->fd = fd;
    leader->changed = changed;
    leader->arg = arg;
    event_assign(&leader->readable, base, fd, EV_READ | EV_PERSIST, leader_on_readable, leader);
    if (event_add(&leader->readable, NULL) == 0)
        return leader;
    leader_free(leader);
    return NULL;
}

int leader_socket(const struct leader *leader)
{
    return leader->fd;
}

void leader_free(struct leader *leader)
{
    if (!leader)
        return;
    if (leader->fd >= 0) {
        event_del(&leader->readable);
        close(leader->fd);
    }
    free(leader);
}
