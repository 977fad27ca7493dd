/*
 * The internal end over TCP: the client's datagrams are frames (struct socks5_frame) on its control connection. A byte
 * stream would make datagrams wait, so frames that the connection does not take at once are dropped (frame_writer.h).
 */
#ifndef CONESOCKS_PROXY_ASSOC_INTERNAL_TCP_H
#define CONESOCKS_PROXY_ASSOC_INTERNAL_TCP_H

struct assoc;
struct assoc_hooks;

/* `fd` is the connection, which stays its owner's. 0 or a negative errno. */
int internal_tcp_open(struct assoc *assoc, int fd, const struct assoc_hooks *hooks);

#endif
