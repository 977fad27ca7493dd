/* A listening Unix socket in the file system. */
#ifndef CONESOCKS_ADMIN_UNIX_SOCKET_H
#define CONESOCKS_ADMIN_UNIX_SOCKET_H

/* For the process's user and group. One that is there is replaced when nobody listens on it. A descriptor, or a
 * negative errno: EADDRINUSE: somebody listens there; ENOTSOCK: it is something else. To be called while there is one
 * thread. */
int unix_socket_listen(const char *path);

#endif
