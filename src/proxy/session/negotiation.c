/* The bytes of a session's beginning. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proxy/session/session_impl.h"
#include "wire/proxyproto.h"

struct negotiation *negotiation_new(const struct config_listener *listener)
{
    bool announced = listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED;
    size_t size = announced ? PROXYPROTO_MAX : HANDSHAKE_INPUT_MAX;
    static_assert(PROXYPROTO_MAX >= HANDSHAKE_INPUT_MAX, "the handshake follows in the same buffer");
    struct negotiation *negotiation = calloc(1, sizeof(*negotiation) + size);
    if (!negotiation)
        return NULL;
    negotiation->size = size;
    negotiation->origin = announced ? ORIGIN_BALANCER : ORIGIN_CLIENT;
    handshake_init(&negotiation->handshake, listener->need_password);
    return negotiation;
}

/* Balancers connect and leave again to see whether we are alive, every few seconds. */
static bool is_health_check(const struct session *session)
{
    const struct negotiation *negotiation = session->negotiation;
    return negotiation->origin == ORIGIN_BALANCER && negotiation->handshake.state == HANDSHAKE_AT_GREETING &&
           negotiation->len == 0;
}

size_t negotiation_peek(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    size_t had = negotiation->len;
    ssize_t n = recv(session->fd, negotiation->in + had, negotiation->size - had, MSG_PEEK);
    if (n > 0)
        return had + (size_t)n;
    if (n == 0 || errno != EAGAIN) {
        const char *why = n == 0 ? "client closed during the handshake" : "client gone";
        session_end(session, is_health_check(session) ? NULL : why, false);
    }
    return 0;
}

void negotiation_take(struct session *session, size_t count)
{
    struct negotiation *negotiation = session->negotiation;
    if (count > negotiation->len)
        (void)recv(session->fd, negotiation->in + negotiation->len, count - negotiation->len, 0);
    negotiation->len = 0;
}
