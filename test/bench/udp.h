/* Datagrams by the batch: recvmmsg and sendmmsg, UDP_GRO and UDP_SEGMENT where a load asks for them. */
#ifndef CONESOCKS_BENCH_UDP_H
#define CONESOCKS_BENCH_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define UDP_BATCH 64

/* A socket with large buffers, bound to `local`. Ends the program when the system has none. */
int udp_open(const union netaddr *local);
/* Lets the kernel hand over datagrams joined. */
void udp_join(int fd);

/* What one sender sent: `len` bytes, in datagrams of `segment` bytes of which the last may be shorter. */
struct udp_run {
    const uint8_t *data;
    size_t len, segment;
    const union netaddr *from;
};

struct udp_in;
/* `joined`: with room for joined datagrams. */
struct udp_in *udp_in_new(bool joined);
void udp_in_free(struct udp_in *in);
/* What is there, up to a batch; 0 when nothing is. The runs hold until the next call. */
size_t udp_receive(struct udp_in *in, int fd, struct udp_run *runs);

/* Datagrams that wait for udp_flush(). Their bytes must stay until then. */
struct udp_out;
struct udp_out *udp_out_new(void);
void udp_out_free(struct udp_out *out);
/* `to` NULL: to the socket's peer. At most UDP_BATCH. */
void udp_queue(struct udp_out *out, const uint8_t *data, size_t len, const union netaddr *to);
/* Sends them all, waiting for room. What the kernel refuses is left out: it shows as lost. */
void udp_flush(struct udp_out *out, int fd);

/* Sends `len` bytes as datagrams of `segment` bytes in one call. */
void udp_send_segments(int fd, const uint8_t *data, size_t len, size_t segment, const union netaddr *to);

#endif
