/* How short memory is, measured by limits.memory. Each worker has the current level in its env. */
#ifndef CONESOCKS_PROXY_MEMORY_LEVEL_H
#define CONESOCKS_PROXY_MEMORY_LEVEL_H

#include "net/sock.h"

enum memory_level {
    MEMORY_AMPLE,
    MEMORY_SHORT,    /* no new sessions, small buffers; associations end that have been idle for two minutes */
    MEMORY_CRITICAL, /* in addition, streams end whose reader does not read */
};

/* How many bytes of datagrams may wait in a socket. */
static inline int memory_level_room(enum memory_level level)
{
    return level == MEMORY_AMPLE ? SOCK_UDP_BUFFER : level == MEMORY_SHORT ? 64 * 1024 : 4 * 1024;
}

#endif
