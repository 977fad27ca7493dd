#include "proxy/assoc/external_upstream.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "upstream"
#include "base/log.h"
#include "net/sock.h"
#include "policy/reach.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/sketch.h"
#include "proxy/upstream/upstream.h"

struct outlet {
    struct assoc *assoc;
    struct assoc_outlet_hooks hooks;
    struct upstream *asked; /* NULL: has answered */
    int control;            /* -1: not granted */
    struct event over;
    union netaddr relay;
    char name[]; /* the upstream's */
};

/* ---- the control connection ---- */

/* Nothing is said on it any more; only its end counts. */
static void on_control(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct outlet *outlet = arg;
    char scrap[256];
    ssize_t n = recv(fd, scrap, sizeof(scrap), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    event_del(&outlet->over);
    outlet->hooks.ended(outlet->hooks.arg, "upstream closed its association");
}

/* Whether what an upstream has bound can be its relay as we see it. Upstreams behind a NAT, in a container or a cloud
 * give the address that they have there, or loopback, or none. */
static bool is_relay_host(const union netaddr *bound, const union netaddr *server)
{
    const union netaddr relay = netaddr_canonical(bound), upstream = netaddr_canonical(server);
    const enum reach_place there = reach_place_of(&relay), here = reach_place_of(&upstream);
    switch (there) {
    case REACH_PUBLIC:
    case REACH_RESERVED:
        return true;
    case REACH_PRIVATE:
        return here == REACH_PRIVATE || here == REACH_LOOPBACK || here == REACH_LINK_LOCAL;
    default:
        return there == here && !reach_never(there);
    }
}

/* Where the upstream's relay is: at the upstream's own address, unless what it has bound can be reached from here. */
static bool find_relay(struct outlet *outlet, const struct upstream_answer *answer)
{
    const uint16_t port = netaddr_port(&answer->bound);
    outlet->relay = is_relay_host(&answer->bound, &answer->server) ? answer->bound : answer->server;
    netaddr_set_port(&outlet->relay, port);
    return port != 0;
}

/* From the address that the control connection has, for that is who the upstream listens to. */
static int open_socket(struct outlet *outlet)
{
    struct assoc *assoc = outlet->assoc;
    const int family = outlet->relay.sa.sa_family, slot = family_index(family);
    const union netaddr local = sock_local(outlet->control);
    if (local.sa.sa_family == family) {
        assoc->flow.external[slot] = local;
        netaddr_set_port(&assoc->flow.external[slot], 0);
    }
    int error = assoc_open_external(assoc, family);
    return error ? error : sock_udp_connect(assoc->external[slot]->socket.fd, &outlet->relay);
}

static enum socks5_reply take_answer(struct outlet *outlet, const struct upstream_answer *answer)
{
    struct env *env = outlet->assoc->env;
    char relay[NETADDR_TEXT_MAX];
    if (answer->code != SOCKS5_REPLY_SUCCEEDED)
        return answer->code;
    outlet->control = answer->fd;
    int error = find_relay(outlet, answer) ? open_socket(outlet) : -EADDRNOTAVAIL;
    if (error) {
        metrics_add(&env->metrics.upstream_failed_total, 1);
        LOG_LIMITED(&env->upstreams_log, env_now(env), LOG_LEVEL_WARNING,
                    "upstream=%s: its relay at %s cannot be sent to: %s", outlet->name,
                    netaddr_format(&answer->bound, relay), strerror(-error));
        return SOCKS5_REPLY_GENERAL_FAILURE;
    }
    sock_keepalive(outlet->control);
    event_assign(&outlet->over, env->base, outlet->control, EV_READ | EV_PERSIST, on_control, outlet);
    event_add(&outlet->over, NULL);
    return SOCKS5_REPLY_SUCCEEDED;
}

static void on_answer(void *arg, const struct upstream_answer *answer)
{
    struct outlet *outlet = arg;
    outlet->asked = NULL;
    outlet->hooks.answered(outlet->hooks.arg, take_answer(outlet, answer));
}

/* ---- life ---- */

struct outlet *outlet_new(struct assoc *assoc, const struct terms *terms)
{
    static const uint8_t zero[4];
    /* Where our datagrams will come from is not known before the upstream has said where they go. */
    const struct socks5_addr anywhere = {.atyp = SOCKS5_ATYP_IPV4, .host_len = sizeof(zero), .host = zero};
    size_t len = strlen(terms->upstream->name) + 1;
    struct outlet *outlet = calloc(1, sizeof(*outlet) + len);
    if (!outlet)
        return NULL;
    outlet->assoc = assoc;
    outlet->control = -1;
    memcpy(outlet->name, terms->upstream->name, len);
    outlet->asked = upstream_ask(assoc->env, &assoc->subject.client, assoc->subject.user, terms,
                                 SOCKS5_COMMAND_UDP_ASSOCIATE, &anywhere, on_answer, outlet);
    if (outlet->asked)
        return outlet;
    free(outlet);
    return NULL;
}

void outlet_free(struct outlet *outlet)
{
    if (!outlet)
        return;
    upstream_cancel(outlet->asked);
    if (event_initialized(&outlet->over))
        event_del(&outlet->over);
    if (outlet->control >= 0)
        close(outlet->control);
    free(outlet);
}

void outlet_set_hooks(struct outlet *outlet, const struct assoc_outlet_hooks *hooks)
{
    outlet->hooks = *hooks;
}

const char *outlet_name(const struct outlet *outlet)
{
    return outlet->name;
}

size_t outlet_memory(const struct outlet *outlet)
{
    return sizeof(*outlet) + (outlet->control >= 0 ? sock_memory(outlet->control) : 0);
}

int outlet_family(const struct outlet *outlet)
{
    return event_initialized(&outlet->over) ? outlet->relay.sa.sa_family : AF_UNSPEC;
}

/* ---- up ---- */

bool outlet_address(struct outlet *outlet, const union netaddr *to, struct dgram_run *run)
{
    const struct socks5_udp_header header = {.destination = address_to_wire(to)};
    run->peer = (union netaddr){0}; /* the socket is connected */
    run->header_len = (uint8_t)socks5_udp_header_encode(run->header, sizeof(run->header), &header);
    if (run->seg + run->header_len <= DGRAM_PAYLOAD_MAX)
        return true;
    assoc_drop(outlet->assoc, DROP_OVERSIZE, run->count);
    return false;
}

void outlet_send_by_name(struct outlet *outlet, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    struct assoc *assoc = outlet->assoc;
    const int slot = family_index(outlet->relay.sa.sa_family);
    struct dgram_batch *batch = &assoc->env->to_external[slot];
    uint8_t datagram[DGRAM_PAYLOAD_MAX];
    const struct socks5_addr to = {
        .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)strlen(name), .host = (const uint8_t *)name, .port = port};
    const struct socks5_udp_header header = {.destination = to};
    const size_t header_len = socks5_udp_header_encode(datagram, sizeof(datagram), &header);
    sketch_add_name(&assoc->flow.destinations, name, port);
    assoc_flush_up(assoc);
    for (size_t i = 0; i < payloads->count; i++) {
        const size_t len = dgram_run_len(payloads, i);
        const uint16_t whole = (uint16_t)(header_len + len);
        struct dgram_tally tally = {0};
        if (header_len + len > sizeof(datagram)) {
            assoc_drop(assoc, DROP_OVERSIZE, 1);
            continue;
        }
        memcpy(datagram + header_len, dgram_run_at(payloads, i), len); /* a run's header has no room for a name */
        batch->runs[batch->count++] =
            (struct dgram_run){.data = datagram, .count = 1, .seg = whole, .last = whole, .tos = payloads->tos};
        assoc->external[slot]->carried_ms = env_now(assoc->env);
        dgram_io_send(assoc->env->dgrams, &assoc->external[slot]->socket, batch, &tally);
        tally.bytes -= tally.datagrams * header_len;
        assoc_flow_count_up(&assoc->flow, &assoc->env->metrics, &tally);
    }
}

/* ---- down ---- */

static uint16_t take_from_relay(struct assoc *assoc, const struct dgram_run *run, size_t first)
{
    struct socks5_udp_header header;
    struct dgram_run payloads;
    char name[NAME_TEXT_MAX];
    uint16_t same = assoc_cut(assoc, run, first, &header, &payloads);
    if (payloads.count == 0)
        return same;
    switch (address_read(&header.destination, &payloads.peer, name)) {
    case ADDRESS_IP:
        assoc_take_down(assoc, &payloads);
        break;
    case ADDRESS_NAME:
        assoc_pass_down(assoc, &payloads, (uint16_t)(payloads.data - dgram_run_at(run, first)));
        break;
    case ADDRESS_BAD:
        assoc_drop(assoc, DROP_BAD_HEADER, same);
        break;
    }
    return same;
}

void outlet_on_relay(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct external *external = arg;
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    size_t count = dgram_io_recv(env->dgrams, &external->socket, env->received, RECEIVE_MAX);
    if (count)
        external->carried_ms = env_now(env);
    bool refused = !assoc_may_go_on(assoc);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &env->received[i];
        if (refused) {
            assoc_drop(assoc, DROP_REFUSED, run->count);
            continue;
        }
        if (!netaddr_equal(&run->peer, &assoc->outlet->relay)) { /* came before the socket was connected */
            assoc_drop(assoc, DROP_FILTERED, run->count);
            continue;
        }
        for (size_t first = 0; first < run->count;)
            first += take_from_relay(assoc, run, first);
    }
    assoc_flush_down(assoc);
}
