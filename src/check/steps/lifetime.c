/*
 * How long may both sides be silent until the way back is lost? Associations side by side, each asked for a sign of
 * life after another time, by a far end that answers late: the whole takes as long as the longest wait.
 */
#include <poll.h>
#include <unistd.h>

#include "check/measure.h"
#include "check/peer/peer_ask.h"
#include "check/steps/steps.h"

#define RFC4787_SECONDS 120
#define GRACE_MS        3000

struct sleeper {
    struct association association;
    struct peer_line line;
    unsigned wait_s;
    bool asleep, woken, ended; /* asked for; answered; its control connection was ended by the server */
};

/* It must work, and then say nothing more. */
static bool fall_asleep(struct check *check, struct sleeper *sleeper, int family)
{
    static const struct peer_request hello = {.delay_s = 0};
    struct peer_request later = {.delay_s = (uint16_t)sleeper->wait_s};
    struct peer_answer answer;
    sleeper->line = (struct peer_line){.channel = &sleeper->association.channel,
                                       .to = *io_of_family(&check->far_end.addresses, family),
                                       .key = check->far_end.key,
                                       .rtt_ms = check->answer.rtt_ms,
                                       .room = &check->datagram};
    if (!check_associate(check, &sleeper->association) || !peer_ask(&sleeper->line, &hello, &answer))
        return false;
    /* Twice, for one may get lost. */
    bool first = peer_say(&sleeper->line, &later, PEER_REQUEST_MIN);
    return peer_say(&sleeper->line, &later, PEER_REQUEST_MIN) || first;
}

static void look_at(struct sleeper *sleeper)
{
    uint8_t byte;
    if (peer_hear(&sleeper->line, clock_ms()))
        sleeper->woken = true;
    if (recv(sleeper->association.negotiation.fd, &byte, 1, MSG_DONTWAIT) == 0)
        sleeper->ended = true;
}

static void wait_for_all(struct sleeper *sleepers, size_t count, uint64_t end)
{
    for (uint64_t now = clock_ms(); now < end; now = clock_ms()) {
        struct pollfd list[LIFETIME_WAITS];
        bool open = false;
        for (size_t i = 0; i < count; i++) {
            bool waits = sleepers[i].asleep && !sleepers[i].woken && !sleepers[i].ended;
            list[i] = (struct pollfd){.fd = waits ? sleepers[i].association.channel.fd : -1, .events = POLLIN};
            open = open || waits;
        }
        if (!open)
            return;
        poll(list, (nfds_t)count, end - now < 1000 ? (int)(end - now) : 1000);
        for (size_t i = 0; i < count; i++)
            if (list[i].fd >= 0)
                look_at(&sleepers[i]);
    }
}

/* `lives`: the longest silence after which an answer came; `dies`: the shortest after which none did, 0: none. */
static void say_lifetime(struct check_result *result, unsigned lives, unsigned dies, bool ended, unsigned bound)
{
    result_data(result, "at_least_seconds", json_integer(lives));
    result_data(result, "less_than_seconds", dies ? json_integer(dies) : json_null());
    if (!dies) {
        result_say(result, CHECK_OK, "a silent association is still reached after %u s%s", lives,
                   bound < RFC4787_SECONDS ? "; no longer silence was tried" : ", RFC 4787 asks for 120");
        return;
    }
    bool enough = lives >= RFC4787_SECONDS;
    result_say(result, enough ? CHECK_OK : CHECK_WARNING,
               "after %u s of silence it is still reached, after %u s no more%s", lives, dies,
               enough ? ", RFC 4787 asks for 120" : ": RFC 4787 asks for at least two minutes");
    if (enough)
        return;
    result_cause(result, "%s",
                 ended ? "the server ends associations that are silent so long"
                       : "a NAT or firewall on the way, before or behind the proxy, or the proxy itself forgets it");
    result_fix(result, "%s",
               ended ? "raise its UDP timeout (conesocks: udp.idle)"
                     : "raise the UDP timeout there (Linux: net.netfilter.nf_conntrack_udp_timeout and "
                       "nf_conntrack_udp_timeout_stream), or have programs send keepalives");
}

static void judge(struct check_result *result, const struct sleeper *sleepers, size_t count, unsigned bound)
{
    unsigned lives = 0, dies = 0;
    bool ended = false;
    for (size_t i = 0; i < count && !dies; i++) {
        if (sleepers[i].woken)
            lives = sleepers[i].wait_s;
        else if (sleepers[i].asleep)
            dies = sleepers[i].wait_s;
        ended = sleepers[i].ended;
    }
    say_lifetime(result, lives, dies, ended && dies, bound);
}

void step_lifetime(struct check *check, int family, struct check_result *result)
{
    struct sleeper sleepers[LIFETIME_WAITS] = {0};
    unsigned waits[LIFETIME_WAITS];
    size_t count = lifetime_waits(check->options.lifetime, waits), asleep = 0;
    if (check->far_end.kind != FAR_END_PEER) {
        result_say(result, CHECK_SKIPPED, "a STUN server does not answer late: it takes a peer");
        result_fix(result, "run conesocks check --listen on another machine, and name that: --peer HOST --key KEY");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        sleepers[i].wait_s = waits[i];
        sleepers[i].asleep = fall_asleep(check, &sleepers[i], family);
        asleep += sleepers[i].asleep;
    }
    if (asleep == 0) {
        result_say(result, CHECK_FAILED, "the far end does not answer any more");
    } else {
        wait_for_all(sleepers, count, clock_ms() + check->options.lifetime * UINT64_C(1000) + GRACE_MS);
        judge(result, sleepers, count, check->options.lifetime);
    }
    for (size_t i = 0; i < count; i++)
        association_close(&sleepers[i].association);
}
