/* Bulk: datagrams one way, as many in flight as the window holds. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "origin.h"
#include "payload.h"
#include "udp.h"

#define BURST      32u /* datagrams that leave together: one UDP_SEGMENT send, or one sendmmsg */
#define BURST_ROOM 65536
#define STALL_MS   200 /* nothing arrived for this long: what is in flight is lost */

struct flow {
    const struct load *load;
    struct report *report;
    int from, to;
    const union netaddr *destination; /* NULL: the sending socket's peer */
    struct origin target;
    size_t sent_prefix; /* bytes of SOCKS header before each payload as sent */
    bool received_prefix;
    uint32_t sent, acknowledged; /* datagrams; the latter: the highest that arrived, and all before it */
    uint64_t arrived;
    struct udp_in *in;
    struct udp_out *out;
    uint8_t room[BURST_ROOM];
};

static void send_burst(struct flow *flow)
{
    size_t each = flow->sent_prefix + flow->load->size;
    uint64_t now = now_ns();
    for (size_t i = 0; i < BURST; i++) {
        uint8_t *datagram = flow->room + i * each;
        memcpy(datagram, flow->target.header, flow->sent_prefix);
        payload_write(datagram + flow->sent_prefix, flow->load->size,
                      &(struct stamp){.generation = flow->sent++, .sent_ns = now});
        if (!flow->load->segments)
            udp_queue(flow->out, datagram, each, flow->destination);
    }
    if (flow->load->segments)
        udp_send_segments(flow->from, flow->room, BURST * each, each, flow->destination);
    else
        udp_flush(flow->out, flow->from);
}

static void accept_datagram(struct flow *flow, const uint8_t *datagram, size_t len, uint64_t now)
{
    struct report *report = flow->report;
    struct stamp stamp;
    bool match = true;
    int header_len = flow->received_prefix ? origin_check(&flow->target, datagram, len, &match) : 0;
    enum payload_verdict verdict =
        header_len < 0 ? PAYLOAD_BROKEN : payload_check(datagram + header_len, len - (size_t)header_len, &stamp);
    if (verdict == PAYLOAD_STRAY) {
        report->stray++;
    } else if (verdict == PAYLOAD_BROKEN || stamp.generation >= flow->sent) {
        report->wrong_content++;
        report_wrong("a datagram of %zu bytes arrived that nobody sent", len);
    } else if (!match) {
        report->wrong_origin++;
        report_wrong("a datagram arrived whose header names another origin");
    } else if (stamp.generation < flow->acknowledged) {
        report->late++; /* out of order, twice, or after it was given up */
    } else {
        flow->acknowledged = stamp.generation + 1;
        flow->arrived++;
        histogram_add(&report->latency, now - stamp.sent_ns);
    }
}

static void receive(struct flow *flow)
{
    struct udp_run runs[UDP_BATCH];
    size_t count = udp_receive(flow->in, flow->to, runs);
    uint64_t now = now_ns();
    for (size_t i = 0; i < count; i++) {
        for (size_t offset = 0; offset < runs[i].len; offset += runs[i].segment) {
            size_t left = runs[i].len - offset;
            accept_datagram(flow, runs[i].data + offset, left < runs[i].segment ? left : runs[i].segment, now);
        }
    }
}

static void turn(struct flow *flow)
{
    while (flow->sent - flow->acknowledged + BURST <= flow->load->window)
        send_burst(flow);
    if (wait_readable(flow->to, STALL_MS))
        receive(flow);
    else
        flow->acknowledged = flow->sent;
}

static void drain(struct flow *flow)
{
    while (flow->acknowledged < flow->sent && wait_readable(flow->to, STALL_MS))
        receive(flow);
}

/* The address that the association speaks from, which a bulk sender towards the client needs. */
static union netaddr meet(struct flow *flow, const struct association *association, int target_fd)
{
    uint8_t datagram[SOCKS5_UDP_HEADER_V6 + PAYLOAD_MIN];
    memcpy(datagram, flow->target.header, flow->target.header_len);
    payload_write(datagram + flow->target.header_len, PAYLOAD_MIN, &(struct stamp){0});
    send(association->udp, datagram, flow->target.header_len + PAYLOAD_MIN, 0);
    struct udp_run runs[UDP_BATCH];
    if (!wait_readable(target_fd, 2000) || udp_receive(flow->in, target_fd, runs) == 0)
        bench_die(EXIT_SERVER, "the first datagram did not arrive");
    return *runs[0].from;
}

void load_flow(const struct load *load, const struct settings *settings, struct report *report)
{
    static struct flow flow; /* large for a stack */
    union netaddr address;
    int target_fd = target_udp(settings, &address);
    struct association association = client_associate(&settings->proxy);
    flow = (struct flow){.load = load, .report = report, .target = origin_of(&address)};
    flow.in = udp_in_new(load->segments);
    flow.out = udp_out_new();
    union netaddr external = meet(&flow, &association, target_fd);
    flow.from = load->down ? target_fd : association.udp;
    flow.to = load->down ? association.udp : target_fd;
    flow.destination = load->down ? &external : NULL;
    flow.sent_prefix = load->down ? 0 : flow.target.header_len;
    flow.received_prefix = load->down;
    if (load->segments)
        udp_join(flow.to);

    for (uint64_t end = now_ns() + warm_up_ns(settings); now_ns() < end;)
        turn(&flow);
    drain(&flow);

    report_begin(report, settings);
    uint32_t sent = flow.sent;
    uint64_t arrived = flow.arrived;
    for (uint64_t end = now_ns() + settings->duration_ns; now_ns() < end;)
        turn(&flow);
    drain(&flow);
    report_end(report, settings);

    report->sent = flow.sent - sent;
    report->lost = report->sent - (flow.arrived - arrived);
    report->relayed = (flow.arrived - arrived) * load->size;
    client_close(&association);
    close(target_fd);
    udp_in_free(flow.in);
    free(flow.out);
}
