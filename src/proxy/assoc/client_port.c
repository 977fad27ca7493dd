#include "proxy/assoc/client_port.h"

#include <assert.h>

#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/kernel_relay.h"

static bool client_port_learn(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    /* While a hint names another port, the client may still send from that one. */
    const bool hold = assoc->hint_port == 0 || assoc->hint_port == netaddr_port(peer);
    if (!assoc->internal.ops->set_client(assoc, peer, hold))
        return false;
    assoc->flow.client = *peer;
    assoc->flow.learned_ms = now;
    kernel_relay_move_client(assoc);
    return true;
}

/* No other port can become the client's any more, unless this one falls silent. */
static bool client_port_is_settled(const struct assoc *assoc, uint64_t now)
{
    const struct assoc_flow *flow = &assoc->flow;
    return assoc->hint_port == 0 || assoc->hint_port == netaddr_port(&flow->client) ||
           now - flow->learned_ms >= assoc->env->config->udp.rebind_after_ms;
}

/* Another port takes over when the hint named it, or when the client has been silent: its NAT may have rebound it. */
bool client_port_accepts(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    const struct assoc_flow *flow = &assoc->flow;
    const uint16_t port = netaddr_port(peer);
    const bool is_known = client_port_is_known(&flow->client);
    assert(assoc->internal.ops->set_client);
    assert(netaddr_equal_host(peer, &assoc->subject.client));
    if (is_known && port == netaddr_port(&flow->client)) {
        if (!assoc->holds_client && client_port_is_settled(assoc, now))
            (void)assoc->internal.ops->set_client(assoc, &flow->client, true);
        return true;
    }
    kernel_relay_take(assoc, now);
    const bool is_silent = now - flow->last_up_ms >= assoc->env->config->udp.rebind_after_ms;
    if (is_known && port != assoc->hint_port && !is_silent)
        return false;
    return client_port_learn(assoc, peer, now);
}
