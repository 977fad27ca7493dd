#include "proxy/assoc/assoc.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/icmp.h"
#include "net/sock.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/external_upstream.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/internal_tcp.h"
#include "proxy/assoc/names.h"
#include "proxy/assoc/shared_port.h"
#include "proxy/egress.h"
#include "proxy/permit.h"

/* ---- rates ---- */

bool assoc_within_rates(struct assoc *assoc, enum rates_way way, struct dgram_run *run)
{
    if (!assoc->rates)
        return true;
    uint16_t passes = rates_admit(assoc->rates, way, run->count, run->seg, run->last, env_now(assoc->env));
    if (passes < run->count) {
        assoc_drop(assoc, DROP_RATE, (uint32_t)run->count - passes);
        run->count = passes;
        run->last = run->seg;
    }
    return passes > 0;
}

/* ---- sockets ---- */

/* A socket of ours, from here on known as one; `local` gets the port. */
static int open_socket(struct env *env, const struct port_range *range, union netaddr *local,
                       const struct sock_egress *egress, enum own_port kind, struct port_lease *port)
{
    int fd = sock_udp(env->host->reserve, local, range, env_now(env), port);
    int error = fd < 0 ? fd : egress ? sock_set_egress(fd, local->sa.sa_family, egress) : 0;
    if (fd >= 0 && !error && !own_ports_add(env->host->own_ports, kind, local))
        error = -ENOMEM;
    if (fd >= 0 && error) {
        close(fd);
        ports_release(range, port, 0, env_now(env));
    }
    metrics_add(&env->metrics.ports_reused_early_total, !error && port->early);
    if (error == -EADDRINUSE)
        env->full_ports = (struct port_place){.range = *range, .local = *local};
    return error ? error : fd;
}

static void close_socket(struct env *env, int fd, const struct port_range *range, const union netaddr *local,
                         enum own_port kind, struct port_lease *port, uint64_t used_until_ms)
{
    own_ports_remove(env->host->own_ports, kind, local);
    close(fd);
    ports_release(range, port, used_until_ms, env_now(env));
}

/* The client's own number first, where it is known and may be had. */
static struct port_range external_range(const struct assoc *assoc)
{
    enum { UNPRIVILEGED_PORT = 1024 };
    const uint16_t wanted = assoc->hint_port;
    struct port_range range = assoc->env->external_ports;
    if (assoc->env->config->udp.keep_port && wanted >= (range.random ? UNPRIVILEGED_PORT : range.first) &&
        wanted <= (range.random ? UINT16_MAX : range.last))
        range.wanted = wanted;
    return range;
}

/* A port that an external socket has at every address is in use at the client's, too. */
static struct port_range relay_range(const struct assoc *assoc)
{
    const struct port_range *external = &assoc->env->external_ports;
    struct port_range range = assoc->env->relay_ports;
    range.everywhere = range.first == external->first && range.last == external->last &&
                       netaddr_is_any(&assoc->flow.external[family_index(assoc->flow.relay.sa.sa_family)]);
    return range;
}

static enum own_port external_kind(const struct assoc *assoc)
{
    return assoc_is_bound(assoc) ? OWN_PORT_BOUND : OWN_PORT_EXTERNAL;
}

static struct dgram_socket adopt(const struct env *env, int fd, int family)
{
    if (env->config->udp.df == CONFIG_DF_PROBE)
        sock_udp_probe(fd, family);
    if (env->memory != MEMORY_AMPLE)
        sock_udp_set_room(fd, memory_level_room(env->memory));
    return dgram_io_adopt(env->dgrams, fd);
}

bool assoc_is_bound(const struct assoc *assoc)
{
    return assoc->egress && assoc->egress->interface[0];
}

int assoc_open_external(struct assoc *assoc, int family)
{
    int slot = family_index(family);
    union netaddr local = assoc->flow.external[slot];
    struct external *external = calloc(1, sizeof(*external));
    const struct port_range range = external_range(assoc);
    int fd = external ? open_socket(assoc->env, &range, &local, assoc->egress, external_kind(assoc), &external->port)
                      : -ENOMEM;
    if (fd < 0) {
        free(external);
        assoc->open_failed_ms[slot] = env_now(assoc->env);
        return fd;
    }
    external->assoc = assoc;
    if (assoc->env->counts_icmp && !assoc->outlet)
        icmp_keep(fd, family);
    external->socket = adopt(assoc->env, fd, family);
    if (assoc->egress)
        external->socket.tos = (uint8_t)(assoc->egress->dscp << 2);
    event_assign(&external->readable, assoc->env->base, fd, EV_READ | EV_PERSIST,
                 assoc->outlet ? outlet_on_relay : assoc_on_external, external);
    event_add(&external->readable, NULL);
    assoc->external[slot] = external;
    assoc->flow.external[slot] = local;
    return 0;
}

/* ---- life ---- */

static void close_relay(struct assoc *assoc, uint64_t used_until)
{
    event_del(&assoc->client_readable);
    if (assoc->share) {
        close(assoc->client.fd);
        share_free(assoc->share);
    } else {
        close_socket(assoc->env, assoc->client.fd, &assoc->env->relay_ports, &assoc->flow.relay, OWN_PORT_RELAY,
                     &assoc->relay_port, assoc_flow_has_heard_client(&assoc->flow) ? used_until : 0);
    }
}

static void discard(struct assoc *assoc)
{
    struct env *env = assoc->env;
    const struct assoc_flow *flow = &assoc->flow;
    assoc_assert_batches_are_empty(env);
    assert(assoc->state != ASSOC_ENDING && env->open.associations > 0);
    assoc->state = ASSOC_ENDING;
    env->open.associations--;
    if (assoc->client.fd >= 0)
        close_relay(assoc, assoc_flow_last_ms(flow));
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        struct external *external = assoc->external[slot];
        if (!external)
            continue;
        event_del(&external->readable);
        close_socket(env, external->socket.fd, &env->external_ports, &flow->external[slot], external_kind(assoc),
                     &external->port, external->carried_ms);
        free(external);
    }
    frames_free(assoc->frames);
    outlet_free(assoc->outlet);
    names_free(assoc->names);
    filter_free(assoc->filter, assoc->loan);
    subject_deinit(&assoc->subject);
    assoc_flow_deinit(&assoc->flow);
    rates_free(assoc->rates);
    free(assoc->egress);
    free(assoc);
}

static int take_terms(struct assoc *assoc, const char *user)
{
    const uint32_t rule = rules_find_everywhere(&assoc->subject);
    const struct terms terms = env_terms(assoc->env, user, rule, &assoc->subject.client);
    if (!permit_any(assoc->env, &assoc->subject, terms.upstream != NULL))
        return -EACCES; /* who may send nowhere would still be sent to */
    union netaddr *external = assoc->flow.external;
    external[FAMILY_V4] = terms.address_v4.sa.sa_family ? terms.address_v4 : netaddr_any(AF_INET);
    external[FAMILY_V6] = terms.address_v6.sa.sa_family ? terms.address_v6 : netaddr_any(AF_INET6);
    if (!egress_is_default(&terms)) {
        assoc->egress = malloc(sizeof(*assoc->egress));
        if (!assoc->egress)
            return -ENOMEM;
        *assoc->egress = egress_of(&terms);
    }
    if (!rates_new(&assoc->rates, assoc->env->host->user_rates, &terms, user))
        return -ENOMEM;
    if (terms.upstream) {
        assoc->outlet = outlet_new(assoc, &terms);
        return assoc->outlet ? 0 : -ENOMEM;
    }
    if (terms.filtering <= CONFIG_FILTERING_ENDPOINT_INDEPENDENT)
        return 0;
    assoc->filter = filter_new(terms.filtering);
    return assoc->filter ? 0 : -ENOMEM;
}

/* All but the client's side. `hint_port` as in struct assoc. */
static int begin(struct assoc **out, struct env *env, const union netaddr *peer, const char *user,
                 const union netaddr *local, uint16_t hint_port)
{
    struct assoc *assoc = calloc(1, sizeof(*assoc));
    if (!assoc)
        return -ENOMEM;
    env->open.associations++;
    assoc->env = env;
    assoc->generation = env->generation;
    assoc->client.fd = -1;
    assoc->own_loan.all = &env->loans;
    assoc->loan = &assoc->own_loan;
    assoc_flow_init(&assoc->flow, local, env_now(env));
    assoc->hint_port = hint_port;

    union netaddr client = *peer;
    netaddr_set_port(&client, 0); /* it may send from any */
    int error = subject_init(&assoc->subject, env->rules, &client, user, CONFIG_COMMAND_UDP) ? 0 : -ENOMEM;
    if (!error)
        error = take_terms(assoc, user);
    if (!error && !assoc->outlet)
        error = assoc_open_external(assoc, local->sa.sa_family);
    if (error)
        discard(assoc);
    else
        *out = assoc;
    return error;
}

static int open_own_relay(struct assoc *assoc)
{
    const struct port_range range = relay_range(assoc);
    return open_socket(assoc->env, &range, &assoc->flow.relay, NULL, OWN_PORT_RELAY, &assoc->relay_port);
}

static int open_shared_relay(struct assoc *assoc)
{
    struct assoc_flow *flow = &assoc->flow;
    netaddr_set_port(&flow->relay, assoc->env->shared_port);
    return share_new(&assoc->share, assoc->env, &flow->relay, &assoc->subject.client, assoc->hint_port,
                     assoc_take_shared, assoc);
}

static int open_relay(struct assoc *assoc)
{
    struct env *env = assoc->env;
    int fd = env->shared_port ? open_shared_relay(assoc) : open_own_relay(assoc);
    if (fd < 0)
        return fd;
    assoc->client = adopt(env, fd, assoc->flow.relay.sa.sa_family);
    event_assign(&assoc->client_readable, env->base, fd, EV_READ | EV_PERSIST, assoc_on_client, assoc);
    return 0;
}

static int finish(struct assoc **out, struct assoc *assoc, int error)
{
    if (error)
        discard(assoc);
    else
        *out = assoc;
    return error;
}

int assoc_new(struct assoc **out, struct env *env, const union netaddr *peer, const char *user,
              const union netaddr *local, const struct socks5_addr *hint)
{
    struct assoc *assoc;
    int error = begin(&assoc, env, peer, user, local, address_hint(hint, peer));
    if (error)
        return error;
    return finish(out, assoc, open_relay(assoc));
}

int assoc_new_over_tcp(struct assoc **out, struct env *env, const union netaddr *peer, const char *user,
                       const union netaddr *local, int fd, const struct assoc_hooks *hooks)
{
    struct assoc *assoc;
    int error = begin(&assoc, env, peer, user, local, 0);
    if (error)
        return error;
    assoc->flow.client = *peer;
    assoc->frames = frames_new(assoc, fd, hooks);
    return finish(out, assoc, assoc->frames ? 0 : -ENOMEM);
}

void assoc_start(struct assoc *assoc)
{
    assert(assoc->state == ASSOC_OPENING);
    assoc->state = ASSOC_GRANTED;
    metrics_add(&assoc->env->metrics.associations_total, 1);
    if (assoc->frames)
        frames_start(assoc->frames);
    else
        event_add(&assoc->client_readable, NULL);
}

void assoc_free(struct assoc *assoc)
{
    if (!assoc)
        return;
    metrics_add(&assoc->env->metrics.associations_ended_total, assoc->state == ASSOC_GRANTED);
    discard(assoc);
}

void assoc_set_review(struct assoc *assoc, bool (*may_go_on)(void *owner), void *owner)
{
    assoc->may_go_on = may_go_on;
    assoc->owner = owner;
}

bool assoc_review(struct assoc *assoc)
{
    if (!subject_renew(&assoc->subject, assoc->env->rules) ||
        !permit_any(assoc->env, &assoc->subject, assoc->outlet != NULL))
        return false;
    assoc->generation = assoc->env->generation;
    if (assoc->names)
        names_review(assoc->names);
    return true;
}

bool assoc_awaits_upstream(struct assoc *assoc, const struct assoc_outlet_hooks *hooks)
{
    if (assoc->outlet)
        outlet_set_hooks(assoc->outlet, hooks);
    return assoc->outlet != NULL;
}

const char *assoc_upstream(const struct assoc *assoc)
{
    return assoc->outlet ? outlet_name(assoc->outlet) : NULL;
}

enum config_filtering assoc_filtering(const struct assoc *assoc)
{
    return assoc->filter ? filter_mode(assoc->filter) : CONFIG_FILTERING_ENDPOINT_INDEPENDENT;
}

const struct assoc_flow *assoc_flow(const struct assoc *assoc)
{
    return &assoc->flow;
}

bool assoc_is_over_tcp(const struct assoc *assoc)
{
    return assoc->frames != NULL;
}

bool assoc_holds_port(const struct assoc *assoc, const struct port_place *place)
{
    bool holds = ports_is_at(&assoc->relay_port, place);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        holds = holds || (assoc->external[slot] && ports_is_at(&assoc->external[slot]->port, place));
    return holds;
}

uint64_t assoc_idle_ms(const struct assoc *assoc, uint64_t now_ms)
{
    return now_ms - assoc_flow_last_ms(&assoc->flow);
}

void assoc_set_room(struct assoc *assoc, int bytes)
{
    if (assoc->frames)
        frames_set_room(assoc->frames, bytes);
    else
        sock_udp_set_room(assoc->client.fd, bytes);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (assoc->external[slot])
            sock_udp_set_room(assoc->external[slot]->socket.fd, bytes);
}

size_t assoc_descriptors(const struct assoc *assoc)
{
    size_t count = assoc->client.fd >= 0 ? 1 : 0;
    count += assoc->outlet ? 1 : 0;
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        count += assoc->external[slot] ? 1 : 0;
    return count;
}

void assoc_borrow(struct assoc *assoc, struct loan *loan)
{
    loan->bytes += assoc->own_loan.bytes;
    assoc->own_loan.bytes = 0;
    assoc->loan = loan;
}

void assoc_call_loans(struct assoc *assoc)
{
    if (assoc->frames)
        frames_forget_begun(assoc->frames);
    if (assoc->filter)
        filter_shrink(assoc->filter, assoc->loan);
    if (assoc->names)
        names_shrink(assoc->names);
}

size_t assoc_memory(const struct assoc *assoc)
{
    size_t held = sizeof(*assoc) + (assoc->frames ? frames_memory(assoc->frames) : sock_memory(assoc->client.fd));
    if (assoc->outlet)
        held += outlet_memory(assoc->outlet);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (assoc->external[slot])
            held += sock_memory(assoc->external[slot]->socket.fd);
    return held;
}

bool assoc_sweep(struct assoc *assoc, uint64_t now_ms)
{
    const struct config *config = assoc->env->config;
    if (now_ms - assoc->flow.last_up_ms >= config->udp.rebind_after_ms)
        assoc_allow_rebind(assoc);
    if (assoc->frames)
        frames_sweep(assoc->frames, now_ms);
    return config->udp.idle_ms && assoc_idle_ms(assoc, now_ms) >= config->udp.idle_ms;
}
