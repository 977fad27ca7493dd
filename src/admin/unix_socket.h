/* Opens a listening Unix socket in the file system, and replaces a stale one. */
#ifndef CONESOCKS_ADMIN_UNIX_SOCKET_H
#define CONESOCKS_ADMIN_UNIX_SOCKET_H

#include <sys/types.h>

/* `type`: SOCK_STREAM or SOCK_SEQPACKET; `mode`: the file's permissions. An existing socket is replaced if no process
 * listens on it. Returns a descriptor or a negative errno: EADDRINUSE (a process listens there), ENOTSOCK (another kind
 * of file). Only for a single-threaded process: it changes the umask. */
int unix_socket_listen(const char *path, int type, mode_t mode);

#endif
