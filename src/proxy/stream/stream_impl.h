/* What a stream is, to stream.c, which brings it to its destination, and stream_relay.c, which relays. */
#ifndef CONESOCKS_PROXY_STREAM_STREAM_IMPL_H
#define CONESOCKS_PROXY_STREAM_STREAM_IMPL_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/pump.h"
#include "policy/rules.h"
#include "proxy/address.h"
#include "proxy/env.h"
#include "proxy/stream/stream.h"

struct bind;
struct dial;
struct lookup;
struct rates;
struct upstream;

struct direction {
    struct stream *stream;
    struct pump pump;
    struct event event;
    uint64_t stuck_since_ms; /* while it waits to write */
};

/* Needed only until the destination is reached. */
struct reaching {
    struct dial *dial;         /* of CONNECT */
    struct bind *bind;         /* of BIND, once its port is open */
    struct upstream *upstream; /* asked, in place of a dial */
    struct lookup *lookup;     /* of the name; NULL: not under way */
    struct subject subject;
    const char *user;         /* the session's; NULL: no login */
    char name[NAME_TEXT_MAX]; /* "": an address was asked for */
    uint16_t port;
    union netaddr address;   /* what was asked for, unless it was a name */
    uint32_t found, refused; /* addresses of the name; those that policy denies */
    bool timed_out;          /* a lookup got no answer in time */
    uint64_t generation;     /* of the snapshot that it began under */
    struct event settle;     /* tells the outcome from the loop, when there is nothing to wait for */
    enum socks5_reply verdict;
};

/* That it leaves by an upstream. */
struct via {
    union netaddr bound; /* what that has bound */
    char upstream[];     /* its name */
};

struct stream {
    struct env *env;
    struct stream_hooks hooks;
    enum config_command command;
    union netaddr client, remote; /* AF_UNSPEC: not known (yet), for an upstream has resolved the name */
    struct reaching *reaching;
    struct via *via; /* NULL: by none */
    int remote_fd;
    struct rates *rates; /* NULL: no limit */
    bool keeps_alive;    /* TCP keepalive is on, on the outgoing side */
    int unreached;       /* errno of what has failed while it was reaching; 0: nothing, or there is none */
    bool by_name;        /* `destination` is a name and its port, not an address */
    bool unresolved;     /* ... about which no name server has answered in time */
    uint64_t relaying_since_ms;
    uint64_t carried_before, carried_at_ms; /* bytes both ways at some sweep, and the last one that found more */
    struct direction up, down;
    struct {
        struct direction *last; /* NULL: no end has failed. Or the direction that still delivers what came from it */
        int error;              /* errno of that end */
        uint64_t until_ms;      /* how long it may take */
    } failed;
    char destination[];
};

/* Ends the relay, if it has begun; the connections stay. */
void stream_stop_relay(struct stream *stream);
/* Whether both directions have ended by themselves. A direction from an end that failed seems to, once all is written.
 */
bool stream_is_complete(const struct stream *stream);

#endif
