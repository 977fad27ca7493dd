/*
 * The client's side of an association over TCP: its datagrams are frames (struct socks5_frame) on the control
 * connection. A byte stream waits where a datagram would be dropped, so this drops: what the connection does not take
 * at once is lost and counted, but for the rest of a frame that has begun, which goes out first.
 */
#ifndef CONESOCKS_PROXY_ASSOC_INTERNAL_TCP_H
#define CONESOCKS_PROXY_ASSOC_INTERNAL_TCP_H

#include <stddef.h>

#include "net/dgram_io.h"
#include "proxy/assoc/assoc.h"

struct frames;

/* `fd` is the connection. What comes goes up by assoc_take_up(), from frames_start() on. NULL: no memory. */
struct frames *frames_new(struct assoc *assoc, int fd, const struct assoc_hooks *hooks);
void frames_start(struct frames *frames);
void frames_free(struct frames *frames);

/* What comes before the address in a frame's header and in a datagram's. */
#define FRAMES_LENGTHS 3

/* Sends every run, framed with its `peer` as the origin, counts what became of each datagram, and empties the batch. A
 * run without a peer has its origin in a SOCKS5 UDP header in front of each payload. */
void frames_send(struct frames *frames, struct dgram_batch *batch, struct dgram_tally *tally);

/* To be called about once a second: drops the beginning of a frame that has not been finished for too long. */
void frames_sweep(struct frames *frames, uint64_t now_ms);
/* Drops it at once: the datagram is lost, the association continues. */
void frames_forget_begun(struct frames *frames);

/* How much may wait in the connection to be sent, besides a frame that has begun. */
void frames_set_room(struct frames *frames, int bytes);
/* Memory that it holds, ours and the kernel's. */
size_t frames_memory(const struct frames *frames);

#endif
