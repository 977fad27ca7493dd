/* How short memory is on this host, as far as limits.memory goes: a level that every worker knows. */
#ifndef CONESOCKS_PROXY_MEMORY_LEVEL_H
#define CONESOCKS_PROXY_MEMORY_LEVEL_H

#include "net/sock.h"

enum memory_level {
    MEMORY_AMPLE,
    MEMORY_SHORT,    /* nobody new gets in, buffers are small, associations past two idle minutes end */
    MEMORY_CRITICAL, /* streams whose reader does not read end, too */
};

/* How many bytes of datagrams may wait in a socket. */
static inline int memory_level_room(enum memory_level level)
{
    return level == MEMORY_AMPLE ? SOCK_UDP_BUFFER : level == MEMORY_SHORT ? 64 * 1024 : 4 * 1024;
}

#endif
