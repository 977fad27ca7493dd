/* How long is the way, with the proxy and without, and what gets lost on it? */
#include <string.h>
#include <unistd.h>

#include "check/measure.h"
#include "check/peer/peer_ask.h"
#include "check/steps/steps.h"

/* ---- delay ---- */

#define PINGS       50
#define PINGS_MIN   5
#define PINGS_FIRST 3    /* that nobody answers: there is no way. One may get lost */
#define PING_WAIT   1000 /* ms */
#define PINGS_TOTAL 6000
#define PAUSE_US    5000

struct pings {
    uint32_t us[PINGS];
    size_t count;
};

/* One question, one answer; false: none in time. */
static bool ping(const struct peer_line *line, uint32_t *us)
{
    struct stun_message request = {.class = STUN_REQUEST, .method = STUN_BINDING}, answer;
    uint8_t bytes[STUN_MESSAGE_MAX];
    stun_new_transaction(request.transaction);
    size_t len = stun_encode(bytes, sizeof(bytes), &request);
    if (line->key)
        len = peer_seal(bytes, len, sizeof(bytes), line->key);
    uint64_t before = clock_us(), deadline = clock_ms() + PING_WAIT + line->rtt_ms;
    if (channel_send(line->channel, &line->to, bytes, len) != 0)
        return false;
    while (clock_ms() < deadline && peer_hear(line, deadline))
        if (stun_decode(line->room->payload, line->room->len, &answer) > 0 &&
            memcmp(answer.transaction, request.transaction, sizeof(answer.transaction)) == 0) {
            *us = (uint32_t)(clock_us() - before);
            return true;
        }
    return false;
}

static void ping_often(const struct peer_line *line, struct pings *pings)
{
    uint64_t end = clock_ms() + PINGS_TOTAL;
    uint32_t us;
    for (unsigned i = 0; i < PINGS_MIN || (i < PINGS && clock_ms() < end); i++) {
        if (ping(line, &us))
            pings->us[pings->count++] = us;
        else if (pings->count == 0 && i + 1 == PINGS_FIRST)
            return;
        usleep(PAUSE_US);
    }
}

static struct peer_line line_to(struct check *check, struct channel *channel, int family)
{
    return (struct peer_line){.channel = channel,
                              .to = *io_of_family(&check->far_end.addresses, family),
                              .key = check->far_end.key,
                              .rtt_ms = check->answer.rtt_ms,
                              .room = &check->datagram};
}

static double ms(uint32_t us)
{
    return (double)us / 1000;
}

static void say_delay(struct check_result *result, struct pings *through, struct pings *straight)
{
    uint32_t shake = jitter(through->us, through->count), with = median(through->us, through->count);
    uint32_t without = median(straight->us, straight->count);
    result_data(result, "through_ms", json_real(ms(with)));
    result_data(result, "jitter_ms", json_real(ms(shake)));
    if (straight->count < PINGS_MIN) {
        result_say(result, CHECK_OK,
                   "%.2f ms through the proxy, jitter %.2f ms; without it the far end does not answer", ms(with),
                   ms(shake));
        return;
    }
    double added = ms(with) - ms(without);
    result_data(result, "straight_ms", json_real(ms(without)));
    result_data(result, "added_ms", json_real(added));
    result_say(result, CHECK_OK, "%.2f ms through the proxy, jitter %.2f ms; %.2f ms without it: %+.2f ms", ms(with),
               ms(shake), ms(without), added);
}

void step_delay(struct check *check, int family, struct check_result *result)
{
    struct association association;
    struct channel straight = {.kind = CHANNEL_STRAIGHT};
    struct pings with = {.count = 0}, without = {.count = 0};
    struct peer_line through_line = line_to(check, &association.channel, family);
    struct peer_line straight_line = line_to(check, &straight, family);
    const union netaddr any = netaddr_any(family);
    if (check_associate(check, &association))
        ping_often(&through_line, &with);
    straight.fd = io_udp(&any);
    if (straight.fd >= 0) {
        ping_often(&straight_line, &without);
        close(straight.fd);
    }
    association_close(&association);
    if (with.count < PINGS_MIN)
        result_say(result, CHECK_FAILED, "%zu of %d questions were answered", with.count, PINGS);
    else
        say_delay(result, &with, &without);
}

/* ---- loss ---- */

#define FLIGHT        200
#define FLIGHT_LEN    200 /* bytes, about what a game or a call sends */
#define FLIGHT_GAP    10  /* ms */
#define FLIGHT_LINGER 1000

/* No STUN, and numbered. */
static void mark(uint8_t bytes[FLIGHT_LEN], unsigned number)
{
    memset(bytes, 0xff, FLIGHT_LEN);
    bytes[1] = (uint8_t)(number >> 8);
    bytes[2] = (uint8_t)number;
}

static void collect(const struct peer_line *line, struct arrivals *arrivals, uint64_t deadline)
{
    while (clock_ms() < deadline && peer_hear(line, deadline))
        if (line->room->len == FLIGHT_LEN && line->room->payload[0] == 0xff)
            arrivals_note(arrivals, (unsigned)(line->room->payload[1] << 8 | line->room->payload[2]));
}

static void fly(const struct peer_line *line, struct arrivals *arrivals)
{
    uint8_t bytes[FLIGHT_LEN];
    uint64_t next = clock_ms();
    for (unsigned i = 0; i < FLIGHT; i++) {
        mark(bytes, i);
        channel_send(line->channel, &line->to, bytes, sizeof(bytes));
        next += FLIGHT_GAP;
        collect(line, arrivals, next);
    }
    for (uint64_t end = clock_ms() + FLIGHT_LINGER + line->rtt_ms;
         arrivals_lost(arrivals, FLIGHT) > 0 && clock_ms() < end;)
        collect(line, arrivals, clock_ms() + FLIGHT_GAP);
}

static void say_loss(struct check_result *result, const struct arrivals *arrivals, unsigned lost_up)
{
    unsigned lost = arrivals_lost(arrivals, FLIGHT), doubled = arrivals_doubled(arrivals, FLIGHT);
    unsigned up = lost_up < lost ? lost_up : lost;
    result_data(result, "sent", json_integer(FLIGHT));
    result_data(result, "lost_up", json_integer(up));
    result_data(result, "lost_down", json_integer(lost - up));
    result_data(result, "duplicated", json_integer(doubled));
    result_data(result, "reordered", json_integer(arrivals->late));
    if (lost + doubled + arrivals->late == 0) {
        result_say(result, CHECK_OK, "none of %d datagrams, 100 in a second, is lost, doubled or late", FLIGHT);
        return;
    }
    result_say(result, lost * 100 > FLIGHT ? CHECK_WARNING : CHECK_INFO,
               "of %d datagrams, 100 in a second, %u are lost on the way there and %u on the way back, %u doubled, %u "
               "out of order",
               FLIGHT, up, lost - up, doubled, arrivals->late);
    if (lost * 100 > FLIGHT) {
        result_cause(result, "a bad or busy network, a limit on the rate of UDP, or a busy proxy");
        result_fix(result, "compare with ping to the proxy, and from the proxy's host to the far end");
    }
}

void step_loss(struct check *check, int family, struct check_result *result)
{
    static const struct peer_request report = {.delay_s = 0};
    struct association association;
    struct arrivals arrivals = {.last = 0};
    struct peer_line line = line_to(check, &association.channel, family);
    struct peer_answer before, after;
    bool ready = check_associate(check, &association) && peer_ask(&line, &report, &before);
    if (ready)
        fly(&line, &arrivals);
    if (!ready || !peer_ask(&line, &report, &after)) {
        result_say(result, CHECK_FAILED, "the far end does not answer any more");
    } else {
        unsigned came = after.plain_count - before.plain_count;
        check->lost = arrivals_lost(&arrivals, FLIGHT);
        say_loss(result, &arrivals, came < FLIGHT ? FLIGHT - came : 0);
    }
    association_close(&association);
}
