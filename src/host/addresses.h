/*
 * Reads the addresses of this host, and reads them again whenever they change. The kernel reports changes (netlink);
 * where it does not, they are read every two seconds. One thread does it, the one of `base`.
 */
#ifndef CONESOCKS_HOST_ADDRESSES_H
#define CONESOCKS_HOST_ADDRESSES_H

#include "policy/own_hosts.h"

struct addresses;
struct event_base;

/* The addresses of the interfaces, and those that local routes deliver to this host. Held by the caller. NULL: they
 * cannot be read (errno). */
struct own_hosts *addresses_read(void);

/* `changed` gets each set that follows, and holds it if it keeps it. NULL: they cannot be read, or there is no memory
 * (errno). */
struct addresses *addresses_new(struct event_base *base, void (*changed)(void *arg, struct own_hosts *hosts),
                                void *arg);
/* NULL is fine. */
void addresses_free(struct addresses *addresses);
/* The latest set. */
struct own_hosts *addresses_hosts(const struct addresses *addresses);

#endif
