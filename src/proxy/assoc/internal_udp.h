/* The internal end with a UDP port of its own: only the client's address may send there. */
#ifndef CONESOCKS_PROXY_ASSOC_INTERNAL_UDP_H
#define CONESOCKS_PROXY_ASSOC_INTERNAL_UDP_H

#include "proxy/assoc/ends.h"

/* Opens it at flow.relay, which gets the port. 0 or a negative errno. */
int internal_udp_open(struct assoc *assoc);

/* Operations of every internal end that has a UDP socket. */
void internal_udp_start(struct assoc *assoc);
void internal_udp_send(struct assoc *assoc, struct dgram_batch *batch, struct dgram_tally *tally);
void internal_udp_send_named(struct assoc *assoc, struct dgram_run *payloads, uint16_t header_len,
                             struct dgram_tally *tally);
void internal_udp_set_buffers(struct assoc *assoc, int bytes);
size_t internal_udp_memory(const struct assoc *assoc);

#endif
