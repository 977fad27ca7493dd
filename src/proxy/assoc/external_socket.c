#include "proxy/assoc/external_socket.h"

#include <assert.h>

#include "net/sock.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/udp_socket.h"

bool external_socket_is_bound(const struct assoc *assoc)
{
    return assoc->egress && assoc->egress->interface[0];
}

static enum own_port external_socket_port_kind(const struct assoc *assoc)
{
    return external_socket_is_bound(assoc) ? OWN_PORT_BOUND : OWN_PORT_EXTERNAL;
}

/* The client's port, as its request has named it, or as its first datagram has shown; 0: neither. Over TCP it has none:
 * that of its connection means nothing to its peers. */
static uint16_t external_socket_client_port(const struct assoc *assoc)
{
    const struct internal_ops *internal = assoc->internal.ops;
    if (assoc->hint_port)
        return assoc->hint_port;
    return internal && !internal->over_tcp ? netaddr_port(&assoc->flow.client) : 0;
}

/* The client's own number first, where it is known and may be had. */
static struct port_range external_socket_port_range(const struct assoc *assoc)
{
    enum { UNPRIVILEGED_PORT = 1024 };
    const uint16_t wanted = external_socket_client_port(assoc);
    struct port_range range = assoc->env->external_ports;
    range.from_network = assoc->egress && assoc->egress->from_network;
    if (assoc->env->config->udp.keep_port && wanted >= (range.random ? UNPRIVILEGED_PORT : range.first) &&
        wanted <= (range.random ? UINT16_MAX : range.last))
        range.wanted = wanted;
    return range;
}

int external_socket_open(struct external *external, int family, event_callback_fn on_readable)
{
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    union netaddr local = assoc->flow.external[family_index(family)];
    const struct port_range range = external_socket_port_range(assoc);
    assert(!external_socket_is_open(external) && local.sa.sa_family == family);
    int fd = udp_socket_open(env, &range, &local, assoc->egress, external_socket_port_kind(assoc), &external->port);
    if (fd < 0)
        return fd;
    external->socket = udp_socket_adopt(env, fd, family);
    if (assoc->egress)
        external->socket.tos = (uint8_t)(assoc->egress->dscp << 2);
    event_assign(&external->readable, env->base, fd, EV_READ | EV_PERSIST, on_readable, external);
    event_add(&external->readable, NULL);
    assoc->flow.external[family_index(family)] = local;
    return 0;
}

void external_socket_close(struct external *external, int family)
{
    const struct assoc *assoc = external->assoc;
    const union netaddr *local = &assoc->flow.external[family_index(family)];
    assert(external_socket_is_open(external));
    event_del(&external->readable);
    udp_socket_close(assoc->env, external->socket.fd, &assoc->env->external_ports, local,
                     external_socket_port_kind(assoc), &external->port, external->carried_ms);
    external->socket.fd = -1;
}
