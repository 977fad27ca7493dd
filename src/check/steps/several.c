/* Several associations at once: are they kept apart, do they reach each other, and do they end when they should? */
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/peer/peer_wire.h"
#include "check/steps/steps.h"

/* What the test server sees as this association's address. false: it does not answer. */
static bool learn_external(struct check_run *check, struct check_association *association, union netaddr *external)
{
    const struct server_line line = check_line(check, &association->channel);
    struct stun_question question = {.once = false};
    if (stun_ask(&line, &question, 1, STUN_PATIENCE) != 1)
        return false;
    *external = question.answer.mapped;
    return true;
}

/* Opens `count` of them and learns their addresses. How many of them can be used; all are to be closed. */
static size_t open_several(struct check_run *check, struct check_association *list, union netaddr *externals,
                           size_t count)
{
    size_t usable = 0;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct check_association)CHECK_ASSOCIATION_NONE;
    while (usable < count && check_associate(check, &list[usable]) &&
           learn_external(check, &list[usable], &externals[usable]))
        usable++;
    return usable;
}

static void close_several(struct check_association *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        association_close(&list[i]);
}

/* ---- apart ---- */

#define SEVERAL 4

static bool all_differ(const union netaddr *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            if (netaddr_equal(&addresses[i], &addresses[j]))
                return false;
    return true;
}

void step_apart(struct check_run *check, struct check_result *result)
{
    struct check_association list[SEVERAL];
    union netaddr externals[SEVERAL], again;
    size_t usable = open_several(check, list, externals, SEVERAL), steady = 0;
    /* Once more, in the order in which they were opened: an older one must not have lost its port to a newer one. */
    for (size_t i = 0; i < usable; i++)
        steady += learn_external(check, &list[i], &again) && netaddr_equal(&again, &externals[i]);
    close_several(list, SEVERAL);
    result_data(result, "{s:i}", "associations", (int)usable);
    if (usable < SEVERAL) {
        result_say(result, CHECK_WARNING, "only %zu of %d associations work at the same time", usable, SEVERAL);
        result_means(result, "%zu program%s can use UDP at the same time; others fail", usable, usable == 1 ? "" : "s");
        result_advise(
            result,
            "the proxy limits associations, or has too few ports; some programs (tun bridges) open one per flow",
            "raise the limit (conesocks: see limits and udp.ports)");
    } else if (!all_differ(externals, usable)) {
        result_say(result, CHECK_WARNING, "several associations share one external address and port");
        result_explain(result, &(struct advice){
                                   .means = "several players or programs that use this proxy disturb each other",
                                   .cause = "the proxy uses one socket for all its clients, so peers cannot reach them",
                                   .owner = "use a server that opens a port for each association",
                                   .user = "use another server for games and calls"});
    } else if (steady < usable) {
        result_say(result, CHECK_WARNING,
                   "an association stopped working, or its external port changed, when another one was opened");
        result_means(result, "a game or call can break off when another program begins to use the proxy");
    } else {
        result_say(result, CHECK_OK, "%d work at the same time; each has its own external port and keeps it", SEVERAL);
    }
}

/* ---- hairpin ---- */

#define HAIRPIN_TRIES 3
#define HAIRPIN_WAIT  700 /* ms */
#define HAIRPIN_LEN   64

/* Waits for the hairpin's datagram at `to`, and tells its origin. */
static bool hairpin_receive(struct check_run *check, struct channel *to, uint32_t seed, union netaddr *origin)
{
    const struct datagram *came = &check->datagram;
    uint64_t deadline = clock_ms() + HAIRPIN_WAIT + check->rtt_ms;
    while (clock_ms() < deadline) {
        if (channel_receive(to, &check->datagram, deadline) == 0 && came->len == HAIRPIN_LEN &&
            peer_pattern_is(came->payload, HAIRPIN_LEN, seed)) {
            *origin = came->origin;
            return true;
        }
    }
    return false;
}

static void hairpin_send(struct check_association *from, const union netaddr *to, uint32_t seed)
{
    uint8_t bytes[HAIRPIN_LEN];
    peer_pattern(bytes, sizeof(bytes), seed);
    channel_send(&from->channel, to, bytes, sizeof(bytes));
}

enum hairpin { HAIRPIN_NEVER, HAIRPIN_AFTER_BOTH, HAIRPIN_AT_ONCE };

/* The first client sends to the second; with `both`, the second has sent to the first before. */
static bool hairpin_arrives(struct check_run *check, struct check_association list[2], const union netaddr externals[2],
                            union netaddr *origin, bool both)
{
    for (uint32_t try = 1; try <= HAIRPIN_TRIES; try++) {
        uint32_t seed = try + (both ? HAIRPIN_TRIES : 0);
        if (both)
            hairpin_send(&list[1], &externals[0], 1000 + seed);
        hairpin_send(&list[0], &externals[1], seed);
        if (hairpin_receive(check, &list[1].channel, seed, origin))
            return true;
    }
    return false;
}

static enum hairpin try_hairpin(struct check_run *check, struct check_association list[2],
                                const union netaddr externals[2], union netaddr *origin)
{
    if (hairpin_arrives(check, list, externals, origin, false))
        return HAIRPIN_AT_ONCE;
    return hairpin_arrives(check, list, externals, origin, true) ? HAIRPIN_AFTER_BOTH : HAIRPIN_NEVER;
}

/* A server that filters does so with its own clients as with others. */
static void say_after_both(struct check_result *result, enum nat_type type)
{
    result_say(result, type == NAT_OPEN ? CHECK_WARNING : CHECK_INFO,
               "two clients of this proxy reach each other at their external addresses only after both have sent");
    result_means(result,
                 "players who use this proxy together can join each other only in games in which both sides try");
    if (type == NAT_OPEN)
        result_advise(result,
                      "the proxy, or a firewall, filters what its own clients send to each other, but not others",
                      "let UDP in to the proxy's external ports from its own addresses, too");
}

static void say_hairpin(struct check_result *result, enum hairpin hairpin, enum nat_type type,
                        const union netaddr *origin, const union netaddr *external)
{
    char seen[NETADDR_TEXT_MAX], expected[NETADDR_TEXT_MAX];
    bool arrived = hairpin != HAIRPIN_NEVER, right = arrived && netaddr_equal(origin, external);
    if (right && hairpin == HAIRPIN_AFTER_BOTH) {
        say_after_both(result, type);
    } else if (right) {
        result_say(result, CHECK_OK, "two clients of this proxy can reach each other at their external addresses");
    } else if (arrived) {
        result_say(result, CHECK_WARNING,
                   "two clients of this proxy reach each other, but the sender appears as %s "
                   "instead of %s",
                   netaddr_format(origin, seen), netaddr_format(external, expected));
        result_means(result, "players who use this proxy together may fail to join each other");
        result_advise(result,
                      "the proxy, or a NAT behind it, does not replace the sender's address with the external one (RFC "
                      "4787 REQ-9), so peers do not recognise the sender",
                      "update the server, or use another one");
    } else {
        result_say(result, CHECK_WARNING,
                   "two clients of this proxy cannot reach each other at their external addresses");
        result_means(result, "players who use this proxy together cannot join each other directly");
        result_advise(result,
                      "the proxy denies its own addresses or filters, or a NAT in front of it does not send such "
                      "packets back (hairpinning, RFC 4787 REQ-9)",
                      "switch on NAT loopback in the router; conesocks delivers them itself when udp.advertise_v4 and "
                      "udp.external_ports are set");
    }
    result_data(result, "{s:b, s:b, s:o}", "reached", arrived, "unasked", hairpin == HAIRPIN_AT_ONCE,
                "source_is_external", arrived ? json_boolean(right) : json_null());
}

void step_hairpin(struct check_run *check, struct check_result *result)
{
    struct check_association list[2];
    union netaddr externals[2], origin;
    if (open_several(check, list, externals, 2) == 2)
        say_hairpin(result, try_hairpin(check, list, externals, &origin), check_nat(check, check->family)->type,
                    &origin, &externals[0]);
    else
        result_say(result, CHECK_SKIPPED, "needs two associations at the same time, and only one works");
    close_several(list, 2);
}

/* ---- the end ---- */

#define END_TIME     300  /* ms, for the proxy to see that the connection has ended */
#define END_PATIENCE 1200 /* for an answer that must not come */

void step_end(struct check_run *check, struct check_result *result)
{
    struct check_association association;
    union netaddr external;
    if (open_several(check, &association, &external, 1) != 1) {
        result_say(result, CHECK_SKIPPED, "the proxy granted no second association, or it did not work");
        close_several(&association, 1);
        return;
    }
    close(association.granted.fd);
    association.granted.fd = -1;
    usleep(END_TIME * 1000);
    const struct server_line line = check_line(check, &association.channel);
    struct stun_question question = {.once = false};
    bool answered = stun_ask(&line, &question, 1, END_PATIENCE + check->rtt_ms) == 1;
    /* With one relay port for all, another association of ours may take the datagram: from another external port. */
    bool alive = answered && netaddr_equal(&question.answer.mapped, &external);
    close_several(&association, 1);
    result_data(result, "{s:b}", "ended", !alive);
    result_say(result, alive ? CHECK_WARNING : CHECK_OK,
               alive ? "the association still relays after its control connection has ended"
                     : "the association ends together with its control connection");
    if (!alive)
        return;
    result_means(result, "nothing that you notice in a game; the server wastes ports");
    result_advise(
        result,
        "the server ignores RFC 1928 section 7: it keeps the ports of clients that have left, and still accepts "
        "datagrams there",
        "update the server, or use another one");
}
