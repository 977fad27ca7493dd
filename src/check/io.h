/*
 * Blocking input and output with deadlines. All sockets are non-blocking and close-on-exec; a deadline is a time of
 * clock_ms(). What can fail returns a negative errno, -ETIMEDOUT when the deadline has passed.
 */
#ifndef CONESOCKS_CHECK_IO_H
#define CONESOCKS_CHECK_IO_H

#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/netaddr.h"

/* Waits until poll() reports one of `events`. 0 or a negative errno. */
int io_wait(int fd, short events, uint64_t deadline);
/* Opens a TCP connection. */
int io_dial(const union netaddr *to, uint64_t deadline);
/* 0, or a negative errno. */
int io_send_all(int fd, const void *bytes, size_t len, uint64_t deadline);
/* At least one byte; 0 at the end of the stream. */
ssize_t io_receive(int fd, void *bytes, size_t size, uint64_t deadline);
/* Exactly `len` bytes: 0, or a negative errno, -EPIPE when the stream ends before. */
int io_receive_all(int fd, void *bytes, size_t len, uint64_t deadline);

/* A bound UDP socket, not connected. `local` may have port 0. `hears_errors`: recvmsg() tells ICMP errors, too. */
int io_udp(const union netaddr *local, bool hears_errors);
/* One datagram, without waiting. `fragment`: the largest IP fragment that it came in, 0 when it came in one packet. */
ssize_t io_receive_from(int fd, void *bytes, size_t size, union netaddr *sender, size_t *fragment);

/* The address that a datagram to `to` would leave from, with port 0; AF_UNSPEC: there is no route. */
union netaddr io_source_for(const union netaddr *to);
/* Whether it is one of this machine's own. */
bool io_is_own_address(const union netaddr *address);

#define IO_ADDRESSES_MAX 8
struct io_addresses {
    union netaddr list[IO_ADDRESSES_MAX];
    size_t count;
};
/* The addresses of a name or a literal, both families. 0, or what gai_strerror() explains. */
int io_resolve(const char *host, uint16_t port, struct io_addresses *found);
/* The first of that family; NULL: none. */
const union netaddr *io_of_family(const struct io_addresses *addresses, int family);

#endif
