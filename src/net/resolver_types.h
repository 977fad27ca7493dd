/* What a lookup can end with: shared by the resolver and its parts. */
#ifndef CONESOCKS_NET_RESOLVER_TYPES_H
#define CONESOCKS_NET_RESOLVER_TYPES_H

enum resolver_status {
    RESOLVER_FOUND,     /* at least one address */
    RESOLVER_NOT_FOUND, /* the name, or this family of it, does not exist */
    RESOLVER_FAILED,    /* no server gave a usable answer */
    RESOLVER_TIMED_OUT,
};

#define RESOLVER_ADDRESSES_MAX 16 /* more in one answer are ignored */

#endif
