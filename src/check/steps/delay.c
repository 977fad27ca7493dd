/* How long does a datagram take, with the proxy and without, and how many get lost? */
#include <string.h>
#include <unistd.h>

#include "check/measure.h"
#include "check/steps/steps.h"

static const char lossy_network[] = "a weak or busy network, a limit on the rate of UDP, or a busy proxy";
static const char compare_pings[] = "compare with ping to the proxy, and from the proxy's host to the test server";

/* ---- delay ---- */

#define PINGS       50
#define PINGS_STUN  20 /* a server of others is asked less */
#define PINGS_MIN   5
#define PINGS_FIRST 3    /* when none of them is answered, there is no way. One may get lost */
#define PING_WAIT   1000 /* ms */
#define PINGS_TOTAL 6000
#define PAUSE_US    5000

struct pings {
    uint32_t us[PINGS];
    size_t count, asked;
};

static void ping_often(const struct server_line *line, struct pings *pings)
{
    unsigned wanted = line->key ? PINGS : PINGS_STUN;
    uint64_t end = clock_ms() + PINGS_TOTAL;
    for (unsigned i = 0; i < PINGS_MIN || (i < wanted && clock_ms() < end); i++) {
        struct stun_question ping = {.once = true};
        pings->asked++;
        if (stun_ask(line, &ping, 1, PING_WAIT + line->rtt_ms) == 1)
            pings->us[pings->count++] = ping.rtt_us;
        else if (pings->count == 0 && i + 1 == PINGS_FIRST)
            return;
        usleep(PAUSE_US);
    }
}

static double in_ms(uint32_t us)
{
    return (double)us / 1000;
}

/* What STUN shows of packet loss: the test of it needs a peer. */
static const char *describe_unanswered(const struct pings *pings, char text[96])
{
    text[0] = '\0';
    if (pings->count < pings->asked)
        snprintf(text, 96, "; %zu of %zu questions got no answer through the proxy", pings->asked - pings->count,
                 pings->asked);
    return text;
}

static void say_delay(struct check_result *result, struct pings *through, struct pings *direct)
{
    char lost[96];
    describe_unanswered(through, lost);
    double variation = in_ms(jitter(through->us, through->count)), with = in_ms(median(through->us, through->count));
    double without = in_ms(median(direct->us, direct->count)), added = with - without;
    size_t unanswered = through->asked - through->count;
    enum check_status status = unanswered == 0                     ? CHECK_OK
                               : unanswered * 10 <= through->asked ? CHECK_INFO
                                                                   : CHECK_WARNING;
    if (status == CHECK_WARNING) {
        result_means(result, "games and calls stutter: %zu of %zu questions or their answers were lost", unanswered,
                     through->asked);
        result_advise(result, lossy_network, compare_pings);
    }
    result_data(result, "{s:f, s:f, s:I, s:I}", "through_ms", with, "jitter_ms", variation, "asked",
                (json_int_t)through->asked, "unanswered", (json_int_t)unanswered);
    if (direct->count < PINGS_MIN) {
        result_say(result, status,
                   "%.2f ms round trip, jitter %.2f ms (without the proxy, the test server does not answer)%s", with,
                   variation, lost);
        return;
    }
    result_data(result, "{s:f, s:f}", "straight_ms", without, "added_ms", added);
    if (status != CHECK_WARNING)
        result_means(result, "games show about %.0f ms more ping than without the proxy", added < 0 ? 0 : added);
    result_say(result, status, "%.2f ms round trip, jitter %.2f ms; %.2f ms without the proxy, so it adds %.2f ms%s",
               with, variation, without, added, lost);
}

void step_delay(struct check_run *check, struct check_result *result)
{
    struct check_association association;
    union netaddr any = netaddr_any(check->family);
    struct channel direct = {.kind = CHANNEL_DIRECT, .fd = io_udp(&any, true)};
    struct pings with = {.count = 0}, without = {.count = 0};
    const struct server_line line = check_line(check, &association.channel), direct_line = check_line(check, &direct);
    if (check_associate(check, &association))
        ping_often(&line, &with);
    if (direct.fd >= 0) {
        ping_often(&direct_line, &without);
        close(direct.fd);
    }
    association_close(&association);
    if (with.count < PINGS_MIN)
        result_say(result, CHECK_FAILED, "only %zu of %d questions were answered", with.count, PINGS);
    else
        say_delay(result, &with, &without);
}

/* ---- loss ---- */

#define FLIGHT        200
#define FLIGHT_LEN    200 /* bytes, about what a game or a call sends */
#define FLIGHT_GAP    10  /* ms */
#define FLIGHT_LINGER 1000

/* A numbered datagram that is no STUN. */
static void flight_write(uint8_t bytes[FLIGHT_LEN], unsigned number)
{
    memset(bytes, 0xff, FLIGHT_LEN);
    bytes[1] = (uint8_t)(number >> 8);
    bytes[2] = (uint8_t)number;
}

static void flight_collect(const struct server_line *line, struct arrivals *arrivals, uint64_t deadline)
{
    while (clock_ms() < deadline && line_receive(line, deadline))
        if (line->room->len == FLIGHT_LEN && line->room->payload[0] == 0xff)
            arrivals_note(arrivals, (unsigned)(line->room->payload[1] << 8 | line->room->payload[2]));
}

static void flight_run(const struct server_line *line, struct arrivals *arrivals)
{
    uint8_t bytes[FLIGHT_LEN];
    uint64_t next = clock_ms();
    for (unsigned i = 0; i < FLIGHT; i++) {
        flight_write(bytes, i);
        channel_send(line->channel, &line->to, bytes, sizeof(bytes));
        next += FLIGHT_GAP;
        flight_collect(line, arrivals, next);
    }
    for (uint64_t end = clock_ms() + FLIGHT_LINGER + line->rtt_ms;
         arrivals_lost(arrivals, FLIGHT) > 0 && clock_ms() < end;)
        flight_collect(line, arrivals, clock_ms() + FLIGHT_GAP);
}

static void say_loss(struct check_result *result, const struct arrivals *arrivals, unsigned lost_up)
{
    unsigned lost = arrivals_lost(arrivals, FLIGHT), doubled = arrivals_doubled(arrivals, FLIGHT);
    unsigned up = lost_up < lost ? lost_up : lost;
    result_data(result, "{s:i, s:i, s:i, s:i, s:i}", "sent", FLIGHT, "lost_up", up, "lost_down", lost - up,
                "duplicated", doubled, "reordered", arrivals->late);
    if (lost + doubled + arrivals->late == 0) {
        result_say(result, CHECK_OK, "none: all %d datagrams came back once and in order (100 per second)", FLIGHT);
        return;
    }
    bool many = lost * 100 > FLIGHT;
    result_say(result, many ? CHECK_WARNING : CHECK_INFO,
               "of %d datagrams (100 per second), %u were lost on the way there, %u on the way back, %u came twice, %u "
               "out of order",
               FLIGHT, up, lost - up, doubled, arrivals->late);
    if (!many)
        return;
    result_means(result, "games and calls stutter: every %uth datagram is lost", FLIGHT / lost);
    result_advise(result, lossy_network, compare_pings);
}

void step_loss(struct check_run *check, struct check_result *result)
{
    struct check_association association;
    struct arrivals arrivals = {.last = 0};
    const struct server_line line = check_line(check, &association.channel);
    struct stun_question before = {.once = false}, after = {.once = false};
    bool ready = check_associate(check, &association) && peer_ask(&line, &before);
    if (ready)
        flight_run(&line, &arrivals);
    if (!ready || !peer_ask(&line, &after)) {
        result_say(result, CHECK_FAILED, "the test server stopped answering");
    } else {
        unsigned came = after.answer.plain_count - before.answer.plain_count;
        check->lost = arrivals_lost(&arrivals, FLIGHT);
        say_loss(result, &arrivals, came < FLIGHT ? FLIGHT - came : 0);
    }
    association_close(&association);
}
