#include "net/dgram_io.h"

#include <assert.h>

#include "conesocks/socks5.h"
#include "net/dgram_io_impl.h"

static_assert(DGRAM_HEADER_MAX == SOCKS5_UDP_HEADER_V6, "a run has room for the header of any address");

struct dgram_io *dgram_io_new(bool offload)
{
    return offload ? dgram_io_new_gso() : dgram_io_new_plain();
}

void dgram_io_free(struct dgram_io *io)
{
    if (io)
        io->ops->free(io);
}

void dgram_io_carry(struct dgram_io *io, uint8_t bits)
{
    io->carried = bits;
}

static void dgram_receive_tos(int fd, int family)
{
    int on = 1;
    if (family == AF_INET)
        (void)setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
    else
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
}

struct dgram_socket dgram_io_adopt(struct dgram_io *io, int fd, int family)
{
    assert(fd >= 0);
    if (io->carried)
        dgram_receive_tos(fd, family);
    return (struct dgram_socket){.fd = fd};
}

size_t dgram_io_recv(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max)
{
    assert(max > 0);
    return io->ops->recv(io, socket, runs, max);
}

void dgram_io_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                   struct dgram_tally *tally)
{
    assert(batch->count <= DGRAM_BATCH_MAX);
    io->ops->send(io, socket, batch, tally);
    batch->count = 0;
}
