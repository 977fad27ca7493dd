#include "proxy/assoc/internal_udp.h"

#include <event2/event.h>

#include "net/sock.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/branch_list.h"
#include "proxy/assoc/kernel_relay.h"
#include "proxy/assoc/udp_header.h"
#include "proxy/assoc/udp_socket.h"

/* ---- from the client ---- */

static void internal_udp_take_icmp(struct assoc *assoc, int fd)
{
    uint32_t icmp[ICMP_KIND_COUNT] = {0};
    icmp_take(fd, icmp);
    kernel_relay_heed(assoc, icmp);
}

static void internal_udp_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct assoc *assoc = arg;
    struct env *env = assoc->env;
    const uint64_t now = env_now(env);
    const bool is_refused = !assoc_may_go_on(assoc);
    assoc_assert_batches_are_empty(env);
    if (kernel_relay_keeps_icmp(assoc))
        internal_udp_take_icmp(assoc, fd);
    size_t count = dgram_io_recv(env->dgrams, &assoc->internal.socket, env->received, ASSOC_RECEIVE_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &env->received[i];
        if (!netaddr_equal_host(&run->peer, &assoc->subject.client)) {
            bool may_be_client = netaddr_equal_network(&run->peer, &assoc->subject.client);
            assoc_drop(assoc, may_be_client ? DROP_OTHER_ADDRESS : DROP_STRANGER, run->count);
        } else if (is_refused) {
            assoc_drop(assoc, DROP_REFUSED, run->count);
        } else {
            assoc_take_from_client(assoc, run, now);
        }
    }
    assoc_flush_up(assoc);
    kernel_relay_received(assoc, KERNEL_UP, count, fd);
}

void internal_udp_start(struct assoc *assoc)
{
    event_add(&assoc->internal.readable, NULL);
}

/* ---- to the client ---- */

/* AF_UNSPEC: the socket is connected to it. */
static union netaddr internal_udp_peer(const struct assoc *assoc)
{
    return assoc->holds_client ? (union netaddr){0} : assoc->flow.client;
}

void internal_udp_send(struct assoc *assoc, struct dgram_batch *batch, struct dgram_tally *tally)
{
    const union netaddr client = internal_udp_peer(assoc);
    udp_header_put(batch, &client, tally);
    if (batch->count)
        dgram_io_send(assoc->env->dgrams, &assoc->internal.socket, batch, tally);
}

/* The header goes to the client as it came: a run has no room for one with a name. */
void internal_udp_send_named(struct assoc *assoc, struct dgram_run *payloads, uint16_t header_len,
                             struct dgram_tally *tally)
{
    struct dgram_batch *batch = &assoc->env->to_client;
    const uint64_t sent_before = tally->datagrams;
    assert(batch->count == 0 && payloads->count > 0);
    payloads->peer = internal_udp_peer(assoc);
    payloads->data -= header_len;
    payloads->seg = (uint16_t)(payloads->seg + header_len);
    payloads->last = (uint16_t)(payloads->last + header_len);
    batch->runs[batch->count++] = *payloads;
    dgram_io_send(assoc->env->dgrams, &assoc->internal.socket, batch, tally);
    tally->bytes -= (tally->datagrams - sent_before) * header_len;
}

/* ---- the client's port ---- */

static bool internal_udp_set_client(struct assoc *assoc, const union netaddr *client, bool hold)
{
    const int fd = assoc->internal.socket.fd;
    const bool may_hold = hold && branch_is_alone(assoc);
    if (!may_hold && assoc->holds_client)
        (void)sock_udp_disconnect(fd);
    assoc->holds_client = may_hold && sock_udp_connect(fd, client) == 0;
    return true;
}

/* Only an unconnected socket receives from another port. */
static void internal_udp_allow_rebind(struct assoc *assoc)
{
    if (assoc->holds_client)
        assoc->holds_client = sock_udp_disconnect(assoc->internal.socket.fd) != 0;
}

static void internal_udp_review_ports(struct assoc *assoc)
{
    if (!branch_is_alone(assoc))
        internal_udp_allow_rebind(assoc);
}

/* ---- life ---- */

void internal_udp_set_buffers(struct assoc *assoc, int bytes)
{
    sock_udp_set_room(assoc->internal.socket.fd, bytes);
}

size_t internal_udp_memory(const struct assoc *assoc)
{
    return sock_memory(assoc->internal.socket.fd);
}

static void internal_udp_close(struct assoc *assoc)
{
    const struct assoc_flow *flow = &assoc->flow;
    struct internal *internal = &assoc->internal;
    event_del(&internal->readable);
    /* A port that only other senders have used need not rest: its next association drops what they send, too. */
    const uint64_t used_until_ms = assoc_flow_has_heard_client(flow) ? assoc_flow_last_ms(flow) : 0;
    udp_socket_close(assoc->env, internal->socket.fd, &assoc->env->relay_ports, &flow->relay, OWN_PORT_RELAY,
                     &internal->port, used_until_ms);
}

static const struct internal_ops internal_udp_ops = {
    .start = internal_udp_start,
    .send = internal_udp_send,
    .send_named = internal_udp_send_named,
    .set_client = internal_udp_set_client,
    .allow_rebind = internal_udp_allow_rebind,
    .review_ports = internal_udp_review_ports,
    .set_buffers = internal_udp_set_buffers,
    .memory = internal_udp_memory,
    .close = internal_udp_close,
    .descriptors = 1,
    .has_own_port = true,
};

/* External sockets are often bound to every address of this host. If they use the same range of ports, a port of theirs
 * is not free at the relay's address either. */
static struct port_range internal_udp_range(const struct assoc *assoc)
{
    const struct port_range *external = &assoc->env->external_ports;
    struct port_range range = assoc->env->relay_ports;
    range.everywhere = range.first == external->first && range.last == external->last &&
                       netaddr_is_any(&assoc->flow.external[family_index(assoc->flow.relay.sa.sa_family)]);
    return range;
}

int internal_udp_open(struct assoc *assoc)
{
    struct internal *internal = &assoc->internal;
    const struct port_range range = internal_udp_range(assoc);
    int fd = udp_socket_open(assoc->env, &range, &assoc->flow.relay, NULL, OWN_PORT_RELAY, &internal->port);
    if (fd < 0)
        return fd;
    assert(!internal->ops && netaddr_port(&assoc->flow.relay) != 0);
    internal->socket = udp_socket_adopt(assoc->env, fd, assoc->flow.relay.sa.sa_family);
    event_assign(&internal->readable, assoc->env->base, fd, EV_READ | EV_PERSIST, internal_udp_on_readable, assoc);
    internal->ops = &internal_udp_ops;
    return 0;
}
