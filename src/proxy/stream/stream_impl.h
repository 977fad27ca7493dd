/*
 * What a stream is, to its three units: stream.c owns it, reach.c brings it to its destination, relay.c relays.
 */
#ifndef CONESOCKS_PROXY_STREAM_STREAM_IMPL_H
#define CONESOCKS_PROXY_STREAM_STREAM_IMPL_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/pump.h"
#include "proxy/address.h"
#include "proxy/env.h"
#include "proxy/stream/stream.h"

struct rates;
struct reaching;
struct subject;

struct direction {
    struct stream *stream;
    struct pump pump;
    struct event event;
    uint64_t stuck_since_ms; /* while it waits to write */
};

struct stream {
    struct env *env;
    struct stream_hooks hooks;
    enum config_command command;
    enum address_kind asked_kind;
    union netaddr client, remote; /* AF_UNSPEC: not known (yet), for an upstream has resolved the name */
    union netaddr asked;          /* the address that was asked for; AF_UNSPEC: a name was */
    struct reaching *reaching;    /* NULL: it has reached its destination, or failed to */
    char *upstream;               /* its name; NULL: the stream uses none */
    int remote_fd;
    uint16_t port;       /* the one asked for */
    struct rates *rates; /* NULL: no limit */
    bool keeps_alive;    /* TCP keepalive is on, on the outgoing side */
    bool unresolved;     /* no name server has answered in time about the name that was asked for */
    int unreached;       /* errno: why it did not reach its destination; 0: it did, or there is no errno */
    uint8_t *early;      /* until it relays: see stream_keep_early(); NULL: none */
    size_t early_len;
    uint64_t relaying_since_ms;
    uint64_t carried_before, carried_at_ms; /* bytes both ways, and when a sweep last found more of them */
    struct direction up, down;
    struct {
        struct direction *last; /* NULL: no end has failed. Or the direction that still delivers what came from it */
        int error;              /* errno of that end */
        uint64_t until_ms;      /* how long it may take */
    } failed;
    char name[]; /* the one asked for; "": an address was */
};

/* NULL: an address was asked for. */
static inline const char *stream_name(const struct stream *stream)
{
    return stream->asked_kind == ADDRESS_NAME ? stream->name : NULL;
}

/* Whether policy allows what it has reached, or what its upstream is to reach. */
bool stream_may_relay(const struct stream *stream, const struct subject *subject);

/* Sets out for the destination. The outcome comes from the loop. false: no memory. */
bool stream_begin_reaching(struct stream *stream, const struct proxy_client *client);
/* Gives up what is still under way, if anything. */
void stream_stop_reaching(struct stream *stream);
/* The env has another snapshot: may it continue to its destination? */
bool stream_review_reaching(struct stream *stream);
size_t stream_reaching_descriptors(const struct stream *stream);

/* Watches the destination's socket before the relay begins, which follows in the same turn of the event loop. */
void stream_watch_destination(struct stream *stream, int fd);
/* Ends the relay, if it has begun; the connections stay. */
void stream_stop_relay(struct stream *stream);
/* Whether both directions have ended by themselves. A direction from an end that failed seems to, once all is written.
 */
bool stream_is_complete(const struct stream *stream);

#endif
