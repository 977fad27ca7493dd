#include "admin/unix_socket.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static int unix_socket_new(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* Removes a socket that a killed process left behind. 0: there is none now. */
static int unix_socket_remove_stale(const struct sockaddr_un *address, int type)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    int fd = unix_socket_new(type);
    if (fd < 0)
        return fd;
    bool stale = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
    close(fd);
    if (!stale)
        return -EADDRINUSE;
    return unlink(address->sun_path) < 0 ? -errno : 0;
}

int unix_socket_listen(const char *path, int type, mode_t mode)
{
    assert(type == SOCK_STREAM || type == SOCK_SEQPACKET);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int error = unix_socket_remove_stale(&address, type), fd = error ? error : unix_socket_new(type);
    if (fd < 0)
        return fd;
    mode_t before = umask(0777 & ~mode);
    error = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0 ? errno : 0;
    umask(before);
    if (!error)
        return fd;
    close(fd);
    return -error;
}
