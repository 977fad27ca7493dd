/* The SOCKS5 UDP header (RFC 1928 section 7) of whole runs: put in front of what leaves, cut off what came. */
#ifndef CONESOCKS_PROXY_ASSOC_UDP_HEADER_H
#define CONESOCKS_PROXY_ASSOC_UDP_HEADER_H

#include "base/metrics.h"
#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "net/dgram_io.h"

/* Puts a header with each run's `peer` in front of its datagrams, and sends them all to `to` (AF_UNSPEC: the socket's
 * peer). Those that get too large leave the batch, and are counted. */
void udp_header_put(struct dgram_batch *batch, const union netaddr *to, struct dgram_tally *tally);

/* Cuts those datagrams off a run that begin with the same header as the `first`: `payloads` is what follows it. Returns
 * how many they are. When the first has no valid header, payloads->count is 0 and `reason` tells why. */
uint16_t udp_header_cut(const struct dgram_run *run, size_t first, struct socks5_udp_header *header,
                        struct dgram_run *payloads, enum drop_reason *reason);

#endif
