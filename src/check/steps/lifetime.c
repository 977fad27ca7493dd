/*
 * How long may both sides be silent until the way back is lost?
 *
 * The peer is asked over several associations at once to answer late, each after another time: all of it takes as long
 * as the longest wait.
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check/measure.h"
#include "check/steps/steps.h"

#define RFC4787_SECONDS 120
#define GRACE_MS        3000

struct sleeper {
    struct check_association association;
    struct server_line line;
    unsigned wait_s;
    bool asleep, woken, ended; /* asked for; answered; its control connection was ended by the server */
};

/* Checks that it works, and orders the late answer. */
static bool sleeper_start(struct sleeper *sleeper, struct check_run *check)
{
    struct stun_question first = {.once = false}, late = {.request.delay_s = (uint16_t)sleeper->wait_s};
    sleeper->line = check_line(check, &sleeper->association.channel);
    if (!check_associate(check, &sleeper->association) || !peer_ask(&sleeper->line, &first))
        return false;
    bool sent = stun_send(&sleeper->line, &late); /* twice, for one may get lost */
    return stun_send(&sleeper->line, &late) || sent;
}

static void sleeper_look(struct sleeper *sleeper)
{
    uint8_t byte;
    if (line_receive(&sleeper->line, clock_ms()))
        sleeper->woken = true;
    if (recv(sleeper->association.granted.fd, &byte, 1, MSG_DONTWAIT) == 0)
        sleeper->ended = true;
}

static void wait_for_sleepers(struct sleeper *sleepers, size_t count, uint64_t end)
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
                sleeper_look(&sleepers[i]);
    }
}

/* `lives`: the longest silence after which an answer came; `dies`: the shortest after which none did, 0: none. */
static void say_lifetime(struct check_result *result, unsigned lives, unsigned dies, bool ended, unsigned bound)
{
    bool enough = lives >= RFC4787_SECONDS;
    result_data(result, "{s:i, s:o}", "at_least_seconds", lives, "less_than_seconds",
                dies ? json_integer(dies) : json_null());
    if (!dies) {
        result_say(result, CHECK_OK, "still reachable after %u s of silence (%s)", lives,
                   bound < RFC4787_SECONDS ? "longer was not tested" : "RFC 4787 asks for 120 s");
        return;
    }
    result_say(result, enough ? CHECK_OK : CHECK_WARNING,
               "reachable after %u s of silence, but no longer after %u s (RFC 4787 asks for 120 s)", lives, dies);
    if (enough)
        return;
    result_means(result,
                 "a game or call that is silent for that long, such as on a pause screen, loses its connection");
    if (ended)
        result_advise(result, "the server ends silent associations", "raise its UDP timeout (conesocks: udp.idle)");
    else
        result_advise(result,
                      "a NAT or firewall in front of or behind the proxy forgets the mapping, or the proxy itself",
                      "raise the UDP timeout there (Linux: net.netfilter.nf_conntrack_udp_timeout and "
                      "nf_conntrack_udp_timeout_stream), or let programs send keepalives");
}

static void judge_sleepers(struct check_result *result, const struct sleeper *sleepers, size_t count, unsigned bound)
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

void step_lifetime(struct check_run *check, struct check_result *result)
{
    struct sleeper sleepers[LIFETIME_WAITS] = {0};
    unsigned waits[LIFETIME_WAITS];
    size_t count = lifetime_waits(check->options.lifetime, waits), asleep = 0;
    if (check->server.kind != TEST_SERVER_PEER) {
        result_say(result, CHECK_SKIPPED, "a STUN server cannot test this: it cannot delay its answers");
        result_fix(result, "run conesocks check --listen on another machine, and use --peer HOST --key KEY here");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        sleepers[i].wait_s = waits[i];
        sleepers[i].asleep = sleeper_start(&sleepers[i], check);
        asleep += sleepers[i].asleep;
    }
    if (asleep == 0) {
        result_say(result, CHECK_FAILED, "the test server stopped answering");
    } else {
        wait_for_sleepers(sleepers, count, clock_ms() + check->options.lifetime * UINT64_C(1000) + GRACE_MS);
        judge_sleepers(result, sleepers, count, check->options.lifetime);
    }
    for (size_t i = 0; i < count; i++)
        association_close(&sleepers[i].association);
}
