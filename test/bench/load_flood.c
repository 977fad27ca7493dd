/* Peers that behave, beside a flood: what do they lose to it? */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo.h"
#include "udp.h"

#define FLOOD_SIZE 64
#define PACE_NS    NS_PER_MS /* a behaving peer sends no more often */

struct flood {
    int fd;
    bool connected;
    union netaddr to;
    uint8_t datagram[SOCKS5_UDP_HEADER_V4 + FLOOD_SIZE];
    size_t len;
    atomic_bool over;
};

static void *send_flood(void *arg)
{
    struct flood *flood = arg;
    struct udp_out *out = udp_out_new();
    while (!atomic_load_explicit(&flood->over, memory_order_relaxed)) {
        for (int i = 0; i < UDP_BATCH; i++)
            udp_queue(out, flood->datagram, flood->len, flood->connected ? NULL : &flood->to);
        udp_flush(out, flood->fd);
    }
    udp_out_free(out);
    return NULL;
}

/* A header for `to` and a payload that nobody looks at. */
static size_t wrap(uint8_t *datagram, const union netaddr *to)
{
    size_t host_len;
    const uint8_t *host = netaddr_host(to, &host_len);
    const struct socks5_udp_header header = {
        .destination = {
            .atyp = SOCKS5_ATYP_IPV4, .host_len = (uint8_t)host_len, .host = host, .port = netaddr_port(to)}};
    size_t len = socks5_udp_header_encode(datagram, SOCKS5_UDP_HEADER_V4, &header);
    memset(datagram + len, 'f', FLOOD_SIZE);
    return len + FLOOD_SIZE;
}

/* From the client into its association, or from the internet into the association's external port. Nobody reads what
 * comes out: the receivers' buffers drop it. */
static void aim(struct flood *flood, const struct association *association, int sink, const union netaddr *sink_at,
                bool down)
{
    flood->len = wrap(flood->datagram, sink_at);
    flood->fd = association->udp;
    flood->connected = true;
    if (!down)
        return;
    socklen_t len = sizeof(flood->to);
    if (send(association->udp, flood->datagram, flood->len, 0) < 0 || !wait_readable(sink, 2000) ||
        recvfrom(sink, flood->datagram, sizeof(flood->datagram), 0, &flood->to.sa, &len) < 0)
        bench_die(EXIT_SERVER, "the flooding association relays nothing");
    flood->fd = sink;
    flood->connected = false;
    flood->len = FLOOD_SIZE;
}

static void send_paced(struct echo *echo, unsigned count, uint64_t duration_ns)
{
    uint64_t start = now_ns(), next = start;
    while (now_ns() - start < duration_ns) {
        if (now_ns() >= next) {
            for (unsigned i = 0; i < count; i++)
                echo_send(echo, i);
            next += PACE_NS;
        }
        echo_turn(echo);
    }
    echo_drain(echo);
}

void load_flood(const struct load *load, const struct settings *settings, struct report *report)
{
    static struct flood flood;
    union netaddr sink_at;
    int sink = target_udp(settings, &sink_at);
    struct association association = client_associate(&settings->proxy);
    struct echo *echo = echo_new(settings, report, load->count, load->window, load->size, 1);
    memset(&flood, 0, sizeof(flood));
    aim(&flood, &association, sink, &sink_at, load->down);

    pthread_t thread;
    if (pthread_create(&thread, NULL, send_flood, &flood) != 0)
        bench_die(EXIT_SERVER, "cannot start a thread");
    report_begin(report, settings);
    send_paced(echo, load->count, settings->duration_ns);
    report_end(report, settings);
    atomic_store(&flood.over, true);
    pthread_join(thread, NULL);
    echo_free(echo);
    client_close(&association);
    close(sink);
}
