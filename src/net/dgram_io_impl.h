/*
 * What an implementation of dgram_io.h provides.
 */
#ifndef CONESOCKS_NET_DGRAM_IO_IMPL_H
#define CONESOCKS_NET_DGRAM_IO_IMPL_H

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "net/dgram_io.h"
#include "net/sock.h"

struct dgram_ops {
    void (*free)(struct dgram_io *io);
    size_t (*recv)(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max);
    void (*send)(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                 struct dgram_tally *tally);
};

/* The first member of each implementation's own struct. */
struct dgram_io {
    const struct dgram_ops *ops;
    uint8_t carried; /* see dgram_io_carry() */
};

struct dgram_io *dgram_io_new_plain(void);
struct dgram_io *dgram_io_new_gso(void);

/* Room for what may come with a message, or go with it: the size of a datagram, and the TOS byte for both families. */
#define DGRAM_CONTROLS 3
struct dgram_controls {
    _Alignas(struct cmsghdr) char bytes[DGRAM_CONTROLS * CMSG_SPACE(sizeof(int))];
};

static inline void dgram_add_control(struct msghdr *message, int level, int type, const void *value, size_t len)
{
    assert(message->msg_controllen + CMSG_SPACE(len) <= sizeof(struct dgram_controls));
    struct cmsghdr *control = (struct cmsghdr *)(void *)((char *)message->msg_control + message->msg_controllen);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(control), value, len);
    message->msg_controllen += CMSG_SPACE(len);
}

/* Has a message leave with another TOS byte than the socket's. A socket takes the one that is of its family. */
static inline void dgram_add_tos(struct msghdr *message, int tos)
{
    dgram_add_control(message, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
    dgram_add_control(message, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
}

static inline uint8_t dgram_tos_to_send(const struct dgram_io *io, const struct dgram_socket *socket,
                                        const struct dgram_run *run)
{
    return (uint8_t)((socket->tos & ~io->carried) | run->tos);
}

/* What this control says about the TOS byte, 0 when it is about something else. */
static inline uint8_t dgram_tos_received(const struct cmsghdr *control)
{
    int traffic_class = 0;
    if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_TOS)
        return *CMSG_DATA(control);
    if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_TCLASS)
        memcpy(&traffic_class, CMSG_DATA(control), sizeof(traffic_class));
    return (uint8_t)traffic_class;
}

/* Most associations never fill the send buffer that they begin with. When it is full, it is enlarged, once. false: it
 * is large already. */
static inline bool dgram_make_room(struct dgram_socket *socket)
{
    const int size = SOCK_UDP_BUFFER;
    if (socket->has_room)
        return false;
    socket->has_room = true;
    return setsockopt(socket->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0;
}

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
