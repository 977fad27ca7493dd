/*
 * What an implementation of dgram_io.h provides.
 */
#ifndef CONESOCKS_NET_DGRAM_IO_IMPL_H
#define CONESOCKS_NET_DGRAM_IO_IMPL_H

#include <errno.h>

#include "net/dgram_io.h"

struct dgram_ops {
    void (*free)(struct dgram_io *io);
    void (*adopt)(int fd);
    size_t (*recv)(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max);
    void (*send)(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                 struct dgram_tally *tally);
};

/* The first member of each implementation's own struct. */
struct dgram_io {
    const struct dgram_ops *ops;
};

struct dgram_io *dgram_io_new_plain(void);
struct dgram_io *dgram_io_new_gso(void);

/* Room for the longest datagram, so that none is cut short. */
#define DGRAM_AREA_SIZE 65536

/* A message that failed with `error`, as a reason. */
static inline enum dgram_loss dgram_loss_of(int error)
{
    switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return DGRAM_LOST_FULL;
    case EMSGSIZE:
        return DGRAM_LOST_OVERSIZE;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return DGRAM_LOST_UNREACHABLE;
    case EACCES:
    case EPERM:
        return DGRAM_LOST_DENIED;
    default:
        return DGRAM_LOST_FAILED;
    }
}

#endif
