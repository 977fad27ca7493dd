#include "proxy/assoc/external_direct.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "net/icmp.h"
#include "net/sock.h"
#include "policy/hairpin.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/kernel_relay.h"

/* ---- datagrams ---- */

static void external_direct_send(struct external *external, struct dgram_batch *batch, struct dgram_tally *tally)
{
    struct env *env = external->assoc->env;
    if (!external_socket_is_bound(external->assoc))
        for (size_t i = 0; i < batch->count; i++)
            hairpin_inward(&env->policy, &batch->runs[i].peer);
    dgram_io_send(env->dgrams, &external->socket, batch, tally);
}

static void external_direct_count_icmp(struct metrics *metrics, const uint32_t counts[ICMP_KIND_COUNT])
{
    metrics_add(&metrics->udp_icmp_port_unreachable_total, counts[ICMP_PORT_UNREACHABLE]);
    metrics_add(&metrics->udp_icmp_unreachable_total, counts[ICMP_UNREACHABLE]);
    metrics_add(&metrics->udp_icmp_too_big_total, counts[ICMP_TOO_BIG]);
    metrics_add(&metrics->udp_icmp_ttl_total, counts[ICMP_TTL]);
}

static void external_direct_take_icmp(struct assoc *assoc, int fd)
{
    uint32_t counts[ICMP_KIND_COUNT] = {0};
    icmp_take(fd, counts);
    if (assoc->env->counts_icmp)
        external_direct_count_icmp(&assoc->env->metrics, counts);
    kernel_relay_heed(assoc, counts);
}

static void external_direct_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct external *external = arg;
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    /* Before datagrams are asked for: a pending error would come in their place. */
    if (env->counts_icmp || kernel_relay_keeps_icmp(assoc))
        external_direct_take_icmp(assoc, fd);
    const size_t count = assoc_receive_external(external);
    for (size_t i = 0; i < count; i++) {
        hairpin_outward(&env->policy, &env->received[i].peer);
        assoc_take_down(assoc, &env->received[i]);
    }
    assoc_flush_down(assoc);
    kernel_relay_received(assoc, KERNEL_DOWN, count, fd);
}

/* ---- life ---- */

static void external_direct_close(struct external *external)
{
    const bool is_v4 = external == external->assoc->external[FAMILY_V4];
    external_socket_close(external, is_v4 ? AF_INET : AF_INET6);
    free(external);
}

static const struct external_ops external_direct_ops = {
    .send = external_direct_send,
    .close = external_direct_close,
};

int external_direct_open(struct assoc *assoc, int family)
{
    const int slot = family_index(family);
    assert(!assoc->external[slot]);
    struct external *external = calloc(1, sizeof(*external));
    if (!external)
        return -ENOMEM;
    *external = (struct external){.ops = &external_direct_ops, .assoc = assoc, .socket = {.fd = -1}};
    int error = external_socket_open(external, family, external_direct_on_readable);
    if (error) {
        free(external);
        return error;
    }
    if (assoc->env->counts_icmp)
        icmp_keep(external->socket.fd, family);
    assoc->external[slot] = external;
    return 0;
}
