/*
 * Set up, use once, close, and again. A few at a time and in step: a server that had to be woken for each message
 * would be measured by the cost of waking up.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "origin.h"
#include "payload.h"

#define PATIENCE_MS 2000
#define DATAGRAM    2048
#define SETTLE_US   50000 /* the server is still closing what the last cycles opened */
#define EXCHANGE    64u
#define TOGETHER    16

struct churn {
    const struct settings *settings;
    struct report *report;
    size_t size;
    int target_fd;
    union netaddr address;
    struct origin target;
    uint32_t cycle;
};

/* TOGETHER cycles; numbers them on from churn->cycle. */
typedef void churn_step(struct churn *churn);

static void churn(struct churn *churn, const struct load *load, churn_step *step)
{
    const unsigned uncounted = load->before && churn->settings->count ? churn->settings->count : load->before;
    for (; churn->cycle < uncounted; churn->cycle += TOGETHER)
        step(churn);
    for (uint64_t end = now_ns() + warm_up_ns(churn->settings); now_ns() < end; churn->cycle += TOGETHER)
        step(churn);
    usleep(SETTLE_US);
    report_begin(churn->report, churn->settings);
    uint32_t before = churn->cycle;
    for (uint64_t end = now_ns() + churn->settings->duration_ns; now_ns() < end; churn->cycle += TOGETHER)
        step(churn);
    usleep(SETTLE_US);
    report_end(churn->report, churn->settings);
    churn->report->sent = churn->cycle - before;
    churn->report->relayed = churn->report->sent - churn->report->lost;
    close(churn->target_fd);
}

/* ---- associations ---- */

static void check_answer(struct churn *churn, uint32_t cycle, const uint8_t *datagram, size_t len)
{
    struct stamp stamp;
    bool match;
    int header_len = origin_check(&churn->target, datagram, len, &match);
    if (header_len < 0 || payload_check(datagram + header_len, len - (size_t)header_len, &stamp) != PAYLOAD_GOOD) {
        churn->report->wrong_content++;
        report_wrong("association %u received %zu bytes that nobody sent", cycle, len);
    } else if (stamp.association != cycle) {
        churn->report->wrong_association++;
        report_wrong("association %u received a datagram of association %u", cycle, stamp.association);
    } else if (!match) {
        churn->report->wrong_origin++;
        report_wrong("association %u received an answer whose header names another origin", cycle);
    }
}

static void speak(struct churn *churn, int udp, uint32_t cycle)
{
    uint8_t datagram[DATAGRAM];
    size_t header_len = churn->target.header_len;
    memcpy(datagram, churn->target.header, header_len);
    payload_write(datagram + header_len, churn->size, &(struct stamp){.association = cycle});
    send(udp, datagram, header_len + churn->size, 0);
}

static void answer(const struct churn *churn)
{
    uint8_t datagram[DATAGRAM];
    union netaddr from;
    socklen_t from_len = sizeof(from);
    if (!wait_readable(churn->target_fd, PATIENCE_MS))
        return;
    ssize_t len = recvfrom(churn->target_fd, datagram, sizeof(datagram), 0, &from.sa, &from_len);
    if (len >= 0)
        sendto(churn->target_fd, datagram, (size_t)len, 0, &from.sa, from_len);
}

static void association_step(struct churn *churn)
{
    const union netaddr *proxy = &churn->settings->proxy;
    struct association associations[TOGETHER];
    int controls[TOGETHER];
    for (int i = 0; i < TOGETHER; i++)
        controls[i] = client_greet(proxy);
    for (int i = 0; i < TOGETHER; i++)
        client_ask_relay(controls[i], proxy);
    for (uint32_t i = 0; i < TOGETHER; i++) {
        associations[i] = client_relay(controls[i], proxy);
        speak(churn, associations[i].udp, churn->cycle + i);
    }
    for (int i = 0; i < TOGETHER; i++)
        answer(churn);
    for (uint32_t i = 0; i < TOGETHER; i++) {
        uint8_t datagram[DATAGRAM];
        ssize_t len = -1;
        if (wait_readable(associations[i].udp, PATIENCE_MS))
            len = recv(associations[i].udp, datagram, sizeof(datagram), 0);
        if (len >= 0)
            check_answer(churn, churn->cycle + i, datagram, (size_t)len);
        else
            churn->report->lost++;
        client_close(&associations[i]);
    }
}

void load_churn(const struct load *load, const struct settings *settings, struct report *report)
{
    struct churn state = {.settings = settings, .report = report, .size = load->size};
    state.target_fd = target_udp(settings, &state.address);
    state.target = origin_of(&state.address);
    churn(&state, load, association_step);
}

/* The report is that of the last of `cycles`. */
static void count_cycles(struct churn *churn, uint32_t cycles, uint32_t counted)
{
    for (const uint32_t end = churn->cycle + cycles - counted; churn->cycle < end; churn->cycle += TOGETHER)
        association_step(churn);
    usleep(SETTLE_US);
    report_begin(churn->report, churn->settings);
    for (const uint32_t end = churn->cycle + counted; churn->cycle < end; churn->cycle += TOGETHER)
        association_step(churn);
    usleep(SETTLE_US);
    report_end(churn->report, churn->settings);
}

/* What associations leave behind, such as ports that rest, may cost those that come later. */
void load_churn_growth(const struct load *load, const struct settings *settings, struct report *report)
{
    enum { COUNTED = 3008, WARM_UP = 512 };
    const uint32_t cycles = settings->count > 2 * COUNTED ? settings->count : load->count;
    struct churn state = {.settings = settings, .report = report, .size = load->size};
    state.target_fd = target_udp(settings, &state.address);
    state.target = origin_of(&state.address);
    count_cycles(&state, WARM_UP + COUNTED, COUNTED);
    const uint64_t first_ns = report->server_cpu_ns;
    count_cycles(&state, cycles - COUNTED, COUNTED);
    report->growth = first_ns ? (double)report->server_cpu_ns / (double)first_ns : 0;
    report->sent = COUNTED;
    report->relayed = COUNTED - (report->lost < COUNTED ? report->lost : 0);
    close(state.target_fd);
}

/* ---- connections ---- */

/*
 * The target answers and closes first, as web servers do: its port then holds TIME_WAIT, where it keeps nobody from
 * connecting. A client that closes first would run out of ports at this pace.
 */
static void answer_connection(const struct churn *churn)
{
    uint8_t buffer[EXCHANGE];
    int target = accept4(churn->target_fd, NULL, NULL, SOCK_CLOEXEC);
    if (target < 0)
        bench_die(EXIT_SERVER, "accept: %s", strerror(errno));
    if (wait_readable(target, PATIENCE_MS) && recv(target, buffer, EXCHANGE, MSG_WAITALL) == EXCHANGE)
        send(target, buffer, EXCHANGE, MSG_NOSIGNAL);
    close(target);
}

static void check_connection(struct churn *churn, int client, uint32_t cycle)
{
    uint8_t buffer[EXCHANGE];
    if (recv(client, buffer, EXCHANGE, MSG_WAITALL) != EXCHANGE) {
        churn->report->lost++;
        return;
    }
    if (!payload_stream_check(cycle, buffer, EXCHANGE)) {
        churn->report->wrong_content++;
        report_wrong("connection %u: the answer is not what was sent", cycle);
    } else if (recv(client, buffer, 1, 0) != 0) {
        churn->report->wrong_content++;
        report_wrong("connection %u: the target's end did not arrive", cycle);
    }
}

static void connection_step(struct churn *churn)
{
    int clients[TOGETHER];
    for (int i = 0; i < TOGETHER; i++)
        clients[i] = client_greet(&churn->settings->proxy);
    for (int i = 0; i < TOGETHER; i++)
        client_ask(clients[i], SOCKS5_COMMAND_CONNECT, &churn->address);
    for (uint32_t i = 0; i < TOGETHER; i++) {
        client_answer(clients[i]);
        send(clients[i], payload_stream(churn->cycle + i), EXCHANGE, MSG_NOSIGNAL);
    }
    for (int i = 0; i < TOGETHER; i++)
        answer_connection(churn);
    for (uint32_t i = 0; i < TOGETHER; i++) {
        check_connection(churn, clients[i], churn->cycle + i);
        close(clients[i]);
    }
}

void load_connect_churn(const struct load *load, const struct settings *settings, struct report *report)
{
    struct churn state = {.settings = settings, .report = report};
    state.target_fd = target_listen(settings, &state.address);
    churn(&state, load, connection_step);
}
