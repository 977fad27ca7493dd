#include "check/association.h"

#include <unistd.h>

#include "check/io.h"

static void channel_close(struct channel *channel)
{
    if (channel->fd >= 0)
        close(channel->fd);
    channel->fd = -1;
}

/* Our socket has the address of the control connection: it is how a server knows that the datagrams are ours. */
static int udp_towards(const union netaddr *relay, const union netaddr *local, uint16_t port)
{
    union netaddr from = local->sa.sa_family == relay->sa.sa_family ? *local : netaddr_any(relay->sa.sa_family);
    netaddr_set_port(&from, port);
    return io_udp(&from);
}

bool association_redirect(struct association *a, const union netaddr *relay)
{
    bool same_family = a->channel.fd >= 0 && a->channel.relay.sa.sa_family == relay->sa.sa_family;
    a->relay = *relay;
    if (!same_family) {
        channel_close(&a->channel);
        a->channel.fd = udp_towards(relay, &a->negotiation.local, a->port);
    }
    a->channel.kind = CHANNEL_RELAYED;
    a->channel.relay = *relay;
    return a->channel.fd >= 0;
}

static union netaddr relay_meant(const struct negotiation *n, const union netaddr *proxy)
{
    union netaddr relay = n->bound;
    struct io_addresses found;
    if (n->bound_name[0] && io_resolve(n->bound_name, n->bound_port, &found) == 0) {
        const union netaddr *same = io_of_family(&found, proxy->sa.sa_family);
        return same ? *same : found.list[0];
    }
    if (netaddr_is_any(&relay)) {
        relay = *proxy;
        netaddr_set_port(&relay, n->bound_port);
    }
    netaddr_unmap(&relay);
    return relay;
}

static bool ask(struct association *a, const struct proxy_url *url, const union netaddr *proxy, uint8_t command,
                const union netaddr *hint, uint64_t deadline)
{
    union netaddr nowhere = netaddr_any(proxy->sa.sa_family);
    const struct socks5_addr destination = socks5_addr_of(hint ? hint : &nowhere);
    *a = (struct association){.channel.fd = -1, .port = hint ? netaddr_port(hint) : 0};
    negotiate(&a->negotiation, url, proxy, command, &destination, deadline);
    return a->negotiation.end == NEGOTIATION_GRANTED;
}

bool association_open(struct association *a, const struct proxy_url *url, const union netaddr *proxy,
                      const union netaddr *hint, uint64_t deadline)
{
    if (!ask(a, url, proxy, SOCKS5_COMMAND_UDP_ASSOCIATE, hint, deadline))
        return false;
    union netaddr relay = relay_meant(&a->negotiation, proxy);
    return netaddr_port(&relay) != 0 && association_redirect(a, &relay);
}

bool association_open_framed(struct association *a, const struct proxy_url *url, const union netaddr *proxy,
                             uint64_t deadline)
{
    if (!ask(a, url, proxy, SOCKS5_COMMAND_UDP_IN_TCP, NULL, deadline))
        return false;
    a->channel = (struct channel){.kind = CHANNEL_FRAMED, .fd = a->negotiation.fd};
    return true;
}

void association_close(struct association *a)
{
    if (a->channel.fd != a->negotiation.fd)
        channel_close(&a->channel);
    if (a->negotiation.fd >= 0)
        close(a->negotiation.fd);
    a->negotiation.fd = a->channel.fd = -1;
}
