/* A listening Unix socket in the file system. */
#ifndef CONESOCKS_ADMIN_UNIX_SOCKET_H
#define CONESOCKS_ADMIN_UNIX_SOCKET_H

#include <sys/types.h>

/* Of that type (SOCK_STREAM, SOCK_SEQPACKET), for whom `mode` says. One that is there is replaced when nobody listens
 * on it. A descriptor, or a negative errno: EADDRINUSE: somebody listens there; ENOTSOCK: it is something else. To be
 * called while there is one thread. */
int unix_socket_listen(const char *path, int type, mode_t mode);

#endif
