/* From the client to host names: resolved here, or sent to the upstream as they are. */
#include "net/sock.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/branch.h"
#include "proxy/assoc/kernel_relay.h"
#include "proxy/assoc/names.h"
#include "proxy/assoc/sketch.h"
#include "proxy/permit.h"

/* Decides whether an address of a name is taken; each datagram is checked again when it is sent there. */
static bool up_can_reach(void *arg, const char *name, const union netaddr *to)
{
    struct assoc *assoc = arg;
    const int family = to->sa.sa_family;
    struct sock_way way = {.from = assoc->flow.external[family_index(family)]};
    if (assoc->egress)
        way.egress = *assoc->egress;
    netaddr_set_port(&way.from, 0);
    if (!assoc_may_go_on(assoc))
        return false;
    const struct verdict verdict = verdict_find(&assoc->env->policy, &assoc->subject, name, to);
    if (verdict.code != VERDICT_ALLOWED)
        return false;
    if (assoc_sends_names(assoc) || !branch_uses_own_ends(assoc, verdict.rule)) /* an upstream may have a way */
        return true;
    return sock_has_route(to, &way) && assoc_find_external(assoc, family);
}

/* One datagram. */
static struct dgram_run run_of_one(const uint8_t *payload, size_t len)
{
    return (struct dgram_run){.data = payload, .count = 1, .seg = (uint16_t)len, .last = (uint16_t)len};
}

static void up_send_resolved(void *arg, const char *name, const union netaddr *to, const uint8_t *payload, size_t len)
{
    const struct dgram_run run = run_of_one(payload, len);
    (void)assoc_may_go_on(arg); /* after a reload: assoc_send_up() asks by its rules */
    assoc_send_up(arg, name, to, &run);
}

static void up_flush_resolved(void *arg)
{
    assoc_flush_up(arg);
}

static void up_on_name_address(void *arg, const union netaddr *address)
{
    kernel_relay_release_host(arg, address);
}

static void up_drop_unresolved(void *arg, enum drop_reason reason, uint32_t count)
{
    assoc_drop(arg, reason, count);
}

/* As it is: the external end resolves names, and so serves all. */
static void up_send_name(struct assoc *assoc, struct assoc *exit, const char *name, uint16_t port,
                         const struct dgram_run *payloads)
{
    struct external *external = assoc_find_external(exit, AF_INET);
    struct dgram_tally tally = {0};
    if (!permit_unresolved(assoc->env, &assoc->subject, name, port, payloads->count)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
    } else if (port == 0) {
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
    } else if (!external) {
        assoc_drop(assoc, DROP_NO_SOCKET, payloads->count);
    } else {
        sketch_add_name(&assoc->flow.destinations, name, port);
        assoc_flush_up(assoc);
        exit->flow.last_up_ms = assoc->flow.last_up_ms;
        external->carried_ms = env_now(assoc->env);
        external->ops->send_named(external, name, port, payloads, &tally);
        assoc_flow_count_up(&assoc->flow, &assoc->env->metrics, &tally);
    }
}

static void up_resolve_name(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    if (!permit_name(assoc->env, &assoc->subject, name, port, payloads->count)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    if (!assoc->names) {
        const struct names_hooks hooks = {up_can_reach,      up_on_name_address, up_send_resolved,
                                          up_flush_resolved, up_drop_unresolved, assoc};
        assoc->names = names_new(assoc->env, assoc->loan, &assoc->subject.client, assoc->subject.user, &hooks);
    }
    for (size_t i = 0; i < payloads->count; i++) {
        struct dgram_run one = run_of_one(dgram_run_at(payloads, i), dgram_run_len(payloads, i));
        one.tos = payloads->tos;
        union netaddr to;
        enum drop_reason reason = DROP_QUEUE_FULL;
        enum names_verdict verdict = NAMES_DROPPED;
        if (assoc->names)
            verdict = names_route(assoc->names, name, port, one.data, one.seg, &to, &reason);
        if (verdict == NAMES_KNOWN)
            assoc_send_up(assoc, name, &to, &one);
        else if (verdict == NAMES_DROPPED)
            assoc_drop(assoc, reason, 1);
    }
}

/* Rules about names decide whether it leaves by an upstream, as for CONNECT; rules about addresses when it is resolved
 * here. */
static struct assoc *up_find_exit_of_name(struct assoc *assoc, const char *name, uint16_t port)
{
    if (assoc->subject.rules != assoc->env->rules) /* everything will be denied */
        return assoc;
    return branch_exit(assoc, rules_find_name(&assoc->subject, name, port));
}

void assoc_take_up_named(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    struct assoc *exit = up_find_exit_of_name(assoc, name, port);
    if (!exit)
        assoc_drop(assoc, DROP_NO_UPSTREAM, payloads->count);
    else if (assoc_sends_names(exit))
        up_send_name(assoc, exit, name, port, payloads);
    else
        up_resolve_name(assoc, name, port, payloads);
}
