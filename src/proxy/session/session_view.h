/*
 * Describes one session, for the session log and for the session list.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_VIEW_H
#define CONESOCKS_PROXY_SESSION_SESSION_VIEW_H

#include <stdint.h>

#include "base/netaddr.h"
#include "proxy/assoc/kernel_reason.h"
#include "proxy/stream/stream.h"

struct assoc;
struct assoc_flow;
struct session;

enum session_kind {
    KIND_NEGOTIATION, /* nothing was asked for yet, or it was refused */
    KIND_CONNECT,
    KIND_BIND,
    KIND_ASSOCIATION,
    KIND_ASSOCIATION_OVER_TCP,
    KIND_COUNT
};

/* The word for it, in the log and in the status. */
const char *session_kind_word(enum session_kind kind);

/* Points into the session, so it is valid only until the session continues. `destination` and `remote` stay empty when
 * log.destinations is off. */
struct session_view {
    uint64_t id, age_ms;
    enum session_kind kind;
    const union netaddr *client;
    const char *user;              /* NULL: no login; what a client claims to be until it is checked */
    const char *upstream;          /* that it leaves by, or NULL */
    union netaddr remote;          /* of a stream; AF_UNSPEC: not reached yet, or an upstream has resolved the name */
    struct assoc *assoc;           /* NULL: it is none */
    const struct assoc_flow *flow; /* likewise */
    struct kernel_use kernel;      /* likewise */
    uint64_t up_bytes, down_bytes;
    char destination[STREAM_DESTINATION_MAX]; /* of a stream, as asked for; else "" */
};

void session_look_at(const struct session *session, uint64_t now_ms, struct session_view *view);

#endif
