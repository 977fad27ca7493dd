/*
 * The line that a session leaves in the log at its end: who, where, how long, how much each way, why it ended.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_LOG_H
#define CONESOCKS_PROXY_SESSION_SESSION_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"

struct assoc;
struct stream;

struct session_log {
    uint64_t id; /* as in the status */
    const union netaddr *client;
    const char *user;            /* NULL: no login */
    const struct assoc *assoc;   /* NULL, or the one that it was */
    const struct stream *stream; /* likewise */
    bool hides_destinations;     /* log.destinations */
    enum socks5_reply reply;
    uint64_t lasted_ms;
    const char *why;
    uint32_t suppressed; /* similar lines before it that were not written */
};

/* Why a stream did not come about, in words. */
const char *session_log_refusal(const struct stream *stream, enum socks5_reply code);

void session_log_write(const struct session_log *record);

#endif
