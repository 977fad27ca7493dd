/*
 * The addresses of this host, kept up to date for the whole process: the kernel tells of each change (netlink), and all
 * are then read again. Where it does not tell, they are read every two seconds.
 */
#ifndef CONESOCKS_HOST_ADDRESSES_H
#define CONESOCKS_HOST_ADDRESSES_H

#include "policy/own_hosts.h"

struct addresses;
struct event_base;

/* Those of the interfaces, and those that local routes make this host's. Held by the caller. NULL: they cannot be read
 * (errno). */
struct own_hosts *addresses_read(void);

/* `changed` gets each set that follows, on the thread of `base`, and holds it if it keeps it. NULL: they cannot be
 * read, or there is no memory (errno). */
struct addresses *addresses_new(struct event_base *base, void (*changed)(void *arg, struct own_hosts *hosts),
                                void *arg);
/* NULL is fine. */
void addresses_free(struct addresses *addresses);
/* The latest set. */
struct own_hosts *addresses_hosts(const struct addresses *addresses);

#endif
