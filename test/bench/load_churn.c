/* Set up, use once, close, and again: one at a time. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "origin.h"
#include "payload.h"
#include "udp.h"

#define PATIENCE_MS 2000
#define DATAGRAM    2048
#define SETTLE_US   50000 /* the server is still closing what the last cycles opened */
#define EXCHANGE    64u

struct churn {
    const struct load *load;
    const struct settings *settings;
    struct report *report;
    int target_fd;
    struct origin target;
    union netaddr address;
    uint32_t cycle;
};

typedef void churn_cycle(struct churn *churn);

static void churn(struct churn *churn, churn_cycle *cycle)
{
    for (uint64_t end = now_ns() + warm_up_ns(churn->settings); now_ns() < end;)
        cycle(churn);
    usleep(SETTLE_US);
    report_begin(churn->report, churn->settings);
    uint32_t before = churn->cycle;
    for (uint64_t end = now_ns() + churn->settings->duration_ns; now_ns() < end;) {
        uint64_t start = now_ns();
        cycle(churn);
        histogram_add(&churn->report->latency, now_ns() - start);
    }
    usleep(SETTLE_US);
    report_end(churn->report, churn->settings);
    churn->report->relayed = churn->cycle - before;
    churn->report->sent = churn->report->relayed;
    close(churn->target_fd);
}

/* ---- associations ---- */

static void check_answer(struct churn *churn, const uint8_t *datagram, size_t len)
{
    struct stamp stamp;
    bool match;
    int header_len = origin_check(&churn->target, datagram, len, &match);
    if (header_len < 0 || payload_check(datagram + header_len, len - (size_t)header_len, &stamp) != PAYLOAD_GOOD) {
        churn->report->wrong_content++;
        report_wrong("association %u received %zu bytes that nobody sent", churn->cycle, len);
    } else if (stamp.association != churn->cycle) {
        churn->report->wrong_association++;
        report_wrong("association %u received a datagram of association %u", churn->cycle, stamp.association);
    } else if (!match) {
        churn->report->wrong_origin++;
        report_wrong("association %u received an answer whose header names another origin", churn->cycle);
    }
}

static void association_cycle(struct churn *churn)
{
    uint8_t datagram[DATAGRAM];
    struct association association = client_associate(&churn->settings->proxy);
    size_t header_len = churn->target.header_len;
    memcpy(datagram, churn->target.header, header_len);
    churn->cycle++;
    payload_write(datagram + header_len, churn->load->size, &(struct stamp){.association = churn->cycle});
    send(association.udp, datagram, header_len + churn->load->size, 0);

    union netaddr from;
    socklen_t from_len = sizeof(from);
    ssize_t len = -1;
    if (wait_readable(churn->target_fd, PATIENCE_MS))
        len = recvfrom(churn->target_fd, datagram, sizeof(datagram), 0, &from.sa, &from_len);
    if (len >= 0) {
        sendto(churn->target_fd, datagram, (size_t)len, 0, &from.sa, from_len);
        len = -1;
        if (wait_readable(association.udp, PATIENCE_MS))
            len = recv(association.udp, datagram, sizeof(datagram), 0);
    }
    if (len >= 0)
        check_answer(churn, datagram, (size_t)len);
    else
        churn->report->lost++;
    client_close(&association);
}

void load_churn(const struct load *load, const struct settings *settings, struct report *report)
{
    struct churn state = {.load = load, .settings = settings, .report = report};
    state.target_fd = target_udp(&state.address);
    state.target = origin_of(&state.address);
    churn(&state, association_cycle);
}

/* ---- connections ---- */

/*
 * The target answers and closes first, as web servers do: its port then holds TIME_WAIT, where it keeps nobody from
 * connecting. A client that closes first would run out of ports at this pace.
 */
static void connect_cycle(struct churn *churn)
{
    uint8_t buffer[EXCHANGE];
    size_t piece;
    const uint8_t *question = payload_stream(++churn->cycle, &piece);
    if (piece < EXCHANGE)
        question = payload_stream(0, &piece);
    int client = client_connect(&churn->settings->proxy, &churn->address);
    int target = accept4(churn->target_fd, NULL, NULL, SOCK_CLOEXEC);
    if (target < 0)
        bench_die(EXIT_SERVER, "accept: %s", strerror(errno));
    ssize_t there = -1, back = -1;
    if (send(client, question, EXCHANGE, MSG_NOSIGNAL) == (ssize_t)EXCHANGE && wait_readable(target, PATIENCE_MS))
        there = recv(target, buffer, EXCHANGE, MSG_WAITALL);
    if (there == (ssize_t)EXCHANGE && send(target, buffer, EXCHANGE, MSG_NOSIGNAL) == (ssize_t)EXCHANGE) {
        close(target);
        target = -1;
        back = recv(client, buffer, EXCHANGE, MSG_WAITALL);
    }
    if (back != (ssize_t)EXCHANGE) {
        churn->report->lost++;
        report_wrong("connection %u: the answer did not arrive", churn->cycle);
    } else if (memcmp(buffer, question, EXCHANGE) != 0) {
        churn->report->wrong_content++;
        report_wrong("connection %u: the answer is not what was sent", churn->cycle);
    } else if (recv(client, buffer, 1, 0) != 0) {
        churn->report->wrong_content++;
        report_wrong("connection %u: the target's end did not arrive", churn->cycle);
    }
    if (target >= 0)
        close(target);
    close(client);
}

void load_connect_churn(const struct load *load, const struct settings *settings, struct report *report)
{
    struct churn state = {.load = load, .settings = settings, .report = report};
    state.target_fd = target_listen(&state.address);
    churn(&state, connect_cycle);
}
