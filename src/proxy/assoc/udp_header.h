/* Adds SOCKS5 UDP headers (RFC 1928 section 7) to runs of datagrams, and removes them. */
#ifndef CONESOCKS_PROXY_ASSOC_UDP_HEADER_H
#define CONESOCKS_PROXY_ASSOC_UDP_HEADER_H

#include "base/metrics.h"
#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "net/dgram_io.h"

/* Puts a header with each run's `peer` in front of its datagrams, and sets `peer` to `to` (AF_UNSPEC: the socket's
 * peer). Datagrams that become too large leave the batch, and are counted. */
void udp_header_put(struct dgram_batch *batch, const union netaddr *to, struct dgram_tally *tally);

/* Takes the `first` datagram of a run and those after it that begin with the same header. `payloads` is what follows
 * the headers. Returns how many datagrams that are. If the first has no valid header, payloads->count is 0, and
 * `reason` is set. */
uint16_t udp_header_cut(const struct dgram_run *run, size_t first, struct socks5_udp_header *header,
                        struct dgram_run *payloads, enum drop_reason *reason);

#endif
