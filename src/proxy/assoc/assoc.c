#include "proxy/assoc/assoc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/branch.h"
#include "proxy/assoc/external_direct.h"
#include "proxy/assoc/external_upstream.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/internal_shared.h"
#include "proxy/assoc/internal_tcp.h"
#include "proxy/assoc/internal_udp.h"
#include "proxy/assoc/kernel_relay.h"
#include "proxy/assoc/names.h"
#include "proxy/client_terms.h"
#include "proxy/egress.h"
#include "proxy/permit.h"

/* ---- rates ---- */

bool assoc_within_rates(struct assoc *assoc, enum rates_way way, struct dgram_run *run)
{
    if (!assoc->rates)
        return true;
    uint16_t passes = rates_admit(assoc->rates, way, run->count, run->seg, run->last, env_now(assoc->env));
    assert(passes <= run->count);
    if (passes < run->count) {
        assoc_drop(assoc, DROP_RATE, (uint32_t)run->count - passes);
        run->count = passes;
        run->last = run->seg;
    }
    return passes > 0;
}

/* ---- life ---- */

static void assoc_close_ends(struct assoc *assoc)
{
    if (assoc->internal.ops)
        assoc->internal.ops->close(assoc);
    for (int slot = FAMILY_COUNT; slot-- > 0;) {
        struct external *external = assoc_external_once(assoc, slot);
        if (external)
            external->ops->close(external);
    }
}

void assoc_discard(struct assoc *assoc)
{
    struct env *env = assoc->env;
    assoc_assert_batches_are_empty(env);
    assert(assoc->state != ASSOC_ENDING && env->open.associations > 0);
    assoc->state = ASSOC_ENDING;
    branches_free(assoc);
    kernel_relay_free(assoc); /* its ports are its own up to here */
    assoc_close_ends(assoc);
    if (!assoc->is_exit) /* that uses its owner's */
        names_free(assoc->names);
    filter_free(assoc->filter, assoc->loan);
    assoc_flow_deinit(&assoc->flow);
    if (!assoc->is_branch) {
        env->open.associations--;
        subject_deinit(&assoc->subject);
        rates_free(assoc->rates);
        free(assoc->egress);
    }
    free(assoc);
}

static int assoc_take_terms(struct assoc *assoc, const struct proxy_client *client)
{
    assert(!assoc->external[FAMILY_V4] && !assoc->rates);
    const uint32_t rule = rules_find_everywhere(&assoc->subject);
    const struct terms terms = client_terms(assoc->env, &assoc->subject, rule, client);
    if (!permit_any(assoc->env, &assoc->subject, terms.upstream != NULL))
        return -EACCES; /* it could send nowhere, but peers could still send to it */
    union netaddr *external = assoc->flow.external;
    external[FAMILY_V4] = terms.address_v4.sa.sa_family ? terms.address_v4 : netaddr_any(AF_INET);
    external[FAMILY_V6] = terms.address_v6.sa.sa_family ? terms.address_v6 : netaddr_any(AF_INET6);
    if (!egress_is_default(&terms)) {
        assoc->egress = malloc(sizeof(*assoc->egress));
        if (!assoc->egress)
            return -ENOMEM;
        *assoc->egress = egress_of(&terms);
    }
    if (!rates_new(&assoc->rates, assoc->env->host->user_rates, &terms, assoc->subject.user))
        return -ENOMEM;
    if (terms.upstream)
        return external_upstream_ask(assoc, &terms);
    if (terms.filtering <= CONFIG_FILTERING_ENDPOINT_INDEPENDENT)
        return 0;
    assoc->filter = filter_new(terms.filtering);
    return assoc->filter ? 0 : -ENOMEM;
}

static int assoc_finish(struct assoc **out, struct assoc *assoc, int error)
{
    if (error)
        assoc_discard(assoc);
    else
        *out = assoc;
    assert(error <= 0);
    return error;
}

/* All but the internal end. `hint_port` as in struct assoc. */
static int assoc_begin(struct assoc **out, struct env *env, const struct proxy_client *client,
                       const union netaddr *local, uint16_t hint_port)
{
    struct assoc *assoc = calloc(1, sizeof(*assoc));
    if (!assoc)
        return -ENOMEM;
    env->open.associations++;
    assoc->env = env;
    assoc->generation = env->generation;
    assoc->own_loan.all = &env->loans;
    assoc->loan = &assoc->own_loan;
    assoc_flow_init(&assoc->flow, local, env_now(env));
    assoc->hint_port = hint_port;

    int error = client_subject_init(&assoc->subject, env, client, CONFIG_COMMAND_UDP) ? 0 : -ENOMEM;
    netaddr_set_port(&assoc->subject.client, 0); /* it may send from any */
    if (!error)
        error = assoc_take_terms(assoc, client);
    const bool awaits_port = env->config->udp.keep_port && !hint_port; /* the first datagram shows it */
    if (!error && !awaits_port && !assoc->external[family_index(local->sa.sa_family)])
        error = external_direct_open(assoc, local->sa.sa_family);
    return assoc_finish(out, assoc, error);
}

int assoc_new(struct assoc **out, struct env *env, const struct proxy_client *client, const union netaddr *local,
              const struct socks5_addr *hint)
{
    struct assoc *assoc;
    int error = assoc_begin(&assoc, env, client, local, address_hint(hint, &client->peer));
    if (error)
        return error;
    return assoc_finish(out, assoc, (env->shared_port ? internal_shared_open : internal_udp_open)(assoc));
}

int assoc_new_over_tcp(struct assoc **out, struct env *env, const struct proxy_client *client, int fd,
                       const uint8_t *early, size_t early_len, const struct assoc_hooks *hooks)
{
    struct assoc *assoc;
    int error = assoc_begin(&assoc, env, client, &client->local, 0);
    if (error)
        return error;
    assoc->flow.client = client->peer;
    return assoc_finish(out, assoc, internal_tcp_open(assoc, fd, early, early_len, hooks));
}

void assoc_start(struct assoc *assoc)
{
    assert(assoc->state == ASSOC_OPENING && assoc->internal.ops);
    assoc->state = ASSOC_GRANTED;
    metrics_add(&assoc->env->metrics.associations_total, 1);
    assoc->internal.ops->start(assoc);
}

void assoc_free(struct assoc *assoc)
{
    if (!assoc)
        return;
    metrics_add(&assoc->env->metrics.associations_ended_total, assoc->state == ASSOC_GRANTED);
    assoc_discard(assoc);
}

void assoc_set_review(struct assoc *assoc, bool (*may_go_on)(void *owner), void *owner)
{
    assert(!assoc->may_go_on);
    assoc->may_go_on = may_go_on;
    assoc->owner = owner;
}

bool assoc_review(struct assoc *assoc, const struct proxy_client *client)
{
    if (!permit_renew(assoc->env, &assoc->subject, client) ||
        !permit_any(assoc->env, &assoc->subject, assoc_sends_names(assoc)))
        return false;
    assoc->generation = assoc->env->generation;
    if (assoc->names)
        names_review(assoc->names);
    kernel_relay_review(assoc);
    branches_review(assoc);
    return true;
}

bool assoc_expect_upstream(struct assoc *assoc, const struct assoc_upstream_hooks *hooks)
{
    return external_upstream_set_hooks(assoc, hooks);
}

const char *assoc_upstream(const struct assoc *assoc)
{
    return external_upstream_name(assoc);
}

enum config_filtering assoc_filtering(const struct assoc *assoc)
{
    return assoc->filter ? filter_mode(assoc->filter) : CONFIG_FILTERING_ENDPOINT_INDEPENDENT;
}

const struct assoc_flow *assoc_flow(struct assoc *assoc)
{
    kernel_relay_take(assoc, env_now(assoc->env));
    branches_take(assoc);
    return &assoc->flow;
}

struct kernel_use assoc_kernel_use(const struct assoc *assoc)
{
    return kernel_relay_use(assoc);
}

void assoc_leave_kernel(struct assoc *assoc)
{
    kernel_relay_stop(assoc);
}

bool assoc_is_over_tcp(const struct assoc *assoc)
{
    return assoc->internal.ops->over_tcp;
}

uint64_t assoc_idle_ms(struct assoc *assoc, uint64_t now_ms)
{
    kernel_relay_take(assoc, now_ms);
    const uint64_t own_ms = assoc_flow_last_ms(&assoc->flow), other_ms = branches_last_ms(assoc);
    const uint64_t last_ms = own_ms > other_ms ? own_ms : other_ms;
    return last_ms < now_ms ? now_ms - last_ms : 0; /* assoc_flow() may have noted something later */
}

/* The client may send from another port after silence. If it has come back to its port meanwhile, and the kernel alone
 * has heard that, other ports are refused again. */
static void assoc_sweep_client(struct assoc *assoc, uint64_t now_ms)
{
    const struct internal_ops *ops = assoc->internal.ops;
    if (!ops->allow_rebind)
        return;
    if (now_ms - assoc->flow.last_up_ms >= assoc->env->config->udp.rebind_after_ms)
        ops->allow_rebind(assoc);
    else if (assoc->kernel && !assoc->holds_client)
        (void)client_port_accepts(assoc, &assoc->flow.client, now_ms);
}

bool assoc_sweep(struct assoc *assoc, uint64_t now_ms)
{
    const struct config *config = assoc->env->config;
    const struct internal_ops *ops = assoc->internal.ops;
    kernel_relay_sweep(assoc, now_ms);
    assoc_sweep_client(assoc, now_ms);
    branches_sweep(assoc, now_ms);
    if (ops->sweep)
        ops->sweep(assoc, now_ms);
    return config->udp.idle_ms && assoc_idle_ms(assoc, now_ms) >= config->udp.idle_ms;
}
