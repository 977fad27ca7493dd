#include "net/dgram_io.h"

#include <netinet/udp.h>
#include <unistd.h>

#include "net/dgram_io_impl.h"

bool dgram_io_can_offload(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int on = 1, none = 0;
    bool can = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0 &&
               setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none)) == 0;
    close(fd);
    return can;
}

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

/* An IPv4 socket refuses what an IPv6 one takes. */
static void dgram_receive_tos(int fd)
{
    int on = 1;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on)) < 0)
        (void)setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
}

struct dgram_socket dgram_io_adopt(struct dgram_io *io, int fd)
{
    io->ops->adopt(fd);
    if (io->carried)
        dgram_receive_tos(fd);
    return (struct dgram_socket){.fd = fd};
}

size_t dgram_io_recv(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max)
{
    return io->ops->recv(io, socket, runs, max);
}

void dgram_io_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                   struct dgram_tally *tally)
{
    io->ops->send(io, socket, batch, tally);
    batch->count = 0;
}
