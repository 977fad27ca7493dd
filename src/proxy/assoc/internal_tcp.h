/*
 * The internal end over TCP: the client's datagrams are frames (struct socks5_frame) on its control connection. A byte
 * stream would make datagrams wait, so frames that the connection does not take at once are dropped (frame_writer.h).
 */
#ifndef CONESOCKS_PROXY_ASSOC_INTERNAL_TCP_H
#define CONESOCKS_PROXY_ASSOC_INTERNAL_TCP_H

#include <stddef.h>
#include <stdint.h>

struct assoc;
struct assoc_hooks;

/* `fd` is the connection, which stays its owner's; `early`, what was read from it already. 0 or a negative errno. */
int internal_tcp_open(struct assoc *assoc, int fd, const uint8_t *early, size_t early_len,
                      const struct assoc_hooks *hooks);

#endif
