/*
 * A session: one control connection from accept to end. It negotiates, logs its user in, takes a request, and is then a
 * stream or an association until one end closes. For the units of this folder only.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_IMPL_H
#define CONESOCKS_PROXY_SESSION_SESSION_IMPL_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "proxy/client_terms.h"
#include "proxy/session/charges.h"

struct assoc;
struct negotiation;
struct payer;
struct session_user;
struct stream;

/* See session_enter(). */
enum session_state {
    SESSION_NEW,         /* being made by session_new() */
    SESSION_AT_HEADER,   /* the PROXY protocol header comes first */
    SESSION_NEGOTIATING, /* SOCKS5, up to the request */
    SESSION_CHECKING,    /* its password is being checked */
    SESSION_REACHING,    /* CONNECT: on the way to the destination; BIND: opening the port */
    SESSION_AWAITING,    /* BIND: for the peer; UDP ASSOCIATE: for the upstream's answer */
    SESSION_STREAMING,   /* the stream reads the control connection */
    SESSION_ASSOCIATED,  /* the control connection only has to stay open */
    SESSION_FRAMED,      /* an association over TCP, which reads the control connection */
    SESSION_LINGERING,   /* refused; the client gets the time to read that */
    SESSION_ENDED,       /* on env->ended, to be freed by sessions_reap() */
    SESSION_STATE_COUNT
};

struct session {
    TAILQ_ENTRY(session) link;     /* of env->sessions; of env->ended in the end */
    struct payer *payer;           /* NULL: nobody pays for it yet, or there is no memory */
    TAILQ_ENTRY(session) of_payer; /* see payer.c */
    struct env *env;
    uint64_t id; /* never used again in this process */
    union {
        uint64_t generation;     /* of the snapshot that it was last reviewed under */
        const char *why_refused; /* once it `is_refused` by a review: it soon ends */
    };
    union netaddr peer;   /* the client; until a PROXY protocol header has come, the balancer */
    int fd;               /* the control connection */
    uint32_t descriptors; /* how many its payer is charged for */
    enum session_state state : 8;
    enum socks5_reply reply : 8;
    bool granted, is_refused;
    uint64_t started_ms; /* once it lingers: when that began */
    struct charges charges;
    struct event readable;           /* of `fd`: session.c alone adds and deletes it */
    struct negotiation *negotiation; /* until the request is answered */
    struct session_user *user;       /* NULL: no login */
    struct stream *stream;
    struct assoc *assoc;
};

/* The only way into another state: watches the control connection as that state needs it, and updates what is charged
 * to the payer. What the state is about (stream, association) has to be there, and what it is not about, gone. */
void session_enter(struct session *session, enum session_state state);
/* Ends it when its state has lasted too long, or does what else the state needs about once a second. `asks`: the kernel
 * is to be asked whether the client is still there. */
void session_sweep(struct session *session, uint64_t now_ms, bool asks);

/* The callback of `readable`. */
void session_on_readable(evutil_socket_t fd, short what, void *session);

/* With our end of its control connection, as the kernel tells it. */
struct proxy_client session_client(const struct session *session);

/* Its request is accepted and not answered yet. */
static inline bool session_is_pending(const struct session *session)
{
    return session->state == SESSION_REACHING || session->state == SESSION_AWAITING;
}
static inline bool session_is_associated(const struct session *session)
{
    return session->state == SESSION_ASSOCIATED || session->state == SESSION_FRAMED;
}

/* Does what the client asks for, or refuses (request.c). */
void session_take_request(struct session *session, const struct socks5_request *request);
/* Sends what is queued in the handshake. false: the client does not take it, and the session has ended. */
bool session_send(struct session *session);
/* Answers "succeeded"; then the session enters the state that it was asked for. false: it has ended. */
bool session_grant(struct session *session, const union netaddr *bound);
/* Answers its request with `code`; ends once the client has had the time to read that. */
void session_refuse(struct session *session, enum socks5_reply code, const char *why);
/* The same before a request: sends what the handshake has queued. */
void session_refuse_handshake(struct session *session, const char *why);

/* Frees all that it owns, whatever its state. `why` is for the log, NULL: not worth a line; `abort` resets the
 * connection. */
void session_end(struct session *session, const char *why, bool abort);
/* The same for what we end, not the client or its peer: where bytes flow in order, the connection is reset, so that
 * what was cut does not look complete. */
void session_cut(struct session *session, const char *why);

/* Whether the active configuration allows the session. If not, the session ends soon, from the event loop. For its
 * association to ask: it must not be freed while it takes datagrams (review.c). */
bool session_may_go_on(void *session);
/* Ends the session unless the active configuration allows it. false: it has ended, or lingers with a refusal. Not to be
 * called by its stream or association (review.c). */
bool session_enforce(struct session *session);

#endif
