#include "echo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "origin.h"
#include "payload.h"
#include "udp.h"

#define TARGETS_MAX  8
#define DATAGRAM_MAX 2048
#define TURN_MS      1
#define GIVE_UP_NS   NS_PER_S /* a datagram that takes longer is lost */
#define SWEEP_NS     (100 * NS_PER_MS)
#define EVENTS       64
#define TARGET_BIT   UINT32_C(0x80000000) /* marks a target's number in an epoll event */
#define CLOCK_NUMBER UINT32_MAX           /* the clock's, in an epoll event */
#define PORTS        65536

struct slot {
    uint64_t sent_ns; /* 0 = free */
    uint32_t generation;
};

/* An association numbers its datagrams: the last one that it sent, and the last ones that arrived. */
struct sequence {
    uint32_t sent, at_target, at_client;
};

struct echo {
    struct report *report;
    unsigned count, window, size, target_count, in_flight;
    bool refill;
    int epoll, clock;
    unsigned paced; /* the association that the clock lets send next */
    uint64_t next_sweep;
    struct association *associations;
    struct slot *slots;
    struct sequence *sequences;
    int target_fds[TARGETS_MAX];
    struct origin targets[TARGETS_MAX];
    uint32_t port_owner[PORTS]; /* the association, counted from 1, that a port of the server's speaks for */
    struct udp_in *in;
    struct udp_out *out;
    uint8_t room[UDP_BATCH][DATAGRAM_MAX];
};

static void watch(struct echo *echo, int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(echo->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        bench_die(EXIT_SERVER, "epoll_ctl: %s", strerror(errno));
}

struct echo *echo_new(const struct settings *settings, struct report *report, unsigned count, unsigned window,
                      unsigned size, unsigned targets)
{
    const bool direct = settings_direct(settings);
    struct echo *echo = calloc(1, sizeof(*echo));
    if (!echo || !(echo->associations = calloc(count, sizeof(*echo->associations))) ||
        !(echo->slots = calloc((size_t)count * window, sizeof(*echo->slots))) ||
        !(echo->sequences = calloc(count, sizeof(*echo->sequences))))
        bench_die(EXIT_SERVER, "out of memory");
    echo->report = report;
    echo->count = count;
    echo->window = window;
    echo->size = size;
    echo->target_count = targets;
    echo->in = udp_in_new(false);
    echo->out = udp_out_new();
    echo->epoll = epoll_create1(EPOLL_CLOEXEC);
    echo->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    watch(echo, echo->clock, CLOCK_NUMBER);
    for (unsigned i = 0; i < targets; i++) {
        union netaddr address;
        echo->target_fds[i] = target_udp(settings, &address);
        echo->targets[i] = direct ? origin_direct(&address) : origin_of(&address);
        watch(echo, echo->target_fds[i], TARGET_BIT | i);
    }
    for (unsigned i = 0; i < count; i++) {
        echo->associations[i] = direct ? client_direct(&echo->targets[0].address) : client_associate(&settings->proxy);
        watch(echo, echo->associations[i].udp, i);
    }
    return echo;
}

void echo_free(struct echo *echo)
{
    for (unsigned i = 0; i < echo->count; i++)
        client_close(&echo->associations[i]);
    for (unsigned i = 0; i < echo->target_count; i++)
        close(echo->target_fds[i]);
    close(echo->clock);
    close(echo->epoll);
    udp_in_free(echo->in);
    free(echo->out);
    free(echo->sequences);
    free(echo->slots);
    free(echo->associations);
    free(echo);
}

/* ---- the client's side ---- */

static void queue_slot(struct echo *echo, unsigned association, unsigned slot, unsigned place, uint64_t now)
{
    struct slot *state = &echo->slots[(size_t)association * echo->window + slot];
    state->generation = ++echo->sequences[association].sent;
    struct stamp stamp = {association, slot, state->generation, (association + state->generation) % echo->target_count,
                          now};
    const struct origin *target = &echo->targets[stamp.target];
    uint8_t *datagram = echo->room[place];
    memcpy(datagram, target->header, target->header_len);
    payload_write(datagram + target->header_len, echo->size, &stamp);
    udp_queue(echo->out, datagram, target->header_len + echo->size, NULL);
    state->sent_ns = now;
    echo->in_flight++;
    echo->report->sent++;
    echo->report->whole_sent++;
}

void echo_send(struct echo *echo, unsigned association)
{
    uint64_t now = now_ns();
    unsigned place = 0;
    for (unsigned slot = 0; slot < echo->window; slot++) {
        if (echo->slots[(size_t)association * echo->window + slot].sent_ns)
            continue;
        queue_slot(echo, association, slot, place++, now);
        if (place == UDP_BATCH) {
            udp_flush(echo->out, echo->associations[association].udp);
            place = 0;
        }
    }
    if (place > 0)
        udp_flush(echo->out, echo->associations[association].udp);
}

/* With several targets the ways differ, and nothing says which datagram overtakes which. */
static void check_order(struct echo *echo, uint32_t *last, uint32_t number)
{
    if (echo->target_count == 1 && number < *last)
        echo->report->reordered++;
    else
        *last = number;
}

/* What an association received: the slot that it frees, or NULL when it frees none. */
static struct slot *accept_answer(struct echo *echo, unsigned association, const struct udp_run *run, uint64_t now)
{
    struct report *report = echo->report;
    struct stamp stamp;
    bool match;
    int header_len = origin_check(&echo->targets[0], run->data, run->len, &match);
    if (header_len < 0) {
        report->wrong_content++;
        report_wrong("association %u received %zu bytes without a SOCKS header", association, run->len);
        return NULL;
    }
    enum payload_verdict verdict = payload_check(run->data + header_len, run->len - (size_t)header_len, &stamp);
    if (verdict == PAYLOAD_STRAY) {
        report->stray++;
        return NULL;
    }
    if (verdict == PAYLOAD_BROKEN || stamp.slot >= echo->window || stamp.target >= echo->target_count) {
        report->wrong_content++;
        report_wrong("association %u received %zu bytes that nobody sent", association, run->len);
        return NULL;
    }
    if (stamp.association != association) {
        report->wrong_association++;
        report_wrong("association %u received a datagram of association %u", association, stamp.association);
        return NULL;
    }
    if (!match || stamp.target != 0)
        origin_check(&echo->targets[stamp.target], run->data, run->len, &match);
    if (!match) {
        report->wrong_origin++;
        report_wrong("association %u received an answer whose header names another origin", association);
    }
    check_order(echo, &echo->sequences[association].at_client, stamp.generation);
    struct slot *slot = &echo->slots[(size_t)association * echo->window + stamp.slot];
    if (!slot->sent_ns || stamp.generation != slot->generation) {
        report->late++;
        return NULL;
    }
    histogram_add(&report->latency, now - slot->sent_ns);
    return slot;
}

static void on_client(struct echo *echo, unsigned association)
{
    struct udp_run runs[UDP_BATCH];
    size_t count = udp_receive(echo->in, echo->associations[association].udp, runs);
    uint64_t now = now_ns();
    unsigned freed = 0;
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = accept_answer(echo, association, &runs[i], now);
        if (!slot)
            continue;
        slot->sent_ns = 0;
        echo->in_flight--;
        echo->report->relayed += 2; /* there and back */
        echo->report->whole_answered++;
        if (echo->refill)
            queue_slot(echo, association, (unsigned)(slot - &echo->slots[(size_t)association * echo->window]), freed++,
                       now);
    }
    if (freed > 0)
        udp_flush(echo->out, echo->associations[association].udp);
}

/* ---- the targets' side ---- */

/* Two associations that speak from one address of the server's cannot both get their answers. */
static void check_request(struct echo *echo, const struct udp_run *run)
{
    struct stamp stamp;
    if (payload_check(run->data, run->len, &stamp) != PAYLOAD_GOOD || stamp.association >= echo->count)
        return; /* told by the client, whom it goes back to */
    check_order(echo, &echo->sequences[stamp.association].at_target, stamp.generation);
    uint32_t *owner = &echo->port_owner[netaddr_port(run->from)];
    if (*owner == 0)
        *owner = stamp.association + 1;
    if (*owner == stamp.association + 1)
        return;
    echo->report->wrong_association++;
    report_wrong("associations %u and %u speak to the target from the same port %u", *owner - 1, stamp.association,
                 netaddr_port(run->from));
}

static void on_target(struct echo *echo, unsigned target)
{
    struct udp_run runs[UDP_BATCH];
    size_t count = udp_receive(echo->in, echo->target_fds[target], runs);
    for (size_t i = 0; i < count; i++) {
        check_request(echo, &runs[i]);
        udp_queue(echo->out, runs[i].data, runs[i].len, runs[i].from);
    }
    udp_flush(echo->out, echo->target_fds[target]);
}

/* ---- the clock ---- */

static void send_next(struct echo *echo, unsigned association, uint64_t now)
{
    unsigned number = echo->sequences[association].sent % echo->window;
    struct slot *slot = &echo->slots[(size_t)association * echo->window + number];
    if (slot->sent_ns) { /* the answer is late by a whole turn of the window */
        echo->in_flight--;
        echo->report->lost++;
    }
    queue_slot(echo, association, number, 0, now);
    udp_flush(echo->out, echo->associations[association].udp);
}

static void on_clock(struct echo *echo)
{
    uint64_t due, now = now_ns();
    if (read(echo->clock, &due, sizeof(due)) != sizeof(due))
        return;
    while (due-- > 0) {
        send_next(echo, echo->paced, now);
        echo->paced = (echo->paced + 1) % echo->count;
    }
}

void echo_pace(struct echo *echo, unsigned per_second)
{
    struct itimerspec each = {0};
    if (per_second)
        each.it_value.tv_nsec = each.it_interval.tv_nsec = (long)(NS_PER_S / per_second);
    timerfd_settime(echo->clock, 0, &each, NULL);
}

/* ---- turning ---- */

static void sweep(struct echo *echo, uint64_t now)
{
    for (unsigned i = 0; i < echo->count; i++) {
        unsigned lost = 0;
        for (unsigned j = 0; j < echo->window; j++) {
            struct slot *slot = &echo->slots[(size_t)i * echo->window + j];
            if (slot->sent_ns && now > slot->sent_ns + GIVE_UP_NS) {
                slot->sent_ns = 0;
                lost++;
            }
        }
        echo->in_flight -= lost;
        echo->report->lost += lost;
        if (lost > 0 && echo->refill)
            echo_send(echo, i);
    }
}

void echo_turn(struct echo *echo)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(echo->epoll, events, EVENTS, TURN_MS);
    for (int i = 0; i < count; i++) {
        uint32_t number = events[i].data.u32;
        if (number == CLOCK_NUMBER)
            on_clock(echo);
        else if (number & TARGET_BIT)
            on_target(echo, number & ~TARGET_BIT);
        else
            on_client(echo, number);
    }
    uint64_t now = now_ns();
    if (now >= echo->next_sweep) {
        sweep(echo, now);
        echo->next_sweep = now + SWEEP_NS;
    }
}

void echo_refill(struct echo *echo, bool refill)
{
    echo->refill = refill;
}

unsigned echo_in_flight(const struct echo *echo)
{
    return echo->in_flight;
}

void echo_drain(struct echo *echo)
{
    echo->refill = false;
    while (echo->in_flight > 0)
        echo_turn(echo);
}
