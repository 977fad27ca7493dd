/* From the internet to the client. */
#include "net/icmp.h"
#include "policy/hairpin.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/internal_tcp.h"
#include "proxy/assoc/names.h"

/* `extra`: bytes of each datagram that are no payload, and are not in its run's header either. */
static void flush(struct assoc *assoc, size_t extra)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    if (assoc->frames)
        frames_send(assoc->frames, &env->to_client, &tally);
    else if (env->to_client.count)
        dgram_io_send(env->dgrams, &assoc->client, &env->to_client, &tally);
    tally.bytes -= tally.datagrams * extra;
    assoc_flow_count_down(&assoc->flow, &env->metrics, &tally, tally.datagrams ? env_now(env) : 0);
}

void assoc_flush_down(struct assoc *assoc)
{
    flush(assoc, 0);
}

static union netaddr to_client(const struct assoc *assoc)
{
    return assoc->connected ? (union netaddr){0} : assoc->flow.client;
}

/* Makes a run one of the relay socket's: with a header that names the origin. */
static bool address_to_client(struct assoc *assoc, struct dgram_run *run)
{
    const struct socks5_udp_header header = {.destination = address_to_wire(&run->peer)};
    run->header_len = (uint8_t)socks5_udp_header_encode(run->header, sizeof(run->header), &header);
    if (run->seg + run->header_len > DGRAM_PAYLOAD_MAX) {
        assoc_drop(assoc, DROP_OVERSIZE, run->count);
        return false;
    }
    run->peer = to_client(assoc);
    return true;
}

/* Leaves of a run what a client over TCP is sent. Only its last may be smaller than the others. */
static bool fits_over_tcp(struct assoc *assoc, struct dgram_run *run)
{
    uint32_t most = assoc->env->config->udp.over_tcp_max;
    if (run->seg <= most)
        return true;
    bool last_fits = run->last <= most;
    assoc_drop(assoc, DROP_OVERSIZE, (uint32_t)run->count - last_fits);
    run->data = dgram_run_at(run, run->count - 1u);
    run->count = 1;
    run->seg = run->last;
    return last_fits;
}

/* Leaves of a run what the client may get. false: nothing. */
static bool admit_down(struct assoc *assoc, struct dgram_run *run)
{
    if (assoc->flow.client.sa.sa_family == AF_UNSPEC) {
        assoc_drop(assoc, DROP_NO_CLIENT, run->count);
        return false;
    }
    if (assoc->filter && !filter_admits(assoc->filter, &run->peer)) {
        assoc_drop(assoc, DROP_FILTERED, run->count);
        return false;
    }
    if (assoc->names)
        names_mark_answered(assoc->names, &run->peer);
    return assoc_within_rates(assoc, RATES_DOWN, run) && (!assoc->frames || fits_over_tcp(assoc, run));
}

void assoc_take_down(struct assoc *assoc, const struct dgram_run *run)
{
    struct dgram_batch *batch = &assoc->env->to_client;
    if (batch->count == DGRAM_BATCH_MAX)
        assoc_flush_down(assoc);
    struct dgram_run *out = &batch->runs[batch->count];
    *out = *run;
    if (admit_down(assoc, out) && (assoc->frames || address_to_client(assoc, out)))
        batch->count++;
}

void assoc_pass_down(struct assoc *assoc, const struct dgram_run *payloads, uint16_t header_len)
{
    struct dgram_batch *batch = &assoc->env->to_client;
    struct dgram_run run = *payloads;
    if (!admit_down(assoc, &run))
        return;
    if (assoc->frames && header_len > UINT8_MAX) { /* more than HDRLEN can tell */
        assoc_drop(assoc, DROP_OVERSIZE, run.count);
        return;
    }
    assoc_flush_down(assoc);
    run.peer = assoc->frames ? (union netaddr){0} : to_client(assoc);
    run.data -= header_len;
    run.seg = (uint16_t)(run.seg + header_len);
    run.last = (uint16_t)(run.last + header_len);
    batch->runs[batch->count++] = run;
    flush(assoc, assoc->frames ? header_len - FRAMES_LENGTHS : header_len);
}

static void count_icmp(struct metrics *metrics, int fd)
{
    uint32_t counts[ICMP_KIND_COUNT] = {0};
    icmp_take(fd, counts);
    metrics_add(&metrics->udp_icmp_port_unreachable_total, counts[ICMP_PORT_UNREACHABLE]);
    metrics_add(&metrics->udp_icmp_unreachable_total, counts[ICMP_UNREACHABLE]);
    metrics_add(&metrics->udp_icmp_too_big_total, counts[ICMP_TOO_BIG]);
    metrics_add(&metrics->udp_icmp_ttl_total, counts[ICMP_TTL]);
}

void assoc_on_external(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct external *external = arg;
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    if (env->counts_icmp) /* before datagrams are asked for: a pending error would come in their place */
        count_icmp(&env->metrics, fd);
    size_t count = dgram_io_recv(env->dgrams, &external->socket, env->received, RECEIVE_MAX);
    if (count)
        external->carried_ms = env_now(env);
    bool refused = !assoc_may_go_on(assoc);
    for (size_t i = 0; i < count; i++) {
        if (refused) {
            assoc_drop(assoc, DROP_REFUSED, env->received[i].count);
            continue;
        }
        hairpin_outward(&env->policy, &env->received[i].peer);
        assoc_take_down(assoc, &env->received[i]);
    }
    assoc_flush_down(assoc);
}
